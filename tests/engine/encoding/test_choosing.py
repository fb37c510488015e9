"""Which prompt format a model gets, and what happens to hostile templates."""

from __future__ import annotations

import gc
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from llama_cpp import llama_chat_format
from support.chat_templates import FAMILIES, HOSTILE, LLAMA3_DATED, MISTRAL_WITH_SPACES, QWEN3
from support.gguf_factory import CHATML

from mistral_chat.conversation import Message, Role
from mistral_chat.engine.encoding import choose
from mistral_chat.engine.encoding.choose import FORMATS, choose_format
from mistral_chat.engine.encoding.renderer import TemplateRenderer
from mistral_chat.engine.encoding.template_format import TemplateFormat
from mistral_chat.errors import PromptFormatError, UsageError
from mistral_chat.generation import PromptTurn

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_chat.engine.llama.vocabulary import Vocabulary

V01_TEMPLATE: str = llama_chat_format.MISTRAL_INSTRUCT_CHAT_TEMPLATE
V02_TEMPLATE: str = llama_chat_format.MIXTRAL_INSTRUCT_CHAT_TEMPLATE
NOW = datetime(2026, 4, 1, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("variant", "template", "name", "expected"),
    [
        ("v1", V01_TEMPLATE, "", "mistral-v1"),
        ("v1", V02_TEMPLATE, "", "mistral-v1"),
        ("v1", MISTRAL_WITH_SPACES, "", "mistral-v1"),
        ("v1", "mistral-v1", "", "mistral-v1"),
        ("v1", None, "mistralai_mistral-7b-instruct-v0.1", "mistral-v1"),
        ("v2", V02_TEMPLATE, "Mistral-7B-Instruct-v0.3", "mistral-v3"),
        ("v3", MISTRAL_WITH_SPACES, "", "mistral-v3"),
        ("v3", "mistral-v3", "", "mistral-v3"),
        ("v7", "mistral-v7", "", "mistral-v7"),
        ("v7", V02_TEMPLATE, "", "mistral-v3"),
        ("tekken", V02_TEMPLATE, "", "mistral-v3-tekken"),
        ("tekken", "mistral-v7-tekken", "", "mistral-v7-tekken"),
        ("v1", FAMILIES["llama-2"][0], "Llama 2", "template"),
        ("chatml", CHATML, "", "template"),
        ("v1", FAMILIES["zephyr"][0], "Mistral instruct finetune", "template"),
    ],
)
def test_a_model_is_recognised_by_its_templates_output(
    vocabulary: Callable[[str], Vocabulary], variant: str, template: str | None, name: str, expected: str
) -> None:
    assert choose_format(vocabulary(variant), template, name, None).name == expected


def test_a_known_mistral_template_needs_no_process(
    vocabulary: Callable[[str], Vocabulary], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "_renderer", None)
    assert choose_format(vocabulary("v2"), V02_TEMPLATE, "", None).name == "mistral-v3"


@pytest.mark.parametrize(
    ("variant", "template", "override", "expected"),
    [
        ("v3", CHATML, "mistral-v1", "mistral-v1"),
        ("v3", None, "mistral-v2", "mistral-v3"),
        ("v7", None, "mistral-v7", "mistral-v7"),
        ("tekken", None, "mistral-v3-tekken", "mistral-v3-tekken"),
        ("chatml", None, "chatml", "chatml"),
        ("v1", V02_TEMPLATE, "template", "template"),
    ],
)
def test_the_user_can_choose_the_format(
    vocabulary: Callable[[str], Vocabulary], variant: str, template: str | None, override: str, expected: str
) -> None:
    assert choose_format(vocabulary(variant), template, "", override).name == expected


@pytest.mark.parametrize(
    ("variant", "template", "override", "said"),
    [
        ("v1", None, None, "has no chat template"),
        ("v1", "vicuna-orca", None, "'vicuna-orca'"),
        ("v1", None, "template", "has no chat template"),
        ("v1", None, "mistral-v3", r"no \[INST\] token"),
        ("v3", None, "mistral-v7", r"no \[SYSTEM_PROMPT\] token"),
        ("v3", None, "mistral-v3-tekken", "not Tekken"),
        ("v3", None, "chatml", r"no <\|im_start\|> token"),
    ],
)
def test_an_unusable_template_says_why_and_what_to_do(
    vocabulary: Callable[[str], Vocabulary], variant: str, template: str | None, override: str | None, said: str
) -> None:
    with pytest.raises(PromptFormatError, match=said) as caught:
        choose_format(vocabulary(variant), template, "", override)
    assert "--prompt-format" in str(caught.value)


