"""The arithmetic of the context, which keeps the cache correct."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given
from support.fake_kv_cache import FakeKVCache
from support.words_format import ChatFormat, WordsTokenizer

from mistral_chat.engine.encoding.format import Encoding, TurnTokens, common_prefix
from mistral_chat.engine.encoding.mistral import MistralFormat
from mistral_chat.engine.window import (
    LONGEST_INSERT,
    SHORTEST_TAIL,
    CacheEditPlan,
    ContextWindow,
    InsertTokens,
    RemoveRange,
    plan_cache_edits,
    truncate,
)
from mistral_chat.errors import MessageTooLong
from mistral_chat.generation import PromptTurn

TOKENS = st.lists(st.integers(0, 3), max_size=24).map(tuple)
LONG_TOKENS = st.one_of(TOKENS, st.builds(lambda token, count: (token,) * count, st.integers(0, 3), st.integers(0, 90)))


def turns_of(keys: Sequence[str]) -> st.SearchStrategy[tuple[TurnTokens, ...]]:
    return st.tuples(*(st.builds(TurnTokens, st.just(key), LONG_TOKENS, LONG_TOKENS, TOKENS) for key in keys))


KEYS = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=6)
ENCODINGS = st.builds(Encoding, TOKENS, KEYS.flatmap(turns_of))


@st.composite
def related(draw: st.DrawFn) -> tuple[Encoding, Encoding]:
    """Two prompts of one chat: turns left, changed a little, or came; and the first may have been stopped in its middle."""
    old = draw(ENCODINGS)
    turns: list[TurnTokens] = []
    for turn in old.turns:
        match draw(st.sampled_from(["same", "same", "same", "gone", "head", "middle", "reply"])):
            case "same":
                turns.append(turn)
            case "head":
                turns.append(TurnTokens(turn.key, draw(TOKENS) + turn.prompt, turn.reply, turn.closing))
            case "middle":
                place = draw(st.integers(0, len(turn.prompt)))
                prompt = turn.prompt[:place] + draw(TOKENS) + turn.prompt[place + 2 :]
                turns.append(TurnTokens(turn.key, prompt, turn.reply, turn.closing))
            case "reply":
                turns.append(TurnTokens(turn.key, turn.prompt, turn.reply + draw(TOKENS), turn.closing))
    new = Encoding(draw(st.sampled_from([old.head, old.head, (9,)])), (*turns, *draw(turns_of(["new"]))))
    return truncate(old, draw(st.one_of(st.just(len(old.tokens)), st.integers(0, len(old.tokens))))), new


def apply(old: Encoding, plan: CacheEditPlan, *, size: int, can_shift: bool = True) -> FakeKVCache:
    cache = FakeKVCache(size, batch=128, can_shift=can_shift)
    for start in range(0, len(old.tokens), 128):
        cache.decode(old.tokens[start : start + 128])
    for edit in plan.edits:
        if isinstance(edit, RemoveRange):
            cache.remove(edit.start, edit.stop)
        else:
            cache.insert(edit.start, edit.tokens)
    return cache


@given(prompts=st.one_of(related(), st.tuples(ENCODINGS, ENCODINGS)), in_place=st.booleans(), decode_last=st.booleans())
def test_cache_edits_leave_a_prefix_of_the_new_prompt(
    *, prompts: tuple[Encoding, Encoding], in_place: bool, decode_last: bool
) -> None:
    old, new = prompts
    plan = plan_cache_edits(old, new, in_place=in_place, decode_last=decode_last)
    size = max(len(old.tokens), len(new.tokens))
    cache = apply(old, plan, size=size, can_shift=in_place)
    assert cache.tokens == new.tokens[: plan.keep]
    assert plan.keep >= common_prefix(old.tokens, new.tokens[: len(new.tokens) - decode_last]), (
        "more was thrown away than need be"
    )
    if decode_last:
        assert plan.keep < max(1, len(new.tokens))
    splices = [edit for edit in plan.edits if isinstance(edit, InsertTokens)]
    assert plan.inserted == sum(len(splice.tokens) for splice in splices)
    assert all(0 < len(splice.tokens) <= LONGEST_INSERT for splice in splices)
    assert plan.inserted + plan.keep <= len(new.tokens) + plan.inserted
    if not in_place:
        assert all(isinstance(edit, RemoveRange) and edit.stop == len(old.tokens) for edit in plan.edits)


@given(ENCODINGS)
def test_nothing_is_edited_when_nothing_changed(prompt: Encoding) -> None:
    assert plan_cache_edits(prompt, prompt) == CacheEditPlan((), len(prompt.tokens))


def turn(key: str, *parts: Sequence[int]) -> TurnTokens:
    return TurnTokens(key, *(tuple(part) for part in parts))


def numbered(key: str, first: int, count: int = 40) -> TurnTokens:
    """A turn of `count` tokens that are found nowhere else."""
    return turn(key, range(first, first + count // 2), range(first + count // 2, first + count), ())


HEAD = (1, 2, 3)


def test_the_oldest_turns_are_cut_at_once_without_decoding() -> None:
    a, b, c, d = (numbered(key, 100 * place) for place, key in enumerate("abcd", 1))
    plan = plan_cache_edits(Encoding(HEAD, (a, b, c)), Encoding(HEAD, (c, d)))
    assert plan == CacheEditPlan((RemoveRange(3, 83),), 43)


def test_turns_are_cut_from_the_middle_too() -> None:
    a, b, c, d = (numbered(key, 100 * place) for place, key in enumerate("abcd", 1))
    plan = plan_cache_edits(Encoding(HEAD, (a, b, c)), Encoding(HEAD, (a, c, d)))
    assert plan == CacheEditPlan((RemoveRange(43, 83),), 83)


def test_turns_after_a_new_turn_are_decoded_again() -> None:
    a, b, c = (numbered(key, 100 * place) for place, key in enumerate("abc", 1))
    assert plan_cache_edits(Encoding(HEAD, (a, c)), Encoding(HEAD, (a, b, c))).keep == 43


def test_a_changed_order_keeps_the_turns_still_in_order() -> None:
    a, b = numbered("a", 100), numbered("b", 200)
    assert plan_cache_edits(Encoding(HEAD, (a, b)), Encoding(HEAD, (b, a))).keep == 3


def test_a_changed_head_is_decoded_again() -> None:
    a = numbered("a", 100)
    assert plan_cache_edits(Encoding(HEAD, (a,)), Encoding((1, 2, 4), (a,))) == CacheEditPlan((RemoveRange(2, 43),), 2)


def test_a_short_tail_is_decoded_again_instead_of_shifted() -> None:
    a, b = numbered("a", 100), numbered("b", 200, SHORTEST_TAIL)
    assert plan_cache_edits(Encoding(HEAD, (a, b)), Encoding(HEAD, (b,))).keep == 3
    longer = numbered("b", 200, SHORTEST_TAIL + 2)
    assert plan_cache_edits(Encoding(HEAD, (a, longer)), Encoding(HEAD, (longer,))).keep == 3 + SHORTEST_TAIL + 2


def test_a_question_whose_system_prompt_moves_away_keeps_its_reply() -> None:
    """v3 puts the system prompt into the last question. A reply of any length is never read again for that."""
    system, user, reply = tuple(range(500, 530)), tuple(range(100, 120)), tuple(range(200, 600))
    asked = TurnTokens("a", (7, *system, *user, 8), reply, ())
    answered = TurnTokens("a", (7, *user, 8), reply, (9,))
    plan = plan_cache_edits(Encoding((1,), (asked,)), Encoding((1,), (answered,)))
    assert plan == CacheEditPlan((RemoveRange(2, 32),), 1 + 22 + 400)


def test_a_system_prompt_outlives_the_first_question() -> None:
    """v1 puts the system prompt into the first question, whichever that is."""
    write = MistralFormat(WordsTokenizer(), "v1")
    system = "abc. " * 40
    turns = [PromptTurn(key=key, user=f"{key} ab" * 9, reply="c b a." * 9) for key in "abcd"]
    old, new = write.encode(system, turns), write.encode(system, turns[2:])
    plan = plan_cache_edits(old, new)
    assert plan.keep == len(new.tokens)
    assert plan.inserted <= 4, "only the seam is read"
    assert apply(old, plan, size=len(old.tokens)).tokens == new.tokens


def test_an_insertion_fits_even_in_a_full_cache() -> None:
    """What leaves at the end leaves before anything is put in at the front."""
    a, b = numbered("a", 100), numbered("b", 200)
    longer = TurnTokens("a", (*a.prompt[:5], 77, 78, 79, *a.prompt[5:]), a.reply, ())
    old, new = Encoding(HEAD, (a, b)), Encoding(HEAD, (longer, numbered("c", 300, 10)))
    plan = plan_cache_edits(old, new)
    assert plan.keep == 46
    assert apply(old, plan, size=len(old.tokens)).tokens == new.tokens[:46]


@given(ENCODINGS, st.integers(0, 400))
def test_truncate_keeps_the_first_tokens_and_their_owners(prompt: Encoding, count: int) -> None:
    taken = truncate(prompt, count)
    assert taken.tokens == prompt.tokens[:count]
    assert [each.key for each in taken.turns] == [each.key for each in prompt.turns][: len(taken.turns)]
    if count >= len(prompt.tokens):
        assert taken.tokens == prompt.tokens
    assert truncate(taken, count) == taken


@given(LONG_TOKENS, LONG_TOKENS)
def test_a_common_prefix_is_common_and_as_long_as_can_be(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    length = common_prefix(one, other)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]


# Which turns stay

FORMAT = ChatFormat(WordsTokenizer())
FIRM_TURNS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.booleans()), min_size=1, max_size=10)


def prompt_turns(sizes: Sequence[tuple[int, int, bool]]) -> list[PromptTurn]:
    return [
        PromptTurn(key=str(place), user="a" * user, reply="b" * reply, pinned=pinned)
        for place, (user, reply, pinned) in enumerate(sizes)
    ]


def encode(turns: Sequence[PromptTurn]) -> Encoding:
    return FORMAT.encode("ab", turns)


def check_refusal(error: MessageTooLong, least: Encoding, size: int, free: int) -> None:
    assert len(least.tokens) + free > size, "a message was refused that would have fit"
    own = len(least.turns[-1].tokens)
    assert (error.tokens, error.window) == (own, size)
    assert error.available == max(0, size - free - (len(least.tokens) - own))
    assert error.available < error.tokens


@given(
    FIRM_TURNS,
    st.integers(40, 500),
    st.floats(0.1, 0.95),
    st.one_of(st.none(), st.integers(0, 60)),
    st.sets(st.sampled_from("0123456")),
)
def test_only_the_oldest_turns_are_evicted_as_needed(
    sizes: Sequence[tuple[int, int, bool]], size: int, low_water: float, need: int | None, firm: set[str]
) -> None:
    turns = prompt_turns(sizes)
    window = ContextWindow(size=size, reserve=size // 8, low_water=low_water)
    free = window.reserve if need is None else need
    stay = [each for each in turns if each.pinned or each.key in firm or each is turns[-1]]
    try:
        fit = window.fit(turns, encode, need=need, firm=firm)
    except MessageTooLong as error:
        check_refusal(error, encode(stay), size, free)
        return
    assert sorted([*fit.kept, *fit.dropped], key=lambda each: int(each.key)) == turns
    assert list(fit.kept) == [each for each in turns if each in fit.kept]
    assert set(stay) <= set(fit.kept)
    assert fit.encoding == encode(fit.kept)
    assert len(fit.encoding.tokens) + free <= size
    loose = [each for each in turns if each not in stay]
    assert list(fit.dropped) == loose[: len(fit.dropped)]
    if not fit.dropped:
        return
    assert len(encode(turns).tokens) + free > size, "turns left that fitted"
    target = min(size - free, int(size * low_water))
    assert len(fit.encoding.tokens) <= target or list(fit.dropped) == loose
    with_last = [each for each in turns if each in fit.kept or each is fit.dropped[-1]]
    assert len(encode(with_last).tokens) > target, "one turn more left than the low-water mark asks for"


def test_turns_leave_in_groups() -> None:
    """Moving the cache costs the same for one turn as for many, so they leave in one go."""
    window = ContextWindow(size=400, reserve=40, low_water=0.5)
    turns = prompt_turns([(20, 20, False)] * 8)
    fit = window.fit(turns, encode)
    assert len(fit.encoding.tokens) <= 200
    more = [*fit.kept, *prompt_turns([(20, 20, False)] * 10)[8:]]
    assert window.fit(more, encode).dropped == ()


def test_an_empty_history_fits() -> None:
    fit = ContextWindow(size=100, reserve=10, low_water=0.5).fit([], encode)
    assert (fit.kept, fit.dropped) == ((), ())


def test_a_system_prompt_alone_can_be_too_long() -> None:
    with pytest.raises(MessageTooLong) as caught:
        ContextWindow(size=100, reserve=10, low_water=0.5).fit([], lambda turns: FORMAT.encode("a" * 100, turns))
    assert (caught.value.tokens, caught.value.available) == (0, 0)


def test_turns_leave_even_if_the_system_prompt_moves() -> None:
    write = MistralFormat(WordsTokenizer(), "v1")
    turns = prompt_turns([(10, 10, False)] * 12)
    sampled: Mapping[str, Sequence[int]] = {}
    fit = ContextWindow(size=240, reserve=30, low_water=0.6).fit(
        turns, lambda kept: write.encode("ab " * 20, kept, sampled=sampled)
    )
    assert len(fit.encoding.tokens) <= 144
    assert fit.kept[-1] == turns[-1]


def test_the_refusal_names_the_needed_and_available_tokens() -> None:
    turns = prompt_turns([(20, 20, True), (5, 5, False), (300, 0, False)])
    with pytest.raises(MessageTooLong) as caught:
        ContextWindow(size=256, reserve=32, low_water=0.75).fit(turns, encode)
    beside = len(encode([turns[0], turns[2]]).tokens) - caught.value.tokens
    assert caught.value.tokens >= 300
    assert caught.value.available == 256 - 32 - beside
    assert f"The message takes {caught.value.tokens:,} tokens" in str(caught.value)


def test_the_refusal_to_continue_a_reply_counts_the_reply() -> None:
    with pytest.raises(MessageTooLong, match=r"^The message and its reply take"):
        ContextWindow(size=256, reserve=32, low_water=0.75).fit(prompt_turns([(20, 300, False)]), encode)
