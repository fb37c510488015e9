"""What a growing reply costs, what is copied out of it, and that its rows are those of a reply that was there at once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.app_harness import PAUSE, AppHarness, run, run_loaded, screen_text, send_message, until, until_answered, until_ready
from support.paced_program import answer
from textual.geometry import Offset
from textual.selection import SELECT_ALL, Selection
from textual.widget import Widget

from mistral_chat.ui.block_layout import BlockLayout, CodeBlock, LineBlock, TableBlock
from mistral_chat.ui.markdown import Code, MarkdownParser, blocks
from mistral_chat.ui.widgets.blocks import BlocksView, FastWidget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textual.pilot import Pilot

    from mistral_chat.ui.widgets.reply import ReplyView

ASKED = "You are asked"
LIST = "".join(f"- point {number} of a long list\n" for number in range(400))
CODE = "```python\n" + "".join(f"value_{number} = {number}\n" for number in range(400))


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the rows that are laid out and drawn, and the widgets that are asked for their height."""
    counts = Counter[str]()

    def counted(kind: type[LineBlock]) -> None:
        real = kind.wrap

        def wrap(self: LineBlock, width: int, first: int = 0) -> Iterator[Any]:
            for row in real(self, width, first):
                counts["laid out"] += type(self) is kind
                yield row

        monkeypatch.setattr(kind, "wrap", wrap)

    def called(kind: type[Widget], method: str, name: str) -> None:
        real = getattr(kind, method)

        def call(self: Widget, *arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return real(self, *arguments, **options)

        monkeypatch.setattr(kind, method, call)

    for kind in (LineBlock, TableBlock, CodeBlock):
        counted(kind)
    called(BlocksView, "render_line", "drawn")
    called(BlocksView, "get_content_height", "measured")
    called(Widget, "get_content_height", "measured")
    called(Widget, "arrange", "arranged")
    return counts


async def growing(pilot: Pilot[Any], harness: AppHarness) -> ReplyView:
    """Ask, and give the reply's view when it has nothing yet; the engine waits."""
    await until_ready(pilot, harness)
    await send_message(pilot, harness, ASKED)
    await until(pilot, lambda: harness.chat.replying and harness.chat.views)
    return harness.chat.views[-1].reply


async def cost(pilot: Pilot[Any], view: ReplyView, pieces: list[str], work: Counter[str]) -> Counter[str]:
    """Draw the reply as it gains `pieces`, one by one; what that took."""
    work.clear()
    for piece in pieces:
        view.append_text(piece)
        view.draw()
        await pilot.pause()
        await pilot.pause()
    return Counter(work)


@pytest.mark.parametrize(
    ("before", "piece"),
    [
        pytest.param(answer("2000").replace("Zanzibar", ""), "\n\nA sentence of some words.", id="many blocks"),
        pytest.param(LIST, "- one more point\n", id="a long list"),
        pytest.param(CODE, "more = 1\n", id="long code"),
    ],
)
async def test_a_row_costs_the_same_in_a_long_reply_as_in_a_short_one(before: str, piece: str, work: Counter[str]) -> None:
    """Otherwise keys lag and the model slows down towards the end of a long reply."""
    harness = AppHarness(answer=lambda _: PAUSE)
    head = before[:6] if before is LIST else before[:10] if before is CODE else ""
    async with run(harness) as pilot:
        view = await growing(pilot, harness)
        await cost(pilot, view, [head + piece * 40], work)
        widgets = len(harness.screen.query("*"))
        short = await cost(pilot, view, [piece] * 5, work)
        view.append_text(before if not head else piece * 400)
        view.draw()
        await pilot.pause()
        long = await cost(pilot, view, [piece] * 5, work)
        assert len(harness.screen.query("*")) == widgets
        assert short["laid out"] >= 5
        for kind in ("laid out", "drawn", "measured", "arranged"):
            assert long[kind] <= short[kind] + 10, (kind, short, long)
        harness.gate.set()
        await until_answered(pilot, harness)


PIECES = [
    "a ",
    "b\n",
    "\n\n",
    "- ",
    "# ",
    "```\n",
    "```py\n",
    "> ",
    "|a|b|\n",
    "|-|-|\n",
    "1. ",
    "*",
    "`",
    "    ",
    "long word " * 6,
]


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from([9, 30, 30, 30])), max_size=30))
@example([("```\n", 30), ("b\n", 30), ("`", 30), ("```\n", 30)])  # the code loses a line
def test_a_streamed_reply_has_the_rows_of_a_complete_one(pieces: list[tuple[str, int]]) -> None:
    """Otherwise a reply looks different when its conversation is opened again."""
    reader, grown = MarkdownParser(), BlockLayout()
    for piece, width in pieces:
        known = len(reader.finished)
        reader.write(piece)
        end = known
        for end, (block, coloured) in enumerate(
            [*((block, True) for block in reader.finished[known:]), *((block, False) for block in reader.open)], known + 1
        ):
            grown.put(end - 1, block, coloured=coloured)
        grown.drop(end)
        grown.fit(width)
    for number, block in enumerate(reader.finished + reader.open):
        grown.put(number, block)
    fresh = BlockLayout()
    for number, block in enumerate(blocks("".join(piece for piece, _ in pieces))):
        fresh.put(number, block)
    assert grown.fit(30) == fresh.fit(30)
    assert grown.plain == fresh.plain
    for y in range(fresh.fit(30)):
        new, old = grown.locate(y), fresh.locate(y)
        assert new == old
        if new.row and old.row:
            assert new.row.text.is_same(old.row.text)
            assert new.row.prefix.is_same(old.row.prefix)


