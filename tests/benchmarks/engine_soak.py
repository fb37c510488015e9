"""Chats for 500 turns in one process: `python tests/benchmarks/engine_soak.py [MODEL] [--turns N]`.

After every step the ledger is compared with the cache, and after every turn with the exact encoding of the turns that it names.
At the end come the memory's growth after the first 50 turns and the slowest first tokens. Exits with 1 when a limit is broken.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.benchmarks import PROSE, SYSTEM, demo, processor, say
from support.llama_engines import Talk, make_engine, set_checked_contents

from mistral_chat.engine.encoding.format import Encoding
from mistral_chat.engine.ledger import Ledger
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.generation import PromptTurn
from mistral_chat.sampling import Sampling

SETTLED = 50
"""Turns after which memory may not grow any more."""

GROWTH = 0.05
SLOWEST = 3.0


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def question(number: int) -> str:
    """Questions of two lengths; one in ten is long."""
    rng = random.Random(number)
    words = PROSE.split()
    length = 90 if number % 10 == 9 else 14
    start = rng.randrange(len(words) - length)
    return f"Question {number:03}: what of this? " + " ".join(words[start : start + length])


def check(engine: RollingEngine, talk: Talk) -> None:
    drawn = {key: tokens for key, (_, tokens) in engine._prompts.sampled.items()}
    turns = [*talk.kept(), PromptTurn(key="next", user=".")]
    whole = engine._format.encode(SYSTEM, turns, sampled=drawn)
    if engine.contents != Encoding(whole.head, whole.turns[:-1]):
        raise SystemExit(f"turn {len(talk.turns)}: the ledger holds something else than the kept turns")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--turns", type=int, default=500)
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--reply", type=int, default=12, help="tokens of a reply")
    arguments = parser.parse_args()
    Ledger.set_contents = set_checked_contents  # type: ignore[assignment, method-assign]  # the ledger as it is, with a check
    engine = make_engine(arguments.model or demo(), size=arguments.window)
    talk = Talk(engine, system=SYSTEM, sampling=Sampling(temperature=0.8, seed=3, max_tokens=arguments.reply))
    say("processor, cores, load", f"{processor()}, {os.cpu_count()}, {os.getloadavg()[0]:.1f}")
    times: list[float] = []
    memory: list[int] = []
    for number in range(arguments.turns):
        times.append(talk.say(question(number)).usage.time_to_first_token)
        memory.append(resident())
        check(engine, talk)
        if number % 50 == 49:
            say(
                f"turn {number + 1}: memory, turns that left",
                f"{memory[-1] / 1e6:.1f} MB, {sum(len(s.turns) for s in talk.shifts)}",
            )
    engine.close()
    settled = max(memory[: min(SETTLED, len(memory))])
    growth = memory[-1] / settled - 1
    say(f"memory after {SETTLED} turns, at the end", f"{settled / 1e6:.1f} MB, {memory[-1] / 1e6:.1f} MB: {growth:+.1%}")
    failed = growth > GROWTH
    for name in ("short", "long"):
        like = [time for place, time in enumerate(times, 1) if place > 1 and (place % 10 == 0) == (name == "long")]
        if not like:
            continue
        ratio = max(like) / statistics.median(like)
        over = sum(time > SLOWEST * statistics.median(like) for time in like)
        say(
            f"first token, {name} messages: median, slowest",
            f"{statistics.median(like):.3f} s, {max(like):.3f} s: x {ratio:.1f}; {over} over x {SLOWEST:g}",
        )
        failed |= bool(over)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
