"""`mistral-chat ask`: one question from the shell, with the same conversations and engine as the app."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistral_chat.cli import options
from mistral_chat.cli.stdin import argument_text, standard_input
from mistral_chat.cli.terminal import Progress, write_reply
from mistral_chat.message_form import build_message
from mistral_chat.session.attachments import read_text
from mistral_chat.system import disable_core_dumps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mistral_chat.cli.wiring import Program
    from mistral_chat.conversation import Passage
    from mistral_chat.errors import MistralChatError
    from mistral_chat.generation import Completion
    from mistral_chat.session.events import ModelEvent, PassagesGiven, SessionEvent
    from mistral_chat.session.retriever import Retriever
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
    has_model_option: bool
    sampling_options: Mapping[str, Any]
    """The sampling given as options, by field."""


@click.command(short_help="Ask a question and print the reply.")
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
@click.pass_context
def ask(ctx: click.Context, /, prompt: str | None, files: tuple[Path, ...], **given: Any) -> None:
    """Ask PROMPT, and print the reply as it is written.

    Text on standard input is placed before PROMPT. Prompts in arguments are visible in the process list and the shell history;
    prompts on standard input are not.

    Ctrl+C stops the reply; the text so far is saved, and the exit code is 130.
    """
    options.refuse_both(("--continue", given["resume"]), ("--chat", given["chat"]))
    options.refuse_both(("--no-save", given["no_save"]), ("--continue", given["resume"]))
    options.refuse_both(("--no-save", given["no_save"]), ("--chat", given["chat"]))
    text = build_message([(path.name, read_text(path)) for path in files], standard_input(), argument_text(prompt or ""))
    if not text.strip():
        raise click.UsageError("Nothing to ask. Pass a prompt, a file (-f), or text on standard input.", ctx)
    chosen = options.setting_overrides(ctx)
    sampling = {key.removeprefix("sampling."): option.value for key, option in chosen.items() if key.startswith("sampling.")}
    names = ("system", "persona", "resume", "chat", "no_save", "prompt_format", "as_json", "stats", "collections")
    values = {name: given[name] for name in names}
    request = Request(text=text, has_model_option="model" in chosen, sampling_options=sampling, **values)
    sys.exit(_answer(ctx.obj.with_options(chosen), request))


def _answer(program: Program, request: Request) -> int:
    """Ask, print, and return the exit code."""
    from mistral_chat.cli.logs import start_log

    disable_core_dumps()
    start_log(None if request.no_save else program.paths.log_file)
    store = program.open_store(saved=not request.no_save)
    try:
        return asyncio.run(_Asking(program, store, request).run())
    finally:
        if not request.no_save:
            program.purge_old_trash(store)
        store.close()


def _conversation(store: ConversationStore, request: Request) -> str | None:
    """The conversation to continue; None starts one.

    Raises:
        ConversationNotFound: no conversation has this id.
    """
    if request.chat:
        return store.resolve(request.chat)
    return store.latest() if request.resume else None


def _model(program: Program, store: ConversationStore, conversation_id: str | None, request: Request) -> str | None:
    """The model to ask if it is not that of the options or the settings: the conversation's, if it is still installed."""
    from mistral_chat.errors import ModelError

    used = store.conversation(conversation_id).summary.model if conversation_id and not request.has_model_option else ""
    if not used:
        return None
    try:
        program.library().find(used)
    except ModelError:
        return None
    return used


