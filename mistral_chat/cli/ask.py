"""`mistral-chat ask`: one question from the shell, with the same conversations and engine as the app."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistral_chat.cli import options
from mistral_chat.cli.logs import start_log
from mistral_chat.cli.printing import print_json, shown
from mistral_chat.cli.stdin import argument_text, standard_input
from mistral_chat.cli.terminal import Progress
from mistral_chat.errors import MistralChatError, ModelError
from mistral_chat.message_form import build_message
from mistral_chat.session.attachments import read_text
from mistral_chat.session.events import (
    ModelEvent,
    ModelLoaded,
    ModelLoading,
    PassagesGiven,
    PrefillProgress,
    ReplyFailed,
    ReplyFinished,
    SessionEvent,
    TextAdded,
)
from mistral_chat.system import disable_core_dumps
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program
    from mistral_chat.generation import Completion
    from mistral_chat.session.session import ChatSession
    from mistral_chat.store.store import ConversationStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for, in addition to the settings."""

    text: str
    system: str | None
    persona: str
    resume: bool
    chat: str | None
    no_save: bool
    prompt_format: str | None
    as_json: bool
    stats: bool
    collections: tuple[str, ...]
    """The document collections to answer from."""


@click.command(short_help="Ask a question and print the reply.", context_settings={"allow_extra_args": True})
@click.argument("prompt", required=False)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text file to include before the prompt; repeatable.",
)
@options.engine_options
@options.sampling_options
@options.conversation_options
@options.embedding_option
@click.option("--docs", "collections", multiple=True, metavar="NAME", help="Answer from this document collection; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object when the reply is complete.")
@click.option("--stats", is_flag=True, help="Write token counts and speed to standard error at the end.")
@click.pass_obj
def ask(program: Program, /, prompt: str | None, files: tuple[Path, ...], **given: Any) -> None:
    """Ask PROMPT, and print the reply as it is written.

    Text on standard input is placed before PROMPT. Prompts in arguments are visible in the process list and the shell history;
    prompts on standard input are not.

    Ctrl+C stops the reply; the text so far is saved, and the exit code is 130.
    """
    if click.get_current_context().args:
        raise click.UsageError('Put the question in quotes: mistral-chat ask "Why is the sky blue?"')
    options.refuse_conflicts(given)
    texts = [(argument_text(path.name), read_text(path)) for path in files]
    text = build_message(texts, standard_input(), argument_text(prompt or ""))
    if not text.strip():
        raise click.UsageError("Nothing to ask. Pass a prompt, a file (-f), or text on standard input.")
    sys.exit(_answer(program, Request(text=text, **given)))


def _answer(program: Program, request: Request) -> int:
    """Ask, print, and return the exit code."""
    disable_core_dumps()
    start_log(None if request.no_save else program.paths.log_file)
    with closing(program.open_store(saved=not request.no_save)) as store:
        try:
            return asyncio.run(_Asking(program, store, request).run())
        finally:
            if not request.no_save:
                program.purge_old_trash(store)


def _model(program: Program, store: ConversationStore, conversation_id: str | None) -> str:
    """The conversation's model, if it is still installed; empty if that of the options or the settings is to be asked."""
    used = store.conversation(conversation_id).summary.model if conversation_id and "model" not in program.options else ""
    try:
        if used:
            program.library().find(used)
    except ModelError:
        return ""
    return used


