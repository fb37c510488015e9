"""Reads ChatGPT's data export: ``conversations.json``, a list of conversations, each a mapping of message nodes.

A node has a message (or none), a parent and children; some exports leave the children out. Every path from a user message
through the assistant's messages to the next user message, or to the end, is one turn; diverging paths become siblings. Tool
messages, hidden messages and reasoning are left out and counted; images and other files become a placeholder in brackets; a
voice chat's transcript is its text.

Only the links must be as ChatGPT writes them. No text is refused because of the data around it: an invalid time, title or
field counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mistral_chat.conversation import FinishReason, Turn
from mistral_chat.errors import ImportFailed
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn
from mistral_chat.importers.json_reader import JSONReader
from mistral_chat.importers.report import BROKEN, FILES, HIDDEN, THOUGHTS, TOOLS, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_chat.importers.report import ImportSource

_ATTACHMENT: Final = "[attachment]"
_THOUGHTS: Final = {"thoughts", "reasoning_recap"}
_CONTEXT: Final = {"user_editable_context", "model_editable_context", "app_pairing_content"}
_RECORDINGS: Final = ("audio_asset_pointer", "real_time_user_audio_video_asset_pointer", "video_container_asset_pointer")
_CANVAS: Final = "canmore."
_ENDINGS: Final[dict[str, FinishReason]] = {"max_tokens": "length", "interrupted": "cancelled"}
_UNFINISHED: Final = {"in_progress", "finished_partial_completion"}
_LARGEST_TIME: Final = 253_402_300_799
"""The last second of the year 9999."""

_MARK: Final = re.compile("[ \t]*\ue200([^\ue200-\ue206]*)(?:\ue202([^\ue200\ue201]*))?\ue201")
"""A citation in a reply: its kind, a separator and its parameters, between private-use characters."""
_OLD_MARK: Final = re.compile(r"[ \t]*(?:【\d+(?::\d+)?†[^】\n]*】|:contentReference\[oaicite:\d+\]\{index=\d+\})")
"""A citation as in older replies."""
_MARK_CUT: Final = re.compile("[ \t]*\ue200[^\ue201\n]*$|[\ue200-\ue206]", re.MULTILINE)
"""The rest of a citation in a reply that was cut within it."""


def is_chatgpt(value: object) -> bool:
    """Whether parsed JSON looks like ChatGPT's ``conversations.json``, or like one of its conversations."""
    return any(isinstance(item, dict) and "mapping" in item for item in _items(value))


def _items(value: object) -> list[Any]:
    if isinstance(value, dict) and isinstance(value.get("conversations"), list):
        return list(value["conversations"])
    if isinstance(value, dict) and "mapping" not in value:
        return [each for each in value.values() if isinstance(each, dict) and "mapping" in each]
    return value if isinstance(value, list) else [value]


def read_chatgpt(value: object, source: ImportSource) -> None:
    """Read the parsed JSON of a file. A damaged conversation among intact ones is left out.

    Raises:
        ImportFailed: every conversation is damaged; the place in the first one is named.
    """
    errors: list[ImportFailed] = []
    items = _items(value)
    for place, item in enumerate(items, 1):
        try:
            source.add(_conversation(JSONReader(item, source.name, f"conversation {place}"), source))
        except ImportFailed as error:
            errors.append(error)
            title = item.get("title") if isinstance(item, dict) else None
            named = f" ({title})" if isinstance(title, str) and title else ""
            source.leave_out(BROKEN, str(error).removesuffix(" Nothing was imported.") + named)
    if errors and len(errors) == len(items):
        raise errors[0]


@dataclass(frozen=True, slots=True)
class _Node:
    key: str
    parent: str | None
    children: tuple[str, ...]
    role: str
    """``user``, ``assistant`` with text, ``system``, or empty for what is left out."""
    text: str = ""
    created: float = 0.0
    model: str = ""
    finish_reason: FinishReason = "stop"


