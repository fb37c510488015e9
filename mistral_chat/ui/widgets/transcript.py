"""The transcript: a window of mounted turns over a whole conversation."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from textual import message
from textual.binding import BindingType

from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.widgets.blocks import FastWidget
from mistral_chat.ui.widgets.reading_scroll import ReadingScroll
from mistral_chat.ui.widgets.turn import TurnMarks, TurnView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textual import events

    from mistral_chat.conversation import TranscriptTurn

_SCREENS: Final = 3
"""Screens of text that are mounted beyond each edge of the visible part."""

_MOST_TURNS: Final = 24
"""Turns mounted at a time; short ones are cheap, but not free."""


_BINDINGS: Final = (
    key_binding("transcript.oldest", "home", "screen.command('chat.top')", "Top", "Scroll to the first message"),
    key_binding("transcript.select", "shift+tab", "screen.command('chat.turn_before')", "Select", "Select the previous message"),
    key_binding("transcript.newest", "end", "newest", "Newest", "Scroll to the end and follow it"),
    key_binding("transcript.up", "up", "step(-1)", "Up", "Select the previous message, or scroll"),
    key_binding("transcript.down", "down", "step(1)", "Down", "Select the next message, or scroll"),
    key_binding(
        "transcript.branch_before",
        "left",
        "screen.command('chat.branch_before')",
        "Previous version",
        "Show the previous version",
    ),
    key_binding(
        "transcript.branch_after", "right", "screen.command('chat.branch_after')", "Next version", "Show the next version"
    ),
    key_binding("transcript.turn", "enter", "screen.command('chat.turn')", "Message actions", "Show actions for the message"),
)


class Transcript(ReadingScroll, FastWidget, can_focus=True):
    """Shows turns, oldest at the top, and follows the end until the user scrolls away.

    Only turns near the visible part are mounted, and the line being read stays in place when anything around it changes.
    """

    DEFAULT_CSS = """
    Transcript {
        height: 100%;
        align: center bottom;
        scrollbar-size-vertical: 1;
        scrollbar-background: $background;
        scrollbar-color: $scrollbar;
    }
    """

    HELP = """\
    ## Transcript

    The arrow keys, Page Up, Page Down, Home, End and the wheel scroll. Select text with the mouse; Ctrl+C copies it.
    Click a message to select it; **Enter** opens the menu with its actions. **Tab** moves to what was recalled for it and to
    its sources; **Enter** opens them.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*_BINDINGS]

    class Selected(message.Message):
        """A click selected a turn, or cleared the selection."""

    class OlderRequested(message.Message):
        """The user is near the oldest loaded turn; there may be older ones."""

    def __init__(self) -> None:
        """Make an empty transcript."""
        super().__init__(id="transcript")
        self._turns: list[TranscriptTurn] = []
        self.views: list[TurnView] = []
        """The mounted turns, oldest first."""
        self._complete = True
        self._held: Mapping[str, bool] = {}
        self._costs: dict[str, int] = {}
        self._selected: str | None = None
        self._statistics = False
        self._first = 0
        self._end = 0
        self._growing: TurnView | None = None
        self._settling = False
        self._asked = False

    @property
    def turns(self) -> Sequence[TranscriptTurn]:
        """The loaded turns, oldest first."""
        return self._turns

    @property
    def last_id(self) -> str | None:
        """The id of the newest turn; None while there is none."""
        return self._turns[-1].turn_id if self._turns else None

    @property
    def selected(self) -> TranscriptTurn | None:
        """The selected turn; None while none is."""
        return next((turn for turn in self._turns if turn.turn_id == self._selected), None)

    @property
    def evicted(self) -> Sequence[str]:
        """The ids of the loaded turns that dropped out of the context, oldest first; excluded turns are not among them."""
        return [turn.turn_id for turn in self._turns[: self._start or 0] if not self._seen(turn) and not turn.turn.excluded]

    @property
    def _start(self) -> int | None:
        """The position of the first turn in the context that is not pinned; None if unknown."""
        return next((place for place, turn in enumerate(self._turns) if self._seen(turn) and not turn.turn.pinned), None)

    def show_context(self, held: Mapping[str, bool], costs: Mapping[str, int] | None = None) -> None:
        """Dim the turns outside the context, and mark where it starts.

        Args:
            held: the ids of the turns in the context, each with whether it is pinned. Ids of other conversations do no harm.
            costs: token counts of turns, as far as they are known.
        """
        self._held = held
        self._costs.update(costs or {})
        self._mark_views()

    def show_statistics(self, *, shown: bool) -> None:
        """Show or hide token counts and speed under replies."""
        self._statistics = shown
        self._mark_views()

    def replace_turn(self, shown: TranscriptTurn) -> None:
        """Update a turn's state without drawing its text again."""
        self._turns = [shown if turn.turn_id == shown.turn_id else turn for turn in self._turns]
        for view in self.views:
            if view.shown.turn_id == shown.turn_id:
                view.shown = shown
        self._mark_views()

    def clear_selection(self) -> None:
        """Select no turn."""
        self._selected = None
        self._mark_views()

    async def select(self, turn_id: str) -> None:
        """Select a turn and scroll it into view."""
        self._selected = turn_id
        self._mark_views()
        view = self._view_of(turn_id)
        if view is None:
            await self.go_to(turn_id)
            return
        tall = view.outer_size.height >= self.container_size.height
        if turn_id == self.last_id and not tall:
            self.anchor()
        else:
            self.release_anchor()
            self.scroll_to_widget(view, animate=False, top=tall, force=True)

    def _view_of(self, turn_id: str) -> TurnView | None:
        """The view of a turn; None while it is not mounted."""
        return next((view for view in self.views if view.shown.turn_id == turn_id), None)

    def _filling(self, turns: Sequence[TranscriptTurn]) -> int:
        """How many of the last `turns` fill the screens of text that are mounted beyond an edge."""
        size, screen = self.container_size, self.app.size
        width, rows = max(20, size.width or screen.width), max(8, size.height or screen.height) * _SCREENS
        count = 0
        while rows > 0 and count < min(len(turns), _MOST_TURNS):
            turn = turns[-1 - count].turn
            rows -= 4 + sum(len(text) // width + text.count("\n") for text in (turn.user, turn.reply))
            count += 1
        return count

    async def show(self, turns: Sequence[TranscriptTurn], *, complete: bool, growing: TranscriptTurn | None = None) -> None:
        """Show a conversation from its end.

        Args:
            turns: its last turns, oldest first.
            complete: whether there are none before them.
            growing: the one of them whose reply is streamed, with the text so far.
        """
        self._turns, self._complete = list(turns), complete
        self._growing = TurnView(growing, growing=True) if growing is not None else None
        await self._show_end()

    async def _show_end(self) -> None:
        """Mount the last turns, and follow their end."""
        self._settling = True
        self._asked = False
        self.reading = None
        if await self._remount(len(self._turns) - self._filling(self._turns), len(self._turns), follow=True):
            self._settling = False
            self.call_after_refresh(self._mount_nearby)

    def prepend(self, turns: Sequence[TranscriptTurn], *, complete: bool) -> None:
        """Add older turns, which are mounted when the reader comes near. `complete` says that there are no more."""
        self._turns[:0] = turns
        self._first += len(turns)
        self._end += len(turns)
        self._complete = complete
        self._asked = False
        self._mark_views()
        self._mount_nearby()

    async def begin(self, shown: TranscriptTurn) -> None:
        """Add a turn whose reply will be streamed, and scroll to it."""
        self._selected = None
        self._mark_views()
        self._growing = TurnView(shown, growing=True)
        self._turns.append(shown)
        if self._end < len(self._turns) - 1:
            await self._show_end()
            return
        self._end = len(self._turns)
        self.views.append(self._growing)
        self.anchor()
        await self.mount(self._growing)

    async def go_to(self, turn_id: str) -> None:
        """Show the turn `turn_id` at the top, if it is loaded, and stop following the end."""
        place = next((number for number, turn in enumerate(self._turns) if turn.turn_id == turn_id), None)
        if place is None:
            return
        if await self._mount_around(place) and (found := self._view_of(turn_id)) is not None:
            found.add_class("-found")
            self.call_after_refresh(self._scroll_to_found, found)

    async def _mount_around(self, place: int) -> bool:
        """Mount the turn at `place`, two before it and those after it, and stop following the end; False as `_remount` says."""
        self._settling = True
        self.release_anchor()
        self.reading = None
        return await self._remount(max(0, place - 2), min(len(self._turns), place + _MOST_TURNS), follow=False)

    async def _remount(self, first: int, end: int, *, follow: bool) -> bool:
        """Mount the turns from `first` up to `end` in place of what is mounted; `follow` keeps their end in view.

        Everything has its place before anything is awaited, as others may be shown meanwhile; then it returns False.
        """
        self._first, self._end = first, end
        gone, views = self.views, [self._new_view(turn) for turn in self._turns[first:end]]
        self.views = views
        with self.app.batch_update():
            removing = self.remove_children(gone)
            if follow:
                self.anchor()
            mounting = self.mount_all(views)
            self._mark_views()
            try:
                await asyncio.shield(asyncio.gather(removing, mounting))  # cancelling the former would leave views that never end
            except asyncio.CancelledError:
                self._settling = False
                raise
        return self.views is views

    def _new_view(self, turn: TranscriptTurn) -> TurnView:
        """A view of a turn; that of the turn whose reply is growing takes over its text."""
        growing = self._growing
        if growing is None or growing.shown.turn_id != turn.turn_id:
            return TurnView(turn)
        so_far = replace(turn, turn=replace(turn.turn, reply=growing.reply.text))
        self._growing = TurnView(so_far, growing=True)
        return self._growing

    def _scroll_to_found(self, found: TurnView) -> None:
        """Scroll `found` to the top edge, once it is laid out."""
        if found not in self.views:
            return  # another turn was requested in the meantime
        self.release_anchor()
        self.scroll_to_widget(found, animate=False, top=True, force=True)
        self._settling = False
        self.call_after_refresh(self._mount_nearby)

    def append_text(self, turn_id: str, text: str) -> None:
        """Add streamed text to the turn that was begun; text of another turn is not shown."""
        if self._growing is not None and self._growing.shown.turn_id == turn_id:
            self._growing.reply.append_text(text)

    def defer_redraw(self) -> None:
        """Draw the next keystroke before more of a growing reply."""
        if self._growing is not None:
            self._growing.reply.defer_redraw()

    def finish(self, shown: TranscriptTurn) -> None:
        """Show a turn as it was saved, whether it is mounted or not."""
        self._growing = None
        for view in self.views:
            if view.shown.turn_id == shown.turn_id:
                view.reply.finish(shown.turn)
        self.replace_turn(shown)

    async def on_click(self, event: events.Click) -> None:
        """Select the turn that was clicked, or clear the selection; a click that ends a text selection does neither."""
        clicked = event.widget
        view = next((node for node in clicked.ancestors_with_self if isinstance(node, TurnView)), None) if clicked else None
        if view is not None and not self.screen.get_selected_text():
            self._selected = None if view.shown.turn_id == self._selected else view.shown.turn_id
            self._mark_views()
            self.post_message(self.Selected())

    def _mark_views(self) -> None:
        """Update the marks of every mounted turn."""
        evicted = set(self.evicted)
        start = self._start if evicted or not self._complete else None
        edge = self._turns[start].turn_id if start is not None else None
        for view in self.views:
            shown = view.shown
            marks = TurnMarks(
                dimmed=shown.turn_id in evicted or shown.turn.excluded,
                edge=shown.turn_id == edge,
                selected=shown.turn_id == self._selected,
                statistics=self._statistics,
                tokens=self._costs.get(shown.turn_id),
            )
            view.mark(marks)

    def _seen(self, turn: TranscriptTurn) -> bool:
        """Whether the turn is in the context. An excluded one stays in the KV cache until the next prefill; that is not shown."""
        return turn.turn_id in self._held and not turn.turn.excluded

    async def action_step(self, step: int) -> None:
        """Select the turn `step` turns on; without a selection, scroll."""
        if self._selected is not None:
            await self.screen.run_action(f"command('chat.turn_{'before' if step < 0 else 'after'}')")
        else:
            self.action_scroll_up() if step < 0 else self.action_scroll_down()

    async def show_oldest(self) -> None:
        """Scroll to the oldest loaded turn."""
        if self._first == 0 or await self._mount_around(0):
            self.call_after_refresh(self._scroll_to_top)

    def _scroll_to_top(self) -> None:
        self._settling = False
        self.scroll_home(animate=False)

    async def action_newest(self) -> None:
        """Scroll to the end and follow it."""
        if self._end < len(self._turns):
            await self._show_end()
        self.anchor()
        self.call_after_refresh(self.anchor)  # Textual scrolls by a page only then, if a key asked for it just before

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Mount turns that come near."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.call_after_refresh(self._mount_nearby)

    def _mount_nearby(self) -> None:
        """Mount turns near the edge being approached, and unmount those far beyond the other."""
        if self._settling or not self.views or not self.is_attached:
            return
        height = max(1, self.container_size.height)
        below = self.virtual_size.height - self.scroll_y - height
        if self.scroll_y < height:
            self._grow_up()
        elif below < height and self._end < len(self._turns):
            self._grow_down()
        self._prune(height, below)

    def _grow_up(self) -> None:
        if self._first == 0:
            if not self._complete and not self._asked:
                self._asked = True
                self.post_message(self.OlderRequested())
            return
        if not self.following and self.reading is None:
            self.note_reading()
        more = self._filling(self._turns[: self._first])
        added = [TurnView(turn) for turn in self._turns[self._first - more : self._first]]
        self._first -= more
        self.mount_all(added, before=self.views[0])
        self.views[:0] = added
        self._mark_views()
        self.call_after_refresh(self._mount_nearby)

    def _grow_down(self) -> None:
        more = self._turns[self._end : self._end + _MOST_TURNS]
        self._end += len(more)
        added = [self._new_view(turn) for turn in more]
        self.mount_all(added, after=self.views[-1])
        self.views += added
        self._mark_views()

    def _prune(self, height: int, below: float) -> None:
        """Unmount turns far from the visible part."""
        margin = height * _SCREENS * 2
        gone: list[TurnView] = []
        if self.scroll_y > margin:
            for view in self.views[:-1]:
                if not view.virtual_region or view.virtual_region.bottom >= self.scroll_y - margin / 2:
                    break
                gone.append(view)
            self._first += len(gone)
            del self.views[: len(gone)]
        elif below > margin and not self.following:
            edge = self.scroll_y + height + margin / 2
            for view in reversed(self.views[1:]):
                if not view.virtual_region or view.virtual_region.y <= edge or view is self._growing:
                    break
                gone.append(view)
            self._end -= len(gone)
            del self.views[len(self.views) - len(gone) :]
        if gone:
            self.remove_children(gone)
