"""Reads the settings' file: YAML nodes with line marks against the declared types.

Every departure is an error with its line: unknown and repeated keys, wrong types, values out of range. Nothing is coerced but a
whole number where a number is meant. YAML 1.1 reads more into plain words than people write (`no` is a boolean, `010` is 8,
`12:30` is 750): such values are refused with what to write instead.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Never, TypeGuard, TypeVar, get_args, get_origin, get_type_hints

import yaml

from mistral_chat.config.settings import Settings
from mistral_chat.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_FILE = 64 * 1024
"""Bytes; PyYAML takes seconds over a hostile file of this size and minutes over a larger one."""

DEEPEST = 16
"""Nested levels; the settings have four."""

SHOWN = 40
"""Characters of a wrong value that an error quotes."""

_WHOLE_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9_]{0,24})")
_NUMBER = re.compile(r"(?=[-+]?\.?[0-9])[-+]?(0|[1-9][0-9_]*)?(\.[0-9_]*)?([eE][-+]?[0-9]+)?")

Section = TypeVar("Section")


@dataclass(frozen=True, slots=True)
class FileSettings:
    """What a settings' file says."""

    settings: Settings = field(default_factory=Settings)
    lines: dict[str, int] = field(default_factory=dict)
    """The line of every key that is given, such as ``{"sampling.seed": 3}``."""


