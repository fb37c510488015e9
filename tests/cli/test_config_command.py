"""`mistral-chat config` shows each setting and its source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from support.programs import run

from mistral_chat.config import Settings
from mistral_chat.config.configuration import flatten
from mistral_chat.config.settings_file import SettingsFile


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.yaml"
    monkeypatch.setenv("MISTRAL_CHAT_CONFIG", str(path))
    return path


def config(*arguments: str) -> Result:
    return run("config", *arguments)


def test_show_lists_every_key_with_its_source(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("trash_days: 7\npersonas: {pirate: {system: Arr.}}\n")
    monkeypatch.setenv("MISTRAL_CHAT_MODEL", "demo")
    lines = config("show").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [key for key, _ in flatten(Settings())]
    assert 'model                    "demo"  [MISTRAL_CHAT_MODEL]' in lines
    assert f"trash_days               7  [{file}:1]" in lines
    assert 'titles                   "first_line"' in lines


def test_show_as_json_has_values_and_sources(file: Path) -> None:
    file.write_text("personas: {pirate: {system: Arr.}}\nengine: {lora: [a.gguf]}\n")
    found = json.loads(config("show", "--json").stdout)
    assert found["personas"]["value"]["pirate"]["system"] == "Arr."
    assert found["engine.lora"] == {"value": ["a.gguf"], "source": f"{file}:2"}
    assert found["model"]["source"] == "default"


def test_path_names_the_file_whether_it_is_there_or_not(file: Path) -> None:
    assert config("path").stdout == f"{file}\n"


def test_default_is_a_file_that_can_be_used(file: Path) -> None:
    file.write_text(config("default").stdout)
    assert SettingsFile(file).read().settings == Settings()
