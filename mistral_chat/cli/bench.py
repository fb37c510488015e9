"""`mistral-chat bench`: measures a model on this machine over a multi-turn conversation."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mistral_chat.cli import options
from mistral_chat.cli.logs import start_log
from mistral_chat.cli.printing import print_json
from mistral_chat.cli.stdin import read_messages, source_name
from mistral_chat.cli.terminal import Progress
from mistral_chat.cli.tune import describe_costs
from mistral_chat.conversation import Role
from mistral_chat.errors import MistralChatError, UsageError
from mistral_chat.generation import History, PromptTurn
from mistral_chat.session.events import (
    ContextShifted,
    ModelEvent,
    ModelLoading,
    PrefillProgress,
    ReplyFailed,
    ReplyFinished,
    SessionEvent,
)
from mistral_chat.text import clean

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program
    from mistral_chat.conversation import Usage
    from mistral_chat.engine.snapshots import SnapshotFolder
    from mistral_chat.engine.thread import EngineThread
    from mistral_chat.generation import LoadedModel
    from mistral_chat.session.headless import HeadlessSession

AFTER = 4
"""Turns measured after the first turn that left the context."""

MOST = 60

SHORT_REPLY = 32
"""The maximum reply length in tokens if neither messages nor ``--max-tokens`` are given."""

COLUMNS = ("turn", "prompt", "cached", "prompt eval", "dropped turns", "dropped tokens", "first token", "tokens/s", "context")

_TOPIC = "The river was high, the bridge was closed, and the carts waited on the road until the evening came. "


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMeasure:
    """The figures of one turn; its fields are the keys of ``bench --json``."""

    prompt_tokens: int
    """Tokens of the prompt."""
    cached_tokens: int
    """Prompt tokens that were already in the KV cache."""
    prefilled_tokens: int
    """Prompt tokens that were decoded."""
    evicted_turns: int
    """Turns that were evicted during this turn and at its end."""
    evicted_tokens: int
    """Tokens of those turns."""
    time_to_first_token: float
    """Seconds from the request to the first token."""
    tokens_per_second: float
    """Decode speed of the reply."""
    ledger_tokens: int
    """Tokens in the KV cache at the end of the turn."""
    window: int
    """The size of the context window."""


@click.command(short_help="Benchmark a multi-turn conversation.")
@click.option(
    "--messages",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="JSON file with a list of user messages, as strings or as objects with role and content; - is standard input.",
)
@options.engine_options
@options.sampling_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with a list of turns.")
@click.pass_obj
def bench(program: Program, /, file: Path | None, *, prompt_format: str | None, as_json: bool) -> None:
    """Benchmark a multi-turn conversation on this machine, turn by turn. Nothing is saved.

    Without FILE, messages of equal length are sent until the context has rolled for some turns: the first token should then
    take as long as before.
    """
    system, messages = _read_conversation(file) if file else (None, None)
    start_log(program.paths.log_file)
    asyncio.run(_Benching(program, messages, as_json=as_json).run(system, prompt_format))


def _read_conversation(file: Path) -> tuple[str | None, list[str]]:
    """Read the system prompt, None without one, and the user messages from a JSON `file`.

    Raises:
        UsageError: it contains something else; the sentence says which message is wrong.
    """
    messages = read_messages(file)
    system = messages.pop(0).content if messages[0].role is Role.SYSTEM else None
    for number, message in enumerate(messages, 1 if system is None else 2):
        if message.role is not Role.USER:
            raise UsageError(
                f"{source_name(file)}: message {number} must have the role user. Only the first may have the role system, "
                "and replies come from the model."
            )
        if not message.content.strip():
            raise UsageError(f"{source_name(file)}: message {number} is empty.")
    if not messages:
        raise UsageError(f"{source_name(file)} contains no user message. Add at least one.")
    return system, [message.content for message in messages]


class _Benching:
    """One run of the command: a conversation, measured turn by turn."""

    def __init__(self, program: Program, messages: list[str] | None, *, as_json: bool) -> None:
        """Send `messages`; without any, until the context rolls."""
        self._program = program
        self._messages = messages
        self._as_json = as_json
        self._progress = Progress(sys.stderr)
        # What the session reported during this turn.
        self._shifts: list[ContextShifted] = []
        self._usage: Usage | None = None
        self._error: MistralChatError | None = None

    async def run(self, system: str | None, prompt_format: str | None) -> None:
        """Load, play, print."""
        from mistral_chat.engine.snapshots import SnapshotFolder
        from mistral_chat.engine.thread import EngineThread
        from mistral_chat.session.headless import open_headless
        from mistral_chat.session.overrides import Overrides

        program, store = self._program, self._program.open_store(saved=False)
        short = self._messages is None and "sampling.max_tokens" not in program.options
        try:
            with tempfile.TemporaryDirectory(prefix="mistral-chat-bench-") as folder:
                reopening = self._messages is None and not self._as_json
                snapshots = SnapshotFolder(Path(folder) / "kv", budget=2**40) if reopening else None
                load = program.engine_loader(None, prompt_format=prompt_format, saved=False, snapshots=snapshots)
                async with open_headless(
                    store,
                    lambda _: EngineThread(load, snapshots=snapshots),
                    settings=program.settings,
                    emit=self._take,
                    on_model=self._show_loading,
                    started=Overrides(system=system),
                    sampling_options={"max_tokens": SHORT_REPLY} if short else None,
                ) as running:
                    await running.load()
                    await self._measure(running, snapshots)
        finally:
            self._progress.clear()
            store.close()

    async def _show_loading(self, event: ModelEvent) -> None:
        if isinstance(event, ModelLoading):
            self._progress.show(f"loading the model, {event.share:.0%}")

    async def _take(self, event: SessionEvent) -> None:
        match event:
            case PrefillProgress():
                self._progress.show(f"processing {event.done:,} of {event.total:,} tokens")
            case ContextShifted():
                self._shifts.append(event)
            case ReplyFinished(completion=completion):
                self._usage = completion.usage if completion is not None else None
            case ReplyFailed(error=error):
                self._error = error

    async def _measure(self, running: HeadlessSession, snapshots: SnapshotFolder | None) -> None:
        if (engine := running.host.engine) is None:
            raise AssertionError("a benchmark needs a model")
        measures = await self._play(running, engine)
        self._progress.clear()
        if self._as_json:
            print_json({"turns": measures})
        elif self._messages is None:
            click.echo()
            for line in _summary(measures):
                click.echo(line)
            if snapshots is not None:
                seconds, read = await _reopen(running, engine, snapshots)
                speed = _prefill_speed(measures)
                again = f" (prefilling it again: about {measures[-1].ledger_tokens / speed:.1f} s)" if speed and not read else ""
                click.echo(f"{'reopening from disk':36}{seconds:9.2f} s{again}")

    async def _play(self, running: HeadlessSession, engine: EngineThread) -> list[TurnMeasure]:
        """Send all messages, and show each turn as it ends unless the output is JSON."""
        facts = await engine.wait_ready()
        if (loaded := engine.loaded) is None:
            raise AssertionError("a model that is ready is loaded")
        if not self._as_json:
            for line in _heading(facts):
                click.echo(line)
        measures: list[TurnMeasure] = []
        for message in self._messages or equal_messages(loaded.count, tokens=max(16, facts.window // 16)):
            measures.append(await self._turn(running, message))
            if not self._as_json:
                self._progress.clear()
                click.echo(_row(len(measures), measures[-1]))
            rolled = any(measure.evicted_turns for measure in measures[:-AFTER])
            if self._messages is None and (rolled or len(measures) == MOST):
                break
        return measures

    async def _turn(self, running: HeadlessSession, message: str) -> TurnMeasure:
        """Send `message` and return the figures of its turn.

        Raises:
            MistralChatError: it does not fit, or llama.cpp failed.
        """
        from mistral_chat.session.reply import NewMessage

        self._shifts.clear()
        self._usage = self._error = None
        await running.answer(NewMessage(message))
        if self._error is not None:
            raise self._error
        usage, state = self._usage, running.host.context
        if usage is None or state is None:
            raise AssertionError("the engine ended without a completion")
        return TurnMeasure(
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            prefilled_tokens=usage.prompt_tokens - usage.cached_tokens,
            evicted_turns=sum(len(shift.turns) for shift in self._shifts),
            evicted_tokens=sum(shift.tokens for shift in self._shifts),
            time_to_first_token=usage.time_to_first_token,
            tokens_per_second=usage.tokens_per_second,
            ledger_tokens=state.used,
            window=state.window,
        )


async def _reopen(running: HeadlessSession, engine: EngineThread, snapshots: SnapshotFolder) -> tuple[float, int]:
    """Switch to another conversation and back; return the seconds that took, and the tokens prefilled again."""
    await engine.run_idle_tasks()
    await _prefill(engine, History(turns=(PromptTurn(key="other", user="Hello.", reply="Hello."),)))
    snapshots.flush()
    began = time.perf_counter()
    tokens = await _prefill(engine, running.session.conversation.history())
    return time.perf_counter() - began, tokens


async def _prefill(engine: EngineThread, history: History) -> int:
    async with aclosing(engine.prefill(history)) as progress:
        return max([event.total async for event in progress], default=0)


def equal_messages(count: Callable[[str], int], *, tokens: int) -> Iterator[str]:
    """Yield messages without end, each of about `tokens` tokens and different from the last."""
    for number in itertools.count(1):
        text = f"Part {number}. "
        while count(text) < tokens:
            text += _TOPIC
        yield text


def _heading(facts: LoadedModel) -> Iterator[str]:
    yield f"{clean(facts.model)} on {clean(facts.device)}, a context of {facts.window:,} tokens, {facts.prompt_format}"
    if facts.batch:
        attention = "on" if facts.flash_attention else "off"
        weights = "repacked" if facts.repacked else "as in the file"
        plan = f"batches of {facts.batch}, {facts.threads} threads, flash attention {attention}, weights {weights}"
        yield plan + describe_costs(facts.batch_costs)
    yield ""
    yield "  ".join(COLUMNS)


def _row(number: int, turn: TurnMeasure) -> str:
    cells = (
        f"{number}",
        f"{turn.prompt_tokens:,}",
        f"{turn.cached_tokens:,}",
        f"{turn.prefilled_tokens:,}",
        f"{turn.evicted_turns}",
        f"{turn.evicted_tokens:,}",
        f"{turn.time_to_first_token:.2f} s",
        f"{turn.tokens_per_second:.1f}",
        f"{turn.ledger_tokens:,}",
    )
    return "  ".join(cell.rjust(len(name)) for cell, name in zip(cells, COLUMNS, strict=True))


def _prefill_speed(turns: Sequence[TurnMeasure]) -> float:
    """Prompt tokens processed per second, over all turns; 0.0 if no time passed."""
    seconds = sum(turn.time_to_first_token for turn in turns)
    return sum(turn.prefilled_tokens for turn in turns) / seconds if seconds > 0 else 0.0


def _summary(turns: Sequence[TurnMeasure]) -> list[str]:
    """Summarise the figures. The medians leave out the first turn, which includes the system prompt."""
    first = next((place for place, turn in enumerate(turns) if turn.evicted_turns), len(turns))
    before = [turn.time_to_first_token for turn in turns[1 : first + 1]]
    after = [turn.time_to_first_token for turn in turns[first + 1 :]]
    speeds = [turn.tokens_per_second for turn in turns if turn.tokens_per_second]
    lines = [f"{'prompt evaluation':36}{_prefill_speed(turns):9.1f} tokens/s"]
    if speeds:
        lines.append(f"{'generation':36}{statistics.median(speeds):9.1f} tokens/s")
    if before:
        lines.append(f"{'first token, before the context rolls':36}{statistics.median(before):9.2f} s")
    if before and after:
        ratio = statistics.median(after) / statistics.median(before)
        lines.append(f"{'first token, after it rolled':36}{statistics.median(after):9.2f} s, {ratio:.2f} times as long")
    return lines
