"""Entries that users name in the settings file: personas, keys, prompt formats, their own models.

An entry is entered field by field and checked as if it were in the file. Then it is added to the file, changed in place or
removed. The rest of the file is left unchanged; see `writer`.
"""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any, get_args

import yaml

from mistral_chat.config.configuration import Configuration, flatten
from mistral_chat.config.docs import SettingDoc, setting_docs
from mistral_chat.config.parsing import format_value, type_of
from mistral_chat.config.reader import compose, read_value, scalar_node, value_node
from mistral_chat.config.writer import Edit, edit_end, find_edit, verify_round_trip, with_edit
from mistral_chat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_chat.config import Settings
    from mistral_chat.config.reader import FileSettings

FieldTexts = dict[tuple[str, ...], str]
"""What the user entered, by the path of each field in its entry; an empty text leaves the field out."""


@dataclass(frozen=True, slots=True)
class EntryField:
    """One field of an entry."""

    path: tuple[str, ...]
    """Its keys in the entry; empty where the entry is a text."""
    doc: SettingDoc
    is_text: bool
    """Whether the value is text, kept as it was entered."""


def entry_fields(section: str) -> tuple[EntryField, ...]:
    """The fields of an entry of the dotted `section`."""
    inner = get_args(type_of(section))[1]
    known = {doc.key: doc for doc in setting_docs()}
    if not is_dataclass(inner):
        return (EntryField((), known[section], is_text=True),)
    found = []
    for key, doc in known.items():
        if key.startswith(f"{section}.NAME."):
            name = key.removeprefix(f"{section}.NAME.")
            if name == "sampling":
                found += [
                    EntryField(("sampling", each.key.rpartition(".")[2]), each, is_text=False)
                    for each in known.values()
                    if each.key.startswith("sampling.")
                ]
            else:
                found.append(EntryField((name,), doc, is_text=doc.kind.startswith("text")))
    return tuple(found)


def parse_entry(section: str, name: str, texts: Mapping[tuple[str, ...], str]) -> Any:
    """Parse what the user entered for the entry `name` of the dotted `section`.

    Raises:
        ConfigError: the name or a field cannot be used; `ConfigError.problem` says why.
    """
    if not name.strip() or "\n" in name:
        raise ConfigError(section, None, "enter a name on one line")
    nodes: dict[tuple[str, ...], yaml.Node] = {}
    for each in entry_fields(section):
        if _given(texts, each.path):
            text = texts[each.path]
            nodes[each.path] = scalar_node(text if each.is_text else " ".join(text.split()), is_text=each.is_text)
    return read_value(value_node(_nested(nodes)), get_args(type_of(section))[1], f"{section}.{name}", section)


def entry_to_text(section: str, name: str, configuration: Configuration) -> FieldTexts:
    """The texts of the entry `name`, as a user would enter them; fields with default values are empty."""
    entry = entries_of(configuration.settings, section)[name]
    found: FieldTexts = {}
    for each in entry_fields(section):
        text = format_value(_within(entry, each.path))
        given = not each.path or ".".join([section, name, *each.path]) in configuration.sources
        found[each.path] = text if given or text != each.doc.default.strip('"') else ""
    return found


def entries_of(settings: Settings, section: str) -> dict[str, Any]:
    """The entries of the dotted `section`, by name."""
    found: Any = dict(flatten(settings))[section]
    return dict(found)


def change_entry(
    before: FileSettings, section: str, name: str, texts: Mapping[tuple[str, ...], str] | None, source: str
) -> FileSettings:
    """The settings file `before`, which came from `source`, with one entry added or changed or, with None, removed.

    Raises:
        ConfigError: the name or a field cannot be used, or the file is written in a way that can only be changed by hand.
    """
    old = entries_of(before.settings, section)
    place = [*section.split("."), name]
    new = {each: value for each, value in old.items() if each != name}
    if texts is None:
        text = _without(before.text, place, source)
    else:
        entry = parse_entry(section, name, texts)
        new = {**old, name: entry}
        text = _with(before, place, entry, {each.path: _given(texts, each.path) for each in entry_fields(section)}, source)
    wanted = Configuration(before.settings).with_value(section, new, source).settings
    return verify_round_trip(text, wanted, before, ".".join(place), source)


def _with(before: FileSettings, place: list[str], entry: Any, given: Mapping[tuple[str, ...], bool], source: str) -> str:
    """Add an entry as a whole, or change the fields that differ; `given` says which fields the user filled in."""
    text = before.text
    old = entries_of(before.settings, ".".join(place[:-1])).get(place[-1])
    if old is None:  # its dotted key may be in the file even so, as that of another entry's field
        value = _nested({path: _within(entry, path) for path, filled in given.items() if filled})
        return with_edit(text, find_edit(text, before.root, place, value))
    for path, filled in given.items():
        names = [*place, *path]
        is_there = ".".join(names) in before.lines
        if not filled:
            # The last key of a group takes the group with it: an empty group would mean its defaults.
            alone = not any(more for other, more in given.items() if other[:1] == path[:1])
            text = _without(text, [*place, path[0]] if alone else names, source) if is_there else text
        elif not is_there or _within(old, path) != _within(entry, path):
            text = with_edit(text, find_edit(text, compose(text, source), names, _within(entry, path)))
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
    """Remove the key at `place` from a mapping."""
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


def _given(texts: Mapping[tuple[str, ...], str], path: tuple[str, ...]) -> bool:
    return not path or bool(texts.get(path, "").strip())


def _within(entry: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        entry = getattr(entry, name, None)
    return entry
