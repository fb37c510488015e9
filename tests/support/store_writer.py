"""Writes turns as a chat does, and says on standard output what has been kept, until it is killed.

With `pause` it stops in the midst of a reply.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore


def now() -> datetime:
    return datetime.now(UTC)


def tell(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main() -> None:
    store = ConversationStore(open_database(Path(sys.argv[1]), now=now), now=now)
    store.recover()
    parent: str | None = None
    conversation = store.create()
    place = 0
    pause = "pause" in sys.argv
    while True:
        place += 1
        if place % 5 == 0:
            doomed = store.create(title="doomed")
            store.add_turn(doomed, "gone", parent_id=None)
            store.delete(doomed)
            conversation, parent = store.create(), None
        turn = store.add_turn(conversation, f"question {place}", parent_id=parent)
        tell("asked", turn)
        text = ""
        for _ in range(3):
            text += "words and more words " * 20
            store.write_reply(turn, text)
            tell("wrote", turn, len(text))
            if pause:
                sys.stdin.readline()
        store.finish_reply(turn, text, finish_reason="stop")
        tell("finished", turn, len(text))
        parent = turn


if __name__ == "__main__":
    main()
