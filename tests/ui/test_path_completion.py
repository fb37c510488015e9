"""Paths as users type them and as terminals paste them, on every system."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mistral_chat.ui.path_completion import complete_path, path_from_input, path_from_paste, split_typed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my notes.txt"
    path.write_text("text")
    return path


def test_a_dropped_file_is_found_however_the_terminal_writes_it(file: Path) -> None:
    escaped = str(file).replace(" ", r"\ ")
    for text in (str(file), f"'{file}'", f'"{file}"', escaped, f"file://{file}".replace(" ", "%20"), f"  {file}\n"):
        assert path_from_paste(text) == file, text


@pytest.mark.parametrize("text", ["notes.txt", "see /etc", "a /x\n/y", "C:\\x.txt", "/no/such/file", "/" + "x" * 5000])
def test_anything_else_is_text(text: str) -> None:
    assert path_from_paste(text) is None


def test_a_path_is_completed_as_far_as_it_is_unambiguous(file: Path) -> None:
    (file.parent / "my news").mkdir()
    assert complete_path(f"{file.parent}/m") == (f"{file.parent}/my n", ["my news/", "my notes.txt"])
    assert complete_path(f"{file.parent}/my no")[0] == str(file)
    assert complete_path("/no/such/folder/x") == ("/no/such/folder/x", [])


class TestWindows:
    @pytest.fixture(autouse=True)
    def windows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "win32")

    @pytest.mark.parametrize(
        ("text", "path"),
        [
            (r"C:\Users\ada\notes.txt", r"C:\Users\ada\notes.txt"),
            (r'"C:\Users\ada\my notes.txt"', r"C:\Users\ada\my notes.txt"),
            (r"\\server\share\x.txt", r"\\server\share\x.txt"),
            ("file:///C:/Users/ada/my%20notes.txt", "C:/Users/ada/my notes.txt"),
        ],
    )
    def test_drives_shares_and_backslashes_are_kept(self, text: str, path: str) -> None:
        assert str(path_from_input(text)) == path

    def test_a_drive_starts_an_absolute_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.path.isfile", lambda _path: True)
        assert path_from_paste(r'"D:\my notes.txt"') == Path(r"D:\my notes.txt")
        assert path_from_paste("a:b") is None
        assert path_from_paste("D:notes") is None

    def test_a_path_is_completed_after_either_slash(self, file: Path) -> None:
        assert complete_path(f"{file.parent}/my no")[0] == str(file)
        assert split_typed(r"C:\x\y.txt") == ("C:\\x\\", "y.txt")
