"""`mistral-chat completion`: the shell completion script, and the values it offers.

A shell asks between two keystrokes, so nothing here may fail or load the engine: after an error, nothing is offered.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mistral_chat.cli.wiring import Program

VARIABLE = "_MISTRAL_CHAT_COMPLETE"
"""Set by the script when it asks the program for completions."""

MOST = 50
"""Conversations offered."""

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
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"No completion script for {shell}.")
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "mistral-chat", VARIABLE).source())


def models(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Names of models; a path is left to the shell."""
    if incomplete.startswith((".", "/", "~")):
        return [CompletionItem(incomplete, type="file")]
    return _offered(ctx, incomplete, _models)


def conversations(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Ids of the most recent conversations, with their titles."""
    return _offered(ctx, incomplete, _conversations)


def personas(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Names of the personas in the settings."""
    return _offered(ctx, incomplete, _personas)


def prompt_formats(_ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Names of prompt formats."""
    from mistral_chat.engine.encoding.choose import FORMATS

    return [CompletionItem(name) for name in FORMATS if name.startswith(incomplete)]


def _offered(ctx: click.Context, incomplete: str, find: Callable[[Program], Iterable[tuple[str, str]]]) -> list[CompletionItem]:
    """The values and help texts that `find` returns, where the value starts with `incomplete`."""
    from mistral_chat.cli.wiring import Program
    from mistral_chat.errors import MistralChatError
    from mistral_chat.text import one_line

    program = ctx.find_object(Program) or Program()
    try:
        return [CompletionItem(v, help=one_line(about, 60)) for v, about in find(program) if v.startswith(incomplete)]
    except (MistralChatError, OSError):
        return []


def _models(program: Program) -> Iterable[tuple[str, str]]:
    library = program.library()
    here = {model.name: model.source for model in library.list()}
    yield from here.items()
    for entry in library.catalog.entries("chat"):
        if entry.name not in here:
            yield entry.name, "can be downloaded"


def _conversations(program: Program) -> Iterable[tuple[str, str]]:
    if program.paths.database.exists():
        with closing(program.open_store()) as store:
            yield from [(summary.conversation_id, summary.title) for summary in store.summaries(limit=MOST)]


def _personas(program: Program) -> Iterable[tuple[str, str]]:
    return [(name, persona.system) for name, persona in program.settings.personas.items()]


COMPLETERS: Final = {
    "models": models,
    "prompt formats": prompt_formats,
    "conversations": conversations,
    "personas": personas,
}
"""What completes values, by their kind."""
