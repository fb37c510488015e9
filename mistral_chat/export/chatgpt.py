"""ChatGPT's data export: `conversations.json`, a list of conversations, each a mapping of message nodes.

A node has a message (or none), a parent and children. Every way down from a person's message through the assistant's
messages to where the next person's message begins, or nothing follows, is one of our turns; ways that part become siblings.
What tools said, hidden messages and thoughts are left out; pictures and other attachments become a word in brackets.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mistral_chat.conversation import Turn
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn
from mistral_chat.export.json_reader import JSONReader, import_error

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_chatgpt(value: object) -> bool:
    """Whether parsed JSON looks like ChatGPT's `conversations.json`."""
    return isinstance(value, list) and all(isinstance(item, dict) and "mapping" in item for item in value)


def chatgpt_trees(value: list[object], source: str) -> list[ExportedConversation]:
    """The conversations in the parsed JSON of a file called `source`.

    Raises:
        ImportFailed: a conversation is not as it should be; the place is named.
    """
    return [_tree(JSONReader(item, source, f"conversation {place}")) for place, item in enumerate(value, 1)]


@dataclass(frozen=True, slots=True)
class _Node:
    key: str
    parent: str | None
    children: tuple[str, ...]
    role: str
    text: str
    created: float
    model: str


@dataclass(frozen=True, slots=True)
class _Way:
    """Where the walk is: at a node, below a finished turn, with what was said since."""

    node: str
    above: str | None
    """The key of the turn above the one that is being gathered."""
    asked: _Node | None
    replies: tuple[_Node, ...]


def _tree(fields: JSONReader) -> ExportedConversation:
    nodes = _nodes(fields)
    started = fields.optional("create_time", float) or 0.0
    turns: list[TreeTurn] = []
    turn_of: dict[str, str] = {}
    for turn, members in _turns(nodes, started):
        turns.append(turn)
        turn_of.update(dict.fromkeys(members, turn.key))
    current = _turn_at(fields.optional("current_node", str), nodes, turn_of)
    key = fields.optional("conversation_id", str) or fields.optional("id", str) or repr(sorted(nodes))
    created = _time(fields, started)
    try:
        return ExportedConversation(
            key=_key("conversation", key),
            title=fields.optional("title", str) or "",
            title_by="model",
            created=created,
            updated=max(created, _time(fields, fields.optional("update_time", float) or started)),
            system="\n\n".join(node.text for node in nodes.values() if node.role == "system" and node.text),
            turns=tuple(turns),
            current=current or (turns[-1].key if turns else None),
        )
    except ValueError as error:
        raise fields.import_error(str(error)) from error


def _turn_at(node: str | None, nodes: dict[str, _Node], turn_of: dict[str, str]) -> str | None:
    """The turn that a node is part of, or the nearest one above it; None where there is none, as among nodes in a circle."""
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


def _nodes(fields: JSONReader) -> dict[str, _Node]:
    """The nodes by their key.

    Raises:
        ImportFailed: a parent or child is not there, or a node has two parents.
    """
    mapping = fields.child("mapping")
    if mapping is None:
        raise fields.import_error("'mapping' is missing")
    nodes = {key: _node(key, mapping.nested(value, f"{mapping.place}.{key}")) for key, value in mapping.pairs()}
    for node in nodes.values():
        if any(child not in nodes or nodes[child].parent != node.key for child in node.children):
            raise import_error(mapping.source, f"{mapping.place}.{node.key}", "a child is missing or has another parent")
    return nodes


def _node(key: str, fields: JSONReader) -> _Node:
    children = tuple(str(child) for child, _ in fields.items("children")) if fields.has("children") else ()
    parent = fields.optional("parent", str)
    message = fields.child("message")
    if message is None:
        return _Node(key, parent, children, "", "", 0.0, "")
    author = message.child("author")
    metadata = message.child("metadata")
    hidden = metadata is not None and (metadata.optional("is_visually_hidden_from_conversation", bool) or False)
    return _Node(
        key,
        parent,
        children,
        "" if author is None or hidden else author.get("role", str),
        _text(message.child("content")),
        message.optional("create_time", float) or 0.0,
        "" if metadata is None else metadata.optional("model_slug", str) or "",
    )


def _text(content: JSONReader | None) -> str:
    """What a message says."""
    if content is None:
        return ""
    kind = content.optional("content_type", str) or "text"
    if kind == "code":
        return f"```{content.optional('language', str) or ''}\n{content.optional('text', str) or ''}\n```"
    if kind not in {"text", "multimodal_text"} or not content.has("parts"):
        return ""
    texts = (part if isinstance(part, str) else "[attachment]" for part, _ in content.items("parts"))
    return "\n\n".join(text for text in texts if text)


def _turns(nodes: dict[str, _Node], started: float) -> Iterator[tuple[TreeTurn, list[str]]]:
    """The turns, parents first, each with the keys of the nodes that only it is made of."""
    roots = [key for key, node in nodes.items() if node.parent is None or node.parent not in nodes]
    ways = [_Way(root, None, None, ()) for root in reversed(roots)]
    while ways:
        way = ways.pop()
        node = nodes[way.node]
        if node.role == "user":
            way = _Way(way.node, way.above, node, ())
        elif node.role == "assistant" and node.text:
            way = _Way(way.node, way.above, way.asked, (*way.replies, node))
        goes_on = [child for child in node.children if nodes[child].role != "user"]
        next_turns = [child for child in node.children if nodes[child].role == "user"]
        above = way.above
        if (next_turns or not goes_on) and (way.asked or way.replies):
            turn = _turn(way, started)
            above = turn.key
            yield turn, [each.key for each in (way.asked, *way.replies) if each] + [node.key]
        ways += [_Way(child, above, None, ()) for child in reversed(next_turns)]
        ways += [_Way(child, way.above, way.asked, way.replies) for child in reversed(goes_on)]


def _turn(way: _Way, started: float) -> TreeTurn:
    asked, last = way.asked, way.replies[-1] if way.replies else None
    seconds = next((each.created for each in (asked, *way.replies) if each and each.created), started)
    return TreeTurn(
        key=_key("turn", asked.key if asked else "", *(reply.key for reply in way.replies)),
        parent=way.above,
        created=datetime.fromtimestamp(max(0.0, min(seconds, 4e9)), UTC),
        turn=Turn(
            user=asked.text if asked else "",
            reply="\n\n".join(reply.text for reply in way.replies),
            finish_reason="stop" if last else None,
            model=last.model if last else "",
        ),
    )
