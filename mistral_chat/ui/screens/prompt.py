"""The prompt preview: the exact prompt, with its control tokens and the token count of each part."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from mistral_chat.formatting import counted
from mistral_chat.text import break_words, clean, one_line
from mistral_chat.ui.dialogs.context import ContextBar
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.widgets.status_bar import StatusBar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from textual.app import ComposeResult

    from mistral_chat.generation import Prompt, PromptPart

_QUIET: Final = "$text-quiet"
_CONTROL: Final = "$text-accent reverse"


class PromptScreen(Screen[None]):
    """Shows a prompt with its control tokens, the token count of each part, and how full the context is."""

    CSS_PATH = "prompt.tcss"
    HELP = (
        "## Prompt\n\nThe exact prompt that the model sees. Control tokens, which typed text can never become, are shown in\n"
        "reverse; everything else is plain text to the model. The arrow keys scroll, **Esc** goes back.\n"
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("prompt.leave", "escape", "dismiss", "Back", "Go back to the chat"),
        key_binding("prompt.help", "question_mark", "app.toggle_help", "Help", "Show help"),
    ]

    def __init__(self, prompt: Prompt, *, labels: Mapping[str, str], behind: int, what: str) -> None:
        """Show `prompt`.

        Args:
            prompt: the prompt; it has at least one part.
            labels: the names of the turns, by their keys.
            behind: the number of turns of the conversation that are not in it.
            what: the format and the model; untrusted text.
        """
        super().__init__()
        self._prompt = prompt
        self._labels = labels
        self._behind = behind
        self._what = what

    def compose(self) -> ComposeResult:
        """Show how full the context is, and the parts."""
        prompt = self._prompt
        with Vertical(id="page"):
            heading = "Prompt (next)" if prompt.draft else "Prompt (last sent)"
            yield Static(heading, id="title", markup=False)
            head, draft = prompt.parts[0].tokens, prompt.parts[-1].tokens if prompt.draft else 0
            free = max(0, prompt.window - prompt.tokens)
            yield ContextBar([("█", head), ("▒", prompt.tokens - head - draft), ("░", draft), ("·", free)])
            yield Static(self._summary(), id="intro", markup=False)
            with VerticalScroll(id="prompt"):
                if self._behind > 0:
                    yield Static(Content(self._missing()), classes="missing", markup=False)
                for place, part in enumerate(prompt.parts):
                    yield Static(self._part(place, part), classes="part", markup=False)
        yield StatusBar()

    def on_mount(self) -> None:
        """Show the end, which is the last message."""
        self.query_one(StatusBar).hints = (("↑↓", "scroll"), ("Esc", "back"), ("?", "help"))
        text = self.query_one(VerticalScroll)
        text.focus()
        self.call_after_refresh(text.scroll_end, animate=False)

    def _summary(self) -> Content:
        prompt = self._prompt
        used = f"{prompt.tokens:,} of {prompt.window:,} tokens ({prompt.tokens / prompt.window:.0%})"
        kept = f"  ·  {prompt.reserve:,} reserved for the reply"
        return Content.assemble(used, (kept, _QUIET), ("  ·  " * bool(self._what) + one_line(self._what, 80), _QUIET))

    def _missing(self) -> str:
        turns = "1 message is" if self._behind == 1 else f"{self._behind:,} messages of this conversation are"
        return f"{turns} not in the prompt: dropped or excluded from the context, but still in the chat and in search."

    def _part(self, place: int, part: PromptPart) -> Content:
        name = self._labels.get(part.key, "Turn") if part.key else "Your draft"
        name = "Opening tokens and system prompt" if place == 0 else name
        heading = Content.assemble((name, "bold $text-primary"), (f"  ·  {counted(part.tokens, 'token')}", _QUIET))
        return Content("\n").join([heading, Content("").join(_pieces(part))])


def _pieces(part: PromptPart) -> Iterator[Content]:
    if not part.pieces:
        yield Content.styled("empty", _QUIET)
    for piece in part.pieces:
        if piece.is_control:
            yield Content.styled(one_line(piece.text, 80), _CONTROL)
        else:
            yield Content(break_words(clean(piece.text)))
