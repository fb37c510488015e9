"""ChatGPT's exports are imported as they come, and what is left out is named."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from support.stores import assert_index_is_true, open_store

from mistral_chat.errors import ImportFailed
from mistral_chat.importers.files import read_import_files

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.export.exported_conversation import ExportedConversation
    from mistral_chat.importers.report import ImportSource

CHANGED = datetime(2025, 6, 1, tzinfo=UTC)


def said(tree: ExportedConversation) -> list[tuple[str, str]]:
    return [(turn.turn.user, turn.turn.reply) for turn in tree.path]


def node(key: str, parent: str | None, children: list[str], role: str = "", text: Any = "", **more: Any) -> dict[str, Any]:
    message = None
    if role:
        message = {
            "author": {"role": role},
            "create_time": 1_700_000_000.5,
            "content": {"content_type": "text", "parts": [text] if isinstance(text, str) else text},
            "metadata": {"model_slug": "gpt-4"},
            **more,
        }
    return {"id": key, "parent": parent, "children": children, "message": message}


def chatgpt(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "title": "Herons",
        "create_time": 1_700_000_000.0,
        "update_time": 1_700_000_100.0,
        "conversation_id": "abc-123",
        "current_node": nodes[-1]["id"],
        "mapping": {each["id"]: each for each in nodes},
    } | more


def read_source(tmp_path: Path, value: object) -> ImportSource:
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    os.utime(path, (CHANGED.timestamp(), CHANGED.timestamp()))
    (source,) = read_import_files([path])
    return source


def read(tmp_path: Path, value: object) -> list[ExportedConversation]:
    return read_source(tmp_path, value).conversations


def left_out(source: ImportSource) -> dict[str, int]:
    return {each.what: each.count for each in source.left_out.values()}


def exchange(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A conversation of these nodes, one below the other, after a root without a message."""
    for above, below in pairwise([node("root", None, []), *nodes]):
        below["parent"] = above["id"]
    return chatgpt(node("root", None, []), *nodes, **more)


def test_a_chatgpt_chat_keeps_its_branches(tmp_path: Path) -> None:
    (tree,) = read(
        tmp_path,
        [
            chatgpt(
                node("root", None, ["sys"]),
                node("sys", "root", ["q1"], "system", "Be brief."),
                node("q1", "sys", ["a1", "a2"], "user", "What is a heron?"),
                node("a1", "q1", [], "assistant", "A fish."),
                node("a2", "q1", ["q2", "q3"], "assistant", "A bird."),
                node("q2", "a2", ["t"], "user", "Big?"),
                node("t", "q2", ["tool"], "assistant", "Looking it up."),
                node("tool", "t", ["a3"], "tool", "wingspan: 2 m"),
                node("a3", "tool", [], "assistant", ["Yes.", {"asset_pointer": "x"}, "Very."]),
                node("q3", "a2", [], "user", "Where?"),
                current_node="a3",
            )
        ],
    )
    assert said(tree) == [("What is a heron?", "A bird."), ("Big?", "Looking it up.\n\nYes.\n\n[attachment]\n\nVery.")]
    assert sorted((turn.turn.user, turn.turn.reply) for turn in tree.turns) == sorted(
        [*said(tree), ("What is a heron?", "A fish."), ("Where?", "")]
    )
    assert (tree.title, tree.system, tree.turns[0].turn.model) == ("Herons", "Be brief.", "gpt-4")
    assert tree.created == datetime.fromtimestamp(1_700_000_000, UTC)


def test_code_is_kept_and_hidden_messages_are_counted(tmp_path: Path) -> None:
    hidden = {"is_visually_hidden_from_conversation": True}
    source = read_source(
        tmp_path,
        [
            exchange(
                node(
                    "i",
                    None,
                    [],
                    "user",
                    content={"content_type": "user_editable_context", "user_profile": "Bob"},
                    metadata=hidden,
                ),
                node("h", None, [], "user", "not to be seen", metadata=hidden),
                node("q", None, [], "user", "Compute"),
                node("t", None, [], "assistant", content={"content_type": "thoughts", "thoughts": [{"content": "hm"}]}),
                node("r", None, [], "assistant", content={"content_type": "reasoning_recap", "content": "Thought for 2 s"}),
                node("w", None, [], "assistant", 'search("sums")', recipient="web"),
                node("a", None, [], "assistant", content={"content_type": "code", "language": "python", "text": "1 + 1"}),
                node("o", None, [], "tool", content={"content_type": "execution_output", "text": "2"}),
                node("b", None, [], "assistant", "It is 2."),
            ),
            chatgpt(node("root", None, []), title="Nothing", create_time=None, update_time=None, current_node=None),
        ],
    )
    (tree,) = source.conversations
    assert said(tree) == [("Compute", "```python\n1 + 1\n```\n\nIt is 2.")]
    assert left_out(source) == {
        "custom instructions": 1,
        "hidden messages": 1,
        "reasoning": 2,
        "tool calls and their results": 2,
        "conversations without text": 1,
    }
    assert source.left_out["conversations without text"].details == ["Nothing"]


