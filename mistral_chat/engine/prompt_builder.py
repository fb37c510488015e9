"""Builds the prompt of a history: which turns stay in the context, and their tokens."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from mistral_chat.conversation import Passage
from mistral_chat.engine.encoding.format import Encoding, PromptFormat
from mistral_chat.engine.encoding.segments import segments
from mistral_chat.engine.encoding.tokenizer import Tokenizer
from mistral_chat.engine.window import ContextWindow, FittedTurns
from mistral_chat.errors import MessageTooLong, SystemPromptTooLong
from mistral_chat.generation import History, Prompt, PromptPart, PromptTurn

DRAFT: Final = "\0draft"
"""The key of the draft, the turn being typed."""

_PASSAGES: Final = "These numbered passages may help with the message after them. Cite the ones you use, as in [1]."


def passages_text(passages: Sequence[Passage]) -> str:
    """Format `passages` as text placed before their message; empty without any."""
    if not passages:
        return ""
    numbered = (f"[{number}] {each.source}\n{each.text}".rstrip() for number, each in enumerate(passages, 1))
    return "\n\n".join([_PASSAGES, *numbered]) + "\n\n"


class PromptBuilder:
    """Builds the prompts of one context window. Replies keep the tokens that they were sampled as. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, prompt_format: PromptFormat, window: ContextWindow) -> None:
        """Build prompts with `tokenizer` and `prompt_format` that fit in `window`."""
        self._tokenizer = tokenizer
        self._format = prompt_format
        self.window = window
        """The context window."""
        self.sampled: dict[str, tuple[str, tuple[int, ...]]] = {}
        """Replies as the model sampled them, by the turn's key: the text and its tokens."""

    def encode(self, system: str, turns: Sequence[PromptTurn], *, closed: bool = False) -> Encoding:
        """Encode `turns`; the last one stays open unless `closed`. Passages are data: no text in them becomes a control token."""
        shown = self._with_passages(turns, closed=closed)
        sampled = {turn.key: known[1] for turn in turns if (known := self.sampled.get(turn.key)) and known[0] == turn.reply}
        written = [replace(turn, user=passages_text(turn.passages) + turn.user) if turn.key in shown else turn for turn in turns]
        return self._format.encode(system, written, sampled=sampled, closed=closed)

    def passage_tokens(self, turns: Sequence[PromptTurn], *, closed: bool = False) -> Mapping[str, int]:
        """The approximate number of passage tokens of each turn that has any, in a prompt whose last turn is open or `closed`."""
        shown = self._with_passages(turns, closed=closed)
        return {turn.key: self._format.count(passages_text(turn.passages)) for turn in turns if turn.key in shown}

    def fit(self, history: History, cached: Collection[str], *, closed: bool = False) -> FittedTurns:
        """Choose the turns that stay: from the oldest one in the cache on, and pinned ones, as far as they fit.

        Evicted turns do not come back by themselves, because the context would have to be decoded again for them. Nothing is
        reserved for a reply if all turns are `closed`.

        Args:
            history: the conversation.
            cached: the keys of the turns in the cache.
            closed: whether the last turn is closed too.

        Raises:
            MessageTooLong: the last turn does not fit by itself.
            SystemPromptTooLong: no last turn would.
        """
        first = next((i for i, turn in enumerate(history.turns) if turn.key in cached and not turn.pinned), 0)
        turns = [turn for i, turn in enumerate(history.turns) if i >= first or turn.pinned]
        need = 0 if closed else self.window.reserve
        try:
            return self.fit_turns(history.system, turns, need=need, closed=closed)
        except MessageTooLong as error:
            shortest = self.encode(history.system, [PromptTurn(key="", user=".")])
            if history.system and len(shortest.tokens) + need > self.window.size:
                raise SystemPromptTooLong(self._format.count(history.system), self.window.size) from error
            raise

    def fit_turns(
        self, system: str, turns: Sequence[PromptTurn], *, need: int, firm: Collection[str] = (), closed: bool = False
    ) -> FittedTurns:
        """Choose which of `turns` stay; see `ContextWindow.fit`."""
        return self.window.fit(turns, lambda kept: self.encode(system, kept, closed=closed), need=need, firm=firm)

    def preview(self, history: History, cached: Collection[str]) -> Prompt:
        """The prompt for `history`; see `Engine.preview_prompt`. `cached` are the keys of the turns in the cache."""
        draft = bool(history.draft.strip())
        if draft:
            history = replace(history, turns=(*history.turns, PromptTurn(key=DRAFT, user=history.draft)))
        if not history.turns:
            return Prompt(window=self.window.size, reserve=self.window.reserve)
        fit = self.fit(history, cached, closed=not draft)
        passages = self.passage_tokens(fit.kept, closed=not draft)
        parts = [PromptPart("", segments(fit.encoding.head, self._tokenizer))]
        for turn in fit.encoding.turns:
            key = "" if turn.key == DRAFT else turn.key
            parts.append(PromptPart(key, segments(turn.tokens, self._tokenizer), passages.get(turn.key, 0)))
        return Prompt(window=self.window.size, reserve=self.window.reserve, parts=tuple(parts), draft=draft)

    @staticmethod
    def _with_passages(turns: Sequence[PromptTurn], *, closed: bool) -> frozenset[str]:
        """The keys of the turns whose passages are in the prompt: the open turn and pinned ones."""
        newest = "" if closed or not turns else turns[-1].key
        return frozenset(turn.key for turn in turns if turn.passages and (turn.pinned or turn.key == newest))
