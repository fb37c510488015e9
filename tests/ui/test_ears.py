"""The terminal that listens for hostile text hears it: else its silence would prove nothing."""

from __future__ import annotations

import pytest
from support.ears import Ears, listening
from support.hostile import STRINGS, dangerous
from support.screens import Stage, ready


def _half(text: str) -> bool:
    """Whether `text` holds half characters, which no terminal can be given."""
    return any(0xD800 <= ord(character) < 0xE000 for character in text)


@pytest.mark.parametrize("text", [text for text in STRINGS if dangerous(text) and not _half(text)])
def test_what_is_not_the_apps_own_is_heard(text: str) -> None:
    ears = Ears()
    ears.hear("\x1b[3;1H\x1b[1;38;2;220;222;226;48;2;22;24;28mhello\x1b[0m")
    assert ears.foreign() == []
    ears.hear(text)
    assert ears.foreign()


def test_half_a_character_would_end_the_app() -> None:
    ears = Ears()
    ears.hear("\ud800")
    with pytest.raises(UnicodeEncodeError):
        ears.foreign()


async def test_the_app_writes_to_it() -> None:
    stage = Stage()
    async with listening(stage.app) as (pilot, ears):
        await ready(pilot, stage)
        heard = ears.heard()
        assert "A new conversation" in heard
        assert "\x1b[" in heard
