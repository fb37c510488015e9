"""What is brought back of a conversation: what a message refers to, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime

import numpy as np
import pytest
from support.embedding_models import HOW, minilm_file
from support.planted_facts import PlantedConversation, idle_messages, plant
from support.two_people import two_people

from mistral_chat.engine.llama.embedding import EmbeddingModel
from mistral_chat.session.recall import BUDGET, ConversationRecall, exchange_text
from mistral_chat.session.relevance import Relevance, Vectors, choose
from mistral_chat.session.retriever import LEAST_RECALL
from mistral_chat.store.database import open_database
from mistral_chat.store.records import StoredTurn
from mistral_chat.store.retrieval import add_turn_vectors
from mistral_chat.store.store import ConversationStore

MARCH = datetime(2026, 3, 3, 12, tzinfo=UTC)
SEED = 1


@pytest.fixture
def store() -> Iterator[ConversationStore]:
    with closing(ConversationStore(open_database(None), now=lambda: MARCH)) as made:
        yield made


def said(store: ConversationStore, exchanges: Sequence[tuple[str, str]]) -> tuple[str, list[StoredTurn]]:
    conversation_id, parent = store.create(), None
    for user, reply in exchanges:
        parent = store.add_turn(conversation_id, user, parent_id=parent)
        store.finish_reply(parent, reply, finish_reason="stop")
    return conversation_id, store.turns(conversation_id)


def filler(count: int) -> list[tuple[str, str]]:
    return [(f"What about item {number}?", f"Item {number} is fine, nothing more to add.") for number in range(count)]


def found(store: ConversationStore, exchanges: Sequence[tuple[str, str]], message: str, before: str = "") -> list[str]:
    conversation_id, turns = said(store, exchanges)
    recall = ConversationRecall(store, conversation_id, Relevance())
    places = {turn.turn_id: number for number, turn in enumerate(turns)}
    texts = [exchanges[places[each.key]][0] for each in recall.find(message, turns, before=before)]
    recall.close()
    return texts


FACTS = [("My sister moved to Lisbon.", "Noted."), ("The plumber comes on Friday.", "I see."), ("Grandma keeps bees.", "Nice.")]


def test_an_exchange_is_recalled_by_its_words_in_any_form(store: ConversationStore) -> None:
    assert found(store, [*FACTS, *filler(30)], "Which city did my sisters move to?") == [FACTS[0][0]]


def test_a_follow_up_takes_the_subject_of_the_message_before_it(store: ConversationStore) -> None:
    assert found(store, [*FACTS, *filler(30)], "And when?", before="Tell me about the plumber.") == [FACTS[1][0]]


@pytest.mark.parametrize("message", ["Thanks!", "Shorter, please", "And?", "", "How are you?", "\x00\ud800 ?!"])
def test_small_talk_recalls_nothing(store: ConversationStore, message: str) -> None:
    assert not found(store, [("Thanks, how are you?", "Fine! How are you, please?"), *FACTS, *filler(30)], message)


def test_only_exchanges_outside_the_context_are_recalled(store: ConversationStore) -> None:
    conversation_id, turns = said(store, [*FACTS, *filler(30)])
    recall = ConversationRecall(store, conversation_id, Relevance())
    assert recall.find("Where does grandma keep the bees?", turns)
    assert not recall.find("Where does grandma keep the bees?", turns[3:])
    recall.close()


def test_excluded_and_deleted_exchanges_are_never_recalled(store: ConversationStore) -> None:
    conversation_id, turns = said(store, [*FACTS, *filler(30)])
    recall = ConversationRecall(store, conversation_id, Relevance())
    store.set_turn_flags(turns[2].turn_id, excluded=True)
    assert not recall.find("Where does grandma keep the bees?", turns)
    assert not recall.find("Where does grandma keep the bees?", store.turns(conversation_id))
    recall.close()


def test_a_recalled_exchange_has_its_date_and_its_turn(store: ConversationStore) -> None:
    conversation_id, turns = said(store, [*FACTS, *filler(30)])
    recall = ConversationRecall(store, conversation_id, Relevance())
    (passage,) = recall.find("Where does my sister live in Lisbon?", turns)
    assert (passage.kind, passage.key) == ("exchange", turns[0].turn_id)
    assert passage.source == "Earlier in this conversation, 3 March 2026"
    assert passage.text == "User: My sister moved to Lisbon.\nAssistant: Noted."
    assert passage.score > 0
    recall.close()


def test_recall_is_limited_to_the_budget_and_three_exchanges(store: ConversationStore) -> None:
    conversation_id, turns = said(
        store, [*((f"The roof leaks above stairs {n}. " * 5, "I see. " * 20) for n in range(10)), *filler(60)]
    )
    recall = ConversationRecall(store, conversation_id, Relevance())
    question = "Where exactly does the roof leak, above which stairs?"
    assert len(recall.find(question, turns)) == 3
    every = recall.find(question, turns, most=None)
    assert len(every) > 3
    assert sum(each.tokens for each in every) <= BUDGET
    assert recall.find(question, turns, budget=20) == []
    recall.close()


@pytest.mark.parametrize("rest", ["", "The move took weeks. " * 30], ids=["short message", "long message"])
def test_the_least_given_on_a_slow_machine_holds_a_long_exchange(store: ConversationStore, rest: str) -> None:
    exchange = (f"My sister moved to Lisbon. {rest}", "That must be hard for your family. " * 30)
    conversation_id, turns = said(store, [exchange, *filler(30)])
    recall = ConversationRecall(store, conversation_id, Relevance())
    (passage,) = recall.find("Where in Lisbon does my sister live, and when was it that she moved?", turns, budget=LEAST_RECALL)
    assert passage.text.startswith("User: My sister moved to Lisbon.")
    assert LEAST_RECALL // 2 < passage.tokens <= LEAST_RECALL
    recall.close()


def test_a_long_exchange_is_shortened_to_relevant_parts() -> None:
    reply = "\n\n".join(
        [*(f"Paragraph {n} about nothing in particular, at some length. " * 4 for n in range(20)), "Bees need water."]
    )
    text = exchange_text("Tell me about grandma", reply, "What do bees need?")
    assert text.startswith("User: Tell me about grandma\nAssistant: … ")
    assert text.endswith("Bees need water.")
    assert len(text) < 1200


def test_exchanges_that_do_not_fit_are_skipped() -> None:
    ranked = [("a", 0.9), ("b", 0.8), ("c", 0.7), ("d", 0.6)]
    sizes = {"a": 50, "b": 100, "c": 30, "d": 10}
    assert choose(ranked, sizes, budget=90) == ["a", "c", "d"]
    assert choose(ranked, sizes, budget=90, most=2) == ["a", "c"]


def test_vectors_are_read_from_blobs_and_a_torn_one_is_cut() -> None:
    row = np.array([1, 0], np.float16).tobytes()
    vectors = Vectors.of_blobs([("x", row * 2), ("y", row + b"\0")], 2)
    assert list(vectors.keys) == ["x/0", "x/1", "y/0"]
    assert vectors.matrix.tolist() == [[1, 0]] * 3


# With a real embedding model


@pytest.fixture(scope="module")
def minilm() -> Iterator[EmbeddingModel]:
    path = minilm_file()
    if path is None:
        pytest.skip(HOW)
    model = EmbeddingModel(path)
    yield model
    model.close()


@pytest.fixture(scope="module")
def planted() -> PlantedConversation:
    return plant(SEED, facts=25, length=90)


def recalled(store: ConversationStore, planted: PlantedConversation, relevance: Relevance) -> dict[str, float]:
    """The share of each kind of question that is answered, and of small talk that something is recalled for."""
    conversation_id, turns = said(store, planted.exchanges)
    recall = ConversationRecall(store, conversation_id, relevance)
    recall.add_vectors(turns)
    hits: dict[str, list[bool]] = {}
    for question in planted.questions:
        keys = [each.key for each in recall.find(question.text, turns)]
        hits.setdefault(question.kind, []).append(turns[question.exchange].turn_id in keys)
    hits["small talk"] = [bool(recall.find(message, turns)) for message in idle_messages()]
    recall.close()
    return {kind: sum(each) / len(each) for kind, each in hits.items()}


def test_facts_are_recalled_by_their_words_without_embeddings(store: ConversationStore, planted: PlantedConversation) -> None:
    shares = recalled(store, planted, Relevance())
    assert shares["same words"] >= 0.9, f"seed {SEED}"
    assert shares["small talk"] <= 0.05, f"seed {SEED}"


def test_facts_are_recalled_by_paraphrase_with_embeddings(
    store: ConversationStore, planted: PlantedConversation, minilm: EmbeddingModel
) -> None:
    shares = recalled(store, planted, Relevance(minilm))
    assert shares["same words"] >= 0.95, f"seed {SEED}"
    assert shares["other words"] >= 0.8, f"seed {SEED}"
    assert shares["small talk"] <= 0.05, f"seed {SEED}"


def test_what_two_people_told_each_other_is_recalled_by_their_names(store: ConversationStore, minilm: EmbeddingModel) -> None:
    shares = recalled(store, two_people(SEED, days=6), Relevance(minilm))
    assert shares["same words"] >= 0.85, f"seed {SEED}"
    assert shares["other words"] >= 0.7, f"seed {SEED}"


def test_somebody_who_is_only_spoken_of_is_not_taken_for_the_user(store: ConversationStore, minilm: EmbeddingModel) -> None:
    facts = [(f"Emma is allergic to {food}, she told me.", "Poor Emma.") for food in ("peanuts", "celery", "lupin", "soy")]
    own = ("I'm allergic to kiwi.", "Noted.")
    conversation_id, turns = said(store, [own, *facts, *filler(30)])
    with closing(ConversationRecall(store, conversation_id, Relevance(minilm))) as recall:
        recall.add_vectors(turns)
        found = recall.find("What is Emma allergic to?", turns)
    assert len(found) == 3
    assert all("Emma" in each.text for each in found)


def test_vectors_of_an_earlier_version_are_made_again(store: ConversationStore, minilm: EmbeddingModel) -> None:
    conversation_id, turns = said(store, FACTS)
    with closing(ConversationRecall(store, conversation_id, Relevance(minilm))) as recall:
        recall.add_vectors(turns)
        vector, first = minilm.embed_query("one vector").tobytes(), turns[0]
        add_turn_vectors(store.database, minilm.key, [(first.turn_id, first.turn.reply, vector)])
        assert recall.add_vectors(turns) == 1
        assert recall.add_vectors(turns) == 0


def test_vectors_are_stored_once_and_renewed_for_a_changed_reply(store: ConversationStore, minilm: EmbeddingModel) -> None:
    conversation_id, turns = said(store, FACTS)
    recall = ConversationRecall(store, conversation_id, Relevance(minilm))
    assert recall.add_vectors(turns, most=2) == 3
    assert recall.add_vectors(turns) == 1
    assert recall.add_vectors(turns) == 0
    store.write_reply(turns[-1].turn_id, "Bees? No, wasps.")
    store.finish_reply(turns[-1].turn_id, "Bees? No, wasps.", finish_reason="stop")
    assert recall.add_vectors(store.turns(conversation_id)) == 1
    recall.close()
