"""What the user enters for one setting becomes its value, or is refused with a reason."""

from __future__ import annotations

import pytest

from mistral_chat.config import Settings
from mistral_chat.config.configuration import flatten
from mistral_chat.config.parsing import choices, format_value, is_scalar, parse_value
from mistral_chat.errors import ConfigError


def test_every_default_is_parsed_from_its_formatted_value() -> None:
    for key, value in flatten(Settings()):
        if is_scalar(key):
            assert parse_value(key, format_value(value)) == value, key


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("sampling.temperature", " 0.2 ", 0.2),
        ("sampling.temperature", "1", 1.0),
        ("sampling.seed", "  ", None),
        ("sampling.seed", "7", 7),
        ("context.read_ahead", "false", False),
        ("titles", "model", "model"),
        ("system", "Be: brief # please\nand kind", "Be: brief # please\nand kind"),
        ("system", "", ""),
        ("models.folder", "", None),
        ("models.folder", "/disk/no", "/disk/no"),
        ("engine.lora", "a.gguf, b.gguf:0.5,", ("a.gguf", "b.gguf:0.5")),
        ("engine.lora", "", ()),
    ],
)
def test_the_entered_text_becomes_the_value(key: str, text: str, value: object) -> None:
    assert parse_value(key, text) == value


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("sampling.temperature", "hot", "must be a number, not the text 'hot'"),
        ("sampling.temperature", "9", "temperature must be from 0 to 5"),
        ("sampling.temperature", "", "must be a number, not empty"),
        ("sampling.top_k", "1.5", "must be a whole number"),
        ("sampling.top_k", "[1", "must be a whole number"),
        ("sampling.top_k", "3, seed: 5", "a whole number"),
        ("sampling.top_k", "3\n  seed: 5", "a whole number"),
        ("sampling.top_k", "\x1b[31m", "must be a whole number"),
        ("engine.kv_type", "q4_0", "must be one of f16, q8_0"),
        ("context.size", "12", "size must be from 256"),
    ],
)
def test_invalid_text_is_refused_with_a_reason(key: str, text: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_value(key, text)
    assert why in caught.value.problem


def test_choices_are_listed() -> None:
    assert choices("engine.kv_type") == ("f16", "q8_0")
    assert choices("snapshots.enabled") == ("true", "false")
    assert choices("sampling.seed") == choices("model") == ()
    assert not is_scalar("personas")
    assert format_value({"chat.stop": "f12", "app.quit": "f11"}) == "chat.stop, app.quit"
