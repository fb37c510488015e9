"""The complete export: every branch, time, mark, usage and setting, in a JSON file that says its version.

    {"format": "mistral-chat", "version": 1, "exported": TIME, "conversations": [CONVERSATION, ...]}

A file is read as a whole before anything is done with it, so a fault anywhere in it changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from mistral_chat.conversation import FinishReason, Passage, Turn, Usage
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn
from mistral_chat.export.json_reader import JSONReader, import_error, parsed
from mistral_chat.generation import Sampling

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

FORMAT: Final = "mistral-chat"
VERSION: Final = 1


def json_lines(trees: Iterable[ExportedConversation], *, exported: datetime) -> Iterator[str]:
    """The file piece by piece, so that a store of any size fits: join the pieces, or write them one after another."""
    yield f'{{"format": "{FORMAT}", "version": {VERSION}, "exported": "{exported.isoformat()}", "conversations": ['
    separator = "\n"
    for tree in trees:
        yield separator + json.dumps(_conversation(tree), ensure_ascii=False)
        separator = ",\n"
    yield "\n]}\n"


def _conversation(tree: ExportedConversation) -> dict[str, Any]:
    return {
        "id": tree.key,
        "title": tree.title,
        "title_by": tree.title_by,
        "created": tree.created.isoformat(),
        "updated": tree.updated.isoformat(),
        "system": tree.system,
        "model": tree.model,
        "sampling": None if tree.sampling is None else asdict(tree.sampling),
        "persona": tree.persona,
        "pinned": tree.pinned,
        "archived": tree.archived,
        "tags": list(tree.tags),
        "current": tree.current,
        "turns": [
            {"id": turn.key, "parent": turn.parent, "created": turn.created.isoformat(), **asdict(turn.turn)}
            for turn in tree.turns
        ],
    }


def is_export(value: object) -> bool:
    """Whether parsed JSON is a file that `json_lines` wrote, of whatever version."""
    return isinstance(value, dict) and value.get("format") == FORMAT


def read_json(text: str, source: str) -> list[ExportedConversation]:
    """The conversations in the text of a file called `source`.

    Raises:
        ImportFailed: the file is no such export, was written by a newer version, or is at fault; the place is named.
    """
    return trees_in(parsed(text, source), source)


def trees_in(value: object, source: str) -> list[ExportedConversation]:
    """The same for JSON that was parsed already.

    Raises:
        ImportFailed: as `read_json`.
    """
    if not is_export(value):
        raise import_error(source, "", "this is no export of mistral-chat")
    file = JSONReader(value, source, "")
    version = file.get("version", int)
    if version > VERSION:
        raise import_error(
            source, "", f"a newer mistral-chat wrote this file (format {version}, this one reads up to {VERSION}). Upgrade first"
        )
    return [_tree(JSONReader(item, source, place)) for item, place in file.items("conversations")]


def _tree(fields: JSONReader) -> ExportedConversation:
    tags = []
    for tag, _ in fields.items("tags"):
        if not isinstance(tag, str):
            raise fields.import_error("'tags' must be texts")
        tags.append(tag)
    turns = tuple(_turn(fields.nested(item, place)) for item, place in fields.items("turns"))
    try:
        return ExportedConversation(
            key=fields.get("id", str),
            title=fields.get("title", str),
            title_by=cast(
                "Literal['first_line', 'model', 'person']", fields.choice("title_by", ("first_line", "model", "person"))
            ),
            created=fields.time("created"),
            updated=fields.time("updated"),
            system=fields.get("system", str),
            model=fields.get("model", str),
            sampling=_sampling(fields.child("sampling")),
            persona=fields.get("persona", str),
            pinned=fields.get("pinned", bool),
            archived=fields.get("archived", bool),
            tags=tuple(tags),
            turns=turns,
            current=fields.optional("current", str),
        )
    except ValueError as error:
        raise fields.import_error(str(error)) from error


def _turn(fields: JSONReader) -> TreeTurn:
    finish_reason = None
    if fields.optional("finish_reason", str) is not None:
        finish_reason = cast("FinishReason", fields.choice("finish_reason", ("stop", "length", "cancelled")))
    return TreeTurn(
        key=fields.get("id", str),
        parent=fields.optional("parent", str),
        created=fields.time("created"),
        turn=Turn(
            user=fields.get("user", str),
            reply=fields.get("reply", str),
            finish_reason=finish_reason,
            error=fields.get("error", str, ""),
            model=fields.get("model", str, ""),
            usage=_usage(fields.child("usage")),
            pinned=fields.get("pinned", bool, default=False),
            excluded=fields.get("excluded", bool, default=False),
            passages=tuple(_passage(fields.nested(item, place)) for item, place in fields.items("passages"))
            if fields.has("passages")
            else (),
        ),
    )


def _passage(fields: JSONReader) -> Passage:
    return Passage(
        kind=cast("Literal['exchange', 'document', 'file']", fields.choice("kind", ("exchange", "document", "file"))),
        text=fields.get("text", str),
        source=fields.get("source", str),
        key=fields.get("key", str, ""),
        score=fields.get("score", float, 0.0),
        tokens=fields.get("tokens", int, 0),
    )


def _usage(fields: JSONReader | None) -> Usage | None:
    if fields is None:
        return None
    return Usage(
        prompt_tokens=fields.get("prompt_tokens", int),
        cached_tokens=fields.get("cached_tokens", int),
        completion_tokens=fields.get("completion_tokens", int),
        time_to_first_token=fields.get("time_to_first_token", float),
        tokens_per_second=fields.get("tokens_per_second", float),
    )


def _sampling(fields: JSONReader | None) -> Sampling | None:
    if fields is None:
        return None
    try:
        return Sampling(
            temperature=fields.get("temperature", float),
            top_p=fields.get("top_p", float),
            top_k=fields.get("top_k", int),
            min_p=fields.get("min_p", float),
            repeat_penalty=fields.get("repeat_penalty", float),
            seed=fields.optional("seed", int),
            max_tokens=fields.optional("max_tokens", int),
        )
    except ValueError as error:
        raise fields.import_error(str(error)) from error
