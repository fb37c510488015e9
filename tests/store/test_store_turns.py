from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.stores import Clock, assert_index_is_true, chat, open_store, said

from mistral_chat.conversation import Turn, Usage
from mistral_chat.errors import ConversationNotFound
from mistral_chat.sampling import Sampling

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.store.store import ConversationStore

USAGE = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=3, time_to_first_token=0.25, tokens_per_second=12.5)


def replies(store: ConversationStore, conversation: str) -> list[str]:
    return [turn.turn.reply for turn in store.turns(conversation)]


def test_a_turn_is_saved_with_all_its_fields(store: ConversationStore, database: Path) -> None:
    conversation = store.create(system="Be brief.", model="demo", sampling=Sampling(temperature=0.1, seed=7), persona="poet")
    turn = store.add_turn(conversation, "Why is the sky blue?", parent_id=None, model="demo")
    store.write_reply(turn, "Because")
    store.finish_reply(turn, "Because of scattering.", finish_reason="length", usage=USAGE, model="demo-q4")
    store.close()

    again = open_store(database)
    found = again.conversation(conversation)
    assert (found.system, found.persona, found.sampling) == ("Be brief.", "poet", Sampling(temperature=0.1, seed=7))
    assert found.summary.model == "demo"
    assert [each.turn for each in again.turns(conversation)] == [
        Turn(user="Why is the sky blue?", reply="Because of scattering.", finish_reason="length", usage=USAGE, model="demo-q4")
    ]
    again.close()


def test_a_question_is_on_the_disk_before_the_reply_begins(store: ConversationStore, database: Path) -> None:
    conversation = store.create()
    store.add_turn(conversation, "Are you there?", parent_id=None)
    other = open_store(database)
    assert [turn.turn.user for turn in other.turns(conversation)] == ["Are you there?"]
    assert other.turns(conversation)[0].writing
    other.close()


def test_an_error_is_stored_with_the_turn_until_the_reply_is_continued(store: ConversationStore) -> None:
    conversation = store.create()
    turn = store.add_turn(conversation, "x", parent_id=None)
    store.finish_reply(turn, "half", finish_reason=None, error="The model failed.")
    assert store.turn(turn).turn == Turn(user="x", reply="half", error="The model failed.")
    assert not store.turn(turn).writing
    store.write_reply(turn, "half and")
    assert (store.turn(turn).turn.error, store.turn(turn).writing) == ("", True)


def test_regenerating_and_editing_add_siblings_and_overwrite_nothing(store: ConversationStore) -> None:
    conversation, (first, second) = chat(store, ("one", "1"), ("two", "2"))
    again = store.add_sibling(second, model="other")
    store.finish_reply(again, "2b", finish_reason="stop")
    edited = said(store, conversation, "two, please", "2c", first)
    assert replies(store, conversation) == ["1", "2c"]
    assert store.siblings(second) == [second, again, edited] == store.siblings(edited)
    assert store.turn(again).turn.user == "two"
    assert [(turn.sibling, turn.siblings) for turn in map(store.turn, (first, second, again, edited))] == [
        (1, 1),
        (1, 3),
        (2, 3),
        (3, 3),
    ]
    assert [turn.turn_id for turn in store.tree(conversation)] == [first, second, again, edited]


def test_regenerating_the_first_turn_adds_a_second_root(store: ConversationStore) -> None:
    conversation, (first,) = chat(store, ("one", "1"))
    again = store.add_sibling(first)
    assert store.siblings(first) == [first, again]
    assert store.turn(again).parent_id is None
    assert store.turn(again).depth == 1
    assert replies(store, conversation) == [""]


def test_selecting_a_turn_leads_down_to_its_newest_leaf(store: ConversationStore) -> None:
    conversation, (first, second) = chat(store, ("one", "1"), ("two", "2"))
    third = said(store, conversation, "three", "3", second)
    other = said(store, conversation, "instead", "2b", first)
    assert replies(store, conversation) == ["1", "2b"]
    store.switch_branch(second)
    assert [turn.turn_id for turn in store.turns(conversation)] == [first, second, third]
    store.switch_branch(other)
    assert [turn.turn_id for turn in store.turns(conversation)] == [first, other]


