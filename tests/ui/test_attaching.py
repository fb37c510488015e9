"""Files attached to a message: added, shown with their cost, removed, sent."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from support.app_harness import (
    PAUSE,
    AppHarness,
    press_at_once,
    run,
    run_loaded,
    screen_text,
    send_and_wait,
    send_message,
    until,
    until_answered,
    until_shown,
)
from textual import events

from mistral_chat.session.attachments import Attachment, read_document
from mistral_chat.ui.dialogs.help import HelpDialog
from mistral_chat.ui.dialogs.passage import PassageDialog
from mistral_chat.ui.path_completion import complete_path, path_from_input, path_from_paste
from mistral_chat.ui.widgets.attachment_bar import AttachmentBar
from mistral_chat.ui.widgets.turn import MessageView

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from textual.pilot import Pilot

    from mistral_chat.documents.reader import DocumentReader


async def attach_during_a_reply(pilot: Pilot[Any], harness: AppHarness, notes: Path) -> None:
    """Attach the notes while a reply, which pauses after "one", is generated."""
    await send_message(pilot, harness, "first")
    await until(pilot, lambda: "one" in screen_text(harness))
    await send_message(pilot, harness, f"/attach {notes}")
    await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))


def words(harness: AppHarness) -> str:
    """What is drawn, without frames and line ends."""
    return " ".join(screen_text(harness).replace("│", " ").split())


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "my notes.txt"
    path.write_text("buy bread\nand salt\n")
    return path


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_a_file_is_shown_with_its_cost_and_sent_with_the_message(notes: Path, size: tuple[int, int]) -> None:
    harness = AppHarness(answer=lambda _: "Fine.")
    async with run_loaded(harness, size) as pilot:
        await send_message(pilot, harness, f"/attach {notes}")
        await until(pilot, lambda: "my notes.txt  19 bytes" in screen_text(harness))
        await until(pilot, lambda: "tokens" in screen_text(harness))
        await send_and_wait(pilot, harness, "What do I need?")
        (turn,) = harness.store.turns(harness.store.latest() or "")
        assert turn.turn.user == "my notes.txt\n```\nbuy bread\nand salt\n```\n\nWhat do I need?"
        assert "19 bytes" not in screen_text(harness)
        assert "▤ my notes.txt · 2 lines" in screen_text(harness)
        assert "```" not in screen_text(harness)
        assert "buy bread" not in screen_text(harness), "the file is one row of the transcript"


@pytest.mark.parametrize("form", ["{}", "'{}'", '"{}"'])
async def test_a_dropped_file_is_attached_and_undoing_pastes_its_path(notes: Path, form: str) -> None:
    harness = AppHarness()
    dropped = form.format(notes)
    async with run_loaded(harness) as pilot:
        harness.chat.composer.post_message(events.Paste(dropped))
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))
        assert harness.chat.draft == ""
        await pilot.press("f8")
        await until(pilot, lambda: harness.chat.draft == dropped)
        await until(pilot, lambda: "▪" not in screen_text(harness))


async def test_an_unsuitable_file_is_refused_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\xff")
    (tmp_path / "long.txt").write_text("word " * 500)
    (tmp_path / "huge.txt").write_bytes(b"a" * (4 * 1024 * 1024 + 1))
    reasons = {
        "picture.png": "Only text can be sent",
        "long.txt": "tokens; the context window has 256",
        "huge.txt": "takes 1,048,576 tokens",
        "gone.txt": "is not a readable file",
    }
    harness = AppHarness(window=256)
    async with run_loaded(harness) as pilot:
        for name, reason in reasons.items():
            draft = f"/attach {tmp_path / name}"
            await send_message(pilot, harness, draft)
            await until(pilot, lambda reason=reason: reason in harness.chat.notice, reason)  # type: ignore[misc]  # mypy has no type for a lambda's default
            assert harness.chat.draft == draft
            harness.chat.set_draft("")
            harness.chat.clear_notice()
        harness.chat.composer.post_message(events.Paste(str(tmp_path / "picture.png")))
        await until(pilot, lambda: "Its path was pasted" in harness.chat.notice)
        assert harness.chat.draft == str(tmp_path / "picture.png")


async def test_a_file_can_be_detached_and_restored_with_keys(notes: Path) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))
        harness.chat.focus_attachments()
        await pilot.press("down", "delete")
        await until(pilot, lambda: "▪" not in screen_text(harness))
        assert harness.chat.composer.has_focus
        await pilot.press("f8")
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))


async def test_files_stay_with_their_draft_and_are_counted_later(notes: Path) -> None:
    harness = AppHarness(loading=True)
    other = harness.add_conversation(("Question", "Answer"), title="Other")
    async with run(harness) as pilot:
        await until_shown(pilot, harness)
        await send_message(pilot, harness, f"/attach {notes}")
        await until(pilot, lambda: "… tokens" in screen_text(harness))
        await harness.chat.open(other)
        await until(pilot, lambda: "▪" not in screen_text(harness))
        await harness.chat.open(None)
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))
        harness.loaded.set()
        await until(pilot, lambda: "tokens" in screen_text(harness) and "… tokens" not in screen_text(harness))


async def test_a_message_that_is_not_saved_returns_its_files(notes: Path) -> None:
    harness = AppHarness(window=256)
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))
        await send_message(pilot, harness, "word " * 400)
        await until(pilot, lambda: "tokens" in harness.chat.notice and "▪ my notes.txt" in screen_text(harness))
        assert harness.store.latest() is None


async def test_a_queued_message_that_is_stopped_returns_its_files(notes: Path) -> None:
    harness = AppHarness(answer=lambda _: f"one {PAUSE} two")
    async with run_loaded(harness) as pilot:
        await attach_during_a_reply(pilot, harness, notes)
        await send_message(pilot, harness, "second")
        await until(pilot, lambda: "1 queued" in screen_text(harness) and "▪" not in screen_text(harness))
        await pilot.press("escape")
        await until_answered(pilot, harness)
        assert harness.chat.draft == "second"
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))


async def test_tab_completes_a_path(notes: Path) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.set_draft(f"/attach {notes.parent}/my")
        harness.chat.composer.focus()
        await pilot.press("tab")
        await until(pilot, lambda: harness.chat.draft == f"/attach {notes}")


async def test_a_hostile_name_reaches_neither_screen_nor_completion(tmp_path: Path) -> None:
    path = tmp_path / "bad\x1b]0;owned\x07[red].txt"
    path.write_text("text")
    assert complete_path(f"{tmp_path}/bad")[1] == []
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await harness.chat.attach(str(path))
        await until(pilot, lambda: "[red].txt" in screen_text(harness))
        assert "\x1b]0" not in screen_text(harness)


def test_pasted_paths_are_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a b.txt"
    file.write_text("x")
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in (str(file), f"'{file}'", str(file).replace(" ", "\\ "), file.as_uri(), "~/a b.txt", f" {file}\n"):
        assert path_from_paste(text) == file, text
        assert path_from_input(text) == file
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
        assert path_from_paste(text) is None, text


async def test_the_drafts_cost_counts_its_files(notes: Path) -> None:
    harness = AppHarness(window=256)
    async with run_loaded(harness) as pilot:
        composer = harness.chat.composer
        await send_message(pilot, harness, f"/attach {notes}")
        await until(pilot, lambda: "tokens" in str(composer.border_subtitle), "the file alone is counted")
        composer.insert("one two three")
        whole = harness.chat.with_files("one two three")
        assert "buy bread" in whole
        engine = harness.screen.host.loaded_engine
        assert engine is not None
        tokens = engine.count(whole)
        await until(pilot, lambda: f"{tokens} tokens" in str(composer.border_subtitle))
        assert harness.chat.usage is not None
        assert harness.chat.usage.draft == tokens
        composer.set_draft("")
        harness.chat.focus_attachments()
        await pilot.press("down", "delete")
        await until(pilot, lambda: not composer.border_subtitle, "the cost goes with the file")


async def test_files_that_do_not_fit_are_reported_before_sending(tmp_path: Path) -> None:
    harness = AppHarness(window=256)
    async with run_loaded(harness) as pilot:
        for name in ("one.txt", "two.txt"):
            (tmp_path / name).write_text("word " * 150)
            await send_message(pilot, harness, f"/attach {tmp_path / name}")
            await until(pilot, lambda name=name: f"▪ {name}" in screen_text(harness))  # type: ignore[misc]  # mypy has no type for a lambda's default
        await until(pilot, lambda: "Too long with 2 attachments" in harness.chat.notice)
        assert harness.chat.composer.has_class("-over")
        harness.chat.focus_attachments()
        await pilot.press("down", "delete")
        await until(pilot, lambda: not harness.chat.composer.has_class("-over"))


async def test_the_prompt_is_shown_with_the_files(notes: Path) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))
        harness.chat.type("What?")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: "Your draft" in screen_text(harness) and "buy bread" in screen_text(harness))


@pytest.mark.parametrize("size", [(100, 30), (60, 20)], ids=str)
async def test_a_file_is_found_in_a_dialog_without_knowing_its_path(
    notes: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    (notes.parent / "folder").mkdir()
    (notes.parent / "folder" / "inner.txt").write_text("inner")
    (notes.parent / "folder" / "picture.png").write_bytes(b"\x89PNG\0\xff")
    (notes.parent / "folder" / "picture.raw").write_bytes(b"\x89PNG\0\xff")
    monkeypatch.chdir(notes.parent)
    harness = AppHarness()
    async with run_loaded(harness, size) as pilot:
        await pilot.press("alt+o")
        await until(
            pilot, lambda: "folder/" in screen_text(harness) and "my notes.txt" in screen_text(harness), "what is here is listed"
        )
        await pilot.press("f", "tab")
        await until(pilot, lambda: "picture.raw" in screen_text(harness), "Tab completes the folder's name")
        assert "picture.png" not in screen_text(harness), "what is no text by its name is not listed"
        await pilot.press("down", "enter")
        await until(pilot, lambda: "Only text" in words(harness), "binary data is refused in the dialog")
        await pilot.press("up", "enter")
        await until(pilot, lambda: "▪ inner.txt" in screen_text(harness))
        assert harness.chat.composer.has_focus
        await send_message(pilot, harness, "/attach")
        await until(
            pilot,
            lambda: "inner.txt" in screen_text(harness) and harness.app.screen is not harness.screen,
            "it begins there again",
        )
        harness.app.screen.query_one("PathInput").value = str(notes)  # type: ignore[attr-defined]  # a field for a path
        await until(pilot, lambda: "1 found" in screen_text(harness))
        await pilot.press("enter")
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))
        await pilot.press("alt+o")
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        await pilot.press("escape")
        await until(pilot, lambda: harness.app.screen is harness.screen)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Every document is read only once the second event is set; the first is set as soon as one is being read."""
    begun, released = threading.Event(), threading.Event()

    def slowly(path: Path, reader: DocumentReader) -> Attachment:
        begun.set()
        assert released.wait(30)
        return read_document(path, reader)

    monkeypatch.setattr("mistral_chat.session.grounding.read_document", slowly)
    return begun, released