class _Asking:
    """One question from loading the model to the last token, and the ways to stop it."""

    def __init__(self, program: Program, store: ConversationStore, request: Request) -> None:
        self._program = program
        self._store = store
        self._request = request
        self._progress = Progress(sys.stderr)
        self._signal: int | None = None
        self._work: asyncio.Task[None] | None = None
        self._session: ChatSession | None = None
        self._error: MistralChatError | None = None
        self._completion: Completion | None = None
        self._given: PassagesGiven | None = None

    async def run(self) -> int:
        """Ask and print; the exit code is 0, or 128 and the number of the signal that stopped it."""
        self._work = asyncio.create_task(self._ask())
        # asyncio's own handlers lose a signal while a fast engine fills the pipe that they share with it.
        before = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with suppress(asyncio.CancelledError):
                await self._work
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._progress.clear()
        return 0 if self._signal is None else 128 + self._signal

    def _interrupt(self, number: int, _frame: object) -> None:
        """Stop the reply; if it has not started, or the second time, stop everything."""
        again, self._signal = self._signal is not None, number
        session = self._session
        engine = None if session is None else session.environment.host.engine
        if session and engine and session.current and session.current.generating and not again:
            engine.stop()
        elif self._work is not None:
            self._work.get_loop().call_soon_threadsafe(self._work.cancel)

    async def _ask(self) -> None:
        from mistral_chat.session.headless import open_headless
        from mistral_chat.session.overrides import Overrides
        from mistral_chat.session.reply import NewMessage

        program, request = self._program, self._request
        saved = not request.no_save
        sampling = {
            key.removeprefix("sampling."): option.value for key, option in program.options.items() if key.startswith("sampling.")
        }
        with closing(program.retriever(saved=saved or bool(request.collections))) as retriever:
            if request.persona:
                program.settings.persona(request.persona)
            to_resume = self._store.latest() if request.resume else None
            conversation_id = self._store.resolve(request.chat) if request.chat else to_resume
            async with open_headless(
                self._store,
                lambda spec: program.runner(spec, prompt_format=request.prompt_format, saved=saved),
                settings=program.settings,
                emit=self._take,
                on_model=self._show_loading,
                model=_model(program, self._store, conversation_id),
                conversation_id=conversation_id,
                started=Overrides(system=request.system, persona=request.persona or None),
                sampling_options=sampling,
                saved=saved,
                retriever=retriever,
            ) as asking:
                self._session = asking.session
                for name in request.collections:
                    retriever.documents.documents.documents(name)  # refuses the name of a collection that does not exist
                asking.session.grounding.chosen = list(request.collections)
                await asking.load()
                try:
                    await asking.answer(NewMessage(request.text))
                finally:  # also if it could not be saved
                    if self._completion is not None:
                        self._report(self._completion, asking.session)
                if self._error is not None:
                    raise self._error

    async def _show_loading(self, event: ModelEvent) -> None:
        if isinstance(event, ModelLoading):
            self._progress.show(f"loading the model, {event.share:.0%}")
        elif isinstance(event, ModelLoaded) and event.loaded.note:
            self._progress.clear()
            click.echo(f"Note: {event.loaded.note}", err=True)

    async def _take(self, event: SessionEvent) -> None:
        match event:
            case PrefillProgress(done, total) if total:
                self._progress.show(f"processing the prompt: {done:,} of {total:,} tokens")
            case PassagesGiven():
                self._given = event
            case TextAdded(text=text) if not self._request.as_json:
                self._progress.clear()
                sys.stdout.write(shown(text))
                sys.stdout.flush()
            case ReplyFinished(completion=completion):
                self._completion = completion
            case ReplyFailed(error=error):
                self._error = error

    def _report(self, completion: Completion, session: ChatSession) -> None:
        """Print what comes after the reply."""
        self._progress.clear()
        usage, loaded, given = completion.usage, session.environment.host.loaded, self._given
        passages = given.turn.turn.passages if given is not None else ()
        if self._request.as_json:
            print_json(
                {
                    "reply": completion.text,
                    "finish_reason": completion.finish_reason,
                    "conversation_id": None if self._request.no_save else session.conversation_id,
                    "model": loaded.model if loaded else "",
                    "usage": usage,
                    "sources": passages,
                }
            )
        else:
            click.echo()
            if completion.finish_reason == "length":
                click.echo("The reply was cut off: maximum length reached.", err=True)
            for number, each in enumerate(passages, 1):  # as the model was given them
                click.echo(f"[{number}] {one_line(each.source)}", err=True)
            if given is not None and given.notice:
                click.echo(given.notice, err=True)
        if self._request.stats:
            click.echo(
                f"{usage.prompt_tokens:,} prompt tokens ({usage.cached_tokens:,} cached), "
                f"{usage.completion_tokens:,} reply tokens, first after {usage.time_to_first_token:.2f} s, "
                f"{usage.tokens_per_second:.1f} tokens/s, {completion.finish_reason}",
                err=True,
            )
