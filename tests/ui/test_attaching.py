"""Files that go along with a message: attached, shown with their cost, taken away, sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.screens import PAUSE, Stage, answered, drawn, furnished, ready, run, say, spoken, until
from textual import events

from mistral_chat.ui.dropped import completed, pasted_file, typed_path

if TYPE_CHECKING:
    from pathlib import Path


def words(stage: Stage) -> str:
    """What is drawn, without frames and line ends."""
    return " ".join(drawn(stage).replace("│", " ").split())


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "my notes.txt"
    path.write_text("buy bread\nand salt\n")
    return path


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_a_file_is_shown_with_its_cost_and_sent_with_the_message(notes: Path, size: tuple[int, int]) -> None:
    stage = Stage()
    async with run(stage, size) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, f"/attach {notes}")
        await until(pilot, lambda: "my notes.txt  19 bytes" in drawn(stage))
        assert "tokens" in drawn(stage)
        await spoken(pilot, stage, "What do I need?")
        (turn,) = stage.store.turns(stage.store.latest() or "")
        assert turn.turn.user == "my notes.txt\n```\nbuy bread\nand salt\n```\n\nWhat do I need?"
        assert "19 bytes" not in drawn(stage)


@pytest.mark.parametrize("form", ["{}", "'{}'", '"{}"'])
async def test_a_dropped_file_is_attached_and_undoing_pastes_its_path(notes: Path, form: str) -> None:
    stage = Stage()
    dropped = form.format(notes)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        stage.chat.composer.post_message(events.Paste(dropped))
        await until(pilot, lambda: "▪ my notes.txt" in drawn(stage))
        assert stage.chat.draft == ""
        await pilot.press("f8")
        await until(pilot, lambda: stage.chat.draft == dropped)
        await until(pilot, lambda: "▪" not in drawn(stage))


async def test_what_cannot_be_attached_is_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\xff")
    (tmp_path / "long.txt").write_text("word " * 500)
    (tmp_path / "huge.txt").write_bytes(b"a" * (4 * 1024 * 1024 + 1))
    reasons = {
        "picture.png": "Only text files can be sent",
        "long.txt": "tokens, and the model's window holds 256",
        "huge.txt": "is larger than 4 MB",
        "gone.txt": "is not a file that can be read",
    }
    stage = Stage(window=256)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        for name, reason in reasons.items():
            draft = f"/attach {tmp_path / name}"
            await say(pilot, stage, draft)
            await until(pilot, lambda reason=reason: reason in stage.chat.notice, reason)  # type: ignore[misc]  # mypy has no type for a lambda's default
            assert stage.chat.draft == draft
            stage.chat.set_draft("")
            stage.chat.clear_notice()
        stage.chat.composer.post_message(events.Paste(str(tmp_path / "picture.png")))
        await until(pilot, lambda: "Its path was pasted" in stage.chat.notice)
        assert stage.chat.draft == str(tmp_path / "picture.png")


async def test_a_file_can_be_taken_away_with_keys_and_brought_back(notes: Path) -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt" in drawn(stage))
        stage.chat.focus_files()
        await pilot.press("down", "delete")
        await until(pilot, lambda: "▪" not in drawn(stage))
        assert stage.chat.composer.has_focus
        await pilot.press("f8")
        await until(pilot, lambda: "▪ my notes.txt" in drawn(stage))


async def test_files_wait_with_their_draft_and_are_counted_when_the_model_is_there(notes: Path) -> None:
    stage = Stage(loading=True)
    other = stage.say(("Question", "Answer"), title="Other")
    async with run(stage) as pilot:
        await furnished(pilot, stage)
        await say(pilot, stage, f"/attach {notes}")
        await until(pilot, lambda: "… tokens" in drawn(stage))
        await stage.chat.open(other)
        await until(pilot, lambda: "▪" not in drawn(stage))
        await stage.chat.open(None)
        await until(pilot, lambda: "▪ my notes.txt" in drawn(stage))
        stage.loaded.set()
        await until(pilot, lambda: "tokens" in drawn(stage) and "… tokens" not in drawn(stage))


async def test_a_message_that_is_not_kept_gives_its_files_back(notes: Path) -> None:
    stage = Stage(window=256)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt" in drawn(stage))
        await say(pilot, stage, "word " * 400)
        await until(pilot, lambda: "tokens" in stage.chat.notice and "▪ my notes.txt" in drawn(stage))
        assert stage.store.latest() is None


async def test_a_queued_message_that_is_stopped_gives_its_files_back(notes: Path) -> None:
    stage = Stage(answer=lambda _: f"one {PAUSE} two")
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, "first")
        await until(pilot, lambda: "one" in drawn(stage))
        await say(pilot, stage, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt" in drawn(stage))
        await say(pilot, stage, "second")
        await until(pilot, lambda: "1 queued" in drawn(stage) and "▪" not in drawn(stage))
        await pilot.press("escape")
        await answered(pilot, stage)
        assert stage.chat.draft == "second"
        await until(pilot, lambda: "▪ my notes.txt" in drawn(stage))


async def test_tab_completes_a_path(notes: Path) -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        stage.chat.set_draft(f"/attach {notes.parent}/my")
        stage.chat.composer.focus()
        await pilot.press("tab")
        await until(pilot, lambda: stage.chat.draft == f"/attach {notes}")


async def test_a_hostile_name_reaches_neither_screen_nor_completion(tmp_path: Path) -> None:
    path = tmp_path / "bad\x1b]0;owned\x07[red].txt"
    path.write_text("text")
    assert completed(f"{tmp_path}/bad")[1] == []
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await stage.chat.attach(str(path))
        await until(pilot, lambda: "[red].txt" in drawn(stage))
        assert "\x1b]0" not in drawn(stage)


def test_what_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a b.txt"
    file.write_text("x")
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in (str(file), f"'{file}'", str(file).replace(" ", "\\ "), file.as_uri(), "~/a b.txt", f" {file}\n"):
        assert pasted_file(text) == file, text
        assert typed_path(text) == file
    for text in (
        "a b.txt",
        "/",
        str(tmp_path),
        "/no/such/file",
        f"{file}\n{file}",
        "'/unclosed",
        "/" + "a" * 300,
        "~nobody/x",
        "/a\0b",
    ):
        assert pasted_file(text) is None, text


async def test_the_drafts_cost_counts_its_files(notes: Path) -> None:
    stage = Stage(window=256)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        composer = stage.chat.composer
        await say(pilot, stage, f"/attach {notes}")
        await until(pilot, lambda: "tokens" in str(composer.border_subtitle), "the file alone is counted")
        composer.insert("one two three")
        whole = stage.chat.with_files("one two three")
        assert "buy bread" in whole
        assert stage.chat.runner is not None
        tokens = stage.chat.runner.count(whole)
        await until(pilot, lambda: f"{tokens} tokens" in str(composer.border_subtitle))
        assert stage.chat.usage is not None
        assert stage.chat.usage.draft == tokens
        composer.set_draft("")
        stage.chat.focus_files()
        await pilot.press("down", "delete")
        await until(pilot, lambda: not composer.border_subtitle, "the cost goes with the file")


async def test_files_that_do_not_fit_together_are_told_with_numbers_before_they_are_sent(tmp_path: Path) -> None:
    stage = Stage(window=256)
    async with run(stage) as pilot:
        await ready(pilot, stage)
        for name in ("one.txt", "two.txt"):
            (tmp_path / name).write_text("word " * 150)
            await say(pilot, stage, f"/attach {tmp_path / name}")
            await until(pilot, lambda name=name: f"▪ {name}" in drawn(stage))  # type: ignore[misc]  # mypy has no type for a lambda's default
        await until(pilot, lambda: "This message with its 2 files takes" in stage.chat.notice)
        assert stage.chat.composer.has_class("-over")
        stage.chat.focus_files()
        await pilot.press("down", "delete")
        await until(pilot, lambda: not stage.chat.composer.has_class("-over"))


async def test_the_prompt_is_shown_with_the_files(notes: Path) -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await say(pilot, stage, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt" in drawn(stage))
        stage.chat.type("What?")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "Your draft" in drawn(stage) and "buy bread" in drawn(stage))


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_a_file_is_found_in_a_dialog_without_knowing_its_path(
    notes: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    (notes.parent / "folder").mkdir()
    (notes.parent / "folder" / "inner.txt").write_text("inner")
    (notes.parent / "folder" / "picture.png").write_bytes(b"\x89PNG\0\xff")
    monkeypatch.chdir(notes.parent)
    stage = Stage()
    async with run(stage, size) as pilot:
        await ready(pilot, stage)
        await pilot.press("alt+o")
        await until(pilot, lambda: "folder/" in drawn(stage) and "my notes.txt" in drawn(stage), "what is here is listed")
        await pilot.press("f", "tab")
        await until(pilot, lambda: "picture.png" in drawn(stage), "Tab completes the folder's name")
        await pilot.press("down", "enter")
        await until(pilot, lambda: "text files can be" in words(stage), "what is no text is refused in the dialog")
        await pilot.press("up", "enter")
        await until(pilot, lambda: "▪ inner.txt" in drawn(stage))
        assert stage.chat.composer.has_focus
        await say(pilot, stage, "/attach")
        await until(pilot, lambda: "inner.txt" in drawn(stage) and stage.app.screen is not stage.screen, "it begins there again")
        stage.app.screen.query_one("PathInput").value = str(notes)  # type: ignore[attr-defined]  # a field for a path
        await until(pilot, lambda: "1 found" in drawn(stage))
        await pilot.press("enter")
        await until(pilot, lambda: "▪ my notes.txt" in drawn(stage))
        await pilot.press("alt+o")
        await until(pilot, lambda: stage.app.screen is not stage.screen)
        await pilot.press("escape")
        await until(pilot, lambda: stage.app.screen is stage.screen)