async def test_a_dialog_that_opens_while_a_file_is_read_does_not_stop_that(
    notes: Path, reading: tuple[threading.Event, threading.Event]
) -> None:
    _, opened = reading
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {notes}")
        await pilot.press("ctrl+f")
        await until(pilot, lambda: not harness.chat.is_current)
        await pilot.press("escape")
        opened.set()
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))


@pytest.mark.parametrize("key", ["escape", "enter", "f1"])
async def test_a_key_in_the_dialog_that_reads_a_file_is_answered(
    notes: Path, reading: tuple[threading.Event, threading.Event], key: str
) -> None:
    begun, pressed = reading
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("alt+o")
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        harness.app.screen.query_one("PathInput").value = str(notes)  # type: ignore[attr-defined]  # a field for a path
        await until(pilot, lambda: "1 found" in screen_text(harness))
        await pilot.press("enter")
        await until(pilot, lambda: begun.is_set() and "Reading my notes.txt" in screen_text(harness))
        press_at_once(harness, key)
        if key == "escape":
            await until(pilot, lambda: harness.app.screen is harness.screen, "the file is still being read")
        if key == "f1":
            await until(pilot, lambda: isinstance(harness.app.screen, HelpDialog))
        pressed.set()
        await until(pilot, lambda: bool(harness.screen.session.attachments) == (key != "escape"))
        if key == "f1":
            await pilot.press("escape")
        await until(pilot, lambda: harness.app.screen is harness.screen and ("▪" in screen_text(harness)) == (key != "escape"))


