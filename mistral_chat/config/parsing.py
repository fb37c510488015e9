"""Parses single settings that users enter, and formats them for display."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mistral_chat.config.configuration import Configuration
from mistral_chat.config.reader import read_value, scalar_node
from mistral_chat.config.settings import Settings


def choices(key: str) -> tuple[str, ...]:
    """The allowed values of the dotted `key`; empty if it has no fixed list."""
    kind = type_of(key)
    if kind is bool:
        return ("true", "false")
    return get_args(kind) if get_origin(kind) is Literal else ()


def is_scalar(key: str) -> bool:
    """Whether the dotted `key` is a value or a list, and not a section of named entries."""
    return get_origin(type_of(key)) is not dict


def format_value(value: object) -> str:
    """Format a value as `parse_value` reads it; untrusted text. A mapping is shown as its names."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case tuple() | dict():
            return ", ".join(str(each) for each in value)
        case _:
            return str(value)


def parse_value(key: str, text: str) -> object:
    """Parse a value entered for the dotted `key`: text as it is, a comma-separated list, anything else as YAML.

    Raises:
        ConfigError: it is not a valid value for this key; `ConfigError.problem` says why.
    """
    kind, optional = _kind(key)
    if optional and not text.strip():
        return None
    if kind is str:
        return text
    if get_origin(kind) is tuple:
        return tuple(each.strip() for each in text.split(",") if each.strip())
    value = read_value(scalar_node(" ".join(text.split()), is_text=False), kind, key, key)
    Configuration().with_value(key, value, key)  # checks the range
    return value


def type_of(key: str) -> Any:
    """The type of the dotted `key`, without None."""
    return _kind(key)[0]


def _kind(key: str) -> tuple[Any, bool]:
    """The type of the dotted `key` without None, and whether it may be None."""
    kind: Any = Settings
    for name in key.split("."):
        kind = get_type_hints(kind)[name]
    if get_origin(kind) is not UnionType:
        return kind, False
    (inner,) = (each for each in get_args(kind) if each is not NoneType)
    return inner, True
