"""Reads the Markdown files that `export.markdown` writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final, cast

from mistral_chat.conversation import FinishReason, Turn
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn, derived_key
from mistral_chat.importers.json_reader import import_error, utc_time

_HEADS: Final = re.compile(
    r"^## [^\n]*\n<!-- mistral-chat: (?P<who>user|reply|sources)(?: (?P<word>[^ \n]+))? -->\n\n", re.MULTILINE
)
_ESCAPED: Final = re.compile(r"^(<!-- mistral-chat\\*)\\(:)", re.MULTILINE)
_FRONT: Final = re.compile(r"---\n(.*?\n)---\n", re.DOTALL)
_FINISHED: Final = ("stop", "length", "cancelled")


def read_markdown(text: str, source: str, *, now: datetime) -> ExportedConversation:
    """The conversation in the text of a Markdown file called `source`; `now` replaces times that are missing.

    Raises:
        ImportFailed: it is not a file that `to_markdown` wrote; the place is named.
    """
    if text.startswith("---\r\n"):  # an editor on Windows saved it
        text = text.replace("\r\n", "\n")
    front = _FRONT.match(text)
    fields = {} if front is None else {name: value for name, value in _front(front.group(1)) if value is not None}
    if front is None or "mistral-chat" not in fields:
        raise import_error(source, "line 1", "neither JSON nor the front matter of a Markdown export")
    created = _time(fields, "created", source, now)
    turns = list(_turns(text[front.end() :], source, created))
    tags = fields.get("tags")
    return ExportedConversation(
        key=str(fields.get("id") or derived_key(text)),
        title=str(fields.get("title", "")),
        created=created,
        updated=_time(fields, "updated", source, created),
        system=str(fields.get("system", "")),
        model=str(fields.get("model", "")),
        tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
        turns=tuple(turns),
        current=turns[-1].key if turns else None,
    )


def _front(lines: str) -> Iterator[tuple[str, object]]:
    """The names and values of the front matter; a value that the user retyped without quotes is a string."""
    for line in lines.splitlines():
        name, _, value = line.partition(":")
        try:
            yield name.strip(), json.loads(value)
        except (ValueError, RecursionError):
            yield name.strip(), value.strip()


def _time(fields: dict[str, object], name: str, source: str, otherwise: datetime) -> datetime:
    try:
        return utc_time(str(fields[name])) if name in fields else otherwise
    except (ValueError, OverflowError) as error:
        raise import_error(source, "the front matter", f"{name!r} must be an ISO 8601 time") from error


def _turns(body: str, source: str, created: datetime) -> Iterator[TreeTurn]:
    """The turns of the body. Keys are derived from position and text, so that the same file gives the same keys."""
    heads = list(_HEADS.finditer(body))
    ends = [*(head.start() for head in heads), len(body)][1:]
    parent: str | None = None
    pending: tuple[datetime, str] | None = None
    for place, (head, end) in enumerate(zip(heads, ends, strict=True)):
        text = _ESCAPED.sub(r"\1\2", body[head.end() : end].removesuffix("\n\n"))
        word = head.group("word") or ""
        if head.group("who") == "user":
            if pending is not None:
                yield (turn := _turn(place, parent, pending[0], Turn(user=pending[1])))
                parent = turn.key
            pending = (_time({"created": word}, "created", source, created) if word else created, text)
            continue
        if head.group("who") == "sources":  # their texts are not in the file
            continue
        finish_reason = cast("FinishReason", word) if word in _FINISHED else None
        model = head.group().split("\n", 1)[0].removeprefix("## ")
        asked, user = pending or (created, "")
        said = Turn(user=user, reply=text, finish_reason=finish_reason, model="" if model == "Reply" else model)
        yield (turn := _turn(place, parent, asked, said))
        parent, pending = turn.key, None
    if pending is not None:
        yield _turn(len(heads), parent, pending[0], Turn(user=pending[1]))


def _turn(place: int, parent: str | None, created: datetime, turn: Turn) -> TreeTurn:
    key = derived_key(place, parent, turn.user, turn.reply)
    return TreeTurn(key=key, parent=parent, created=created, turn=turn)
