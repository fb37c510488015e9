"""The keymap: remappable keys, and checks of changed keys."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import combinations
from string import ascii_lowercase
from typing import TYPE_CHECKING, Final

from textual.binding import Binding
from textual.keys import REPLACED_KEYS, Keys, key_to_character

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from textual.dom import DOMNode

_MODIFIERS: Final = ("alt", "ctrl", "hyper", "meta", "shift", "super")
_NAMES: Final = frozenset(str(key.value).rpartition("+")[2] for key in Keys)
_WORDS: Final = {
    "backslash": "\\",
    "comma": ",",
    "escape": "Esc",
    "full_stop": ".",
    "minus": "-",
    "pagedown": "PageDown",
    "pageup": "PageUp",
    "plus": "+",
    "question_mark": "?",
    "slash": "/",
}
"""Keys whose display name differs from their name in the keymap."""
_IN_CHAT: Final = frozenset({"chat", "composer", "files", "filter", "list", "sources", "transcript"})
"""Parts of the chat screen, whose keys are active together with its own."""
_TYPED_INTO: Final = frozenset({"app", "chat", "composer", "filter"})
"""Parts whose keys are active while the user types."""
_RENAMED: Final = {
    **dict.fromkeys(
        (
            "ask.cancel",
            "attach.cancel",
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
"""Ids in older settings files, with their current ids."""


def key_binding(name: str, keys: str, action: str, title: str, does: str, *, priority: bool = False) -> Binding:
    """Return a binding that the user can remap.

    Args:
        name: its id in the keymap.
        keys: its default keys, separated by commas.
        action: what it runs.
        title: its name in the list of keys.
        does: what it does, as the help says it.
        priority: whether it comes before the keys of the focused widget.
    """
    return Binding(keys, action, title, tooltip=does, id=name, show=False, priority=priority)


def known_bindings(nodes: Iterable[type[DOMNode]]) -> dict[str, Binding]:
    """Return the bindings that have an id, by that id."""
    declared = (binding for node in nodes for binding in node.__dict__.get("BINDINGS", ()))
    return {binding.id: binding for binding in declared if isinstance(binding, Binding) and binding.id}


def current_ids(keymap: Mapping[str, str]) -> dict[str, str]:
    """Return `keymap` with ids of older versions replaced by those of today."""
    return {_RENAMED.get(name, name): keys for name, keys in keymap.items()}


def to_textual_keymap(keymap: Mapping[str, str]) -> dict[str, str]:
    """Return `keymap` with current ids and Textual's key names."""
    return {name: ",".join(keys_of(keys)) for name, keys in current_ids(keymap).items()}


def keys_of(keys: str) -> list[str]:
    """Return the keys of a list with commas as Textual names them, with the modifiers in alphabetical order."""
    return [_in_order(key.strip()) for key in keys.split(",") if key.strip()]


def format_keys(keys: str) -> str:
    """Return keys as the screen shows them: ``Ctrl+J or Alt+Enter``. A letter and its capital are one key."""
    return one_line(" or ".join(dict.fromkeys(map(_key_words, keys_of(keys)))))


def _key_words(key: str) -> str:
    if len(key) == 1:
        return key.lower()
    return "+".join(_WORDS.get(part, part.replace("_", " ").capitalize()) for part in key.split("+"))


def key_problem(name: str, key: str) -> str:
    """Return why the binding `name` cannot have `key`, as a sentence; empty where it can."""
    if not _is_key(key):
        held = [f"{modifier}+{letter}" for modifier in ("ctrl", "alt") for letter in ascii_lowercase]
        close = get_close_matches(key.lower().replace("-", "+"), [*_NAMES, *held], 1)
        return f"{key!r} is not a key." + (f" Did you mean {close[0]!r}?" if close else " Write keys like ctrl+n, alt+m or f5.")
    if name.partition(".")[0] in _TYPED_INTO and (_character(key) or "\0").isprintable():
        return f"{format_keys(key)} is needed for typing. Use it with Ctrl or Alt, or use a function key."
    return ""


def problems(keymap: Mapping[str, str], known: Mapping[str, Binding]) -> list[str]:
    """Describe what is wrong with `keymap`: unknown ids, unknown keys, and keys that two bindings would share."""
    found = []
    keymap = current_ids(keymap)
    for name, keys in keymap.items():
        if name not in known:
            close = get_close_matches(name, known, 1)
            found.append(f"keymap: unknown id {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
            continue
        if not keys_of(keys):
            found.append(f"keymap: {name!r} has no key; the default is used.")
        found += [f"keymap: {name}: {why}" for key in keys_of(keys) if (why := key_problem(name, key))]
    return found + [f"keymap: {key} is given to both {one!r} and {other!r}." for key, one, other in _clashes(keymap, known)]


def taken_by(name: str, key: str, keymap: Mapping[str, str], known: Mapping[str, Binding]) -> str | None:
    """Return the id of the binding that has `key` already, if `name` had it; None where the key is free."""
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
    """Whether the keys of two parts of the screen work at the same time."""
    return one == other or "app" in {one, other} or ("chat" in {one, other} and {one, other} <= _IN_CHAT)


def _is_key(key: str) -> bool:
    *modifiers, name = key.split("+")
    # Half a character, or one that only acts on a terminal, cannot be pressed.
    known = name.isprintable() and (len(name) == 1 or name in _NAMES or _character(name) is not None)
    return bool(name) and known and set(modifiers) <= set(_MODIFIERS)


def _character(key: str) -> str | None:
    """Return what the key types; None where it types nothing."""
    return key_to_character(REPLACED_KEYS.get(key, key))


def _in_order(key: str) -> str:
    *modifiers, name = key.split("+") if key != "+" else [key]
    return "+".join([*sorted(each.lower() for each in modifiers), name])
