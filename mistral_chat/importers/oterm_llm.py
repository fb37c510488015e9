"""Reads the databases of other programs: oterm's ``store.db`` and llm's ``logs.db``.

They are opened read-only. Both store a chat as one sequence of messages.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from mistral_chat.conversation import Turn
from mistral_chat.errors import ImportFailed
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn, derived_key
from mistral_chat.importers.json_reader import utc_time
from mistral_chat.importers.report import BROKEN, FILES, REASONING, TOOLS, UNKNOWN, NotConversations
from mistral_chat.paths import RESTORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mistral_chat.importers.report import ImportSource

SQLITE_HEADER = b"SQLite format 3\x00"
"""The first bytes of every SQLite file."""

_ANOTHER_SHAPE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What a row or a payload of another shape raises."""

_PART_KINDS = {"reasoning": REASONING, "tool_call": TOOLS, "tool_result": TOOLS, "attachment": FILES}


def import_oterm_or_llm(path: Path, source: ImportSource) -> None:
    """Read every conversation in another program's database.

    Raises:
        ImportFailed: it is not a database that can be read here, or it is damaged.
    """
    try:
        with contextlib.closing(_open(path)) as connection:
            tables = {row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if {"chat", "message"} <= tables:
                source.format = "oterm"
                _read_oterm(connection, source)
                return
            if _read_llm(connection, source, tables):
                source.format = "llm"
                return
    except (sqlite3.Error, OSError, *_ANOTHER_SHAPE) as error:
        raise ImportFailed(f"{path} cannot be read ({error}). Nothing was imported.") from error
    raise NotConversations(
        f"{path} is a database, but neither oterm's nor llm's. Nothing was imported. To restore a backup of mistral-chat, "
        f"{RESTORE} with it. `mistral-chat paths` shows where they are."
    )


def _open(path: Path) -> sqlite3.Connection:
    """Open a database for reading, even if the files of its write-ahead log cannot be created."""
    connection = _connect(path, "mode=ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if not path.with_name(path.name + "-wal").exists():
            return _connect(path, "immutable=1")
        # In exclusive mode SQLite keeps the index of the log in memory. That needs the VFS without locks.
        connection = _connect(path, f"mode=ro&vfs={'win32-none' if sys.platform == 'win32' else 'unix-none'}")
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    return connection


def _connect(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True)
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    connection.row_factory = sqlite3.Row
    return connection


@contextlib.contextmanager
def _damage_noted(source: ImportSource, name: str) -> Iterator[None]:
    """Leave out a conversation with a row or a payload of another shape, and name it."""
    try:
        yield
    except _ANOTHER_SHAPE as error:
        source.leave_out(BROKEN, f"{name}: {error}")


def _conversation(
    key: str,
    title: str,
    system: str,
    said: Sequence[tuple[datetime, Turn]],
    source: ImportSource,
    *,
    title_by: Literal["model", "person"] = "person",
) -> ExportedConversation:
    """A conversation of turns in a sequence. Keys are derived from their position, so that the same chat gives the same keys."""
    turns: list[TreeTurn] = []
    for place, (created, turn) in enumerate(said):
        parent = turns[-1].key if turns else None
        turns.append(TreeTurn(key=derived_key(key, place, turn.user, turn.reply), parent=parent, created=created, turn=turn))
    return ExportedConversation(
        key=key,
        title=title,
        title_by=title_by,
        created=said[0][0] if said else source.changed,
        updated=said[-1][0] if said else source.changed,
        system=system,
        turns=tuple(turns),
        current=turns[-1].key if turns else None,
    )


def _read_oterm(connection: sqlite3.Connection, source: ImportSource) -> None:
    """Read chats of oterm. It stores no times; the file's modification time replaces them."""
    columns = {row["name"] for row in connection.execute("PRAGMA table_info(message)")}
    images = "images" if "images" in columns else "'[]' AS images"
    known = {row["name"] for row in connection.execute("PRAGMA table_info(chat)")}
    fields = ", ".join(name if name in known else f"'' AS {name}" for name in ("id", "name", "model", "system"))
    for chat in connection.execute(f"SELECT {fields} FROM chat ORDER BY id").fetchall():  # noqa: S608 - constants
        query = f"SELECT author, text, {images} FROM message WHERE chat_id = ? ORDER BY rowid"  # noqa: S608 - a constant
        messages = connection.execute(query, (chat["id"],))  # the id is the rowid, where there is one
        key = derived_key("oterm", chat["id"], chat["name"])
        systems: list[str] = [str(chat["system"])] if chat["system"] else []
        said = [(source.changed, turn) for turn in _paired(messages, str(chat["model"] or ""), systems, source)]
        source.add(_conversation(key, str(chat["name"] or ""), "\n\n".join(systems), said, source))


def _paired(messages: Iterable[sqlite3.Row], model: str, systems: list[str], source: ImportSource) -> Iterator[Turn]:
    """Pair messages with the replies that follow them; either may be missing. System messages go to `systems`."""
    asked: str | None = None
    for message in messages:
        text = _with_images(str(message["text"] or ""), message["images"], source)
        match message["author"]:
            case "user" | "me":
                if asked is not None:
                    yield Turn(user=asked)
                asked = text
            case "assistant" | "ollama":
                yield Turn(user=asked or "", reply=text, finish_reason="stop", model=model)
                asked = None
            case "system":
                systems += [text] if text and text not in systems else []
            case author:
                source.leave_out(TOOLS if author == "tool" else UNKNOWN, f"messages of {author!r}")
    if asked is not None:
        yield Turn(user=asked)


def _with_images(text: str, images: object, source: ImportSource) -> str:
    """Add a placeholder to `text` for each image, which is left out."""
    try:
        found = json.loads(str(images or "[]"))
    except (ValueError, RecursionError):
        found = []
    count = len(found) if isinstance(found, list) else 0
    source.leave_out(FILES, count=count)
    return "\n\n".join(["[attachment]"] * count + ([text] if text else []))


def _read_llm(connection: sqlite3.Connection, source: ImportSource, tables: set[str]) -> bool:
    """Read what llm logged; a database contains what each of its versions wrote. Returns whether it is one of llm's."""
    logs = next((table for table in ("logs", "log") if table in tables), "")
    columns = {row["name"] for row in connection.execute(f"PRAGMA table_info({logs})")} if logs else set()
    first = {"model", "prompt", "system", "response"} <= columns
    if first:
        _read_llm_logs(connection, source, logs, columns)
    responses = {"conversations", "responses"} <= tables
    if responses:
        _LlmResponses(connection, source, tables).read()
    threads = {"threads", "turns", "messages", "parts"} <= tables
    if threads:
        _read_llm_threads(connection, source)
    return first or responses or threads


def _read_llm_logs(connection: sqlite3.Connection, source: ImportSource, table: str, columns: set[str]) -> None:
    """Read the log of llm's first versions, which later ones keep: a row names the first row of its chat."""
    when = next((name for name in ("datetime_utc", "timestamp_utc", "timestamp") if name in columns), "NULL")
    chat = "coalesce(chat_id, rowid)" if "chat_id" in columns else "rowid"
    rows = connection.execute(f"SELECT *, {chat} AS chat, {when} AS time FROM {table} ORDER BY rowid")  # noqa: S608 - constants
    chats: dict[str, list[sqlite3.Row]] = {}
    for row in rows:
        chats.setdefault(str(row["chat"]), []).append(row)
    for name, said in chats.items():
        system = _first_system([str(row["system"]) for row in said if row["system"]], f"log {name}", source)
        turns = [
            (
                _time(row["time"], source.changed),
                Turn(
                    user=str(row["prompt"] or ""),
                    reply=str(row["response"] or ""),
                    finish_reason="stop",
                    model=str(row["model"] or ""),
                ),
            )
            for row in said
        ]
        source.add(_conversation(derived_key("llm", f"log {name}"), "", system, turns, source, title_by="model"))


def _first_system(systems: list[str], name: str, source: ImportSource) -> str:
    """The first system prompt of a conversation; that it changed later is noted."""
    if len(set(systems)) > 1:
        source.leave_out("system prompts that changed within a conversation", name)
    return systems[0] if systems else ""


class _LlmResponses:
    """Conversations of llm before it had threads."""

    def __init__(self, connection: sqlite3.Connection, source: ImportSource, tables: set[str]) -> None:
        self._connection = connection
        self._source = source
        self._tables = tables

    def read(self) -> None:
        """Read every response, by conversation. One without a conversation makes its own."""
        names = {row["id"]: str(row["name"] or "") for row in self._connection.execute("SELECT id, name FROM conversations")}
        grouped: dict[str, list[sqlite3.Row]] = {}
        for row in self._connection.execute("SELECT * FROM responses ORDER BY datetime_utc, id").fetchall():
            grouped.setdefault(str(row["conversation_id"] or row["id"]), []).append(row)
        for conversation in sorted(grouped):
            with _damage_noted(self._source, names.get(conversation) or conversation):
                rows, name = grouped[conversation], names.get(conversation, "")
                systems = list(dict.fromkeys(filter(None, map(self._system, rows))))
                said = [(_time(row["datetime_utc"], self._source.changed), self._turn(row)) for row in rows]
                system = _first_system(systems, name, self._source)
                key = derived_key("llm", conversation)
                self._source.add(_conversation(key, name, system, said, self._source, title_by="model"))

    def _turn(self, row: sqlite3.Row) -> Turn:
        files = self._attachments(row["id"])
        texts = [*files, *self._fragments("prompt_fragments", row["id"]), *([str(row["prompt"])] if row["prompt"] else [])]
        if "reasoning" in row.keys() and row["reasoning"]:  # noqa: SIM118 - a row is no dictionary
            self._source.leave_out(REASONING)
        for table in ("tool_calls", "tool_results"):
            if table in self._tables:
                query = f"SELECT count(*) FROM {table} WHERE response_id = ?"  # noqa: S608 - a constant
                (count,) = self._connection.execute(query, (row["id"],)).fetchone()
                self._source.leave_out(TOOLS, count=count)
        return Turn(user="\n".join(texts), reply=str(row["response"] or ""), finish_reason="stop", model=str(row["model"] or ""))

    def _system(self, row: sqlite3.Row) -> str:
        texts = [*self._fragments("system_fragments", row["id"]), str(row["system"] or "")]
        return "\n\n".join(text.strip() for text in texts if text.strip())

    def _fragments(self, table: str, response: str) -> list[str]:
        """The texts of files sent with a prompt, in order."""
        if not {table, "fragments"} <= self._tables:
            return []
        query = (
            f"SELECT content FROM {table} JOIN fragments ON fragments.id = fragment_id "  # noqa: S608 - a constant
            f'WHERE response_id = ? ORDER BY {table}."order"'
        )
        return [str(row["content"] or "") for row in self._connection.execute(query, (response,))]

    def _attachments(self, response: str) -> list[str]:
        """A placeholder for each attachment, which is left out."""
        if not {"prompt_attachments", "attachments"} <= self._tables:
            return []
        rows = self._connection.execute(
            "SELECT path, url FROM prompt_attachments JOIN attachments ON attachments.id = attachment_id "
            'WHERE response_id = ? ORDER BY prompt_attachments."order"',
            (response,),
        ).fetchall()
        self._source.leave_out(FILES, count=len(rows))
        names = [" ".join(str(row["path"] or row["url"] or "").split()) for row in rows]
        return [f"[attachment: {name.rsplit('/', 1)[-1]}]" if name else "[attachment]" for name in names]


def _read_llm_threads(connection: sqlite3.Connection, source: ImportSource) -> None:
    """Read llm's threads. Messages refer to their parents by hash; each turn names the ends of its prompt and of its reply."""
    for thread in connection.execute("SELECT * FROM threads ORDER BY id").fetchall():
        with _damage_noted(source, str(thread["name"] or thread["id"])):
            _read_llm_thread(connection, thread, source)


def _read_llm_thread(connection: sqlite3.Connection, thread: sqlite3.Row, source: ImportSource) -> None:
    said: list[tuple[datetime, Turn]] = []
    systems: list[str] = []
    query = "SELECT * FROM turns WHERE thread_id = ? ORDER BY datetime_utc, id"
    for turn in connection.execute(query, (thread["id"],)).fetchall():
        texts = _Texts(connection, source)
        replies = texts.above(turn["tip_message_hash"], {"assistant"}, stop=turn["parent_message_hash"])
        asked = texts.above(turn["parent_message_hash"], {"user"})
        system = "\n\n".join(_Texts(connection, None).above(turn["parent_message_hash"], {"system"}, through=True))
        systems += [system] if system else []
        value = Turn(user="\n\n".join(asked), reply="\n\n".join(replies), finish_reason="stop", model=str(turn["model"] or ""))
        said.append((_time(turn["datetime_utc"], source.changed), value))
    if said:
        name = str(thread["name"] or "")
        key, system = derived_key("llm", thread["id"]), _first_system(systems, name, source)
        source.add(_conversation(key, name, system, said, source, title_by="model"))


class _Texts:
    """The texts of llm's messages."""

    def __init__(self, connection: sqlite3.Connection, source: ImportSource | None) -> None:
        """Note what is left out in `source`, if there is one."""
        self._connection = connection
        self._source = source

    def above(self, tip: str | None, roles: set[str], *, stop: str | None = None, through: bool = False) -> list[str]:
        """The texts of the messages from `tip` upwards, oldest first.

        They end before `stop`; otherwise, unless `through` is set, before the first message of another role.
        """
        texts: list[str] = []
        seen: set[str] = set()
        while tip is not None and tip != stop and tip not in seen:
            seen.add(tip)
            message = self._connection.execute("SELECT parent_hash, role FROM messages WHERE hash = ?", (tip,)).fetchone()
            if message is None or (message["role"] not in roles and stop is None and not through):
                break
            if message["role"] in roles:
                texts.append(self._text(tip))
            tip = message["parent_hash"]
        return [text for text in reversed(texts) if text]

    def _text(self, message: str) -> str:
        parts = self._connection.execute(
            "SELECT type, text, payload FROM parts WHERE message_hash = ? ORDER BY position", (message,)
        ).fetchall()
        text = ""
        for part in parts:
            if part["type"] == "text":
                text += self._part(part)
            elif self._source is not None:
                what = _PART_KINDS.get(part["type"], UNKNOWN)
                self._source.leave_out(what, str(part["type"]) if what == UNKNOWN else "")
                text += "[attachment]\n\n" if what == FILES else ""
        return text

    def _part(self, part: sqlite3.Row) -> str:
        """A part's text, assembled if it refers to fragments."""
        if part["text"] is not None:
            return str(part["text"])
        payload: Any = json.loads(part["payload"] or "{}")
        pieces = payload.get("text_ref", []) if isinstance(payload, dict) else []
        text = str(payload.get("text", "")) if isinstance(payload, dict) else ""
        for piece in pieces:
            if "literal" in piece:
                text += str(piece["literal"])
            else:
                query = "SELECT content FROM fragments WHERE id = ?"
                row = self._connection.execute(query, (piece.get("fragment"),)).fetchone()
                text += "" if row is None else str(row["content"])
        return text


def _time(text: object, otherwise: datetime) -> datetime:
    try:
        return utc_time(str(text))
    except (ValueError, OverflowError):
        return otherwise