@pytest.mark.parametrize("links", ["both", "children empty", "children missing", "parents missing", "none"])
def test_missing_parent_links_lose_no_text(tmp_path: Path, links: str) -> None:
    value = chatgpt(
        node("root", None, ["q1"]),
        node("q1", "root", ["a1"], "user", "Question one"),
        node("a1", "q1", ["q2"], "assistant", "Answer one"),
        node("q2", "a1", ["a2"], "user", "Question two"),
        node("a2", "q2", [], "assistant", "Answer two"),
    )
    for each in value["mapping"].values():
        if links in {"children missing", "none"}:
            del each["children"]
        if links == "children empty":
            each["children"] = []
        if links in {"parents missing", "none"}:
            del each["parent"]
    (tree,) = read(tmp_path, [value])
    assert said(tree) == [("Question one", "Answer one"), ("Question two", "Answer two")]


def test_branches_are_kept_without_children(tmp_path: Path) -> None:
    value = chatgpt(
        node("q", None, [], "user", "Q"),
        node("a1", "q", [], "assistant", "first"),
        node("a2", "q", [], "assistant", "second"),
        current_node="a1",
    )
    (tree,) = read(tmp_path, [value])
    assert said(tree) == [("Q", "first")]
    assert [turn.turn.reply for turn in tree.turns] == ["first", "second"]


def test_replies_without_text_of_their_own_make_one_turn(tmp_path: Path) -> None:
    thoughts = {"content_type": "thoughts", "thoughts": []}
    (tree,) = read(
        tmp_path,
        [
            chatgpt(
                node("q", None, ["t1", "t2", "a"], "user", "Q"),
                node("t1", "q", [], "assistant", content=thoughts),
                node("t2", "q", [], "assistant", content=thoughts),
                node("a", "q", ["u", "t3"], "assistant", "A"),
                node("t3", "a", [], "assistant", content=thoughts),
                node("u", "a", [], "user", "Q2"),
            )
        ],
    )
    assert sorted((turn.turn.user, turn.turn.reply) for turn in tree.turns) == [("Q", ""), ("Q", "A"), ("Q2", "")]


def voice(text: str, *more: dict[str, Any]) -> dict[str, Any]:
    return {"content_type": "multimodal_text", "parts": [{"content_type": "audio_transcription", "text": text}, *more]}


def test_a_voice_chat_keeps_its_words(tmp_path: Path) -> None:
    recording = {"content_type": "audio_asset_pointer", "asset_pointer": "sediment://1"}
    both = {"content_type": "real_time_user_audio_video_asset_pointer", "audio_asset_pointer": recording}
    source = read_source(
        tmp_path,
        [
            exchange(
                node("q", None, [], "user", content=voice("What is the capital of Peru?", recording)),
                node("a", None, [], "assistant", content=voice("Lima.", recording)),
                node("q2", None, [], "user", content={"content_type": "multimodal_text", "parts": [both]}),
                node("a2", None, [], "assistant", content=voice("I did not hear you.")),
            )
        ],
    )
    assert said(source.conversations[0]) == [("What is the capital of Peru?", "Lima."), ("[attachment]", "I did not hear you.")]
    assert left_out(source) == {"pictures, recordings and other files": 3}


def test_a_canvas_is_imported_as_text(tmp_path: Path) -> None:
    def call(name: str, value: object) -> dict[str, Any]:
        content = {"content_type": "code", "language": "json", "text": json.dumps(value)}
        return node(name, None, [], "assistant", content=content, recipient=f"canmore.{name}_textdoc")

    (tree,) = read(
        tmp_path,
        [
            exchange(
                node("q", None, [], "user", "Write"),
                call("create", {"name": "essay", "type": "document", "content": "# Essay\n\nBody."}),
                node("t", None, [], "tool", "Successfully created"),
                call("update", {"updates": [{"pattern": ".*", "multiple": False, "replacement": "# Better"}]}),
                node("q2", None, [], "user", "Code"),
                call("create_code", {"name": "sum", "type": "code/python", "content": "print(2)"}),
                call("odd", ["unknown"]),
            )
        ],
    )
    assert said(tree) == [
        ("Write", "**essay**\n\n# Essay\n\nBody.\n\n# Better"),
        ("Code", '**sum**\n\n```python\nprint(2)\n```\n\n```json\n["unknown"]\n```'),
    ]


