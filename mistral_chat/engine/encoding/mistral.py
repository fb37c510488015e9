"""Mistral's own formats, token for token as mistral-common builds them.

Control tokens are inserted by id. Text from users and models is tokenized as plain text, one block at a time, so that a typed
``[INST]`` or ``</s>`` stays text. In v1 ``[INST]`` is no token but plain text, in Mistral's tokenizer too: there, a typed
``[/INST]`` cannot be told from the format's own. The rules follow mistral-common 1.13 (Apache-2.0),
``tokens/tokenizers/instruct.py`` and ``protocol/instruct/normalize.py``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from mistral_chat.conversation import Message, Role
from mistral_chat.engine.encoding.format import NOTHING_SAMPLED, Encoding, MessageEncoding, Span, TurnTokens, common_prefix
from mistral_chat.engine.encoding.merge import MergedMessage, join, merge_consecutive
from mistral_chat.engine.encoding.tekken import TekkenEncoder
from mistral_chat.engine.encoding.text import TextEncoder, token_bytes, token_ends
from mistral_chat.errors import PromptFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mistral_chat.engine.encoding.tokenizer import Tokenizer
    from mistral_chat.generation import PromptTurn

Version = Literal["v1", "v3", "v7"]


@dataclass(frozen=True, slots=True)
class Rules:
    """The differences between the versions."""

    opening: tuple[int, ...]
    """Precedes a question, as tokens..."""
    lead: str
    """...or as text, tokenized together with it."""
    tail: str
    closing: tuple[int, ...]
    """Follow a question."""
    system: tuple[int, int] | None
    """Surround a system prompt, if it has a place of its own."""
    system_at: Literal["first", "last"] | None
    """The question that a system prompt precedes, if it has no place of its own."""
    strips: bool
    """Whether trailing spaces of a reply are removed."""


class MistralFormat:
    """One of Mistral's formats, with one vocabulary."""

    def __init__(self, tokenizer: Tokenizer, version: Version) -> None:
        """Use the rules of `version`; v2 has those of v3. The vocabulary says whether it is SentencePiece or Tekken.

        Raises:
            PromptFormatError: the vocabulary lacks the format's control tokens.
        """
        self._tokenizer = tokenizer
        self._rules = _rules(tokenizer, version)
        self.name = f"mistral-{version}" if tokenizer.is_sentencepiece or version == "v1" else f"mistral-{version}-tekken"
        self.reply_prefix = " " if tokenizer.is_sentencepiece else ""
        tekken = not tokenizer.is_sentencepiece and tokenizer.pre_tokenizer == "tekken"
        self._write = (TekkenEncoder if tekken else TextEncoder)(tokenizer).message

    def count(self, text: str) -> int:
        """The number of tokens of `text` as a user message, without the format's own tokens."""
        return len(self._write(text))

    def ambiguous_markup(self, text: str) -> str | None:
        """A warning about a typed ``[INST]`` or ``[/INST]`` in v1, where these are plain text; None in all other versions."""
        found = next((mark for mark in ("[/INST]", "[INST]") if mark in text), None)
        if not self._rules.lead or found is None:
            return None
        return (
            f"The model reads {found} in this text as the start or end of a message: "
            "in its format, Mistral v1, such marks are plain text."
        )

    def encode(
        self,
        system: str,
        turns: Sequence[PromptTurn],
        *,
        sampled: Mapping[str, Sequence[int]] = NOTHING_SAMPLED,
        closed: bool = False,
    ) -> Encoding:
        """Encode a history; see `PromptFormat.encode`.

        v1 puts the system prompt before the first question, v3 before the last, v7 in the head. A question without a reply
        is merged with the next one; of the merged tokens, it is given those that its own text begins.
        """
        head = [self._tokenizer.bos]
        if system and self._rules.system:
            before, after = self._rules.system
            head += [before, *self._write(system), after]
        replies = [tuple(sampled.get(turn.key, ())) for turn in turns]
        answered = [place for place, turn in enumerate(turns) if turn.reply or replies[place]]
        prompts: list[tuple[int, ...]] = []
        for first, end in _questions(len(turns), answered):
            question = join(Role.USER, [(place, turns[place].user) for place in range(first, end)])
            at = {"first": first == 0, "last": end == len(turns), None: False}[self._rules.system_at]
            prompts += self._shares(question.with_prefix([(-1, system)]) if system and at else question, end - first)
        ends = (self._tokenizer.eos,)
        last = len(turns) - 1
        return Encoding(
            tuple(head),
            tuple(
                TurnTokens(
                    turn.key,
                    prompts[place],
                    replies[place] or self._write(self._stripped(turn.reply)),
                    ends if place in answered and (place != last or closed) else (),
                )
                for place, turn in enumerate(turns)
            ),
        )

    def encode_messages(self, messages: Sequence[Message], *, closed: bool = False) -> MessageEncoding:
        """Encode messages in any order of roles; see `PromptFormat.encode_messages`. A reply without text is left out."""
        tokens = [self._tokenizer.bos]
        spans: list[Span] = []
        blocks = self._normalise(messages)
        for place, block in enumerate(blocks):
            before: tuple[int, ...] = ()
            after: tuple[int, ...] = ()
            written = block
            if block.role is Role.USER:
                before, after = self._rules.opening, self._rules.closing
                written = replace(block, text=self._rules.lead + block.text + self._rules.tail)
            elif block.role is Role.SYSTEM and self._rules.system:
                before, after = self._rules.system[:1], self._rules.system[1:]
            else:
                written = replace(block, text=self._stripped(block.text))
                after = (self._tokenizer.eos,) if closed or place < len(blocks) - 1 else ()
            ids = self._write(written.text)
            shift = len(self._rules.lead) if block.role is Role.USER else 0
            spans += self._spans(written, ids, shift, len(tokens) + len(before))
            tokens += [*before, *ids, *after]
        return MessageEncoding(tuple(tokens), tuple(spans))

    def _normalise(self, messages: Sequence[Message]) -> list[MergedMessage]:
        """Merge messages into blocks, with system messages where this version expects them."""
        blocks = merge_consecutive(enumerate(messages))
        if self._rules.system:
            return blocks or [MergedMessage(Role.USER, "")]
        system = [(i, each.content) for i, each in enumerate(messages) if each.role is Role.SYSTEM and each.content]
        blocks = [block for block in blocks if block.role is not Role.SYSTEM]
        if not blocks or blocks[0].role is not Role.USER:
            blocks.insert(0, MergedMessage(Role.USER, ""))
        users = [place for place, block in enumerate(blocks) if block.role is Role.USER]
        at = users[0] if self._rules.system_at == "first" else users[-1]
        blocks[at] = blocks[at].with_prefix(system)
        return blocks

    def _stripped(self, reply: str) -> str:
        return reply.rstrip(" ") if self._rules.strips else reply

    def _shares(self, question: MergedMessage, count: int) -> list[tuple[int, ...]]:
        """Split the tokens of a question merged from `count` turns where each turn's text starts."""
        rules = self._rules
        tokens = (*rules.opening, *self._write(rules.lead + question.text + rules.tail), *rules.closing)
        cuts = [0]
        for part in question.parts[len(question.parts) - count + 1 :]:
            begun = (*rules.opening, *self._write(rules.lead + question.text[: part.start]))
            cuts.append(max(cuts[-1], common_prefix(begun, tokens)))
        return [tokens[start:end] for start, end in zip(cuts, [*cuts[1:], len(tokens)], strict=True)]

    def _spans(self, block: MergedMessage, tokens: Sequence[int], shift: int, first: int) -> list[Span]:
        """The spans of a block's messages; the block's first token has the index `first` in the prompt."""
        ends = token_ends(self._tokenizer, tokens)
        text = block.text
        extra = (ends[-1] if ends else 0) - len(token_bytes(self._tokenizer, text))
        spans = []
        for part in block.parts:
            start = extra + len(token_bytes(self._tokenizer, text[: part.start + shift]))
            end = extra + len(token_bytes(self._tokenizer, text[: part.end + shift]))
            if start < end:
                spans.append(Span(part.message, first + bisect_right(ends, start), first + bisect_left(ends, end) + 1))
        return spans


