"""A setting that is changed from inside the program changes in the file, and nothing else in the file does."""

from __future__ import annotations

import stat
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import cases

from mistral_chat.config import Settings
from mistral_chat.config.configuration import Configuration, flatten
from mistral_chat.config.docs import default_file
from mistral_chat.config.named_entries import change_entry
from mistral_chat.config.reader import read_settings
from mistral_chat.config.settings_file import LARGEST_FILE, SettingsFile
from mistral_chat.config.writer import change_setting, to_yaml
from mistral_chat.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def changed(text: str, key: str, value: object) -> str:
    return change_setting(read_settings(text, "config.yaml"), key, value, "config.yaml").text


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SHARES = st.floats(0, 1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "model": WORDS.filter(str.strip),
    "system": st.one_of(WORDS, st.sampled_from(["Two\nlines.", "yes", "0x10", "- a", "a: b # c", "\x85\u2028\ufeff\x1b[31m"])),
    "titles": st.sampled_from(["first_line", "model"]),
    "trash_days": st.integers(0, 400),
    "sampling.temperature": st.floats(0, 5),
    "sampling.top_p": SHARES,
    "sampling.seed": st.one_of(st.none(), st.integers(0, 10**9)),
    "context.size": st.integers(256, 100_000),
    "context.read_ahead": st.booleans(),
    "engine.threads": st.one_of(st.none(), st.integers(1, 64)),
    "engine.lora": st.lists(WORDS, max_size=3).map(tuple),
    "models.folder": st.one_of(st.none(), WORDS),
    "keymap": st.dictionaries(st.sampled_from(["chat.stop", "app.quit"]), st.just("ctrl+x")),
}
CHANGES = st.sampled_from(sorted(VALUES)).flatmap(lambda key: st.tuples(st.just(key), VALUES[key]))
COMMENTS = st.sampled_from(["", "", "# a note: with a colon", "#model: demo", "   # far in"])


def spelled(draw: st.DrawFn, key: str, value: Any, indent: str) -> str:
    """One of the ways to write a value, after the key's colon."""
    note = draw(st.sampled_from(["", "", " # why", "   # 'because' \""]))
    if value is None:
        return draw(st.sampled_from(["", " ~", " null"])) + note
    if isinstance(value, tuple) and value:
        pad = indent + draw(st.sampled_from(["", "  "])) if indent else "  "
        items = "".join(f"\n{pad}- {to_yaml(each)}{draw(st.sampled_from(['', ' # item']))}" for each in value)
        return draw(st.sampled_from([f"{note}{items}", f" {to_yaml(value)}{note}"]))
    if isinstance(value, str) and value.isascii() and value.isalnum() and value.isalpha() and value.lower() not in PLAIN_BOOLS:
        ways = [f" {value}{note}", f"   '{value}'{note}"]
        if key != "titles":  # a comment that is far in belongs to a block, and these values may not grow
            ways += [f" |-{note}\n{indent}  {value}", f" >+\n{indent}  {value}\n\n"]
        return draw(st.sampled_from(ways))
    return f" {to_yaml(value)}{note}"


PLAIN_BOOLS = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}


@st.composite
def files(draw: st.DrawFn) -> str:
    """A settings' file as people write them."""
    chosen = draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True))
    sections: dict[str, list[str]] = {}
    for key in draw(st.permutations(chosen)):
        section, _, name = key.rpartition(".")
        sections.setdefault(section or key, []).append(name)
    lines = ["---"] if draw(st.booleans()) else []
    for section, names in sections.items():
        lines += [draw(COMMENTS), ""][: draw(st.integers(0, 2))]
        if section in names:
            lines.append(f"{section}:{spelled(draw, section, draw(VALUES[section]), '')}")
        elif draw(st.integers(0, 4)) == 0:
            inside = ", ".join(f"{name}: {to_yaml(draw(VALUES[f'{section}.{name}'])) or '~'}" for name in names)
            lines.append(f"{section}: {{{inside}}}{draw(st.sampled_from(['', ' # flow']))}")
        else:
            indent = draw(st.sampled_from([" ", "  ", "    "]))
            lines.append(f"{section}:{draw(st.sampled_from(['', ' # section']))}")
            for name in names:
                lines += [f"{indent}{draw(COMMENTS)}".rstrip(" ")][: draw(st.integers(0, 1))]
                lines.append(f"{indent}{name}:{spelled(draw, name, draw(VALUES[f'{section}.{name}']), indent)}")
    lines += [draw(COMMENTS)]
    return "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n# the end\n"]))


