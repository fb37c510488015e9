"""What is marked in a transcript: the turn that was chosen, those that the model sees no longer, and what each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import message
from textual.containers import VerticalScroll

from mistral_chat.ui.widgets.bare import Bare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textual import events

    from mistral_chat.ui.shown import ShownTurn
    from mistral_chat.ui.widgets.turn_view import TurnView


class Marking(VerticalScroll, Bare):
    """Marks the turns that are mounted, and those that will be."""

    class Chosen(message.Message):
        """A turn was clicked: it is the chosen one now, or no longer."""

    def __init__(self) -> None:
        """Mark nothing."""
        super().__init__(id="transcript")
        self._turns: list[ShownTurn] = []
        self._views: list[TurnView] = []
        self._complete = True
        self._held: Mapping[str, bool] = {}
        self._costs: dict[str, int] = {}
        self._chosen: str | None = None
        self._details = False

    @property
    def views(self) -> list[TurnView]:
        """The turns that are mounted, oldest first."""
        return list(self._views)

    @property
    def turns(self) -> Sequence[ShownTurn]:
        """The turns that are known, oldest first."""
        return self._turns

    @property
    def last_id(self) -> str | None:
        """The id of the newest turn; None while there is none."""
        return self._turns[-1].turn_id if self._turns else None

    @property
    def chosen(self) -> ShownTurn | None:
        """The turn that was chosen; None while none is."""
        return next((turn for turn in self._turns if turn.turn_id == self._chosen), None)

    @property
    def left(self) -> Sequence[str]:
        """The ids of the known turns that left the model's window, oldest first; those that were excluded are not among them."""
        seen = next((place for place, turn in enumerate(self._turns) if self._seen(turn) and not turn.turn.pinned), None)
        return [turn.turn_id for turn in self._turns[: seen or 0] if not self._seen(turn) and not turn.turn.excluded]

    def show_memory(self, held: Mapping[str, bool], costs: Mapping[str, int] | None = None) -> None:
        """Dim the turns that left the model's window, and draw the line where it begins.

        Args:
            held: the turns the model sees, each with whether it is pinned. Turns of another conversation say nothing.
            costs: how many tokens turns take, where that has become known.
        """
        self._held = held
        self._costs.update(costs or {})
        self.mark_views()

    def show_details(self, *, shown: bool) -> None:
        """Show under each reply what it took, or no longer."""
        self._details = shown
        self.mark_views()

    def replace_turn(self, shown: ShownTurn) -> None:
        """Know a turn as it is now, without drawing its text anew."""
        self._turns = [shown if turn.turn_id == shown.turn_id else turn for turn in self._turns]
        for view in self._views:
            if view.shown.turn_id == shown.turn_id:
                view.shown = shown
        self.mark_views()

    def choose_none(self) -> None:
        """Take the mark away from the chosen turn."""
        self._chosen = None
        self.mark_views()

    async def choose(self, turn_id: str) -> None:
        """Mark one turn as the chosen one, and bring it into view."""
        self._chosen = turn_id
        self.mark_views()
        view = next((view for view in self._views if view.shown.turn_id == turn_id), None)
        if view is None:
            await self.go_to(turn_id)
            return
        tall = view.outer_size.height >= self.container_size.height
        if turn_id == self.last_id and not tall:
            self.anchor()
        else:
            self.release_anchor()
            self.scroll_to_widget(view, animate=False, top=tall, force=True)

    async def go_to(self, turn_id: str) -> None:
        """Show the turn `turn_id`, mounted or not. The transcript says how."""

    async def on_click(self, event: events.Click) -> None:
        """Choose the turn that was clicked; nothing is chosen by selecting text."""
        from mistral_chat.ui.widgets.turn_view import TurnView

        clicked = event.widget
        view = next((node for node in clicked.ancestors_with_self if isinstance(node, TurnView)), None) if clicked else None
        if view is not None and not self.screen.get_selected_text():
            self._chosen = None if view.shown.turn_id == self._chosen else view.shown.turn_id
            self.mark_views()
            self.post_message(self.Chosen())

    def mark_views(self) -> None:
        """Let every mounted turn show what is known of it."""
        left = set(self.left)
        edge = self._edge if left or not self._complete else None
        for view in self._views:
            shown = view.shown
            view.mark(
                left=shown.turn_id in left or shown.turn.excluded,
                edge=shown.turn_id == edge,
                chosen=shown.turn_id == self._chosen,
                details=self._details,
                tokens=self._costs.get(shown.turn_id),
            )

    @property
    def _edge(self) -> str | None:
        """The first turn that is seen and not pinned; None where nothing is known."""
        return next((turn.turn_id for turn in self._turns if self._seen(turn) and not turn.turn.pinned), None)

    def _seen(self, turn: ShownTurn) -> bool:
        """Whether the model has the turn. An excluded one it may still have until it reads on, and that is nobody's business."""
        return turn.turn_id in self._held and not turn.turn.excluded