def read_file(path: Path) -> FileSettings:
    """Read the settings in `path`; a file that is not there leaves the defaults.

    Raises:
        ConfigError: the file cannot be read or used; the message says where and why.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        return FileSettings()
    except OSError as error:
        raise ConfigError(str(path), None, f"the file cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise ConfigError(str(path), None, f"the file is larger than the {LARGEST_FILE // 1024} KB that settings may take")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(str(path), line, "the file is not text in UTF-8") from error
    return read_settings(text, str(path))


def read_settings(text: str, source: str) -> FileSettings:
    """Read the settings in `text`, which came from `source`.

    Raises:
        ConfigError: the text is no YAML, or a key or a value in it cannot be used.
    """
    root = compose(text, source)
    reader = _Reader(source)
    if root is None or _is_empty(root):
        return FileSettings()
    return FileSettings(reader.section(root, Settings, ""), reader.lines)


def compose(text: str, source: str) -> yaml.Node | None:
    """The root of the YAML in `text`, which came from `source`, with marks that say where everything stands; None for nothing.

    Raises:
        ConfigError: the text is no YAML, or holds an alias.
    """
    try:
        return _Composer(text, source).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(source, mark.line + 1 if mark else None, f"not YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(source, line, f"the character U+{ord(text[error.position]):04X} cannot stand in YAML") from error


class _Composer(yaml.SafeLoader):
    """Makes nodes of a text, and refuses what no settings need: aliases and deep nesting."""

    def __init__(self, text: str, source: str) -> None:
        super().__init__(text)
        self._source = source
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Make the next node, or refuse it.

        Raises:
            ConfigError: the node is an alias or lies too deep.
        """
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it untyped
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(self._source, line, f"the alias '*{event.anchor}' is not used here; write the value out")
        self._depth += 1
        if self._depth > DEEPEST:
            raise ConfigError(self._source, line, f"the values are nested more than {DEEPEST} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reader:
    """Checks nodes against types; `lines` remembers where each key stood."""

    def __init__(self, source: str) -> None:
        self._source = source
        self.lines: dict[str, int] = {}

    def section(self, node: yaml.Node, kind: type[Section], prefix: str) -> Section:
        """The dataclass `kind` with the values in `node`."""
        if _is_empty(node):
            return self._build(node, kind, {}, prefix)
        hints = get_type_hints(kind)
        values: dict[str, Any] = {}
        for name, value_node in self._entries(node, prefix):
            if name not in hints:
                self._refuse_key(name, list(hints), prefix)
            values[name] = self._value(value_node, hints[name], prefix + name)
        return self._build(node, kind, values, prefix)

    def _entries(self, node: yaml.Node, prefix: str) -> list[tuple[str, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            place = f"'{prefix.removesuffix('.')}'" if prefix else "the file"
            self._refuse(node, f"{place} must hold keys with values, such as `key: value`")
        entries: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, "a key must be a word")
            name = key_node.value
            if name in entries:
                self._refuse(key_node, f"the key '{prefix + name}' is given twice")
            if key_node.tag != "tag:yaml.org,2002:str":
                self._refuse(key_node, f"the key {name!r} must be text; put it in quotes")
            entries[name] = value_node
            self.lines[prefix + name] = key_node.start_mark.line + 1
        return list(entries.items())

    def _refuse_key(self, name: str, names: list[str], prefix: str) -> Never:
        close = get_close_matches(name, names, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"the keys here are {', '.join(names)}"
        raise ConfigError(self._source, self.lines[prefix + name], f"there is no key '{prefix + name}'; {hint}")

    def _build(self, node: yaml.Node, kind: type[Section], values: dict[str, Any], prefix: str) -> Section:
        missing = [name for name in _required(kind) if name not in values]
        if missing:
            self._refuse(node, f"'{prefix.removesuffix('.')}' needs the key '{missing[0]}'")
        try:
            return kind(**values)
        except ValueError as error:
            name = prefix + str(error).split(" ", 1)[0]
            raise ConfigError(self._source, self.lines.get(name, node.start_mark.line + 1), f"{prefix}{error}") from error

    def _value(self, node: yaml.Node, kind: Any, key: str) -> Any:
        choices = get_args(kind) if get_origin(kind) is UnionType else (kind,)
        if _is_empty(node) and NoneType in choices:
            return None
        (kind,) = (choice for choice in choices if choice is not NoneType)
        if is_dataclass(kind) and isinstance(kind, type):
            return self.section(node, kind, f"{key}.")
        if get_origin(kind) is dict:
            return self._dict(node, get_args(kind)[1], f"{key}.")
        if get_origin(kind) is tuple:
            return self._tuple(node, get_args(kind)[0], key)
        return self._scalar(node, kind, key)

    def _dict(self, node: yaml.Node, kind: Any, prefix: str) -> dict[str, Any]:
        if _is_empty(node):
            return {}
        return {name: self._value(value, kind, prefix + name) for name, value in self._entries(node, prefix)}

    def _tuple(self, node: yaml.Node, kind: Any, key: str) -> tuple[Any, ...]:
        if _is_empty(node):
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self._refuse(node, f"'{key}' must be a list, such as `[first, second]`")
        return tuple(self._value(value, kind, f"{key}[{index}]") for index, value in enumerate(node.value))

    def _scalar(self, node: yaml.Node, kind: Any, key: str) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            self._refuse(node, f"'{key}' must be {_wording(kind)}, not a list or keys with values")
        text, tag = node.value, node.tag.removeprefix("tag:yaml.org,2002:")
        if get_origin(kind) is Literal and text in get_args(kind):
            return text
        if kind is str and tag == "str":
            return text
        if kind is bool and tag == "bool":
            return yaml.SafeLoader.bool_values[text.lower()]
        if kind is int and tag == "int" and _WHOLE_NUMBER.fullmatch(text):
            return int(text)
        if kind is float and tag in {"int", "float"} and _NUMBER.fullmatch(text):
            return float(text)
        return self._refuse(node, f"'{key}' must be {_wording(kind)}, not {_shown(text, tag)}{_advice(kind, text, tag)}")

    def _refuse(self, node: yaml.Node, problem: str) -> Never:
        raise ConfigError(self._source, node.start_mark.line + 1, problem)


def _is_empty(node: yaml.Node) -> TypeGuard[yaml.ScalarNode]:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _required(kind: type) -> list[str]:
    return [each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING]


def _wording(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]


def _shown(text: str, tag: str) -> str:
    if tag == "null":
        return "empty"
    short = text if len(text) <= SHOWN else text[:SHOWN] + "…"
    return f"the text {short!r}" if tag == "str" else f"the {tag} {short}"


def _advice(kind: Any, text: str, tag: str) -> str:
    if kind is str and tag != "null":
        return "; put it in quotes"
    if kind in {int, float} and tag == "str" and _NUMBER.fullmatch(text):
        return "; YAML knows it as a number when it is written plainly, such as 0.1"
    if kind in {int, float} and tag in {"int", "float"}:
        return "; write it as a plain decimal number"
    return ""
