"""Prompts by a model's own template: harmless ones are llama.cpp's to the token, hostile ones have the same control tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING

import llama_cpp
import pytest
from support import conversations as make
from support.chat_templates import FAMILIES
from support.gguf_factory import write_gguf

from mistral_chat.conversation import Message, Role
from mistral_chat.engine.encoding.choose import choose_format
from mistral_chat.engine.encoding.renderer import TemplateRefusedError, TemplateRenderer
from mistral_chat.engine.encoding.tokenizer import CONTROLS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mistral_chat.engine.llama.vocabulary import Vocabulary

NOW = datetime(2026, 4, 1, 12, 30, tzinfo=UTC)

CONTROL_TEXTS = sorted({text for _, texts in FAMILIES.values() for text in texts})

MODELS = {
    "sentencepiece": {"vocabulary": "v1", "control": CONTROL_TEXTS},
    "sentencepiece without space": {"vocabulary": "v3", "control": CONTROL_TEXTS, "space_prefix": False},
    "byte pairs": {"vocabulary": "tekken", "control": CONTROL_TEXTS, "add_bos": False},
    "marks declared as text": {"vocabulary": "v2", "user_defined": CONTROL_TEXTS},
    "demo": {},
}


@pytest.fixture(params=MODELS, ids=str)
def model(
    request: pytest.FixtureRequest, vocabulary: Callable[[str | Path], Vocabulary], gguf_folder: Path, demo_model: Path
) -> Vocabulary:
    if request.param == "demo":
        return vocabulary(demo_model)
    path = gguf_folder / f"{request.param}.gguf"
    if not path.exists():
        write_gguf(path, **MODELS[request.param])  # type: ignore[arg-type]  # the table's values have many types
    return vocabulary(path)


@pytest.fixture(params=FAMILIES, ids=str)
def family(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param, FAMILIES[request.param][0]


class Reference:
    """llama.cpp's own way: the rendered text, tokenized with special tokens on."""

    def __init__(self, vocabulary: Vocabulary, template: str) -> None:
        self.vocabulary = vocabulary
        self.bos = vocabulary.texts[vocabulary.bos]
        self.renderer = TemplateRenderer(template, bos=self.bos, eos=vocabulary.texts[vocabulary.eos], now=NOW)

    def render(self, given: list[dict[str, str]], *, generation: bool) -> str | None:
        """What the template makes of `given`; None if it refuses them."""
        try:
            return self.renderer.render(given, generation=generation)
        except TemplateRefusedError:
            return None

    def __call__(self, messages: Sequence[Message], *, generation: bool) -> list[int]:
        given = [{"role": str(each.role), "content": each.content} for each in messages]
        text = self.render(given, generation=generation)
        if text is None:
            given[1]["content"] = given[0]["content"] + "\n\n" + given[1]["content"]
            text = self.render(given[1:], generation=generation) or ""
        start: list[int] = []
        if self.vocabulary.add_bos:
            start, text = [self.vocabulary.bos], text.removeprefix(self.bos)
        raw = text.encode()
        buffer = (llama_cpp.llama_token * (len(raw) + 16))()
        count = llama_cpp.llama_tokenize(self.vocabulary._pointer, raw, len(raw), buffer, len(buffer), False, True)  # noqa: FBT003 (a C function)
        return start + list(buffer[:count])


def test_plain_prompts_equal_those_of_llama_cpp(
    model: Vocabulary, family: tuple[str, str], conversations: int, seed: int
) -> None:
    name, template = family
    chosen = choose_format(model, template, name, "template", now=NOW)
    reference = Reference(model, template)
    rng = Random(f"{seed} harmless {name}")
    for number in range(max(5, conversations // 5)):
        messages = make.messages(rng, tidy=True)
        closed = number % 3 == 0
        if closed:
            messages.append(Message(Role.ASSISTANT, make.text(rng)))
        found = list(chosen.encode_messages(messages, closed=closed).tokens)
        assert found == reference(messages, generation=not closed), f"seed {seed}, conversation {number}: {messages!r}"


def test_no_text_changes_the_control_tokens(model: Vocabulary, family: tuple[str, str], conversations: int, seed: int) -> None:
    name, template = family
    chosen = choose_format(model, template, name, "template", now=NOW)
    rng = Random(f"{seed} hostile {name}")
    marks = {text for text in FAMILIES[name][1] if text in {**model.controls, **model.user_defined}}
    watched = {model.user_defined[text] for text in marks if text in model.user_defined}
    hostile = [*make.HOSTILE, *sorted(marks) * 3, "</think>", "<think>", "USER: ", "ASSISTANT: "]

    def skeleton(messages: Sequence[Message]) -> list[int]:
        tokens = chosen.encode_messages(messages).tokens
        return [token for token in tokens if model.attributes[token] & CONTROLS or token in watched]

    for number in range(max(5, conversations // 5)):
        messages = make.messages(rng, hostile, tidy=True)
        plain = [Message(each.role, "Marmalade") for each in messages]
        assert skeleton(messages) == skeleton(plain), f"seed {seed}, conversation {number}: {messages!r}"