def test_a_stopped_reply_can_be_continued(store: ConversationStore) -> None:
    conversation, (turn,) = chat(store, ("tell me", "once upon"))
    store.write_reply(turn, "once upon a time")
    store.finish_reply(turn, "once upon a time, zebras", finish_reason="stop")
    assert replies(store, conversation) == ["once upon a time, zebras"]
    assert [hit.turn_id for hit in store.search("zebras")] == [turn]
    assert_index_is_true(store)


def test_a_fork_is_a_conversation_of_its_own(store: ConversationStore) -> None:
    conversation, (first, second, third) = chat(store, ("one", "1"), ("two", "2"), ("three", "3"), title="Numbers")
    store.set_turn_flags(first, pinned=True)
    store.set_turn_flags(second, excluded=True)
    fork = store.fork(second)
    assert replies(store, fork) == ["1", "2"]
    assert [(turn.turn.pinned, turn.turn.excluded) for turn in store.turns(fork)] == [(True, False), (False, True)]
    assert store.conversation(fork).summary.title == "Fork: Numbers", "the list shows two of one name"
    assert store.conversation(store.fork(store.turns(fork)[-1].turn_id)).summary.title == "Fork: Numbers"
    store.rename(conversation, "x" * 199, by="person")
    longest = store.export_conversation(store.fork(second))
    assert store.import_conversations([longest]).conversations == [], "its title is longer than an import keeps"
    assert not {turn.turn_id for turn in store.turns(fork)} & {first, second, third}
    store.delete(conversation)
    assert replies(store, fork) == ["1", "2"]
    assert_index_is_true(store)


def test_a_fork_of_an_unfinished_reply_is_closed(store: ConversationStore) -> None:
    conversation = store.create()
    turn = store.add_turn(conversation, "x", parent_id=None)
    store.write_reply(turn, "half")
    below = said(store, conversation, "y", "whole", turn)
    (copy, last) = store.turns(store.fork(below))
    assert (copy.turn.reply, copy.turn.finish_reason, copy.writing) == ("half", "cancelled", False)
    assert last.turn.finish_reason == "stop"
    (copy,) = store.turns(store.fork(turn))
    assert (copy.turn.reply, copy.turn.finish_reason, copy.writing) == ("half", "cancelled", False)


def test_pins_and_exclusions_are_set_independently(store: ConversationStore) -> None:
    _, (turn,) = chat(store, ("x", "y"))
    store.set_turn_flags(turn, pinned=True)
    store.set_turn_flags(turn, excluded=True)
    assert (store.turn(turn).turn.pinned, store.turn(turn).turn.excluded) == (True, True)
    store.set_turn_flags(turn, pinned=False)
    assert (store.turn(turn).turn.pinned, store.turn(turn).turn.excluded) == (False, True)


def test_pinned_turns_of_the_current_path_can_be_asked_for(store: ConversationStore) -> None:
    conversation, (first, second, third) = chat(store, ("one", "1"), ("two", "2"), ("three", "3"))
    other = said(store, conversation, "three, again", "3b", second)
    for turn in (first, third, other):
        store.set_turn_flags(turn, pinned=True)
    assert [turn.turn_id for turn in store.pinned(conversation)] == [first, other]
    assert store.pinned(store.create()) == []


def test_pages_of_a_long_conversation_are_contiguous(store: ConversationStore) -> None:
    conversation, turns = chat(store, *((f"q{place}", f"a{place}") for place in range(30)))
    pages = [store.turns_page(conversation, limit=7)]
    while page := store.turns_page(conversation, before=pages[0][0].turn_id, limit=7):
        pages.insert(0, page)
    assert [turn.turn_id for page in pages for turn in page] == turns
    assert store.turns_page(store.create()) == []
    assert [turn.depth for turn in store.turns(conversation)] == list(range(1, 31))


def test_a_turn_belongs_to_its_parents_conversation(store: ConversationStore) -> None:
    _, (turn,) = chat(store, ("x", "y"))
    with pytest.raises(ConversationNotFound, match="not part of"):
        store.add_turn(store.create(), "z", parent_id=turn)


