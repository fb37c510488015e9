"""Text out of tokens that are parts of characters."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given
from support.words_format import BYTES, FIRST_WORD, WORDS, ChatFormat, WordsTokenizer

from mistral_chat.engine.generated_reply import GeneratedReply
from mistral_chat.generation import PromptTurn

TOKENIZER = WordsTokenizer()
SPACE_A = FIRST_WORD + WORDS.index(" a")
A = FIRST_WORD + WORDS.index("a")
TURN = PromptTurn(key="t", user="hello")


def drawn(
    tokens: Sequence[int], *, prefix: str = "", turn: PromptTurn = TURN, earlier: Sequence[int] = ()
) -> tuple[GeneratedReply, list[str]]:
    reply = GeneratedReply(ChatFormat(TOKENIZER, prefix), TOKENIZER, [turn], earlier)
    return reply, [text for token in tokens if (text := reply.add(token))]


def bytes_of(text: str) -> list[int]:
    return [BYTES + byte for byte in text.encode()]


@pytest.mark.parametrize("text", ["é", "👩‍🚀", "שלום", "日本語", "🇫🇷", "e\u0301", "\u200b\u202e"])
def test_a_split_character_arrives_whole(text: str) -> None:
    reply, deltas = drawn(bytes_of(text))
    assert deltas == list(text)
    assert reply.text == text
    assert reply.tokens == bytes_of(text)


def test_an_incomplete_character_waits_for_the_continuation() -> None:
    mouse = bytes_of("🐁")
    reply, deltas = drawn([A, *mouse[:2]])
    assert deltas == ["a"]
    assert reply.sampled == ("a", (A, *mouse[:2]))
    again, deltas = drawn([*mouse[2:], A], turn=reply.turn, earlier=reply.sampled[1])
    assert deltas == ["🐁", "a"]
    assert again.sampled == ("a🐁a", (A, *mouse, A))
    assert again.turn.reply == "a🐁a", "a damaged character stays in the conversation"


def test_a_broken_character_does_not_swallow_what_follows() -> None:
    assert drawn([BYTES + 0xF0, A, A])[0].text == "\ufffdaa"


@given(st.text(), st.sampled_from(["", " "]))
def test_any_text_survives_byte_by_byte(text: str, prefix: str) -> None:
    reply, deltas = drawn(bytes_of(prefix + text), prefix=prefix)
    assert reply.text == text == "".join(deltas)
    assert "" not in deltas


@given(st.lists(st.integers(BYTES, FIRST_WORD + len(WORDS) - 1)), st.sampled_from(["", " "]))
def test_streamed_text_equals_the_decoded_reply(tokens: list[int], prefix: str) -> None:
    reply, deltas = drawn(tokens, prefix=prefix)
    whole = codecs.getincrementaldecoder("utf-8")("replace").decode(b"".join(TOKENIZER.piece(token) for token in tokens))
    assert reply.text == whole.removeprefix(prefix) == "".join(deltas)
    assert reply.sampled == (reply.text, tuple(tokens))


def test_the_space_before_a_reply_is_dropped_once_and_only_at_its_start() -> None:
    assert drawn([SPACE_A, SPACE_A], prefix=" ")[0].text == "a a"
    assert drawn([A, SPACE_A], prefix=" ")[0].text == "a a"
    assert drawn([*bytes_of(" "), SPACE_A], prefix=" ")[0].text == " a"
    assert drawn([*bytes_of(" ")], prefix=" ")[1] == []


def test_a_continued_reply_keeps_its_spaces() -> None:
    turn = PromptTurn(key="t", user="hello", reply="a")
    reply, deltas = drawn([SPACE_A], prefix=" ", turn=turn, earlier=[A])
    assert deltas == [" a"]
    assert reply.text == " a", "what stood before is not said twice"
    assert reply.turn.reply == "a a"
    assert reply.sampled == ("a a", (A, SPACE_A))
    assert reply.turns == [reply.turn]


def test_speed_is_counted_from_the_first_token() -> None:
    reply, _ = drawn([])
    assert (reply.first, reply.tokens_per_second) == (None, 0.0)
    for now in (10.0, 11.0, 12.0):
        reply.record_token_time(now)
        reply.add(A)
    reply.record_token_time(20.0)  # the token that ends the reply is not part of it
    assert reply.first == 10.0
    assert reply.tokens_per_second == 1.0


def test_one_token_has_no_speed() -> None:
    reply, _ = drawn([A])
    reply.record_token_time(10.0)
    assert reply.tokens_per_second == 0.0
