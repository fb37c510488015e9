"""Formats conversations for printing. Every title and message is sanitised before it reaches a terminal."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mistral_chat.cli.printing import SHORT_ID, shown
from mistral_chat.formatting import counted
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from mistral_chat.conversation import Passage
    from mistral_chat.importers.report import ImportSource
    from mistral_chat.store.records import ConversationSummary, SearchHit, StoredConversation, StoredTurn
    from mistral_chat.store.repair import RepairResult


def local(moment: datetime) -> str:
    """Format a time in the local time zone."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def summary_lines(summaries: Sequence[ConversationSummary]) -> Iterator[str]:
    """The list as a table: id, last use, turns, title; a terminal shows what they are. A star marks pinned conversations."""
    if summaries and sys.stdout.isatty():
        yield f"{'ID':{SHORT_ID}}  {'LAST USED':16}  TURNS  TITLE"
    for summary in summaries:
        title = one_line(summary.title) or "(empty)"
        tags = "".join(f" #{one_line(tag)}" for tag in summary.tags)
        star = "* " if summary.pinned else ""
        yield f"{summary.conversation_id[:SHORT_ID]}  {local(summary.updated)}  {summary.turns:>5}  {star}{title}{tags}"


def hit_lines(hits: Sequence[SearchHit]) -> Iterator[str]:
    """Search results: the conversation, and the match below it."""
    for hit in hits:
        yield f"{hit.conversation_id[:SHORT_ID]}  {one_line(hit.title)}"
        yield f"{'':{SHORT_ID}}  {one_line(hit.snippet)}"


def conversation_lines(conversation: StoredConversation, path: Sequence[StoredTurn]) -> Iterator[str]:
    """The current branch of a conversation, as text."""
    summary = conversation.summary
    yield one_line(summary.title) or "(empty)"
    yield "  ".join(filter(None, (summary.conversation_id, local(summary.created), one_line(summary.model))))
    if conversation.system:
        yield f"\nSystem:\n{shown(conversation.system)}"
    for turn in path:
        branch = f"  [{turn.sibling} of {turn.siblings}]" if turn.siblings > 1 else ""
        yield f"\nYou, {local(turn.created)}{branch}:\n{shown(turn.turn.user)}"
        yield f"\n{one_line(turn.turn.model) or 'Reply'}{_ended(turn)}:\n{shown(turn.turn.reply)}"
        if turn.turn.error:
            yield f"({one_line(turn.turn.error)})"
        if turn.turn.passages:
            sources = "; ".join(f"[{number}] {one_line(each.source)}" for number, each in enumerate(turn.turn.passages, 1))
            yield f"\nSources: {sources}"


def _ended(turn: StoredTurn) -> str:
    if turn.writing:
        return " (in progress)"
    return {"cancelled": " (stopped)", "length": " (stopped at the length limit)"}.get(turn.turn.finish_reason or "", "")


def tree_lines(turns: Sequence[StoredTurn], path: Sequence[StoredTurn]) -> Iterator[str]:
    """One line per turn, with siblings at the same depth and their children below; a star marks the current branch.

    A turn without siblings is in the same column as its parent, so that long conversations stay narrow.
    """
    current = {turn.turn_id for turn in path}
    children: dict[str | None, list[StoredTurn]] = {}
    for turn in turns:
        children.setdefault(turn.parent_id, []).append(turn)
    waiting = [(turn, "") for turn in reversed(children.get(None, []))]
    while waiting:
        turn, indent = waiting.pop()
        joint, below = "", indent
        if turn.siblings > 1:
            last = turn.sibling == turn.siblings
            joint, below = ("└ " if last else "├ "), indent + ("  " if last else "│ ")
        star = "*" if turn.turn_id in current else " "
        reply = f" → {one_line(turn.turn.reply, 60)}" if turn.turn.reply else ""
        yield f"{turn.turn_id[:SHORT_ID]} {star} {indent}{joint}{one_line(turn.turn.user, 60)}{reply}{_ended(turn)}"
        waiting += [(child, below) for child in reversed(children.get(turn.turn_id, []))]


