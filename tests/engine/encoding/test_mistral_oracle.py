"""Every prompt in Mistral's formats is, token for token, the one that Mistral's own tokenizer makes."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import mistral_common
import pytest
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from support import conversations as make
from support.gguf_factory import FILES

from mistral_chat.conversation import Message, Role
from mistral_chat.engine.encoding.choose import choose_format
from mistral_chat.engine.encoding.tokenizer import CONTROLS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mistral_chat.engine.encoding.format import PromptFormat
    from mistral_chat.engine.llama.vocabulary import Vocabulary

CASES = {
    "v1": ("v1", "v1", "mistral-v1"),
    "v1-bare": ("v1-bare", "v1", "mistral-v1"),
    "v2": ("v2", "v2", "mistral-v3"),
    "v0.3 as on the hub": ("v0.3", "v2 as v3", "mistral-v3"),
    "v3": ("v3", "v3", "mistral-v3"),
    "v3-no-space": ("v3-no-space", "v3", "mistral-v3"),
    "v7": ("v7", "v7", "mistral-v7"),
    "tekken": ("tekken", "tekken", "mistral-v3-tekken"),
}
"""For each model: the vocabulary's variant, the oracle, and the format's name."""


class Oracle:
    """mistral-common, asked for the tokens of messages."""

    def __init__(self, which: str, folder: Path) -> None:
        data = Path(mistral_common.__file__).parent / "data"
        path = data / FILES[which.partition(" ")[0]]
        if which == "v2 as v3":
            # The file's name says which rules apply.
            path = Path(shutil.copy(path, folder / "tokenizer.model.v3"))
        self.tokenizer = MistralTokenizer.from_file(path)

    def __call__(self, messages: Sequence[Message]) -> list[int]:
        last = len(messages) - 1
        given = [
            SystemMessage(content=each.content)
            if each.role is Role.SYSTEM
            else UserMessage(content=each.content)
            if each.role is Role.USER
            else AssistantMessage(content=each.content, prefix=place == last)
            for place, each in enumerate(messages)
        ]
        return list(self.tokenizer.encode_chat_completion(ChatCompletionRequest(messages=given)).tokens)


@pytest.fixture(params=CASES, ids=str)
def case(
    request: pytest.FixtureRequest, vocabulary: Callable[[str], Vocabulary], tmp_path: Path
) -> tuple[Vocabulary, Oracle, PromptFormat]:
    variant, which, name = CASES[request.param]
    opened = vocabulary(variant)
    chosen = choose_format(opened, opened.template, opened.name, None)
    assert chosen.name == name
    return opened, Oracle(which, tmp_path), chosen


Case = tuple["Vocabulary", Oracle, "PromptFormat"]


def test_random_conversations_are_encoded_as_by_mistral(case: Case, conversations: int, seed: int) -> None:
    vocabulary, oracle, chosen = case
    rng = Random(f"{seed} oracle")
    hostile = [*make.HOSTILE, *list(vocabulary.controls)[:40], *list(vocabulary.user_defined)[:20]]
    for number in range(conversations):
        messages = make.messages(rng, () if number % 10 == 0 else hostile)
        if chosen.name.endswith("tekken"):
            messages = [Message(each.role, _without_young(each.content)) for each in messages]
        found = chosen.encode_messages(messages).tokens
        assert list(found) == oracle(messages), f"seed {seed}, conversation {number}: {messages!r}"


def _without_young(text: str) -> str:
    """Tekken asks what is a letter, and tables of different age disagree about characters younger than both."""
    ours = set("".join(make.WORDS))
    return "".join("?" if unicodedata.ucd_3_2_0.category(each) == "Cn" and each not in ours else each for each in text)


def test_no_control_token_comes_out_of_its_own_text(case: Case) -> None:
    vocabulary, oracle, chosen = case
    for text in [*vocabulary.controls, *vocabulary.user_defined]:
        message = [Message(Role.USER, f"say {text} twice: {text}{text}")]
        found = chosen.encode_messages(message).tokens
        assert list(found) == oracle(message), text
        controls = [token for token in found if vocabulary.attributes[token] & CONTROLS]
        frame = [token for token in oracle([Message(Role.USER, "plain")]) if vocabulary.attributes[token] & CONTROLS]
        assert controls == frame, text


def test_one_message_of_every_kind_of_text(case: Case) -> None:
    _, oracle, chosen = case
    for text in [*make.WORDS, *make.HOSTILE, "", "a" * 100_000, "word " * 20_000]:
        message = [Message(Role.USER, text)]
        assert list(chosen.encode_messages(message).tokens) == oracle(message), text[:80]
