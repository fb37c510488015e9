"""Times the store at 10,000 conversations and 100,000 messages: `python tests/benchmarks/store_speed.py [FOLDER]`.

Prints one line per measure: the median and the slowest of several runs in milliseconds, and the limit. Exits with 1 when a
median is over its limit. Uses the store in FOLDER, or creates one there.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.make_store import make_store, vocabulary

from mistral_chat.cli.wiring import utc_now
from mistral_chat.conversation import DocumentPassage
from mistral_chat.export.json_file import json_lines
from mistral_chat.store.database import open_database
from mistral_chat.store.retrieval import ExchangeIndex, search_passages
from mistral_chat.store.store import ConversationStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LONG = 10_000
"""Turns of the long conversation."""


def opened(path: Path) -> ConversationStore:
    return ConversationStore(open_database(path), now=utc_now)


class Report:
    """The figures, printed as they come."""

    def __init__(self) -> None:
        self.late = False

    def measure(self, name: str, runs: Iterable[Callable[[], object]], limit: float | None = None) -> None:
        """Run each of `runs` once and print the median and the slowest; `limit` in milliseconds."""
        times = []
        for run in runs:
            began = time.perf_counter()
            run()
            times.append((time.perf_counter() - began) * 1000)
        median = statistics.median(times)
        verdict = "" if limit is None else f"  (at most {limit:g}: {'yes' if median <= limit else 'NO'})"
        self.late |= limit is not None and median > limit
        sys.stdout.write(f"{name:44} {median:9.2f} ms   slowest {max(times):9.2f}{verdict}\n")
        sys.stdout.flush()


def queries() -> dict[str, list[str]]:
    """Searches of several kinds."""
    words = vocabulary()
    chance = random.Random(7)
    return {
        "rare word": chance.sample(words[5_000:], 15),
        "ordinary word": chance.sample(words[300:3_000], 15),
        "common word": words[:10],
        "prefix of three letters": [f"{word[:3]}*" for word in chance.sample(words, 15)],
        "one letter": list("bdklmnr"),
        "two words": [" ".join(chance.sample(words[:2_000], 2)) for _ in range(15)],
        "phrase": [f'"{" ".join(chance.sample(words[:100], 2))}"' for _ in range(15)],
    }


def open_conversation(store: ConversationStore, conversation: str) -> None:
    store.conversation(conversation)
    store.turns_page(conversation)


def long_conversation(store: ConversationStore) -> tuple[str, list[str]]:
    """A conversation of 10,000 turns."""
    conversation = store.create(title="A long one")
    turns: list[str] = []
    with store.database.write():
        for place in range(_LONG):
            turn = store.add_turn(conversation, f"question {place}", parent_id=turns[-1] if turns else None)
            store.finish_reply(turn, f"answer {place} " * 20, finish_reason="stop")
            turns.append(turn)
    return conversation, turns


def measure_documents(path: Path, report: Report) -> None:
    """Index and search 100,000 passages of 150 words."""
    words = vocabulary()
    weights = list(accumulate(1 / (place + 2) for place in range(len(words))))
    chance = random.Random(3)
    store = opened(path.with_name("documents.db"))
    documents = store.documents
    documents.create_collection("all")

    def add(number: int) -> None:
        texts = [" ".join(chance.choices(words, cum_weights=weights, k=150)) for _ in range(50)]
        document = documents.add_document("all", f"/{number}.txt", kind="text", size=1, mtime=1)
        passages = [DocumentPassage(text=each, headings=(), page=None, first_line=1, last_line=1, tokens=200) for each in texts]
        documents.set_passages(document, passages, file_hash="0")

    report.measure("index a document of 50 passages", [partial(add, number) for number in range(2_000)])
    questions = [chance.choices(words, cum_weights=weights, k=6) for _ in range(50)]
    report.measure("search 100,000 passages", [partial(search_passages, store.database, each) for each in questions], 50)
    conversation, _ = long_conversation(store)
    index = ExchangeIndex(store.database, conversation)
    report.measure("index 10,000 exchanges in memory", [lambda: index.search(["question"])], 2_000)
    report.measure("search 10,000 exchanges", [lambda: index.search(["question", "77"])] * 9, 200)
    report.measure("delete a collection of 100,000 passages", [lambda: documents.delete_collection("all")])
    index.close()
    store.close()


def measure(path: Path) -> bool:
    """Print every figure; whether one is over its limit."""
    report = Report()
    report.measure("start: open the database", [lambda: opened(path).close()] * 9, 100)
    start = f"from pathlib import Path; from support.stores import open_store; open_store(Path({str(path)!r}))"
    folder = str(Path(__file__).parents[1])
    report.measure(
        "the same in a new process, Python's start included",
        [lambda: subprocess.run([sys.executable, "-c", start], check=True, cwd=folder)] * 5,
    )
    store = opened(path)
    report.measure("check the whole file (in the background)", [store.database.integrity_check] * 3)
    report.measure("list the first 200", [store.summaries] * 15, 100)
    report.measure("filter the list by title", [partial(store.summaries, contains=word) for word in vocabulary()[100:110]], 100)
    some = [summary.conversation_id for summary in store.summaries(limit=10_000)][::500]
    report.measure("open a conversation", [partial(open_conversation, store, each) for each in some], 100)
    for kind, each in queries().items():
        report.measure(f"search: {kind}", [partial(store.search, query) for query in each], 50)
    report.measure("input history", [lambda: store.input_history(100)] * 9, 50)
    conversation, turns = long_conversation(store)
    report.measure("long conversation: last page", [lambda: store.turns_page(conversation, limit=50)] * 9, 50)
    report.measure(
        "long conversation: page above the middle", [lambda: store.turns_page(conversation, before=turns[5_000])] * 9, 50
    )
    report.measure("long conversation: select the first turn", [lambda: store.switch_branch(turns[0])] * 5, 100)
    report.measure("long conversation: whole path", [lambda: store.turns(conversation)] * 3)
    report.measure("save a question", [lambda: store.add_turn(conversation, "why?", parent_id=turns[-1])] * 30, 20)
    report.measure("save a growing reply", [lambda: store.write_reply(turns[-1], "because " * 100)] * 30, 20)
    report.measure("end a reply", [lambda: store.finish_reply(turns[-1], "because " * 100, finish_reason="stop")] * 30, 20)
    exported = path.with_name("export.json")
    report.measure(
        "export everything as JSON",
        [lambda: exported.write_text("".join(json_lines(store.export_conversations(), exported=utc_now())))],
    )
    report.measure("delete one permanently", [partial(store.delete, each) for each in some[:3]])
    report.measure("delete the long one permanently", [lambda: store.delete(conversation)])
    report.measure("back up", [lambda: store.backup(path.with_name("backup.db"), replace=True)])
    store.close()
    measure_documents(path, report)
    sys.stdout.write(f"{'most memory used':44} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:9.0f} MB\n")
    sys.stdout.write(f"{'conversations in the export':44} {len(json.loads(exported.read_text())['conversations']):9}\n")
    return report.late


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where the store is, or is made")
    chosen = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        path = (chosen or Path(temporary)) / "conversations.db"
        if not path.exists():
            make_store(path)
        sys.exit(measure(path))


if __name__ == "__main__":
    main()
