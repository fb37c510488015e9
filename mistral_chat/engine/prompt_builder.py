"""From a history to the prompt that the model is given: which turns stay, and their tokens, for the engine and for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mistral_chat.engine.encoding.format import Encoding, PromptFormat
from mistral_chat.engine.encoding.segments import segments
from mistral_chat.engine.encoding.tokenizer import Tokenizer
from mistral_chat.engine.ledger import Ledger
from mistral_chat.engine.window import ContextWindow, FittedTurns
from mistral_chat.generation import History, Prompt, PromptPart, PromptTurn

DRAFT = "\0draft"
"""The key of the turn that is being typed."""


class PromptBuilder:
    """Makes prompts for one window, with replies as they were drawn. What is in the cache already decides what stays."""

    def __init__(self, *, ledger: Ledger, tokenizer: Tokenizer, prompt_format: PromptFormat, window: ContextWindow) -> None:
        """Put the parts together; see `RollingEngine`."""
        self._ledger = ledger
        self._tokenizer = tokenizer
        self._format = prompt_format
        self._window = window
        self._sampled: dict[str, tuple[str, tuple[int, ...]]] = {}

    def preview_prompt(self, history: History) -> Prompt:
        """What the model would be given for `history`; see `Engine.preview_prompt`."""
        draft = bool(history.draft.strip())
        if draft:
            history = replace(history, turns=(*history.turns, PromptTurn(key=DRAFT, user=history.draft)))
        if not history.turns:
            return Prompt(window=self._window.size, reserve=self._window.reserve)
        fit = self._fit(history, closed=not draft)
        pieces = [("", fit.encoding.head), *(("" if turn.key == DRAFT else turn.key, turn.tokens) for turn in fit.encoding.turns)]
        return Prompt(
            window=self._window.size,
            reserve=self._window.reserve,
            parts=tuple(PromptPart(key, segments(tokens, self._tokenizer)) for key, tokens in pieces),
            draft=draft,
        )

    def _fit(self, history: History, *, closed: bool = False) -> FittedTurns:
        """Choose the turns that stay: those from the oldest one in the ledger on, and pinned ones, as far as they fit.

        What left does not come back by itself: the window would be read again for it. Nothing is kept free for a reply behind
        turns that are all `closed`.
        """
        seen = self._ledger.token_counts()
        first = next((place for place, turn in enumerate(history.turns) if turn.key in seen and not turn.pinned), 0)
        turns = [turn for place, turn in enumerate(history.turns) if place >= first or turn.pinned]
        need = 0 if closed else None
        return self._window.fit(turns, lambda kept: self._encode(history.system, kept, closed=closed), need=need)

    def _encode(self, system: str, turns: Sequence[PromptTurn], *, closed: bool = False) -> Encoding:
        drawn = {turn.key: known[1] for turn in turns if (known := self._sampled.get(turn.key)) and known[0] == turn.reply}
        return self._format.encode(system, turns, sampled=drawn, closed=closed)
