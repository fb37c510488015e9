"""The sidebar: the list of conversations by day, its filter, and the archive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NamedTuple

from textual import message, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.visual import Visual
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.text import one_line
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.widgets.ordered_keys import OrderedKeys
from mistral_chat.ui.widgets.plain_list import PlainList

if TYPE_CHECKING:
    from textual.css.styles import RulesMap
    from textual.strip import Strip
    from textual.style import Style
    from textual.visual import RenderOptions

_OLDER: Final = "older"
"""The id of the row that loads older conversations; the store's ids are longer."""

_PAGE: Final = 300
"""Conversations listed at first, and added each time the user nears the end."""

_SHORTEST: Final = 10
"""Minimum columns of a title next to its tags."""

_WEEK: Final = 7
"""Days."""

_HELD_SECONDS: Final = 0.7
"""Maximum seconds until a key that is held is repeated."""

_REPEAT_SECONDS: Final = 0.4
"""Maximum seconds between two further repetitions of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedConversation:
    """A conversation in the list."""

    conversation_id: str
    title: str
    updated: datetime
    """The time of its last message, with a zone."""
    pinned: bool = False
    tags: tuple[str, ...] = ()
    replying: bool = False
    """Whether a reply is being generated or is pending in it."""


Query = Callable[[Literal["active", "archived"], str, str, int], Sequence[ListedConversation] | None]
"""Finds conversations by a part of the title and a tag, at most as many as the last argument says; None after an error."""


class Listing(NamedTuple):
    """What the list shows."""

    conversations: tuple[ListedConversation, ...]
    today: date
    more: bool = False
    """Whether there are others, which the last row then offers."""
    heading: str = ""
    """What is listed, if it is not the usual list."""
    empty: str = ""
    """Shown if there are no conversations."""


class ConversationList(PlainList):
    """Lists conversations: pinned ones first, then by the day they were last used. Only visible rows are drawn."""

    DEFAULT_CSS = """
    ConversationList { height: 1fr; padding: 0 1; }
    """

    HELP = """\
    ## Conversations

    **Enter** opens a conversation, **/** filters the list as you type, **r** renames, **p** pins, **a** archives, **v** shows
    the archive, **d** moves to the trash, and **u** undoes each of these. Ctrl+B hides and shows the list. ⟳ marks a
    conversation whose reply is being generated.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding(
            "list.delete", "delete,backspace,d", "screen.command('chat.delete')", "Delete", "Move the conversation to the trash"
        ),
        key_binding("list.filter", "slash", "screen.command('chat.filter')", "Filter", "Filter the list as you type"),
    ]

    @dataclass
    class Chosen(message.Message):
        """A conversation is to be opened."""

        conversation_id: str

    class MoreRequested(message.Message):
        """Older conversations are to be listed too."""

    def __init__(self) -> None:
        """Make an empty list."""
        super().__init__(id="conversations")
        self._shown: Listing | None = None
        self._requested = False
        self._open: str | None = None
        self._came = "", 0.0
        """The conversation to which the cursor came by itself, and until when a key that is held comes again."""

    @property
    def marked(self) -> str | None:
        """The id of the conversation under the cursor."""
        option = self.highlighted_option
        return option.id if option is not None and option.id != _OLDER else None

    @property
    def first(self) -> str | None:
        """The id of the first conversation listed."""
        return next((option.id for option in self.options if option.id not in {None, _OLDER}), None)

    def show(self, wanted: Listing) -> None:
        """List the conversations in their order; the cursor stays where it is."""
        if wanted == self._shown:
            return
        self._shown, self._requested = wanted, False
        cursor, place, rows = self.highlighted, self.scroll_offset.y, [option.id for option in self.options]
        # The cursor of a user of the list stays in its place, whatever is removed there.
        near = [*rows[cursor:], *reversed(rows[:cursor])] if self.has_focus and cursor is not None else [self.marked]
        before = self.marked
        self.set_options(_rows(wanted))
        self._mark(*near, self._open)
        if (after := self.marked) is not None and after != before:
            self._came = after, time.monotonic() + _HELD_SECONDS
        if wanted.more or place:
            self.call_after_refresh(self.scroll_to, y=place, animate=False)

    def is_early(self, conversation_id: str) -> bool:
        """Whether a key that is held would remove this conversation, to which the cursor came because it removed another."""
        (came, until), now = self._came, time.monotonic()
        self._came = came, now + _REPEAT_SECONDS
        return self.has_focus and came == conversation_id and now < until

    def on_focus(self) -> None:
        """Highlight a row, so that Enter always has one."""
        if self.highlighted is None:
            self._mark(self._open, self.first)

    def on_blur(self) -> None:
        """Highlight the open conversation, unless the terminal itself has lost the focus, which comes back."""
        if self.app.app_focus:
            self._mark(self._open)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Request older conversations before the reader reaches the end."""
        super().watch_scroll_y(old_value, new_value)
        near = self.max_scroll_y - new_value < self.size.height
        if near and new_value > old_value and self._shown is not None and self._shown.more and not self._requested:
            self._requested = True
            self.post_message(self.MoreRequested())

    def mark_first(self) -> None:
        """Move the cursor to the first conversation."""
        self._mark(self.first)

    def mark_open(self, conversation_id: str | None) -> None:
        """Move the cursor to the conversation that is open now, except while the list is in use; None is a new one."""
        changed, self._open = conversation_id != self._open, conversation_id
        if changed and not self.has_focus:
            self._mark(conversation_id)

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id == _OLDER:
            self.post_message(self.MoreRequested())
        elif event.option_id is not None:
            self.post_message(self.Chosen(event.option_id))

    def _mark(self, *wanted: str | None) -> None:
        """Move the cursor to the first of `wanted` that is listed."""
        known = {option.id: number for number, option in enumerate(self.options) if option.id not in {None, _OLDER}}
        self.highlighted = next((known[each] for each in wanted if each in known), None)


class ListFilter(OrderedKeys, Input):
    """Filters the list by a part of the title, or by a tag. Hidden until needed."""

    DEFAULT_CSS = """
    ListFilter {
        height: 1;
        margin: 0 1 1 1;
        padding: 0 1;
        background: $panel;
    }
    """

    HELP = """\
    ## Filter

    Type a part of a title; **#tag** keeps the conversations with that tag. **Down** goes to the list, **Enter** opens the
    first, **Esc** shows all again.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("filter.leave", "escape", "leave(True)", "Show all", "Show all conversations"),
        key_binding("filter.down", "down", "leave(False)", "Go to the list", "Go to the list"),
    ]

    @dataclass
    class Left(message.Message):
        """The list is to have the focus."""

        show_all: bool
        """Whether all conversations are to be listed again."""

    def __init__(self) -> None:
        """Make an empty field."""
        super().__init__(id="filter", placeholder="Filter titles, or #tag", compact=True)
        self.display = False

    def action_leave(self, show_all: bool) -> None:  # noqa: FBT001 (an action's parameter)
        """Go to the list of all conversations, or of the matches."""
        self.post_message(self.Left(show_all=show_all))


class ConversationSidebar(Vertical):
    """The list with its filter. It asks a query function for what it lists, and opens nothing itself.

    Before it is furnished it shows only its title, so that the first paint waits for nothing.
    """

    def __init__(self, query: Query, now: Callable[[], datetime]) -> None:
        """Make a sidebar with a title and nothing else. It lists what `query` finds; `now` returns a time with a zone."""
        super().__init__(id="side")
        self._query, self._now = query, now
        self.conversations = ConversationList()
        """The list."""
        self.filter = ListFilter()
        """The filter above the list."""
        self._limit = _PAGE
        self._archived = False
        self._empty = ""

    def compose(self) -> ComposeResult:
        """Show the title."""
        yield Static("mistral-chat", classes="name", markup=False)

    async def furnish(self) -> None:
        """Mount the list and the filter."""
        await self.mount(self.filter, self.conversations)

    def show_heading(self, heading: str, *, empty: str) -> None:
        """Show `heading` at the top, and `empty` in place of a list without conversations."""
        self.query_one(".name", Static).update(heading)
        self._empty = empty

    def reload(self) -> None:
        """List what the query finds now; after an error, the list stays as it is."""
        found = self._query("archived" if self._archived else "active", *_parse_filter(self.filter.value), self._limit + 1)
        if found is None:
            return
        empty = "No matches" if self.filter.value.strip() else "The archive is empty" if self._archived else self._empty
        heading, more, today = "Archived" if self._archived else "", len(found) > self._limit, self._now().astimezone().date()
        self.conversations.show(Listing(tuple(found[: self._limit]), today, more, heading, empty))

    def focus_list(self) -> None:
        """Give the list the focus."""
        # At once if it is visible already, so that a key pressed right after this one is the list's.
        if self.conversations.focusable:
            self.screen.set_focus(self.conversations)
        else:
            self.conversations.focus()

    def begin_filter(self, words: str) -> None:
        """Show the filter with `words` and give it the focus."""
        self.filter.display = True
        # At once, and not with the next message as `focus` does it: what is typed next is for the filter.
        self.screen.set_focus(self.filter)
        self.filter.value = words or self.filter.value

    def toggle_archive(self) -> None:
        """List archived conversations, or the others again."""
        self._archived = not self._archived
        self._start_over()
        self.focus_list()
        self.conversations.mark_first()

    def reset(self) -> None:
        """List everything that is not archived."""
        if self._archived or self.filter.display:
            self._archived = self.filter.display = False
            self.filter.value = ""
            self._start_over()

    def on_conversation_list_more_requested(self, event: ConversationList.MoreRequested) -> None:
        """List older conversations too."""
        event.stop()
        self._limit += _PAGE
        self.reload()

    def on_input_changed(self, event: Input.Changed) -> None:
        """List what matches."""
        event.stop()
        self._start_over()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Open the first match."""
        event.stop()
        if (first := self.conversations.first) is not None:
            self.post_message(ConversationList.Chosen(first))

    def on_list_filter_left(self, event: ListFilter.Left) -> None:
        """Go to the matches, or list everything again."""
        event.stop()
        self.conversations.focus()
        if event.show_all:
            self.reset()
        else:
            self.conversations.mark_first()

    def _start_over(self) -> None:
        self._limit = _PAGE
        self.reload()


def _parse_filter(text: str) -> tuple[str, str]:
    """Split what was typed: a part of the title, and the first word that starts with a number sign as the tag."""
    words = text.split()
    tag = next((word for word in words if word.startswith("#") and word != "#"), "")
    return " ".join(word for word in words if word not in {tag, "#"}), tag.removeprefix("#")


def _rows(shown: Listing) -> Iterator[Option]:
    if shown.heading:
        yield Option(Content.styled(shown.heading, "bold $text-accent"), disabled=True)
        yield Option("", disabled=True)
    if not shown.conversations and shown.empty:
        yield Option(Content(shown.empty), disabled=True)
    yield from _by_day(shown.conversations, shown.today)
    if shown.more:
        yield Option("Older…", id=_OLDER)


def _by_day(conversations: Sequence[ListedConversation], today: date) -> Iterator[Option]:
    heading = ""
    for shown in conversations:
        wanted = "Pinned" if shown.pinned else _day(shown.updated.astimezone().date(), today)
        if wanted != heading:
            if heading:
                yield Option("", disabled=True)
            heading = wanted
            yield Option(Content(heading), disabled=True)
        yield Option(_Row(shown, today), id=shown.conversation_id)


class _Row(Visual):
    """A conversation on one line: its title, cut to what is left, its tags, and at the right its time."""

    def __init__(self, shown: ListedConversation, today: date) -> None:
        self._shown, self._today = shown, today

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:  # noqa: ARG002 (Textual's)
        return container_width

    def get_height(self, rules: RulesMap, width: int) -> int:  # noqa: ARG002 (Textual's)
        return 1

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        # The row under the cursor is bold, and quiet text would be unreadable on its background.
        return self._line(width, "" if style.bold else "$text-quiet").render_strips(width, height, style, options)

    def _line(self, width: int, quiet: str) -> Content:
        shown = self._shown
        time = Content.styled(_time(shown.updated.astimezone(), self._today), quiet)
        title, room = self._title(), width - time.cell_length - 1
        if room < _SHORTEST:
            return title.truncate(width, ellipsis=True)
        if shown.tags:
            tags = "  " + " ".join(f"#{one_line(tag, 30)}" for tag in shown.tags)
            tagged = Content.styled(tags, quiet).truncate(room - min(title.cell_length, _SHORTEST), ellipsis=True)
            left = title.truncate(room - tagged.cell_length, ellipsis=True) + tagged
        else:
            left = title.truncate(room, ellipsis=True)
        return left.pad_right(width - left.cell_length - time.cell_length) + time

    def _title(self) -> Content:
        return Content(("⟳ " if self._shown.replying else "") + (one_line(self._shown.title, 80) or "New conversation"))


def _time(moment: datetime, today: date) -> str:
    """When a conversation was last used, seen from `today`, as short as the list needs it."""
    days = (today - moment.date()).days
    if days <= 0:
        return f"{moment:%H:%M}"
    if days < _WEEK:
        return f"{moment:%a}"
    return f"{moment.day} {moment:%b}"


def _day(day: date, today: date) -> str:
    """The period of `day`, relative to `today`."""
    days = (today - day).days
    if days <= 1:
        return "Yesterday" if days == 1 else "Today"
    if days < _WEEK:
        return "This week"
    if (day.year, day.month) == (today.year, today.month):
        return "This month"
    return f"{day:%B}" if day.year == today.year else f"{day:%B %Y}"
