"""The complete export: every branch, time, flag, usage, setting and draft, as versioned JSON.

{"format": "mistral-chat", "version": 1, "exported": TIME, "conversations": [CONVERSATION, ...]}
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from mistral_chat.export.exported_conversation import ExportedConversation

FORMAT: Final = "mistral-chat"
VERSION: Final = 1


def json_lines(trees: Iterable[ExportedConversation], *, exported: datetime) -> Iterator[str]:
    """Yield the file in pieces, so that a store of any size can be exported."""
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
        "recall": tree.recall,
        "pinned": tree.pinned,
        "archived": tree.archived,
        "tags": list(tree.tags),
        "collections": list(tree.collections),
        "draft": tree.draft,
        "current": tree.current,
        "turns": [
            {"id": turn.key, "parent": turn.parent, "created": turn.created.isoformat(), **asdict(turn.turn)}
            for turn in tree.turns
        ],
    }
