"""The list of conversations, by day."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from textual import message, on
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

    from mistral_chat.ui.shown import ShownConversation

_OLDER = "older"
"""The id of the line that offers older conversations; the store's ids are longer."""


class ConversationList(OptionList):
    """Lists conversations: pinned ones first, then by the day they were last used. Only what is seen is drawn."""

    DEFAULT_CSS = """
    ConversationList {
        height: 1fr;
        padding: 0 1;
        border: none;
        background: transparent;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        scrollbar-size-vertical: 1;

        &.-textual-compact { padding: 0 1; }
        &:focus { border: none; background-tint: transparent; }
        & > .option-list--option { padding: 0; }
        & > .option-list--option-disabled { color: $text-muted; text-style: none; }
        & > .option-list--option-highlighted { background: $panel; color: $foreground; text-style: bold; }
        &:focus > .option-list--option-highlighted { background: $primary 35%; color: $text; text-style: bold; }
    }
    """

    HELP = """\
    ## Conversations

    **Enter** opens one, **/** narrows the list down as you type, **F2** renames, **F9** pins, **Alt+A** archives, **Delete**
    moves to the trash. **F8** undoes each of these. Ctrl+B hides and shows the list.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete", "delete", "Delete", tooltip="Move the conversation to the trash", id="list.delete", show=False),
        Binding("slash", "screen.filter", "Filter", tooltip="Narrow the list down as you type", id="list.filter", show=False),
    ]

    class Chosen(message.Message):
        """A conversation is to be opened."""

        def __init__(self, conversation_id: str) -> None:
            """Carry its id."""
            super().__init__()
            self.conversation_id = conversation_id

    class DeletionAsked(message.Message):
        """A conversation is to go to the trash."""

        def __init__(self, conversation_id: str) -> None:
            """Carry its id."""
            super().__init__()
            self.conversation_id = conversation_id

    class MoreWanted(message.Message):
        """Older conversations are to be listed too."""

    def __init__(self) -> None:
        """Make an empty list."""
        super().__init__(id="conversations", markup=False, compact=True)
        self._shown: _Shown | None = None
        self._asked = False
        self._open: str | None = None

    @property
    def marked(self) -> str | None:
        """The id of the conversation under the cursor."""
        option = self.highlighted_option
        return option.id if option is not None and option.id != _OLDER else None

    @property
    def first(self) -> str | None:
        """The id of the first conversation listed."""
        return next((option.id for option in self.options if option.id not in {None, _OLDER}), None)

    def show(
        self,
        conversations: Sequence[ShownConversation],
        now: datetime,
        *,
        more: bool = False,
        heading: str = "",
        empty: str = "",
    ) -> None:
        """List `conversations`, in their order.

        Args:
            conversations: the first ones in the store's order.
            now: a time with a zone; says what is today.
            more: whether there are others, which the last line then offers.
            heading: what is listed, where it is not what is listed as a rule.
            empty: what to say where there are none.
        """
        wanted = _Shown(tuple(conversations), now.astimezone().date(), more, heading, empty)
        if wanted == self._shown:
            return
        self._shown, self._asked = wanted, False
        marked, place = self.marked or self._open, self.scroll_offset.y
        self.set_options(_lines(wanted))
        self._mark(marked)
        if more or place:
            self.call_after_refresh(self.scroll_to, y=place, animate=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Ask for older conversations before the reader reaches the end."""
        super().watch_scroll_y(old_value, new_value)
        near = self.max_scroll_y - new_value < self.size.height
        if near and new_value > old_value and self._shown is not None and self._shown.more and not self._asked:
            self._asked = True
            self.post_message(self.MoreWanted())

    def mark_first(self) -> None:
        """Move the cursor to the first conversation."""
        self._mark(self.first)

    def mark_open(self, conversation_id: str | None) -> None:
        """Move the cursor to the conversation that is open; None is a new one."""
        self._open = conversation_id
        self._mark(conversation_id)

    def action_delete(self) -> None:
        """Ask for the conversation under the cursor to be deleted."""
        if self.marked is not None:
            self.post_message(self.DeletionAsked(self.marked))

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id == _OLDER:
            self.post_message(self.MoreWanted())
        elif event.option_id is not None:
            self.post_message(self.Chosen(event.option_id))

    def _mark(self, conversation_id: str | None) -> None:
        known = {option.id: number for number, option in enumerate(self.options)}
        self.highlighted = known.get(conversation_id) if conversation_id is not None else None


class _Shown(NamedTuple):
    conversations: tuple[ShownConversation, ...]
    today: date
    more: bool
    heading: str
    empty: str


def _lines(shown: _Shown) -> Iterator[Option]:
    if shown.heading:
        yield Option(Content.styled(shown.heading, "bold $text-accent"), disabled=True)
        yield Option("", disabled=True)
    if not shown.conversations and shown.empty:
        yield Option(Content(shown.empty), disabled=True)
    yield from _options(shown.conversations, shown.today)
    if shown.more:
        yield Option("Older …", id=_OLDER)


def _options(conversations: Sequence[ShownConversation], today: date) -> Iterator[Option]:
    heading = ""
    for shown in conversations:
        wanted = "Pinned" if shown.pinned else _day(shown.updated.astimezone().date(), today)
        if wanted != heading:
            if heading:
                yield Option("", disabled=True)
            heading = wanted
            yield Option(Content(heading), disabled=True)
        yield Option(_title(shown), id=shown.conversation_id)


def _title(shown: ShownConversation) -> Content:
    title = one_line(shown.title, 80) or "New conversation"
    if not shown.tags:
        return Content(title)
    return Content.assemble(title, "  ", (" ".join(f"#{one_line(tag, 30)}" for tag in shown.tags), "$foreground 65%"))


def _day(day: date, today: date) -> str:
    """Name the stretch of time that `day` belongs to, seen from `today`."""
    days = (today - day).days
    if days <= 1:
        return "Yesterday" if days == 1 else "Today"
    if days < 7:  # noqa: PLR2004 (the days of a week)
        return "This week"
    if (day.year, day.month) == (today.year, today.month):
        return "This month"
    return f"{day:%B}" if day.year == today.year else f"{day:%B %Y}"
