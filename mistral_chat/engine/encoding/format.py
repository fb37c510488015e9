"""A prompt as tokens, turn by turn, and the interface of a prompt format."""

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
    """All of the turn's tokens before the reply."""
    reply: tuple[int, ...]
    """The reply's own tokens: canonical, or as sampled."""
    closing: tuple[int, ...]
    """The tokens that end the reply; empty on an open last turn."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """The whole turn."""
        return self.prompt + self.reply + self.closing


@dataclass(frozen=True, slots=True)
class Encoding:
    """A prompt, split at its turns: the prompt is the head followed by the turns, with nothing between them."""

    head: tuple[int, ...]
    """BOS, and the system prompt if the format has a separate place for it."""
    turns: tuple[TurnTokens, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """All tokens of the prompt."""
        return self.head + tuple(chain.from_iterable(turn.tokens for turn in self.turns))


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """The length of the common prefix of `one` and `other`."""
    length = min(len(one), len(other))
    if tuple(one[:length]) == tuple(other[:length]):
        return length
    return next(place for place in range(length) if one[place] != other[place])


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens of one message's text. Tokens outside all spans belong to the format."""

    message: int
    """The message's index in the encoded list."""
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
    """Encodes messages as tokens for one model. Thread-safe."""

    @property
    def name(self) -> str:
        """``"mistral-v1"``, ``"mistral-v3"``, ``"mistral-v3-tekken"``, ``"mistral-v7"``, ``"chatml"`` or ``"template"``."""

    @property
    def reply_prefix(self) -> str:
        """White space that the model samples once before a reply and that is not part of it; usually ``" "`` or empty."""

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
            InvalidText: a text contains a lone surrogate.
            PromptFormatError: the format cannot express this history.
        """

    def encode_messages(self, messages: Sequence[Message], *, closed: bool = False) -> MessageEncoding:
        """Encode messages in any order of roles. The last message stays open if it is the assistant's, unless `closed`.

        Raises:
            InvalidText: a text contains a lone surrogate.
            PromptFormatError: the format cannot express these messages.
        """

    def count(self, text: str) -> int:
        """The number of tokens of `text` as a user message, without the format's own tokens.

        Raises:
            InvalidText: the text contains a lone surrogate.
        """

    def ambiguous_markup(self, text: str) -> str | None:
        """A sentence for the user about text that cannot be told from the format's own tokens; None if there is none."""
