"""A prompt as tokens, turn by turn, and what a prompt format can do."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mistral_chat.conversation import Message
    from mistral_chat.generation import PromptTurn

NOTHING_SAMPLED: Mapping[str, Sequence[int]] = MappingProxyType({})
"""No reply is given as the model sampled it."""


@dataclass(frozen=True, slots=True)
class TurnTokens:
    """The tokens of one turn of the prompt."""

    key: str
    """The turn's key, from `PromptTurn`."""
    prompt: tuple[int, ...]
    """All of the turn's tokens before the reply's first."""
    reply: tuple[int, ...]
    """The reply's own tokens: canonical, or those that the model sampled."""
    closing: tuple[int, ...]
    """What ends the reply; empty on an open last turn."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """The whole turn."""
        return self.prompt + self.reply + self.closing


@dataclass(frozen=True, slots=True)
class Encoding:
    """A prompt, cut at its turns: the head and the turns in order are the prompt, with nothing between them."""

    head: tuple[int, ...]
    """BOS, and the system prompt where the format has a place of its own for it."""
    turns: tuple[TurnTokens, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """Exactly what the model is given."""
        return self.head + tuple(chain.from_iterable(turn.tokens for turn in self.turns))


@dataclass(frozen=True, slots=True)
class Span:
    """Which tokens hold the text of one message. Tokens outside all spans are the format's scaffolding."""

    message: int
    """The message's place in the list that was encoded."""
    start: int
    end: int
    """The first token after the span."""


@dataclass(frozen=True, slots=True)
class MessageEncoding:
    """A list of messages as a prompt."""

    tokens: tuple[int, ...]
    spans: tuple[Span, ...]
    """In the order of the prompt. A message without text has none."""


class PromptFormat(Protocol):
    """How messages become tokens for one model. May be used from any thread."""

    @property
    def name(self) -> str:
        """``"mistral-v1"``, ``"mistral-v3"``, ``"mistral-v3-tekken"``, ``"mistral-v7"``, ``"chatml"`` or ``"template"``."""

    @property
    def reply_prefix(self) -> str:
        """White space that the model samples before a reply and that is not part of it; mostly ``" "`` or nothing."""

    def reply_text(self, decoded: str) -> str:
        """Turn the decoded tokens of a whole reply into its text: `reply_prefix` is dropped once from the start."""

    def encode(
        self,
        system: str,
        turns: Sequence[PromptTurn],
        *,
        sampled: Mapping[str, Sequence[int]] = NOTHING_SAMPLED,
        closed: bool = False,
    ) -> Encoding:
        """Encode a history. The last turn stays open, with its reply to be written or continued, unless `closed`.

        `sampled` gives replies as the model sampled them, by the turn's key, in place of the canonical tokens of their text.
        A turn in the middle whose reply is empty counts as a question that was followed by the next one: the format
        merges them as it does any two messages of one role, and each turn is given the tokens that its text begins.

        Raises:
            InvalidText: a text holds a lone surrogate.
            PromptFormatError: the format cannot express this history.
        """

    def encode_messages(self, messages: Sequence[Message], *, closed: bool = False) -> MessageEncoding:
        """Encode messages in any order of roles. A last message of the assistant is left open unless `closed`.

        Raises:
            InvalidText: a text holds a lone surrogate.
            PromptFormatError: the format cannot express these messages.
        """

    def count(self, text: str) -> int:
        """How many tokens `text` takes as a user's message, without the format's scaffolding.

        Raises:
            InvalidText: the text holds a lone surrogate.
        """

    def ambiguous_markup(self, text: str) -> str | None:
        """Say what in `text` cannot be told from the format's own tokens, as a sentence for the user; None if nothing."""