def conversation_json(
    conversation: StoredConversation, turns: Sequence[StoredTurn], path: Sequence[StoredTurn]
) -> dict[str, Any]:
    """A conversation with `turns` as JSON; `current` marks those on the current branch."""
    current = {turn.turn_id for turn in path}
    return {
        **asdict(conversation.summary),
        "turn_count": conversation.summary.turns,
        "title_by": conversation.title_by,
        "system": conversation.system,
        "persona": conversation.persona,
        "sampling": conversation.sampling,
        "turns": [
            {
                "turn_id": turn.turn_id,
                "parent_id": turn.parent_id,
                "created": turn.created,
                "current": turn.turn_id in current,
                **asdict(turn.turn),
            }
            for turn in turns
        ],
    }


def recalled_lines(found: Sequence[Passage]) -> Iterator[str]:
    """The exchanges that would be recalled, best first."""
    for each in found:
        yield f"{each.key[:SHORT_ID]}  {one_line(each.source)}  ({each.tokens} tokens)"
        yield f"{shown(each.text)}\n"


def recalled_json(exchange: Passage, created: datetime) -> dict[str, Any]:
    """An exchange that would be recalled as JSON."""
    return {
        "turn_id": exchange.key,
        "text": exchange.text,
        "tokens": exchange.tokens,
        "score": round(exchange.score, 4),
        "created": created,
    }


def repair_lines(result: RepairResult) -> Iterator[str]:
    """What a repair saved and lost, and where the damaged file is."""
    from mistral_chat.store.repair import OTHER_TABLES

    if result.kept is None:
        yield "The database is not damaged. Its search index was rebuilt."
        return
    yield f"Saved {counted(result.conversations, 'conversation')} with {counted(result.turns, 'turn')}."
    lost = [counted(result.lost_turns, "turn")] if result.lost_turns else []
    if result.lost_conversations:
        lost.append(f"the titles and settings of {counted(result.lost_conversations, 'conversation')}")
    lost += [f"some {OTHER_TABLES[table]}" for table in result.incomplete]
    if lost:
        yield (
            f"Lost {', '.join(lost)}, and perhaps more. `sqlite3 {shlex.quote(str(result.kept))} .recover`, with sqlite3 from "
            "sqlite.org, may recover it."
        )
    if "passages" in result.incomplete:
        yield "Index your documents again: mistral-chat docs update"
    yield f"The damaged file is kept as {result.kept}. It still contains conversations; delete it when you no longer need it."


def source_lines(sources: Sequence[ImportSource]) -> Iterator[str]:
    """A table of what an import found in each file, then what was left out and why."""
    names = [one_line(source.name) for source in sources]
    width = max(len("Total"), *map(len, names))
    yield f"{'File':{width}}  {'Format':12}  {'Conversations':>13}  {'Turns':>7}  Left out"
    for source, name in zip(sources, names, strict=True):
        left_out = ", ".join(f"{each.what} ({each.count:,})" for each in source.left_out.values()) or "nothing"
        yield f"{name:{width}}  {source.format or '-':12}  {len(source.conversations):>13,}  {source.turns:>7,}  {left_out}"
    if len(sources) > 1:
        conversations, turns = sum(len(source.conversations) for source in sources), sum(source.turns for source in sources)
        yield f"{'Total':{width}}  {'':12}  {conversations:>13,}  {turns:>7,}"
    for source, name in zip(sources, names, strict=True):
        for each in source.left_out.values():
            for detail in each.details:
                yield f"{name}: {each.what}: {one_line(detail, 300)}"


def source_json(source: ImportSource) -> dict[str, Any]:
    """A file of an import as JSON."""
    return {
        "name": source.name,
        "format": source.format,
        "conversations": len(source.conversations),
        "turns": source.turns,
        "left_out": list(source.left_out.values()),
    }
