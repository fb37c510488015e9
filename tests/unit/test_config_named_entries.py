"""Named entries are added to the settings file, changed and removed, and nothing else in it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import cases

from mistral_chat.config import CatalogSource, Persona
from mistral_chat.config.configuration import Configuration
from mistral_chat.config.docs import default_file
from mistral_chat.config.named_entries import (
    FieldTexts,
    change_entry,
    entries_of,
    entry_fields,
    entry_to_text,
    parse_entry,
)
from mistral_chat.config.reader import read_settings
from mistral_chat.config.settings_file import SettingsFile
from mistral_chat.errors import ConfigError
from mistral_chat.sampling import Sampling

if TYPE_CHECKING:
    from pathlib import Path

FILES = {
    "empty": "",
    "default": default_file(),
    "block": "# mine\npersonas:\n  cook:   # who cooks\n    system: Cook.   # short\n"
    "    sampling:\n      temperature: 0.2  # cold\n  # the clerk\n  clerk:\n    system: |\n      Count.\n\n"
    "keymap:\n  chat.new: alt+n\n",
    "flow": "personas: {cook: {system: Cook., sampling: {temperature: 0.2}}, clerk: {system: Count.}}  # all\n"
    "keymap: {chat.new: alt+n}\n",
    "windows": "personas:\r\n  cook:\r\n    system: Cook.\r\nkeymap: {}  # none\r\n",
}
PERSONA: dict[tuple[str, ...], str] = {("system",): "Be brief.\nBe kind.", ("sampling", "top_k"): "7"}
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12).filter(str.strip)


def changed(text: str, section: str, name: str, texts: FieldTexts | None) -> str:
    return change_entry(read_settings(text, "f"), section, name, texts, "f").text


def entries(text: str, section: str) -> dict[str, Any]:
    return entries_of(read_settings(text, "f").settings, section)


@pytest.mark.parametrize("file", FILES.values(), ids=FILES.keys())
def test_an_entry_is_added_changed_and_removed(file: str) -> None:
    before = entries(file, "personas")
    added = changed(file, "personas", "new one", PERSONA)
    wanted = Persona(system="Be brief.\nBe kind.", sampling=Sampling(top_k=7))
    assert entries(added, "personas") == {**before, "new one": wanted}
    edited = changed(added, "personas", "new one", {("system",): "Else."})
    assert entries(edited, "personas") == {**before, "new one": Persona(system="Else.")}
    gone = changed(edited, "personas", "new one", None)
    assert read_settings(gone, "f").settings == read_settings(file, "f").settings
    for comment in ("# mine", "# who cooks", "# short", "# cold", "# the clerk", "# all", "# none", "# Theme."):
        assert (comment in gone) == (comment in file), "a comment is lost"
    assert ("\r\n" in file) == ("\r\n" in added)


@pytest.mark.parametrize("name", ["cook", "clerk"])
@pytest.mark.parametrize("file", [FILES["block"], FILES["flow"]], ids=["block", "flow"])
def test_one_field_changes_and_the_other_stays_as_written(file: str, name: str) -> None:
    configuration = Configuration(read_settings(file, "f").settings, dict.fromkeys(read_settings(file, "f").lines, "f"))
    texts = entry_to_text("personas", name, configuration)
    assert changed(file, "personas", name, texts) == file, "saving an unchanged entry changes the file"
    edited = changed(file, "personas", name, {**texts, ("sampling", "temperature"): "1.5"})
    assert entries(edited, "personas")[name].sampling == Sampling(temperature=1.5)
    assert entries(edited, "personas")[name].system == entries(file, "personas")[name].system
    left = changed(file, "personas", name, None)
    assert set(entries(left, "personas")) == {"cook", "clerk"} - {name}


@given(st.sampled_from(sorted(FILES)), st.sampled_from(["keymap", "models.formats", "personas"]), NAMES, st.text(max_size=12))
@settings(max_examples=cases(50, 1500))
def test_any_name_and_text_can_be_added_and_removed(file: str, section: str, name: str, text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    path = ("system",) if section == "personas" else ()
    before = FILES[file]
    added = changed(before, section, name, {path: text})
    entry = entries(added, section)[name]
    shown = entry.system if section == "personas" else entry
    assert shown == (text if text.strip() or not path else ""), "the text is another one"
    gone = entries(changed(added, section, name, None), section)
    assert gone == {key: value for key, value in entries(before, section).items() if key != name}


@pytest.mark.parametrize("file", [FILES["block"], FILES["flow"]], ids=["block", "flow"])
def test_an_entry_may_be_called_like_a_field_of_another(file: str) -> None:
    before = entries(file, "personas")
    added = changed(file, "personas", "cook.system", PERSONA)
    assert entries(added, "personas")["cook.system"].system == "Be brief.\nBe kind."
    edited = changed(added, "personas", "cook", {("system",): "Bake."})
    assert entries(edited, "personas") == {**entries(added, "personas"), "cook": Persona(system="Bake.")}
    assert entries(changed(added, "personas", "cook.system", None), "personas") == before


@pytest.mark.parametrize(
    ("section", "texts", "problem"),
    [
        (
            "personas",
            {("sampling", "temperature"): "hot"},
            "temperature' must be a number, not the text 'hot'",
        ),
        ("personas", {("sampling", "top_p"): "7"}, "personas.x.sampling.top_p must be from 0 to 1, not 7"),
        ("personas", {("sampling", "seed"): "}, system: a"}, "must be a whole number"),
        ("models.catalog", {("repository",): "a/b"}, "'models.catalog.x' needs the key 'file'"),
        ("models.catalog", {("repository",): "a", ("file",): "b.gguf"}, "must be OWNER/NAME"),
    ],
)
def test_invalid_entries_are_refused_as_in_the_file(section: str, texts: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(FILES["default"], section, "x", texts)
    assert problem in caught.value.problem


@pytest.mark.parametrize("name", ["", "  ", "two\nlines"])
def test_an_entry_needs_a_name_on_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match="enter a name"):
        parse_entry("keymap", name, {(): "f5"})


def test_every_named_section_has_described_fields() -> None:
    for section in ("personas", "keymap", "models.formats", "models.catalog"):
        for field in entry_fields(section):
            assert field.doc.meaning


def test_a_custom_model_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    SettingsFile(path).write_entry("models.catalog", "mine", {("repository",): "a/b", ("file",): "c.gguf", ("bytes",): "77"})
    found = SettingsFile(path).read().settings.models.catalog
    assert found == {"mine": CatalogSource(repository="a/b", file="c.gguf", bytes=77)}
    assert path.stat().st_mode & 0o777 == 0o600
