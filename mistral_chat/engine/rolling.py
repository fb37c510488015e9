"""The rolling engine: a chat over a KV cache that is appended to and edited in place, and never decoded again from the start.

The ledger knows what is in the cache; `window.plan_cache_edits` transforms both from one prompt to the next. This module knows
nothing of llama.cpp: `mistral_chat.engine.llama.engine` passes the real cache in.

Work that would make a user wait is done at the end of a turn: the closing tokens are decoded, passages and the oldest turns are
removed, and a turn whose place in the format is about to change takes its next form. So no shift is pending while a user can
stop a prefill, or when the state is saved. Work that is not needed before the next message is done when the engine is idle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

from mistral_chat.conversation import Usage
from mistral_chat.engine.encoding.format import Encoding, PromptFormat, common_prefix
from mistral_chat.engine.encoding.tokenizer import CONTROLS, Tokenizer
from mistral_chat.engine.generated_reply import GeneratedReply
from mistral_chat.engine.hardware import Tuning
from mistral_chat.engine.kv_cache import DecodeAborted, KVCache
from mistral_chat.engine.ledger import Ledger
from mistral_chat.engine.prompt_builder import DRAFT, PromptBuilder
from mistral_chat.engine.prompt_lookup import PromptLookup
from mistral_chat.engine.snapshots import Snapshot, SnapshotFolder
from mistral_chat.engine.window import ContextWindow, FittedTurns, truncate
from mistral_chat.errors import EngineError, EngineFailed, MessageTooLong, PromptFormatError
from mistral_chat.generation import (
    CancelToken,
    Completion,
    ContextShift,
    ContextState,
    Delta,
    Event,
    History,
    LoadedModel,
    Prefill,
    Prompt,
    PromptTurn,
)
from mistral_chat.sampling import Sampling

_NEXT = PromptTurn(key="\0next", user=".")
"""Stands for the next turn, so that the turns before it take the form that they will have then."""


class RollingEngine:
    """An `Engine` over a cache that can be edited.

    See `mistral_chat.generation.Engine` for the contract of its methods.
    """

    def __init__(
        self,
        cache: KVCache,
        tokenizer: Tokenizer,
        prompt_format: PromptFormat,
        window: ContextWindow,
        facts: LoadedModel,
        *,
        identity: str = "",
        snapshots: SnapshotFolder | None = None,
        tuning: Tuning | None = None,
        when_idle: Callable[[CancelToken], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Put the parts together.

        Args:
            cache: empty; closed with the engine.
            tokenizer: the model's vocabulary.
            prompt_format: the model's format.
            window: the context window, of the cache's size.
            facts: properties of the loaded model.
            identity: what a snapshot must have been made with.
            snapshots: where KV states are kept; None keeps none. Closed with the engine.
            tuning: what was measured on this machine, where anything was.
            when_idle: is run once the engine's own idle tasks are done; returns soon after its token is set.
            clock: seconds.
        """
        self.facts = facts
        self._cache = cache
        self._batch_costs = tuning.batch_costs if tuning else ()
        speed = tuning.prompt_speed if tuning else None
        self._ledger = Ledger(cache, reserve=window.reserve, speed=speed, clock=clock)
        self._prompts = PromptBuilder(tokenizer, prompt_format, window)
        self._tokenizer = tokenizer
        self._format = prompt_format
        self._identity = identity
        self._snapshots = snapshots
        self._when_idle = when_idle
        self._clock = clock
        self._conversation = ""
        self._cached_conversation = ""  # whose turns are in the cache

    @property
    def ledger(self) -> ContextState:
        """The contents of the KV cache."""
        return self._ledger.view

    @property
    def contents(self) -> Encoding:
        """The exact tokens in the cache."""
        return self._ledger.contents

    def count(self, text: str) -> int:
        """The number of tokens in `text` as a message."""
        return self._format.count(text)

    def ambiguous_markup(self, text: str) -> str | None:
        """A sentence about text that looks like the format's own markup; see `Engine.ambiguous_markup`."""
        return self._format.ambiguous_markup(text)

    def preview_prompt(self, history: History) -> Prompt:
        """The prompt for `history`; see `Engine.preview_prompt`."""
        return self._prompts.preview(history, self._ledger.token_counts())

    def reply(self, history: History, sampling: Sampling, cancel: CancelToken) -> Iterator[Event]:
        """Answer the last turn of `history`; see `Engine.reply`."""
        began = self._clock()
        self._open(history.conversation)
        self._discard_unfinished(history)
        fit = self._fit(history)
        yield from self._announce(fit)
        reply = GeneratedReply(self._format, self._tokenizer, fit.kept, fit.encoding.turns[-1].reply)
        try:
            inserted = self._edit(fit, fit.encoding, decode_last=True)
            cached = len(self.contents.tokens) - inserted
            if (yield from self._ledger.prefill(fit.encoding, cancel)):
                yield from self._generate(history.system, sampling, cancel, reply)
            else:
                reply.finish_reason = "cancelled"
            cancelled = reply.finish_reason == "cancelled"
            if not cancelled:
                yield from self._settle(history.system, reply)
            yield Completion(
                text=reply.text,
                finish_reason=reply.finish_reason,
                usage=Usage(
                    prompt_tokens=len(fit.encoding.tokens),
                    cached_tokens=cached,
                    completion_tokens=len(reply.tokens),
                    time_to_first_token=(reply.first or self._clock()) - began,
                    tokens_per_second=reply.tokens_per_second,
                ),
            )
            if cancelled and reply.tokens:
                for _ in self._settle(history.system, reply):
                    """No event may follow a completion: the ledger says what was evicted."""
        except Exception:
            self._ledger.reset()
            raise

    def generate_detached(self, history: History, sampling: Sampling, cancel: CancelToken) -> str:
        """Answer the last turn and leave the cache as it was; see `Engine.generate_detached`."""
        self._open(history.conversation)
        self._discard_unfinished(history)
        ledger, owner = self._ledger, self._cached_conversation
        before, pinned, passages, changed = ledger.contents, ledger.pinned, ledger.passages, ledger.changed
        try:
            fit = self._fit(history)
        except MessageTooLong:
            return ""
        if fit.dropped:
            return ""
        reply = GeneratedReply(self._format, self._tokenizer, fit.kept, ())
        try:
            state = None if self._cache.can_trim else ledger.save_state()
            self._edit(fit, fit.encoding, decode_last=True)
            if decoded := ledger.prefill_all(fit.encoding, cancel):
                room = self._prompts.window.size - len(fit.encoding.tokens) - 1
                short = replace(sampling, max_tokens=max(1, min(sampling.max_tokens or room, room)))
                for _ in self._generate(history.system, short, cancel, reply):
                    """Only the whole text is wanted."""
            self._prompts.sampled.pop(reply.turn.key, None)
            if self._cache.can_trim:
                ledger.apply(before)
                ledger.prefill_all(before, CancelToken())
            elif state is None:
                ledger.reset()
            else:
                ledger.load_state(state, before)
            self._cached_conversation, ledger.pinned, ledger.passages, ledger.changed = owner, pinned, passages, changed
        except Exception:
            ledger.reset()
            raise
        return reply.text.strip() if decoded and reply.finish_reason != "cancelled" else ""

    def prefill(self, history: History, cancel: CancelToken) -> Iterator[Prefill]:
        """Bring `history`, and the stable part of its draft, into the cache; see `Engine.prefill`."""
        if cancel.is_set:
            return
        self._open(history.conversation)
        draft = self._cache.can_trim and bool(history.draft.strip())
        last = PromptTurn(key=DRAFT, user=history.draft) if draft else _NEXT
        try:
            fit = self._fit(replace(history, turns=(*history.turns, last)))
        except MessageTooLong:
            return
        if draft and any(turn.key in self._ledger.token_counts() for turn in fit.dropped):
            return  # nothing is evicted for a draft that may never be sent
        stable = truncate(fit.encoding, self._stable_length(history, fit))
        if stable == self.contents:
            return
        try:
            self._edit(fit, stable)
            yield from self._ledger.prefill(stable, cancel)
        except Exception:
            self._ledger.reset()
            raise

    def discard_conversation(self, conversation: str) -> None:
        """Remove a deleted conversation; see `Engine.discard_conversation`."""
        if conversation in {self._conversation, self._cached_conversation}:
            self._ledger.reset()
            self._prompts.sampled = {}
            self._conversation = self._cached_conversation = ""
        if self._snapshots is not None and conversation:
            try:
                self._snapshots.forget(conversation)
            except OSError as error:
                raise EngineError(f"The snapshot of a deleted conversation could not be deleted: {error.strerror}.") from error

    def run_idle_tasks(self, cancel: CancelToken) -> None:
        """Recompute what passages have made stale, and save the snapshot; see `Engine.run_idle_tasks`."""
        try:
            self._ledger.recompute_stale(cancel)
        except EngineFailed:
            self._ledger.reset()  # the next turn decodes the conversation again
        if not cancel.is_set:
            self._save()
        if self._when_idle is not None and not cancel.is_set:
            self._when_idle(cancel)

    def close(self) -> None:
        """Save the snapshot, and free everything."""
        try:
            self._save()
        finally:
            self._cache.close()  # first: writing the snapshot takes seconds, and the memory may be wanted
            if self._snapshots is not None:
                self._snapshots.close()

    def _save(self) -> None:
        """Save the snapshot, unless it is already on the disk. If llama.cpp fails, only the snapshot and the cache are lost."""
        ledger = self._ledger
        # A prefill that does not fit leaves another conversation in the cache, which idle work may change.
        ours = self._conversation == self._cached_conversation
        if self._snapshots is None or not self._conversation or not ours or not ledger.changed or not self.contents.turns:
            return
        try:
            state = ledger.save_state()
        except EngineFailed:
            ledger.reset()
            return
        if state is None:
            return
        keys = ledger.token_counts()
        self._snapshots.save(
            Snapshot(
                conversation=self._conversation,
                identity=self._identity,
                contents=self.contents,
                sampled={key: sampled for key, sampled in self._prompts.sampled.items() if key in keys},
                pinned=ledger.pinned,
                passages=ledger.passages,
                stale=ledger.stale_from,
                state=state,
            )
        )
        ledger.changed = False

    def _fit(self, history: History) -> FittedTurns:
        return self._prompts.fit(history, self._ledger.token_counts())

    def _discard_unfinished(self, history: History) -> None:
        """Drop tokens sampled for the last turn if none of them became text, such as an incomplete character."""
        if not history.turns[-1].reply:
            self._prompts.sampled.pop(history.turns[-1].key, None)

    def _announce(self, fit: FittedTurns) -> Iterator[ContextShift]:
        """Report the turns in the cache that are evicted."""
        counts = self._ledger.token_counts()
        leaving = tuple(turn.key for turn in fit.dropped if turn.key in counts)
        if leaving:
            yield ContextShift(leaving, sum(counts[key] for key in leaving))

    def _edit(self, fit: FittedTurns, encoding: Encoding, *, decode_last: bool = False) -> int:
        """Edit the cache until it contains a prefix of `encoding`; returns how many tokens that decoded."""
        ledger = self._ledger
        before = ledger.passages
        self._cached_conversation = self._conversation
        ledger.pinned = frozenset(turn.key for turn in fit.kept if turn.pinned)
        ledger.passages = self._prompts.passage_tokens(fit.kept)
        inserted = ledger.apply(encoding, decode_last=decode_last)
        for key in before.keys() - ledger.passages.keys():
            ledger.mark_stale(key)
        return inserted

    def _generate(self, system: str, sampling: Sampling, cancel: CancelToken, reply: GeneratedReply) -> Iterator[Event]:
        """Sample tokens until the reply ends, decoding each before the next; turns are evicted when the context is full.

        A token may be decoded together with guessed tokens after it; see `prompt_lookup`. Guessed tokens that were not
        `verified` by sampling are removed before anything else is decoded.
        """
        cache, lookup = self._cache, PromptLookup(self._batch_costs, self.contents.tokens)
        guess: list[int] = []
        verified = 0
        cache.start_sampling(sampling, self.contents.tokens)
        try:
            while True:
                token = cache.sample(verified if guess else -1)
                reply.record_token_time(self._clock())
                if self._tokenizer.is_eog(token) or self._tokenizer.attributes[token] & CONTROLS:
                    break
                lookup.append(token)
                if text := reply.add(token):
                    yield Delta(text)
                if cancel.is_set:
                    reply.finish_reason = "cancelled"
                    break
                full = sampling.max_tokens is not None and len(reply.tokens) >= sampling.max_tokens
                if guess[verified : verified + 1] == [token] and not full:
                    verified += 1
                    continue
                if guess:
                    guess, verified = self._withdraw(lookup, guess, verified)
                if full or (cache.n_tokens >= cache.size and not (yield from self._make_room(system, cancel, reply))):
                    reply.finish_reason = "length"
                    break
                guess = self._decode_next(lookup, token, cancel)
        except DecodeAborted:
            reply.finish_reason = "cancelled"
        finally:
            cache.stop_sampling()
            self._withdraw(lookup, guess, verified)
            self._catch_up(system, reply)

    def _decode_next(self, lookup: PromptLookup, token: int, cancel: CancelToken) -> list[int]:
        """Decode `token` and a guess of the next ones; returns the guess, which is usually empty."""
        cache, guess = self._cache, []
        if lookup.pays and cache.can_trim and not cache.shift_pending:
            guess = lookup.guess(min(cache.batch, cache.size - cache.n_tokens) - 1)
        cache.decode([token, *guess], cancel, sample_each=bool(guess))
        return guess

    def _withdraw(self, lookup: PromptLookup, guess: Sequence[int], verified: int) -> tuple[list[int], int]:
        """Remove the unverified part of a guess from the cache; returns an empty guess."""
        if guess:
            lookup.record(len(guess), verified)
        if wrong := len(guess) - verified:
            self._cache.remove(self._cache.n_tokens - wrong, self._cache.n_tokens)
        return [], 0

    def _catch_up(self, system: str, reply: GeneratedReply) -> None:
        """Record in the ledger which part of the reply is in the cache."""
        self._prompts.sampled[reply.turn.key] = reply.sampled
        self._ledger.set_contents(truncate(self._prompts.encode(system, reply.turns), self._cache.n_tokens))

    def _make_room(self, system: str, cancel: CancelToken, reply: GeneratedReply) -> Generator[Event, None, bool]:
        """Evict the oldest turns during a reply whose last token is not decoded yet; returns whether any were evicted.

        Raises:
            DecodeAborted: it was stopped.
        """
        self._catch_up(system, reply)
        try:
            fit = self._prompts.fit_turns(system, reply.turns, need=0)
        except MessageTooLong:
            return False
        yield from self._announce(fit)
        reply.turns_before = list(fit.kept[:-1])
        encoding = truncate(fit.encoding, len(fit.encoding.tokens) - 1)
        self._edit(fit, encoding)
        if not (yield from self._ledger.prefill(encoding, cancel)):
            raise DecodeAborted
        return True

    def _settle(self, system: str, reply: GeneratedReply) -> Iterator[ContextShift]:
        """Close the turn in the cache, without its passages and in its next form, and free space for the next one."""
        turns = [*reply.turns, _NEXT]
        self._prompts.sampled[reply.turn.key] = reply.sampled
        window = self._prompts.window
        question = len(self.contents.turns[-1].prompt) - self._ledger.passages.get(reply.turn.key, 0)
        need = window.reserve + min(max(64, question), window.size // 8)
        try:
            fit = self._prompts.fit_turns(system, turns, need=need, firm={reply.turn.key})
        except MessageTooLong:
            fit = FittedTurns(tuple(turns), (), self._prompts.encode(system, turns))
        except PromptFormatError:
            return  # the reply is complete; the next turn reports it
        settled = Encoding(fit.encoding.head, fit.encoding.turns[:-1])
        grows = settled.tokens[: len(self.contents.tokens)] == self.contents.tokens
        if len(settled.tokens) > window.size or not (grows or self._cache.can_trim):
            return  # the next turn frees space first, or shows the progress of decoding everything again
        yield from self._announce(fit)
        try:
            self._edit(fit, settled)
            self._ledger.prefill_all(settled, CancelToken())
        except EngineFailed:
            self._ledger.reset()  # the reply is complete; only the next turn is decoded from the start

    def _stable_length(self, history: History, fit: FittedTurns) -> int:
        """How many tokens of a prompt with a draft at its end stay the same while the draft grows."""
        without = Encoding(fit.encoding.head, fit.encoding.turns[:-1])
        if fit.kept[-1].key != DRAFT:
            return len(without.tokens)
        longer = self._prompts.encode(history.system, [*fit.kept[:-1], replace(fit.kept[-1], user=fit.kept[-1].user + " and")])
        return max(len(without.tokens), common_prefix(fit.encoding.tokens, longer.tokens) - 1)

    def _open(self, conversation: str) -> None:
        """Switch to another conversation: save the state of the last one, and load the snapshot of this one if there is one."""
        if conversation == self._conversation:
            return
        self._save()
        self._conversation, self._ledger.changed = conversation, False
        self._prompts.sampled = {}
        snapshot = self._snapshots.load(conversation, self._identity) if self._snapshots and conversation else None
        if snapshot is None:
            return
        self._prompts.sampled = dict(snapshot.sampled)
        if len(snapshot.contents.tokens) <= common_prefix(snapshot.contents.tokens, self.contents.tokens):
            return
        if self._ledger.load_state(snapshot.state, snapshot.contents):
            self._ledger.pinned, self._ledger.passages = snapshot.pinned, snapshot.passages
            self._ledger.stale_from = snapshot.stale
            self._cached_conversation = conversation
