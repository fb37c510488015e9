"""ChatGPT's data export: ``conversations.json``, a list of conversations, each a mapping of message nodes.

A node has a message (or none), a parent and children; some exports leave the children out. Every way down from a user's
message through the assistant's messages to the next user's message, or to the end, is one turn; ways that part become
siblings. Tool messages, hidden messages and thoughts are left out and counted; pictures and other files become a word in
brackets; a voice chat's transcript is its text.
"""

from __future__ import annotations

import hashlib
import json
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
_LARGEST_TIME: Final = 253_402_300_799
"""The last second of the year 9999."""

_MARK: Final = re.compile("[ \t]*\ue200([^\ue200-\ue206]*)(?:\ue202([^\ue200\ue201]*))?\ue201")
"""A citation in a reply: its kind, and after a separator its parameters, between private-use characters."""
_MARK_CUT: Final = re.compile("[ \t]*\ue200[^\ue201\n]*$|[\ue200-\ue206]", re.MULTILINE)
"""What is left of a mark in a reply that was cut within it."""


def is_chatgpt(value: object) -> bool:
    """Whether parsed JSON looks like ChatGPT's ``conversations.json``, or like one conversation of it."""
    return any(isinstance(item, dict) and "mapping" in item for item in _items(value))


def _items(value: object) -> list[Any]:
    if isinstance(value, dict) and isinstance(value.get("conversations"), list):
        return list(value["conversations"])
    return value if isinstance(value, list) else [value]


def read_chatgpt(value: object, source: ImportSource) -> None:
    """Read the parsed JSON of a file. A damaged conversation among good ones is left out.

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
    """A position of the walk: a node, the turn above it, and the messages since."""

    node: str
    above: str | None
    """The key of the turn above the one that is being gathered."""
    asked: _Node | None
    replies: tuple[_Node, ...]


def _conversation(fields: JSONReader, source: ImportSource) -> ExportedConversation:
    nodes = _linked(_nodes(fields, source), source, fields.place)
    times = sorted(node.created for node in nodes.values() if node.created and node.role)
    updated = fields.optional("update_time", float)
    started = fields.optional("create_time", float) or next(iter(times), updated) or source.changed.timestamp()
    model = fields.optional("default_model_slug", str) or ""
    turns: dict[str, TreeTurn] = {}
    turn_of: dict[str, str] = {}
    for turn, members in _turns(nodes, started, model):
        turns.setdefault(turn.key, turn)  # ways that part after the last text make the same turn
        turn_of.update(dict.fromkeys(members, turn.key))
    key = fields.optional("conversation_id", str) or fields.optional("id", str) or repr(sorted(nodes))
    created = _time(fields, started)
    current = _turn_at(fields.optional("current_node", str), nodes, turn_of)
    return ExportedConversation(
        key=_key("conversation", key),
        title=fields.optional("title", str) or "",
        title_by="model",
        created=created,
        updated=max(created, _time(fields, updated or (times[-1] if times else started))),
        system="\n\n".join(node.text for node in nodes.values() if node.role == "system" and node.text),
        turns=tuple(turns.values()),
        current=current or next(reversed(turns), None),
    )


def _turn_at(node: str | None, nodes: dict[str, _Node], turn_of: dict[str, str]) -> str | None:
    """The turn that a node is part of, or the nearest one above it; None when there is none."""
    passed: set[str] = set()
    while node in nodes and node not in turn_of and node not in passed:
        passed.add(node)
        node = nodes[node].parent
    return None if node is None else turn_of.get(node)


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(("chatgpt", *parts)).encode(errors="replace")).hexdigest()[:16]


def _time(fields: JSONReader, seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise fields.import_error(f"{seconds:g} is no time") from error


def _nodes(fields: JSONReader, source: ImportSource) -> dict[str, _Node]:
    """The nodes by their key, as the file has them."""
    mapping = fields.child("mapping")
    if mapping is None:
        raise fields.import_error("'mapping' is missing")
    return {
        key: _node(key, mapping.nested(value, f"{mapping.place}.{key}"), source)
        for key, value in mapping.pairs()
        if value is not None
    }


def _linked(nodes: dict[str, _Node], source: ImportSource, place: str) -> dict[str, _Node]:
    """The nodes with the links that the file leaves out.

    A parent's list of children gives their order; a node that names a parent is its child although the list leaves it out.
    Where a node names no parent, the list counts. Nodes without any link follow one another as they do in the file.
    """
    parents = {key: node.parent for key, node in nodes.items() if node.parent in nodes and node.parent != key}
    listed: dict[str, list[str]] = {key: [] for key in nodes}
    for node in nodes.values():
        for child in dict.fromkeys(node.children):
            if child not in nodes:
                source.leave_out("messages that the file names and does not hold", place)
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
    message = fields.child("message")
    if message is None:
        return _Node(key, parent, children, "")
    author = message.child("author")
    metadata = message.child("metadata")
    role = "" if author is None else author.optional("role", str) or ""
    text = _text(message, role, metadata, source)
    if role == "tool" or (role == "assistant" and not text):
        role = "assistant" if text else ""
    seconds = message.optional("create_time", float) or 0.0
    return _Node(
        key,
        parent,
        children,
        role if text is not None else "",
        text or "",
        max(0.0, min(seconds, _LARGEST_TIME)),
        "" if metadata is None else metadata.optional("model_slug", str) or "",
        _finish_reason(metadata),
    )


def _finish_reason(metadata: JSONReader | None) -> FinishReason:
    details = metadata.raw("finish_details") if metadata is not None else None
    kind = details.get("type") if isinstance(details, dict) else None
    return _ENDINGS.get(kind, "stop") if isinstance(kind, str) else "stop"


def _text(message: JSONReader, role: str, metadata: JSONReader | None, source: ImportSource) -> str | None:
    """The text of a message, None when the user did not see it. What is left out is noted."""
    content = message.child("content")
    if content is None:
        return None
    kind = content.optional("content_type", str) or "text"
    recipient = message.optional("recipient", str) or "all"
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
        return f"```{_language(content)}\n{content.optional('text', str) or ''}\n```"
    text = _said(content, kind, source)
    names = [] if metadata is None else _attachment_names(metadata)
    source.leave_out(FILES, count=len(names))
    return _without_marks("\n\n".join([*(f"[attachment: {name}]" for name in names), *([text] if text else [])]), metadata)


def _unseen(kind: str, metadata: JSONReader | None) -> str | None:
    """What a message is that the user did not see; None for the others."""
    if kind in _CONTEXT:
        return "custom instructions"
    if kind in _THOUGHTS:
        return THOUGHTS
    if metadata is not None and metadata.raw("is_visually_hidden_from_conversation"):
        return HIDDEN
    return None


def _parts(content: JSONReader) -> list[Any]:
    parts = content.raw("parts")
    return parts if isinstance(parts, list) else []


def _plain(content: JSONReader, kind: str) -> str:
    text = content.raw("text") if kind == "code" else next((part for part in _parts(content) if isinstance(part, str)), "")
    return text if isinstance(text, str) else ""


def _language(content: JSONReader) -> str:
    language = content.optional("language", str) or ""
    return "" if language == "unknown" else language


def _tool_result(content: JSONReader, source: ImportSource) -> str:
    """A picture that a tool made is part of the reply; everything else a tool returns is left out."""
    pictures = sum(isinstance(part, dict) and part.get("content_type") == "image_asset_pointer" for part in _parts(content))
    source.leave_out(FILES if pictures else TOOLS, count=pictures or 1)
    return "\n\n".join([_ATTACHMENT] * pictures)


def _said(content: JSONReader, kind: str, source: ImportSource) -> str:
    """The text of a message's parts; a part that has none becomes a word in brackets."""
    parts = content.raw("parts")
    if not isinstance(parts, list):
        text = next((found for name in ("text", "result") if isinstance(found := content.raw(name), str) and found.strip()), "")
        if not text and kind != "text":
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
    """The names of files that were sent with a message, without the pictures that are among its parts."""
    attachments = metadata.raw("attachments")
    return [
        " ".join(each["name"].split())
        for each in (attachments if isinstance(attachments, list) else [])
        if isinstance(each, dict) and isinstance(each.get("name"), str) and not _is_picture(each)
    ]