@pytest.mark.parametrize(
    ("text", "references", "expected"),
    [
        ("The sky is blue \ue200cite\ue202turn0search1\ue202turn0news2\ue201. Yes.", [], "The sky is blue. Yes."),
        ('And \ue200entity\ue202["city","Paris","capital"]\ue201 rocks.', [], "And Paris rocks."),
        ("See \ue200cite\ue202x\ue201.", [{"matched_text": "\ue200cite\ue202x\ue201", "alt": "([BBC](https://bbc.com))"}], None),
        (
            "See \ue200cite\ue202x\ue201.",
            [{"matched_text": " \ue200cite\ue202x\ue201", "items": [{"title": "BBC", "url": "https://bbc.com"}]}],
            None,
        ),
        ("See \ue200cite\ue202x\ue201.", [{"matched_text": "\ue200cite\ue202x\ue201", "url": "javascript:x"}], "See."),
        ("cut \ue200cite\ue202turn0", [], "cut"),
    ],
)
def test_citations_are_resolved_or_removed(tmp_path: Path, text: str, references: list[Any], expected: str | None) -> None:
    reply = node("a", None, [], "assistant", text, metadata={"content_references": references})
    (tree,) = read(tmp_path, [exchange(node("q", None, [], "user", "News?"), reply)])
    assert said(tree) == [("News?", expected or "See ([BBC](https://bbc.com)).")]


@pytest.mark.parametrize("text", [" " * 100_000, "\ue200" + "\t" * 100_000, "【1†" * 50_000], ids=["spaces", "tabs", "marks"])
def test_a_reply_of_spaces_or_broken_citations_is_read_at_once(tmp_path: Path, text: str) -> None:
    began = time.process_time()
    read(tmp_path, [exchange(node("q", None, [], "user", "News?"), node("a", None, [], "assistant", f"a{text}b"))])
    assert time.process_time() - began < 5


def test_missing_times_and_models_are_filled_in(tmp_path: Path) -> None:
    null = chatgpt(
        node("q", None, ["a"], "user", "Q", create_time=None, metadata={}),
        node("a", "q", [], "assistant", "A", create_time=None, metadata={}),
        title=None,
        create_time=None,
        update_time=None,
        default_model_slug="gpt-5",
    )
    late = exchange(node("q", None, [], "user", "Q"), node("a", None, [], "assistant", "A"), create_time=None, update_time=None)
    (first, second) = read(tmp_path, [null, late | {"conversation_id": "late"}])
    assert {first.created, first.updated, first.turns[0].created} == {CHANGED}, "the file's own time, not 1970"
    assert first.turns[0].turn.model == "gpt-5"
    assert {second.created, second.updated} == {datetime.fromtimestamp(1_700_000_000.5, UTC)}, "that of its messages"
    assert second.turns[0].turn.model == "gpt-4"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_700_000_000, 1_700_000_000.0),
        ("1700000000.5", 1_700_000_000.5),
        (1_700_000_000_000, 1_700_000_000.0),
        ("2023-11-14T22:13:20+00:00", 1_700_000_000.0),
        ("2023-11-14T22:13:20", 1_700_000_000.0),
        (0, None),
        ("", None),
        ("noon", "noted"),
        (1e20, "noted"),
        (10**400, "noted"),
        (-5, "noted"),
        (float("nan"), "noted"),
        (float("inf"), "noted"),
        ([1], "noted"),
        (True, "noted"),
    ],
)
def test_a_time_of_any_form_loses_no_text(tmp_path: Path, value: object, expected: float | str | None) -> None:
    reply = node("a", None, [], "assistant", "A", create_time=value)
    source = read_source(tmp_path, exchange(node("q", None, [], "user", "Q", create_time=value), reply, create_time=value))
    (tree,) = source.conversations
    assert said(tree) == [("Q", "A")]
    found = expected if isinstance(expected, float) else 1_700_000_100.0
    assert tree.created == datetime.fromtimestamp(found, UTC), "otherwise that of its last change"
    assert left_out(source) == ({"times that cannot be read": 3} if expected == "noted" else {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"title": 7},
        {"title": ["x"]},
        {"default_model_slug": {}},
        {"update_time": "soon"},
        {"current_node": 5},
        {"current_node": "gone"},
        {"conversation_id": None, "id": 3},
    ],
)
def test_a_field_of_another_form_loses_no_text(tmp_path: Path, wrong: dict[str, Any]) -> None:
    (tree,) = read(tmp_path, exchange(node("q", None, [], "user", "Q"), node("a", None, [], "assistant", "A"), **wrong))
    assert said(tree) == [("Q", "A")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"content": "Q"},
        {"content": ["Q"]},
        {"content": [{"type": "text", "text": "Q"}]},
        {"content": {"parts": "Q"}},
        {"content": {"content_type": 7, "parts": ["Q"]}},
        {"content": {"content_type": "text", "text": "Q"}},
        {"content": {"content_type": "multimodal_text", "parts": [None, "Q", {"content_type": "text", "text": ""}]}},
        {"author": "user"},
        {"metadata": []},
        {"metadata": None, "recipient": None},
        {"recipient": 9},
    ],
)
def test_a_message_of_another_form_keeps_its_text(tmp_path: Path, wrong: dict[str, Any]) -> None:
    (tree,) = read(tmp_path, exchange(node("q", None, [], "user", "Q", **wrong), node("a", None, [], "assistant", "A")))
    assert said(tree) == [("Q", "A")]