def test_an_unknown_name_lists_the_known_ones(vocabulary: Callable[[str], Vocabulary]) -> None:
    with pytest.raises(UsageError) as caught:
        choose_format(vocabulary("v1"), None, "", "mistral-v9")
    assert all(name in str(caught.value) for name in FORMATS)


@pytest.mark.parametrize("harm", HOSTILE)
def test_a_hostile_template_is_refused_in_time(vocabulary: Callable[[str], Vocabulary], harm: str) -> None:
    started = time.monotonic()
    with pytest.raises(PromptFormatError, match="chat template") as caught:
        TemplateFormat(vocabulary("v1"), TemplateRenderer(HOSTILE[harm], bos="<s>", eos="</s>", now=NOW, seconds=1.5))
    assert time.monotonic() - started < 30
    assert "--prompt-format" in str(caught.value)
    assert "root:" not in str(caught.value)


def test_a_refusal_quotes_no_message_text() -> None:
    template = "{{ raise_exception('no: ' + messages[0].content) }}"
    with pytest.raises(PromptFormatError) as caught:
        TemplateRenderer(template, bos="", eos="", now=NOW).render([{"role": "user", "content": "my secret"}], generation=True)
    assert "secret" not in str(caught.value)


def test_the_process_ends_with_the_format(vocabulary: Callable[[str], Vocabulary]) -> None:
    made = TemplateRenderer(CHATML, bos="", eos="", now=NOW)
    made.render([{"role": "user", "content": "Hello"}], generation=True)
    process = made._child.process
    assert process is not None
    assert process.poll() is None
    del made
    gc.collect()
    assert process.poll() is not None


def test_a_killed_process_is_restarted() -> None:
    made = TemplateRenderer(CHATML, bos="", eos="", now=NOW)
    messages = [{"role": "user", "content": "Hello"}]
    first = made.render(messages, generation=True)
    assert made._child.process is not None
    made._child.process.kill()
    made._child.process.wait()
    assert made.render(messages, generation=True) == first


def test_the_working_directory_cannot_shadow_a_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jinja2.py").write_text("raise SystemExit('taken over')")
    monkeypatch.chdir(tmp_path)
    made = TemplateRenderer(CHATML, bos="", eos="", now=NOW)
    assert "Hello" in made.render([{"role": "user", "content": "Hello"}], generation=True)


def test_secrets_in_the_environment_do_not_reach_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    made = TemplateRenderer(CHATML, bos="", eos="", now=NOW)
    made.render([{"role": "user", "content": "Hello"}], generation=True)
    assert made._child.process is not None
    environment = Path(f"/proc/{made._child.process.pid}/environ")
    if not environment.exists():
        pytest.skip("this system does not show a process's environment")
    assert b"hf_secret" not in environment.read_bytes()


def test_templates_see_a_fixed_clock(vocabulary: Callable[[str], Vocabulary]) -> None:
    chosen = choose_format(vocabulary("v1"), LLAMA3_DATED, "", "template", now=NOW)
    turns = [PromptTurn(key="a", user="Hello")]
    spelled = b"".join(vocabulary("v1").piece(token) for token in chosen.encode("", turns).tokens).decode()
    assert "Today Date: 01 Apr 2026 12:30:00" in spelled


def test_reasoning_is_removed_as_the_template_wants(vocabulary: Callable[[str], Vocabulary]) -> None:
    opened = vocabulary("chatml")
    chosen = choose_format(opened, QWEN3, "", None)
    turns = [PromptTurn(key="a", user="One?", reply="<think>\nHm.\n</think>\n\nYes."), PromptTurn(key="b", user="Two?")]
    drawn = {"a": opened.tokenize(turns[0].reply)}
    for sampled in ({}, drawn):
        encoding = chosen.encode("", turns, sampled=sampled)
        assert b"".join(opened.piece(token) for token in encoding.turns[0].reply).strip() == b"Yes."
    closed = chosen.encode("", turns[:1], closed=True)
    assert (
        closed.tokens
        == chosen.encode_messages([Message(Role.USER, "One?"), Message(Role.ASSISTANT, turns[0].reply)], closed=True).tokens
    )
    assert b"Hm." in b"".join(opened.piece(token) for token in closed.tokens)


def test_templates_without_system_prompts_still_get_them(vocabulary: Callable[[str], Vocabulary]) -> None:
    opened = vocabulary("v1")
    for template in (FAMILIES["gemma"][0], V01_TEMPLATE):
        chosen = choose_format(opened, template, "", "template")
        tokens = chosen.encode("Be brief.", [PromptTurn(key="a", user="Hello")]).tokens
        assert b"Be brief.\n\nHello" in b"".join(opened.piece(token) for token in tokens)
