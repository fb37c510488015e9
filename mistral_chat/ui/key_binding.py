"""Key bindings as the app declares them."""

from __future__ import annotations

from textual.binding import Binding


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
