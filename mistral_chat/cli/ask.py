"""`mistral-chat ask`: one question from the shell, on the same conversations and the same engine as the app."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistral_chat.attachments import compose, read_text
from mistral_chat.cli import options
from mistral_chat.cli.stdin import standard_input, typed_text
from mistral_chat.cli.supervisor import without_core_dumps
from mistral_chat.cli.terminal import Progress, write_reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_chat.chat import Chat
    from mistral_chat.cli.wiring import Program
    from mistral_chat.engine.thread import EngineThread
    from mistral_chat.generation import Completion, Sampling
    from mistral_chat.store.store import ConversationStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for, besides the settings."""

    text: str
    system: str | None
    persona: str
    resume: bool
    chat: str | None
    no_save: bool
    prompt_format: str | None
    as_json: bool
    stats: bool
    typed_model: bool
    typed_sampling: Mapping[str, Any]
    """The sampling that was typed, by field."""


@click.command(short_help="Ask once and print the reply.")
@click.argument("prompt", required=False)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A text file to put before the prompt; repeatable.",
)
@options.engine_options
@options.sampling_options
@options.conversation_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object when the reply is complete.")
@click.option("--stats", is_flag=True, help="Write tokens and speed to standard error at the end.")
@click.pass_context
def ask(ctx: click.Context, /, prompt: str | None, files: tuple[Path, ...], **typed: Any) -> None:
    """Ask PROMPT, and print the reply as it is written.

    Text on standard input is put before PROMPT. A prompt that is an argument can be seen in the list of processes and in the
    shell's history; one on standard input cannot.

    Ctrl+C stops the reply; what was written is kept, and the exit code is 130.
    """
    options.refuse_both(("--continue", typed["resume"]), ("--chat", typed["chat"]))
    options.refuse_both(("--no-save", typed["no_save"]), ("--continue", typed["resume"]))
    options.refuse_both(("--no-save", typed["no_save"]), ("--chat", typed["chat"]))
    text = compose([(path.name, read_text(path)) for path in files], standard_input(), typed_text(prompt or ""))
    if not text.strip():
        raise click.UsageError("There is nothing to ask: give a prompt, a file, or text on standard input.", ctx)
    chosen = options.typed_settings(ctx)
    sampling = {key.removeprefix("sampling."): option.value for key, option in chosen.items() if key.startswith("sampling.")}
    kept = {name: typed[name] for name in ("system", "persona", "resume", "chat", "no_save", "prompt_format", "as_json", "stats")}
    request = Request(text=text, typed_model="model" in chosen, typed_sampling=sampling, **kept)
    sys.exit(_answer(ctx.obj.with_options(chosen), request))


def _answer(program: Program, request: Request) -> int:
    """Ask, print, and return the exit code."""
    from mistral_chat.cli.logs import start_log

    without_core_dumps()
    start_log(None if request.no_save else program.paths.log_file)
    store = program.open_store(saved=not request.no_save)
    try:
        conversation_id = _conversation(store, request)
        model = _model(program, store, conversation_id, request)
        runner = program.runner(model, prompt_format=request.prompt_format, saved=not request.no_save)
        try:
            return asyncio.run(_Asking(program, store, runner, request, conversation_id).run())
        finally:
            runner.close()
    finally:
        if not request.no_save:
            program.tidy(store)
        store.close()


def _conversation(store: ConversationStore, request: Request) -> str | None:
    """The conversation to go on with; None begins one.

    Raises:
        ConversationNotFound: there is none with this id.
    """
    if request.chat:
        return store.resolve(request.chat)
    return store.latest() if request.resume else None


def _model(program: Program, store: ConversationStore, conversation_id: str | None, request: Request) -> str | None:
    """What is asked: the model that was typed, or the conversation's where it is still here, or the settings'."""
    from mistral_chat.errors import ModelError

    held_with = store.conversation(conversation_id).summary.model if conversation_id and not request.typed_model else ""
    if not held_with:
        return None
    try:
        program.library().find(held_with)
    except ModelError:
        return None
    return held_with