async def test_an_unforeseen_error_in_a_dialog_is_reported(
    notes: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mistral_chat.session.grounding.read_document", lambda *_: 1 // 0)
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("alt+o")
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        harness.app.screen.query_one("PathInput").value = str(notes)  # type: ignore[attr-defined]  # a field for a path
        await until(pilot, lambda: "1 found" in screen_text(harness))
        await pilot.press("enter")
        await until(pilot, lambda: "ZeroDivisionError" in harness.chat.notice)
    caplog.clear()


async def test_a_message_waits_for_the_dropped_file_that_is_being_read(
    notes: Path, reading: tuple[threading.Event, threading.Event]
) -> None:
    _, waited = reading
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.composer.post_message(events.Paste(str(notes)))
        await send_message(pilot, harness, "What do I need?")
        await until(pilot, lambda: "Reading my notes.txt… Press Enter again" in harness.chat.notice)
        assert harness.chat.draft == "What do I need?"
        waited.set()
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))
        await pilot.press("enter")
        await until_answered(pilot, harness)
        (turn,) = harness.store.turns(harness.store.latest() or "")
        assert "buy bread" in turn.turn.user


async def test_a_path_that_cannot_be_read_is_refused_in_the_dialog_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("alt+o")
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        for path in ("~nobody-of-that-name/x", "/" + "x" * 260, f"{tmp_path}/file/x", "file://[x"):
            harness.app.screen.query_one("PathInput").value = path  # type: ignore[attr-defined]  # a field for a path
            await until(pilot, lambda: "No such file" in words(harness))
            await pilot.press("enter")
            await until(pilot, lambda: "is not a readable file" in words(harness) or "cannot be read" in words(harness), path)


