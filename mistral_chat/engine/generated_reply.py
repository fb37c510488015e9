"""A reply during generation: sampled tokens, decoded text, and the turns before it."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import replace

from mistral_chat.conversation import FinishReason
from mistral_chat.engine.encoding.format import PromptFormat
from mistral_chat.engine.encoding.tokenizer import Tokenizer
from mistral_chat.generation import PromptTurn


class GeneratedReply:
    """Collects tokens and decodes them to text of whole characters. Bytes of an incomplete character are dropped."""

    def __init__(
        self, prompt_format: PromptFormat, tokenizer: Tokenizer, turns: Sequence[PromptTurn], earlier: Sequence[int]
    ) -> None:
        """Answer the last of `turns`, or continue its reply, which is in the prompt as the tokens `earlier`."""
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._turn = turns[-1]
        self._earlier = tuple(earlier)
        self._awaited = "" if self._turn.reply else prompt_format.reply_prefix
        for token in earlier:
            self._decoder.decode(tokenizer.piece(token))  # an incomplete character at their end is completed by what follows
        self._pieces: list[str] = []
        self._now = self._last = 0.0
        self.turns_before = list(turns[:-1])
        """The turns before this one that are in the prompt."""
        self.tokens: list[int] = []
        """The sampled tokens, without the one that ended the reply."""
        self.finish_reason: FinishReason = "stop"
        self.first: float | None = None
        """When the first token was sampled."""

    @property
    def text(self) -> str:
        """The generated text, without the text that was continued."""
        return "".join(self._pieces)

    @property
    def turn(self) -> PromptTurn:
        """The turn being answered, with its reply so far."""
        return replace(self._turn, reply=self._turn.reply + self.text)

    @property
    def turns(self) -> list[PromptTurn]:
        """All turns of the prompt, including this one."""
        return [*self.turns_before, self.turn]

    @property
    def sampled(self) -> tuple[str, tuple[int, ...]]:
        """The whole reply as text and as sampled tokens."""
        return self._turn.reply + self.text, (*self._earlier, *self.tokens)

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second after the first one; 0.0 for fewer than two."""
        seconds = self._last - self.first if self.first is not None else 0.0
        return (len(self.tokens) - 1) / seconds if len(self.tokens) > 1 and seconds > 0 else 0.0

    def record_token_time(self, now: float) -> None:
        """Record that a token was sampled at `now`."""
        self.first = now if self.first is None else self.first
        self._now = now

    def add(self, token: int) -> str:
        """Add a token; returns the text that it completes, which may be empty."""
        self.tokens.append(token)
        self._last = self._now  # not for the token that ends the reply, which is not counted
        text = self._decoder.decode(self._tokenizer.piece(token))
        if self._awaited and text:
            text, self._awaited = text.removeprefix(self._awaited), ""
        if text:
            self._pieces.append(text)
        return text
