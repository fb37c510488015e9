"""The conversation, as a window of mounted turns over all that was said."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual import message
from textual.binding import Binding, BindingType
from textual.scrollbar import ScrollBar
from textual.widget import Widget

from mistral_chat.ui.widgets.marking import Marking
from mistral_chat.ui.widgets.turn_view import TurnView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.geometry import Size
    from textual.layout import DockArrangeResult

    from mistral_chat.ui.shown import ShownTurn

_SCREENS: Final = 3
"""How many screens of text are mounted beyond each edge of what is seen."""

_MOST_TURNS: Final = 24
"""Turns mounted in one go; short ones are cheap, but not free."""


class Transcript(Marking, can_focus=True):
    """Shows turns, oldest at the top, and follows the end until the reader scrolls away.

    Ten turns and ten thousand cost the same: turns far from what is seen are not mounted. Where the reader is stays where it is
    when turns come or go above, when a reply grows, and when the window changes its width.
    """

    DEFAULT_CSS = """
    Transcript {
        height: 100%;
        align: center bottom;
        scrollbar-size-vertical: 1;
        scrollbar-background: $background;
        scrollbar-color: $panel;
    }
    """

    HELP = """\
    ## Conversation

    Scroll with the arrows, Page Up and Page Down, Home and End, or the wheel. Select text with the mouse; Ctrl+C copies it.
    Older turns appear as you scroll up. **Alt+Up** and **Alt+Down**, or a click, choose a turn; **Enter** shows what can be done
    with it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home", "oldest", "Go to the oldest turn shown", tooltip="Scroll to the top", id="transcript.oldest", show=False),
        Binding(
            "end",
            "newest",
            "Go to the newest turn",
            tooltip="Scroll to the end and follow it",
            id="transcript.newest",
            show=False,
        ),
        Binding(
            "enter",
            "turn",
            "What to do with the turn",
            tooltip="See what can be done with the chosen turn",
            id="transcript.turn",
            show=False,
        ),
    ]

    class MenuWanted(message.Message):
        """A person asks what can be done with the chosen turn, or with the last one."""

    class OlderWanted(message.Message):
        """The reader nears the oldest turn that is known; there may be older ones."""

        def __init__(self, before: str) -> None:
            """Ask for turns before the turn `before`."""
            super().__init__()
            self.before = before

    def __init__(self) -> None:
        """Make an empty transcript."""
        super().__init__()
        self._first = 0
        self._end = 0
        self._growing: TurnView | None = None
        self._settling = False
        self._asked = False
        self._place: tuple[Widget, float] | None = None
        self._thumb = 0.0
        """Where the scroll bar was when the screen was last laid out."""

    def on_mount(self) -> None:
        """Follow the end."""
        self.anchor()

    @property
    def following(self) -> bool:
        """Whether the end stays in view as it grows."""
        return self.is_anchored and not self._anchor_released

    async def show(self, turns: Sequence[ShownTurn], *, complete: bool) -> None:
        """Show a conversation from its end.

        Args:
            turns: its last turns, oldest first.
            complete: whether there are none before them.
        """
        self._settling = True
        self._turns = list(turns)
        self._complete = complete
        self._asked = False
        self._growing = None
        self._place = None
        self._end = len(self._turns)
        self._first = self._end - self._count_back(self._end)
        gone, self._views = self._views, [TurnView(turn) for turn in self._turns[self._first : self._end]]
        async with self.batch():
            await self.remove_children(gone)
            self.anchor()
            await self.mount_all(self._views)
        self._settling = False
        self.mark_views()
        self.call_after_refresh(self._tend)

    def prepend(self, turns: Sequence[ShownTurn], *, complete: bool) -> None:
        """Take older turns; they are mounted when the reader comes near. `complete` says that there are no more."""
        self._turns[:0] = turns
        self._first += len(turns)
        self._end += len(turns)
        self._complete = complete
        self._asked = False
        self.mark_views()
        self._tend()

    async def begin(self, shown: ShownTurn) -> TurnView:
        """Add a turn whose reply is awaited, go to it, and give its view."""
        if self._end < len(self._turns):
            await self.show(self._turns, complete=self._complete)
        self._chosen = None
        self.mark_views()
        view = TurnView(shown, growing=True)
        self._turns.append(shown)
        self._end = len(self._turns)
        self._growing = view
        self._views.append(view)
        self.anchor()
        await self.mount(view)
        return view

    async def go_to(self, turn_id: str) -> None:
        """Show the turn `turn_id` at the top, if it is known; the end is no longer followed."""
        place = next((number for number, turn in enumerate(self._turns) if turn.turn_id == turn_id), None)
        if place is None:
            return
        self._settling = True
        self.release_anchor()
        self._place = None
        self._first = max(0, place - 2)
        self._end = min(len(self._turns), place + _MOST_TURNS)
        gone, self._views = self._views, [TurnView(turn) for turn in self._turns[self._first : self._end]]
        async with self.batch():
            await self.remove_children(gone)
            await self.mount_all(self._views)
        self.mark_views()
        found = self._views[place - self._first]
        found.add_class("-found")
        self.call_after_refresh(self._arrive, found)

    def _arrive(self, found: TurnView) -> None:
        """Put `found` at the top edge, now that it has been laid out."""
        if found not in self._views:
            return  # another place was wanted meanwhile
        self.release_anchor()
        self.scroll_to_widget(found, animate=False, top=True, force=True)
        self._settling = False
        self.call_after_refresh(self._tend)

    def write(self, turn_id: str, text: str) -> None:
        """Add a streamed piece to the turn that was begun; another turn's is not shown."""
        if self._growing is not None and self._growing.shown.turn_id == turn_id:
            self._growing.reply.write(text)

    def give_way(self) -> None:
        """A key was pressed: what it brings to the screen comes before more of a growing reply."""
        if self._growing is not None:
            self._growing.reply.give_way()

    def finish(self, shown: ShownTurn) -> None:
        """Show a turn as it was kept, whether it is mounted or not."""
        self._growing = None
        for number, turn in enumerate(self._turns):
            if turn.turn_id == shown.turn_id:
                self._turns[number] = shown
        for view in self._views:
            if view.shown.turn_id == shown.turn_id:
                view.finish(shown)
        self.mark_views()

    def action_turn(self) -> None:
        """Ask for what can be done with the turn."""
        self.post_message(self.MenuWanted())

    def action_oldest(self) -> None:
        """Go to the top of what is mounted."""
        self.scroll_home(animate=False)

    async def action_newest(self) -> None:
        """Go to the end and follow it."""
        if self._end < len(self._turns):
            await self.show(self._turns, complete=self._complete)
        self.anchor()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Note where the reader is, and mount what comes near."""
        super().watch_scroll_y(old_value, new_value)
        if self.following:
            self._place = None
        else:
            self._note_place()
        if round(old_value) != round(new_value):
            self.call_after_refresh(self._tend)

    def arrange(self, size: Size, optimal: bool = False) -> DockArrangeResult:  # noqa: FBT001, FBT002 (Textual's own signature)
        """Lay the turns out, and keep the line that is being read where it is."""
        result = super().arrange(size, optimal)
        if self._place is not None and not self.following:
            widget, offset = self._place
            for placement in result.placements:
                if placement.widget is widget:
                    most = max(0, result.total_region.bottom - self.container_size.height)
                    target = min(max(0.0, placement.region.y + offset), most)
                    if round(target) != round(self.scroll_y):
                        self.set_reactive(Widget.scroll_y, target)
                        self.set_reactive(Widget.scroll_target_y, target)
                        self.vertical_scrollbar.set_reactive(ScrollBar.position, target)
                    break
        return result

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:  # noqa: FBT001, FBT002 (Textual's own signature)
        """Take a size. Laying out moves the scroll bar and does not draw it; it is drawn where it has moved."""
        updated = super()._size_updated(size, virtual_size, container_size, layout)
        if self._thumb != self.scroll_y:
            self._thumb = self.scroll_y
            self.vertical_scrollbar.refresh()
        return updated

    def _note_place(self) -> None:
        """Remember which turn is at the top edge, and how far it has scrolled past it."""
        self._place = None  # asking for a region may lay the turns out, which must not go back to the old place
        for view in self._views:
            region = view.virtual_region
            if region.bottom > self.scroll_y:
                self._place = (view, self.scroll_y - region.y)
                return

    def _tend(self) -> None:
        """Mount turns near the edge that is neared, and let go of those far behind the other."""
        if self._settling or not self._views or not self.is_attached:
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
                self.post_message(self.OlderWanted(self._turns[0].turn_id))
            return
        if not self.following and self._place is None:
            self._note_place()
        more = self._count_back(self._first)
        added = [TurnView(turn) for turn in self._turns[self._first - more : self._first]]
        self._first -= more
        self.mount_all(added, before=self._views[0])
        self._views[:0] = added
        self.mark_views()
        self.call_after_refresh(self._tend)

    def _grow_down(self) -> None:
        more = self._turns[self._end : self._end + _MOST_TURNS]
        self._end += len(more)
        added = [TurnView(turn) for turn in more]
        self.mount_all(added, after=self._views[-1])
        self._views += added
        self.mark_views()

    def _prune(self, height: int, below: float) -> None:
        """Unmount turns that are more than the margin away from what is seen."""
        margin = height * _SCREENS * 2
        gone: list[TurnView] = []
        if self.scroll_y > margin:
            for view in self._views[:-1]:
                if not view.virtual_region or view.virtual_region.bottom >= self.scroll_y - margin / 2:
                    break
                gone.append(view)
            self._first += len(gone)
            del self._views[: len(gone)]
        elif below > margin and not self.following:
            edge = self.scroll_y + height + margin / 2
            for view in reversed(self._views[1:]):
                if not view.virtual_region or view.virtual_region.y <= edge or view is self._growing:
                    break
                gone.append(view)
            self._end -= len(gone)
            del self._views[len(self._views) - len(gone) :]
        if gone:
            self.remove_children(gone)

    def _count_back(self, end: int) -> int:
        """Say how many turns before `end` fill the screens that are mounted ahead."""
        width = max(20, self.container_size.width or self.app.size.width)
        rows = max(8, self.container_size.height or self.app.size.height) * _SCREENS
        count = 0
        while rows > 0 and count < min(end, _MOST_TURNS):
            turn = self._turns[end - 1 - count].turn
            rows -= 4 + sum(len(text) // width + text.count("\n") for text in (turn.user, turn.reply))
            count += 1
        return count
