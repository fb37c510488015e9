"""`mistral-chat completion`: the shell completion script, and the values it offers.

A shell asks between two keystrokes, so nothing here may fail or load the engine: after an error, nothing is offered.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from mistral_chat.cli.printing import SHORT_ID
from mistral_chat.cli.wiring import Program
from mistral_chat.errors import MistralChatError
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mistral_chat.store.records import Folder

VARIABLE = "_MISTRAL_CHAT_COMPLETE"
"""Set by the script when it asks the program for completions."""

MOST = 50
"""Conversations offered for ``--chat``."""

HELP = """Print the completion script for a shell.

\b
bash:  mistral-chat completion bash > ~/.local/share/bash-completion/completions/mistral-chat
zsh:   mistral-chat completion zsh > "${fpath[1]}/_mistral-chat"
fish:  mistral-chat completion fish > ~/.config/fish/completions/mistral-chat.fish
"""


@click.command(help=HELP, short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print click's script for `shell`."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"No completion script for {shell}.")
    click.echo(kind(ctx.find_root().command, {}, "mistral-chat", VARIABLE).source())


def completed(kind: str, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """The values of a `kind` that start with `incomplete`, each with what it is; a path is left to the shell."""
    if kind == "models" and incomplete.startswith((".", "/", "~")):
        return [CompletionItem(incomplete, type="file")]
    program = ctx.find_object(Program) or Program()
    try:
        return [
            CompletionItem(value, help=one_line(about, 60))
            for value, about in _VALUES[kind](program)
            if value.startswith(incomplete)
        ]
    except (MistralChatError, OSError):
        return []


def _models(program: Program) -> Iterator[tuple[str, str]]:
    library = program.library()
    here = {model.name: model.source for model in library.list()}
    yield from here.items()
    for entry in library.catalog.entries("chat"):
        if entry.name not in here:
            yield entry.name, "can be downloaded"


def _prompt_formats(_program: Program) -> Iterator[tuple[str, str]]:
    from mistral_chat.engine.encoding.choose import FORMATS

    return ((name, "") for name in FORMATS)


def _conversations(
    program: Program, *folders: Folder, limit: int = -1, length: int | None = SHORT_ID
) -> Iterator[tuple[str, str]]:
    """At most `limit` conversations of each folder: `length` characters of the id, and the title."""
    if program.paths.database.exists():
        with closing(program.open_store()) as store:
            for folder in folders:
                for summary in store.summaries(where=folder, limit=limit):
                    yield summary.conversation_id[:length], summary.title


_VALUES: Final[dict[str, Callable[[Program], Iterable[tuple[str, str]]]]] = {
    "models": _models,
    "prompt formats": _prompt_formats,
    "personas": lambda program: ((name, persona.system) for name, persona in program.settings.personas.items()),
    "conversations": lambda program: _conversations(program, "active", limit=MOST, length=None),
    "ids": lambda program: _conversations(program, "active", "archived"),
    "trashed ids": lambda program: _conversations(program, "trash"),
}
"""What finds the values of each kind, each with what it is."""
