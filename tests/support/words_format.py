"""A vocabulary of a few hundred tokens without a model, and the shapes that prompt formats come in.

The Mistral formats over it are the real ones; the ChatML-like one stands for models whose head may be empty, whose turns end
with more than one token, and which sample a space before a reply.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from mistral_chat.conversation import Message
from mistral_chat.engine.encoding.format import NOTHING_SAMPLED, Encoding, MessageEncoding, PromptFormat, TurnTokens
from mistral_chat.engine.encoding.mistral import MistralFormat
from mistral_chat.engine.encoding.tokenizer import Attribute
from mistral_chat.errors import InvalidText
from mistral_chat.generation import PromptTurn

BOS, EOS, INST, END_INST, SYSTEM, END_SYSTEM, IM_START, IM_END, UNKNOWN = range(9)

CONTROLS = ("<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<|im_start|>", "<|im_end|>", "<unk>")

WORDS = ("a", "b", "c", " a", " b", " c", "ab", " ab", "abc", "\n", "\n\n", ".", " .", "[INST] ", " [/INST]", "user", " and", "é")
"""Several ways to write one text, so that sampled tokens often differ from the encoding of their text."""

BYTES = len(CONTROLS)
"""The token of byte 0."""

FIRST_WORD = BYTES + 256


class WordsTokenizer:
    """A `Tokenizer` that takes the longest word at each place, and bytes where there is none."""

    bos = BOS
    eos = EOS
    add_bos = True
    is_sentencepiece = False
    space_prefix = False
    pre_tokenizer = ""

    def __init__(self) -> None:
        self._words = {word: FIRST_WORD + place for place, word in enumerate(WORDS)}
        self._pattern = re.compile("|".join(re.escape(word) for word in sorted(WORDS, key=len, reverse=True)) + "|.", re.DOTALL)
        self.texts: Sequence[str] = (*CONTROLS, *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS)
        self.attributes: Sequence[int] = (
            *([int(Attribute.CONTROL)] * (BYTES - 1)),
            int(Attribute.UNKNOWN),
            *([int(Attribute.BYTE)] * 256),
            *([int(Attribute.NORMAL)] * len(WORDS)),
        )
        self.controls: Mapping[str, int] = {name: token for token, name in enumerate(CONTROLS)}
        self.user_defined: Mapping[str, int] = {}

    def tokenize(self, text: str) -> list[int]:
        tokens: list[int] = []
        for found in self._pattern.findall(text):
            if found in self._words:
                tokens.append(self._words[found])
            else:
                try:
                    tokens += [BYTES + byte for byte in found.encode()]
                except UnicodeEncodeError as error:
                    raise InvalidText("The text contains an incomplete character. Remove it.") from error
        return tokens

    def piece(self, token: int) -> bytes:
        if token < BYTES:
            return b""
        return bytes([token - BYTES]) if token < FIRST_WORD else WORDS[token - FIRST_WORD].encode()

    def is_eog(self, token: int) -> bool:
        return token in {EOS, IM_END}


class ChatFormat:
    """Like ChatML: the system prompt in the head, which is empty without one; two tokens close a turn."""

    name = "chat"

    def __init__(self, tokenizer: WordsTokenizer, reply_prefix: str = "") -> None:
        self._tokenizer = tokenizer
        self.reply_prefix = reply_prefix

    def encode(
        self,
        system: str,
        turns: Sequence[PromptTurn],
        *,
        sampled: Mapping[str, Sequence[int]] = NOTHING_SAMPLED,
        closed: bool = False,
    ) -> Encoding:
        write = self._tokenizer.tokenize
        newline = write("\n")
        encoded = []
        for place, turn in enumerate(turns):
            reply = tuple(sampled.get(turn.key) or write(self.reply_prefix * bool(turn.reply) + turn.reply))
            last = place == len(turns) - 1
            asks = bool(reply) or last
            prompt = (IM_START, *write("user\n" + turn.user), IM_END, *newline)
            encoded.append(
                TurnTokens(
                    turn.key,
                    (*prompt, IM_START, *write("assistant\n")) if asks else prompt,
                    reply,
                    (IM_END, *newline) if reply and (closed or not last) else (),
                )
            )
        return Encoding((IM_START, *write("system\n" + system), IM_END, *newline) if system else (), tuple(encoded))

    def encode_messages(self, messages: Sequence[Message], *, closed: bool = False) -> MessageEncoding:
        tokens: list[int] = []
        for message in messages:
            tokens += [IM_START, *self._tokenizer.tokenize(f"{message.role}\n{message.content}"), IM_END]
        return MessageEncoding(tuple(tokens if closed else tokens[:-1]), ())

    def count(self, text: str) -> int:
        return len(self._tokenizer.tokenize(text))

    def ambiguous_markup(self, text: str) -> str | None:
        return "The model reads the ☰ in this text as a border." if "☰" in text else None


FORMATS: Mapping[str, Callable[[WordsTokenizer], PromptFormat]] = {
    "system in the head, or no head": ChatFormat,
    "a space before a reply": lambda tokenizer: ChatFormat(tokenizer, reply_prefix=" "),
    "system in the first question (v1)": lambda tokenizer: MistralFormat(tokenizer, "v1"),
    "system in the last question (v3)": lambda tokenizer: MistralFormat(tokenizer, "v3"),
    "system in its own place (v7)": lambda tokenizer: MistralFormat(tokenizer, "v7"),
}