def test_messages_of_unknown_roles_are_named(tmp_path: Path) -> None:
    source = read_source(
        tmp_path,
        exchange(node("q", None, [], "user", "Q"), node("c", None, [], "critic", "Hm."), node("a", None, [], "assistant", "A")),
    )
    assert said(source.conversations[0]) == [("Q", "A")]
    assert source.left_out["content of unknown kinds"].details == ["messages with the role critic"]


@pytest.mark.parametrize(
    ("text", "metadata", "expected"),
    [
        ("Blue【6†source】. Yes【11:2†L3-L9】.", {}, "Blue. Yes."),
        ("Blue :contentReference[oaicite:0]{index=0}.", {}, "Blue."),
        (
            "Blue【6†source】.",
            {"citations": [{"start_ix": 4, "end_ix": 14, "metadata": {"title": "BBC", "url": "https://bbc.com"}}]},
            "Blue([BBC](https://bbc.com)).",
        ),
        (
            "Clause 4 【4:0†lease.pdf】.",
            {"citations": [{"start_ix": 9, "end_ix": 24, "metadata": {"type": "file", "name": "lease.pdf"}}]},
            "Clause 4 (lease.pdf).",
        ),
        ("Blue【6†source】.", {"citations": [{"start_ix": "x"}, 5, {"metadata": None}], "content_references": {"a": 1}}, "Blue."),
        ("a【note】 and 【7】 stay", {}, "a【note】 and 【7】 stay"),
    ],
)
def test_citations_of_older_exports_are_resolved_or_removed(
    tmp_path: Path, text: str, metadata: dict[str, Any], expected: str
) -> None:
    reply = node("a", None, [], "assistant", text, metadata=metadata)
    (tree,) = read(tmp_path, exchange(node("q", None, [], "user", "What is 【6†source】?"), reply))
    assert said(tree) == [("What is 【6†source】?", expected)]


def test_archived_starred_and_unfinished_stay_so(tmp_path: Path) -> None:
    reply = node("a", None, [], "assistant", "A", status="in_progress")
    (tree,) = read(tmp_path, exchange(node("q", None, [], "user", "Q"), reply, is_archived=True, is_starred=True))
    assert (tree.archived, tree.pinned, tree.turns[0].turn.finish_reason) == (True, True, "cancelled")


def test_conversations_by_their_ids_are_read(tmp_path: Path) -> None:
    value = exchange(node("q", None, [], "user", "Q"), node("a", None, [], "assistant", "A"))
    assert [said(tree) for tree in read(tmp_path, {"abc-123": value, "version": 1})] == [[("Q", "A")]]


def test_two_conversations_without_ids_and_with_the_same_nodes_are_both_imported(tmp_path: Path) -> None:
    first, second = (
        exchange(node("1", None, [], "user", text), node("2", None, [], "assistant", "A"), conversation_id=None) for text in "QR"
    )
    store = open_store(None)
    assert len(store.import_conversations(read(tmp_path, [first, second])).conversations) == 2
    assert {store.turns(each.conversation_id)[0].turn.user for each in store.summaries()} == {"Q", "R"}
    store.close()


