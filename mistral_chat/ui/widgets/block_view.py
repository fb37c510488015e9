"""One block of a message: prose, code, a table or a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.content import Content
from textual.strip import Strip
from textual.style import Style
from textual.widget import Widget

from mistral_chat.ui.code import highlighted
from mistral_chat.ui.markdown import Block, Code, Line, Prose, Rule, Table
from mistral_chat.ui.rows import LineRows, Paint, Rows, RuleRows, TableRows, draw

if TYPE_CHECKING:
    from textual.geometry import Size
    from textual.selection import Selection


class BlockView(Widget):
    """Draws one block, row by row as they come into view. The block can be replaced as it grows."""

    DEFAULT_CSS = """
    BlockView {
        height: auto;
        margin-bottom: 1;

        &.-code {
            border: round $border-blurred;
            border-title-color: $text-muted;
            border-title-style: none;
            padding: 0 1;
        }
        & > .prose--bar { color: $primary; }
        & > .prose--code { color: $text-accent; }
        & > .prose--emphasis { text-style: italic; }
        & > .prose--heading { text-style: bold; }
        & > .prose--line { color: $border; }
        & > .prose--link { text-style: underline; }
        & > .prose--mark { color: $foreground 65%; }
        & > .prose--quote { color: $foreground 65%; }
        & > .prose--strong { text-style: bold; }
        & > .prose--struck { text-style: strike; }
        & > .prose--target { color: $foreground 65%; }
        & > .prose--title { text-style: bold; color: $text-primary; }
    }
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "prose--bar",
        "prose--code",
        "prose--emphasis",
        "prose--heading",
        "prose--line",
        "prose--link",
        "prose--mark",
        "prose--quote",
        "prose--strong",
        "prose--struck",
        "prose--target",
        "prose--title",
    }

    def __init__(self, block: Block, *, finished: bool = True) -> None:
        """Draw `block`; colours come to code only when it is `finished`."""
        super().__init__()
        self._block = block
        self._finished = finished
        self._rows = _rows(block, coloured=finished)
        self._dress()

    @property
    def block(self) -> Block:
        """What is drawn."""
        return self._block

    def show(self, block: Block, *, finished: bool) -> None:
        """Draw `block` from now on. Nothing happens when it is what is drawn already."""
        if block == self._block and (finished == self._finished or not isinstance(block, Code)):
            return
        same_kind = type(block) is type(self._block)
        width = self.content_size.width
        height = len(self._rows.fit(width)) if width else 0
        self._block = block
        self._finished = finished
        self._rows = _rows(block, coloured=finished)
        self._dress()
        # Laying the screen out anew is most of the cost of a growing reply, and most pieces add no row.
        self.refresh(layout=not same_kind or not width or len(self._rows.fit(width)) != height)

    def _dress(self) -> None:
        code = isinstance(self._block, Code)
        self.set_class(code, "-code")
        self.set_class(isinstance(self._block, Prose) and self._block.kind == "heading", "-heading")
        self.border_title = self._block.language if isinstance(self._block, Code) and self._block.language else None

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """Take the width there is."""
        del viewport
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Count the rows."""
        del container, viewport
        return len(self._rows.fit(width)) if width else 0

    def render_line(self, y: int) -> Strip:
        """Draw one row."""
        width = self.content_size.width
        style = self.visual_style
        rows = self._rows.fit(width)
        if y >= len(rows):
            return Strip.blank(width, style.rich_style)
        selection = self.text_selection
        selected = Style() if selection is None else Style.from_styles(self.screen.get_component_styles("screen--selection"))
        return draw(rows[y], width, Paint(style, self._resolve, selection, selected))

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """Give the selected text as it was written: wrapping and indents of wrapped rows are left out."""
        return selection.extract(self._rows.plain), "\n"

    def _resolve(self, style: str | Style) -> Style:
        """Find what a style's name means in the current theme."""
        if isinstance(style, Style):
            return style
        if style.startswith("."):
            return self.get_visual_style(style[1:], partial=True)
        return Style.parse(style)


def _rows(block: Block, *, coloured: bool) -> Rows:
    match block:
        case Prose(lines=lines):
            return LineRows(lines)
        case Code(language=language, text=text):
            mark = Content.styled("↳ ", ".prose--line")
            code = highlighted(text, language if coloured else "")
            return LineRows([Line(line, rest=mark) for line in code], keep_spaces=True)
        case Table():
            return TableRows(block)
        case Rule():
            return RuleRows()
