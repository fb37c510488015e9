"""The dialog for a question with several answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.ui.text import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult


class Answer(NamedTuple):
    """One of the answers."""

    value: str
    words: str
    detail: str = ""
    """What it means, in a few words."""


class AnswerList(OptionList):
    """The answers."""

    HELP = "## A question\n\nThe arrow keys go through the answers, **Enter** takes one. **Escape** changes nothing.\n"


class PickScreen(ModalScreen["str | None"]):
    """Asks a question; ends with the value of the answer, or with None after Escape."""

    CSS_PATH = "dialog.tcss"
    DEFAULT_CSS = """
    PickScreen {
        align: center middle;

        .dialog { max-height: 95%; padding: 1 2 0 2; }
        .explained { max-height: 6; overflow-y: auto; scrollbar-size-vertical: 1; }
        OptionList {
            height: auto;
            max-height: 60vh;
            margin-bottom: 1;
            background: $surface;
            scrollbar-size-vertical: 1;

            &:focus { background-tint: transparent; }
            &:focus > .option-list--option-highlighted { background: $primary 35%; color: $text; }
        }
    }
    """
    HELP = "## A question\n\n**Enter** takes the answer that is marked. **Escape** changes nothing.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Change nothing", id="pick.leave", show=False),
    ]

    def __init__(self, heading: str, text: str, answers: Sequence[Answer], *, marked: str = "") -> None:
        """Ask `heading`, explained by `text`; both and the answers may quote anything. `marked` is the value to begin at."""
        super().__init__()
        self._heading, self._text, self._answers, self._marked = heading, text, tuple(answers), marked

    def compose(self) -> ComposeResult:
        """The question, and the answers as a list."""
        with Vertical(classes="dialog"):
            yield Static(Content(one_line(self._heading)), classes="heading")
            if self._text:
                yield Static(Content(clean(self._text)), classes="explained")
            yield AnswerList(*(Option(_lines(answer)) for answer in self._answers), markup=False, compact=True)

    def on_mount(self) -> None:
        """Begin at the answer that holds now, or at the first."""
        answers = self.query_one(AnswerList)
        values = [answer.value for answer in self._answers]
        answers.highlighted = values.index(self._marked) if self._marked in values else 0
        answers.focus()

    def action_leave(self) -> None:
        """Change nothing."""
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._answers[event.option_index].value)


def _lines(answer: Answer) -> Content:
    words = Content.styled(one_line(answer.words), "bold")
    return words + Content.assemble("\n  ", (one_line(answer.detail), "$foreground 65%")) if answer.detail else words
