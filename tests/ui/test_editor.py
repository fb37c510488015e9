"""The external editor: it may be anything, and whatever it is the screen comes back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from textual.app import App

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


async def edited(editor: str, **environ: Any) -> tuple[str, str]:
    app = Lent()
    result = await edit_externally(app, "before", {"EDITOR": editor, "PATH": "/usr/bin:/bin", **environ})
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
        ("false", "ended with code 1"),
    ],
)
async def test_an_editor_that_fails_leaves_the_screen_and_says_why(editor: str, problem: str) -> None:
    text, why = await edited(editor)
    assert text == ""
    assert problem in why


def test_a_common_editor_is_found_if_none_is_set(tmp_path: Path) -> None:
    assert editor_command({"PATH": str(tmp_path)}) == ([], "No editor found. Set EDITOR, for instance to nano.")
    script(tmp_path / "vi", "true")
    assert editor_command({"PATH": str(tmp_path)}) == (["vi"], "")
    assert editor_command({"PATH": str(tmp_path), "VISUAL": "code --wait", "EDITOR": "vi"}) == (["code", "--wait"], "")