async def test_enter_takes_what_is_typed_and_not_what_was_listed_before(notes: Path) -> None:
    (notes.parent / "folder").mkdir()
    (notes.parent / "folder" / "inner.txt").write_text("inner")
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("alt+o")
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        dialog = harness.app.screen
        dialog.query_one("PathInput").value = f"{notes.parent}/"  # type: ignore[attr-defined]  # a field for a path
        await until(pilot, lambda: "my notes.txt" in screen_text(harness))
        dialog.query_one("PathInput").value = f"{notes.parent}/folder/inner.txt"  # type: ignore[attr-defined]  # the same
        press_at_once(harness, "enter")
        await until(pilot, lambda: "▪ inner.txt" in screen_text(harness))


async def test_a_folder_without_text_is_said_to_have_none_until_a_name_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "picture.png").write_bytes(b"\x89PNG\0\xff")
    monkeypatch.chdir(pictures)
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("alt+o")
        await until(pilot, lambda: "No text files here" in screen_text(harness))
        await pilot.press("x")
        await until(pilot, lambda: "No such file" in screen_text(harness))


LONG = "\n".join(f"line {number}" for number in range(300))
MESSAGE = "my notes.txt\n```\nbuy bread\n```\n\nb.txt\n```\nand salt\n```\n\nWhat do I need?"


@pytest.mark.parametrize("key", ["f8", "ctrl+z"])
async def test_a_long_paste_is_attached_and_undoing_pastes_it_as_text(key: str) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.type("See ")
        await pilot.pause()
        harness.chat.composer.post_message(events.Paste(LONG.replace("\n", "\r")))
        await until(pilot, lambda: "▪ Pasted text · 300 lines" in screen_text(harness))
        assert harness.chat.draft == "See "
        await pilot.press(key)
        await until(pilot, lambda: harness.chat.draft == f"See {LONG}")
        await until(pilot, lambda: "▪" not in screen_text(harness))


