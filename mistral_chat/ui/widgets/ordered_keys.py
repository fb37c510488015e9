"""Text fields that handle letters and other keys in the order they were pressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.widgets import Input

if TYPE_CHECKING:
    from textual import events
    from textual.app import App
    from textual.screen import Screen


class OrderedKeys:
    """A mixin for fields: Backspace, Escape and other keys that type nothing act in their turn.

    A field inserts a letter at once, while Textual runs the binding of another key only after the key has bubbled up through all
    widgets around the field. When keys come fast, letters would overtake it: "ab", Backspace, "c" would become "ab".
    """

    app: App[object]
    screen: Screen[object]

    async def _on_key(self, event: events.Key) -> None:
        """Run the key's binding before the next key is handled."""
        if event.is_printable:
            return
        active = self.screen.active_bindings.get(event.key)
        if active is None or active.binding.priority:
            return
        if await self.app.run_action(active.binding.action, active.node):
            event.stop()
            event.prevent_default()


class Field(OrderedKeys, Input):
    """The one-line text field of every dialog. Its help is that of the dialog around it."""
