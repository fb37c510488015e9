"""Makes a store of any size, with plausible text: `python tests/support/make_store.py FOLDER [CONVERSATIONS] [MESSAGES]`.

The same arguments give the same text. Words follow Zipf's law, as in real language, so that searches meet rare words,
common words and everything between.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_chat.conversation import Turn, Usage
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore

if TYPE_CHECKING:
    from collections.abc import Iterator

_SYLLABLES = [consonant + vowel for consonant in "bdklmnr" for vowel in "aeiou"]
_START = datetime(2025, 1, 1, tzinfo=UTC)


def vocabulary(size: int = 20_000) -> list[str]:
    """`size` different words, the commonest first."""
    chance = random.Random(1)
    words: dict[str, None] = {}
    while len(words) < size:
        length = 1 + min(len(words).bit_length() // 4, 3) + chance.randrange(2)
        words.setdefault("".join(chance.choices(_SYLLABLES, k=length)))
    return list(words)


def trees(conversations: int, messages: int, *, seed: int = 1) -> Iterator[ExportedConversation]:
    """As many conversations, with as many messages between them; one in ten regenerates a reply."""
    chance = random.Random(seed)
    words = vocabulary()
    weights = list(accumulate(1 / rank for rank in range(1, len(words) + 1)))
    turns_left = messages // 2

    def text(low: int, high: int) -> str:
        return " ".join(chance.choices(words, cum_weights=weights, k=chance.randint(low, high)))

    for place in range(conversations):
        began = _START + timedelta(minutes=place)
        share = turns_left // (conversations - place)
        turns_left -= share
        turns: list[TreeTurn] = []
        for step in range(share):
            parent = turns[-1].key if turns else None
            usage = Usage(
                prompt_tokens=100, cached_tokens=50, completion_tokens=80, time_to_first_token=0.3, tokens_per_second=20.5
            )
            turns.append(
                TreeTurn(
                    key=f"{chance.getrandbits(64):016x}",
                    parent=turns[-1].parent if parent and chance.random() < 0.02 else parent,
                    created=began + timedelta(seconds=step),
                    turn=Turn(user=text(5, 40), reply=text(20, 150), finish_reason="stop", model="made-up", usage=usage),
                )
            )
        yield ExportedConversation(
            key=f"{chance.getrandbits(64):016x}",
            title=text(3, 7),
            title_by=chance.choice(("model", "person", "first_line")),
            created=began,
            updated=began + timedelta(seconds=share),
            pinned=chance.random() < 0.001,
            tags=("work",) if chance.random() < 0.1 else (),
            turns=tuple(turns),
            current=turns[-1].key if turns else None,
        )


def make_store(path: Path, conversations: int = 10_000, messages: int = 100_000) -> None:
    """Write the database at `path`."""
    store = ConversationStore(open_database(path), now=lambda: datetime.now(UTC))
    store.import_conversations(trees(conversations, messages))
    store.close()


def main() -> None:
    folder = Path(sys.argv[1])
    sizes = [int(argument) for argument in sys.argv[2:4]]
    began = time.perf_counter()
    path = folder / "conversations.db"
    make_store(path, *sizes)
    sys.stdout.write(f"{path}: {path.stat().st_size / 1e6:.0f} MB in {time.perf_counter() - began:.1f} s\n")


if __name__ == "__main__":
    main()