def rest_of(text: str, key: str) -> tuple[list[str], list[str]]:
    """The lines of a file before and behind those that a key's value takes, its own line left out."""
    lines = text.splitlines(keepends=True)
    found = read_settings(text, "config.yaml").lines
    start = found[key]
    later = [line for line in found.values() if line > start]
    return lines[: start - 1], lines[min(later) - 1 :] if later else []


@settings(max_examples=cases(100, 4000))
@given(files(), CHANGES, st.sampled_from(["\n", "\r\n"]))
def test_exactly_one_setting_changes_and_no_other_line(text: str, change: tuple[str, Any], line_end: str) -> None:
    key, value = change
    text = text.replace("\n", line_end)
    before = read_settings(text, "config.yaml")
    after = changed(text, key, value)
    read = read_settings(after, "config.yaml")
    assert read.settings == Configuration(before.settings).with_value(key, value, "").settings
    assert dict(flatten(read.settings))[key] == value
    assert after.count("\n") == after.count(line_end) or "\n" not in text
    if key in before.lines and after != text and "{" not in text:
        ahead, behind = rest_of(text, key)
        lines = after.splitlines(keepends=True)
        assert lines[: len(ahead)] == ahead
        assert not behind or lines[-len(behind) :] == behind
    elif key not in before.lines:
        opcodes = SequenceMatcher(None, text, after, autojunk=False).get_opcodes()
        assert all(tag in {"equal", "insert"} for tag, *_ in opcodes) or "{" in text or "~" in text or "null" in text


@given(CHANGES)
def test_every_line_of_the_commented_defaults_stays_but_one(change: tuple[str, Any]) -> None:
    key, value = change
    before = default_file()
    after = changed(before, key, value)
    assert dict(flatten(read_settings(after, "config.yaml").settings))[key] == value
    old, new = before.split("\n"), after.split("\n")
    assert len(old) == len(new)
    assert sum(one != other for one, other in zip(old, new, strict=True)) <= 1


