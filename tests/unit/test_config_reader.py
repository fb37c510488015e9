"""A mistake in the settings file is reported with its line, and never becomes a setting."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mistral_chat.config import CatalogSource, Persona, Settings
from mistral_chat.config.configuration import flatten
from mistral_chat.config.reader import read_settings
from mistral_chat.config.settings_file import LARGEST_FILE, SettingsFile
from mistral_chat.errors import ConfigError
from mistral_chat.sampling import Sampling

if TYPE_CHECKING:
    from pathlib import Path


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_settings(text, "config.yaml")
    return str(caught.value)


def attempt(text: str) -> Settings | ConfigError:
    """What becomes of a text; any other exception is the test's failure."""
    try:
        return read_settings(text, "config.yaml").settings
    except ConfigError as error:
        return error


def test_an_empty_file_leaves_the_defaults() -> None:
    for text in ("", "# nothing\n", "---\n", "~\n", "sampling:\ncontext:\n"):
        assert read_settings(text, "config.yaml").settings == Settings()


def test_every_kind_of_value_is_read() -> None:
    text = """
model: demo
trash_days: 7
titles: model
sampling: {temperature: 1, top_p: 0.5, seed: 3, max_tokens: ~}
context: {read_ahead: false}
engine:
  n_gpu_layers: 0
  lora: [one.gguf, "two.gguf:0.5"]
models:
  formats: {mine: chatml}
  catalog:
    small: {repository: owner/name, file: small.gguf, bytes: 12}
personas:
  pirate: {system: Talk like a pirate., sampling: {temperature: 1.2}}
"""
    settings = read_settings(text, "config.yaml").settings
    assert (settings.model, settings.trash_days, settings.titles) == ("demo", 7, "model")
    assert settings.sampling == Sampling(temperature=1.0, top_p=0.5, seed=3)
    assert settings.context.read_ahead is False
    assert (settings.engine.n_gpu_layers, settings.engine.lora) == (0, ("one.gguf", "two.gguf:0.5"))
    assert settings.models.formats == {"mine": "chatml"}
    assert settings.models.catalog == {"small": CatalogSource(repository="owner/name", file="small.gguf", bytes=12)}
    assert settings.personas == {"pirate": Persona(system="Talk like a pirate.", sampling=Sampling(temperature=1.2))}
    assert isinstance(settings.sampling.temperature, float)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("modle: x", 1, "unknown key 'modle'; did you mean 'model'?"),
        ("\nsampling:\n  temprature: 1", 3, "unknown key 'sampling.temprature'; did you mean 'temperature'?"),
        ("qqqq: 1", 1, "unknown key 'qqqq'; known keys: model, system"),
        ("model: a\nmodel: b", 2, "the key 'model' is given twice"),
        ("personas:\n  x: {}\n  x: {}", 3, "the key 'personas.x' is given twice"),
        ("trash_days: many", 1, "'trash_days' must be a whole number, not the text 'many'"),
        ("trash_days: 1.5", 1, "'trash_days' must be a whole number, not the number 1.5"),
        ("trash_days:", 1, "'trash_days' must be a whole number, not empty"),
        ("sampling:\n  temperature: 9", 2, "sampling.temperature must be from 0 to 5, not 9"),
        ("personas:\n  x:\n    sampling:\n      seed: -1", 4, "personas.x.sampling.seed must be from 0 to 4294967294, not -1"),
        ("context: {size: 12}", 1, "context.size must be from 256 to 1048576, not 12"),
        ("titles: nobody", 1, "'titles' must be one of first_line, model, not the text 'nobody'"),
        ("snapshots: {enabled: maybe}", 1, "'snapshots.enabled' must be true or false, not the text 'maybe'"),
        ("engine: {lora: one.gguf}", 1, "'engine.lora' must be a list, such as `[first, second]`"),
        ("engine: {lora: [one.gguf, 2]}", 1, "'engine.lora[1]' must be text, not the number 2; put it in quotes"),
        ("sampling: 3", 1, "'sampling' must contain keys with values, such as `key: value`"),
        ("model: [a]", 1, "'model' must be text, not a list or keys with values"),
        ("- model", 1, "the file must contain keys with values"),
        ("just a text", 1, "the file must contain keys with values"),
        ("models:\n  catalog:\n    z: {file: x.gguf}", 3, "'models.catalog.z' needs the key 'repository'"),
        ("models: {catalog: {z: {repository: x, file: x.gguf}}}", 1, "models.catalog.z.repository must be OWNER/NAME, not 'x'"),
        ("models: {catalog: {z: {repository: a/b, file: x}}}", 1, "models.catalog.z.file must end in .gguf"),
        ("models: {catalog: {z: {repository: a/b, file: x.gguf, sha256: q}}}", 1, "sha256 must be 64 hexadecimal digits"),
        ('model: " "', 1, "model must name a model"),
        ('models:\n  folder: "a\\0b"', 2, "models.folder contains a character that no path can have"),
        ('models:\n  folder: "a\\ud800b"', 2, "models.folder contains a character that no path can have"),
        ("? [a]\n: b", 1, "a key must be a word"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_key(text: str, line: int, words: str) -> None:
    message = problem(text)
    assert message.startswith(f"config.yaml:{line}: ")
    assert words in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: no", "'model' must be text, not the boolean no; put it in quotes"),
        ("model: 1.10", "'model' must be text, not the number 1.10; put it in quotes"),
        ("no: 1", "the key 'no' must be text; put it in quotes"),
        (
            "sampling: {temperature: 1e-1}",
            "not the text '1e-1'; write it as a plain decimal number, such as 0.1",
        ),
        ("sampling: {temperature: .inf}", "not the number .inf; write it as a plain decimal number"),
        ("sampling: {temperature: 1:30.5}", "write it as a plain decimal number"),
        ("trash_days: 010", "not the number 010; write it in digits only, such as 4096"),
        ("trash_days: 12:30", "not the number 12:30; write it in digits only, such as 4096"),
        ("trash_days: '7'", "not the text '7'; write it in digits only, such as 4096"),
        ("context: {size: 0x1000}", "not the number 0x1000; write it in digits only, such as 4096"),
    ],
)
def test_yaml_surprises_are_refused_with_advice(text: str, words: str) -> None:
    assert words in problem(text)


