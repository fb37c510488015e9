"""The command table: everything the user can do, written once.

It feeds key bindings, slash commands, the command palette, the message menu, the help and the README's tables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from textual.binding import Binding

from mistral_chat.ui.keymap import format_keys, key_binding, keys_of
from mistral_chat.ui.terminal_keys import at_hand, best_first

if TYPE_CHECKING:
    from mistral_chat.conversation import TranscriptTurn
    from mistral_chat.ui.screens.chat import ChatScreen

_TO_TURNS: Final = "Shift+Tab"
_TO_LIST: Final = "Ctrl+O"
"""The keys that select a message, and that go to the list."""

_TURN_KEYS: Final = {
    "chat.turn_before": _TO_TURNS,
    "chat.turn_after": "Down",
    "chat.turn": "Enter",
    "chat.branch_before": "Left",
    "chat.branch_after": "Right",
    "chat.top": "Home",
    "chat.bottom": "End",
}
"""The keys of commands on a selected message that are no letters."""


Task = Literal["Write", "Reply", "Versions", "Messages", "Chats", "Context", "Models", "App"]
"""What a command is for; the help lists commands in this order."""


@dataclass(frozen=True, slots=True)
class Command:
    """One action of the user."""

    id: str
    """Its name in the keymap, such as ``chat.rename``. Ids and slash names are public: they never change their meaning."""
    task: Task
    """What it is for."""
    title: str
    """Its name in the palette."""
    help: str
    """What it does: an imperative sentence without a full stop."""
    run: Callable[[ChatScreen, str], Awaitable[object] | None]
    """Runs it with the argument after its slash name."""
    _: KW_ONLY
    key: str = ""
    """Its default keys, separated by commas."""
    typed: str = ""
    """A character that runs it where it is typed into the message box."""
    turn_letter: str = ""
    """Its key while the transcript has the focus."""
    list_letter: str = ""
    """Its key while the list of conversations has the focus."""
    priority: bool = True
    """Whether its key comes before those of the focused part."""
    slash: str = ""
    """Its name behind a slash; empty if it has none."""
    aliases: tuple[str, ...] = ()
    """Other names behind a slash."""
    argument: str = ""
    """The argument after the slash name, such as ``NAME VALUE``."""
    values: Callable[[ChatScreen], Awaitable[Sequence[tuple[str, str]]]] | None = None
    """Finds what its argument may be, each with a few words about it."""
    proposed: Callable[[ChatScreen], str] | None = None
    """Returns the proposed argument when it is asked for."""
    turn_label: Callable[[TranscriptTurn], str] | None = None
    """Its label in a message's menu; empty if it does not apply to that message."""
    runs: Literal["immediately", "background", "dialog"] = "immediately"
    """Whether the next key waits for it, or it runs as a task; one dialog opens at a time."""

    @property
    def asks(self) -> bool:
        """Whether the palette asks for its argument: what opens a dialog asks for it there, and elsewhere none is needed."""
        return bool(self.argument) and self.runs == "background" and not self.typed

    @property
    def way_in(self) -> str:
        """The keys that run it through the transcript or the list, and that every terminal sends; empty without any."""
        if letter := _TURN_KEYS.get(self.id, self.turn_letter):
            return letter if letter == _TO_TURNS else f"{_TO_TURNS}, {letter}"
        return f"{_TO_LIST}, {self.list_letter}" if self.list_letter else ""

    @property
    def names(self) -> tuple[str, ...]:
        """Its slash name and aliases."""
        return (self.slash, *self.aliases) if self.slash else ()


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


def hint_key(name: str, own: str = "") -> str:
    """What hints and notifications show for a command: its first key at hand in this terminal, else another way to it.

    Args:
        name: the id of the command.
        own: the keys that the user chose for it; empty for the default.
    """
    if own:
        return format_keys(best_first(keys_of(own), os.environ)[0])
    wanted = command(name)
    keys = best_first(keys_of(wanted.key), os.environ)
    if keys and at_hand(keys[0], os.environ):
        return format_keys(keys[0])
    slash = f"/{wanted.slash}" if wanted.slash else ""
    return wanted.typed or slash or wanted.way_in or format_keys(",".join(keys[:1]))


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
"""What follows a slash at the start of a command or a path, and not of code."""

_TO_SEND: Final = "To send it as a message, type two slashes."


def parse_input(draft: str) -> ParsedInput:
    """Distinguish a message from a command.

    Two slashes start a message that would otherwise be a command. Several lines are always a message.
    """
    if not draft.startswith("/") or "\n" in draft:
        return ParsedInput(message=draft)
    if draft.startswith("//"):
        # Only what would be a command with one slash loses the other: a comment of code stays as it is.
        return ParsedInput(message=draft[1:] if _NAME.match(draft[2:]) else draft)
    name, _, argument = draft[1:].partition(" ")
    found = command_of(f"/{name}")
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


def command_of(name: str) -> Command | None:
    """The command that a slash and its name, an alias or a unique beginning of one stand for; None for anything else."""
    begun = matching(name) if len(name) > 1 else []
    found = [each for each in begun if name[1:] in each.names] or begun
    return found[0] if len(found) == 1 else None