def _is_picture(attachment: dict[str, Any]) -> bool:
    return "width" in attachment or str(attachment.get("mime_type") or attachment.get("mimeType") or "").startswith("image/")


def _canvas(text: str) -> str:
    """The document that the assistant wrote or changed in a canvas; other JSON stays as it is, as code."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        name, kind, written = str(value.get("name") or ""), str(value.get("type") or ""), value["content"]
        body = f"```{kind.removeprefix('code/')}\n{written}\n```" if kind.startswith("code/") else written
        return f"**{name}**\n\n{body}" if name else body
    entries = [*_list(value, "updates"), *_list(value, "comments")] if isinstance(value, dict) else []
    texts = [str(each.get("replacement") or each.get("comment") or "") for each in entries if isinstance(each, dict)]
    return "\n\n".join(filter(None, texts)) or (f"```json\n{text}\n```" if text else "")


def _without_marks(text: str, metadata: JSONReader | None) -> str:
    """`text` with its citation marks replaced by what the export says they show, or removed."""
    if "\ue200" not in text:
        return text
    references = metadata.raw("content_references") if metadata is not None else None
    shown: dict[str, str] = {}
    for reference in references if isinstance(references, list) else []:
        if isinstance(reference, dict) and isinstance(reference.get("matched_text"), str):
            shown[reference["matched_text"].strip()] = _reference(reference)

    def replaced(match: re.Match[str]) -> str:
        mark = match.group().lstrip(" \t")
        found = shown.get(mark) or _entity(match.group(1), match.group(2) or "")
        return f"{match.group()[: -len(mark)]}{found}" if found else ""

    return _MARK_CUT.sub("", _MARK.sub(replaced, text))


def _reference(reference: dict[str, Any]) -> str:
    """What a citation shows: the Markdown that the export gives for it, or links to its sources."""
    alt = reference.get("alt")
    if isinstance(alt, str) and alt.strip():
        return alt.strip()
    items = [each for each in (reference, *_list(reference, "items"), *_list(reference, "sources")) if isinstance(each, dict)]
    links = {
        each["url"]: str(each.get("title") or each["url"])
        for each in items
        if isinstance(each.get("url"), str) and each["url"].startswith(("http://", "https://"))
    }
    return "" if not links else f"({', '.join(f'[{title}]({url})' for url, title in links.items())})"


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    return found if isinstance(found, list) else []


def _entity(kind: str, parameters: str) -> str:
    """The name in a mark such as ``entity ["city", "Paris", "capital"]``; empty for other kinds."""
    if kind != "entity":
        return ""
    try:
        value = json.loads(parameters)
    except (ValueError, RecursionError):
        return ""
    return str(value[1]) if isinstance(value, list) and len(value) > 1 else ""


def _turns(nodes: dict[str, _Node], started: float, model: str) -> Iterator[tuple[TreeTurn, list[str]]]:
    """The turns, parents first, each with the keys of the nodes that only it is made of."""
    roots = [key for key, node in nodes.items() if node.parent is None]
    waiting = [_Way(root, None, None, ()) for root in reversed(roots)]
    seen: set[str] = set()
    while waiting or len(seen) < len(nodes):
        if not waiting:  # nodes in a circle: begin with the first
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