@pytest.mark.parametrize(
    ("text", "key", "value", "expected"),
    [
        ("", "model", "demo", 'model: "demo"\n'),
        ("---\n# nothing yet\n", "model", "demo", '---\n# nothing yet\nmodel: "demo"\n'),
        ("~\n", "sampling.seed", 5, "sampling:\n  seed: 5\n"),
        ("? model\n: demo\n...\n# over\n", "model", "other", '? model\n: "other"\n...\n# over\n'),
        ("--- # c\nmodel: &x !!str demo # y", "model", "other", '--- # c\nmodel: "other" # y'),
        ("# mine", "sampling.seed", 5, "# mine\nsampling:\n  seed: 5\n"),
        ("sampling: # how\n\nmodel: demo\n", "sampling.seed", 5, "sampling: # how\n  seed: 5\n\nmodel: demo\n"),
        ("sampling: ~\n", "sampling.seed", 5, "sampling: {seed: 5}\n"),
        ("sampling: {}  # how\n", "sampling.seed", 5, "sampling:  # how\n  seed: 5\n"),
        ("{sampling: {}}\n", "sampling.seed", 5, "{sampling: {seed: 5}}\n"),
        ("sampling: {seed: 4,  top_k: 1} # x\n", "sampling.seed", None, "sampling: {seed: null,  top_k: 1} # x\n"),
        ("sampling:\n    seed: 4 # lucky\n", "sampling.seed", 5, "sampling:\n    seed: 5 # lucky\n"),
        ("sampling:\n    seed: 4 # lucky\n", "sampling.seed", None, "sampling:\n    seed: # lucky\n"),
        ("sampling:\n    seed: # lucky\n", "sampling.seed", 5, "sampling:\n    seed: 5 # lucky\n"),
        ("theme:   'mistral-dark'   # night\n", "theme", "mistral-light", 'theme:   "mistral-light"   # night\n'),
        ("system: | # who\n  One\n  two\n\nmodel: demo\n", "system", "Three", 'system: "Three" # who\n\nmodel: demo\n'),
        ("system: |+\n  One\n\n\n", "model", "demo", 'system: |+\n  One\n\n\nmodel: "demo"\n'),
        (
            "engine:\n  lora: # mine\n  # the first\n  - a.gguf # best\n  - b.gguf\n  # later\n  threads: 4\n",
            "engine.lora",
            ("c.gguf",),
            'engine:\n  lora: ["c.gguf"] # mine\n  # the first\n  # later\n  threads: 4\n',
        ),
        (
            "engine:\r\n  lora:  # mine\r\n    # the first\r\n    - a.gguf\r\n",
            "engine.lora",
            ("c.gguf",),
            'engine:\r\n  lora: ["c.gguf"]  # mine\r\n    # the first\r\n',
        ),
        ("sampling: {}  # how\r\ntheme: x\r\n", "sampling.seed", 5, "sampling:  # how\r\n  seed: 5\r\ntheme: x\r\n"),
        ("sampling: {}\r\n", "sampling.seed", 5, "sampling:\r\n  seed: 5\r\n"),
        ("{model: demo}", "trash_days", 3, "{model: demo, trash_days: 3}"),
        ("model: demo\r\n", "trash_days", 3, "model: demo\r\ntrash_days: 3\r\n"),
        ("model:\n  demo\n", "model", "other", 'model:\n  "other"\n'),
        ("sampling.temperature: 1\n".replace(".", ":\n  "), "sampling.top_k", 3, "sampling:\n  temperature: 1\n  top_k: 3\n"),
    ],
)
def test_values_are_written_in_the_right_place(text: str, key: str, value: object, expected: str) -> None:
    assert changed(text, key, value) == expected


@pytest.mark.parametrize(
    "name", ["mistral-7b-instruct-v0.3:Q4_0", "v0.3", "7", "no", "/home/ada/a: b#.gguf", 'a "b"', "née\u202e"]
)
@pytest.mark.parametrize(
    "before", ["", "models:\n  formats: {mine: chatml}  # mine\n", "models:\n  formats:\n    mine: chatml\n"]
)
def test_a_user_defined_key_may_hold_anything(before: str, name: str) -> None:
    """A model's prompt format is kept under the model's name, whatever it is called."""

    def given(text: str, prompt_format: str) -> str:
        before = read_settings(text, "config.yaml")
        return change_entry(before, "models.formats", name, {(): prompt_format}, "config.yaml").text

    text = given(before, "chatml")
    formats = read_settings(text, "config.yaml").settings.models.formats
    assert formats == {**({"mine": "chatml"} if before else {}), name: "chatml"}
    assert ("# mine" in text) == ("# mine" in before)
    again = given(text, "automatic")
    assert read_settings(again, "config.yaml").settings.models.formats[name] == "automatic"
    assert len(again.splitlines()) == len(text.splitlines())


