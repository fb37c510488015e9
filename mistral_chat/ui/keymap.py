"""The person's own keys: which can be changed, and what is wrong with a choice."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import combinations
from string import ascii_lowercase
from typing import TYPE_CHECKING, Final, Protocol

from textual.binding import Binding
from textual.keys import REPLACED_KEYS, Keys, key_to_character

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from textual.binding import BindingType
    from textual.dom import DOMNode

_MODIFIERS: Final = ("alt", "ctrl", "hyper", "meta", "shift", "super")
_NAMES: Final = frozenset(str(key.value).rpartition("+")[2] for key in Keys)
_WORDS: Final = {"pageup": "PageUp", "pagedown": "PageDown"}
_IN_CHAT: Final = frozenset({"chat", "composer", "files", "filter", "list", "transcript"})
"""Places that are on the chat's screen, with whose keys theirs are in force."""
_TYPED_INTO: Final = frozenset({"app", "chat", "composer", "filter"})
"""Places whose keys are in force while one types."""
_RENAMED: Final = {
    **dict.fromkeys(
        (
            "ask.cancel",
            "background.leave",
            "confirm.refuse",
            "entry.cancel",
            "keys.leave",
            "names.leave",
            "persona.cancel",
            "pick.leave",
            "saving.cancel",
            "search.cancel",
            "setting.cancel",
            "trash.cancel",
            "turn.cancel",
        ),
        "dialog.cancel",
    ),
    "saving.before": "dialog.previous",
    "saving.after": "dialog.next",
}
"""Ids that older settings files use, with the id that stands for them now."""


class KeyChoice(Protocol):
    """What the app lets be known and done about its keys."""

    @property
    def known_bindings(self) -> dict[str, Binding]:
        """Every binding that a person can remap, by its id."""

    def use_keymap(self, keymap: Mapping[str, str]) -> None:
        """Let `keymap` hold from now on."""


def known_bindings(nodes: Iterable[type[DOMNode]]) -> dict[str, Binding]:
    """The bindings that have an id, by it."""
    return {binding.id: binding for node in nodes for binding in _own(node.__dict__.get("BINDINGS", ())) if binding.id}


def bound_nodes() -> list[type[DOMNode]]:
    """Every screen and every widget of ours that has keys. All of them are imported for that."""
    import pkgutil
    from importlib import import_module

    from textual.dom import DOMNode

    from mistral_chat.ui import dialogs, screens, widgets

    found: list[type[DOMNode]] = []
    for package in (screens, dialogs, widgets):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for each in vars(import_module(info.name)).values():
                ours = isinstance(each, type) and issubclass(each, DOMNode) and each.__module__ == info.name
                if ours and each.__dict__.get("BINDINGS"):
                    found.append(each)
    return found


def current_ids(keymap: Mapping[str, str]) -> dict[str, str]:
    """Return `keymap` with ids of older versions replaced by those of today."""
    return {_RENAMED.get(name, name): keys for name, keys in keymap.items()}


def keys_of(keys: str) -> list[str]:
    """The keys in a list with commas, as Textual names them: modifiers in the order of the alphabet."""
    return [_in_order(key.strip()) for key in keys.split(",") if key.strip()]


def in_words(keys: str) -> str:
    """Keys as the screen writes them: ``Ctrl+J or Alt+Enter``."""
    words = ("+".join(_WORDS.get(part, part.replace("_", " ").capitalize()) for part in key.split("+")) for key in keys_of(keys))
    return one_line(" or ".join(dict.fromkeys(words)))  # a letter and its capital are one key


def unfit(name: str, key: str) -> str:
    """Why `key` is no good for the binding `name`, as a sentence; empty where it is."""
    if not _is_key(key):
        held = [f"{modifier}+{letter}" for modifier in ("ctrl", "alt") for letter in ascii_lowercase]
        close = get_close_matches(key.lower().replace("-", "+"), [*_NAMES, *held], 1)
        return f"{key!r} is no key." + (f" Did you mean {close[0]!r}?" if close else " One is written like ctrl+n, alt+m or f5.")
    if name.partition(".")[0] in _TYPED_INTO and (_character(key) or "\0").isprintable():
        return f"{in_words(key)} alone could not be typed any more. Hold Ctrl or Alt with it, or take a function key."
    return ""


def problems(keymap: Mapping[str, str], known: Mapping[str, Binding]) -> list[str]:
    """Say what is wrong with `keymap`: ids that nothing has, keys that are none, and keys that two things would share."""
    found = []
    keymap = current_ids(keymap)
    for name, keys in keymap.items():
        if name not in known:
            close = get_close_matches(name, known, 1)
            found.append(f"keymap: there is no {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
            continue
        if not keys_of(keys):
            found.append(f"keymap: {name!r} has no key; the default stays.")
        found += [f"keymap: {name}: {why}" for key in keys_of(keys) if (why := unfit(name, key))]
    return found + [f"keymap: {key} is given to both {one!r} and {other!r}." for key, one, other in _clashes(keymap, known)]


def taken_by(name: str, key: str, keymap: Mapping[str, str], known: Mapping[str, Binding]) -> str | None:
    """The id of the binding that `key` would be shared with if `name` had it; None where it is free."""
    wanted = {**current_ids(keymap), name: key}
    return next((other if one == name else one for _, one, other in _clashes(wanted, known) if name in {one, other}), None)


def _clashes(keymap: Mapping[str, str], known: Mapping[str, Binding]) -> Iterator[tuple[str, str, str]]:
    given: dict[str, list[str]] = {}
    for name, binding in known.items():
        for key in keys_of(keymap.get(name) or binding.key):
            given.setdefault(key, []).append(name)
    moved = {name for name, keys in keymap.items() if name in known and set(keys_of(keys)) != set(keys_of(known[name].key))}
    for key, names in given.items():
        for one, other in combinations(names, 2):
            if {one, other} & moved and _together(one.partition(".")[0], other.partition(".")[0]):
                yield key, one, other


def _together(one: str, other: str) -> bool:
    """Whether the keys of two places are in force at the same time."""
    return one == other or "app" in {one, other} or ("chat" in {one, other} and {one, other} <= _IN_CHAT)


def _is_key(key: str) -> bool:
    *modifiers, name = key.split("+")
    # Half a character, or one that does nothing but act on a terminal, is no key that anybody could press.
    known = name.isprintable() and (len(name) == 1 or name in _NAMES or _character(name) is not None)
    return bool(name) and known and set(modifiers) <= set(_MODIFIERS)


def _character(key: str) -> str | None:
    """What the key types, where it types anything."""
    return key_to_character(REPLACED_KEYS.get(key, key))


def _in_order(key: str) -> str:
    *modifiers, name = key.split("+") if key != "+" else [key]
    return "+".join([*sorted(each.lower() for each in modifiers), name])


def _own(bindings: Iterable[BindingType]) -> Iterable[Binding]:
    return (binding for binding in bindings if isinstance(binding, Binding))
