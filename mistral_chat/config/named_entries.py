"""What people name themselves in the settings' file: personas, keys, prompt formats, models of their own.

An entry is typed field by field, checked by the reader as if it stood in the file, and then put there, changed in place or taken
away. Every other character of the file stays as it is; see `writer`.
"""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml

from mistral_chat.config.configuration import Configuration, leaves
from mistral_chat.config.docs import Entry, entries
from mistral_chat.config.parsing import shown, type_of
from mistral_chat.config.reader import compose, read_settings
from mistral_chat.config.writer import Edit, change_file, checked, edit_end, find_edit, with_edit, written
from mistral_chat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mistral_chat.config import Settings
    from mistral_chat.config.reader import FileSettings

Typed = dict[tuple[str, ...], str]
"""What was typed, by the path of each field in its entry; an empty text leaves the field out."""


@dataclass(frozen=True, slots=True)
class EntryField:
    """One thing that an entry says."""

    path: tuple[str, ...]
    """Its keys in the entry; none where the entry is a text."""
    entry: Entry
    """Its kind, default and meaning."""
    is_text: bool
    """Whether it is kept as it is typed."""

    @property
    def name(self) -> str:
        """What it is called."""
        return " ".join(self.path)


def entry_fields(section: str) -> tuple[EntryField, ...]:
    """What an entry of the dotted `section` can say."""
    inner = get_args(type_of(section))[1]
    known = {entry.key: entry for entry in entries()}
    if not is_dataclass(inner):
        return (EntryField((), known[section], is_text=True),)
    found = []
    for key, entry in known.items():
        if key.startswith(f"{section}.NAME."):
            name = key.removeprefix(f"{section}.NAME.")
            if name == "sampling":
                found += [
                    EntryField(("sampling", each.key.rpartition(".")[2]), each, is_text=False)
                    for each in known.values()
                    if each.key.startswith("sampling.")
                ]
            else:
                found.append(EntryField((name,), entry, is_text=entry.kind.startswith("text")))
    return tuple(found)


def parse_entry(section: str, name: str, typed: Mapping[tuple[str, ...], str]) -> Any:
    """Read what was `typed` for the entry `name` of the dotted `section`.

    Raises:
        ConfigError: the name or a field cannot be used; `ConfigError.problem` says why, in the reader's words.
    """
    if not name.strip() or "\n" in name:
        raise ConfigError(section, None, "it needs a name, on one line")
    spelled = {each.path: _spelled(each, typed[each.path]) for each in entry_fields(section) if _given(typed, each.path)}
    settings = read_settings(_canonical(section, name, spelled), section).settings
    return named(settings, section)[name]


def entry_to_text(section: str, name: str, configuration: Configuration) -> Typed:
    """What would have to be typed for the entry `name`; what it leaves to the defaults is empty."""
    entry = named(configuration.settings, section)[name]
    found: Typed = {}
    for each in entry_fields(section):
        text = shown(_within(entry, each.path))
        given = not each.path or ".".join([section, name, *each.path]) in configuration.sources
        found[each.path] = text if given or text != each.entry.default.strip('"') else ""
    return found


def named(settings: Settings, section: str) -> dict[str, Any]:
    """What stands under the dotted `section`, by its names."""
    found: Any = dict(leaves(settings))[section]
    return dict(found)


def write_entry(path: Path, section: str, name: str, typed: Mapping[tuple[str, ...], str] | None) -> FileSettings:
    """Put the entry `name` into the dotted `section` of the file at `path`, change it there, or with None take it away.

    Returns:
        What the file says now.

    Raises:
        ConfigError: as `write_setting` and `parse_entry` say; nothing was changed.
    """
    return change_file(path, lambda text: changed_entry(text, section, name, typed, str(path)))


def changed_entry(text: str, section: str, name: str, typed: Mapping[tuple[str, ...], str] | None, source: str) -> str:
    """The settings' file `text`, which came from `source`, with one entry put in, changed or taken away.

    Raises:
        ConfigError: as `write_entry` says.
    """
    before = read_settings(text, source)
    old = named(before.settings, section)
    place = [*section.split("."), name]
    new = {each: value for each, value in old.items() if each != name}
    if typed is None:
        changed = _without(text, place, source)
    else:
        new = {**old, name: parse_entry(section, name, typed)}
        changed = _with(text, section, name, typed, source)
    wanted = Configuration(before.settings).with_value(section, new, source).settings
    return checked(changed, wanted, before, ".".join(place), source)


