"""How long a full context takes to encode: afresh, and when only the last turn is new.

    python tests/benchmarks/encoding_speed.py

Prints milliseconds for 1,000 tokens, the median of several rounds. The limit is 2 ms for a context that the format has seen
before except for its last turn, as on every turn of a chat; the exit code is 1 where it is exceeded. "afresh" is the first prompt
of a reopened conversation.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.chat_templates import FAMILIES
from support.gguf_factory import CHATML, gguf_file

from mistral_chat.engine.encoding.choose import choose_format
from mistral_chat.engine.llama.model import open_vocabulary
from mistral_chat.generation import PromptTurn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.engine.encoding.format import PromptFormat
    from mistral_chat.engine.llama.vocabulary import Vocabulary

WINDOW = 4096
ROUNDS = 15
LETTERS = "etaoinshrdlu"
LIMIT = 2.0
"""Milliseconds for 1,000 tokens of a window of which only the last turn is new."""


def words(rng: Random, count: int) -> str:
    """Words of three to eight common letters."""
    return " ".join("".join(rng.choices(LETTERS, k=rng.randint(3, 8))) for _ in range(count))


def history(rng: Random, chosen: PromptFormat) -> list[PromptTurn]:
    """Turns that fill the window, the last one open."""
    turns: list[PromptTurn] = []
    while len(chosen.encode("You are helpful.", turns).tokens) < WINDOW - 300:
        turns.append(PromptTurn(key=str(len(turns)), user=words(rng, 20), reply=words(rng, 60)))
    return [*turns, PromptTurn(key="last", user=words(rng, 30))]


def milliseconds(chosen: PromptFormat, turns: Sequence[PromptTurn]) -> float:
    """What 1,000 tokens of one call take."""
    started = time.perf_counter()
    tokens = len(chosen.encode("You are helpful.", turns).tokens)
    return (time.perf_counter() - started) * 1e6 / tokens


def measure(name: str, vocabulary: Vocabulary, template: str | None) -> bool:
    """Write one line for a format, and say whether it keeps the promise."""
    rng = Random(1)
    turns = history(rng, choose_format(vocabulary, template, "", None))
    afresh, known = [], []
    for _ in range(ROUNDS):
        chosen = choose_format(vocabulary, template, "", None)
        chosen.encode("", [PromptTurn(key="a", user="Hello")])
        afresh.append(milliseconds(chosen, turns))
        turns[-1] = PromptTurn(key="last", user=words(rng, 30))
        known.append(milliseconds(chosen, turns))
    shown = f"{name:22} afresh {median(afresh):5.2f} ms   last turn new {median(known):5.2f} ms   for 1,000 tokens\n"
    sys.stdout.write(shown)
    return median(known) < LIMIT


def main() -> int:
    """Measure every kind of format."""
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        for variant in ("v1", "v3", "v7", "tekken"):
            with open_vocabulary(gguf_file(Path(folder), variant)) as vocabulary:
                kept.append(measure(f"mistral {variant}", vocabulary, vocabulary.template))
        with open_vocabulary(gguf_file(Path(folder), "chatml")) as vocabulary:
            kept.append(measure("template, ChatML", vocabulary, CHATML))
            kept.append(measure("template, Qwen 3", vocabulary, FAMILIES["qwen-3"][0]))
            kept.append(measure("template, plain text", vocabulary, FAMILIES["vicuna"][0]))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
