"""Help: the focused part of the screen, every command by task, and every available key."""

from __future__ import annotations

import os
import re
from inspect import cleandoc
from textwrap import wrap
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, get_args

from textual import on
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Markdown, Static

from mistral_chat.text import one_line
from mistral_chat.ui.commands import Command, Task
from mistral_chat.ui.dialogs.base import Dialog, frame
from mistral_chat.ui.keymap import format_keys, key_binding
from mistral_chat.ui.terminal_keys import anywhere, arrives, best_first
from mistral_chat.ui.widgets.ordered_keys import Field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from textual.app import ComposeResult
    from textual.binding import ActiveBinding
    from textual.dom import DOMNode

_KEYS: Final = (16, 24)
"""Minimum and maximum columns of the keys; a quarter of the width between them."""

_PLAIN: Final = "Keys of lists and text fields"
"""The heading for keys of Textual's own widgets, which are only shown if the filter matches them."""


class HelpRow(NamedTuple):
    """One action."""

    keys: str
    """Its keys in words; empty where it has none."""
    does: str
    slash: str = ""
    """Its slash command with its argument; empty where it has none."""
    title: str = ""
    """Its name in the palette, which finds it but is not shown."""

    def matches(self, words: Sequence[str]) -> bool:
        """Whether all of `words`, in lower case, are in the row."""
        text = f"{self.keys} {self.slash} {self.does} {self.title}".casefold()
        return all(word in text for word in words)


class HelpPart(NamedTuple):
    """The rows of one task, or of one part of the screen."""

    heading: str
    rows: tuple[HelpRow, ...]


