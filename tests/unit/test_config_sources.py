"""Every setting knows where it came from, and the nearer source wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mistral_chat.config import Settings
from mistral_chat.config.configuration import Configuration, flatten
from mistral_chat.config.docs import default_file, setting_docs
from mistral_chat.config.reader import read_settings
from mistral_chat.config.settings_file import SettingsFile
from mistral_chat.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("model: from-file\nsampling:\n  seed: 1\npersonas:\n  x:\n    system: y\n")
    return path


def sources(configuration: Configuration) -> dict[str, str]:
    return {key: source for key, _, source in configuration.rows()}


def test_without_any_source_every_value_is_a_default(tmp_path: Path) -> None:
    configuration = SettingsFile(tmp_path / "none.yaml").read()
    assert configuration.settings == Settings()
    assert set(sources(configuration).values()) == {"default"}


def test_a_value_of_the_file_names_its_line(file: Path) -> None:
    found = sources(SettingsFile(file).read())
    assert found["model"] == f"{file}:1"
    assert found["sampling.seed"] == f"{file}:3"
    assert found["sampling.temperature"] == "default"
    assert found["personas"] == f"{file}:4"


def test_the_environment_wins_over_the_file(file: Path) -> None:
    configuration = SettingsFile(file, {"MISTRAL_CHAT_MODEL": "from-environment", "MISTRAL_CHAT_MODELS_DIR": "/models"}).read()
    assert configuration.settings.model == "from-environment"
    assert configuration.settings.models.folder == "/models"
    assert sources(configuration)["model"] == "MISTRAL_CHAT_MODEL"


def test_an_empty_variable_gives_nothing(file: Path) -> None:
    assert SettingsFile(file, {"MISTRAL_CHAT_MODEL": ""}).read().settings.model == "from-file"


def test_an_option_overrides_all(file: Path) -> None:
    configuration = SettingsFile(file, {"MISTRAL_CHAT_MODEL": "from-environment"}).read()
    configuration = configuration.with_value("model", "given", "--model").with_value("sampling.seed", 5, "--seed")
    assert (configuration.settings.model, configuration.settings.sampling.seed) == ("given", 5)
    assert sources(configuration)["model"] == "--model"
    assert sources(configuration)["sampling.seed"] == "--seed"


def test_a_variable_that_cannot_be_used_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match="MISTRAL_CHAT_MODEL: model must name a model"):
        SettingsFile(file, {"MISTRAL_CHAT_MODEL": "  "}).read()


def test_an_option_out_of_its_range_is_named() -> None:
    with pytest.raises(ConfigError, match="--ctx-size: size must be from 256"):
        Configuration().with_value("context.size", 5, "--ctx-size")


def test_the_default_file_reads_back_as_the_defaults() -> None:
    found = read_settings(default_file(), "default")
    assert found.settings == Settings()
    given = {key for key, _ in flatten(Settings())}
    assert given <= set(found.lines), "a key is missing from the file"


def test_every_key_is_explained() -> None:
    for entry in setting_docs():
        assert entry.meaning, entry.key
        assert "None" not in entry.meaning, f"{entry.key}: a file has no None"
    assert next(doc for doc in setting_docs() if doc.key == "sampling.seed").meaning.startswith("The same seed")
    assert {"models.catalog.NAME.repository", "personas.NAME.system"} <= {entry.key for entry in setting_docs()}
