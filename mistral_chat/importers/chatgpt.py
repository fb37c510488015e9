"""Reads ChatGPT's data export: ``conversations.json``, a list of conversations, each a mapping of message nodes.

A node has a message (or none), a parent and children; some exports leave the children out. Every path from a user message
through the assistant's messages to the next user message, or to the end, is one turn; diverging paths become siblings. Tool
messages, hidden messages and reasoning are left out and counted; images and other files become a placeholder in brackets; a
voice chat's transcript is its text.

Only the links must be as ChatGPT writes them. No text is refused because of the data around it: an invalid time, title or
field counts as missing.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mistral_chat.conversation import FinishReason, Turn
from mistral_chat.errors import ImportFailed
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn, derived_key
from mistral_chat.importers.json_reader import JSONReader, utc_time
from mistral_chat.importers.report import BROKEN, FILES, HIDDEN, REASONING, TOOLS, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mistral_chat.importers.report import ImportSource

_ATTACHMENT: Final = "[attachment]"
_THOUGHTS: Final = {"thoughts", "reasoning_recap"}
_CONTEXT: Final = {"user_editable_context", "model_editable_context", "app_pairing_content"}
_RECORDINGS: Final = ("audio_asset_pointer", "real_time_user_audio_video_asset_pointer", "video_container_asset_pointer")
_CANVAS: Final = "canmore."
_ENDINGS: Final[dict[str, FinishReason]] = {"max_tokens": "length", "interrupted": "cancelled"}
_UNFINISHED: Final = {"in_progress", "finished_partial_completion"}
_LARGEST_TIME: Final = 253_370_764_799
"""The last second of the year 9998; some times of the next one do not exist in some zone."""

_MARK: Final = re.compile("(?<![ \t])[ \t]*\ue200([^\ue200-\ue206]*)(?:\ue202([^\ue200\ue201]*))?\ue201")
"""A citation in a reply: its kind, a separator and its parameters, between private-use characters."""
_OLD_MARK: Final = re.compile(r"(?<![ \t])[ \t]*(?:【\d+(?::\d+)?†[^【】\n]*】|:contentReference\[oaicite:\d+\]\{index=\d+\})")
"""A citation as in older replies."""
_MARK_CUT: Final = re.compile("(?<![ \t])[ \t]*\ue200[^\ue201\n]*$|[\ue200-\ue206]", re.MULTILINE)
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
            title = _string(item, "title") if isinstance(item, dict) else ""
            named = f" ({title})" if title else ""
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
    value, place = fields.value, fields.place
    nodes = _linked(_nodes(fields, source), source, place)
    times = sorted(node.created for node in nodes.values() if node.created and node.role)
    updated = _seconds(value, "update_time", place, source)
    started = _seconds(value, "create_time", place, source) or next(iter(times), updated) or source.changed.timestamp()
    turns: dict[str, TreeTurn] = {}
    turn_of: dict[str, str] = {}
    for turn, members in _turns(nodes, started, _string(value, "default_model_slug")):
        turns.setdefault(turn.key, turn)  # paths that diverge after the last text make the same turn
        turn_of.update(dict.fromkeys(members, turn.key))
    key = _string(value, "conversation_id") or _string(value, "id") or repr(sorted(nodes))
    created = datetime.fromtimestamp(started, UTC)
    current = _turn_at(_string(value, "current_node"), nodes, turn_of)
    return ExportedConversation(
        key=derived_key("chatgpt", "conversation", key),
        title=_string(value, "title"),
        title_by="model",
        created=created,
        updated=max(created, datetime.fromtimestamp(updated or (times[-1] if times else started), UTC)),
        system="\n\n".join(node.text for node in nodes.values() if node.role == "system" and node.text),
        archived=value.get("is_archived") is True,
        pinned=value.get("is_starred") is True,
        turns=tuple(turns.values()),
        current=current or next(reversed(turns), None),
    )


def _string(value: Mapping[str, Any], name: str) -> str:
    """The text in a field; empty when there is none."""
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object in a field; empty when there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _objects(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list; empty when there is no list."""
    found = value.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _seconds(value: Mapping[str, Any], name: str, place: str, source: ImportSource) -> float | None:
    """The time in a field, in seconds since 1970; None if it is missing or unreadable, which is recorded."""
    found = value.get(name)
    if not found:
        return None
    try:
        seconds = float(found)
    except (TypeError, ValueError, OverflowError):
        seconds = _iso_seconds(found)
    if seconds > _LARGEST_TIME:
        seconds /= 1000  # milliseconds
    if isinstance(found, bool) or not 0 < seconds <= _LARGEST_TIME:
        source.leave_out("times that cannot be read", f"{place}.{name}")
        return None
    return seconds


