"""Pictures of a screen: small SVG files with one row of the screen to a line, so that a change can be read as text too."""

from __future__ import annotations

from collections import Counter
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.color import Color
    from rich.segment import Segment
    from rich.style import Style
    from textual.app import App

_WIDTH, _HEIGHT, _BASE = 10, 20, 15
"""Of a cell, and the baseline of its letters."""

_FONT: Final = "font-family=\"'Fira Code','DejaVu Sans Mono',monospace\" font-size=\"16.6\""
_Piece = tuple[int, str, str, str]
"""A piece of a row: its width in cells, its text, the colour behind it, and the rule for its letters."""

_PLAIN: Final = ("#c5c8c6", "#000000")
"""The terminal's colours where none is set."""


def picture(app: App[Any]) -> str:
    """Draw the screen. The same screen gives the same characters; the picture loads nothing from elsewhere."""
    rows = [[_run(run) for run in _runs(strip)] for strip in app.screen._compositor.render_strips()]
    widths = Counter[str]()
    for row in rows:
        for cells, _, behind, _ in row:
            widths[behind] += cells
    ground = widths.most_common(1)[0][0]
    names: dict[str, str] = {}
    grounds = list(_grounds(rows, ground, names))
    letters = [_letters(number, row, names) for number, row in enumerate(rows)]
    width, height = app.size.width * _WIDTH, app.size.height * _HEIGHT
    rules = [f".{name}{{{rule}}}" for rule, name in names.items()]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" shape-rendering="crispEdges" {_FONT}>',
            *("<style>", *rules, "</style>"),
            f'<rect width="{width}" height="{height}" fill="{ground}"/>',
            *(*grounds, *letters, "</svg>\n"),
        ]
    )


def _runs(strip: Iterable[Segment]) -> Iterator[tuple[Style | None, str]]:
    """The row in pieces of one style."""
    for style, segments in groupby((segment for segment in strip if not segment.control), lambda segment: segment.style):
        yield style, "".join(segment.text for segment in segments)


def _run(run: tuple[Style | None, str]) -> _Piece:
    style, text = run
    front, behind = _hex(style.color if style else None, 0), _hex(style.bgcolor if style else None, 1)
    if style and style.reverse:
        front, behind = behind, front
    decorations = [word for word in ("underline", "strike") if style and getattr(style, word)]
    rule = f"fill:{front}"
    if style and style.bold:
        rule += ";font-weight:bold"
    if style and style.italic:
        rule += ";font-style:italic"
    if style and style.dim:
        rule += ";opacity:.6"
    if decorations:
        rule += f";text-decoration:{' '.join(decorations).replace('strike', 'line-through')}"
    return cell_len(text), text, behind, rule


def _grounds(rows: list[list[_Piece]], ground: str, names: dict[str, str]) -> Iterator[str]:
    """The colours behind the letters, as rectangles; rows of the same colours make one. `names` gets a class for each rule."""
    open_: dict[tuple[int, int, str], int] = {}
    for number, row in enumerate([*rows, []]):
        here, place = set(), 0
        for behind, pieces in groupby(row, lambda piece: piece[2]):
            cells = sum(piece[0] for piece in pieces)
            if behind != ground:
                here.add((place, cells, behind))
            place += cells
        for shape in sorted(open_.keys() - here):
            (left, cells, behind), top = shape, open_.pop(shape)
            corners = f"M{left * _WIDTH} {top * _HEIGHT}h{cells * _WIDTH}v{(number - top) * _HEIGHT}h-{cells * _WIDTH}z"
            yield f'<path class="{_named(f"fill:{behind}", names)}" d="{corners}"/>'
        for shape in here - open_.keys():
            open_[shape] = number


def _letters(number: int, row: list[_Piece], names: dict[str, str]) -> str:
    """The letters of one row, as one line; `names` gets a class for each rule that is new."""
    letters, place = [], 0
    for rule, pieces in groupby(row, lambda piece: piece[3]):
        together = list(pieces)
        text = "".join(piece[1] for piece in together)
        if text.strip() or "decoration" in rule:
            shown = text if "decoration" in rule else text.strip(" ")
            left = place if shown == text else place + len(text) - len(text.lstrip(" "))
            spaces = ' xml:space="preserve"' if "  " in shown or shown != shown.strip(" ") else ""
            name = _named(rule, names)
            top = number * _HEIGHT + _BASE
            letters.append(f'<text class="{name}" x="{left * _WIDTH}" y="{top}"{spaces}>{escape(shown, quote=False)}</text>')
        place += sum(piece[0] for piece in together)
    return "".join(letters)


def _named(rule: str, names: dict[str, str]) -> str:
    """The class for a rule."""
    return names.setdefault(rule, f"c{len(names)}")


def _hex(color: Color | None, place: int) -> str:
    return _PLAIN[place] if color is None or color.is_default else color.get_truecolor().hex