def _known(store: ConversationStore, collections: Sequence[str]) -> list[str]:
    """Return the collections if they exist.

    Raises:
        DocumentNotFound: one of them does not exist.
    """
    for name in collections:
        store.documents.documents(name)
    return list(collections)


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
            await self._work
        except asyncio.CancelledError:
            self._completion = None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._progress.clear()
        return 0 if self._signal is None else 128 + self._signal

    def _interrupt(self, number: int, _frame: object) -> None:
        """Stop the reply; if it has not started, or the second time, stop everything."""
        again, self._signal = self._signal is not None, number
        session = self._session
        engine = session.environment.host.engine if session is not None else None
        if (
            session is not None
            and session.current is not None
            and session.current.generating
            and engine is not None
            and not again
        ):
            engine.stop()
        elif self._work is not None:
            self._work.get_loop().call_soon_threadsafe(self._work.cancel)

    async def _ask(self) -> None:
        request = self._request
        with closing(self._program.retriever(saved=not request.no_save or bool(request.collections))) as retriever:
            await self._ask_with(retriever)

    async def _ask_with(self, retriever: Retriever) -> None:
        from mistral_chat.session.headless import open_headless
        from mistral_chat.session.overrides import Overrides
        from mistral_chat.session.reply import NewMessage

        program, request = self._program, self._request
        if request.persona:
            program.settings.persona(request.persona)
        conversation_id = _conversation(self._store, request)
        async with open_headless(
            self._store,
            lambda spec: program.runner(spec or None, prompt_format=request.prompt_format, saved=not request.no_save),
            settings=program.settings,
            emit=self._take,
            on_model=self._show_loading,
            model=_model(program, self._store, conversation_id, request) or "",
            conversation_id=conversation_id,
            started=Overrides(system=request.system, persona=request.persona or None),
            sampling_options=request.sampling_options,
            saved=not request.no_save,
            retriever=retriever,
        ) as asking:
            self._session = asking.session
            asking.session.grounding.chosen = _known(retriever.documents, request.collections)
            await asking.load()
            await asking.answer(NewMessage(request.text))
            if self._error is not None:
                raise self._error
            if self._completion is not None:
                self._report(self._completion, asking.session)

    async def _show_loading(self, event: ModelEvent) -> None:
        from mistral_chat.session.events import ModelLoaded, ModelLoading

        if isinstance(event, ModelLoading):
            self._progress.show(f"loading the model, {event.share:.0%}")
        elif isinstance(event, ModelLoaded) and event.loaded.note:
            self._progress.clear()
            click.echo(f"Note: {event.loaded.note}", err=True)

    async def _take(self, event: SessionEvent) -> None:
        from mistral_chat.session.events import PassagesGiven, PrefillProgress, ReplyFailed, ReplyFinished, TextAdded

        match event:
            case PrefillProgress(done, total) if total:
                self._progress.show(f"processing the prompt: {done:,} of {total:,} tokens")
            case PassagesGiven():
                self._given = event
            case TextAdded(text=text) if not self._request.as_json:
                self._progress.clear()
                write_reply(text, sys.stdout)
            case ReplyFinished(completion=completion):
                self._completion = completion
            case ReplyFailed(error=error):
                self._error = error

    def _report(self, completion: Completion, session: ChatSession) -> None:
        """Print what comes after the reply."""
        self._progress.clear()
        usage, loaded = completion.usage, session.environment.host.loaded
        if self._request.as_json:
            answer = {
                "reply": completion.text,
                "finish_reason": completion.finish_reason,
                "conversation_id": None if self._request.no_save else session.conversation_id,
                "model": loaded.model if loaded else "",
                "usage": asdict(usage),
                "sources": [asdict(each) for each in self._passages],
            }
            click.echo(json.dumps(answer, ensure_ascii=False))
        else:
            click.echo()
            self._report_sources()
        if self._request.stats:
            click.echo(
                f"{usage.prompt_tokens:,} prompt tokens ({usage.cached_tokens:,} cached), "
                f"{usage.completion_tokens:,} reply tokens, first after {usage.time_to_first_token:.2f} s, "
                f"{usage.tokens_per_second:.1f} tokens/s, {completion.finish_reason}",
                err=True,
            )

    @property
    def _passages(self) -> tuple[Passage, ...]:
        """The passages that the model was given with the message."""
        return self._given.turn.turn.passages if self._given is not None else ()

    def _report_sources(self) -> None:
        """List the sources, numbered as the model was given them."""
        from mistral_chat.text import one_line

        for number, each in enumerate(self._passages, 1):
            click.echo(f"[{number}] {one_line(each.source)}", err=True)
        if self._given is not None and self._given.whole:
            click.echo("Passages cannot answer a question about a whole document. Ask about a part of it.", err=True)
        elif self._given is not None and self._given.nothing_found:
            click.echo("Nothing found in your documents.", err=True)
