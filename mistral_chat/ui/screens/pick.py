"""The dialog for a question with several answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.text import clean, one_line
from mistral_chat.ui.screens.choice import ChoiceScreen

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


class PickScreen(ChoiceScreen):
    """Asks a question; ends with the value of the answer, or with None after Escape."""

    DEFAULT_CSS = """
    PickScreen {
        .dialog { max-height: 95%; }
        .explained { max-height: 6; overflow-y: auto; scrollbar-size-vertical: 1; }
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

    def above(self) -> ComposeResult:
        """The question, and what explains it."""
        yield Static(Content(one_line(self._heading)), classes="heading")
        if self._text:
            yield Static(Content(clean(self._text)), classes="explained")

    def choices(self) -> OptionList:
        """The answers."""
        options = (Option(_lines(answer), id=answer.value) for answer in self._answers)
        return AnswerList(*options, markup=False, compact=True)

    def on_mount(self) -> None:
        """Begin at the answer that holds now, or at the first."""
        answers = self.query_one(AnswerList)
        values = [answer.value for answer in self._answers]
        answers.highlighted = values.index(self._marked) if self._marked in values else 0
        answers.focus()


def _lines(answer: Answer) -> Content:
    words = Content.styled(one_line(answer.words), "bold")
    return words + Content.assemble("\n  ", (one_line(answer.detail), "$foreground 65%")) if answer.detail else words
