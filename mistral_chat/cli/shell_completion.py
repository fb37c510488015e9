"""What a shell is told to complete: names of models, ids of conversations, names of personas.

A shell asks between two keys, so nothing here may fail or load the engine: where something is wrong, nothing is offered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import click

    from mistral_chat.cli.wiring import Program

SHOWN = 50
"""How many conversations are offered."""


def models(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names that ``-m`` takes; a path is left to the shell."""
    if incomplete.startswith((".", "/", "~")):
        return [CompletionItem(incomplete, type="file")]
    return _offered(ctx, incomplete, _models)


def conversations(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the conversations that were used last, with their titles."""
    return _offered(ctx, incomplete, _conversations)


def personas(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the settings' personas."""
    return _offered(ctx, incomplete, _personas)


def _offered(ctx: click.Context, incomplete: str, find: Callable[[Program], Iterable[tuple[str, str]]]) -> list[CompletionItem]:
    """What `find` gives, each a value with its help, as far as it goes on from `incomplete`."""
    from mistral_chat.cli.wiring import Program
    from mistral_chat.errors import MistralChatError
    from mistral_chat.text import one_line

    program = ctx.find_object(Program) or Program()
    try:
        return [CompletionItem(v, help=one_line(about, 60)) for v, about in find(program) if v.startswith(incomplete)]
    except MistralChatError:
        return []


def _models(program: Program) -> Iterable[tuple[str, str]]:
    library = program.library()
    here = {weights.name: weights.source for weights in library.list()}
    yield from here.items()
    for entry in library.catalog.entries():
        if entry.name not in here:
            yield entry.name, "can be fetched"


def _conversations(program: Program) -> Iterable[tuple[str, str]]:
    if program.paths.database.exists():
        store = program.open_store()
        yield from [(summary.conversation_id, summary.title) for summary in store.summaries(limit=SHOWN)]
        store.close()


def _personas(program: Program) -> Iterable[tuple[str, str]]:
    return [(name, persona.system) for name, persona in program.settings.personas.items()]