def _iso_seconds(text: object) -> float:
    try:
        return utc_time(text if isinstance(text, str) else "").timestamp()
    except (ValueError, OverflowError):
        return math.nan


def _turn_at(node: str | None, nodes: dict[str, _Node], turn_of: dict[str, str]) -> str | None:
    """The turn that a node is part of, or the nearest one above it; None when there is none."""
    passed: set[str] = set()
    while node in nodes and node not in turn_of and node not in passed:
        passed.add(node)
        node = nodes[node].parent
    return None if node is None else turn_of.get(node)


def _nodes(fields: JSONReader, source: ImportSource) -> dict[str, _Node]:
    """The nodes by key, as the file lists them."""
    mapping = fields.child("mapping")
    if mapping is None:
        raise fields.import_error("'mapping' is missing")
    return {
        key: _node(key, JSONReader(value, source.name, f"{mapping.place}.{key}"), source)
        for key, value in mapping.value.items()
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
    return {key: replace(node, parent=parents.get(key), children=tuple(listed[key])) for key, node in nodes.items()}


def _node(key: str, fields: JSONReader, source: ImportSource) -> _Node:
    children = tuple(map(str, fields.optional("children", list) or ()))
    parent = fields.optional("parent", str)
    message = _object(fields.value, "message")
    metadata = _object(message, "metadata")
    role = _string(_object(message, "author"), "role") or _string(message, "author")
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
        _seconds(message, "create_time", f"{fields.place}.message", source) or 0.0,
        _string(metadata, "model_slug"),
        "cancelled"
        if _string(message, "status") in _UNFINISHED
        else _ENDINGS.get(_string(_object(metadata, "finish_details"), "type"), "stop"),
    )


def _text(message: Mapping[str, Any], role: str, metadata: Mapping[str, Any], source: ImportSource) -> str | None:
    """The text of a message, None when the user did not see it. What is left out is noted."""
    content = message.get("content")
    if isinstance(content, str | list):  # a bare text or a list of parts is taken for a content
        content = {"parts": content}
    if not isinstance(content, dict):
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
        language = _string(content, "language")
        return f"```{'' if language == 'unknown' else language}\n{_plain(content, kind)}\n```"
    text = _said(content, kind, source)
    names = _attachment_names(metadata)
    source.leave_out(FILES, count=len(names))
    text = "\n\n".join([*(f"[attachment: {name}]" for name in names), *([text] if text else [])])
    return _without_marks(text, metadata) if role != "user" else text


def _unseen(kind: str, metadata: Mapping[str, Any]) -> str | None:
    """The kind of a message that the user did not see; None for others."""
    if kind in _CONTEXT:
        return "custom instructions"
    if kind in _THOUGHTS:
        return REASONING
    return HIDDEN if metadata.get("is_visually_hidden_from_conversation") else None


def _parts(content: Mapping[str, Any]) -> list[Any]:
    parts = content.get("parts")
    return parts if isinstance(parts, list) else [parts] if isinstance(parts, str) else []


def _plain(content: Mapping[str, Any], kind: str) -> str:
    if kind == "code":
        return _string(content, "text")
    return next((part for part in _parts(content) if isinstance(part, str)), "")


def _tool_result(content: Mapping[str, Any], source: ImportSource) -> str:
    """An image made by a tool is part of the reply; other tool results are left out."""
    pictures = sum(each.get("content_type") == "image_asset_pointer" for each in _objects(content, "parts"))
    source.leave_out(FILES if pictures else TOOLS, count=pictures or 1)
    return "\n\n".join([_ATTACHMENT] * pictures)


def _said(content: Mapping[str, Any], kind: str, source: ImportSource) -> str:
    """The text of a message's parts; a part without text becomes a placeholder in brackets."""
    parts = _parts(content)
    if not parts:
        text = next((found for name in ("text", "result") if (found := _string(content, name)).strip()), "")
        if not text and kind not in {"text", "multimodal_text"}:
            source.leave_out(UNKNOWN, kind)
        return text
    transcript = any(each.get("content_type") == "audio_transcription" for each in _objects(content, "parts"))
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


