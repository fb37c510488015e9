"""The terminal that listens for hostile text hears it: else its silence would prove nothing."""

from __future__ import annotations

import pytest
from support.app_harness import AppHarness, until_ready
from support.hostile import STRINGS, dangerous
from support.terminal_output import TerminalOutput, capture_output


def _half(text: str) -> bool:
    """Whether `text` contains lone surrogates, which no terminal can show."""
    return any(0xD800 <= ord(character) < 0xE000 for character in text)


@pytest.mark.parametrize("text", [text for text in STRINGS if dangerous(text) and not _half(text)])
def test_foreign_output_is_detected(text: str) -> None:
    output = TerminalOutput()
    output.hear("\x1b[3;1H\x1b[1;38;2;220;222;226;48;2;22;24;28mhello\x1b[0m")
    assert output.foreign() == []
    output.hear(text)
    assert output.foreign()


def test_an_incomplete_character_would_end_the_app() -> None:
    output = TerminalOutput()
    output.hear("\ud800")
    with pytest.raises(UnicodeEncodeError):
        output.foreign()


async def test_the_apps_own_output_is_captured() -> None:
    harness = AppHarness()
    async with capture_output(harness.app) as (pilot, output):
        await until_ready(pilot, harness)
        heard = output.heard()
        assert "New conversation" in heard
        assert "\x1b[" in heard
