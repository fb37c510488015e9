"""The external editor: it may be anything, and whatever it is the screen comes back."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.app_harness import PAUSE, AppHarness, screen_text, send_message, until, until_answered, until_ready, until_shown
from support.terminal_output import capture_output
from textual.app import App

from mistral_chat.errors import EngineLoadFailed, UsageError
from mistral_chat.ui.editor import edit_externally, editor_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Lent(App[None]):
    """An app that notes whether it has its terminal back. As in Textual, an exception on the way leaves it without."""

    has_terminal = True

    @contextmanager
    def suspend(self) -> Iterator[None]:
        self.has_terminal = False
        yield
        self.has_terminal = True


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def waiting_editor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Use an editor that makes one file when it begins, and writes "after" once something is written to the other."""
    begun, ended = folder / "begun", folder / "ended"
    os.mkfifo(ended)
    monkeypatch.setenv("VISUAL", str(script(folder / "ed", f'touch {begun}; read _ < {ended}; printf "after" > "$1"')))
    return begun, ended


async def edited(editor: str, **environ: Any) -> tuple[str, str]:
    app = Lent()
    try:
        result = await edit_externally(app, "before", {"EDITOR": editor, "PATH": "/usr/bin:/bin", **environ}), ""
    except UsageError as error:
        result = "", str(error)
    assert app.has_terminal, "the screen does not come back"
    return result


async def test_the_draft_is_what_was_written(tmp_path: Path) -> None:
    assert await edited(str(script(tmp_path / "ed", 'printf "after\\n" > "$1"'))) == ("after", "")


async def test_a_path_with_a_space_and_options_work(tmp_path: Path) -> None:
    editor = script(tmp_path / "my editor", 'printf "after" > "$1"')
    assert await edited(str(editor)) == ("after", "")
    other = script(tmp_path / "options", 'test "$1" = "--wait" && printf "after" > "$2"')
    assert await edited(f"{other} --wait") == ("after", "")


@pytest.mark.parametrize(
    ("editor", "problem"),
    [
        ("no-such-editor", "Cannot start the editor 'no-such-editor'"),
        ("vim 'x", "EDITOR is not a command"),
        ("/", "Cannot start the editor '/'"),
        ("false", "exited with code 1"),
    ],
)
async def test_an_editor_that_fails_leaves_the_screen_and_says_why(editor: str, problem: str) -> None:
    text, why = await edited(editor)
    assert text == ""
    assert problem in why


@pytest.mark.parametrize(
    ("action", "problem"),
    [
        ('rm "$1"', "message.md is not a"),
        ('rm "$1"; mkdir "$1"', "message.md is not a"),
        ('printf "\\377\\200" > "$1"', "Only text can be sent"),
        ('printf "a\\000b" > "$1"', "is binary data"),
        ('yes abcdefg | head -c 70000 > "$1"', "69,999 characters, more than a message may have"),
        ('yes abcdefg | head -c 5000000 > "$1"', "is larger than 4 MB"),
        ("kill -9 $$", "exited with code -9"),
    ],
)
async def test_what_is_no_message_leaves_the_draft(tmp_path: Path, action: str, problem: str) -> None:
    text, said = await edited(str(script(tmp_path / "ed", action)))
    assert (text, problem in said, said.endswith("The draft is unchanged.")) == ("", True, True), said


async def test_ctrl_c_in_an_editor_ends_the_editor_alone(tmp_path: Path) -> None:
    """A terminal sends the signal to both processes."""
    interrupted: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    try:
        assert await edited(str(script(tmp_path / "survives", 'kill -INT $PPID; printf after > "$1"'))) == ("after", "")
        _, said = await edited(str(script(tmp_path / "ends", "kill -INT $PPID; kill -INT $$")))
        assert "exited with code -2. The draft is unchanged." in said
        assert not interrupted
        signal.raise_signal(signal.SIGINT)
        assert interrupted, "afterwards it is the program's again"
    finally:
        signal.signal(signal.SIGINT, before)


