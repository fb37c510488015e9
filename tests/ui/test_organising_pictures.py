"""What filtering, the archive, tags and files look like, as pictures that a person has looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.screens import Stage, drawn, ready, say, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from textual.pilot import Pilot

    Compare = Callable[..., bool]

SIZES = pytest.mark.parametrize("size", [(60, 20), (100, 30)], ids=str)


def stage() -> Stage:
    made = Stage()
    for title, tags in {"Rye bread": ["kitchen"], "Tax letters": ["home", "urgent"], "Bread and salt": []}.items():
        made.store.tag(made.say(("Question", "Answer"), title=title), *tags)
    made.store.archive(made.say(("Question", "Answer"), title="Last year's plans"), archived=True)
    return made


@SIZES
def test_the_list_narrowed_down(snap_compare: Compare, size: tuple[int, int]) -> None:
    shown = stage()

    async def act(pilot: Pilot[Any]) -> None:
        await ready(pilot, shown)
        shown.screen.list_filter.cursor_blink = False
        await pilot.press("alt+l", *"bread")
        await until(pilot, lambda: "Tax letters" not in drawn(shown))
        await pilot.pause()

    assert snap_compare(shown.app, terminal_size=size, run_before=act)


@SIZES
def test_the_archive(snap_compare: Compare, size: tuple[int, int]) -> None:
    shown = stage()

    async def act(pilot: Pilot[Any]) -> None:
        await ready(pilot, shown)
        await pilot.press("alt+v")
        await until(pilot, lambda: "Last year" in drawn(shown))
        await pilot.pause()

    assert snap_compare(shown.app, terminal_size=size, run_before=act)


@SIZES
def test_files_above_the_composer(snap_compare: Compare, size: tuple[int, int], tmp_path: Path) -> None:
    shown = stage()
    (tmp_path / "notes.txt").write_text("buy bread and salt\n" * 40)
    (tmp_path / "a file with a long and telling name.md").write_text("# Heading\n" * 9)

    files = sorted(tmp_path.glob("*.*"))

    async def act(pilot: Pilot[Any]) -> None:
        await ready(pilot, shown)
        for number, file in enumerate(files, 1):
            await say(pilot, shown, f"/attach {file}")
            await until(pilot, lambda number=number: drawn(shown).count("✕") == number)  # type: ignore[misc]  # mypy has no type for a lambda's default
        shown.screen.composer.set_draft("Summarise both.")
        await until(pilot, lambda: (parts := shown.screen.parts) is not None and parts.draft > 150, "the draft is weighed")
        shown.screen.notice.clear()
        await pilot.pause()

    assert snap_compare(shown.app, terminal_size=size, run_before=act)
