"""A chat over the rolling engine, at random, with everything that can happen to it; and what must be true after each step."""

from __future__ import annotations

import codecs
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.effort import cases
from support.engine_contract import examine
from support.engine_without_model import engine_without_model
from support.fake_kv_cache import FakeKVCache
from support.random_chats import DRAWN, FATES, PASSAGES, SYSTEMS, TEXTS, WORD_TOKENS, Conversation, Fate, Said
from support.words_format import FORMATS, WordsTokenizer

from mistral_chat.conversation import Passage
from mistral_chat.engine.encoding.format import PromptFormat
from mistral_chat.engine.prompt_builder import passages_text
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.engine.window import SHORTEST_TAIL, truncate
from mistral_chat.errors import EngineFailed, MessageTooLong
from mistral_chat.generation import CancelToken, Completion, ContextShift, Delta, Event, PromptTurn
from mistral_chat.sampling import Sampling


class Chatting(RuleBasedStateMachine):
    """One engine, a few conversations."""

    conversations = Bundle("conversations")

    @initialize(
        shape=st.sampled_from(sorted(FORMATS)),
        size=st.integers(180, 420),
        low_water=st.sampled_from([0.1, 0.5, 0.75, 0.95]),
        can=st.sampled_from(["shift", "shift", "shift", "trim", "clear"]),
    )
    def begin(self, shape: str, size: int, low_water: float, can: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.snapshots: SnapshotFolder | None = None
        self.tokenizer = WordsTokenizer()
        self.format: PromptFormat = FORMATS[shape](self.tokenizer)
        self.shape, self.size, self.low_water, self.can = shape, size, low_water, can
        self.keys = 0
        self._open()
        self.here = Conversation("first", "abc a b c.")
        self.all = [self.here]
        self.drawn: dict[str, tuple[int, ...]] = {}
        self.continued: set[str] = set()
        self.steady = False

    def _open(self) -> None:
        self.snapshots = SnapshotFolder(Path(self.folder.name), budget=20_000)
        self.cache = FakeKVCache(self.size, can_shift=self.can == "shift", can_trim=self.can != "clear")
        make_format = FORMATS[self.shape]
        self.engine: RollingEngine = engine_without_model(
            self.cache, make_format, low_water=self.low_water, snapshots=self.snapshots
        )

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.engine.close()
            self.folder.cleanup()

    # What the user does

    @rule(text=TEXTS, drawn=DRAWN, fate=FATES, limit=st.one_of(st.none(), st.integers(1, 20)))
    def send(self, text: str, drawn: list[int], fate: Fate, limit: int | None) -> None:
        self._answer(self._add(text), drawn, fate, limit)

    @rule(text=TEXTS, passages=PASSAGES, drawn=DRAWN, fate=FATES)
    def send_with_passages(self, text: str, passages: tuple[Passage, ...], drawn: list[int], fate: Fate) -> None:
        said = self._add(text)
        said.turn = replace(said.turn, passages=passages)
        self._answer(said, drawn, fate, None)

    @rule(text=TEXTS, drawn=st.lists(WORD_TOKENS, min_size=1, max_size=12))
    def chat(self, text: str, drawn: list[int]) -> None:
        for _ in range(4):
            self._answer(self._add(text), drawn, Fate(), None)

    @precondition(lambda self: self.here.path)
    @rule(drawn=DRAWN, fate=FATES, data=st.data())
    def regenerate(self, drawn: list[int], fate: Fate, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.here.path) - 1))
        again = self.here.path[place].turn
        self.here.path = self.here.path[:place]
        self.steady = False
        self._answer(self._add(again.user), drawn, fate, None)

    @precondition(lambda self: self.here.path)
    @rule(drawn=DRAWN, fate=FATES)
    def go_on(self, drawn: list[int], fate: Fate) -> None:
        last = self.here.path[-1]
        if last.turn.reply:
            self.continued.add(last.turn.key)
        self.steady = False
        self._answer(last, drawn, fate, None)

    @precondition(lambda self: self.here.path)
    @rule(data=st.data(), pinned=st.booleans(), excluded=st.sampled_from([False, False, True]))
    def mark(self, data: st.DataObject, pinned: bool, excluded: bool) -> None:  # noqa: FBT001 (hypothesis gives them by name)
        said = data.draw(st.sampled_from(self.here.path))
        said.turn = replace(said.turn, pinned=pinned)
        said.excluded = excluded
        self.steady = False

    @rule(system=SYSTEMS)
    def change_system(self, system: str) -> None:
        self.here.system = system
        self.steady = False

    @rule(place=st.integers(0, 2), drawn=DRAWN)
    def switch(self, place: int, drawn: list[int]) -> None:
        names = ("first", "second", "")
        found = next((each for each in self.all if each.name == names[place]), None)
        if found is None:
            found = Conversation(names[place], "abc a b c.")
            self.all.append(found)
        self.here = found
        self.steady = False

    @rule(draft=st.one_of(st.just(""), TEXTS), fate=FATES, again=st.booleans())
    def type_a_draft(self, draft: str, fate: Fate, again: bool) -> None:  # noqa: FBT001 (hypothesis gives it by name)
        for typed in (draft, draft + " abc") if again else (draft,):
            cancel = self._arm(fate)
            before = set(self.engine.ledger.turns)
            try:
                events = self.engine.prefill(replace(self.here.history(), draft=typed), cancel)
                for number, _ in enumerate(events):
                    if number == fate.abandon_at_event:
                        events.close()  # type: ignore[attr-defined]  # the rolling engine's iterator is a generator
                        break
                    if number == fate.cancel_at_event:
                        cancel.set()
            except EngineFailed:
                assert fate.fail
                self._check_dropped()
            self._disarm()
            note(f"after the draft: {[turn.key for turn in self.engine.ledger.turns]}, before: {len(before)}")
        self.steady = self.steady and fate == Fate()

    @rule()
    def send_too_much(self) -> None:
        said = self._add("ab " * self.cache.size)
        before = self.engine.ledger if self.steady else None
        tokens = self.cache.tokens if self.steady else None
        with pytest.raises(MessageTooLong) as caught:
            list(self.engine.reply(self.here.history(said.turn.key), Sampling(), CancelToken()))
        assert caught.value.window == self.cache.size
        assert caught.value.tokens > caught.value.available >= 0
        self.here.path.pop()
        if before is not None:
            assert self.engine.ledger == before
            assert self.cache.tokens == tokens

    @rule(fails=st.booleans())
    def rest(self, fails: bool) -> None:  # noqa: FBT001 (hypothesis gives it by name)
        if fails:
            self.cache.fail = {"decode": 0}
        self.engine.run_idle_tasks(CancelToken())
        self._disarm()
        self.steady = self.steady and bool(self.cache.slots)

    @rule(question=TEXTS, drawn=DRAWN, fate=FATES)
    def ask_aside(self, question: str, drawn: list[int], fate: Fate) -> None:
        before = self.engine.ledger, self.cache.tokens
        history = self.here.history()
        self.cache.script.extend(drawn)
        try:
            asked = replace(history, turns=(*history.turns, PromptTurn(key="aside", user=question)))
            self.engine.generate_detached(asked, Sampling(max_tokens=8), self._arm(fate))
        except EngineFailed:
            assert fate.fail
            self._check_dropped()
            self.steady = False
        self._disarm()
        if self.steady:
            assert (self.engine.ledger, self.cache.tokens) == before, "what was asked in passing left a trace"

    @rule()
    def restart(self) -> None:
        self.engine.close()
        self._open()
        self.steady = False

    @rule()
    def forget(self) -> None:
        assert self.snapshots is not None
        self.snapshots.forget(self.here.name)

    # What must be true

    @invariant()
    def the_ledger_says_what_is_in_the_cache(self) -> None:
        if not hasattr(self, "engine"):
            return
        held = self.engine.contents
        assert self.cache.tokens == held.tokens
        assert len(held.tokens) <= self.cache.size
        view = self.engine.ledger
        assert view.used == len(held.tokens)
        assert [(turn.key, turn.tokens) for turn in view.turns] == [(turn.key, len(turn.tokens)) for turn in held.turns]
        assert self.cache.replies_begun == self.cache.replies_ended

    # How it is done

    def _add(self, text: str) -> Said:
        self.keys += 1
        self.here.path.append(Said(PromptTurn(key=f"{self.here.name}{self.keys}", user=text)))
        return self.here.path[-1]

    def _arm(self, fate: Fate) -> CancelToken:
        cancel = CancelToken()
        reads = fate.cancel_at_read

        def before_read(armed: CancelToken | None) -> None:
            nonlocal reads
            if reads is not None and armed is cancel:
                reads -= 1
                if reads < 0:
                    cancel.set()

        self.cache.before_read = before_read
        self.cache.finished_part = fate.finished_part
        self.cache.fail = dict([fate.fail]) if fate.fail else {}
        return cancel

    def _disarm(self) -> None:
        self.cache.before_read = lambda _: None
        self.cache.fail = {}
        self.cache.script.clear()

    def _answer(self, said: Said, drawn: list[int], fate: Fate, limit: int | None) -> None:
        before = [turn.key for turn in self.engine.ledger.turns]
        read, steady = self.cache.tokens_read, self.steady
        cancel = self._arm(fate)
        self.cache.script.extend(drawn)
        key, old_reply = said.turn.key, said.turn.reply
        events: list[Event] = []
        self.steady = False
        try:
            reply = self.engine.reply(self.here.history(key), Sampling(max_tokens=limit), cancel)
            for number, event in enumerate(reply):
                events.append(event)
                if number == fate.abandon_at_event:
                    reply.close()  # type: ignore[attr-defined]  # the rolling engine's iterator is a generator
                    break
                if number == fate.cancel_at_event:
                    cancel.set()
        except EngineFailed:
            assert fate.fail, "the cells were asked for something impossible"
            self._check_dropped()
            self._keep(said, old_reply, events)
            return self._disarm()
        except MessageTooLong:
            assert not events
            return self._disarm()
        self._disarm()
        note(f"{key}: {[type(event).__name__ for event in events]}; held {[turn.key for turn in self.engine.ledger.turns]}")
        self._keep(said, old_reply, events)
        if fate.abandon_at_event is not None and not isinstance(events[-1], Completion):
            return None
        outcome = examine(iter(events))
        drawn_count = outcome.completion.usage.completion_tokens
        self.drawn[key] = tuple(drawn[:drawn_count])
        if outcome.completion.finish_reason == "cancelled" or fate.fail or fate.abandon_at_event is not None:
            return None
        if self.cache.can_trim:  # else the next turn frees space
            self._check_settled(before, outcome.shifted)
        if steady and self.cache.can_shift:
            self._check_read(self.cache.tokens_read - read, said.turn, drawn_count, events)
        self.steady = bool(said.turn.reply)
        return None

    def _keep(self, said: Said, old_reply: str, events: Sequence[Event]) -> None:
        said.turn = replace(said.turn, reply=old_reply + "".join(e.text for e in events if isinstance(e, Delta)))

    def _check_dropped(self) -> None:
        assert self.engine.contents.tokens == ()
        assert self.engine.ledger.turns == ()
        assert self.cache.slots == {}

    def _check_settled(self, before: Sequence[str], shifted: Sequence[str]) -> None:
        """After a whole reply: whole turns, the newest ones and the pinned, in the form they take before the next."""
        held = self.engine.contents
        last = self.here.path[-1].turn
        shown = self.here.history(last.key).turns
        by_key = {turn.key: turn for turn in shown}
        kept = [by_key[turn.key] for turn in held.turns]
        assert kept, "the turn that was just answered is gone"
        assert kept[-1] == last
        loose = [turn.key for turn in shown if not turn.pinned]
        held_loose = [turn.key for turn in kept if not turn.pinned]
        assert held_loose == loose[len(loose) - len(held_loose) :], "something else than the oldest turns left"
        assert [turn for turn in shown if turn.pinned] == [turn for turn in kept if turn.pinned], "a pinned turn left"
        assert kept == [turn for turn in shown if turn in kept], "the order changed"
        assert [turn.pinned for turn in self.engine.ledger.turns] == [turn.pinned for turn in kept]
        gone = {key for key in before if key in by_key} - {turn.key for turn in kept}
        assert gone <= set(shifted), "a turn left unannounced"
        assert set(shifted) <= set(by_key) - {turn.key for turn in kept}, "a turn was announced and did not leave"
        sampled = {turn.key: turn.reply for turn in held.turns if turn.reply}
        shown_as = [replace(turn, user=passages_text(turn.passages * turn.pinned) + turn.user) for turn in kept]
        whole = self.format.encode(self.here.system, [*shown_as, PromptTurn(key="next", user=".")], sampled=sampled)
        if len(whole.tokens) - len(whole.turns[-1].tokens) <= self.cache.size and held.turns[-1].closing:
            assert held == truncate(whole, len(whole.tokens) - len(whole.turns[-1].tokens)), "the cache is not the prompt"
        for turn in held.turns:
            if turn.closing:
                self._check_reply(by_key[turn.key], turn.reply)
            else:  # nothing was said, or the window is full to its last token: the next turn makes room first
                assert turn is held.turns[-1]
                assert last.key in self.continued or self.drawn[last.key][: len(turn.reply)] == turn.reply

    def _check_reply(self, turn: PromptTurn, reply: tuple[int, ...]) -> None:
        if turn.key in self.continued:
            return
        raw = b"".join(self.tokenizer.piece(token) for token in reply)
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(raw)  # without a character that is not finished
        alone = self.format.encode("", [turn], closed=True).turns[0]
        assert text.removeprefix(self.format.reply_prefix) == turn.reply or reply == alone.reply, (
            "the model sees another reply than the user"
        )
        if turn.key == self.here.path[-1].turn.key:
            assert reply == self.drawn[turn.key], "the reply is not kept as sampled"

    def _check_read(self, read: int, turn: PromptTurn, drawn: int, events: Sequence[Event]) -> None:
        """In a continued chat only new text is decoded, before and after turns leave."""
        asked = replace(turn, user=passages_text(turn.passages) + turn.user, reply="")
        alone = self.format.encode(self.here.system, [asked])
        shifts = sum(isinstance(event, ContextShift) for event in events)
        most = len(alone.tokens) + drawn + 12 + SHORTEST_TAIL + shifts * (SHORTEST_TAIL + 12)
        assert read <= most, f"{read} tokens were read where {most} would do"


Chatting.TestCase.settings = settings(
    max_examples=cases(40, 2000),
    stateful_step_count=20,
    deadline=None,
    report_multiple_bugs=False,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestChatting = Chatting.TestCase
