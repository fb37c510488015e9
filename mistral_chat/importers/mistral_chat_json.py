"""Reads the JSON files that `export.json_file` writes, strictly: an error anywhere in a file refuses all of it."""

from __future__ import annotations

from typing import Final

from mistral_chat.conversation import FinishReason, Passage, Turn, Usage
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn
from mistral_chat.export.json_file import FORMAT, VERSION
from mistral_chat.importers.json_reader import JSONReader, import_error
from mistral_chat.sampling import Sampling

_FINISHED: Final[tuple[FinishReason, ...]] = ("stop", "length", "cancelled")


def is_export(value: object) -> bool:
    """Whether parsed JSON is a file that `export.json_file` wrote, of any version."""
    return isinstance(value, dict) and value.get("format") == FORMAT


def conversations_in(value: object, source: str) -> list[ExportedConversation]:
    """The conversations in the parsed JSON of an export called `source`.

    Raises:
        ImportFailed: a newer version wrote it, or it has an error; the place is named.
    """
    file = JSONReader(value, source, "")
    version = file.get("version", int)
    if version > VERSION:
        raise import_error(
            source,
            "",
            f"a newer mistral-chat wrote this file (format {version}; this version reads up to {VERSION}). Upgrade mistral-chat",
        )
    return [_tree(each) for each in file.objects("conversations")]


def _tree(fields: JSONReader) -> ExportedConversation:
    turns = tuple(map(_turn, fields.objects("turns")))
    try:
        return ExportedConversation(
            key=fields.get("id", str),
            title=fields.get("title", str),
            title_by=fields.choice("title_by", ("first_line", "model", "person")),
            created=fields.time("created"),
            updated=fields.time("updated"),
            system=fields.get("system", str),
            model=fields.get("model", str),
            sampling=_sampling(fields.child("sampling")),
            persona=fields.get("persona", str),
            recall=fields.optional("recall", bool),
            pinned=fields.get("pinned", bool),
            archived=fields.get("archived", bool),
            tags=_names(fields, "tags"),
            collections=_names(fields, "collections") if fields.has("collections") else (),
            draft=fields.get("draft", str, ""),
            turns=turns,
            current=fields.optional("current", str),
        )
    except ValueError as error:
        raise fields.import_error(str(error)) from error


def _names(fields: JSONReader, field: str) -> tuple[str, ...]:
    names = fields.get(field, list)
    if not all(isinstance(name, str) for name in names):
        raise fields.import_error(f"{field!r} must be a list of strings")
    return tuple(names)


def _turn(fields: JSONReader) -> TreeTurn:
    return TreeTurn(
        key=fields.get("id", str),
        parent=fields.optional("parent", str),
        created=fields.time("created"),
        turn=Turn(
            user=fields.get("user", str),
            reply=fields.get("reply", str),
            finish_reason=fields.choice("finish_reason", _FINISHED) if fields.has("finish_reason") else None,
            error=fields.get("error", str, ""),
            model=fields.get("model", str, ""),
            usage=_usage(fields.child("usage")),
            pinned=fields.get("pinned", bool, default=False),
            excluded=fields.get("excluded", bool, default=False),
            passages=tuple(map(_passage, fields.objects("passages"))) if fields.has("passages") else (),
        ),
    )


def _passage(fields: JSONReader) -> Passage:
    return Passage(
        kind=fields.choice("kind", ("exchange", "document", "file")),
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
