"""The settings' own words: every key with its type, its default and its docstring, for people to read."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mistral_chat.config.settings import Settings

LINE = 100
"""Columns of the generated file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key that can be set."""

    key: str
    """Dotted; `NAME` stands where a person chooses the name."""
    kind: str
    """What its value must be, in words."""
    default: str
    """As it is written in YAML; empty for a key without a default."""
    meaning: str


def entries(section: type = Settings, prefix: str = "") -> list[Entry]:
    """Every key of `section` and of the sections in it, in the order of declaration."""
    hints = get_type_hints(section)
    meanings = docstrings(section)
    found: list[Entry] = []
    for each in fields(section):
        kind, key = hints[each.name], prefix + each.name
        if is_dataclass(kind) and isinstance(kind, type):
            found += entries(kind, f"{key}.")
            continue
        found.append(Entry(key, describe(kind), _written(_default(each)), meanings[each.name]))
        inner = get_args(kind)[-1] if get_origin(kind) is dict else None
        if isinstance(inner, type) and is_dataclass(inner):
            found += entries(inner, f"{key}.NAME.")
    return found


def default_file() -> str:
    """A settings' file that says what every key means and sets it to its default."""
    head = "# The settings of mistral-chat. Every key is shown with its default; keys may be left out.\n"
    return head + "\n".join(_section_lines(Settings, 0)) + "\n"


@cache
def docstrings(section: type) -> dict[str, str]:
    """The literal below each field of `section`, by the field's name. Where Python has None, a file has nothing: empty."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(section)))
    (declaration,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    found = {}
    for statement, following in zip(declaration.body, declaration.body[1:], strict=False):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = re.sub(r"\bNone\b", "empty", " ".join(text.split()))
    return found


def describe(kind: Any) -> str:
    """What a value of the type `kind` must be, in words."""
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
    hints, meanings = get_type_hints(section), docstrings(section)
    lines: list[str] = []
    for each in fields(section):
        kind = hints[each.name]
        nested = is_dataclass(kind) and isinstance(kind, type)
        about = meanings[each.name] if nested else f"{meanings[each.name]} ({describe(kind).replace('`', '')})"
        if depth == 0:
            lines.append("")
        lines += textwrap.wrap(about, LINE, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        if nested:
            lines += [f"{indent}{each.name}:", *_section_lines(kind, depth + 1)]
        else:
            lines.append(f"{indent}{each.name}: {_written(_default(each))}".rstrip())
    return lines


def _default(each: Field[Any]) -> Any:
    return each.default_factory() if each.default_factory is not MISSING else each.default


def _written(value: object) -> str:
    """A default as YAML; JSON's texts, lists and mappings are YAML's too."""
    if value is None or value is MISSING:
        return ""
    return json.dumps(value, ensure_ascii=False)
