"""The rolling engine: a chat over a cache that is read on to, cut and mended, and never read again from the start.

The ledger says what is in the cache; `window.plan_cache_edits` brings both from one prompt to the next. Nothing in here knows
llama.cpp: `mistral_chat.engine.llama.engine` gives it the real cache.

What would make a user wait is done at the end of a turn: the closing tokens are decoded, the oldest turns leave if the
next turn would not fit, and a turn whose place in the format is about to change is put into its next form. So no shift is pending
while a user can stop a prefill, or when the state is saved.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

from mistral_chat.conversation import Usage
from mistral_chat.engine.encoding.format import Encoding, PromptFormat
from mistral_chat.engine.encoding.tokenizer import Tokenizer
from mistral_chat.engine.generated_reply import GeneratedReply
from mistral_chat.engine.kv_cache import DecodeAborted, KVCache
from mistral_chat.engine.ledger import Ledger
from mistral_chat.engine.prompt_builder import DRAFT, PromptBuilder
from mistral_chat.engine.snapshots import Snapshot, SnapshotFolder
from mistral_chat.engine.window import ContextWindow, FittedTurns, common_prefix, truncate
from mistral_chat.errors import EngineFailed, MessageTooLong
from mistral_chat.generation import (
    CancelToken,
    Completion,
    ContextShift,
    ContextState,
    Event,
    History,
    LoadedModel,
    Prefill,
    PromptTurn,
    Sampling,
)

_NEXT = PromptTurn(key="\0next", user=".")
"""Stands for the turn to come, so that the turns before it take the form that they will have then."""


class RollingEngine(PromptBuilder):
    """An `Engine` over cache that can be cut. See `mistral_chat.generation.Engine` for what its methods promise."""

    def __init__(
        self,
        *,
        cache: KVCache,
        tokenizer: Tokenizer,
        prompt_format: PromptFormat,
        window: ContextWindow,
        facts: LoadedModel,
        identity: str = "",
        snapshots: SnapshotFolder | None = None,
        checked: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Put the parts together.

        Args:
            cache: the cache, empty; closed with the engine.
            tokenizer: the model's vocabulary.
            prompt_format: how messages become tokens.
            window: the context window; its size is that of the cache.
            facts: what this engine is.
            identity: what a snapshot must have been made with.
            snapshots: where KV states are kept; None keeps none. Closed with the engine.
            checked: check the ledger against the cache after every step, at some cost.
            clock: seconds.
        """
        ledger = Ledger(cache, reserve=window.reserve, checked=checked, clock=clock)
        super().__init__(ledger=ledger, tokenizer=tokenizer, prompt_format=prompt_format, window=window)
        self._facts = facts
        self._identity = identity
        self._snapshots = snapshots
        self._clock = clock
        self._conversation = ""
        self._held_for = ""  # whose turns are in the cache

    @property
    def facts(self) -> LoadedModel:
        """What this engine is."""
        return self._facts

    @property
    def ledger(self) -> ContextState:
        """What the model has in its cache."""
        return self._ledger.view

    @property
    def contents(self) -> Encoding:
        """The ledger itself: exactly the tokens in the cache."""
        return self._ledger.contents

    def count(self, text: str) -> int:
        """How many tokens `text` takes as a message."""
        return self._format.count(text)

    def ambiguous_markup(self, text: str) -> str | None:
        """What in `text` looks like the format's own marks; see `Engine.ambiguous_markup`."""
        return self._format.ambiguous_markup(text)

    def reply(self, history: History, sampling: Sampling, cancel: CancelToken) -> Iterator[Event]:
        """Answer the last turn of `history`; see `Engine.reply`."""
        began = self._clock()
        self._open(history.conversation)
        self._begin_anew(history)
        fit = self._fit(history)
        yield from self._announce(fit)
        drawn = GeneratedReply(self._format, self._tokenizer, fit.kept, fit.encoding.turns[-1].reply)
        try:
            inserted = self._edit(fit, fit.encoding, read_last=True)
            cached = len(self.contents.tokens) - inserted
            if (yield from self._ledger.prefill(fit.encoding, cancel)):
                yield from self._write(history.system, sampling, cancel, drawn)
            else:
                drawn.finish_reason = "cancelled"
            cancelled = drawn.finish_reason == "cancelled"
            if not cancelled:
                yield from self._settle(history.system, drawn)
            yield Completion(
                text=drawn.text,
                finish_reason=drawn.finish_reason,
                usage=Usage(
                    prompt_tokens=len(fit.encoding.tokens),
                    cached_tokens=cached,
                    completion_tokens=len(drawn.tokens),
                    time_to_first_token=(drawn.first or self._clock()) - began,
                    tokens_per_second=drawn.speed,
                ),
            )
            if cancelled and drawn.tokens:
                for _ in self._settle(history.system, drawn):
                    """Nothing may follow a completion: the screen learns of what left from the ledger."""
        except EngineFailed:
            self._ledger.reset()
            raise

    def generate_detached(self, history: History, sampling: Sampling, cancel: CancelToken) -> str:
        """Answer the last turn in passing; see `Engine.generate_detached`."""
        self._open(history.conversation)
        self._begin_anew(history)
        before, changed = self.contents, self._ledger.changed
        try:
            fit = self._fit(history)
        except MessageTooLong:
            return ""
        if fit.dropped:
            return ""
        drawn = GeneratedReply(self._format, self._tokenizer, fit.kept, ())
        try:
            self._edit(fit, fit.encoding, read_last=True)
            if all_read := self._ledger.prefill_all(fit.encoding, cancel):
                room = self._window.size - len(fit.encoding.tokens) - 1
                short = replace(sampling, max_tokens=max(1, min(sampling.max_tokens or room, room)))
                for _ in self._write(history.system, short, cancel, drawn):
                    """Only the whole text is wanted."""
            self._sampled.pop(drawn.turn.key, None)
            self._ledger.apply(before)
            self._ledger.prefill_all(before, CancelToken())
            self._ledger.changed = changed
        except EngineFailed:
            self._ledger.reset()
            raise
        return drawn.text.strip() if all_read and drawn.finish_reason != "cancelled" else ""

    def prefill(self, history: History, cancel: CancelToken) -> Iterator[Prefill]:
        """Bring `history`, and the stable part of its draft, into the cache; see `Engine.prefill`."""
        self._open(history.conversation)
        draft = bool(history.draft.strip())
        last = PromptTurn(key=DRAFT, user=history.draft) if draft else _NEXT
        try:
            fit = self._fit(replace(history, turns=(*history.turns, last)))
        except MessageTooLong:
            return
        if draft and any(turn.key in self._ledger.token_counts() for turn in fit.dropped):
            return  # nothing leaves for what may never be sent
        stable = truncate(fit.encoding, self._stable_length(history, fit))
        if stable == self.contents:
            return
        try:
            self._edit(FittedTurns(fit.kept[:-1], fit.dropped, fit.encoding), stable)
            yield from self._ledger.prefill(stable, cancel)
        except EngineFailed:
            self._ledger.reset()
            raise

    def discard_conversation(self, conversation: str) -> None:
        """Keep nothing of a conversation; see `Engine.discard_conversation`."""
        if self._snapshots is not None and conversation:
            self._snapshots.forget(conversation)
        if conversation in {self._conversation, self._held_for}:
            self._ledger.reset()
            self._sampled, self._conversation, self._held_for = {}, "", ""

    def run_idle_tasks(self) -> None:
        """Save the KV state, if it is not on the disk as it is."""
        if self._snapshots is None or not self._conversation or not self._ledger.changed or not self.contents.turns:
            return
        try:
            state = self._ledger.state()
        except EngineFailed:
            self._ledger.reset()  # only the KV state is lost; the next turn reads the conversation afresh
            return
        if state is not None:
            keys = self._ledger.token_counts()
            self._snapshots.save(
                Snapshot(
                    conversation=self._conversation,
                    identity=self._identity,
                    held=self.contents,
                    sampled={key: drawn for key, drawn in self._sampled.items() if key in keys},
                    pinned=self._ledger.pinned,
                    state=state,
                )
            )
            self._ledger.changed = False

    def close(self) -> None:
        """Save what is not saved, and let everything go."""
        try:
            self.run_idle_tasks()
        finally:
            if self._snapshots is not None:
                self._snapshots.close()
            self._ledger.cache.close()

    def _begin_anew(self, history: History) -> None:
        """Forget tokens that were drawn for the last turn when none of them became text: half a character, say."""
        if not history.turns[-1].reply:
            self._sampled.pop(history.turns[-1].key, None)

    def _announce(self, fit: FittedTurns) -> Iterator[ContextShift]:
        """Say which turns leave that the model has seen until now."""
        costs = self._ledger.token_counts()
        leaving = tuple(turn.key for turn in fit.dropped if turn.key in costs)
        if leaving:
            yield ContextShift(leaving, sum(costs[key] for key in leaving))

    def _edit(self, fit: FittedTurns, encoding: Encoding, *, read_last: bool = False) -> int:
        self._held_for = self._conversation
        self._ledger.pinned = frozenset(turn.key for turn in fit.kept if turn.pinned)
        return self._ledger.apply(encoding, read_last=read_last)

    def _write(self, system: str, sampling: Sampling, cancel: CancelToken, drawn: GeneratedReply) -> Iterator[Event]:
        """Draw tokens until the reply ends, and read each before the next; turns leave when the window is full."""
        cache = self._ledger.cache
        cache.start_sampling(sampling, self.contents.tokens)
        try:
            while True:
                token = cache.sample()
                drawn.record_token_time(self._clock())
                if self._tokenizer.is_eog(token) or drawn.is_control(token):
                    break
                yield from drawn.add(token)
                if cancel.is_set:
                    drawn.finish_reason = "cancelled"
                    break
                full = sampling.max_tokens is not None and len(drawn.tokens) >= sampling.max_tokens
                if full or (cache.n_tokens >= cache.size and not (yield from self._make_room(system, cancel, drawn))):
                    drawn.finish_reason = "length"
                    break
                cache.decode([token], cancel)
        except DecodeAborted:
            drawn.finish_reason = "cancelled"
        finally:
            cache.stop_sampling()
            self._catch_up(system, drawn)
        yield from drawn.flush()

    def _catch_up(self, system: str, drawn: GeneratedReply) -> None:
        """Let the ledger hold what of the reply is in the cache."""
        self._sampled[drawn.turn.key] = drawn.sampled
        self._ledger.set_contents(truncate(self._encode(system, drawn.turns), self._ledger.cache.n_tokens))

    def _make_room(self, system: str, cancel: CancelToken, drawn: GeneratedReply) -> Generator[Event, None, bool]:
        """Let the oldest turns leave in the middle of a reply, whose last token is not read yet; answer whether any did.

        Raises:
            DecodeAborted: it was stopped.
        """
        self._catch_up(system, drawn)
        try:
            fit = self._window.fit(drawn.turns, lambda kept: self._encode(system, kept), need=0)
        except MessageTooLong:
            return False
        yield from self._announce(fit)
        drawn.turns_before = list(fit.kept[:-1])
        encoding = truncate(fit.encoding, len(fit.encoding.tokens) - 1)
        self._edit(fit, encoding)
        if not (yield from self._ledger.prefill(encoding, cancel)):
            raise DecodeAborted
        return True

    def _settle(self, system: str, drawn: GeneratedReply) -> Iterator[ContextShift]:
        """Close the turn in the cache, in the form it will have before the next one, and make room for that one."""
        turns = [*drawn.turns, _NEXT]
        self._sampled[drawn.turn.key] = drawn.sampled
        size = self._window.size
        need = self._window.reserve + min(max(64, len(self.contents.turns[-1].prompt)), size // 8)
        try:
            fit = self._window.fit(turns, lambda kept: self._encode(system, kept), need=need, firm={drawn.turn.key})
        except MessageTooLong:
            fit = FittedTurns(tuple(turns), (), self._encode(system, turns))
        settled = Encoding(fit.encoding.head, fit.encoding.turns[:-1])
        if len(settled.tokens) > size:
            return  # the next turn makes room first
        yield from self._announce(fit)
        try:
            self._edit(fit, settled)
            self._ledger.prefill_all(settled, CancelToken())
        except EngineFailed:
            self._ledger.reset()  # the reply is whole; only the next turn is read afresh

    def _stable_length(self, history: History, fit: FittedTurns) -> int:
        """How many tokens of a prompt with a draft at its end stay as they are when typing goes on."""
        without = Encoding(fit.encoding.head, fit.encoding.turns[:-1])
        if fit.kept[-1].key != DRAFT:
            return len(without.tokens)
        longer = self._encode(history.system, [*fit.kept[:-1], replace(fit.kept[-1], user=fit.kept[-1].user + " and")])
        return max(len(without.tokens), common_prefix(fit.encoding.tokens, longer.tokens) - 1)

    def _open(self, conversation: str) -> None:
        """Turn to another conversation: save the state of the last one, and take up this one's, if there is one."""
        if conversation == self._conversation:
            return
        self.run_idle_tasks()
        self._conversation, self._ledger.changed = conversation, False
        self._sampled = {}
        snapshot = self._snapshots.load(conversation, self._identity) if self._snapshots and conversation else None
        if snapshot is None or len(snapshot.held.tokens) <= common_prefix(snapshot.held.tokens, self.contents.tokens):
            return
        if self._ledger.restore(snapshot.state, snapshot.held, snapshot.pinned):
            self._sampled, self._held_for = dict(snapshot.sampled), conversation