@dataclass(frozen=True, slots=True)
class _Way:
    """A position in the walk: a node, the turn above it, and the messages since."""

    node: str
    above: str | None
    """The key of the turn above the one that is being gathered."""
    asked: _Node | None
    replies: tuple[_Node, ...]


def _conversation(fields: JSONReader, source: ImportSource) -> ExportedConversation:
    nodes = _linked(_nodes(fields, source), source, fields.place)
    times = sorted(node.created for node in nodes.values() if node.created and node.role)
    updated = _seconds(fields, "update_time", source)
    started = _seconds(fields, "create_time", source) or next(iter(times), updated) or source.changed.timestamp()
    model = _string(fields, "default_model_slug")
    turns: dict[str, TreeTurn] = {}
    turn_of: dict[str, str] = {}
    for turn, members in _turns(nodes, started, model):
        turns.setdefault(turn.key, turn)  # paths that diverge after the last text make the same turn
        turn_of.update(dict.fromkeys(members, turn.key))
    key = _string(fields, "conversation_id") or _string(fields, "id") or repr(sorted(nodes))
    created = datetime.fromtimestamp(started, UTC)
    current = _turn_at(_string(fields, "current_node"), nodes, turn_of)
    return ExportedConversation(
        key=_key("conversation", key),
        title=_string(fields, "title"),
        title_by="model",
        created=created,
        updated=max(created, datetime.fromtimestamp(updated or (times[-1] if times else started), UTC)),
        system="\n\n".join(node.text for node in nodes.values() if node.role == "system" and node.text),
        archived=fields.raw("is_archived") is True,
        pinned=fields.raw("is_starred") is True,
        turns=tuple(turns.values()),
        current=current or next(reversed(turns), None),
    )


def _string(fields: JSONReader, name: str) -> str:
    """The text in a field; empty when there is none."""
    found = fields.raw(name)
    return found if isinstance(found, str) else ""


def _seconds(fields: JSONReader, name: str, source: ImportSource) -> float | None:
    """The time in a field, in seconds since 1970; None if it is missing or unreadable, which is recorded."""
    found = fields.raw(name)
    if not found:
        return None
    try:
        seconds = float(found)
    except (TypeError, ValueError, OverflowError):
        seconds = _iso_seconds(found)
    if seconds > _LARGEST_TIME:
        seconds /= 1000  # milliseconds
    if isinstance(found, bool) or not 0 < seconds <= _LARGEST_TIME:
        source.leave_out("times that cannot be read", f"{fields.place}.{name}")
        return None
    return seconds


def _iso_seconds(text: object) -> float:
    try:
        found = datetime.fromisoformat(text if isinstance(text, str) else "")
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def _turn_at(node: str | None, nodes: dict[str, _Node], turn_of: dict[str, str]) -> str | None:
    """The turn that a node is part of, or the nearest one above it; None when there is none."""
    passed: set[str] = set()
    while node in nodes and node not in turn_of and node not in passed:
        passed.add(node)
        node = nodes[node].parent
    return None if node is None else turn_of.get(node)


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(("chatgpt", *parts)).encode(errors="replace")).hexdigest()[:16]


def _nodes(fields: JSONReader, source: ImportSource) -> dict[str, _Node]:
    """The nodes by key, as the file lists them."""
    mapping = fields.child("mapping")
    if mapping is None:
        raise fields.import_error("'mapping' is missing")
    return {
        key: _node(key, mapping.nested(value, f"{mapping.place}.{key}"), source)
        for key, value in mapping.pairs()
        if value is not None
    }


