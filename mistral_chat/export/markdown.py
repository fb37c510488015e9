"""The readable export: the current branch of one conversation as Markdown with front matter.

Messages are under headings, and a comment that no renderer shows says whose each is:

    ## You
    <!-- mistral-chat: user 2026-11-21T08:00:00+00:00 -->

    the text, exactly as it was written

    ## mistral-7b-instruct-v0.3
    <!-- mistral-chat: reply stop -->

    the reply

`importers.mistral_chat_markdown` reads the comments. A line of a message that looks like one gets a backslash before its colon,
which is removed on import, so texts survive. Branches, flags, usage and the texts of sources do not; the JSON export keeps
them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mistral_chat.export.exported_conversation import ExportedConversation

_LIKE_A_COMMENT: Final = re.compile(r"^(<!-- mistral-chat\\*)(:)", re.MULTILINE)


def to_markdown(tree: ExportedConversation) -> str:
    """Format the current branch of `tree` as Markdown."""
    parts = ["---\n"]
    front = {
        "mistral-chat": 1,
        "id": tree.key,
        "title": tree.title,
        "created": tree.created.isoformat(),
        "updated": tree.updated.isoformat(),
        "model": tree.model,
        "system": tree.system,
        "tags": list(tree.tags),
    }
    parts += [f"{name}: {_scalar(value)}\n" for name, value in front.items()]
    parts.append(f"---\n\n# {tree.title or 'Conversation'}\n\n")
    for turn in tree.path:
        parts.append(f"## You\n<!-- mistral-chat: user {turn.created.isoformat()} -->\n\n{_escaped(turn.turn.user)}\n\n")
        if turn.turn.reply or turn.turn.finish_reason is not None:
            name = re.sub(r"\s+", " ", turn.turn.model) or "Reply"
            parts.append(f"## {name}\n<!-- mistral-chat: reply {turn.turn.finish_reason or 'unfinished'} -->\n\n")
            parts.append(f"{_escaped(turn.turn.reply)}\n\n")
        if turn.turn.passages:
            sources = "\n".join(f"{number}. {each.source}" for number, each in enumerate(turn.turn.passages, 1))
            parts.append(f"## Sources\n<!-- mistral-chat: sources -->\n\n{_escaped(sources)}\n\n")
    return "".join(parts)


def _scalar(value: object) -> str:
    """Format `value` as JSON that is also YAML: YAML 1.2 includes JSON except for raw control characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def _escaped(text: str) -> str:
    return _LIKE_A_COMMENT.sub(r"\1\\\2", text)