def _attachment_names(metadata: Mapping[str, Any]) -> list[str]:
    """The names of files sent with a message, except images that are among its parts."""
    return [
        " ".join(each["name"].split())
        for each in _objects(metadata, "attachments")
        if isinstance(each.get("name"), str) and not _is_picture(each)
    ]


def _is_picture(attachment: dict[str, Any]) -> bool:
    return "width" in attachment or str(attachment.get("mime_type") or attachment.get("mimeType") or "").startswith("image/")


def _canvas(text: str) -> str:
    """The document that the assistant wrote or changed in a canvas; other JSON stays as code."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    value = value if isinstance(value, dict) else {}
    if isinstance(written := value.get("content"), str):
        name, kind = str(value.get("name") or ""), str(value.get("type") or "")
        body = f"```{kind.removeprefix('code/')}\n{written}\n```" if kind.startswith("code/") else written
        return f"**{name}**\n\n{body}" if name else body
    entries = [*_objects(value, "updates"), *_objects(value, "comments")]
    texts = [str(each.get("replacement") or each.get("comment") or "") for each in entries]
    return "\n\n".join(filter(None, texts)) or (f"```json\n{text}\n```" if text else "")


def _without_marks(text: str, metadata: Mapping[str, Any]) -> str:
    """Replace citations in `text` by what the export says they show, or remove them."""
    shown = dict(_citations(text, metadata))

    def replaced(match: re.Match[str]) -> str:
        mark = match.group().lstrip(" \t")
        found = shown.get(mark) or (_entity(match.group(1), match.group(2) or "") if match.re is _MARK else "")
        return f"{match.group()[: -len(mark)]}{found}" if found else ""

    return _MARK_CUT.sub("", _OLD_MARK.sub(replaced, _MARK.sub(replaced, text)))


def _citations(text: str, metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The citations that the export explains, with what each shows."""
    for citation in _objects(metadata, "citations"):
        start, end, cited = citation.get("start_ix"), citation.get("end_ix"), citation.get("metadata")
        if isinstance(start, int) and isinstance(end, int) and isinstance(cited, dict):
            yield text[start:end].strip(), _reference(cited)
    for reference in _objects(metadata, "content_references"):
        if isinstance(reference.get("matched_text"), str):
            yield reference["matched_text"].strip(), _reference(reference)


def _reference(reference: dict[str, Any]) -> str:
    """What a citation shows: the Markdown that the export gives for it, or links to its sources."""
    if alt := _string(reference, "alt").strip():
        return alt
    items = [reference, *_objects(reference, "items"), *_objects(reference, "sources")]
    links = {
        url: str(each.get("title") or url) for each in items if (url := _string(each, "url")).startswith(("http://", "https://"))
    }
    shown = ", ".join(f"[{title}]({url})" for url, title in links.items()) or " ".join(_string(reference, "name").split())
    return f"({shown})" if shown else ""


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
            way = replace(way, replies=(*way.replies, node))
        children = [child for child in node.children if child not in seen]
        next_turns = [child for child in children if nodes[child].role == "user"]
        above = way.above
        if (next_turns or not children) and (way.asked or way.replies):
            turn = _turn(way, started, model)
            above = turn.key
            yield turn, [each.key for each in (way.asked, *way.replies) if each] + [node.key]
        waiting += [_Way(child, above, None, ()) for child in reversed(next_turns)]
        waiting += [replace(way, node=child) for child in reversed(children) if child not in next_turns]


def _turn(way: _Way, started: float, model: str) -> TreeTurn:
    asked, last = way.asked, way.replies[-1] if way.replies else None
    seconds = next((each.created for each in (asked, *way.replies) if each and each.created), started)
    return TreeTurn(
        key=derived_key("chatgpt", "turn", asked.key if asked else "", *(reply.key for reply in way.replies)),
        parent=way.above,
        created=datetime.fromtimestamp(seconds, UTC),
        turn=Turn(
            user=asked.text if asked else "",
            reply="\n\n".join(reply.text for reply in way.replies),
            finish_reason=last.finish_reason if last else None,
            model=(last.model or model) if last else "",
        ),
    )
