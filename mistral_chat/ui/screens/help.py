"""Help: what the part of the screen that has the focus is for, and every key that is in force there."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import cleandoc
from textwrap import wrap
from typing import TYPE_CHECKING, ClassVar, Final

from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Markdown, Static

from mistral_chat.ui.keymap import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textual.app import ComposeResult
    from textual.binding import ActiveBinding
    from textual.dom import DOMNode

_KEYS: Final = (18, 26)
"""Columns of the keys, at the least and at the most; a third of the width between them."""

_PLAIN: Final = "Keys of lists, texts and fields"
"""Heading of the keys that Textual's own parts have."""


@dataclass(frozen=True, slots=True)
class HelpPart:
    """The keys of one part of the screen."""

    heading: str
    rows: tuple[tuple[str, str], ...]
    """Keys in words, with what they do."""


class HelpText(VerticalScroll):
    """Everything there is to say; scrolls."""

    HELP = "## Help\n\nThe arrow keys scroll. **Escape** or **F1** goes back.\n"


class KeyTable(Static):
    """Keys beside what they do, in two columns that fit the width."""

    def __init__(self, parts: Sequence[HelpPart]) -> None:
        """Show `parts`, one below the other."""
        super().__init__(markup=False)
        self._parts = parts

    def on_resize(self) -> None:
        """Fit the columns to the width."""
        width = self.content_size.width
        column = min(_KEYS[1], max(_KEYS[0], width // 3))
        lines: list[Content] = []
        for part in self._parts:
            lines += [Content(""), Content.styled(part.heading, "bold $text-primary")]
            for keys, text in part.rows:
                left, right = wrap(keys, column - 2) or [""], wrap(text, max(10, width - column)) or [""]
                for number in range(max(len(left), len(right))):
                    key = left[number] if number < len(left) else ""
                    does = right[number] if number < len(right) else ""
                    lines.append(Content.assemble((key.ljust(column), "$text-accent"), does))
        self.update(Content("\n").join(lines))


class HelpScreen(ModalScreen[None]):
    """Shows help for what had the focus when it was asked for."""

    CSS_PATH = "dialog.tcss"
    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;

        HelpText { scrollbar-size-vertical: 1; }
        Markdown { padding: 0 1; margin: 0; background: transparent; height: auto; }
        KeyTable { height: auto; padding: 0 1 1 1; }
    }
    """
    HELP = "## Help\n\n**Escape** or **F1** goes back.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1", "leave", "Back", tooltip="Go back to where you were", id="help.leave", show=False),
    ]

    def __init__(self, texts: Sequence[str], parts: Sequence[HelpPart]) -> None:
        """Show `texts`, in Markdown of our own, above the keys."""
        super().__init__()
        self._said, self._parts = texts, parts

    def compose(self) -> ComposeResult:
        """The texts, and the keys."""
        with Vertical(classes="dialog help"), HelpText():
            yield Markdown("\n\n".join(self._said))
            yield KeyTable(self._parts)

    def on_mount(self) -> None:
        """Let the arrow keys scroll."""
        self.query_one(HelpText).focus()

    def action_leave(self) -> None:
        """Go back."""
        self.dismiss(None)


def help_texts(focused: Widget | None, screen: Widget) -> list[str]:
    """What the nodes around the focus say of themselves, the nearest first."""
    nodes = focused.ancestors_with_self if focused is not None else [screen]
    return [cleandoc(node.HELP) for node in nodes if isinstance(node, Widget) and node.HELP]


def help_parts(active: Mapping[str, ActiveBinding]) -> list[HelpPart]:
    """The keys in force, by the part of the screen that they belong to; those that every field has stand last."""
    found: dict[str, dict[tuple[DOMNode, str], list[ActiveBinding]]] = {}
    for each in active.values():
        if not each.binding.system and (each.binding.tooltip or each.binding.description):
            heading = _heading(each.node) if each.binding.tooltip else _PLAIN
            found.setdefault(heading, {}).setdefault((each.node, each.binding.action), []).append(each)
    plain = found.pop(_PLAIN, {})
    groups = {**found, _PLAIN: plain} if plain else found
    return [HelpPart(heading, tuple(map(_row, actions.values()))) for heading, actions in groups.items()]


def _row(same: list[ActiveBinding]) -> tuple[str, str]:
    binding = same[0].binding
    return in_words(",".join(dict.fromkeys(each.binding.key for each in same))), binding.tooltip or binding.description


def _heading(node: DOMNode) -> str:
    """What the keys of a node stand under: the heading of its help."""
    text = cleandoc(node.HELP) if isinstance(node, Widget) and node.HELP else ""
    first = text.partition("\n")[0].removeprefix("## ")
    return f"Keys: {first}" if first else "Keys everywhere"
