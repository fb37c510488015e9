"""Reads a number from a conversation's title, adds a turn and writes the next number, many times, next to a second process."""

from __future__ import annotations

import sys
from pathlib import Path

from mistral_chat.cli.wiring import utc_now
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore


def main() -> None:
    store = ConversationStore(open_database(Path(sys.argv[1])), now=utc_now)
    conversation, times = sys.argv[2], int(sys.argv[3])
    sys.stdin.readline()
    done = 0
    for _ in range(times):
        with store.database.write():
            title = store.conversation(conversation).summary.title
            number = int(title) if title.isdigit() else 0
            store.rename(conversation, str(number + 1), by="person")
        turn = store.add_turn(conversation, f"turn {number}", parent_id=None)
        store.finish_reply(turn, "done", finish_reason="stop")
        done += 1
    store.close()
    sys.stdout.write(f"{done}\n")


if __name__ == "__main__":
    main()
