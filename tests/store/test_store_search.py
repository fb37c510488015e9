from __future__ import annotations

import string
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stores import assert_index_is_true, chat, open_store, said

from mistral_chat.store.search import fold, match_expression, terms

if TYPE_CHECKING:
    from mistral_chat.store.store import ConversationStore

HOSTILE = [
    '"', '""', '"""', "*", "**", "a AND", "AND", "OR", "NOT", "NEAR(", "NEAR(a b, 2)", "(", ")", "foo:bar", "user:x", "-x",
    "'", "", " ", "a" * 5_000, "^", "^a", "c++", "don't", "\x00", "a\x00b", "\ud800", "\udfff\ud800", "日本", "content:x",
    "{a b}:x", "+", "a + b", '"unclosed', 'x"y"z', "\\", "%", "_", "a\nb", "\u202e", "💥*", ";--", "found MATCH x", "﷽", "\u0301",
    "\uff41\uff42\uff43", '"* "', "*a", "a*b", '"a"*', " ".join("ab" for _ in range(2_000)),
]  # fmt: skip


@pytest.fixture
def zoo(store: ConversationStore) -> ConversationStore:
    chat(store, ("Tell me about zebras", "Zebras are striped horses of Africa."), ("And lions?", "Lions hunt zebras."))
    chat(store, ("Où est le café crème ?", "Au coin de la rue Überallée."))
    chat(store, ("日本語の文法を教えて", "助詞「は」と「が」の違いは…"), ("ภาษาไทย", "Thai 👩‍🚀 and 🇩🇪 and C++"))
    chat(store, ("x", "y"), title="The zebra crossing")
    return store


def found(store: ConversationStore, query: str) -> list[str]:
    return [hit.snippet for hit in store.search(query)]


@pytest.mark.parametrize("query", HOSTILE)
def test_no_search_is_an_error(zoo: ConversationStore, query: str) -> None:
    for hit in zoo.search(query):
        assert hit.snippet


@given(st.text(st.one_of(st.characters(), st.sampled_from('"*()^:+-\x00 ANDORNEAR')), max_size=60))
def test_any_text_can_be_searched_for(query: str) -> None:
    store = open_store(None)
    chat(store, ("a b c", "d e f"))
    store.search(query)
    store.close()


@pytest.mark.parametrize(
    ("query", "marked"),
    [
        ("zebras", ["zebras"]),
        ("ZEBRAS", ["zebras"]),
        ("striped horses", ["striped", "horses"]),
        ('"striped horses"', ["striped horses"]),
        ("strip", ["striped"]),
        ("strip* africa", ["striped", "Africa"]),
        ("cafe", ["café"]),
        ("CAFÉ", ["café"]),
        ("creme uberallee", ["crème"]),
        ("日本", ["日本"]),
        ("文法", ["文法"]),
        ("語", ["語"]),
        ("違い", ["違い"]),
        ("ไทย", ["ไทย"]),
        ("👩‍🚀", ["👩‍🚀"]),
        ("🇩🇪", ["🇩🇪"]),
    ],
)
def test_words_are_found_and_marked(zoo: ConversationStore, query: str, marked: list[str]) -> None:
    hit = zoo.search(query)[0]
    assert [hit.snippet[start:end] for start, end in hit.marks] == marked


@pytest.mark.parametrize("query", ['"horses striped"', "zebra lion nothing", '"本日"', "strip horses", '"cafe cre"', "ebras"])
def test_missing_words_are_not_found(zoo: ConversationStore, query: str) -> None:
    assert zoo.search(query) == []


def test_a_word_in_a_title_leads_to_the_conversation(zoo: ConversationStore) -> None:
    (hit,) = zoo.search("crossing")
    assert (hit.turn_id, hit.title, hit.snippet) == (None, "The zebra crossing", "The zebra crossing")


def test_title_matches_rank_before_messages(zoo: ConversationStore) -> None:
    hits = zoo.search("zebra*")
    assert [hit.turn_id is None for hit in hits] == [True, False, False]
    assert [hit.rank for hit in hits] == sorted(hit.rank for hit in hits)
    assert len(zoo.search("zebra*", limit=2)) == 2


def test_a_title_that_is_the_first_line_is_not_found_twice(store: ConversationStore) -> None:
    _, (turn,) = chat(store, ("Walruses in winter", "Cold."))
    assert [hit.turn_id for hit in store.search("walruses")] == [turn]


def test_trashed_conversations_are_not_found_until_restored(zoo: ConversationStore) -> None:
    (hit,) = zoo.search("horses")
    zoo.trash(hit.conversation_id)
    assert zoo.search("horses") == []
    zoo.restore(hit.conversation_id)
    assert len(zoo.search("horses")) == 1


def test_an_old_title_is_not_found(zoo: ConversationStore) -> None:
    (hit,) = zoo.search("crossing")
    zoo.rename(hit.conversation_id, "Pedestrians", by="person")
    assert zoo.search("crossing") == []
    assert len(zoo.search("pedestrians")) == 1
    assert_index_is_true(zoo)


def test_every_branch_is_searched(store: ConversationStore) -> None:
    conversation, (turn,) = chat(store, ("question", "marmalade"))
    said(store, conversation, "another question", "jam")
    assert [hit.turn_id for hit in store.search("marmalade")] == [turn]


def test_a_reply_is_found_when_it_has_ended(store: ConversationStore) -> None:
    conversation = store.create()
    turn = store.add_turn(conversation, "go", parent_id=None)
    store.write_reply(turn, "xylophone")
    assert store.search("xylophone") == []
    assert_index_is_true(store)
    store.finish_reply(turn, "xylophone music", finish_reason="stop")
    assert [hit.turn_id for hit in store.search("xylophone")] == [turn]
    assert_index_is_true(store)


def test_a_snippet_is_a_short_line_around_the_first_match(store: ConversationStore) -> None:
    long = "word " * 400 + "\n\nneedle\tin the\nhay " + "word " * 400
    chat(store, ("go", long))
    (hit,) = store.search("needle")
    assert len(hit.snippet) < 170
    assert "\n" not in hit.snippet
    assert (hit.snippet[0], hit.snippet[-1]) == ("…", "…")
    assert [hit.snippet[start:end] for start, end in hit.marks] == ["needle"]


@pytest.mark.parametrize("text", ["straße", "ﬁnally", "İstanbul", "K", "ΑΣ", "e\u0301clair", "x" * 300])
def test_marks_stay_within_the_snippet_for_any_letters(store: ConversationStore, text: str) -> None:
    chat(store, (text, "reply"))
    for query in (text, text[:3], unicodedata.normalize("NFKD", text)):
        for hit in store.search(query):
            assert all(0 <= start < end <= len(hit.snippet) for start, end in hit.marks)


@given(st.text())
def test_folding_keeps_the_position_of_every_character(text: str) -> None:
    assert len(fold(text)) == len(text)


@given(st.text(string.printable))
def test_the_query_language_never_reaches_the_index(query: str) -> None:
    outside = match_expression(terms(query)).split('"')[::2]
    assert set("".join(outside)) <= {" ", "*"}


def test_a_large_store_finds_words_of_every_kind_among_trashed_ones(store: ConversationStore) -> None:
    for place in range(80):
        conversation, _ = chat(store, (f"common {place}", "common reply"))
        if place >= 40:
            store.trash(conversation)
    assert len(store.search("common", limit=50)) == 40