@pytest.mark.parametrize("number", [1e-7, 5e-324, 1e16, 0.1, 3.0])
def test_numbers_of_every_size_are_read_back(number: float) -> None:
    if number <= 5:
        after = changed("", "sampling.temperature", number)
        assert read_settings(after, "config.yaml").settings.sampling.temperature == number
    assert "." in to_yaml(number)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("model: demo\nnope: 1\n", "config.yaml:2: "),
            ("model: [\n", "config.yaml:2: "),
            ("a: &b 1\nc: *b\n", "config.yaml:2: "),
        ],
    )
    def test_an_unreadable_file_stays_unchanged(self, tmp_path: Path, text: str, place: str) -> None:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError) as caught:
            SettingsFile(path).write("trash_days", 3)
        assert place in str(caught.value)
        assert path.read_text() == text

    def test_a_value_out_of_its_range_names_it(self) -> None:
        with pytest.raises(ConfigError, match="trash_days must be from 0"):
            changed("", "trash_days", -1)
        with pytest.raises(ConfigError, match="temperature must be from 0 to 5"):
            changed("", "sampling.temperature", 9.0)

    def test_values_only_editable_by_hand_are_left_alone(self) -> None:
        with pytest.raises(ConfigError, match=r"config\.yaml:2: 'engine.lora' .* by hand"):
            changed("engine:\n  ? lora # why: because\n  : - x.gguf\n", "engine.lora", ("y.gguf",))

    def test_a_text_without_a_line_break_at_the_end_of_the_file_names_the_remedy(self) -> None:
        """A line behind it would add a line break to the text."""
        text = "theme: x\nsystem: |\n  Be brief."
        with pytest.raises(ConfigError, match=r"yaml: 'trash_days' cannot be added before there is a line break at the end"):
            changed(text, "trash_days", 3)
        assert changed(f"{text}\n", "trash_days", 3) == f"{text}\ntrash_days: 3\n"
        assert changed(text, "theme", "y") == text.replace("x", '"y"')

    def test_a_file_that_would_be_too_large_is_not_written(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_text("# " + "x" * (LARGEST_FILE - 10))
        with pytest.raises(ConfigError, match="larger than"):
            SettingsFile(path).write("model", "demo")
        assert path.stat().st_size == LARGEST_FILE - 8

    def test_invalid_utf_8_is_reported_with_its_line(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_bytes(b"model: demo\nsystem: \xff\n")
        with pytest.raises(ConfigError, match=r"config\.yaml:2: "):
            SettingsFile(path).write("trash_days", 3)

    def test_a_read_only_folder_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match=r"config\.yaml: the file cannot be"):
            SettingsFile(tmp_path / "file" / "config.yaml").write("trash_days", 3)


class TestTheFile:
    def test_a_new_file_holds_the_change_and_is_private(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "config.yaml"
        found = SettingsFile(path).write("sampling.temperature", 0.2)
        assert found.settings.sampling.temperature == 0.2
        assert path.read_text().splitlines()[1:] == ["sampling:", "  temperature: 0.2"]
        assert SettingsFile(path).read() == found
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [each.name for each in path.parent.iterdir()] == ["config.yaml"], "a part was left behind"

    def test_a_changed_file_is_private_and_keeps_its_byte_order_mark(self, tmp_path: Path) -> None:
        path = tmp_path / "config.yaml"
        path.write_bytes(b"\xef\xbb\xbfmodel: demo\n")
        path.chmod(0o644)
        SettingsFile(path).write("model", "other")
        assert path.read_bytes() == b'\xef\xbb\xbfmodel: "other"\n'
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        real = tmp_path / "dotfiles" / "chat.yaml"
        real.parent.mkdir()
        real.write_text("model: demo\n")
        link = tmp_path / "config.yaml"
        link.symlink_to(real)
        SettingsFile(link).write("trash_days", 3)
        assert link.is_symlink()
        assert real.read_text() == "model: demo\ntrash_days: 3\n"

    def test_setting_an_equal_value_changes_nothing(self) -> None:
        text = default_file()
        for key, value in flatten(Settings()):
            if key not in {"models.catalog", "personas"}:
                text = changed(text, key, value)
        assert text == default_file()