@pytest.mark.parametrize("unknown", ["", "0123456789abcdef", "'; DROP TABLE turns; --", "\ud800"])
def test_unknown_ids_are_reported_as_missing(store: ConversationStore, unknown: str) -> None:
    for call in (store.conversation, store.turns, store.tree, store.trash, store.delete, store.resolve):
        with pytest.raises(ConversationNotFound):
            call(unknown)
    for turn_call in (store.turn, store.siblings, store.switch_branch, store.fork, store.add_sibling):
        with pytest.raises(ConversationNotFound):
            turn_call(unknown)
    with pytest.raises(ConversationNotFound):
        store.add_turn(unknown, "x", parent_id=None)
    with pytest.raises(ConversationNotFound):
        store.finish_reply(unknown, "x", finish_reason="stop")


def test_short_ids_are_valid_while_they_are_unique(store: ConversationStore) -> None:
    made = iter(["aaaa000000000000", "aaab000000000000", "b000000000000000"])
    store._new_id = lambda: next(made)
    for _ in range(3):
        store.create()
    assert store.resolve("AAAA") == "aaaa000000000000"
    assert store.resolve(" b") == "b000000000000000"
    with pytest.raises(ConversationNotFound, match="Several"):
        store.resolve("aaa")
    with pytest.raises(ConversationNotFound, match="No conversation"):
        store.resolve("c")
    with pytest.raises(ConversationNotFound):
        store.resolve("")


def test_the_list_is_sorted_by_last_use_with_pinned_ones_first(store: ConversationStore) -> None:
    first, second, third = (chat(store, (name, name))[0] for name in ("first", "second", "third"))
    assert [each.conversation_id for each in store.summaries()] == [third, second, first]
    said(store, first, "again", "yes", store.turns(first)[-1].turn_id)
    store.pin(second, pinned=True)
    assert [each.conversation_id for each in store.summaries()] == [second, first, third]
    assert store.latest() == first
    assert [each.conversation_id for each in store.summaries(limit=1)] == [second]
    assert [each.turns for each in store.summaries()] == [1, 2, 1]


def test_titles_come_from_the_first_line_until_one_is_set(store: ConversationStore) -> None:
    conversation = store.create()
    assert store.conversation(conversation).summary.title == ""
    said(store, conversation, "\n\n  ## What is\ta monad?\nSecond line", "A monoid.")
    assert store.conversation(conversation).summary.title == "What is a monad?"
    assert store.rename(conversation, "Monads", by="model")
    assert store.conversation(conversation).title_by == "model"
    assert store.rename(conversation, "  My\nburritos ", by="person")
    assert not store.rename(conversation, "Model's idea", by="model")
    assert not store.rename(conversation, "", by="first_line")
    assert store.conversation(conversation).summary.title == "My burritos"
    said(store, conversation, "Something else", "ok")
    assert store.conversation(conversation).summary.title == "My burritos"
    assert store.rename(conversation, "", by="person")
    assert (store.conversation(conversation).summary.title, store.conversation(conversation).title_by) == (
        "What is a monad?",
        "first_line",
    )
    assert_index_is_true(store)


def test_tags_are_short_lower_case_lines(store: ConversationStore) -> None:
    first, second = store.create(), store.create()
    store.tag(first, " Work ", "work", "a,b\nc", "", "\x1f")
    store.tag(second, "work")
    assert store.conversation(first).summary.tags == ("a b c", "work")
    assert store.tags() == {"a b c": 1, "work": 2}
    assert {each.conversation_id for each in store.summaries(tag="work")} == {first, second}
    store.untag(first, "WORK", "never there")
    store.trash(second)
    assert store.tags() == {"a b c": 1}


def test_a_tag_that_gets_longer_in_lower_case_can_be_removed_again(store: ConversationStore) -> None:
    conversation = store.create()
    store.tag(conversation, "İ" * 30)
    (tag,) = store.tags()
    assert len(tag) <= 40
    assert [each.conversation_id for each in store.summaries(tag=tag)] == [conversation]
    store.untag(conversation, tag)
    assert store.tags() == {}


def test_the_list_can_be_filtered_by_title_without_case_and_accents(store: ConversationStore) -> None:
    cafe = store.create(title="Café in Zürich")
    store.create(title="Tea")
    assert [each.conversation_id for each in store.summaries(contains="CAFE")] == [cafe]
    assert [each.conversation_id for each in store.summaries(contains="zu")] == [cafe]
    assert store.summaries(contains="%") == []
    assert [each.title for each in store.summaries(contains="e", limit=1)] == ["Tea"]