class _Asking:
    """One question on its way: loading, reading, writing, and the ways to stop."""

    def __init__(
        self, program: Program, store: ConversationStore, runner: EngineThread, request: Request, conversation_id: str | None
    ) -> None:
        from mistral_chat.chat import Chat

        self._program = program
        self._request = request
        self._runner = runner
        self._progress = Progress(sys.stderr)
        self._signal: int | None = None
        self._work: asyncio.Task[Completion | None] | None = None
        self._chat: Chat = Chat(
            store=store,
            runner=runner,
            settings=program.settings,
            conversation_id=conversation_id,
            system=request.system,
            sampling_now=_sampling(program, store, conversation_id, request),
            persona=request.persona,
            snapshots=not request.no_save,
        )

    async def run(self) -> int:
        """Ask and print; the exit code is 0, or 128 and the number of the signal that stopped it."""
        self._work = asyncio.create_task(self._ask())
        # asyncio's own handlers lose a signal while a fast engine fills the pipe that they share with it.
        before = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            completion = await self._work
        except asyncio.CancelledError:
            completion = None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._progress.clear()
        if completion is not None:
            self._report(completion)
        return 0 if self._signal is None else 128 + self._signal

    def _interrupt(self, number: int, _frame: object) -> None:
        """Stop the reply; while there is none yet, and the second time, stop everything."""
        again, self._signal = self._signal is not None, number
        if self._runner.busy and not again:
            self._chat.stop()
        elif self._work is not None:
            self._work.get_loop().call_soon_threadsafe(self._work.cancel)

    async def _ask(self) -> Completion | None:
        from mistral_chat.generation import Completion, Delta, Prefill

        await self._load()
        finished = None
        async with aclosing(self._chat.send(self._request.text)) as events:
            async for event in events:
                match event:
                    case Prefill():
                        self._progress.show(f"reading {event.done:,} of {event.total:,} tokens")
                    case Delta(text=text) if not self._request.as_json:
                        self._progress.clear()
                        write_reply(text, sys.stdout)
                    case Completion():
                        finished = event
        return finished

    async def _load(self) -> None:
        """Wait for the model, and say how far it is."""
        ready = asyncio.ensure_future(self._runner.wait_ready())
        try:
            while not (await asyncio.wait({ready}, timeout=0.1))[0]:
                self._progress.show(f"loading the model, {self._runner.progress:.0%}")
        finally:
            ready.cancel()
        ready.result()

    def _report(self, completion: Completion) -> None:
        """Print what comes after the reply."""
        usage, facts = completion.usage, self._runner.facts
        if self._request.as_json:
            saved = None if self._request.no_save else self._chat.conversation_id
            answer = {
                "reply": completion.text,
                "finish_reason": completion.finish_reason,
                "conversation_id": saved,
                "model": facts.model if facts else "",
                "usage": asdict(usage),
            }
            click.echo(json.dumps(answer, ensure_ascii=False))
        else:
            click.echo()
        if self._request.stats:
            click.echo(
                f"{usage.prompt_tokens:,} prompt tokens ({usage.cached_tokens:,} cached), "
                f"{usage.completion_tokens:,} reply tokens, first after {usage.time_to_first_token:.2f} s, "
                f"{usage.tokens_per_second:.1f} tokens/s, {completion.finish_reason}",
                err=True,
            )


def _sampling(program: Program, store: ConversationStore, conversation_id: str | None, request: Request) -> Sampling | None:
    """How this run draws tokens when options for that were typed: they win, and the rest is as it would be.

    Raises:
        UsageError: a value is out of its range.
    """
    if not request.typed_sampling:
        return None
    persona = program.settings.personas.get(request.persona)
    stored = store.conversation(conversation_id).sampling if conversation_id else None
    return replace((persona.sampling if persona else None) or stored or program.settings.sampling, **request.typed_sampling)