def test_code_wraps_at_its_spaces_and_is_copied_as_it_was_written() -> None:
    line = "    def fits(tokens: int,  window: int = 4096, name_that_fits_on_no_row_of_this_width: bool = True) -> bool:"
    stack = BlockLayout()
    stack.put(0, Code("python", line))
    stack.fit(34)
    rows = [place.row for y in range(20) if (place := stack.locate(y)).row]
    texts = [row.text.plain for row in rows if row.suffix]
    assert texts[0] == "    def fits(tokens: int,"
    assert texts[1].startswith("window: int = 4096, name_tha")
    assert all(len(text) <= 28 for text in texts)
    assert stack.plain == line
    for row in rows:
        assert line[row.x : row.x + len(row.text)] == row.text.plain
    assert "".join("".join(texts).split()) == "".join(line.split())


def test_code_that_fits_beside_no_mark_takes_one_row() -> None:
    stack = BlockLayout()
    stack.put(0, Code("", "x" * 20))
    assert stack.fit(24) == 4
    assert stack.fit(23) == 5


REPLY = "# Title\n\nSome words.\n\n```python\nx = 1\n\ny = 2\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nThe end."


async def test_selections_across_blocks_are_copied_as_written() -> None:
    harness = AppHarness(answer=lambda _: REPLY)
    async with run_loaded(harness, (100, 40)) as pilot:
        await send_message(pilot, harness, ASKED)
        await until_answered(pilot, harness)
        view = harness.chat.views[-1].reply
        text = "Title\n\nSome words.\n\nx = 1\n\ny = 2\n\na\tb\n1\t2\n\nThe end."
        assert view.get_selection(SELECT_ALL) == (text, "\n")
        lines = text.split("\n")
        for first, last in ((0, 2), (2, 4), (4, 9), (8, 11)):
            wanted = "\n".join(lines[first : last + 1])
            chosen = Selection(Offset(0, first), Offset(len(lines[last]), last))
            assert view.get_selection(chosen) == (wanted, "\n")


async def test_dragging_over_blocks_selects_the_text_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    harness = AppHarness(answer=lambda _: REPLY)
    async with run_loaded(harness, (100, 40)) as pilot:
        await send_message(pilot, harness, ASKED)
        await until_answered(pilot, harness)
        rows = screen_text(harness).splitlines()
        start = next(y for y, row in enumerate(rows) if "Some words" in row)
        end = next(y for y, row in enumerate(rows) if "y = 2" in row)
        column = rows[start].index("words")
        await pilot.mouse_down(offset=(column, start))
        await pilot.hover(offset=(rows[end].index("y = 2") + 2, end))
        await pilot.mouse_up(offset=(rows[end].index("y = 2") + 5, end))
        assert harness.screen.get_selected_text() == "words.\n\nx = 1\n\ny = 2"


async def test_double_click_selects_a_block_and_triple_click_the_reply() -> None:
    harness = AppHarness(answer=lambda _: REPLY)
    async with run_loaded(harness, (100, 40)) as pilot:
        await send_message(pilot, harness, ASKED)
        await until_answered(pilot, harness)
        rows = screen_text(harness).splitlines()
        y = next(y for y, row in enumerate(rows) if "x = 1" in row)
        view = harness.chat.views[-1].reply
        place = Offset(rows[y].index("x = 1"), y) - view.region.offset
        await pilot.click(view, offset=place, times=2)
        assert harness.screen.get_selected_text() == "x = 1\n\ny = 2"
        await pilot.click(view, offset=place, times=3)
        assert harness.screen.get_selected_text() == "Title\n\nSome words.\n\nx = 1\n\ny = 2\n\na\tb\n1\t2\n\nThe end."


async def test_rows_are_drawn_as_textual_draws_them(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = AppHarness(answer=lambda _: REPLY)
    async with run_loaded(harness, (100, 40)) as pilot:
        await send_message(pilot, harness, ASKED)
        await until_answered(pilot, harness)
        mine = screen_text(harness), colours(harness)
        for kind in (FastWidget, BlocksView):
            monkeypatch.setattr(kind, "render_lines", Widget.render_lines)
        harness.screen.refresh(layout=True)
        for widget in harness.chat.transcript.query("*"):
            widget.refresh()
        await pilot.pause()
        assert (screen_text(harness), colours(harness)) == mine


def colours(harness: AppHarness) -> list[tuple[str, str]]:
    """The colours of every cell that is not empty, and those behind the others."""
    return [
        (str(segment.style.bgcolor), str(segment.style.color) if character != " " else "")
        for strip in harness.app.screen._compositor.render_strips()
        for segment in strip
        if segment.style
        for character in segment.text
    ]


async def test_a_reply_yields_to_keys_for_a_limited_time() -> None:
    harness = AppHarness(answer=lambda _: PAUSE)
    async with run(harness) as pilot:
        view = await growing(pilot, harness)
        view.append_text("A first word")
        shown = []
        for _ in range(3):
            view.defer_redraw()
            view._tick()
            shown.append("A first word" in str(view.get_selection(SELECT_ALL)))
        assert shown == [False, False, True]
        await until(pilot, lambda: "A first word" in screen_text(harness))
        harness.gate.set()
        await until_answered(pilot, harness)


async def test_the_cursor_is_steady_while_a_reply_grows() -> None:
    harness = AppHarness(answer=lambda _: PAUSE)
    async with run(harness) as pilot:
        await growing(pilot, harness)
        composer = harness.chat.composer
        composer.focus()
        for _ in range(3):
            composer._toggle_cursor_blink_visible()
            assert composer._cursor_visible, "the user would not see where the next key goes"
        harness.gate.set()
        await until_answered(pilot, harness)
        await until(pilot, lambda: not composer.still)
        composer._toggle_cursor_blink_visible()
        assert not composer._cursor_visible
