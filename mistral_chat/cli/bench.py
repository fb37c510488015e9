"""`mistral-chat bench`: measures a model on this machine over a multi-turn conversation."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistral_chat.cli import options
from mistral_chat.cli.terminal import Progress
from mistral_chat.cli.tune import describe_costs
from mistral_chat.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.cli.benchmark import BenchmarkRun, TurnMeasure
    from mistral_chat.cli.wiring import Program
    from mistral_chat.engine.snapshots import SnapshotFolder
    from mistral_chat.session.events import ModelEvent

AFTER = 4
"""Turns measured after the first turn that left the context."""

MOST = 60

SHORT_REPLY = 32
"""The maximum reply length in tokens if neither messages nor ``--max-tokens`` are given."""

COLUMNS = ("turn", "prompt", "cached", "prompt eval", "dropped turns", "dropped tokens", "first token", "tokens/s", "context")


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
@click.pass_context
def bench(ctx: click.Context, /, file: Path | None, *, prompt_format: str | None, as_json: bool, **_settings: Any) -> None:
    """Benchmark a multi-turn conversation on this machine, turn by turn. Nothing is saved.

    Without FILE, messages of equal length are sent until the context has rolled for some turns: the first token should then
    take as long as before.
    """
    from mistral_chat.cli.logs import start_log

    overrides = options.setting_overrides(ctx)
    program: Program = ctx.obj.with_options(overrides)
    conversation = _read_conversation(file) if file else None
    start_log(program.paths.log_file)
    _Benching(program, conversation, prompt_format, as_json=as_json, short="sampling.max_tokens" not in overrides).run()


def _read_conversation(file: Path) -> tuple[str | None, list[str]]:
    """Read the system prompt, None without one, and the user messages from a JSON `file`.

    Raises:
        UsageError: it contains something else; the sentence says which message is wrong.
    """
    from mistral_chat.cli.messages import read_messages, source_name
    from mistral_chat.conversation import Role
    from mistral_chat.errors import UsageError

    messages = read_messages(file)
    system = messages.pop(0).content if messages[0].role is Role.SYSTEM else None
    for number, message in enumerate(messages, 1 if system is None else 2):
        if message.role is not Role.USER:
            raise UsageError(
                f"{source_name(file)}: message {number} must have the role user. Only the first may have the role system, "
                "and replies come from the model."
            )
    if not messages:
        raise UsageError(f"{source_name(file)} contains no user message. Add at least one.")
    return system, [message.content for message in messages]


class _Benching:
    """One run of the command."""

    def __init__(
        self,
        program: Program,
        conversation: tuple[str | None, list[str]] | None,
        prompt_format: str | None,
        *,
        as_json: bool,
        short: bool,
    ) -> None:
        self._program = program
        self._conversation = conversation
        self._prompt_format = prompt_format
        self._as_json = as_json
        self._short = short and conversation is None
        self._progress = Progress(sys.stderr)

    def run(self) -> None:
        """Load, play, print."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        from mistral_chat.cli.benchmark import BenchmarkRun, TurnEvents
        from mistral_chat.engine.snapshots import SnapshotFolder
        from mistral_chat.engine.thread import EngineThread
        from mistral_chat.session.headless import open_headless
        from mistral_chat.session.overrides import Overrides

        program, store = self._program, self._program.open_store(saved=False)
        turn = TurnEvents(lambda event: self._progress.show(f"processing {event.done:,} of {event.total:,} tokens"))
        try:
            with tempfile.TemporaryDirectory(prefix="mistral-chat-bench-") as folder:
                reopening = self._conversation is None and not self._as_json
                snapshots = SnapshotFolder(Path(folder) / "kv", budget=2**40) if reopening else None
                load = program.engine_loader(None, prompt_format=self._prompt_format, saved=False, snapshots=snapshots)
                async with open_headless(
                    store,
                    lambda _: EngineThread(load, snapshots=snapshots),
                    settings=program.settings,
                    emit=turn.take,
                    on_model=self._show_loading,
                    started=Overrides(system=self._conversation[0] if self._conversation else None),
                    sampling_options={"max_tokens": SHORT_REPLY} if self._short else None,
                ) as running:
                    await running.load()
                    await self._measure(BenchmarkRun(running, turn), snapshots)
        finally:
            self._progress.clear()
            store.close()

    async def _show_loading(self, event: ModelEvent) -> None:
        from mistral_chat.session.events import ModelLoading

        if isinstance(event, ModelLoading):
            self._progress.show(f"loading the model, {event.share:.0%}")

    async def _measure(self, run: BenchmarkRun, snapshots: SnapshotFolder | None) -> None:
        measures = await self._play(run)
        self._progress.clear()
        if self._as_json:
            click.echo(json.dumps({"turns": [asdict(measure) for measure in measures]}))
            return
        if self._conversation is not None:
            return
        click.echo()
        for line in _summary(measures):
            click.echo(line)
        if snapshots is not None:
            seconds, read = await run.measure_reopening(snapshots.flush)
            speed = _prefill_speed(measures)
            again = f" (processing it again: about {measures[-1].ledger_tokens / speed:.1f} s)" if speed and not read else ""
            click.echo(f"{'reopening from disk':36}{seconds:9.2f} s{again}")

    async def _play(self, run: BenchmarkRun) -> list[TurnMeasure]:
        """Play all messages, and show each turn as it ends unless the output is JSON."""
        from mistral_chat.cli.benchmark import equal_messages

        loaded = await run.engine.wait_ready()
        if (engine := run.engine.loaded) is None:
            raise AssertionError("a model that is ready is loaded")
        if self._conversation is not None:
            turns = run.play(self._conversation[1])
        else:
            messages = equal_messages(engine.count, tokens=max(16, loaded.window // 16))
            turns = run.play_until_rolling(messages, after=AFTER, most=MOST)
        if not self._as_json:
            where = f"{clean(loaded.model)} on {clean(loaded.device)}"
            click.echo(f"{where}, a context of {loaded.window:,} tokens, {loaded.prompt_format}")
            if loaded.batch:
                attention = "on" if loaded.flash_attention else "off"
                weights = "repacked" if loaded.repacked else "as in the file"
                plan = f"batches of {loaded.batch}, {loaded.threads} threads, flash attention {attention}, weights {weights}"
                click.echo(plan + describe_costs(loaded.batch_costs))
            click.echo()
            click.echo("  ".join(COLUMNS))
        measures = []
        async for measure in turns:
            measures.append(measure)
            if not self._as_json:
                self._progress.clear()
                click.echo(_row(len(measures), measure))
        return measures


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
