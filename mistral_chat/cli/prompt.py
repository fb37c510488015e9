"""`mistral-chat prompt`: shows exactly what a model would be given for some messages."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistral_chat.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.cli.wiring import Program
    from mistral_chat.conversation import Message
    from mistral_chat.engine.encoding.segments import Piece
    from mistral_chat.engine.encoding.tokenizer import Tokenizer


@click.command(short_help="Show the tokens that messages become.")
@click.option(
    "--messages",
    "file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help='A JSON file, or - for standard input: [{"role": "system|user|assistant", "content": "…"}].',
)
@options.model_option
@click.option("--prompt-format", metavar="NAME", help="How messages become tokens, instead of what the file says.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: tokens, pieces, prompt_format, spans.")
@click.pass_context
def prompt(ctx: click.Context, /, file: Path, *, prompt_format: str | None, as_json: bool, **_typed: Any) -> None:
    """Show exactly what the model would be given for the messages in a file.

    Control tokens are in ⟦brackets⟧ and highlighted; everything else is text to the model, whatever it looks like. A last
    message of the assistant is left open, as a reply to go on with. Only the vocabulary is read, so large files answer at once.
    """
    from mistral_chat.cli.logs import start_log
    from mistral_chat.engine.encoding.choose import choose_format
    from mistral_chat.engine.encoding.segments import describe
    from mistral_chat.engine.llama.vocabulary import open_vocabulary

    program: Program = ctx.obj.with_options(options.typed_settings(ctx))
    messages = read_messages(file)
    weights = program.library().find(program.settings.model)
    start_log(program.paths.log_file)
    with open_vocabulary(weights.path) as vocabulary:
        chosen = choose_format(vocabulary, vocabulary.template, vocabulary.name, prompt_format or weights.prompt_format)
        encoding = chosen.encode_messages(messages)
        pieces = describe(encoding, vocabulary)
        if as_json:
            shown = {
                "tokens": encoding.tokens,
                "pieces": [piece.text for piece in pieces],
                "prompt_format": chosen.name,
                "spans": [(span.message, span.start, span.end) for span in encoding.spans],
            }
            click.echo(json.dumps(shown, ensure_ascii=False))
            return
        click.echo(highlight(pieces, vocabulary))
    window = program.settings.context.size
    share = 100 * len(pieces) / window
    click.echo(
        f"\n{len(pieces):,} tokens, {share:.3g} % of a window of {window:,}; format {chosen.name}; model {_shown(weights.name)}"
    )
    for warning in {chosen.ambiguous_markup(message.content) for message in messages} - {None}:
        click.echo(_shown(f"mistral-chat: {warning}"), err=True)


def read_messages(file: Path) -> list[Message]:
    """The messages in a JSON `file`; ``-`` is standard input.

    Raises:
        UsageError: it holds no list of messages; the sentence says which one is wrong.
    """
    from mistral_chat.errors import UsageError

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
        found = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} is no JSON that can be read: {error}") from error
    if not isinstance(found, list) or not found:
        raise UsageError(f'{file} must hold a list of messages: [{{"role": "user", "content": "…"}}].')
    return [_message(file, number, each) for number, each in enumerate(found, 1)]


def _message(file: Path, number: int, found: object) -> Message:
    from mistral_chat.conversation import Message, Role
    from mistral_chat.errors import UsageError

    given = found if isinstance(found, dict) else {}
    role, content = given.get("role"), given.get("content")
    if role not in list(Role) or not isinstance(content, str):
        raise UsageError(
            f"{file}: message {number} needs a role, which is system, user or assistant, and a content, which is text."
        )
    return Message(Role(role), content)


def highlight(pieces: Sequence[Piece], tokenizer: Tokenizer) -> str:
    """A prompt as text for the terminal: control tokens in brackets and reversed, the format's own text dim.

    What models and people wrote is cleaned, so that no escape sequence in it reaches the terminal.
    """
    from mistral_chat.engine.encoding.segments import joined

    shown = []
    for (is_control, is_said), run in groupby(pieces, key=lambda piece: (piece.is_control, piece.span is not None)):
        together = list(run)
        if is_control:
            shown += [click.style(f"⟦{_shown(piece.text)}⟧", fg="yellow", reverse=True) for piece in together]
        else:
            shown.append(click.style(_shown(joined(together, tokenizer)), dim=not is_said))
    return "".join(shown)


def _shown(text: str) -> str:
    from mistral_chat.text import clean

    return clean(text)