def _linked(nodes: dict[str, _Node], source: ImportSource, place: str) -> dict[str, _Node]:
    """Restore links that the file leaves out.

    A parent's list of children gives their order; a node that names a parent is its child even if the list omits it. If a node
    names no parent, the list decides. Nodes without any link follow one another in file order.
    """
    parents = {key: node.parent for key, node in nodes.items() if node.parent in nodes and node.parent != key}
    listed: dict[str, list[str]] = {key: [] for key in nodes}
    for node in nodes.values():
        for child in dict.fromkeys(node.children):
            if child not in nodes:
                source.leave_out("messages missing from the file", place)
            elif parents.setdefault(child, node.key) == node.key and child not in listed[node.key]:
                listed[node.key].append(child)
    if not parents:
        keys = list(nodes)
        parents = dict(zip(keys[1:], keys, strict=False))
    for child, parent in parents.items():
        if child not in listed[parent]:
            listed[parent].append(child)
    return {
        key: _Node(key, parents.get(key), tuple(listed[key]), node.role, node.text, node.created, node.model, node.finish_reason)
        for key, node in nodes.items()
    }


def _node(key: str, fields: JSONReader, source: ImportSource) -> _Node:
    children = tuple(str(child) for child, _ in fields.items("children")) if fields.has("children") else ()
    parent = fields.optional("parent", str)
    message = _object(fields, "message")
    if message is None:
        return _Node(key, parent, children, "")
    author = _object(message, "author")
    metadata = _object(message, "metadata")
    role = _string(message, "author") if author is None else _string(author, "role")
    text = _text(message, role, metadata, source)
    if role == "tool" or (role == "assistant" and not text):
        role = "assistant" if text else ""
    elif role not in {"user", "assistant", "system"}:
        source.leave_out(UNKNOWN, f"messages with the role {role}" if role else "messages without a role", count=bool(text))
        text = None
    return _Node(
        key,
        parent,
        children,
        role if text is not None else "",
        text or "",
        _seconds(message, "create_time", source) or 0.0,
        "" if metadata is None else _string(metadata, "model_slug"),
        _finish_reason(message, metadata),
    )


def _object(fields: JSONReader, name: str) -> JSONReader | None:
    """The object in a field; None when there is none."""
    return fields.child(name) if isinstance(fields.raw(name), dict) else None


def _finish_reason(message: JSONReader, metadata: JSONReader | None) -> FinishReason:
    if _string(message, "status") in _UNFINISHED:
        return "cancelled"
    details = metadata.raw("finish_details") if metadata is not None else None
    kind = details.get("type") if isinstance(details, dict) else None
    return _ENDINGS.get(kind, "stop") if isinstance(kind, str) else "stop"


def _text(message: JSONReader, role: str, metadata: JSONReader | None, source: ImportSource) -> str | None:
    """The text of a message, None when the user did not see it. What is left out is noted."""
    content = _content(message)
    if content is None:
        return None
    kind = _string(content, "content_type") or "text"
    recipient = _string(message, "recipient") or "all"
    unseen = _unseen(kind, metadata)
    if unseen is None and role == "assistant" and recipient not in {"all", "python"} and not recipient.startswith(_CANVAS):
        unseen = TOOLS
    if unseen is not None:
        source.leave_out(unseen, count=int(kind != "text" or bool(_plain(content, kind))))
        return None
    if role == "tool":
        return _tool_result(content, source)
    if recipient.startswith(_CANVAS):
        return _canvas(_plain(content, kind))
    if kind == "code":
        return f"```{_language(content)}\n{_plain(content, kind)}\n```"
    text = _said(content, kind, source)
    names = [] if metadata is None else _attachment_names(metadata)
    source.leave_out(FILES, count=len(names))
    text = "\n\n".join([*(f"[attachment: {name}]" for name in names), *([text] if text else [])])
    return _without_marks(text, metadata) if role != "user" else text


def _content(message: JSONReader) -> JSONReader | None:
    """A message's content; a bare text or a list of parts is taken for one."""
    content = message.raw("content")
    if isinstance(content, str | list):
        parts = content if isinstance(content, list) else [content]
        return message.nested({"parts": parts}, f"{message.place}.content")
    return _object(message, "content")


