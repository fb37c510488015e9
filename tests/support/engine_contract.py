"""The contract of every engine, as one suite.

Subclass `EngineContract` in a test file under a name that begins with ``Test``, and give it a fixture `engine`: an engine whose
window is small (256 to 4,096 tokens) and which closes itself after the test. A reply should be longer than one delta.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from mistral_chat.errors import MessageTooLong
from mistral_chat.generation import (
    CancelToken,
    Completion,
    ContextShift,
    ContextState,
    Delta,
    Engine,
    Event,
    History,
    Prefill,
    PromptTurn,
)
from mistral_chat.sampling import Sampling


@dataclass(frozen=True)
class Outcome:
    """All that came of one generation."""

    events: tuple[Event, ...]
    completion: Completion
    shifted: tuple[str, ...]

    @property
    def read(self) -> int:
        return self.completion.usage.prompt_tokens - self.completion.usage.cached_tokens


def examine(events: Iterator[Event]) -> Outcome:
    """Exhaust a generation and check what holds for every one."""
    found = tuple(events)
    kinds = [type(event) for event in found]
    assert kinds.count(Completion) == 1, "a generation ends with exactly one completion"
    completion = found[-1]
    assert isinstance(completion, Completion), "nothing comes after the completion"
    assert completion.text == "".join(event.text for event in found if isinstance(event, Delta)), "the screen shows another text"
    assert all(event.text for event in found if isinstance(event, Delta)), "an empty delta"
    if Delta in kinds:
        start = kinds.index(Delta)
        mid_shifts = {place for place, kind in enumerate(kinds) if kind is ContextShift and place > start}
        assert all(kind is not Prefill or any(s < place for s in mid_shifts) for place, kind in enumerate(kinds) if place > start)
    usage = completion.usage
    assert 0 <= usage.cached_tokens <= usage.prompt_tokens
    assert usage.completion_tokens >= 0
    assert usage.time_to_first_token >= 0
    assert usage.tokens_per_second >= 0
    for prefill in (event for event in found if isinstance(event, Prefill)):
        assert 0 <= prefill.done <= prefill.total
        assert prefill.seconds_left is None or prefill.seconds_left >= 0
    shifts = [event for event in found if isinstance(event, ContextShift)]
    assert all(event.turns and event.tokens > 0 for event in shifts), "a shift of nothing"
    shifted = tuple(key for event in shifts for key in event.turns)
    assert len(set(shifted)) == len(shifted), "a turn left twice"
    return Outcome(found, completion, shifted)


def keys(view: ContextState) -> list[str]:
    return [turn.key for turn in view.turns]


def text_of(engine: Engine, tokens: int, subject: str = "") -> str:
    """A message of a few tokens more than `tokens`."""
    text = f"Tell me more about {subject or 'the sea'}."
    more = f" It is a long story of {subject or 'ships'}."
    while (missing := tokens - engine.count(text)) > 0:
        text += more * max(1, missing // engine.count(more))
    return text


class EngineContract:
    """The suite."""

    scaffold = 40
    """The most tokens that a turn's format adds to its text, and that a tokenizer may differ by at the seams."""
    sampling = Sampling(temperature=0, max_tokens=12)
    system = "You are a patient guide."

    def history(self, *turns: PromptTurn, conversation: str = "") -> History:
        return History(conversation=conversation, system=self.system, turns=turns)

    def say(self, engine: Engine, turns: Sequence[PromptTurn], new: PromptTurn) -> tuple[Outcome, list[PromptTurn]]:
        """Send `new` after `turns`; the turns with its reply."""
        outcome = examine(engine.reply(self.history(*turns, new), self.sampling, CancelToken()))
        self.check(engine)
        return outcome, [*turns, replace(new, reply=new.reply + outcome.completion.text)]

    def talk(self, engine: Engine, count: int, *, tokens: int = 0) -> list[PromptTurn]:
        turns: list[PromptTurn] = []
        for number in range(count):
            _, turns = self.say(engine, turns, PromptTurn(key=f"t{number}", user=text_of(engine, tokens, f"port {number}")))
        return turns

    def check(self, engine: Engine) -> None:
        view = engine.ledger
        assert view.window == engine.facts.window
        assert 0 < view.reserve < view.window
        assert view.used <= view.window, "the window is overfull"
        assert all(turn.tokens > 0 for turn in view.turns)
        assert len(set(keys(view))) == len(view.turns)

    def test_the_engine_describes_itself(self, engine: Engine) -> None:
        facts = engine.facts
        assert facts.model
        assert facts.prompt_format
        assert facts.device
        assert 256 <= facts.window <= 4096
        assert facts.context_trained >= facts.window
        assert engine.ledger.turns == ()

    def test_a_reply_ends_with_one_completion_that_holds_all_deltas(self, engine: Engine) -> None:
        outcome, _ = self.say(engine, [], PromptTurn(key="one", user="Tell me about the sea."))
        assert outcome.completion.text
        assert outcome.completion.finish_reason in {"stop", "length"}
        assert 0 < outcome.completion.usage.completion_tokens <= 12
        assert isinstance(outcome.events[0], Prefill)
        assert keys(engine.ledger) == ["one"]
        assert outcome.read == outcome.completion.usage.prompt_tokens, "an empty cache holds nothing"

    def test_prefill_progress_counts_up_to_the_new_tokens(self, engine: Engine) -> None:
        outcome, _ = self.say(engine, [], PromptTurn(key="one", user=text_of(engine, 100)))
        steps = [event for event in outcome.events if isinstance(event, Prefill)]
        assert steps[0].done == 0
        assert steps[-1].done == steps[-1].total == outcome.read
        assert {step.kept for step in steps} == {outcome.completion.usage.cached_tokens}
        assert [step.done for step in steps] == sorted({step.done for step in steps}), "progress goes forward"

    def test_a_reply_ends_at_max_tokens(self, engine: Engine) -> None:
        turn = PromptTurn(key="one", user="Tell me a long story about the sea.")
        outcome = examine(engine.reply(self.history(turn), Sampling(temperature=0, max_tokens=2), CancelToken()))
        assert outcome.completion.finish_reason == "length"
        assert outcome.completion.usage.completion_tokens == 2

    def test_the_next_turn_decodes_only_new_text(self, engine: Engine) -> None:
        turns = self.talk(engine, 3, tokens=engine.facts.window // 10)
        held = engine.ledger.used
        user = text_of(engine, 20)
        outcome, _ = self.say(engine, turns, PromptTurn(key="next", user=user))
        assert outcome.read <= engine.count(user) + self.scaffold
        assert outcome.completion.usage.cached_tokens >= held - self.scaffold

    def test_a_full_context_drops_whole_turns_oldest_first(self, engine: Engine) -> None:
        size = engine.facts.window
        turns: list[PromptTurn] = []
        gone: list[str] = []
        head = None
        for number in range(80):
            user = text_of(engine, size // 14, f"port {number}")
            outcome, turns = self.say(engine, turns, PromptTurn(key=f"t{number}", user=user))
            gone += outcome.shifted
            assert gone == [turn.key for turn in turns[: len(gone)]], "the oldest whole turns leave, each once, in order"
            assert keys(engine.ledger) == [turn.key for turn in turns[len(gone) :]]
            assert outcome.read <= engine.count(user) + self.scaffold, f"turn {number} read more than what is new"
            head = engine.ledger.system_tokens if head is None else head
            assert engine.ledger.system_tokens == head, "the head never changes"
            if {event for event in outcome.events if isinstance(event, ContextShift)} and number > 25:
                break
        assert len(gone) > 10

    def test_a_pinned_turn_stays_in_a_full_context(self, engine: Engine) -> None:
        size = engine.facts.window
        first = PromptTurn(key="pinned", user="Remember the number 42.", pinned=True)
        _, turns = self.say(engine, [], first)
        for number in range(14):
            user = text_of(engine, size // 10, f"port {number}")
            _, turns = self.say(engine, turns, PromptTurn(key=f"t{number}", user=user))
            assert keys(engine.ledger)[0] == "pinned"
            assert engine.ledger.turns[0].pinned
        assert "t0" not in keys(engine.ledger)

    def test_a_stop_during_the_reply_keeps_what_was_written(self, engine: Engine) -> None:
        cancel = CancelToken()
        turn = PromptTurn(key="one", user="Tell me a long story about the sea.")
        events: list[Event] = []
        after = 0
        for event in engine.reply(self.history(turn), Sampling(temperature=0), cancel):
            events.append(event)
            after += cancel.is_set and isinstance(event, Delta)
            if isinstance(event, Delta):
                cancel.set()
        outcome = examine(iter(events))
        assert outcome.completion.finish_reason == "cancelled"
        assert outcome.completion.text
        assert after <= 2, "a stop takes hold within a token"
        self.check(engine)
        answered = replace(turn, reply=outcome.completion.text)
        following, _ = self.say(engine, [answered], PromptTurn(key="two", user="Go on."))
        assert following.completion.text
        assert following.read <= engine.count("Go on.") + self.scaffold
        assert keys(engine.ledger) == ["one", "two"]

    def test_a_stop_during_prefill_leaves_a_working_engine(self, engine: Engine) -> None:
        turns = self.talk(engine, 2)
        cancel = CancelToken()
        long = PromptTurn(key="long", user=text_of(engine, engine.facts.window // 3))
        events: list[Event] = []
        for event in engine.reply(self.history(*turns, long), self.sampling, cancel):
            events.append(event)
            cancel.set()
        outcome = examine(iter(events))
        assert outcome.completion.finish_reason == "cancelled"
        assert outcome.completion.text == ""
        assert outcome.completion.usage.completion_tokens == 0
        self.check(engine)
        following, _ = self.say(engine, turns, PromptTurn(key="short", user="Hello again."))
        assert following.completion.text
        assert keys(engine.ledger) == ["t0", "t1", "short"]

    def test_a_stop_before_the_start_counts(self, engine: Engine) -> None:
        cancel = CancelToken()
        cancel.set()
        outcome = examine(engine.reply(self.history(PromptTurn(key="one", user="Hello.")), self.sampling, cancel))
        assert outcome.completion.finish_reason == "cancelled"
        assert outcome.completion.text == ""
        self.say(engine, [], PromptTurn(key="two", user="Hello."))

    @pytest.mark.parametrize("kind", [Prefill, Delta, Completion])
    def test_an_abandoned_reply_leaves_a_working_engine(self, engine: Engine, kind: type[Event]) -> None:
        turns = self.talk(engine, 2)
        reply = engine.reply(self.history(*turns, PromptTurn(key="left", user="Tell me a story.")), self.sampling, CancelToken())
        assert any(isinstance(event, kind) for event in reply)
        reply.close()  # type: ignore[attr-defined]  # every engine's iterator is a generator
        self.check(engine)
        outcome, _ = self.say(engine, turns, PromptTurn(key="next", user="Hello again."))
        assert outcome.completion.text
        assert keys(engine.ledger) == ["t0", "t1", "next"]

    def test_a_message_larger_than_the_context_changes_nothing(self, engine: Engine) -> None:
        turns = self.talk(engine, 2)
        before = engine.ledger
        size = engine.facts.window
        long = PromptTurn(key="long", user=text_of(engine, size))
        with pytest.raises(MessageTooLong) as caught:
            list(engine.reply(self.history(*turns, long), self.sampling, CancelToken()))
        assert caught.value.window == size
        assert caught.value.tokens >= engine.count(long.user) > caught.value.available > 0
        assert engine.ledger == before
        outcome, _ = self.say(engine, turns, PromptTurn(key="next", user="Hello again."))
        assert outcome.read <= engine.count("Hello again.") + self.scaffold

    def test_regenerating_decodes_the_question_at_most(self, engine: Engine) -> None:
        turns = self.talk(engine, 3, tokens=engine.facts.window // 12)
        again = PromptTurn(key="again", user=turns[-1].user)
        outcome, _ = self.say(engine, turns[:-1], again)
        assert outcome.read <= engine.count(again.user) + self.scaffold
        assert keys(engine.ledger) == ["t0", "t1", "again"]

    def test_an_edited_question_replaces_all_that_followed(self, engine: Engine) -> None:
        turns = self.talk(engine, 4)
        outcome, _ = self.say(engine, turns[:1], PromptTurn(key="edited", user="Something else."))
        assert outcome.read <= engine.count("Something else.") + self.scaffold
        assert keys(engine.ledger) == ["t0", "edited"]

    def test_an_excluded_turn_is_cut_out_of_the_middle(self, engine: Engine) -> None:
        turns = self.talk(engine, 4, tokens=engine.facts.window // 16)
        outcome, _ = self.say(engine, [turns[0], *turns[2:]], PromptTurn(key="next", user="Hello again."))
        assert outcome.read <= engine.count("Hello again.") + self.scaffold
        assert keys(engine.ledger) == ["t0", "t2", "t3", "next"]

    def test_a_reply_can_be_continued(self, engine: Engine) -> None:
        turn = PromptTurn(key="one", user="Tell me a long story about the sea.")
        short = examine(engine.reply(self.history(turn), Sampling(temperature=0, max_tokens=2), CancelToken())).completion.text
        outcome, turns = self.say(engine, [], replace(turn, reply=short))
        assert outcome.read <= self.scaffold
        assert turns[-1].reply == short + outcome.completion.text
        assert keys(engine.ledger) == ["one"]

    def test_another_conversation_replaces_the_first_in_the_cache(self, engine: Engine) -> None:
        self.talk(engine, 2)
        other = History(conversation="other", system="You are terse.", turns=(PromptTurn(key="x", user="Hello."),))
        examine(engine.reply(other, self.sampling, CancelToken()))
        assert keys(engine.ledger) == ["x"]

    def test_a_prefilled_draft_is_not_decoded_again(self, engine: Engine) -> None:
        turns = (PromptTurn(key="a", user=text_of(engine, 60), reply="Yes."), PromptTurn(key="b", user="And?", reply="No."))
        steps = list(engine.prefill(self.history(*turns), CancelToken()))
        assert steps[-1].done == steps[-1].total
        assert keys(engine.ledger) == ["a", "b"]
        self.check(engine)
        outcome, _ = self.say(engine, turns, PromptTurn(key="c", user="Well?"))
        assert outcome.read <= engine.count("Well?") + self.scaffold
        assert keys(engine.ledger) == ["a", "b", "c"]

    def test_a_prefilled_draft_can_change(self, engine: Engine) -> None:
        turns = self.talk(engine, 2)
        for draft in (text_of(engine, 40), text_of(engine, 40) + " and more", "Something else", "", "[INST] </s> é"):
            list(engine.prefill(replace(self.history(*turns), draft=draft), CancelToken()))
            self.check(engine)
        outcome, _ = self.say(engine, turns, PromptTurn(key="sent", user="Something quite else."))
        assert outcome.completion.text
        assert keys(engine.ledger) == ["t0", "t1", "sent"]

    def test_prefilling_stops_at_once(self, engine: Engine) -> None:
        turn = PromptTurn(key="a", user=text_of(engine, engine.facts.window // 2), reply="Yes.")
        cancel = CancelToken()
        for _ in engine.prefill(self.history(turn), cancel):
            cancel.set()
        self.check(engine)
        outcome, _ = self.say(engine, [turn], PromptTurn(key="b", user="Well?"))
        assert outcome.completion.text
        assert keys(engine.ledger) == ["a", "b"]

    def test_detached_generation_leaves_no_trace(self, engine: Engine) -> None:
        turns = self.talk(engine, 3)
        before = engine.ledger
        question = PromptTurn(key="aside", user="Give this conversation a title.")
        assert engine.generate_detached(self.history(*turns, question), self.sampling, CancelToken())
        assert engine.ledger == before
        stopped = CancelToken()
        stopped.set()
        assert engine.generate_detached(self.history(*turns, question), self.sampling, stopped) == ""
        assert engine.ledger == before
        huge = PromptTurn(key="aside", user=text_of(engine, engine.facts.window))
        assert engine.generate_detached(self.history(*turns, huge), self.sampling, CancelToken()) == ""
        assert engine.ledger == before
        outcome, _ = self.say(engine, turns, PromptTurn(key="next", user="Hello again."))
        assert outcome.read <= engine.count("Hello again.") + self.scaffold

    def test_idle_tasks_do_not_change_the_context(self, engine: Engine) -> None:
        turns = self.talk(engine, 2)
        before = engine.ledger
        engine.run_idle_tasks(CancelToken())
        engine.run_idle_tasks(CancelToken())
        assert engine.ledger == before
        outcome, _ = self.say(engine, turns, PromptTurn(key="next", user="Hello again."))
        assert outcome.read <= engine.count("Hello again.") + self.scaffold

    def test_tokens_are_counted_from_any_thread(self, engine: Engine) -> None:
        counted: list[int] = []
        thread = threading.Thread(target=lambda: counted.append(engine.count("Hello there, general.")))
        thread.start()
        thread.join()
        assert counted == [engine.count("Hello there, general.")]
        assert counted[0] > 0
        assert engine.count("") == 0
