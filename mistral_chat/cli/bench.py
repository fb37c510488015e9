"""`mistral-chat bench`: what a model does on this machine, measured over a conversation."""

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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.cli.benchmark import BenchmarkRun, TurnMeasure
    from mistral_chat.cli.wiring import Program
    from mistral_chat.engine.snapshots import SnapshotFolder
    from mistral_chat.session.events import ModelEvent

AFTER = 4
"""Turns that are measured after the first that left the window."""

MOST = 60

SHORT_REPLY = 32
"""The longest reply, in tokens, where neither the messages nor ``--max-tokens`` are given."""

COLUMNS = ("turn", "prompt", "cached", "read", "turns left", "tokens left", "first token", "tokens/s", "in the window")


@click.command(short_help="Measure a conversation, turn by turn.")
@click.option(
    "--messages",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="A JSON list of what the person says, texts or objects with role and content; - is standard input.",
)
@options.engine_options
@options.sampling_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with a list of turns.")
@click.pass_context
def bench(ctx: click.Context, /, file: Path | None, *, prompt_format: str | None, as_json: bool, **_typed: Any) -> None:
    """Play a conversation on this machine and measure every turn. Nothing of it is kept.

    Without messages, equally long ones are sent until the window has rolled for some turns: the first token should take as
    long then as before.
    """
    from mistral_chat.cli.logs import start_log

    typed = options.setting_overrides(ctx)
    program: Program = ctx.obj.with_options(typed)
    said = _read_said(file) if file else None
    start_log(program.paths.log_file)
    _Benching(program, said, prompt_format, as_json=as_json, short="sampling.max_tokens" not in typed).run()


def _read_said(file: Path) -> tuple[str | None, list[str]]:
    """The system prompt, None where there is none, and the messages in a JSON `file`.

    Raises:
        UsageError: it holds something else; the sentence says which message is wrong.
    """
    from mistral_chat.errors import UsageError

    try:
        found = json.loads(sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} is no JSON that can be read: {error}") from error
    if not isinstance(found, list):
        raise UsageError(f'{file} must hold a list of messages: ["Hello.", {{"role": "user", "content": "…"}}].')
    system = None
    said = []
    for number, each in enumerate(found, 1):
        given = each if isinstance(each, dict) else {"role": "user", "content": each}
        role, content = given.get("role"), given.get("content")
        if not isinstance(content, str) or role not in {"user", "system"} or (role == "system" and number > 1):
            raise UsageError(
                f"{file}: message {number} is neither a text nor an object with the role user and a content, which is text. "
                "Only the first may have the role system; replies are written by the model."
            )
        if role == "system":
            system = content
        else:
            said.append(content)
    if not said:
        raise UsageError(f"{file} holds no message of the person. Give at least one.")
    return system, said


class _Benching:
    """One run of the command."""

    def __init__(
        self,
        program: Program,
        said: tuple[str | None, list[str]] | None,
        prompt_format: str | None,
        *,
        as_json: bool,
        short: bool,
    ) -> None:
        self._program = program
        self._said = said
        self._prompt_format = prompt_format
        self._as_json = as_json
        self._short = short and said is None
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
                reopening = self._said is None and not self._as_json
                snapshots = SnapshotFolder(Path(folder) / "kv", budget=2**40) if reopening else None
                load = program.engine_loader(None, prompt_format=self._prompt_format, saved=False, snapshots=snapshots)
                async with open_headless(
                    store,
                    lambda _: EngineThread(load, snapshots=snapshots),
                    settings=program.settings,
                    emit=turn.take,
                    on_model=self._show_loading,
                    started=Overrides(system=self._said[0] if self._said else None),
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
        if self._said is not None:
            return
        click.echo()
        for line in _summary(measures):
            click.echo(line)
        if snapshots is not None:
            seconds, read = await run.measure_reopening(snapshots.flush)
            speed = _prefill_speed(measures)
            again = f" (reading it again: about {measures[-1].ledger_tokens / speed:.1f} s)" if speed and not read else ""
            click.echo(f"{'reopening from the disk':36}{seconds:9.2f} s{again}")

    async def _play(self, run: BenchmarkRun) -> list[TurnMeasure]:
        """Play all messages, and show each turn as it ends unless the output is JSON."""
        from mistral_chat.cli.benchmark import equal_messages

        loaded = await run.engine.wait_ready()
        if self._said is not None:
            turns = run.play(self._said[1])
        else:
            messages = equal_messages(run.engine.count, tokens=max(16, loaded.window // 16))
            turns = run.play_until_rolling(messages, after=AFTER, most=MOST)
        if not self._as_json:
            where = f"{_shown(loaded.model)} on {_shown(loaded.device)}"
            click.echo(f"{where}, a context of {loaded.window:,} tokens, {loaded.prompt_format}\n")
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
    """Tokens read in a second, over all turns; 0.0 where no time passed."""
    seconds = sum(turn.time_to_first_token for turn in turns)
    return sum(turn.prefilled_tokens for turn in turns) / seconds if seconds > 0 else 0.0


def _summary(turns: Sequence[TurnMeasure]) -> list[str]:
    """The figures in short. The first turn, which reads the system prompt too, is in none of the medians."""
    first = next((place for place, turn in enumerate(turns) if turn.evicted_turns), len(turns))
    before = [turn.time_to_first_token for turn in turns[1 : first + 1]]
    after = [turn.time_to_first_token for turn in turns[first + 1 :]]
    speeds = [turn.tokens_per_second for turn in turns if turn.tokens_per_second]
    lines = [f"{'reading':36}{_prefill_speed(turns):9.1f} tokens/s"]
    if speeds:
        lines.append(f"{'writing':36}{statistics.median(speeds):9.1f} tokens/s")
    if before:
        lines.append(f"{'first token, before the window rolls':36}{statistics.median(before):9.2f} s")
    if before and after:
        ratio = statistics.median(after) / statistics.median(before)
        lines.append(f"{'first token, after it rolled':36}{statistics.median(after):9.2f} s, {ratio:.2f} times as long")
    return lines


def _shown(text: str) -> str:
    from mistral_chat.text import clean

    return clean(text)
