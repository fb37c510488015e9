"""Single settings as people type and read them."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mistral_chat.config.configuration import leaves
from mistral_chat.config.reader import read_settings
from mistral_chat.config.settings import Settings
from mistral_chat.errors import ConfigError


def choices(key: str) -> tuple[str, ...]:
    """What the dotted `key` can be, where there are only so many values; nothing otherwise."""
    kind, _ = _kind(key)
    if kind is bool:
        return ("true", "false")
    return get_args(kind) if get_origin(kind) is Literal else ()


def is_text(key: str) -> bool:
    """Whether the dotted `key` holds text as it is typed."""
    return _kind(key)[0] is str


def is_scalar(key: str) -> bool:
    """Whether the dotted `key` holds one value or a list, and not keys with values of their own."""
    return get_origin(_kind(key)[0]) is not dict


def shown(value: object) -> str:
    """A value as `parse_value` takes it back; untrusted text. Mappings are shown by their names."""
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
    """Read what a person typed for the dotted `key`: text as it stands, a list with commas, anything else as YAML.

    Raises:
        ConfigError: it is no value for this key; `ConfigError.problem` says why.
    """
    kind, optional = _kind(key)
    if optional and not text.strip():
        return None
    if kind is str:
        return text
    if get_origin(kind) is tuple:
        return tuple(each.strip() for each in text.split(",") if each.strip())
    *sections, name = key.split(".")
    lines = [f"{'  ' * depth}{section}:" for depth, section in enumerate(sections)]
    lines.append(f"{'  ' * len(sections)}{name}: {' '.join(text.split())}")
    try:
        settings = read_settings("\n".join(lines), key).settings
    except ConfigError as error:
        if error.problem.startswith("not YAML"):
            raise ConfigError(key, None, f"{text.strip()!r} is not {_wording(kind)}") from error
        raise
    return dict(leaves(settings))[key]


def type_of(key: str) -> Any:
    """The type of the dotted `key`."""
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


def _wording(kind: Any) -> str:
    return {int: "a whole number", float: "a number"}.get(kind, "such a value")
