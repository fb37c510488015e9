"""Chooses the prompt format of a model."""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, cast, get_args

from mistral_chat.engine.encoding.mistral import MistralFormat, Version
from mistral_chat.engine.encoding.renderer import ESCAPE, ChatmlRenderer, TemplateRenderer
from mistral_chat.engine.encoding.template_format import TemplateFormat
from mistral_chat.errors import PromptFormatError, UsageError

if TYPE_CHECKING:
    from mistral_chat.engine.encoding.format import PromptFormat
    from mistral_chat.engine.encoding.renderer import Renderer
    from mistral_chat.engine.encoding.tokenizer import Tokenizer

FORMATS = ("mistral-v1", "mistral-v3", "mistral-v3-tekken", "mistral-v7", "mistral-v7-tekken", "chatml", "template")
"""The values of ``--prompt-format``; ``mistral-v2`` means v3, whose tokens are the same."""

_LONGEST_NAME = 40
"""A shorter chat template may be one of llama.cpp's template names."""

_MISTRALS_OWN = frozenset(
    {
        "7e995b379ec01747807246483647cd99030abf331653f1119e16d7ac041a3495",
        "26a59556925c987317ce5291811ba3b7f32ec4c647c400c6cc7e3a9993007ba7",
        "e16746b40344d6c5b5265988e0328a0bf7277be86f1c335156eae07e29c82826",
    }
)
"""SHA-256 of known Mistral templates: those of 7B Instruct v0.1, v0.2 and v0.3. They need not be tested."""


def choose_format(
    tokenizer: Tokenizer, template: str | None, name: str, override: str | None, *, now: datetime | None = None
) -> PromptFormat:
    """The format for a model with this vocabulary, chat `template` and `name` (``general.name``), or the one asked for.

    A Mistral model is known by what its template does, not by its name: white space aside, ``[INST]`` and ``[/INST]`` around
    questions and nothing else. The vocabulary decides the version: v3 has a control token for ``[INST]``, v1 has none. For
    a template that prints the date, `now` is the time at which the format's clock stands still.

    Raises:
        UsageError: `override` is none of `FORMATS`.
        PromptFormatError: the model has no usable template, or lacks the tokens that the format needs.
    """
    if override:
        return _asked_for(tokenizer, template, override, now)
    if template and template in FORMATS:
        return _asked_for(tokenizer, None, template, now)
    if not template:
        if "mistral" in name.lower() and "instruct" in name.lower():
            return _mistral(tokenizer, "")
        raise PromptFormatError(f"The model file has no chat template, so it may not be a chat model. {ESCAPE}")
    if sha256(template.encode("utf-8", "replace")).hexdigest() in _MISTRALS_OWN:
        return _mistral(tokenizer, template)
    if len(template) <= _LONGEST_NAME and "{" not in template:
        raise PromptFormatError(f"The model file names an unknown chat template, {template!r}. {ESCAPE}")
    renderer = _renderer(tokenizer, template, now)
    return _mistral(tokenizer, template) if _is_mistral(renderer, template) else TemplateFormat(tokenizer, renderer)


def _asked_for(tokenizer: Tokenizer, template: str | None, name: str, now: datetime | None) -> PromptFormat:
    """The format called `name`."""
    if name == "chatml":
        missing = [
            mark for mark in ("<|im_start|>", "<|im_end|>") if mark not in {**tokenizer.controls, **tokenizer.user_defined}
        ]
        if missing:
            raise PromptFormatError(f"The model's vocabulary has no {missing[0]} token, which chatml needs. {ESCAPE}")
        return TemplateFormat(tokenizer, ChatmlRenderer(), "chatml")
    if name == "template":
        if not template or "{" not in template:
            raise PromptFormatError(f"The model file has no chat template. {ESCAPE}")
        return TemplateFormat(tokenizer, _renderer(tokenizer, template, now))
    version = name.removeprefix("mistral-").removesuffix("-tekken").replace("v2", "v3")
    if not name.startswith("mistral-") or version not in get_args(Version):
        raise UsageError(f"Unknown prompt format {name!r}. Known formats: {', '.join(FORMATS)}.")
    chosen = MistralFormat(tokenizer, cast("Version", version))
    if name.endswith("-tekken") and not chosen.name.endswith("-tekken"):
        raise PromptFormatError(f"The model's vocabulary is not Tekken, which {name} needs. {ESCAPE}")
    return chosen


def _mistral(tokenizer: Tokenizer, template: str) -> PromptFormat:
    """The Mistral format that matches the vocabulary."""
    if "[INST]" not in tokenizer.controls:
        return MistralFormat(tokenizer, "v1")
    own_system = "[SYSTEM_PROMPT]" in tokenizer.controls and "[SYSTEM_PROMPT]" in template
    return MistralFormat(tokenizer, "v7" if own_system else "v3")


def _is_mistral(renderer: Renderer, template: str) -> bool:
    """Whether a template behaves like Mistral's."""
    if "[INST]" not in template or "<<SYS>>" in template:
        return False
    said = ("Lighthouse", "Marmalade", "Umbrella")
    roles = ("user", "assistant", "user")
    messages = [{"role": role, "content": content} for role, content in zip(roles, said, strict=True)]
    text = re.sub(r"\s+", "", renderer.render(messages, generation=True))
    return re.fullmatch(r"(<s>)?\[INST\]Lighthouse\[/INST\]Marmalade</s>\[INST\]Umbrella\[/INST\]", text) is not None


def _renderer(tokenizer: Tokenizer, template: str, now: datetime | None) -> TemplateRenderer:
    bos, eos = (tokenizer.texts[token] if token >= 0 else "" for token in (tokenizer.bos, tokenizer.eos))
    return TemplateRenderer(template, bos=bos, eos=eos, now=now or datetime.now().astimezone())