async def test_text_in_other_encodings_is_taken(tmp_path: Path) -> None:
    assert await edited(str(script(tmp_path / "ed", 'printf "\\377\\376h\\000i\\000" > "$1"'))) == ("hi", "")
    assert await edited(str(script(tmp_path / "dos", 'printf "a\\r\\nb\\r\\n" > "$1"'))) == ("a\nb", "")


@pytest.mark.parametrize("place", ["missing", "file"])
async def test_without_room_for_the_file_the_screen_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / place))
    text, said = await edited("true")
    assert (text, said.startswith("Cannot write a file for the editor")) == ("", True)


async def test_nothing_is_drawn_while_the_editor_has_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Textual's thread that writes has ended: what is drawn fills its queue, and the app freezes."""
    begun, ended = waiting_editor(tmp_path, monkeypatch)
    harness = AppHarness(answer=lambda _: f"First {PAUSE} and last")
    harness.start_with(("Question", "Answer"), title="Bread")
    async with capture_output(harness.app) as (pilot, output):
        await until_ready(pilot, harness)
        await send_message(pilot, harness, "Go on")
        await until(pilot, lambda: harness.chat.replying)
        await pilot.press("ctrl+g")
        await until(pilot, begun.exists, "the editor runs")
        output.heard()
        harness.gate.set()
        await until_answered(pilot, harness)
        harness.chat.composer.cursor_blink = True
        await until(pilot, lambda: not harness.chat.composer._cursor_visible, "the cursor blinks")
        assert output.heard() == ""
        ended.write_text("\n")
        await until(pilot, lambda: harness.chat.draft == "after")
        await pilot.pause()
        heard = output.heard()
        assert "and last" in heard
        assert "\x1b]2;Bread - mistral-chat\x07" in heard, "the editor may have set another title"


@pytest.mark.parametrize("before", ["before", "a.py\n```\npass\n```\n\nbefore"])
async def test_a_message_that_returns_while_the_editor_runs_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    begun, ended = waiting_editor(tmp_path, monkeypatch)
    harness = AppHarness(loading=True, load_failure=EngineLoadFailed(tmp_path / "model.gguf", "the file is cut"))
    async with capture_output(harness.app) as (pilot, _):
        await until_shown(pilot, harness)
        await send_message(pilot, harness, "First")
        await send_message(pilot, harness, "Sent")
        await until(pilot, lambda: "1 queued" in screen_text(harness))
        harness.chat.type(before)
        await pilot.press("ctrl+g")
        await until(pilot, begun.exists, "the editor runs")
        harness.loaded.set()
        await until(pilot, lambda: harness.chat.draft == before.replace("before", "Sent\n\nbefore"))
        ended.write_text("\n")
        await until(pilot, lambda: harness.chat.draft == "Sent\n\nafter")


@pytest.mark.parametrize("new", [False, True])
async def test_a_draft_that_is_written_while_another_conversation_opens_stays_in_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, new: bool
) -> None:
    begun, ended = waiting_editor(tmp_path, monkeypatch)
    harness = AppHarness()
    mine, other = "" if new else harness.start_with(("Question", "Answer")), harness.add_conversation(("Question", "Answer"))
    async with capture_output(harness.app) as (pilot, _):
        await until_ready(pilot, harness)
        harness.chat.type("before")
        await pilot.press("ctrl+g")
        await until(pilot, begun.exists, "the editor runs")
        await harness.chat.open(other)  # as with an editor in a window of its own
        harness.chat.type("other")
        ended.write_text("\n")
        await until(pilot, lambda: harness.store.draft(mine) == "after")
        assert harness.chat.draft == "other"


def test_a_common_editor_is_found_if_none_is_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"No editor found\. Set EDITOR, for instance to nano\."):
        editor_command({"PATH": str(tmp_path)})
    script(tmp_path / "vi", "true")
    assert editor_command({"PATH": str(tmp_path)}) == ["vi"]
    assert editor_command({"PATH": str(tmp_path), "VISUAL": "code --wait", "EDITOR": "vi"}) == ["code", "--wait"]
    assert editor_command({"PATH": str(tmp_path), "EDITOR": "~no-such-user/vi"}) == ["~no-such-user/vi"]
