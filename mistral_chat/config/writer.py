"""Changes one setting in the text of a settings file, and leaves the rest unchanged.

The file is the user's: comments, order, quotes and line endings stay. The marks of the YAML nodes say where a value is; the new
one replaces it there, or a line is added. Every change is read back: it must give the old settings with the one change, or it
is refused.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import yaml

from mistral_chat.config.configuration import Configuration
from mistral_chat.config.reader import FileSettings, read_settings
from mistral_chat.errors import ConfigError

if TYPE_CHECKING:
    from mistral_chat.config.settings import Settings

_BLOCK_HEADER = re.compile(r"[|>][-+0-9]*(?P<comment>[ \t]+#[^\r\n]*)?")
_UNPRINTABLE = re.compile("[^\n\r\t\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")

_PLAIN = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
"""Words that YAML does not read as text."""


class Edit(NamedTuple):
    """A replacement of the characters from `start` up to `end` by `text`."""

    start: int
    end: int
    text: str


def change_setting(before: FileSettings, key: str, value: object, source: str) -> FileSettings:
    """The settings file `before`, which came from `source`, with the dotted `key` set to `value`.

    Raises:
        ConfigError: the value is out of its range, or the file is written in a way that can only be changed by hand.
    """
    wanted = Configuration(before.settings).with_value(key, value, source).settings
    text = with_edit(before.text, find_edit(before.text, before.root, key.split("."), value))
    return verify_round_trip(text, wanted, before, key, source)


def with_edit(text: str, edit: Edit) -> str:
    """`text` with the `edit`, in the line ends of the file."""
    new = re.sub(r"\r?\n", "\r\n", edit.text) if "\r\n" in text else edit.text
    return text[: edit.start] + new + text[edit.end :]


def verify_round_trip(changed: str, wanted: Settings, before: FileSettings, key: str, source: str) -> FileSettings:
    """Read the text `changed`, which must say what is `wanted` after the file said `before`.

    Raises:
        ConfigError: it says something else; the message names the dotted `key`.
    """
    with suppress(ConfigError):
        found = read_settings(changed, source)
        if found.settings == wanted:
            return found
    problem = "is written in a way that can only be changed by hand"
    if changed.startswith(before.text) and read_settings(f"{before.text}\n", source).settings != before.settings:
        problem = "cannot be added before there is a line break at the end of the file"
    raise ConfigError(source, before.lines.get(key), f"'{key}' {problem}. Nothing was changed.")


def to_yaml(value: object) -> str:
    """`value` as YAML on one line; empty for None."""
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and "e" in text and "." not in text:
        text = text.replace("e", ".0e")  # YAML 1.1 knows no number without a point before its exponent
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"  # noqa: PLR2004 (what four digits can write)


def find_edit(text: str, root: yaml.Node | None, names: list[str], value: object) -> Edit:
    """The edit that sets the key at the path `names` to `value` in `text`, whose root node is `root`."""
    lines = _lines(names, value, "")
    if root is None or root.start_mark.index == root.end_mark.index:
        return _appended(text, len(text), lines)
    if not isinstance(root, yaml.MappingNode):
        return Edit(root.start_mark.index, root.end_mark.index, lines.removesuffix("\n"))
    key_node: yaml.Node = root
    node, depth = root, 0
    while isinstance(node, yaml.MappingNode):
        found = next(((key, each) for key, each in node.value if key.value == names[depth]), None)
        if found is None:
            if not node.value and depth:
                return _opened(text, key_node, node, names[depth:], value)
            return _added(text, node, names[depth:], value)
        key_node, node = found
        depth += 1
        if depth == len(names):
            return _replaced(text, key_node, node, value)
    return _filled(text, key_node, node, names[depth:], value)


def _replaced(text: str, key: yaml.Node, node: yaml.Node, value: object) -> Edit:
    """Replace a value."""
    new = to_yaml(value)
    start, end = node.start_mark.index, edit_end(node, text)
    old = text[start:end]
    if header := _BLOCK_HEADER.match(old) if isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"} else None:
        new += header["comment"] or ""
    colon = text.index(":", key.end_mark.index) + 1
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        # A value on lines of its own moves to the key's line; a comment there stays behind it.
        between = text[colon:start].rstrip(" \t")
        return Edit(colon, end, f" {new}" + between.removesuffix("\n").removesuffix("\r"))
    if not new:
        if text[colon:start].strip(" \t") or text[end:].lstrip(" \t").startswith((",", "}")):
            new = "null"  # the old value is on a line of its own, or between braces
        else:
            start = colon
    elif start == colon:
        new = f" {new}"
    return Edit(start, end, new)


def _added(text: str, mapping: yaml.MappingNode, names: list[str], value: object) -> Edit:
    """Add a key at the end of a mapping."""
    if mapping.flow_style:
        if not mapping.value:
            place = mapping.start_mark.index + 1
            return Edit(place, place, _flow(names, value))
        place = edit_end(mapping.value[-1][1], text)
        return Edit(place, place, f", {_flow(names, value)}")
    first = mapping.value[0][0].start_mark
    indent = text[first.index - first.column : first.index]
    return _appended(text, edit_end(mapping, text, whole=True), _lines(names, value, indent))


def _opened(text: str, key: yaml.Node, empty: yaml.Node, names: list[str], value: object) -> Edit:
    """Add the first key to empty braces, on a line of its own if possible."""
    before = text[key.start_mark.index - key.start_mark.column : key.start_mark.index]
    start, end = empty.start_mark.index, empty.end_mark.index
    behind = text[end:].partition("\n")[0].rstrip("\r")
    if before.strip() or "\n" in text[key.end_mark.index : end] or not (not behind.strip() or behind.lstrip().startswith("#")):
        return Edit(start + 1, start + 1, _flow(names, value))
    new = f"{behind.rstrip()}\n{_lines(names, value, f'{before}  ')}"
    return Edit(start - 1, end + len(behind), new.removesuffix("\n"))


def _filled(text: str, key: yaml.Node, empty: yaml.Node, names: list[str], value: object) -> Edit:
    """Add the first key to an empty section."""
    start, end = empty.start_mark.index, empty.end_mark.index
    before = text[key.start_mark.index - key.start_mark.column : key.start_mark.index]
    if start == end and not before.strip():
        return _appended(text, start, _lines(names, value, f"{before}  "))
    return Edit(start, end, f" {{{_flow(names, value)}}}" if start == end else f"{{{_flow(names, value)}}}")


def _appended(text: str, place: int, lines: str) -> Edit:
    """Add whole lines after the line of `place`."""
    if place == 0 or text[place - 1] in "\r\n":
        return Edit(place, place, lines)
    line_end = text.find("\n", place)
    if line_end < 0:
        return Edit(len(text), len(text), f"\n{lines}")
    return Edit(line_end + 1, line_end + 1, lines)


def _lines(names: list[str], value: object, indent: str) -> str:
    """A key with its value on lines of their own, inside all its sections."""
    sections = "".join(f"{indent}{'  ' * depth}{_name(name)}:\n" for depth, name in enumerate(names[:-1]))
    indent += "  " * (len(names) - 1)
    if isinstance(value, dict) and value:
        inner = "".join(_lines([name], each, f"{indent}  ") for name, each in value.items())
        return f"{sections}{indent}{_name(names[-1])}:\n{inner}"
    return f"{sections}{indent}{_name(names[-1])}: {to_yaml(value)}".rstrip() + "\n"


def _flow(names: list[str], value: object) -> str:
    inner = f"{_name(names[-1])}: {to_yaml(value) or 'null'}"
    for name in reversed(names[:-1]):
        inner = f"{_name(name)}: {{{inner}}}"
    return inner


def _name(name: str) -> str:
    """A key as YAML; a name that the user chose may need quotes."""
    return name if _PLAIN.fullmatch(name) and name.lower() not in _WORDS else to_yaml(name)


def edit_end(node: yaml.Node, text: str, *, whole: bool = False) -> int:
    """Where the text of a node ends. PyYAML ends block collections at the next token, after comments.

    Args:
        node: the node.
        text: the whole text.
        whole: include the blank lines after a block of text.
    """
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return edit_end(last[1] if isinstance(last, tuple) else last, text, whole=whole)
    end: int = node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"} and not whole:
        end = node.start_mark.index + len(text[node.start_mark.index : end].rstrip())
    return end
