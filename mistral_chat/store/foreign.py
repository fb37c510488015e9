"""Reading the stores of other programs: oterm's `store.db` and llm's `logs.db`.

They are opened for reading only. Both keep a chat as one line of messages; pictures, tools and thoughts stay behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mistral_chat.conversation import Turn
from mistral_chat.errors import ImportFailed
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn
from mistral_chat.store.text import decode_lossy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

SQLITE_HEADER = b"SQLite format 3\x00"
"""What every SQLite file begins with."""


def import_oterm_or_llm(path: Path) -> list[ExportedConversation]:
    """Every conversation in another program's store.

    Raises:
        ImportFailed: it is no store that can be read here, or it is damaged.
    """
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
            connection.text_factory = decode_lossy
            connection.row_factory = sqlite3.Row
            tables = {row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if {"chat", "message"} <= tables:
                return list(_oterm(connection, changed))
            if {"conversations", "responses"} <= tables or {"threads", "messages", "parts"} <= tables:
                return [*_llm_responses(connection, changed, tables), *_llm_threads(connection, changed, tables)]
    except (sqlite3.Error, OSError, ValueError) as error:
        raise ImportFailed(f"{path} cannot be read ({error}). Nothing was imported.") from error
    raise ImportFailed(
        f"{path} is a database, but neither oterm's nor llm's. Nothing was imported. To go back to a backup of your own, put it "
        "in the place of the database (`mistral-chat paths` shows it) while no mistral-chat runs."
    )


def _key(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="replace")).hexdigest()[:16]


def _chain(key: str, said: Iterable[tuple[datetime, Turn]]) -> tuple[TreeTurn, ...]:
    """Turns that follow one another. Their keys come from their place, so that the same chat gives the same keys."""
    turns: list[TreeTurn] = []
    for place, (created, turn) in enumerate(said):
        parent = turns[-1].key if turns else None
        turns.append(TreeTurn(key=_key(key, place, turn.user, turn.reply), parent=parent, created=created, turn=turn))
    return tuple(turns)


def _oterm(connection: sqlite3.Connection, changed: datetime) -> Iterator[ExportedConversation]:
    """Chats of oterm. It keeps no times; the file's stands in for them."""
    for chat in connection.execute("SELECT * FROM chat ORDER BY id").fetchall():
        messages = connection.execute("SELECT author, text FROM message WHERE chat_id = ? ORDER BY id", (chat["id"],))
        key = _key("oterm", chat["id"], chat["name"])
        model = str(chat["model"] or "")
        turns = _chain(key, ((changed, turn) for turn in _paired(messages, model)))
        yield ExportedConversation(
            key=key,
            title=str(chat["name"] or ""),
            created=changed,
            updated=changed,
            system=str(chat["system"] or ""),
            turns=turns,
            current=turns[-1].key if turns else None,
        )


def _paired(messages: Iterable[sqlite3.Row], model: str) -> Iterator[Turn]:
    """Questions with the replies that follow them; neither need have the other."""
    asked: str | None = None
    for message in messages:
        text = str(message["text"] or "")
        if message["author"] == "user":
            if asked is not None:
                yield Turn(user=asked)
            asked = text
        else:
            yield Turn(user=asked or "", reply=text, finish_reason="stop", model=model)
            asked = None
    if asked is not None:
        yield Turn(user=asked)


def _llm_responses(connection: sqlite3.Connection, changed: datetime, tables: set[str]) -> Iterator[ExportedConversation]:
    """Conversations of llm as it kept them at first, and still reads them."""
    if not {"conversations", "responses"} <= tables:
        return
    for conversation in connection.execute("SELECT * FROM conversations ORDER BY id").fetchall():
        rows = connection.execute(
            "SELECT prompt, system, response, model, datetime_utc FROM responses WHERE conversation_id = ? "
            "ORDER BY datetime_utc, id",
            (conversation["id"],),
        ).fetchall()
        said = [
            (
                _time(row["datetime_utc"], changed),
                Turn(
                    user=str(row["prompt"] or ""),
                    reply=str(row["response"] or ""),
                    finish_reason="stop",
                    model=str(row["model"] or ""),
                ),
            )
            for row in rows
        ]
        system = next((str(row["system"]) for row in rows if row["system"]), "")
        if said:
            yield _llm(str(conversation["id"]), str(conversation["name"] or ""), system, said)


def _llm(conversation: str, name: str, system: str, said: list[tuple[datetime, Turn]]) -> ExportedConversation:
    key = _key("llm", conversation)
    turns = _chain(key, said)
    return ExportedConversation(
        key=key,
        title=name,
        title_by="model",
        created=said[0][0],
        updated=said[-1][0],
        system=system,
        turns=turns,
        current=turns[-1].key,
    )


def _llm_threads(connection: sqlite3.Connection, changed: datetime, tables: set[str]) -> Iterator[ExportedConversation]:
    """Threads of llm, whose messages hang on one another by hash; each turn knows where its reply begins and ends."""
    if not {"threads", "turns", "messages", "parts"} <= tables:
        return
    for thread in connection.execute("SELECT * FROM threads ORDER BY id").fetchall():
        said: list[tuple[datetime, Turn]] = []
        system = ""
        turns = connection.execute(
            "SELECT * FROM turns WHERE thread_id = ? ORDER BY datetime_utc, id", (thread["id"],)
        ).fetchall()
        for turn in turns:
            replies = _texts(connection, turn["tip_message_hash"], {"assistant"}, turn["parent_message_hash"])
            asked = _texts(connection, turn["parent_message_hash"], {"user"}, None)
            system = system or "\n\n".join(_texts(connection, turn["parent_message_hash"], {"system"}, None, through=True))
            value = Turn(
                user="\n\n".join(asked),
                reply="\n\n".join(replies),
                finish_reason="stop",
                model=str(turn["model"] or ""),
            )
            said.append((_time(turn["datetime_utc"], changed), value))
        if said:
            yield _llm(str(thread["id"]), str(thread["name"] or ""), system, said)


def _texts(
    connection: sqlite3.Connection, tip: str | None, roles: set[str], stop: str | None, *, through: bool = False
) -> list[str]:
    """The texts of the messages from `tip` upwards, oldest first, until `stop` or, unless `through`, one of another role."""
    texts: list[str] = []
    while tip is not None and tip != stop:
        message = connection.execute("SELECT parent_hash, role FROM messages WHERE hash = ?", (tip,)).fetchone()
        if message is None or (message["role"] not in roles and stop is None and not through):
            break
        if message["role"] in roles:
            parts = connection.execute(
                "SELECT text, payload FROM parts WHERE message_hash = ? AND type = 'text' ORDER BY position", (tip,)
            )
            texts.append("".join(_part(connection, part) for part in parts))
        tip = message["parent_hash"]
    return [text for text in reversed(texts) if text]


def _part(connection: sqlite3.Connection, part: sqlite3.Row) -> str:
    """A part's text, put together where it borrows from fragments."""
    if part["text"] is not None:
        return str(part["text"])
    payload: Any = json.loads(part["payload"] or "{}")
    pieces = payload.get("text_ref", []) if isinstance(payload, dict) else []
    text = str(payload.get("text", "")) if isinstance(payload, dict) else ""
    for piece in pieces:
        if "literal" in piece:
            text += str(piece["literal"])
        else:
            row = connection.execute("SELECT content FROM fragments WHERE id = ?", (piece.get("fragment"),)).fetchone()
            text += "" if row is None else str(row["content"])
    return text


def _time(text: object, otherwise: datetime) -> datetime:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return otherwise
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