async def test_a_long_paste_is_there_again_in_the_next_run(tmp_path: Path) -> None:
    first = AppHarness(path=tmp_path / "store.db")
    async with run_loaded(first) as pilot:
        first.chat.composer.post_message(events.Paste(LONG))
        await until(pilot, lambda: "▪ Pasted text" in screen_text(first))
        first.chat.composer.insert("What is this?")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: first.app.return_code is not None)
    second = AppHarness(path=tmp_path / "store.db")
    async with run_loaded(second) as pilot:
        await until(pilot, lambda: "▪ Pasted text" in screen_text(second))
        assert second.chat.draft == "What is this?"
        await pilot.press("enter")
        await until_answered(pilot, second)
        (turn,) = second.store.turns(second.store.latest() or "")
        assert LONG.rstrip() in turn.turn.user


async def test_keys_after_the_conversations_were_closed_at_the_end_do_not_fail() -> None:
    harness = AppHarness()
    harness.start_with(("Older", "Answer"))
    async with run_loaded(harness) as pilot:
        await harness.screen.session.files.add(Attachment("notes.txt", "buy bread"))
        await pilot.press("up")
        await until(pilot, lambda: harness.chat.draft == "Older")
        workspace, harness.screen.workspace = harness.screen.workspace, None  # as while the app ends
        harness.chat.composer.action_submit()
        bar = harness.screen.query_one(AttachmentBar)
        bar.post_message(bar.Removed(Attachment("notes.txt", "buy bread")))
        await until(pilot, lambda: harness.chat.draft == "Older" and "not open" in harness.chat.notice)
        await pilot.pause()
        harness.screen.workspace = workspace


async def test_undo_right_after_a_long_paste_undoes_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await harness.screen.session.files.add(Attachment("notes.txt", "buy bread"))
        await until(pilot, lambda: "▪ notes.txt" in screen_text(harness))
        harness.chat.focus_attachments()
        await pilot.press("d")
        await until(pilot, lambda: "Removed" in harness.chat.notice)
        harness.chat.composer.focus()
        await pilot.press(*"See ")
        counting, count = asyncio.Event(), harness.screen.host.count

        async def slowly(*texts: str) -> int | None:
            await counting.wait()
            return await count(*texts)

        monkeypatch.setattr(harness.screen.host, "count", slowly)
        harness.chat.composer.post_message(events.Paste(LONG))
        await until(pilot, lambda: harness.chat.composer.attached is not False)
        harness.chat.composer.action_undo()
        counting.set()
        await until(pilot, lambda: "▪ Pasted text" in screen_text(harness))
        await pilot.pause()
        assert harness.chat.draft == "See "
        assert [file.name for file in harness.screen.session.attachments] == ["Pasted text"]
        await pilot.press("ctrl+z")
        await until(pilot, lambda: harness.chat.draft == f"See {LONG}")


async def test_a_paste_that_was_sent_is_no_longer_undone() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.composer.post_message(events.Paste(LONG))
        await until(pilot, lambda: "▪ Pasted text" in screen_text(harness))
        await pilot.press("enter")
        await until_answered(pilot, harness)
        await pilot.press("ctrl+z")
        assert "Undone" not in harness.chat.notice
        await pilot.press("f8")
        await until(pilot, lambda: "was sent" in harness.chat.notice)


@pytest.mark.parametrize(
    ("text", "attached"),
    [("a\n" * 30, False), ("a\n" * 31, True), ("a" * 3000, False), ("a" * 3001, True), ("\n" * 4000, False)],
    ids=["30 lines", "31 lines", "3,000 characters", "3,001 characters", "blank"],
)
async def test_only_a_long_paste_is_attached(text: str, *, attached: bool) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.composer.post_message(events.Paste(text))
        await until(pilot, lambda: ("▪ Pasted text" in screen_text(harness)) if attached else harness.chat.draft == text)
        assert bool(harness.chat.draft) != attached


async def test_long_pastes_are_sent_as_attachments_even_without_a_question() -> None:
    harness = AppHarness(answer=lambda _: "Fine.")
    async with run_loaded(harness) as pilot:
        for name in ("Pasted text ·", "Pasted text 2 ·"):
            harness.chat.composer.post_message(events.Paste(LONG))
            await until(pilot, lambda name=name: f"▪ {name}" in screen_text(harness))  # type: ignore[misc]  # mypy has no type for a lambda's default
        await pilot.press("enter")
        await until_answered(pilot, harness)
        (turn,) = harness.store.turns(harness.store.latest() or "")
        assert turn.turn.user == f"Pasted text\n```\n{LONG}\n```\n\nPasted text 2\n```\n{LONG}\n```"
        await until(pilot, lambda: "▤ Pasted text 2 · 300 lines" in screen_text(harness))
        (summary,) = harness.store.summaries()
        assert summary.title == "line 0"
        await pilot.press("enter")
        await pilot.pause()
        assert len(harness.chat.turns) == 1, "an empty message is not sent"


