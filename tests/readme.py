"""Writes the README's tables from the program itself.

python tests/readme.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from support.ways import ways

from mistral_chat.cli.main import COMMANDS
from mistral_chat.config.docs import SettingDoc, setting_docs
from mistral_chat.ui.commands import all_commands
from mistral_chat.ui.keymap import format_keys, known_bindings
from mistral_chat.ui.screens.models import ModelsScreen
from mistral_chat.ui.widgets.composer import Composer
from mistral_chat.ui.widgets.sidebar import ConversationList, ListFilter
from mistral_chat.ui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Sequence

README = Path(__file__).resolve().parent.parent / "README.md"


def generated() -> dict[str, str]:
    """Every generated table by its name."""
    return {"keys": keys(), "slash": slash(), "commands": commands(), "settings": settings()}


def keys() -> str:
    """What each key does, and for each command the ways to it that every terminal sends."""
    rows = [
        (format_keys(each.key) or ways(each)[0], ", ".join(ways(each)), each.help, f"`{each.id}`")
        for each in all_commands()
        if each.key or not each.slash
    ]
    bindings = known_bindings((Composer, ConversationList, ListFilter, Transcript, ModelsScreen))
    parts = [(format_keys(b.key), b.tooltip or b.description, f"`{name}`") for name, b in bindings.items()]
    commands = _table(("key", "or, from every terminal", "does", "id"), rows)
    return f"{commands}\nThe parts of the screen have keys of their own:\n\n{_table(('key', 'does', 'id'), parts)}"


def slash() -> str:
    """Every slash command."""
    rows = [
        (", ".join(f"`/{name}`" for name in each.names), f"`{each.argument}`" if each.argument else "", each.help)
        for each in all_commands()
        if each.slash
    ]
    return _table(("command", "argument", "does"), rows)


def commands() -> str:
    """What each command does."""
    return _table(("command", "does"), [("`mistral-chat`", "Open the chat."), *((f"`{n}`", h) for n, h in COMMANDS.items())])


def settings() -> str:
    """What can be set."""
    return _table(("key", "value", "default", "meaning"), [_setting(entry) for entry in setting_docs()])


def filled(text: str) -> str:
    """The README with every table as it is now."""
    for name, table in generated().items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(begin)
        text = before + begin + table + end + rest.partition(end)[2]
    return text


def _setting(entry: SettingDoc) -> tuple[str, ...]:
    default = f"`{entry.default}`" if entry.default else "empty"
    return (f"`{entry.key}`", entry.kind, "required" if _required(entry) else default, entry.meaning)


def _required(entry: SettingDoc) -> bool:
    return not entry.default and "empty" not in entry.kind


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
