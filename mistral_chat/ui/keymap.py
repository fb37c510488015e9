"""The person's own keys: which can be changed, and what is wrong with a choice."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from textual.binding import Binding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from textual.binding import BindingType
    from textual.dom import DOMNode


def known_bindings(nodes: Iterable[type[DOMNode]]) -> dict[str, Binding]:
    """The bindings that have an id, by it."""
    return {binding.id: binding for node in nodes for binding in _own(node.__dict__.get("BINDINGS", ())) if binding.id}


def problems(keymap: Mapping[str, str], known: Mapping[str, Binding]) -> list[str]:
    """Say what is wrong with `keymap`: ids that nothing has, and keys that two things would share."""
    found = []
    for name in keymap:
        if name not in known:
            close = get_close_matches(name, known, 1)
            found.append(f"keymap: there is no {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
    taken: dict[str, str] = {}
    for name, binding in known.items():
        for key in keymap.get(name, binding.key).split(","):
            place = name.split(".")[0]
            others = {taken.get(f"{place} {key.strip()}"), taken.get(f"app {key.strip()}")} - {None, name}
            found += [
                f"keymap: {key.strip()} is given to both {other!r} and {name!r}."
                for other in sorted(filter(None, others))
                if name in keymap or other in keymap
            ]
            taken[f"{place} {key.strip()}"] = name
    return found


def _own(bindings: Iterable[BindingType]) -> Iterable[Binding]:
    return (binding for binding in bindings if isinstance(binding, Binding))