def _unseen(kind: str, metadata: JSONReader | None) -> str | None:
    """The kind of a message that the user did not see; None for others."""
    if kind in _CONTEXT:
        return "custom instructions"
    if kind in _THOUGHTS:
        return THOUGHTS
    if metadata is not None and metadata.raw("is_visually_hidden_from_conversation"):
        return HIDDEN
    return None


def _parts(content: JSONReader) -> list[Any]:
    parts = content.raw("parts")
    return parts if isinstance(parts, list) else [parts] if isinstance(parts, str) else []


def _plain(content: JSONReader, kind: str) -> str:
    text = content.raw("text") if kind == "code" else next((part for part in _parts(content) if isinstance(part, str)), "")
    return text if isinstance(text, str) else ""


def _language(content: JSONReader) -> str:
    language = _string(content, "language")
    return "" if language == "unknown" else language


def _tool_result(content: JSONReader, source: ImportSource) -> str:
    """An image made by a tool is part of the reply; other tool results are left out."""
    pictures = sum(isinstance(part, dict) and part.get("content_type") == "image_asset_pointer" for part in _parts(content))
    source.leave_out(FILES if pictures else TOOLS, count=pictures or 1)
    return "\n\n".join([_ATTACHMENT] * pictures)


def _said(content: JSONReader, kind: str, source: ImportSource) -> str:
    """The text of a message's parts; a part without text becomes a placeholder in brackets."""
    parts = _parts(content)
    if not parts:
        text = next((found for name in ("text", "result") if isinstance(found := content.raw(name), str) and found.strip()), "")
        if not text and kind not in {"text", "multimodal_text"}:
            source.leave_out(UNKNOWN, kind)
        return text
    transcript = any(isinstance(part, dict) and part.get("content_type") == "audio_transcription" for part in parts)
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part is not None:
            source.leave_out(FILES)
            recording = isinstance(part, dict) and part.get("content_type") in _RECORDINGS
            texts.append("" if recording and transcript else _ATTACHMENT)
    return "\n\n".join(text for text in texts if text)


def _attachment_names(metadata: JSONReader) -> list[str]:
    """The names of files sent with a message, except images that are among its parts."""
    attachments = metadata.raw("attachments")
    return [
        " ".join(each["name"].split())
        for each in (attachments if isinstance(attachments, list) else [])
        if isinstance(each, dict) and isinstance(each.get("name"), str) and not _is_picture(each)
    ]


def _is_picture(attachment: dict[str, Any]) -> bool:
    return "width" in attachment or str(attachment.get("mime_type") or attachment.get("mimeType") or "").startswith("image/")


