"""A turn: a header, the user's message and the reply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, NamedTuple

from textual import message
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from mistral_chat.message_form import split_message
from mistral_chat.text import one_line
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.markdown import Line, Prose, plain
from mistral_chat.ui.widgets.blocks import LARGEST_SHOWN, BlocksView, FastWidget, cut_note
from mistral_chat.ui.widgets.reply import ReplyView

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult, RenderResult
    from textual.binding import BindingType

    from mistral_chat.conversation import TranscriptTurn, Turn
    from mistral_chat.message_form import FileText

_PREVIOUS: Final = "◂"
_NEXT: Final = "▸"
_QUIET: Final = "$text-quiet"
_LONGEST_NAME: Final = 60
"""Characters of a file's name."""
_SEPARATOR: Final = Content.styled("  ·  ", _QUIET)


class VersionMark(Widget):
    """The row below a message or a reply with several versions: the current one, with arrows to the others."""

    DEFAULT_CSS = """
    VersionMark { height: 1; padding: 0 1 0 2; margin-bottom: 1; }
    """

    @dataclass
    class Requested(message.Message):
        """A click on an arrow asks for the version `step` after the current one, `among` the turn's messages or replies."""

        turn_id: str
        step: int
        among: Literal["messages", "replies"]

    def __init__(self, among: Literal["messages", "replies"], shown: TranscriptTurn) -> None:
        """Show the version of `shown`; `among` is what the row stands under."""
        super().__init__()
        self._among = among
        self._shown = shown

    def render(self) -> RenderResult:
        """Put the arrows around the version."""
        what, (number, count) = ("Message", self._shown.message) if self._among == "messages" else ("Reply", self._shown.reply)
        version = f" {what} {number} of {count} "
        return Content.assemble((_PREVIOUS, "$text-accent"), (version, _QUIET), (_NEXT, "$text-accent"))

    def on_click(self, event: events.Click) -> None:
        """Request the version on the clicked side."""
        width, column = len(str(self.render())), event.x - self.styles.padding.left
        if 0 <= column < width:
            event.stop()
            self.post_message(self.Requested(self._shown.turn_id, -1 if column < width // 2 else 1, self._among))


class TurnHeader(Widget):
    """One row above the message: selection, marks and token count. It is present when empty, so that nothing moves."""

    DEFAULT_CSS = """
    TurnHeader { height: 1; padding: 0 1 0 2; }
    """

    def __init__(self, shown: TranscriptTurn) -> None:
        """Show the state of the turn `shown`."""
        super().__init__()
        self._shown = shown
        self._selected = False
        self._tokens: int | None = None

    def show(self, shown: TranscriptTurn, *, selected: bool, tokens: int | None) -> None:
        """Update the row. `tokens` is the turn's token count; None while it is not known."""
        now = (shown, selected, tokens)
        if now != (self._shown, self._selected, self._tokens):
            self._shown, self._selected, self._tokens = now
            self.refresh()

    def render(self) -> RenderResult:
        """Put the parts on one row."""
        turn, parts = self._shown.turn, []
        if self._selected:
            parts.append(Content.styled("selected", "bold $text-accent"))
        if turn.pinned:
            parts.append(Content.styled("◆ pinned", "$text-primary"))
        if turn.excluded:
            parts.append(Content.styled("◇ excluded from context", "$text-warning"))
        if self._tokens is not None and (self._selected or turn.pinned or turn.excluded):
            parts.append(Content.styled(f"{self._tokens:,} tokens", _QUIET))
        if self._selected:
            parts.append(Content.assemble(("Enter", "$text-accent"), (" actions", _QUIET)))
            if turn.passages:
                parts.append(Content.assemble(("o", "$text-accent"), (" sources", _QUIET)))
        width = self.content_size.width
        while parts and (line := _SEPARATOR.join(parts)).cell_length > width:
            parts.pop()
        return line if parts else ""


class MessageView(BlocksView, FastWidget):
    """Shows the user's message literally; it is never parsed as Markdown. Each attached file is one row above it."""

    DEFAULT_CSS = """
    MessageView {
        height: auto;
        padding: 0 1;
        margin-bottom: 1;
        background: $surface;
        border-left: thick $primary;
    }
    """

    def __init__(self, text: str) -> None:
        """Show `text`, which is untrusted; a truncated text says so."""
        self._files, text = split_message(text)
        rows = [Prose((Line(_file_row(file)),)) for file in self._files]
        shown = Prose((*plain(text[:LARGEST_SHOWN]).lines, *cut_note(text)))
        super().__init__([*rows, shown] if text or not rows else rows, gap=0)

    def on_click(self, event: events.Click) -> None:
        """Open the file whose row was clicked; a click that ends a text selection does not."""
        line, _ = self._blocks.lines_of(event.y - self.gutter.top)
        if line < len(self._files) and event.chain == 1 and not self.screen.get_selected_text():
            from mistral_chat.ui.dialogs.passage import PassageDialog

            event.stop()
            self.app.push_screen(PassageDialog(*self._files[line]))


class SourcesLine(Static):
    """Lists the sources of a message. Enter or a click opens one, or asks which of several.

    It takes the focus while its message is selected, so that Tab leads from the transcript to it.
    """

    DEFAULT_CSS = """
    SourcesLine {
        height: auto;
        padding: 0 1 0 2;
        margin-bottom: 1;
        color: $text-quiet;
        &:hover { color: $text-accent; }
        &:focus { color: $text-accent; text-style: bold; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("sources.open", "enter", "open", "Open", "Go to what was recalled, or open a source")
    ]

    @dataclass
    class Opened(message.Message):
        """Enter or a click asks for the sources of a turn."""

        turn_id: str
        recalled: bool
        """Whether only the exchanges recalled for it are meant."""

    def __init__(self, text: str, turn_id: str, *, recalled: bool = False) -> None:
        """Show `text`, which is untrusted, about the turn `turn_id`; `recalled` limits it to recalled exchanges."""
        super().__init__(Content(one_line(text, 1000)))
        self._turn_id = turn_id
        self._recalled = recalled

    def action_open(self) -> None:
        """Ask for the sources."""
        self.post_message(self.Opened(self._turn_id, recalled=self._recalled))

    def on_click(self, event: events.Click) -> None:
        """Ask for the sources; a click that ends a text selection does not."""
        event.stop()
        if not self.screen.get_selected_text():
            self.action_open()


class TurnMarks(NamedTuple):
    """What is shown of a turn besides its text."""

    dimmed: bool
    """Whether it is outside the context."""
    edge: bool
    """Whether it is the first turn in the context."""
    selected: bool
    """Whether it is the turn that keys act on."""
    statistics: bool
    """Whether token counts and speed are shown under the reply."""
    tokens: int | None
    """Its token count; None while it is not known."""


class TurnView(Vertical, FastWidget):
    """Shows one turn. The transcript mounts and unmounts whole turns.

    The class `-dimmed` marks a turn outside the context, `-edge` the first turn in it, `-selected` the turn that keys act on.
    """

    DEFAULT_CSS = """
    TurnView {
        height: auto;
        max-width: 102;
        margin: 0 1;

        .statistics { height: auto; padding: 0 1 0 2; margin-bottom: 1; color: $text-quiet; }
        &.-selected MessageView { background: $primary 20%; border-left: outer $primary; }
        &.-found MessageView { background: $primary 25%; }
        &.-dimmed { opacity: 55%; }
        &.-dimmed.-selected { opacity: 85%; }
        &.-edge {
            border-top: solid $primary 50%;
            border-title-color: $text-quiet;
            border-title-align: center;
            margin: 1 1 0 1;
        }
    }
    """

    def __init__(self, shown: TranscriptTurn, *, growing: bool = False) -> None:
        """Show `shown`; the reply of a `growing` one will be streamed."""
        super().__init__()
        self.shown = shown
        self.border_title = " context starts here "
        self._head = TurnHeader(shown)
        self._marks: TurnMarks | None = None
        self._statistics: Static | None = None
        self._sources: list[SourcesLine] = []
        self.reply = ReplyView(shown.turn, growing=growing)
        """The view of the reply."""

    def compose(self) -> ComposeResult:
        """Show the header, the message, the reply, and which versions they are of several."""
        yield self._head
        yield MessageView(self.shown.turn.user)
        if self.shown.message[1] > 1:
            yield VersionMark("messages", self.shown)
        yield self.reply
        if self.shown.reply[1] > 1:
            yield VersionMark("replies", self.shown)

    def on_mount(self) -> None:
        """Show what could not be mounted before."""
        if self._marks is not None:
            self.mark(self._marks)

    def mark(self, marks: TurnMarks) -> None:
        """Show the state of the turn."""
        self._marks = marks
        self.set_class(marks.dimmed, "-dimmed")
        self.set_class(marks.edge, "-edge")
        self.set_class(marks.selected, "-selected")
        self._head.show(self.shown, selected=marks.selected, tokens=marks.tokens)
        self._show_passages()
        for line in self._sources:
            line.can_focus = marks.selected
        self._show_statistics(_statistics(self.shown.turn) if marks.statistics else "")

    def _show_passages(self) -> None:
        """Show under the message what was recalled, and under the reply its sources."""
        passages = self.shown.turn.passages
        if not passages or self._sources or not self.reply.is_attached:
            return
        listed = "  ".join(f"[{number}] {each.source}" for number, each in enumerate(passages, 1))
        sources = SourcesLine(listed, self.shown.turn_id)
        self.mount(sources, after=self.reply)
        self._sources.append(sources)
        recalled = sum(each.kind == "exchange" for each in passages)
        if recalled:
            text = f"recalled {recalled} earlier {'exchange' if recalled == 1 else 'exchanges'}"
            line = SourcesLine(text, self.shown.turn_id, recalled=True)
            self.mount(line, before=self.reply)
            self._sources.append(line)

    def _show_statistics(self, text: str) -> None:
        if self._statistics is None:
            if not text or not self.reply.is_attached:  # it is marked again when it is mounted
                return
            self._statistics = Static(classes="statistics")
            self.mount(self._statistics)
        self._statistics.update(Content(one_line(text)))
        self._statistics.display = bool(text)


def _file_row(file: FileText) -> Content:
    """An attached file on one row: its name and its length."""
    return Content.assemble(("▤ ", "$text-accent"), one_line(file.name, _LONGEST_NAME), (f" · {file.lines}", _QUIET))


def _statistics(turn: Turn) -> str:
    """Format the tokens, speed and end of a reply; empty if nothing is known."""
    parts = [turn.model] if turn.model and turn.reply else []
    if (usage := turn.usage) is not None:
        parts.append(f"{usage.completion_tokens:,} tokens")
        parts.append(f"{usage.prompt_tokens:,} prompt tokens ({usage.cached_tokens:,} cached)")
        parts.append(f"first token {usage.time_to_first_token:.1f} s")
        if usage.tokens_per_second:
            parts.append(f"{usage.tokens_per_second:.1f} tokens/s")
    ended = {"stop": "finished", "length": "maximum length reached", "cancelled": "stopped"}
    if turn.finish_reason is not None:
        parts.append(ended[turn.finish_reason])
    return " · ".join(parts)