def _with(text: str, section: str, name: str, typed: Mapping[tuple[str, ...], str], source: str) -> str:
    """Put an entry in as a whole, or change those of its fields that differ."""
    before, entry, place = read_settings(text, source), parse_entry(section, name, typed), [*section.split("."), name]
    if ".".join(place) not in before.lines:
        given = [each.path for each in entry_fields(section) if _given(typed, each.path)]
        value = _nested({path: _within(entry, path) for path in given})
        return with_edit(text, find_edit(text, compose(text, source), place, value))
    held = named(before.settings, section)[name]
    for each in entry_fields(section):
        names = [*place, *each.path]
        stands = ".".join(names) in before.lines
        if not _given(typed, each.path):
            # The last key of a group takes the group along, which would otherwise stand for its defaults.
            alone = not any(_given(typed, path) for path in typed if path[:1] == each.path[:1])
            text = _without(text, [*place, each.path[0]] if alone else names, source) if stands else text
        elif not stands or _within(held, each.path) != _within(entry, each.path):
            text = with_edit(text, find_edit(text, compose(text, source), names, _within(entry, each.path)))
    return text


def _without(text: str, names: list[str], source: str) -> str:
    """`text` without the key at the path `names`; comments on other lines stay."""
    node: Any = compose(text, source)
    for depth, name in enumerate(names):
        if not isinstance(node, yaml.MappingNode):
            return text
        place = next((number for number, (key, _) in enumerate(node.value) if key.value == name), None)
        if place is None:
            return text
        if depth == len(names) - 1:
            return with_edit(text, _cut(text, node, place))
        node = node.value[place][1]
    return text


def _cut(text: str, mapping: yaml.MappingNode, place: int) -> Edit:
    """Take the key at `place` out of a mapping."""
    key, value = mapping.value[place]
    start, end = key.start_mark.index, edit_end(value, text)
    if mapping.flow_style:
        if place:
            return Edit(edit_end(mapping.value[place - 1][1], text), end, "")
        return Edit(start, mapping.value[1][0].start_mark.index if len(mapping.value) > 1 else end, "")
    line_end = text.find("\n", max(end, key.end_mark.index))
    return Edit(start - key.start_mark.column, line_end + 1 if line_end >= 0 else len(text), "")


def _nested(values: Mapping[tuple[str, ...], Any]) -> Any:
    """Values by their paths, as keys in keys; the value itself where its path is empty."""
    if () in values:
        return values[()]
    whole: dict[str, Any] = {}
    for path, value in values.items():
        inner = whole
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = value
    return whole


def _canonical(section: str, name: str, spelled: Mapping[tuple[str, ...], str]) -> str:
    """An entry as a settings' file that holds nothing else; `spelled` has YAML by paths."""
    sections = "".join(f"{'  ' * depth}{each}:\n" for depth, each in enumerate(section.split(".")))
    return f"{sections}    {written(name)}: {_flow(_nested(spelled))}\n"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(each)}" for name, each in value.items()) + "}"
    return str(value)


def _spelled(field: EntryField, text: str) -> str:
    """What was typed for a field, as YAML: text in quotes, and anything that is no plain word or number as the text it is."""
    if field.is_text:
        return written(text)
    plain = " ".join(text.split())
    return plain if all(letter.isalnum() or letter in "+-._" for letter in plain) else written(plain)


def _given(typed: Mapping[tuple[str, ...], str], path: tuple[str, ...]) -> bool:
    return not path or bool(typed.get(path, "").strip())


def _within(entry: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        entry = getattr(entry, name, None)
    return entry


def sections() -> tuple[str, ...]:
    """The dotted keys under which people name things themselves."""
    return tuple(entry.key for entry in entries() if "NAME" not in entry.key and get_origin(type_of(entry.key)) is dict)