async def test_holding_the_key_that_removes_an_attachment_removes_it_once(notes: Path) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await harness.chat.attach(str(notes))
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))
        harness.chat.focus_attachments()
        await pilot.pause()
        press_at_once(harness, "d", "d", "d")
        await until(pilot, lambda: "▪" not in screen_text(harness) and harness.chat.composer.has_focus)
        await pilot.press("f8")
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))


async def test_attachments_are_removed_one_after_another(tmp_path: Path) -> None:
    names = ["one.txt", "two.txt", "three.txt"]
    for name in names:
        (tmp_path / name).write_text("buy bread\n")
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        for name in names:
            await harness.chat.attach(str(tmp_path / name))
        await until(pilot, lambda: "▪ three.txt" in screen_text(harness))
        harness.chat.focus_attachments()
        for name in names:
            await pilot.press("d")
            await until(pilot, lambda name=name: f"▪ {name}" not in screen_text(harness), "the cursor went away")  # type: ignore[misc]  # mypy has no type for a lambda's default


async def test_attachments_are_shown_and_removed_by_keys_and_clicks(notes: Path) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))
        await pilot.press("x", "tab")
        await until(pilot, lambda: harness.chat.hints == ["Enter show", "d remove", "Esc back"])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(harness.app.screen, PassageDialog) and "and salt" in screen_text(harness))
        await pilot.press("escape", "d")
        await until(pilot, lambda: "▪" not in screen_text(harness) and harness.chat.composer.has_focus)
        await pilot.press("f8")
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))
        await pilot.click("#files", offset=(5, 0))
        await until(pilot, lambda: isinstance(harness.app.screen, PassageDialog), "a click on the name shows it")
        await pilot.press("escape")
        row = next(line for line in screen_text(harness).splitlines() if "▪" in line)
        await pilot.click(offset=(row.index("✕"), screen_text(harness).splitlines().index(row)))
        await until(pilot, lambda: "▪" not in screen_text(harness), "a click on the cross removes it")


async def test_an_edited_message_has_its_files_as_attachments_and_the_draft_gets_its_own_back(notes: Path) -> None:
    harness = AppHarness(answer=lambda _: "Fine.")
    harness.start_with((MESSAGE, "Answer"))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt  19 bytes" in screen_text(harness))
        harness.chat.type("a draft")
        await pilot.press("f3")
        await until(pilot, lambda: harness.chat.draft == "What do I need?")
        await until(pilot, lambda: "▪ b.txt" in screen_text(harness) and "19 bytes" not in screen_text(harness))
        await pilot.press("escape")
        await until(pilot, lambda: harness.chat.draft == "a draft" and "▪ my notes.txt  19 bytes" in screen_text(harness))
        await pilot.press("f3")
        await until(pilot, lambda: "▪ b.txt" in screen_text(harness))
        harness.chat.focus_attachments()
        await pilot.press("delete")
        await until(pilot, lambda: "▪ my notes.txt" not in screen_text(harness))
        harness.chat.set_draft("And now?")
        harness.chat.composer.focus()
        await pilot.press("enter")
        await until_answered(pilot, harness)
        (turn,) = harness.store.turns(harness.conversation_id or "")
        assert turn.turn.user == "b.txt\n```\nand salt\n```\n\nAnd now?"
        await until(pilot, lambda: harness.chat.draft == "a draft" and "▪ my notes.txt  19 bytes" in screen_text(harness))


async def test_another_conversation_is_opened_while_a_message_is_edited(notes: Path) -> None:
    harness = AppHarness()
    harness.start_with((MESSAGE, "Answer"))
    other = harness.add_conversation(("Question", "Answer"), title="Other")
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt  19 bytes" in screen_text(harness))
        await pilot.press("f3")
        await until(pilot, lambda: "▪ b.txt" in screen_text(harness))
        await harness.chat.open(other)
        await until(pilot, lambda: "▪" not in screen_text(harness))
        await harness.chat.open(harness.conversation_id)
        await until(pilot, lambda: "▪ my notes.txt  19 bytes" in screen_text(harness))
        assert "▪ b.txt" not in screen_text(harness)