def test_on_and_off_are_accepted_as_choices() -> None:
    assert read_settings("engine: {flash_attention: on}", "c").settings.engine.flash_attention == "on"
    assert read_settings("engine: {flash_attention: off}", "c").settings.engine.flash_attention == "off"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: [", "config.yaml:1: invalid YAML"),
        ("model: x\n---\nmodel: y", "config.yaml:2: invalid YAML"),
        ("model: 'a\n\n", "invalid YAML"),
        ("model: \x00", "config.yaml:1: the character U+0000 is not allowed in YAML"),
        ('model: demo\nsystem: "\\UD83DDE00"', "config.yaml:2: invalid YAML: an escape or a number is out of range"),
        ('model: "\\U00110000"', "config.yaml:1: invalid YAML: an escape or a number is out of range"),
        ("a: 1\nmodel: &m x\nsystem: *m", "config.yaml:3: aliases such as '*m' are not supported"),
        ("<<: {model: x}", "the key '<<' must be text"),
        ("model: !!python/object/apply:os.system [ls]", "'model' must be text"),
        ("trash_days: !!int x", "'trash_days' must be a whole number"),
        ("x: " + "[" * 20 + "]" * 20, "nested more than 16 levels deep"),
        ("trash_days: 99999999999999999999", "trash_days must be from 0 to 36500"),
    ],
)
def test_hostile_yaml_is_refused_in_one_sentence(text: str, words: str) -> None:
    assert words in problem(text)


def test_the_deepest_file_is_refused_at_once() -> None:
    began = time.process_time()
    problem("x: " + "[" * (LARGEST_FILE - 10))
    problem("x: " + "{a: " * 15_000)
    assert time.process_time() - began < 5


def test_a_number_of_thousands_of_digits_is_refused() -> None:
    assert "write it in digits only" in problem("trash_days: " + "9" * 6000)
    assert "config.yaml:1: invalid YAML: an escape or a number" in problem(f"%YAML 1.{'9' * 6000}\n---\nmodel: x")


def test_a_long_wrong_value_is_quoted_in_part() -> None:
    assert len(problem("trash_days: " + "x" * 5000)) < 200


class TestFiles:
    def test_a_missing_file_leaves_the_defaults(self, tmp_path: Path) -> None:
        assert SettingsFile(tmp_path / "config.yaml").read().settings == Settings()

    def test_a_byte_order_mark_is_accepted(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfmodel: demo\r\ntrash_days: 3\r\n")
        assert SettingsFile(tmp_path / "c.yaml").read().settings == Settings(model="demo", trash_days=3)

    def test_a_folder_in_its_place_is_reported(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}: the file cannot be read")):
            SettingsFile(tmp_path).read()

    def test_a_file_that_is_too_large_is_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_bytes(b"#" * (LARGEST_FILE + 1))
        with pytest.raises(ConfigError, match="larger than the 64 KB"):
            SettingsFile(tmp_path / "c.yaml").read()

    def test_another_encoding_is_reported_with_its_line(self, tmp_path: Path) -> None:
        (tmp_path / "c.yaml").write_bytes("model: demo\nsystem: Grüße\n".encode("latin-1"))
        with pytest.raises(ConfigError, match=r"c\.yaml:2: the file is not UTF-8 text"):
            SettingsFile(tmp_path / "c.yaml").read()


@given(st.text(max_size=200))
def test_any_text_gives_settings_or_a_config_error(text: str) -> None:
    found = attempt(text)
    assert isinstance(found, Settings) or str(found).startswith("config.yaml:")


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20))
KEYS = st.sampled_from(["model", "sampling", "context", "personas", "engine", "temperature", "size", "lora", "x", "no", "1"])
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12)


@given(st.dictionaries(KEYS, TREES, max_size=5))
def test_any_value_tree_gives_settings_or_an_error_with_a_line(tree: object) -> None:
    found = attempt(yaml.safe_dump(tree, allow_unicode=True))
    assert isinstance(found, Settings) or found.line is not None


@given(
    st.builds(
        Settings,
        model=st.text(min_size=1, max_size=30).filter(str.strip),
        system=st.text(max_size=60),
        trash_days=st.integers(0, 36_500),
        sampling=st.builds(Sampling, temperature=st.floats(0, 5), top_k=st.integers(0, 500), seed=st.none() | st.integers(0, 9)),
        keymap=st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=9), max_size=3),
    )
)
def test_settings_written_as_yaml_read_back_the_same(settings: Settings) -> None:
    tree = {"model": settings.model, "system": settings.system, "trash_days": settings.trash_days, "keymap": settings.keymap}
    text = yaml.safe_dump({**tree, "sampling": dict(flatten(settings.sampling))})
    assert read_settings(text, "config.yaml").settings == settings
