"""`mistral-chat prompt`: shows the exact prompt for some messages."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mistral_chat.cli import options
from mistral_chat.cli.printing import print_json
from mistral_chat.cli.stdin import read_messages
from mistral_chat.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.cli.wiring import Program
    from mistral_chat.engine.encoding.segments import Piece
    from mistral_chat.engine.encoding.tokenizer import Tokenizer


@click.command(short_help="Show the tokenized prompt for messages.")
@click.option(
    "--messages",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help='JSON file, or - for standard input: [{"role": "system|user|assistant", "content": "…"}].',
)
@options.model_option
@options.prompt_format_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: tokens, pieces, prompt_format, spans.")
@click.pass_obj
def prompt(program: Program, /, file: Path, *, prompt_format: str | None, as_json: bool) -> None:
    """Show the exact prompt for the messages in a file.

    Control tokens are highlighted in ⟦brackets⟧; everything else is plain text to the model, whatever it looks like. If the
    last message is the assistant's, the prompt ends inside it, as when a reply is continued. Only the vocabulary is loaded, so
    this is quick for large models too.
    """
    from mistral_chat.cli.logs import start_log
    from mistral_chat.engine.encoding.choose import choose_format
    from mistral_chat.engine.encoding.segments import describe
    from mistral_chat.engine.llama.model import open_vocabulary

    messages = read_messages(file)
    model = program.library().find(program.settings.model)
    start_log(program.paths.log_file)
    with open_vocabulary(model.path) as vocabulary:
        chosen = choose_format(vocabulary, vocabulary.template, vocabulary.name, prompt_format or model.prompt_format)
        encoding = chosen.encode_messages(messages)
        pieces = describe(encoding, vocabulary)
        if as_json:
            print_json(
                {
                    "tokens": encoding.tokens,
                    "pieces": [piece.text for piece in pieces],
                    "prompt_format": chosen.name,
                    "spans": [(span.message, span.start, span.end) for span in encoding.spans],
                }
            )
            return
        click.echo(highlight(pieces, vocabulary))
    window = program.settings.context.size
    share = 100 * len(pieces) / window
    click.echo(
        f"\n{len(pieces):,} tokens, {share:.3g} % of a context of {window:,}; format {chosen.name}; model {clean(model.name)}"
    )
    for warning in {chosen.ambiguous_markup(message.content) for message in messages} - {None}:
        click.echo(clean(f"mistral-chat: {warning}"), err=True)


def highlight(pieces: Sequence[Piece], tokenizer: Tokenizer) -> str:
    """Format a prompt for the terminal: control tokens in brackets and reversed, the prompt format's own text dim.

    Every text is cleaned, so that no escape sequence in it reaches the terminal.
    """
    from mistral_chat.engine.encoding.segments import joined

    shown = []
    for (is_control, is_message), run in groupby(pieces, key=lambda piece: (piece.is_control, piece.span is not None)):
        together = list(run)
        if is_control:
            shown += [click.style(f"⟦{clean(piece.text)}⟧", fg="yellow", reverse=True) for piece in together]
        else:
            shown.append(click.style(clean(joined(together, tokenizer)), dim=not is_message))
    return "".join(shown)
