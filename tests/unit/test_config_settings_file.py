"""The settings file is read with what overrides it, parsed as seldom as possible, and replaced in one step."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mistral_chat.config import Settings, reader
from mistral_chat.config.configuration import CommandLineOverride
from mistral_chat.config.settings_file import SettingsFile
from mistral_chat.errors import ConfigError, UsageError

FILE = "# mine\nmodel: demo\nsampling:\n  temperature: 0.4  # calm\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "config.yaml"
    file.write_text(FILE, encoding="utf-8")
    return file


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that the YAML library is given."""
    texts: list[str] = []

    class Counted(reader._Composer):
        def __init__(self, text: str, source: str) -> None:
            texts.append(text)
            super().__init__(text, source)

    monkeypatch.setattr(reader, "_Composer", Counted)
    return texts


def test_one_changed_setting_takes_two_parses(path: Path, parses: list[str]) -> None:
    file = SettingsFile(path)
    file.write("sampling.temperature", 0.2)
    assert parses == [FILE, FILE.replace("0.4", "0.2")], "the old file once, and the new one once"


def test_a_file_that_has_not_changed_is_not_parsed_again(path: Path, parses: list[str]) -> None:
    file = SettingsFile(path)
    assert file.read().settings.model == "demo"
    file.write("model", "other")
    assert (file.read().settings.model, len(parses)) == ("other", 2)
    path.write_text(FILE.replace("demo", "else"), encoding="utf-8")
    assert (file.read().settings.model, len(parses)) == ("else", 3), "a change by another program is missed"


def test_the_first_change_creates_a_file_with_that_key_only(tmp_path: Path, parses: list[str]) -> None:
    path = tmp_path / "none" / "config.yaml"
    file = SettingsFile(path)
    assert file.read().settings == Settings()
    assert parses == []
    assert file.write("trash_days", 3).settings.trash_days == 3
    assert path.read_text(encoding="utf-8").splitlines()[1:] == ["trash_days: 3"], "defaults are written, and never better ones"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_command_line_wins_over_the_file(path: Path) -> None:
    file = SettingsFile(path, options={"model": CommandLineOverride("--model", "given")})
    configuration = file.write("model", "written")
    assert (configuration.settings.model, configuration.sources["model"]) == ("given", "--model")
    assert SettingsFile(path).read().settings.model == "written"


def test_an_option_that_cannot_be_used_is_wrong_usage(path: Path) -> None:
    with pytest.raises(UsageError, match="--ctx-size: size must be from 256"):
        SettingsFile(path, options={"context.size": CommandLineOverride("--ctx-size", 5)}).read()


def test_a_byte_order_mark_is_kept(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + FILE.encode())
    SettingsFile(path).write("model", "other")
    assert path.read_bytes() == b"\xef\xbb\xbf" + FILE.replace("demo", '"other"').encode()


@pytest.mark.parametrize("text", ["", "\n", "# mine\n", "personas: {}\n", "personas:\n  a: {}\n", "{personas: {}}"])
def test_a_file_with_a_byte_order_mark_is_changed_as_one_without(path: Path, text: str) -> None:
    after = []
    for mark in ("", "\ufeff"):
        path.write_bytes((mark + text).encode())
        file = SettingsFile(path)
        file.write("theme", "x")
        file.write_entry("personas", "b", {("system",): "y"})
        file.write_entry("personas", "a", None)
        after.append(path.read_text("utf-8").removeprefix(mark).lstrip("\n"))
        assert path.read_bytes().startswith(mark.encode())
    assert after[0] == after[1]


def test_of_two_settings_saved_at_once_none_is_lost(path: Path) -> None:
    """The theme, the statistics and a model's prompt format are each saved in a thread."""
    file = SettingsFile(path)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda name: file.write_entry("models.formats", name, {(): "chatml"}), "abcdefghijkl"))
    assert sorted(file.read().settings.models.formats) == list("abcdefghijkl")


def test_unknown_keys_can_be_skipped_with_a_warning_each(path: Path) -> None:
    path.write_text("modle: x\nsampling: {heat: 1, seed: 7}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key 'modle'; did you mean 'model'"):
        SettingsFile(path).read()
    found = SettingsFile(path).read(skip_unknown=True)
    assert found.settings.sampling.seed == 7
    assert [warning.partition(";")[0] for warning in found.warnings] == [
        f"{path}:1: unknown key 'modle'",
        f"{path}:2: unknown key 'sampling.heat'",
    ]


def test_wrong_values_are_errors_even_if_unknown_keys_are_skipped(path: Path) -> None:
    path.write_text("trash_days: soon\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'trash_days' must be a whole number"):
        SettingsFile(path).read(skip_unknown=True)


def test_only_values_that_differ_from_the_defaults_count_as_changed(path: Path) -> None:
    path.write_text(f"theme: {Settings().theme}\ntrash_days: 7\n", encoding="utf-8")
    assert SettingsFile(path).read().changed() == ["trash_days"]


def test_each_entry_is_reported_to_the_caller(path: Path) -> None:
    entries: list[tuple[str, str]] = []
    file = SettingsFile(path, on_entry=lambda *entry: entries.append(entry))
    file.write_entry("models.formats", "demo", {(): "chatml"})
    file.write_entry("models.formats", "demo", None)
    assert entries == [("models.formats", "demo")] * 2
    assert path.read_text(encoding="utf-8").startswith(FILE)


def test_the_stamp_differs_after_a_change(path: Path) -> None:
    file = SettingsFile(path)
    before = file.stamp()
    assert file.stamp() == before
    file.write("trash_days", 3)
    assert file.stamp() != before
    path.unlink()
    assert file.stamp() is None


def test_a_folder_in_place_of_the_settings_file_is_named(tmp_path: Path) -> None:
    file = SettingsFile(tmp_path)
    with pytest.raises(ConfigError, match=f"{tmp_path}: the file cannot be read: Is a directory"):
        file.read()
    with pytest.raises(ConfigError, match="Is a directory"):
        file.write("model", "demo")


def test_a_file_in_place_of_the_settings_folder_has_no_settings_and_takes_none(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("")
    file = SettingsFile(tmp_path / "config" / "config.yaml")
    assert file.read().settings == Settings()
    with pytest.raises(ConfigError, match=r"config\.yaml.*: (Not a directory|File exists)"):
        file.write("model", "demo")
