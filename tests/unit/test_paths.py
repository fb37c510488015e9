"""Files are written to the platform's folders only, and only their owner can read them."""

from __future__ import annotations

import os
import resource
import stat
import sys
from pathlib import Path

import pytest

from mistral_chat.errors import UsageError
from mistral_chat.paths import Paths, output_path, private_folder, private_opener, write_new


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_platforms_folders_are_used(own_folders: Path) -> None:
    paths = Paths.from_environment({})
    everything = [paths.config_file, paths.database, paths.models_dir, paths.snapshots_dir, paths.log_file]
    assert all(path.is_relative_to(own_folders) for path in everything)
    assert all("mistral-chat" in str(path) for path in everything)
    assert not list(own_folders.iterdir()), "asking where things are makes nothing"


def test_one_variable_moves_every_written_file(tmp_path: Path) -> None:
    paths = Paths.from_environment({"MISTRAL_CHAT_DATA_DIR": str(tmp_path / "d")})
    for path in (paths.database, paths.models_dir, paths.snapshots_dir, paths.log_file):
        assert path.is_relative_to(tmp_path / "d")


def test_the_settings_file_can_be_named(tmp_path: Path) -> None:
    assert Paths.from_environment({"MISTRAL_CHAT_CONFIG": str(tmp_path / "x.yaml")}).config_file == tmp_path / "x.yaml"


def test_models_can_be_on_another_disk(tmp_path: Path) -> None:
    assert Paths.from_environment({}, "/disk").models_dir == Path("/disk")
    assert Paths.from_environment({"MISTRAL_CHAT_MODELS_DIR": str(tmp_path)}, "/disk").models_dir == tmp_path


def test_a_tilde_is_the_home_folder(own_folders: Path) -> None:
    assert Paths.from_environment({"MISTRAL_CHAT_DATA_DIR": "~/chats"}).data_dir == own_folders / "chats"


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_folders_and_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = private_folder(tmp_path / "a" / "b")
        with open(folder / "file", "w", encoding="utf-8", opener=private_opener):
            pass
    finally:
        os.umask(before)
    assert (mode(tmp_path / "a"), mode(folder), mode(folder / "file")) == (0o700, 0o700, 0o600)


def test_a_shared_folder_stays_shared(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    assert mode(private_folder(tmp_path / "shared")) == 0o755


def test_a_folder_on_a_drive_that_is_not_there_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On Windows, the root of a drive may not exist; it was its own missing parent, without end."""
    asked: list[Path] = []

    def exists(path: Path) -> bool:
        asked.append(path)
        assert len(asked) < 1000, "the search never ends"
        return False

    (tmp_path / "file").touch()
    monkeypatch.setattr(Path, "exists", exists)
    with pytest.raises(OSError, match=r"exists|directory"):
        private_folder(tmp_path / "file" / "models")


class TestWhereTheUserWantsAFile:
    def test_the_home_folder_is_expanded(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        assert output_path("~/notes.md") == tmp_path / "notes.md"
        assert output_path("notes.md") == Path.cwd() / "notes.md"

    def test_an_unknown_home_folder_is_refused(self) -> None:
        with pytest.raises(UsageError, match="no such home folder"):
            output_path("~no-such-user/x.md")
        with pytest.raises(UsageError, match="no such home folder"):
            Paths.from_environment({}, "~no-such-user/models")

    def test_a_name_that_windows_loses_is_refused_there_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert output_path("con.txt").name == "con.txt"
        monkeypatch.setattr(sys, "platform", "win32")
        with pytest.raises(UsageError, match="a device name on Windows"):
            output_path("con.txt")

    def test_of_a_file_that_does_not_fit_on_the_disk_nothing_is_left(self, tmp_path: Path) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            with pytest.raises(UsageError, match=r"Cannot write .*notes.md: File too large"):
                write_new(str(tmp_path / "notes.md"), "x" * 100_000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not list(tmp_path.glob("*.md"))

    def test_a_file_that_exists_stays_when_no_file_can_be_opened(self, tmp_path: Path) -> None:
        (tmp_path / "notes.md").write_text("mine")
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        try:
            with pytest.raises(UsageError, match="Too many open files"):
                write_new(str(tmp_path / "notes.md"), "other")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert (tmp_path / "notes.md").read_text() == "mine"

    def test_half_of_a_character_is_replaced(self, tmp_path: Path) -> None:
        assert write_new(str(tmp_path / "notes.md"), "a\ud800b").read_text() == "a?b"
