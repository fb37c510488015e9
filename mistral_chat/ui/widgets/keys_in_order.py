"""Fields that take letters and other keys in the order they were pressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual import events
    from textual.app import App
    from textual.screen import Screen


class KeysInOrder:
    """Mixed into a field before its own class: Backspace, Escape and all other keys that are no letters act in their turn.

    A field takes a letter at once, while Textual runs what another key is bound to only after the key has come up through all
    that lies around the field. When keys come fast, letters would overtake it: "ab", Backspace, "c" would become "ab".
    """

    app: App[object]
    screen: Screen[object]

    async def _on_key(self, event: events.Key) -> None:
        """Run what the key is bound to before the next key is taken."""
        if event.is_printable:
            return
        active = self.screen.active_bindings.get(event.key)
        if active is None or active.binding.priority:
            return
        if await self.app.run_action(active.binding.action, active.node):
            event.stop()
            event.prevent_default()