async def test_a_recalled_message_comes_with_its_files(notes: Path) -> None:
    harness = AppHarness(answer=lambda _: "Fine.")
    harness.start_with(("First", "Answer"), (MESSAGE, "Answer"))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt  19 bytes" in screen_text(harness))
        await pilot.press("x", "up")
        await until(pilot, lambda: harness.chat.draft == "What do I need?" and "▪ b.txt" in screen_text(harness))
        await pilot.press("up")
        await until(pilot, lambda: harness.chat.draft == "First" and "▪" not in screen_text(harness))
        await pilot.press("down", "down")
        await until(pilot, lambda: harness.chat.draft == "x" and "▪ my notes.txt  19 bytes" in screen_text(harness))
        await pilot.press("up")
        await until(pilot, lambda: "▪ b.txt" in screen_text(harness))
        await pilot.press("enter")
        await until_answered(pilot, harness)
        await until(pilot, lambda: len(harness.chat.turns) == 3)
        assert harness.chat.turns[-1].turn.user == MESSAGE


async def test_a_queued_message_of_files_alone_has_a_row(notes: Path) -> None:
    harness = AppHarness(answer=lambda _: f"one {PAUSE} two")
    async with run_loaded(harness) as pilot:
        await attach_during_a_reply(pilot, harness, notes)
        await pilot.press("enter")
        await until(pilot, lambda: "queued: ▤ my notes.txt" in screen_text(harness))
        harness.gate.set()
        await until_answered(pilot, harness)


async def test_a_command_takes_a_long_paste_as_text() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        harness.chat.type("/system ")
        await pilot.pause()
        before = harness.chat.draft
        harness.chat.composer.post_message(events.Paste(LONG))
        await until(pilot, lambda: harness.chat.draft == before + LONG)


async def test_the_title_is_the_question_and_not_the_file(notes: Path) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {notes}")
        await until(pilot, lambda: "▪ my notes.txt" in screen_text(harness))
        await send_and_wait(pilot, harness, "What do I need?")
        (summary,) = harness.store.summaries()
        assert summary.title == "What do I need?"


async def test_a_sent_file_opens_from_the_message_menu_and_by_a_click() -> None:
    harness = AppHarness()
    harness.start_with((MESSAGE, "Butter."), title="Bread")
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: "▤ b.txt · 1 line" in screen_text(harness))
        assert "and salt" not in screen_text(harness)
        await pilot.press("shift+tab")
        await until(pilot, lambda: harness.chat.selected_turn is not None)
        await pilot.press("enter")
        await until(pilot, lambda: "Open attachments…" in screen_text(harness))
        await pilot.press("escape")
        await until(pilot, lambda: harness.app.screen is harness.screen)
        await send_message(pilot, harness, "/files")
        await until(pilot, lambda: "Attachments" in screen_text(harness))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(harness.app.screen, PassageDialog) and "and salt" in screen_text(harness))
        await pilot.press("escape")
        await until(pilot, lambda: harness.app.screen is harness.screen)
        view = harness.chat.views[0].query_one(MessageView)
        await pilot.click(view, offset=(5, 0))
        await until(pilot, lambda: isinstance(harness.app.screen, PassageDialog) and "buy bread" in screen_text(harness))
        await pilot.press("escape")
        await until(pilot, lambda: harness.app.screen is harness.screen)
        await pilot.click(view, offset=(5, 2))
        await until(pilot, lambda: harness.chat.selected_turn is None, "a click on the question selects as before")


async def test_a_hostile_name_in_a_message_is_drawn_on_one_row() -> None:
    harness = AppHarness()
    harness.start_with(("bad\x1b]0;owned\x07[red].txt\n```\nx\n```\n\nWhat?", "A"), title="Bad")
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: "[red].txt · 1 line" in screen_text(harness))
        assert "\x1b]0" not in screen_text(harness)
