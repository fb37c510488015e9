"""What the screen costs, measured on the real program in a terminal: `python tests/benchmarks/screen_speed.py [--parts …]`.

Prints one table and exits with 1 when a figure is over its limit; `--help` names the parts that can be measured alone. Seconds of
the processor are the robust figures; times depend on what else the machine does, so its load is printed too. Linux only: the
figures come from /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.paced_program import END, ENDED, SPEED, answer
from support.timed_terminal import LOAD, TimedTerminal

from mistral_chat.cli.wiring import utc_now
from mistral_chat.conversation import Turn
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore

PACED = "from support.paced_program import run\nrun()\n"
REAL = "import sys\nfrom mistral_chat.cli.main import cli\ncli.main(sys.argv[1:], prog_name='mistral-chat')\n"
SHORT, THOUSAND, LONG = 10, 1_000, 10_000
"""Turns of the conversations."""
RATE = 50
"""Tokens in a second."""
LOADING = 120.0
"""Seconds that a model may take to load."""
ECHOES = 40
"""Keys in a row, before the draft is cleared."""


@dataclass
class Table:
    """The figures, printed as they come."""

    missed: list[str] = field(default_factory=list)

    def line(self, name: str, value: float, unit: str, *, most: float | None = None, least: float | None = None) -> None:
        """Print one figure with its limit."""
        limit = f"at most {most:g}" if most is not None else f"at least {least:g}" if least is not None else ""
        good = (most is None or value <= most) and (least is None or value >= least)
        if not good:
            self.missed.append(name)
        sys.stdout.write(f"{name:58}{value:10.3f} {unit:8}{limit:16}{'' if good else 'NO'}\n")
        sys.stdout.flush()


@contextlib.contextmanager
def terminal(
    folder: Path, code: str = PACED, *arguments: str, rate: float = RATE, model: str = "demo"
) -> Iterator[TimedTerminal]:
    """Someone in front of the program, once its model is ready."""
    environ = {
        "MISTRAL_CHAT_DATA_DIR": str(folder),
        "MISTRAL_CHAT_CONFIG": str(folder / "config.yaml"),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
        SPEED: str(rate),
        ENDED: str(folder / "ended"),
    }
    seated = TimedTerminal(code, ["-m", model, *arguments], environ)
    try:
        seated.wait_for("/4k", LOADING)
        yield seated
    finally:
        seated.close()


def tree(turns: int) -> ExportedConversation:
    """A conversation of `turns` turns, each with prose, a list and code."""
    began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=turns % 7)
    said = [
        TreeTurn(
            key=f"t{turns}-{number}",
            parent=f"t{turns}-{number - 1}" if number else None,
            created=began + timedelta(seconds=number),
            turn=Turn(user=f"Question {number}.", reply=answer("110").replace(END, f"End{number}"), finish_reason="stop"),
        )
        for number in range(turns)
    ]
    return ExportedConversation(
        key=f"c{turns}",
        title=f"Of {turns} turns",
        created=began,
        updated=began,
        turns=tuple(said),
        current=said[-1].key,
    )


def fill(folder: Path) -> dict[int, str]:
    """Write the conversations; their ids by their length."""
    folder.mkdir(exist_ok=True)
    store = ConversationStore(open_database(folder / "conversations.db"), now=utc_now)
    store.import_conversations(tree(turns) for turns in (SHORT, THOUSAND, LONG))
    ids = {int(one.title.split()[1]): one.conversation_id for one in store.summaries()}
    store.close()
    return ids


def measure_reply(table: Table, folder: Path, tokens: int) -> None:
    """Stream one long reply during typing, and one without it."""
    with terminal(folder) as quiet:
        table.line("idle memory, without a model", quiet.memory() / 1e6, "MB", most=90)
        before = quiet.processor()
        quiet.ask(f"{tokens} tokens")
        shown = quiet.shown_end(tokens / RATE * 3 + 30)
        ended, written = map(float, (folder / "ended").read_text(encoding="ascii").split())
        table.line(f"reply of {written:.0f} tokens at {RATE} a second: processor", quiet.processor() - before, "s", most=8)
        table.line("  screen behind the engine at the end", shown - ended, "s")
        table.line("  memory afterwards", quiet.memory() / 1e6, "MB")
    with terminal(folder) as typing:
        idle = typing.echoes(ECHOES)
        typing.ask(f"{tokens} tokens")
        waits: list[float] = []
        while not typing.ended:
            waits += typing.echoes(ECHOES, gap=0.1)
        table.line("  key to echo while it streams: median", statistics.median(waits) * 1e3, "ms", most=20)
        table.line(f"  key to echo while it streams: p99 of {len(waits)}", _p99(waits) * 1e3, "ms", most=50)
        table.line("  key to echo while nothing streams: median", statistics.median(idle) * 1e3, "ms")


def measure_opening(table: Table, folder: Path, ids: dict[int, str]) -> None:
    """Open conversations from the list, which holds them in the order of their last use."""
    order = sorted(ids, key=lambda turns: turns % 7, reverse=True)
    with terminal(folder) as person:
        for turns in (SHORT, THOUSAND, LONG):
            times = []
            for _ in range(5):
                person.press(b"\x0e")
                person.wait_for("New conversation")
                person.press(b"\x0f")
                person.settle()
                person.press(b"\x1b[H" + b"\x1b[B" * order.index(turns))
                person.settle()
                times.append(person.time_to(b"\r", f"End{turns - 1}"))
            limit = 0.5 if turns == THOUSAND else None
            table.line(f"opening {turns:,} turns, to the first paint: median", statistics.median(times), "s", most=limit)


def measure_frames(table: Table, folder: Path, ids: dict[int, str]) -> None:
    """Scroll, resize and stream in a short and a long conversation, in turns, so that a busy machine slows both."""
    frames: dict[str, dict[int, list[float]]] = {}
    with terminal(folder, PACED, "--chat", ids[SHORT]) as short, terminal(folder, PACED, "--chat", ids[LONG]) as long:
        people = {SHORT: short, LONG: long}
        for _ in range(3):
            for turns, person in people.items():
                for name, times in person.frames().items():
                    frames.setdefault(name, {}).setdefault(turns, []).extend(times)
    for name, by_length in frames.items():
        few, many = statistics.median(by_length[SHORT]), statistics.median(by_length[LONG])
        unit = "ms/s" if name == LOAD else "ms"
        table.line(f"{name}: {SHORT} turns, median", few * 1e3, unit)
        table.line(f"{name}: {LONG:,} turns, median", many * 1e3, unit)
        table.line(f"{name}: ratio", many / few, "", most=1.5)


def measure_decode(table: Table, folder: Path, model: str, written: int, rounds: int = 3) -> None:
    """Let `model` write the same reply of `written` tokens with the screen and without it, in turns."""
    asked = "Tell me a long story about a lighthouse and its keeper."
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(f"sampling: {{seed: 1, max_tokens: {written}}}\n", encoding="utf-8")
    environ = {**os.environ, "MISTRAL_CHAT_DATA_DIR": str(folder), "MISTRAL_CHAT_CONFIG": str(folder / "config.yaml")}
    bare, shown = [], []
    for _ in range(rounds):
        line = [sys.executable, "-m", "mistral_chat", "ask", "-m", model, "--json", asked]
        done = subprocess.run(line, env=environ, check=True, capture_output=True, text=True)
        bare.append(json.loads(done.stdout)["usage"]["tokens_per_second"])
        with terminal(folder, REAL, model=model) as person:
            person.ask(asked)
            person.wait_for("writing", LOADING)
            person.wait_for("Shift+Tab", 600)  # selects a message, which the status bar offers after a reply
        store = ConversationStore(open_database(folder / "conversations.db"), now=utc_now)
        usage = store.turns(store.latest() or "")[-1].turn.usage
        store.close()
        shown.append(usage.tokens_per_second if usage else 0.0)
    headless, screen = statistics.median(bare), statistics.median(shown)
    table.line("decoding without a screen: median", headless, "tok/s")
    table.line("decoding with the screen: median", screen, "tok/s")
    table.line("decoding: ratio", screen / headless, "", least=0.97)


PARTS = {
    "reply": "a long reply's cost, the memory, and how soon a key is echoed",
    "opening": "how soon conversations of three lengths are open",
    "frames": "scrolling, resizing and streaming in a short and in a long conversation",
    "decode": "a real model's speed with the screen and without it",
}


def main(arguments: list[str]) -> int:
    """Measure what is asked for, and give 1 when a figure is over its limit."""
    parts = "\n".join(f"  {name:9}{what}" for name, what in PARTS.items())
    parser = argparse.ArgumentParser(
        description="Measures what the screen costs.",
        epilog=f"parts, all of them by default:\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="what to measure")
    parser.add_argument("--tokens", type=int, default=2_000, help="how long the long reply is (2000)")
    parser.add_argument("--model", default="demo", help="whose speed is measured, as mistral-chat takes it (demo)")
    parser.add_argument("--written", type=int, default=300, help="how many tokens that model writes (300)")
    asked = parser.parse_args(arguments)
    sys.stdout.write(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.2f} at the beginning\n")
    table = Table()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "reply" in asked.parts:
            measure_reply(table, folder / "reply", asked.tokens)
        ids = fill(folder / "long") if {"opening", "frames"}.intersection(asked.parts) else {}
        if "opening" in asked.parts:
            measure_opening(table, folder / "long", ids)
        if "frames" in asked.parts:
            measure_frames(table, folder / "long", ids)
        if "decode" in asked.parts:
            measure_decode(table, folder / "decode", asked.model, asked.written)
    sys.stdout.write(f"load {os.getloadavg()[0]:.2f} at the end\n")
    sys.stdout.write(f"over the limit: {', '.join(name.strip() for name in table.missed) or 'nothing'}\n")
    return 1 if table.missed else 0


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
