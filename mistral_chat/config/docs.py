"""The documentation of the settings: every key with its type, default and meaning."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from mistral_chat.config.settings import Settings

LINE = 100
"""Columns of the generated file."""


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """The documentation of one key."""

    key: str
    """Dotted; `NAME` stands for a name that the user chooses."""
    kind: str
    """The type of its value, in words."""
    default: str
    """In YAML; empty for a key without a default."""
    meaning: str


def setting_docs(section: type = Settings, prefix: str = "") -> list[SettingDoc]:
    """Every key of `section` and of the sections in it, in the order of declaration."""
    found: list[SettingDoc] = []
    for each, kind, meaning in _documented(section):
        key = prefix + each.name
        if is_dataclass(kind) and isinstance(kind, type):
            found += setting_docs(kind, f"{key}.")
            continue
        found.append(SettingDoc(key, describe(kind), _default(each), meaning))
        inner = get_args(kind)[-1] if get_origin(kind) is dict else None
        if isinstance(inner, type) and is_dataclass(inner):
            found += setting_docs(inner, f"{key}.NAME.")
    return found


def default_file() -> str:
    """A settings file that explains every key and sets it to its default."""
    head = "# Settings of mistral-chat. All keys are listed with their defaults; you can leave any of them out.\n"
    return head + "\n".join(_section_lines(Settings, 0)) + "\n"


def describe(kind: Any) -> str:
    """The type `kind` in words."""
    if get_origin(kind) is UnionType:
        return " or ".join(describe(each) for each in get_args(kind) if each is not NoneType) + ", or empty"
    if get_origin(kind) is Literal:
        return " or ".join(f"`{each}`" for each in get_args(kind))
    if get_origin(kind) is tuple:
        return "list of texts"
    if get_origin(kind) is dict:
        return "texts by name" if get_args(kind)[1] is str else "keys by name"
    if is_dataclass(kind):
        return "the keys of `sampling`"
    return {int: "whole number", float: "number", str: "text", bool: "`true` or `false`"}[kind]


def _section_lines(section: type, depth: int) -> list[str]:
    indent = "  " * depth
    lines: list[str] = []
    for each, kind, meaning in _documented(section):
        nested = is_dataclass(kind) and isinstance(kind, type)
        about = meaning if nested else f"{meaning} ({describe(kind).replace('`', '')})"
        if depth == 0:
            lines.append("")
        lines += textwrap.wrap(about, LINE, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        if nested:
            lines += [f"{indent}{each.name}:", *_section_lines(kind, depth + 1)]
        else:
            lines.append(f"{indent}{each.name}: {_default(each)}".rstrip())
    return lines


def _documented(section: type) -> Iterator[tuple[Field[Any], Any, str]]:
    """Each field of `section` with its type and its meaning."""
    hints = get_type_hints(section, include_extras=True)
    for each in fields(section):
        hint = hints[each.name]
        kind, meaning = get_args(hint) if get_origin(hint) is Annotated else (hint, "")
        yield each, kind, meaning


def _default(each: Field[Any]) -> str:
    """The default in YAML, of which JSON is a subset."""
    value = each.default_factory() if each.default_factory is not MISSING else each.default
    return "" if value is None or value is MISSING else json.dumps(value, ensure_ascii=False)
