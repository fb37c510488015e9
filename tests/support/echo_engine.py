"""An engine without a model, with a real context window.

It replies word by word and keeps a ledger as the real engine does. Tests, screenshots and measurements of the screen use it; a
word with the white space after it is one token.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from mistral_chat.conversation import FinishReason, Usage
from mistral_chat.engine.encoding.format import Encoding, TurnTokens
from mistral_chat.engine.window import ContextWindow, plan_cache_edits
from mistral_chat.generation import (
    CachedTurn,
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
    PromptPart,
    PromptPiece,
    PromptTurn,
)
from mistral_chat.sampling import Sampling

_WORD = re.compile(r"\s*\S+\s*|\s+")
_OPEN, _ANSWER, _CLOSE = 1, 2, 3


def echo(text: str) -> str:
    """The simplest reply: the message itself."""
    return f"You said: {text}"


class EchoEngine:
    """Replies without a model, under the same contract as the real engine."""

    def __init__(
        self,
        answer: Callable[[str], str] = echo,
        *,
        window: int = 4096,
        reserve: int = 64,
        tokens_per_second: float | None = None,
    ) -> None:
        """Make an engine.

        Args:
            answer: gives the reply to a message.
            window: how many tokens it sees.
            reserve: how many of them are kept free for a reply.
            tokens_per_second: how fast it writes; None is as fast as it can.
        """
        self._answer = answer
        self._window = ContextWindow(size=window, reserve=min(reserve, window // 8), low_water=0.75)
        self._pause = 1 / tokens_per_second if tokens_per_second else 0.0
        self._contents = Encoding(head=(), turns=())
        self._pinned: frozenset[str] = frozenset()
        self._conversation = ""

    @property
    def facts(self) -> LoadedModel:
        """Properties of the model."""
        size = self._window.size
        return LoadedModel(model="echo", prompt_format="words", device="none", window=size, context_trained=size)

    @property
    def ledger(self) -> ContextState:
        """The context of an equivalent model."""
        return ContextState(
            window=self._window.size,
            reserve=self._window.reserve,
            system_tokens=len(self._contents.head),
            turns=tuple(CachedTurn(t.key, len(t.tokens), t.key in self._pinned) for t in self._contents.turns),
        )

    def reply(self, history: History, sampling: Sampling, cancel: CancelToken) -> Iterator[Event]:
        """Answer the last turn of `history` word by word; see `Engine.reply`."""
        began = time.perf_counter()
        fit = self._window.fit(history.turns, lambda turns: _encode(history.system, turns))
        seen = {turn.key for turn in self._contents.turns}
        if gone := [turn for turn in fit.dropped if turn.key in seen]:
            tokens = sum(len(turn.tokens) for turn in self._contents.turns if turn.key in {g.key for g in gone})
            yield ContextShift(tuple(turn.key for turn in gone), tokens)
        keep = plan_cache_edits(self._contents, fit.encoding, decode_last=True).keep
        total = len(fit.encoding.tokens)
        yield Prefill(0, total - keep, kept=keep)
        self._pinned = frozenset(turn.key for turn in fit.kept if turn.pinned)
        self._contents, self._conversation = fit.encoding, history.conversation
        yield Prefill(total - keep, total - keep, kept=keep)
        first = time.perf_counter() - began
        written: list[str] = []
        finish: FinishReason = "stop"
        room = min(sampling.max_tokens or self._window.size, self._window.size - total - 1)
        for place, word in enumerate(_WORD.findall(self._answer(history.turns[-1].user))):
            if cancel.is_set or place >= room:
                finish = "cancelled" if cancel.is_set else "length"
                break
            if self._pause:
                time.sleep(self._pause)
            written.append(word)
            yield Delta(word)
        text = "".join(written)
        done = [*fit.kept[:-1], replace(fit.kept[-1], reply=fit.kept[-1].reply + text)]
        self._contents = _encode(history.system, done, closed=True)
        seconds = time.perf_counter() - began - first
        yield Completion(
            text=text,
            finish_reason=finish,
            usage=Usage(
                prompt_tokens=total,
                cached_tokens=keep,
                completion_tokens=len(written),
                time_to_first_token=first,
                tokens_per_second=len(written) / seconds if len(written) > 1 and seconds else 0.0,
            ),
        )

    def prefill(self, history: History, cancel: CancelToken) -> Iterator[Prefill]:
        """Add `history` to the ledger; see `Engine.prefill`."""
        if not cancel.is_set:
            fit = self._window.fit(history.turns, lambda turns: _encode(history.system, turns, closed=True))
            self._contents, self._conversation = fit.encoding, history.conversation
            self._pinned = frozenset(turn.key for turn in fit.kept if turn.pinned)
            yield Prefill(len(self._contents.tokens), len(self._contents.tokens))

    def generate_detached(self, history: History, sampling: Sampling, cancel: CancelToken) -> str:
        """Answer without changing the ledger; see `Engine.generate_detached`."""
        words = _WORD.findall(self._answer(history.turns[-1].user))
        asked = len(_encode(history.system, history.turns).tokens) + self._window.reserve
        return "" if cancel.is_set or asked > self._window.size else "".join(words[: sampling.max_tokens])

    def count(self, text: str) -> int:
        """The number of words in `text`."""
        return len(_WORD.findall(text))

    def ambiguous_markup(self, text: str) -> str | None:
        """None: it has no markup."""

    def preview_prompt(self, history: History) -> Prompt:
        """The prompt for `history`; see `Engine.preview_prompt`."""
        draft = bool(history.draft.strip())
        turns = [*history.turns, *([PromptTurn(key="", user=history.draft)] if draft else [])]
        size, reserve = self._window.size, self._window.reserve
        if not turns:
            return Prompt(window=size, reserve=reserve)
        seen = {turn.key for turn in self._contents.turns}
        first = next((place for place, turn in enumerate(turns) if turn.key in seen), 0)
        closed = not draft
        fit = self._window.fit(
            turns[first:], lambda kept: _encode(history.system, kept, closed=closed), need=0 if closed else None
        )
        head = PromptPart("", (PromptPiece("<begin>", 1, is_control=True), *_pieces(history.system)))
        last = len(fit.kept) - 1
        parts = [_part(turn, closed=closed or place < last) for place, turn in enumerate(fit.kept)]
        return Prompt(window=size, reserve=reserve, parts=(head, *parts), draft=draft)

    def discard_conversation(self, conversation: str) -> None:
        """Clear the ledger if it contains this conversation."""
        if conversation == self._conversation:
            self._contents = Encoding(head=(), turns=())

    def run_idle_tasks(self, cancel: CancelToken) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Clear the ledger."""
        self._contents = Encoding(head=(), turns=())


def _tokens(text: str) -> tuple[int, ...]:
    return tuple(8 + zlib.crc32(word.encode("utf-8", "replace")) for word in _WORD.findall(text))


def _pieces(text: str) -> tuple[PromptPiece, ...]:
    return (PromptPiece(text, len(_WORD.findall(text))),) if text else ()


def _part(turn: PromptTurn, *, closed: bool) -> PromptPart:
    opening, answer, end = (PromptPiece(name, 1, is_control=True) for name in ("<user>", "<reply>", "<end>"))
    return PromptPart(turn.key, (opening, *_pieces(turn.user), answer, *_pieces(turn.reply), *([end] if closed else [])))


def _encode(system: str, turns: Sequence[PromptTurn], *, closed: bool = False) -> Encoding:
    last = len(turns) - 1
    return Encoding(
        head=(0, *_tokens(system)),
        turns=tuple(
            TurnTokens(
                key=turn.key,
                prompt=(_OPEN, *_tokens(turn.user), _ANSWER),
                reply=_tokens(turn.reply),
                closing=(_CLOSE,) if closed or place < last else (),
            )
            for place, turn in enumerate(turns)
        ),
    )