class KeyTable(Static):
    """Keys, slash commands and descriptions, in columns that fit the width."""

    def __init__(self, parts: Sequence[HelpPart]) -> None:
        """Show `parts`, one below the other."""
        super().__init__(markup=False)
        self._parts = parts
        self._words: list[str] = []

    def filter(self, text: str) -> None:
        """Show only the rows with all words of `text`."""
        self._words = text.casefold().split()
        self._update()

    def on_resize(self) -> None:
        """Fit the columns to the width."""
        self.call_after_refresh(self._update)

    def _update(self) -> None:
        width = self.content_size.width
        if not width:
            return
        column = min(_KEYS[1], max(_KEYS[0], width // 4))
        lines: list[Content] = []
        for part in self._parts:
            rows = [row for row in part.rows if row.matches(self._words)]
            if not rows:
                continue
            lines += [Content(""), Content.styled(part.heading, "bold $text-primary")]
            if part.heading == _PLAIN and not self._words:
                lines.append(Content.styled(f"{len(rows):,} more keys: filter for “cursor” or “text” to see them", "$text-quiet"))
                continue
            has_slash = any(row.slash for row in part.rows)
            lines += [line for row in rows for line in _lines(row, width, column, slash=column if has_slash else 0)]
        self.update(Content("\n").join(lines[1:]) if lines else Content.styled("Nothing found", "$text-quiet"))


def _lines(row: HelpRow, width: int, column: int, slash: int) -> list[Content]:
    """Format one row: its keys, its slash command and its description, each wrapped in its column."""
    cells = [(row.keys, column, "$text-accent"), (row.slash, slash, "$text-success")]
    wrapped = [(wrap(one_line(text), size - 2) or [""], size, style) for text, size, style in cells if size]
    does = wrap(one_line(row.does), max(10, width - column - slash)) or [""]
    lines = []
    for number in range(max(len(does), *(len(cell) for cell, _, _ in wrapped))):
        parts = [((cell[number] if number < len(cell) else "").ljust(size), style) for cell, size, style in wrapped]
        lines.append(Content.assemble(*parts, does[number] if number < len(does) else ""))
    return lines


class HelpDialog(Dialog[None]):
    """Shows help for what had the focus when it was asked for. Typing filters it."""

    HELP = "## Help\n\nType to filter. The arrow keys and **Page Up**, **Page Down** scroll. **Esc** closes the help.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("help.leave", "f1", "cancel", "Close", "Close the help"),
        key_binding("help.up", "up", "scroll(-1)", "Scroll up", "Scroll up"),
        key_binding("help.down", "down", "scroll(1)", "Scroll down", "Scroll down"),
        key_binding("help.page_up", "pageup", "scroll(-10)", "Page up", "Scroll up one page"),
        key_binding("help.page_down", "pagedown", "scroll(10)", "Page down", "Scroll down one page"),
    ]

    def __init__(self, text: str, parts: Sequence[HelpPart]) -> None:
        """Show `text`, in Markdown of our own, above `parts`."""
        super().__init__()
        self._text, self._parts = text, parts

    def compose(self) -> ComposeResult:
        """Show the filter, the text and the keys."""
        with frame("Help", hints=(("↑ ↓", "scroll"), ("Esc", "close")), classes="help"):
            yield Field(placeholder="Type to filter", compact=True)
            with VerticalScroll(can_focus=False):
                yield Markdown(self._text)
                yield KeyTable(self._parts)

    def action_scroll(self, rows: int) -> None:
        """Scroll by `rows`; ten are a page."""
        body = self.query_one(VerticalScroll)
        distance = rows if abs(rows) == 1 else (body.size.height - 1) * (1 if rows > 0 else -1)
        body.scroll_relative(y=distance, animate=False)

    @on(Input.Changed)
    def _filtered(self, event: Input.Changed) -> None:
        self.query_one(Markdown).display = not event.value.strip()
        self.query_one(KeyTable).filter(event.value)
        self.query_one(VerticalScroll).scroll_home(animate=False)


def help_text(focused: Widget | None, screen: Widget) -> str:
    """Return the help of the focused widget, or of the nearest widget around it that has any."""
    nodes = focused.ancestors_with_self if focused is not None else [screen]
    return next((cleandoc(node.HELP) for node in nodes if isinstance(node, Widget) and node.HELP), "")


def help_parts(active: Mapping[str, ActiveBinding], commands: Sequence[Command] = ()) -> list[HelpPart]:
    """Return `commands` by task, then all other keys in force by the part of the screen they belong to.

    The keys of Textual's own widgets come last.
    """
    known = {command.id for command in commands}
    found: dict[str, dict[tuple[DOMNode, str], list[ActiveBinding]]] = {}
    for each in active.values():
        binding = each.binding
        if binding.id not in known and not binding.system and (binding.tooltip or binding.description):
            heading = _heading(each.node) if binding.tooltip else _PLAIN
            found.setdefault(heading, {}).setdefault((each.node, binding.action), []).append(each)
    groups = sorted(found.items(), key=lambda group: group[0] == _PLAIN)
    parts = [HelpPart(heading, tuple(map(_row, actions.values()))) for heading, actions in groups]
    return command_parts(commands, active) + parts


def command_parts(commands: Sequence[Command], active: Mapping[str, ActiveBinding]) -> list[HelpPart]:
    """Return the commands by task, each with its keys in force and its slash command."""
    keys: dict[str, list[str]] = {}
    for key, each in active.items():
        # Some parts of the screen have keys of their own that run a command by its id.
        runs = re.fullmatch(r"screen\.command\('(.+)'\)", each.binding.action)
        if (name := runs[1] if runs else each.binding.id) is not None:
            keys.setdefault(name, []).append(key)
    tasks: dict[str, list[HelpRow]] = {name: [] for name in get_args(Task)}
    for command in commands:
        slash = f"/{command.slash} {command.argument}".strip() if command.slash else ""
        tasks[command.task].append(HelpRow(_ways(command, keys.get(command.id, [])), command.help, slash, command.title))
    return [HelpPart(task, tuple(rows)) for task, rows in tasks.items() if rows]


def _ways(command: Command, keys: Sequence[str]) -> str:
    """The keys of a command that arrive in this terminal, and where none of them always does, another way to it."""
    arriving = [key for key in best_first(keys, os.environ) if arrives(key, os.environ)]
    sure = any(map(anywhere, arriving)) or (arriving and command.slash)
    ways = [command.typed, format_keys(",".join(arriving)), "" if sure or command.typed else command.way_in]
    return " or ".join(filter(None, ways))


def _row(same: list[ActiveBinding]) -> HelpRow:
    binding = same[0].binding
    keys = best_first(dict.fromkeys(each.binding.key for each in same), os.environ)
    arriving = [key for key in keys if arrives(key, os.environ)] or keys
    return HelpRow(format_keys(",".join(arriving)), binding.tooltip or binding.description)


def _heading(node: DOMNode) -> str:
    """Return the heading of a node's help."""
    text = cleandoc(node.HELP) if isinstance(node, Widget) and node.HELP else ""
    return text.partition("\n")[0].removeprefix("## ") or "Everywhere"
