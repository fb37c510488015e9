"""The command table: everything the user can do, written once.

It feeds key bindings, slash commands, the command palette, the message menu, the help and the README's tables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from textual.binding import Binding

from mistral_chat.ui.key_binding import key_binding
from mistral_chat.ui.keymap import format_keys, keys_of
from mistral_chat.ui.terminal_keys import best_first

if TYPE_CHECKING:
    from mistral_chat.ui.screens.chat import ChatScreen

Run = Callable[["ChatScreen", str], Awaitable[object] | None]
"""Runs a command, with the argument after its slash name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One action of the user."""

    id: str
    """Its name in the keymap, such as ``chat.rename``. Ids and slash names are public: they never change their meaning."""
    title: str
    """Its name in the palette."""
    help: str
    """What it does: an imperative sentence without a full stop."""
    run: Run
    key: str = ""
    """Its default keys, separated by commas."""
    shown_key: str = ""
    """The default key as shown in notifications and hints."""
    turn_letter: str = ""
    """Its key while the transcript has the focus."""
    list_letter: str = ""
    """Its key while the list of conversations has the focus."""
    priority: bool = False
    """Whether its key comes before the message box."""
    slash: str = ""
    """Its name behind a slash; empty if it has none."""
    aliases: tuple[str, ...] = ()
    """Other names behind a slash."""
    argument: str = ""
    """The argument after the slash name, such as ``NAME VALUE``."""
    asks: bool = False
    """Whether the palette asks for the argument."""
    proposed: Callable[[ChatScreen], str] | None = None
    """Returns the proposed argument when it is asked for."""
    turn_label: Callable[[TurnState], str] | None = None
    """Its label in a message's menu; empty if it does not apply to that message."""
    runs: Literal["immediately", "background", "dialog"] = "immediately"
    """Whether the next key waits for it, or it runs as a task; one dialog opens at a time."""
    needs_store: bool = True
    """Whether it needs the conversations to be open."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its slash name and aliases."""
        return (self.slash, *self.aliases) if self.slash else ()


class TurnState(NamedTuple):
    """The state of a message that decides which commands apply to it."""

    has_reply: bool
    code_blocks: int
    pinned: bool
    excluded: bool
    versions: int
    sources: int = 0
    recalled: int = 0
    files: int = 0


class ParsedInput(NamedTuple):
    """A draft as a message or a command."""

    message: str | None = None
    """A message to send."""
    command: Command | None = None
    argument: str = ""
    refusal: str = ""
    """Why it is neither; a sentence for the user."""


def all_commands() -> tuple[Command, ...]:
    """Every command, in the order of the lists."""
    from mistral_chat.ui.commands.table import COMMANDS  # which is made of this module's commands

    return COMMANDS


def command(name: str) -> Command:
    """The command with the id `name`.

    Raises:
        KeyError: there is none.
    """
    return {each.id: each for each in all_commands()}[name]


def hint_key(name: str, own: str) -> str:
    """The key shown for a command in hints and notifications: the first that works in this terminal.

    Args:
        name: the id of the command.
        own: the keys that the user chose for it; empty for the default.
    """
    keys = keys_of(own or command(name).key)
    best = best_first(keys, os.environ)[0]
    shown_key = command(name).shown_key if not own and best == keys[0] else ""
    return shown_key or format_keys(best)


def bindings(place: str) -> list[Binding]:
    """The key bindings of the commands whose id starts with `place`."""
    return [
        key_binding(each.id, each.key, f"command({each.id!r})", each.title, each.help, priority=each.priority)
        for each in all_commands()
        if each.key and each.id.startswith(f"{place}.")
    ]


def letter_bindings() -> list[Binding]:
    """The single letters that run commands while the transcript or the list has the focus."""
    return [
        key_binding(
            f"{place}.{each.id.partition('.')[2]}", letter, f"letter_command({place!r}, {each.id!r})", each.title, each.help
        )
        for each in all_commands()
        for place, letter in (("transcript", each.turn_letter), ("list", each.list_letter))
        if letter
    ]


_NAME: Final = re.compile(r"[a-z?][a-z-]*(?: |$)|\w[\w.-]*/")

_TO_SEND: Final = "To send it as a message, type two slashes."


def parse_input(draft: str) -> ParsedInput:
    """Distinguish a message from a command.

    Two slashes start a message that would otherwise be a command. Several lines are always a message.
    """
    if not draft.startswith("/") or "\n" in draft:
        return ParsedInput(message=draft)
    if draft.startswith("//"):
        # Only what would be a command with one slash loses the other: a comment of code stays as it is.
        return ParsedInput(message=draft[1:] if _is_command(draft[1:]) else draft)
    name, _, argument = draft[1:].partition(" ")
    found = _find(name)
    if found is None:
        names = [each for command in all_commands() for each in command.names]
        close = get_close_matches(name, names, 1)
        hint = f"Did you mean /{close[0]}?" if close else "Type / for the list."
        return ParsedInput(refusal=f"Unknown command /{name}. {hint} {_TO_SEND}")
    if argument.strip() and not found.argument:
        return ParsedInput(refusal=f"/{name} takes no argument. {_TO_SEND}")
    return ParsedInput(command=found, argument=argument.strip())


def matching(draft: str) -> list[Command]:
    """The commands that `draft` may be the start of; none once it contains a space."""
    if not draft.startswith("/") or draft.startswith("//") or any(letter.isspace() for letter in draft):
        return []
    return [each for each in all_commands() if any(name.startswith(draft[1:]) for name in each.names)]


def _is_command(draft: str) -> bool:
    """Whether `draft`, which starts with a slash, begins like a command or a path, and not like code behind a slash."""
    return _NAME.match(draft[1:]) is not None


def _find(name: str) -> Command | None:
    exact = next((each for each in all_commands() if name in each.names), None)
    if exact is not None or not name:
        return exact
    begun = [each for each in all_commands() if any(known.startswith(name) for known in each.names)]
    return begun[0] if len(begun) == 1 else None
