"""`mistral-chat chats recall`: what would be recalled for a message."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from mistral_chat.cli import options
from mistral_chat.cli.chats_arguments import CONVERSATION, as_json_option, print_json

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program


@click.command("recall", short_help="Show what would be recalled for a message.")
@click.argument("conversation", type=CONVERSATION)
@click.argument("query")
@click.option(
    "--tokens",
    type=click.IntRange(1),
    metavar="N",
    help="Show as many exchanges as fit in this many tokens. Default: what the chat would recall.",
)
@options.embedding_option
@as_json_option
@click.pass_context
def recall(ctx: click.Context, /, conversation: str, query: str, *, tokens: int | None, as_json: bool, **_: Any) -> None:
    """Show the exchanges that would be recalled for QUERY if the whole conversation had left the context.

    Exchanges on other branches and excluded ones are never recalled. No chat model is loaded.
    """
    from mistral_chat.cli.terminal import Progress
    from mistral_chat.session.recall import BUDGET, MOST_EXCHANGES, ConversationRecall
    from mistral_chat.session.relevance import Relevance
    from mistral_chat.text import clean, one_line

    program: Program = ctx.obj.with_options(options.setting_overrides(ctx))
    with closing(program.open_store()) as store, program.embedding_model() as embedder:
        conversation_id = store.resolve(conversation)
        turns = store.turns(conversation_id)
        with closing(ConversationRecall(store, conversation_id, Relevance(embedder))) as recalling:
            line = Progress(sys.stderr)
            while left := recalling.add_vectors(turns, most=64):
                line.show(f"embedding {left:,} exchanges")
            line.clear()
            most = None if tokens else MOST_EXCHANGES
            found = recalling.find(query, turns, budget=tokens or BUDGET, most=most)
    created = {turn.turn_id: turn.created for turn in turns}
    if as_json:
        print_json(
            [
                {
                    "turn_id": each.key,
                    "text": each.text,
                    "tokens": each.tokens,
                    "score": round(each.score, 4),
                    "created": created[each.key].isoformat(),
                }
                for each in found
            ]
        )
        return
    for each in found:
        click.echo(f"{each.key[:8]}  {one_line(each.source)}  ({each.tokens} tokens, score {each.score:.2f})")
        click.echo(f"{clean(each.text) if sys.stdout.isatty() else each.text}\n")
    if not found:
        click.echo("Nothing would be recalled.", err=True)