def test_archived_conversations_are_neither_listed_nor_trashed(store: ConversationStore) -> None:
    conversation, _ = chat(store, ("zebra", "x"))
    store.archive(conversation, archived=True)
    assert store.summaries() == []
    assert store.latest() is None
    assert [each.conversation_id for each in store.summaries(where="archived")] == [conversation]
    assert [hit.conversation_id for hit in store.search("zebra")] == [conversation]
    store.archive(conversation, archived=False)
    assert store.latest() == conversation


def test_the_latest_conversation_is_known_if_the_clock_goes_back(store: ConversationStore, clock: Clock) -> None:
    first, (turn,) = chat(store, ("x", "y"))
    chat(store, ("another", "one"))
    clock.moment -= timedelta(days=2)
    said(store, first, "x again", "y again", turn)
    assert store.latest() == first


def test_settings_of_a_conversation_can_be_changed_and_cleared(store: ConversationStore) -> None:
    conversation = store.create()
    store.set_overrides(conversation, system="sys", sampling=Sampling(top_k=1, max_tokens=5), persona="poet")
    found = store.conversation(conversation)
    assert (found.system, found.sampling, found.persona) == ("sys", Sampling(top_k=1, max_tokens=5), "poet")
    store.set_overrides(conversation)
    found = store.conversation(conversation)
    assert (found.system, found.sampling, found.persona) == ("", None, "")


def test_drafts_are_kept_per_conversation_and_for_the_next_one(store: ConversationStore, database: Path) -> None:
    conversation = store.create()
    store.save_draft(conversation, "half a thou")
    store.save_draft("", "new \x00 idea")
    other = open_store(database)
    assert (other.draft(conversation), other.draft("")) == ("half a thou", "new \N{REPLACEMENT CHARACTER} idea")
    other.save_draft("", "")
    other.close()
    assert store.draft("") == ""
    with pytest.raises(ConversationNotFound):
        store.save_draft("unknown", "x")
    store.delete(conversation)
    assert store.draft(conversation) == ""


def test_the_input_history_is_what_was_sent_newest_first(store: ConversationStore) -> None:
    conversation, (turn,) = chat(store, ("one", "1"))
    said(store, conversation, "two", "2", turn)
    store.add_sibling(turn)
    trashed, _ = chat(store, ("secret", "x"))
    store.trash(trashed)
    assert store.input_history(10) == ["one", "two"]
    assert store.input_history(1) == ["one"]


def test_times_have_a_zone_and_survive_to_the_microsecond(database: Path) -> None:
    moment = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)
    store = open_store(database, Clock(moment - timedelta(seconds=1)))
    assert store.conversation(store.create()).summary.created == moment
    store._now = lambda: datetime(2026, 1, 1)  # noqa: DTZ001 - a time without a zone is the point
    with pytest.raises(ValueError, match="zone"):
        store.create()
    store.close()


def test_a_store_in_memory_writes_no_file(tmp_path: Path) -> None:
    store = open_store(None)
    conversation, (turn,) = chat(store, ("secret", "reply"))
    store.save_draft("", "x")
    assert store.recover() == 0
    assert [hit.turn_id for hit in store.search("secret")] == [turn]
    assert store.new_connection().turns(conversation) == store.turns(conversation)
    store.delete(conversation)
    assert store.summaries() == []
    store.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_changes_made_by_another_window_are_noticed(store: ConversationStore) -> None:
    conversation, (turn,) = chat(store, ("one", "1"))
    other = store.new_connection()
    versions, states = [store.data_version()], [store.state(conversation)]

    def changed() -> bool:
        versions.append(store.data_version())
        states.append(store.state(conversation))
        return versions[-1] != versions[-2] and states[-1] != states[-2]

    added = other.add_turn(conversation, "two", parent_id=turn)
    assert changed()
    other.write_reply(added, "2")
    assert changed()
    other.finish_reply(added, "2", finish_reason="stop")
    assert changed()
    other.trash(conversation)
    assert changed()
    other.restore(conversation)
    assert changed()
    other.save_draft("", "of another window")
    other.rename(conversation, "Numbers", by="person")
    assert not changed(), "nothing that its transcript shows"
    other.delete(conversation)
    assert changed()
    assert states[-1] is None
    other.close()