def test_files_that_were_sent_are_named(tmp_path: Path) -> None:
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://1"}
    sent = {"attachments": [{"name": "lease.pdf", "mime_type": "application/pdf"}, {"name": "cat.png", "width": 9}]}
    made = {"content_type": "multimodal_text", "parts": [picture]}
    source = read_source(
        tmp_path,
        [
            exchange(
                node("q", None, [], "user", [picture, "What is this?"], metadata=sent),
                node("t", None, [], "tool", content=made),
                node("a", None, [], "assistant", "Here is another."),
            )
        ],
    )
    assert said(source.conversations[0]) == [
        ("[attachment: lease.pdf]\n\n[attachment]\n\nWhat is this?", "[attachment]\n\nHere is another.")
    ]
    assert left_out(source) == {"pictures, recordings and other files": 3}


def test_unknown_content_is_named(tmp_path: Path) -> None:
    strange = {"content_type": "hologram", "pixels": []}
    quote = {"content_type": "tether_quote", "text": "quoted text"}
    source = read_source(
        tmp_path,
        [
            exchange(
                node("q", None, [], "user", content=quote),
                node("a", None, [], "assistant", content=strange),
                node("b", None, [], "assistant", "That is it."),
            )
        ],
    )
    assert said(source.conversations[0]) == [("quoted text", "That is it.")]
    assert (left_out(source), source.left_out["content of unknown kinds"].details) == (
        {"content of unknown kinds": 1},
        ["hologram"],
    )


def test_a_damaged_conversation_is_skipped(tmp_path: Path) -> None:
    good = chatgpt(node("q", None, ["a"], "user", "Zebra?"), node("a", "q", [], "assistant", "Striped."))
    broken = chatgpt(node("q", None, [], "user", "x")) | {"mapping": {"a": {"parent": 5}}, "title": "Broken one"}
    source = read_source(tmp_path, [broken, good, 7, good | {"conversation_id": "other", "mapping": None}])
    assert [said(tree) for tree in source.conversations] == [[("Zebra?", "Striped.")]]
    assert source.left_out["damaged conversations"].count == 3
    assert source.left_out["damaged conversations"].details == [
        "conversations.json, conversation 1.mapping.a: 'parent' must be a string, not 5. (Broken one)",
        "conversations.json, conversation 3: expected an object.",
        "conversations.json, conversation 4: 'mapping' is missing. (Herons)",
    ]


def test_a_single_conversation_and_one_in_an_object_are_read(tmp_path: Path) -> None:
    value = chatgpt(node("q", None, ["a"], "user", "Q"), node("a", "q", [], "assistant", "A"))
    assert [said(tree) for tree in read(tmp_path, value)] == [[("Q", "A")]]
    assert [said(tree) for tree in read(tmp_path, {"conversations": [value]})] == [[("Q", "A")]]


def test_importing_chatgpts_file_twice_adds_nothing(tmp_path: Path) -> None:
    store = open_store(None)
    trees = read(tmp_path, [chatgpt(node("q", None, ["a"], "user", "Zebra?"), node("a", "q", [], "assistant", "Striped."))])
    (key,) = store.import_conversations(trees).conversations
    assert store.import_conversations(trees).already_here == [key]
    assert [hit.conversation_id for hit in store.search("zebra")] == [key]
    assert_index_is_true(store)
    store.close()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"mapping": []}, "conversation 1.mapping: expected an object"),
        ({"mapping": None}, "'mapping' is missing"),
        ({"mapping": {"a": {"parent": 5}}}, "mapping.a: 'parent' must be a string"),
    ],
)
def test_a_file_of_damaged_conversations_is_refused_with_the_place(tmp_path: Path, wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImportFailed, match=reason):
        read(tmp_path, [chatgpt(node("q", None, [], "user", "x")) | wrong])


def test_circular_and_dangling_links_lose_no_text(tmp_path: Path) -> None:
    source = read_source(
        tmp_path,
        [
            chatgpt(node("a", "b", ["b"], "user", "x"), node("b", "a", ["a"], "assistant", "y")),
            chatgpt(node("a", None, ["gone", "b", "b"], "user", "x"), node("b", "a", [], "assistant", "y"), conversation_id="2"),
        ],
    )
    assert [said(tree) for tree in source.conversations] == [[("x", "y")], [("x", "y")]]
    assert left_out(source) == {"messages missing from the file": 1}


def test_a_very_deep_conversation_is_read(tmp_path: Path) -> None:
    nodes = [node(str(place), None, [], ("user", "assistant")[place % 2], f"text {place}") for place in range(10_000)]
    (tree,) = read(tmp_path, [exchange(*nodes)])
    assert len(tree.path) == 5_000
