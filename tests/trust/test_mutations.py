"""Damaged or hostile files: each gives an error, and existing data stays."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import TYPE_CHECKING, Any

from support.chat_templates import FAMILIES, HOSTILE
from support.effort import cases, seed
from support.gguf_factory import gguf_file
from support.stores import assert_index_is_true, chat, open_store

from mistral_chat.conversation import Passage
from mistral_chat.engine.encoding.renderer import TemplateRenderer
from mistral_chat.engine.encoding.template_format import TemplateFormat
from mistral_chat.engine.llama.model import open_vocabulary
from mistral_chat.errors import MistralChatError
from mistral_chat.export.json_file import json_lines
from mistral_chat.importers.files import read_import_files
from mistral_chat.importers.report import all_conversations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.trust import Tally

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**70,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "x" * 5000,
    "\x1b]0;x\x07",
    "\ud800",
    [],
    {},
    [[[]]],
    {"parts": [{}]},
    "2026-99-99",
    "0001-01-01T00:00:00Z",
)


def chatgpt() -> list[dict[str, Any]]:
    def node(key: str, parent: str | None, role: str, text: str) -> dict[str, Any]:
        message = {
            "id": key,
            "author": {"role": role},
            "create_time": 1.7e9,
            "content": {"content_type": "text", "parts": [text]},
        }
        return {"id": key, "parent": parent, "children": [], "message": message}

    nodes = {
        "root": {"id": "root", "parent": None, "children": ["q"], "message": None},
        "q": node("q", "root", "user", "Which bird?"),
        "a": node("a", "q", "assistant", "A heron."),
    }
    return [{"id": "c1", "title": "Birds", "create_time": 1.7e9, "update_time": 1.7e9, "mapping": nodes, "current_node": "a"}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside a value."""
    for key, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(each, (*path, key))


def changed(value: Any, chance: random.Random) -> Any:
    """A copy of the value with something odd in one place, or nothing there; each place is as likely."""
    *way, last = chance.choice(list(places(value)))
    whole = inner = deepcopy(value)
    for key in way:
        inner = inner[key]
    inner[last] = chance.choice(ODD)
    if chance.random() < 0.1:
        del inner[last]
    return whole


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The same bytes, cut or with a few of them replaced."""
    if chance.random() < 0.4:
        return content[: chance.randrange(len(content))]
    changing = bytearray(content)
    for _ in range(chance.choice((1, 3, 20))):
        changing[chance.randrange(len(changing))] = chance.randrange(256)
    return bytes(changing)


def test_a_mutated_import_is_read_or_refused(tmp_path: Path, tally: Tally) -> None:
    source = open_store(None)
    _, turns = chat(source, ("What is a heron?", "A bird."), ("More?", "It stands."), title="Herons")
    source.set_passages(turns[1], [Passage(kind="document", text="Herons stand.", source="birds.txt", score=0.5, tokens=4)])
    now = datetime(2026, 4, 1, tzinfo=UTC)
    own = json.loads("".join(json_lines([source.export_conversation(source.latest() or "")], exported=now)))
    chance = random.Random(seed())
    file = tmp_path / "conversations.json"
    read = 0
    for _ in range(cases(300, 20_000)):
        value = changed(chance.choice((own, chatgpt())), chance)
        content = json.dumps(value).encode()
        file.write_bytes(damaged(content, chance) if chance.random() < 0.3 else content)
        store = open_store(None)
        kept, _ = chat(store, ("mine", "yours"))
        with tally.trial("a mutated import: read or refused with a sentence, and the store stays sound"):
            try:
                store.import_conversations(all_conversations(read_import_files([file])))
                read += 1
            except MistralChatError as error:
                assert str(error).endswith((".", ")")), str(error)  # noqa: PT017 (a refusal is one of the two right answers)
            store.database.integrity_check()
            assert store.turns(kept)[0].turn.reply == "yours"
            for tree in store.export_conversations():
                assert "".join(json_lines([tree], exported=now))
                for time, hours in product((tree.created, tree.updated, *(turn.created for turn in tree.turns)), (-14, 14)):
                    time.astimezone(timezone(timedelta(hours=hours)))  # raises for a time that some zone cannot show
            assert_index_is_true(store)
        store.close()
    assert read > 0


def test_a_mutated_template_becomes_a_prompt_or_is_refused(tmp_path: Path, tally: Tally) -> None:
    chance = random.Random(seed())
    sources = [template for template, _ in FAMILIES.values()]
    with open_vocabulary(gguf_file(tmp_path, "v1")) as vocabulary:
        for _ in range(cases(12, 1000)):
            template = chance.choice(sources)
            start, end = sorted(chance.randrange(len(template)) for _ in range(2))
            middle = chance.choice(("", template[start:end] * 2, chance.choice(list(HOSTILE.values()))))
            now = datetime(2026, 4, 1, tzinfo=UTC)
            with tally.trial("a mutated chat template: a prompt, or refused with a sentence"):
                renderer = TemplateRenderer(
                    template[:start] + middle + template[end:], bos="<s>", eos="</s>", now=now, seconds=1.5
                )
                try:
                    TemplateFormat(vocabulary, renderer)
                except MistralChatError as error:
                    assert "template" in str(error)  # noqa: PT017 (a refusal is one of the two right answers)