def _rules(tokenizer: Tokenizer, version: Version) -> Rules:
    if tokenizer.bos < 0 or tokenizer.eos < 0:
        raise PromptFormatError(
            f"The model lacks the tokens that start and end a prompt, which mistral-{version} needs. {_ESCAPE}"
        )
    if version == "v1":
        return Rules((), "[INST] ", " [/INST]", (), None, "first", strips=False)
    names = ["[INST]", "[/INST]"] + (["[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"] if version == "v7" else [])
    missing = [name for name in names if name not in tokenizer.controls]
    if missing:
        raise PromptFormatError(f"The model's vocabulary has no {missing[0]} token, which mistral-{version} needs. {_ESCAPE}")
    ids = [tokenizer.controls[name] for name in names]
    if version == "v7":
        return Rules((ids[0],), "", "", (ids[1],), (ids[2], ids[3]), None, strips=True)
    return Rules((ids[0],), "", "", (ids[1],), None, "last", strips=True)


_ESCAPE = "Omit --prompt-format, or set it to mistral-v1, chatml or template."


def _questions(count: int, answered: Sequence[int]) -> list[tuple[int, int]]:
    """Split the turns into questions: each run ends with a turn that has a reply, or with the last."""
    ends = sorted({place + 1 for place in answered} | ({count} if count else set()))
    return list(zip([0, *ends], ends, strict=False))