def _canvas(text: str) -> str:
    """The document that the assistant wrote or changed in a canvas; other JSON stays as code."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        name, kind, written = str(value.get("name") or ""), str(value.get("type") or ""), value["content"]
        body = f"```{kind.removeprefix('code/')}\n{written}\n```" if kind.startswith("code/") else written
        return f"**{name}**\n\n{body}" if name else body
    entries = [*_entries(value.get("updates")), *_entries(value.get("comments"))] if isinstance(value, dict) else []
    texts = [str(each.get("replacement") or each.get("comment") or "") for each in entries]
    return "\n\n".join(filter(None, texts)) or (f"```json\n{text}\n```" if text else "")


def _without_marks(text: str, metadata: JSONReader | None) -> str:
    """Replace citations in `text` by what the export says they show, or remove them."""
    shown = dict(_citations(text, metadata))

    def replaced(match: re.Match[str]) -> str:
        mark = match.group().lstrip(" \t")
        found = shown.get(mark) or (_entity(match.group(1), match.group(2) or "") if match.re is _MARK else "")
        return f"{match.group()[: -len(mark)]}{found}" if found else ""

    return _MARK_CUT.sub("", _OLD_MARK.sub(replaced, _MARK.sub(replaced, text)))


def _citations(text: str, metadata: JSONReader | None) -> Iterator[tuple[str, str]]:
    """The citations that the export explains, with what each shows."""
    if metadata is None:
        return
    for citation in _entries(metadata.raw("citations")):
        start, end, cited = citation.get("start_ix"), citation.get("end_ix"), citation.get("metadata")
        if isinstance(start, int) and isinstance(end, int) and isinstance(cited, dict):
            yield text[start:end].strip(), _reference(cited)
    for reference in _entries(metadata.raw("content_references")):
        if isinstance(reference.get("matched_text"), str):
            yield reference["matched_text"].strip(), _reference(reference)


def _reference(reference: dict[str, Any]) -> str:
    """What a citation shows: the Markdown that the export gives for it, or links to its sources."""
    alt = reference.get("alt")
    if isinstance(alt, str) and alt.strip():
        return alt.strip()
    items = [reference, *_entries(reference.get("items")), *_entries(reference.get("sources"))]
    links = {
        each["url"]: str(each.get("title") or each["url"])
        for each in items
        if isinstance(each.get("url"), str) and each["url"].startswith(("http://", "https://"))
    }
    name = reference.get("name")
    if not links and isinstance(name, str) and name.strip():
        return f"({' '.join(name.split())})"
    return "" if not links else f"({', '.join(f'[{title}]({url})' for url, title in links.items())})"


def _entries(value: object) -> list[dict[str, Any]]:
    """The objects in a list; empty if the value is not a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _entity(kind: str, parameters: str) -> str:
    """The name in an entity such as ``entity ["city", "Paris", "capital"]``; empty for other kinds."""
    if kind != "entity":
        return ""
    try:
        value = json.loads(parameters)
    except (ValueError, RecursionError):
        return ""
    return str(value[1]) if isinstance(value, list) and len(value) > 1 else ""


def _turns(nodes: dict[str, _Node], started: float, model: str) -> Iterator[tuple[TreeTurn, list[str]]]:
    """The turns, parents first, each with the keys of the nodes that belong to it alone."""
    roots = [key for key, node in nodes.items() if node.parent is None]
    waiting = [_Way(root, None, None, ()) for root in reversed(roots)]
    seen: set[str] = set()
    while waiting or len(seen) < len(nodes):
        if not waiting:  # nodes in a cycle: start with the first
            waiting.append(_Way(next(key for key in nodes if key not in seen), None, None, ()))
        way = waiting.pop()
        if way.node in seen:
            continue
        seen.add(way.node)
        node = nodes[way.node]
        if node.role == "user":
            way = _Way(way.node, way.above, node, ())
        elif node.role == "assistant":
            way = _Way(way.node, way.above, way.asked, (*way.replies, node))
        children = [child for child in node.children if child not in seen]
        next_turns = [child for child in children if nodes[child].role == "user"]
        above = way.above
        if (next_turns or not children) and (way.asked or way.replies):
            turn = _turn(way, started, model)
            above = turn.key
            yield turn, [each.key for each in (way.asked, *way.replies) if each] + [node.key]
        waiting += [_Way(child, above, None, ()) for child in reversed(next_turns)]
        waiting += [_Way(child, way.above, way.asked, way.replies) for child in reversed(children) if child not in next_turns]


def _turn(way: _Way, started: float, model: str) -> TreeTurn:
    asked, last = way.asked, way.replies[-1] if way.replies else None
    seconds = next((each.created for each in (asked, *way.replies) if each and each.created), started)
    return TreeTurn(
        key=_key("turn", asked.key if asked else "", *(reply.key for reply in way.replies)),
        parent=way.above,
        created=datetime.fromtimestamp(max(0.0, min(seconds, _LARGEST_TIME)), UTC),
        turn=Turn(
            user=asked.text if asked else "",
            reply="\n\n".join(reply.text for reply in way.replies),
            finish_reason=last.finish_reason if last else None,
            model=(last.model or model) if last else "",
        ),
    )
