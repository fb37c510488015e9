"""Reads the settings file: checks YAML nodes, which carry line marks, against the declared types.

Unknown and repeated keys, wrong types and values out of range are errors with their line. The only coercion is from a whole
number to a number. YAML 1.1 gives plain words meanings that few authors expect (`no` is a boolean, `010` is 8, `12:30` is 750);
the reader refuses such values and says what to write instead.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, Never, TypeGuard, TypeVar, get_args, get_origin, get_type_hints

import yaml

from mistral_chat.config.settings import Settings
from mistral_chat.errors import ConfigError

DEEPEST = 16
"""Levels of nesting; the settings use four."""

SHOWN = 40
"""Characters of a wrong value that an error quotes."""

_STR = "tag:yaml.org,2002:str"
_WHOLE_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9_]{0,24})")
_NUMBER = re.compile(r"(?=[-+]?\.?[0-9])[-+]?(0|[1-9][0-9_]*)?(\.[0-9_]*)?([eE][-+]?[0-9]+)?")

Section = TypeVar("Section")


@dataclass(frozen=True, slots=True)
class FileSettings:
    """The text of a settings file, parsed once."""

    settings: Settings = field(default_factory=Settings)
    lines: dict[str, int] = field(default_factory=dict)
    """The line of each key in the file, such as ``{"sampling.seed": 3}``."""
    unknown: tuple[ConfigError, ...] = ()
    """The unknown keys, if the reader was asked to skip them."""
    text: str = field(default="", repr=False, compare=False)
    root: yaml.Node | None = field(default=None, repr=False, compare=False)
    """The root of the YAML nodes; None for an empty file."""


def read_settings(text: str, source: str, *, skip_unknown: bool = False) -> FileSettings:
    """Read the settings in `text`, which came from `source`.

    Args:
        text: the YAML.
        source: named by errors.
        skip_unknown: collect unknown keys in `FileSettings.unknown` instead of refusing them.

    Raises:
        ConfigError: the text is not YAML, or a key or a value in it cannot be used.
    """
    root = compose(text, source)
    if root is None or _is_empty(root):
        return FileSettings(text=text, root=root)
    reader = _Reader(source, skip_unknown=skip_unknown)
    return FileSettings(reader.section(root, Settings, ""), reader.lines, tuple(reader.unknown), text, root)


def read_value(node: yaml.Node, kind: Any, key: str, source: str) -> Any:
    """The value of the type `kind` in `node`, for the dotted `key`.

    Raises:
        ConfigError: it is not of that type, or out of its range.
    """
    return _Reader(source).value(node, kind, key)


def scalar_node(text: str, *, is_text: bool) -> yaml.ScalarNode:
    """A node for `text` as it would be written plainly in YAML or, where `is_text`, in quotes."""
    resolver: Any = yaml.resolver.Resolver()
    tag = _STR if is_text else resolver.resolve(yaml.ScalarNode, text, (True, False))
    return yaml.ScalarNode(tag, text)


def value_node(value: Any) -> yaml.Node:
    """A node for `value`, which is a node or a dictionary of such values."""
    if isinstance(value, yaml.Node):
        return value
    return yaml.MappingNode("tag:yaml.org,2002:map", [(yaml.ScalarNode(_STR, name), value_node(v)) for name, v in value.items()])


def compose(text: str, source: str) -> yaml.Node | None:
    """The root of the YAML nodes in `text`, which came from `source`; None if it is empty.

    Raises:
        ConfigError: the text is not YAML, or contains an alias.
    """
    try:
        composer = _Composer(text, source)
        return composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(source, mark.line + 1 if mark else None, f"invalid YAML: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(source, line, f"the character U+{ord(text[error.position]):04X} is not allowed in YAML") from error
    except (ValueError, OverflowError) as error:  # from PyYAML's own conversions
        raise ConfigError(source, composer.line + 1, "invalid YAML: an escape or a number is out of range") from error


class _Composer(yaml.SafeLoader):
    """Composes nodes from text, and refuses aliases and deep nesting, which no settings need."""

    def __init__(self, text: str, source: str) -> None:
        super().__init__(text)
        self._source = source
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose the next node.

        Raises:
            ConfigError: the node is an alias or nested too deep.
        """
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it untyped
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(self._source, line, f"aliases such as '*{event.anchor}' are not supported; write the value out")
        self._depth += 1
        if self._depth > DEEPEST:
            raise ConfigError(self._source, line, f"the values are nested more than {DEEPEST} levels deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Reader:
    """Checks nodes against types, and collects the line of each key."""

    def __init__(self, source: str, *, skip_unknown: bool = False) -> None:
        self._source = source
        self._skip_unknown = skip_unknown
        self.lines: dict[str, int] = {}
        self.unknown: list[ConfigError] = []

    def section(self, node: yaml.Node, kind: type[Section], prefix: str) -> Section:
        """The dataclass `kind` with the values in `node`."""
        if _is_empty(node):
            return self._build(node, kind, {}, prefix)
        hints = get_type_hints(kind)
        values: dict[str, Any] = {}
        for name, value_node in self._entries(node, prefix):
            if name in hints:
                values[name] = self.value(value_node, hints[name], prefix + name)
                continue
            error = self._unknown_key(name, list(hints), prefix)
            if not self._skip_unknown:
                raise error
            self.unknown.append(error)
        return self._build(node, kind, values, prefix)

    def _entries(self, node: yaml.Node, prefix: str) -> list[tuple[str, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            place = f"'{prefix.removesuffix('.')}'" if prefix else "the file"
            self._refuse(node, f"{place} must contain keys with values, such as `key: value`")
        entries: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, "a key must be a word")
            name = key_node.value
            if name in entries:
                self._refuse(key_node, f"the key '{prefix + name}' is given twice")
            if key_node.tag != _STR:
                self._refuse(key_node, f"the key {name!r} must be text; put it in quotes")
            entries[name] = value_node
            if (line := _line(key_node)) is not None:
                self.lines[prefix + name] = line
        return list(entries.items())

    def _unknown_key(self, name: str, names: list[str], prefix: str) -> ConfigError:
        close = get_close_matches(name, names, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(names)}"
        return ConfigError(self._source, self.lines.get(prefix + name), f"unknown key '{prefix + name}'; {hint}")

    def _build(self, node: yaml.Node, kind: type[Section], values: dict[str, Any], prefix: str) -> Section:
        missing = [name for name in _required(kind) if name not in values]
        if missing:
            self._refuse(node, f"'{prefix.removesuffix('.')}' needs the key '{missing[0]}'")
        try:
            return kind(**values)
        except ValueError as error:
            name = prefix + str(error).split(" ", 1)[0]
            raise ConfigError(self._source, self.lines.get(name, _line(node)), f"{prefix}{error}") from error

    def value(self, node: yaml.Node, kind: Any, key: str) -> Any:
        """The value of the type `kind` in `node`, for the dotted `key`."""
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
        return {name: self.value(value, kind, prefix + name) for name, value in self._entries(node, prefix)}

    def _tuple(self, node: yaml.Node, kind: Any, key: str) -> tuple[Any, ...]:
        if _is_empty(node):
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self._refuse(node, f"'{key}' must be a list, such as `[first, second]`")
        return tuple(self.value(value, kind, f"{key}[{index}]") for index, value in enumerate(node.value))

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
        raise ConfigError(self._source, _line(node), problem)


def _line(node: yaml.Node) -> int | None:
    """The line of a node; None where it was not read from a text."""
    return node.start_mark.line + 1 if node.start_mark is not None else None


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
    kind = {"bool": "boolean", "int": "number", "float": "number"}.get(tag, tag)
    return f"the text {short!r}" if tag == "str" else f"the {kind} {short}"


def _advice(kind: Any, text: str, tag: str) -> str:
    if kind is str and tag != "null":
        return "; put it in quotes"
    if kind in {int, float} and (tag in {"int", "float"} or (tag == "str" and _NUMBER.fullmatch(text))):
        return f"; write it {'in digits only, such as 4096' if kind is int else 'as a plain decimal number, such as 0.1'}"
    return ""
