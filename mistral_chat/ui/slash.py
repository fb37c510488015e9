"""Slash commands: what they are called, what they do, and what is no command."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple


@dataclass(frozen=True, slots=True)
class Slash:
    """One command."""

    name: str
    action: str
    """The screen's action; one that ends in ``_with`` is given what stands after the name."""
    help: str
    argument: str = ""
    """What may stand after the name, for the list of commands."""
    title: str = ""
    """What it is called in the list of all commands, where it has no key and asks for its argument."""


COMMANDS: Final = (
    Slash("help", "app.toggle_help", "show help and every key"),
    Slash("new", "new", "begin a new conversation"),
    Slash("clear", "new", "begin a new conversation"),
    Slash("model", "models_with", "choose another model", "NAME"),
    Slash("system", "system_with", "show or set this conversation's system prompt", "TEXT", "System prompt"),
    Slash("persona", "persona_with", "choose who the model is in this conversation", "NAME"),
    Slash("set", "set_with", "show or set how tokens are drawn, such as: /set temperature 0.2", "NAME VALUE", "Sampling"),
    Slash("regen", "regenerate", "answer the last message once more"),
    Slash("edit", "edit", "say the last message anew"),
    Slash("continue", "continue", "let the model go on with its last reply"),
    Slash("copy", "copy_reply", "copy the last reply"),
    Slash("code", "copy_code", "copy a code block of the reply; once more copies the next one"),
    Slash("save", "save_code", "write a code block of the reply to a file"),
    Slash("turn", "turn", "see what can be done with the chosen turn, or the last"),
    Slash("keep", "pin_turn", "keep the turn in the model's window, or no longer"),
    Slash("exclude", "exclude_turn", "hide the turn from the model, or show it again"),
    Slash("fork", "fork", "begin a conversation that ends with a copy of the turn"),
    Slash("details", "details", "show under each reply what it took, or no longer"),
    Slash("context", "context", "see what fills the model's window, and what has left it"),
    Slash("search", "search_with", "find words in everything that was said", "WORDS"),
    Slash("attach", "attach_with", "send a text file along with the next message; without a path it asks which", "FILE"),
    Slash("rename", "rename_with", "give the conversation another title", "TITLE"),
    Slash("pin", "pin", "keep the conversation at the top of the list, or no longer"),
    Slash("tag", "tag_with", "add tags to the conversation, take one away with a minus, or list them", "WORD -WORD", "Tags"),
    Slash("archive", "archive", "put the conversation into the archive, or back into the list"),
    Slash("archived", "archived", "list what is archived, or go back"),
    Slash("filter", "filter_with", "narrow the list of conversations down", "WORDS"),
    Slash("undo", "undo", "take back what was done last"),
    Slash("delete", "delete", "move the conversation to the trash"),
    Slash("trash", "trash", "see what was deleted, take it back, or delete it for good"),
    Slash("export", "export_with", "write the conversation to a Markdown file", "FILE", "Export"),
    Slash("prompt", "prompt", "see exactly what the model is given"),
    Slash("unsaved", "unsaved", "hold a conversation that is not saved, or go back"),
    Slash("settings", "settings", "see every setting, and change it"),
    Slash("theme", "app.change_theme", "choose the colours"),
    Slash("quit", "app.quit", "save everything and quit"),
)
"""Every command, in the order they are listed."""


_AS_MESSAGE: Final = "To send it as a message, begin with two slashes."


class Said(NamedTuple):
    """What a draft turned out to be."""

    message: str | None = None
    """A message to send."""
    command: Slash | None = None
    argument: str = ""
    refusal: str = ""
    """Why it is neither; a sentence for the person."""


def read(draft: str) -> Said:
    """Tell a message from a command. Two slashes begin a message that begins with one; several lines are always a message."""
    if draft.startswith("//"):
        return Said(message=draft[1:])
    if not draft.startswith("/") or "\n" in draft:
        return Said(message=draft)
    name, _, argument = draft[1:].partition(" ")
    for command in COMMANDS:
        if command.name == name:
            if argument.strip() and not command.argument:
                return Said(refusal=f"/{name} stands alone, and nothing comes after it. {_AS_MESSAGE}")
            return Said(command=command, argument=argument.strip())
    close = get_close_matches(name, [command.name for command in COMMANDS], 1)
    hint = f"Did you mean /{close[0]}?" if close else "/help shows what there is."
    return Said(refusal=f"There is no command /{name}. {hint} {_AS_MESSAGE}")


def matching(draft: str) -> list[Slash]:
    """The commands that `draft` may be the beginning of; none once it holds a space."""
    if not draft.startswith("/") or draft.startswith("//") or any(letter.isspace() for letter in draft):
        return []
    return [command for command in COMMANDS if command.name.startswith(draft[1:])]
