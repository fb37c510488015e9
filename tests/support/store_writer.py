"""Writes turns as a chat does and indexes documents, and prints what was saved, until it is killed.

With `pause` it stops in the middle of a reply, behind which a message waits.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mistral_chat.cli.wiring import utc_now
from mistral_chat.conversation import DocumentPassage
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore


def tell(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main() -> None:
    store = ConversationStore(open_database(Path(sys.argv[1])), now=utc_now)
    store.recover()
    parent: str | None = None
    conversation = store.create()
    place = 0
    pause = "pause" in sys.argv
    store.documents.create_collection("notes")
    while True:
        place += 1
        if place % 5 == 0:
            doomed = store.create(title="doomed")
            store.add_turn(doomed, "gone", parent_id=None)
            store.delete(doomed)
            conversation, parent = store.create(), None
        turn = store.add_turn(conversation, f"question {place}", parent_id=parent)
        if pause:
            store.save_queued("waiting", conversation, "Sent behind the reply")
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
        index_document(store, place)


def index_document(store: ConversationStore, place: int) -> None:
    """Index one of seven documents, and another one that is deleted."""
    documents = store.documents
    texts = [f"passage {number} of version {place}" for number in range(4)]
    pieces = [DocumentPassage(text=text, headings=(), page=None, first_line=1, last_line=1, tokens=5) for text in texts]
    document = documents.add_document("notes", f"/{place % 7}.txt", kind="text", size=1, mtime=place)
    documents.set_passages(document, pieces, file_hash="0")
    tell("indexed", document)
    documents.add_vectors(document, "small", b"12345678", texts, first=0, dimensions=1)
    if place % 3 == 0:
        doomed = documents.add_document("notes", "/doomed.txt", kind="text", size=1, mtime=place)
        documents.set_passages(doomed, pieces, file_hash="0")
        documents.delete_documents(doomed)


if __name__ == "__main__":
    main()
