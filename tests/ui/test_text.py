"""Cleaning of untrusted text before it reaches the screen."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile import STRINGS, dangerous

from mistral_chat.text import SOFT_BREAK, break_words, clean, join_words, one_line, unfinished_flag

ENGLAND, SCOTLAND = (
    f"\U0001f3f4{''.join(chr(0xE0000 + ord(letter)) for letter in name)}\U000e007f" for name in ("gbeng", "gbsct")
)

ANYTHING = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize("text", STRINGS)
def test_nothing_hostile_passes_through(text: str) -> None:
    assert not dangerous(clean(text).replace("\t", ""))
    assert not dangerous(one_line(text))
    assert "\n" not in one_line(text)


@given(ANYTHING)
def test_any_text_is_made_safe_and_can_be_encoded(text: str) -> None:
    cleaned = clean(text)
    assert not dangerous(cleaned.replace("\t", ""))
    cleaned.encode()
    assert clean(cleaned) == cleaned


@given(ANYTHING, st.integers(0, 50))
def test_cleaning_piece_by_piece_is_cleaning_the_whole(text: str, cut: int) -> None:
    assert clean(text[:cut]) + clean(text[cut:]) == clean(text)


@pytest.mark.parametrize(
    "text",
    ["é", "héllo wörld", "👨‍👩‍👧‍👦", "नमस्ते", "می‌خواهم", "שלום", "日本語", "🇫🇷", ENGLAND, f"{ENGLAND}{SCOTLAND}!", "a\tb\nc"],
)
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize("cut", range(1, len(ENGLAND)))
def test_tag_characters_are_kept_only_in_flags(cut: int) -> None:
    assert not dangerous(clean(ENGLAND[:cut] + "x"))
    assert not dangerous(clean("x" + ENGLAND[cut:]))
    assert not dangerous(one_line(f"{'x' * 10}{ENGLAND}{ENGLAND}", 10 + cut))
    assert unfinished_flag("Hello " + ENGLAND[:cut]) == len("Hello ")
    assert unfinished_flag("Hello " + ENGLAND) == len("Hello " + ENGLAND)


def test_escape_sequences_become_visible_text() -> None:
    assert clean("\x1b[31m") == "␛[31m"
    assert clean("a\r\nb") == "a\nb"


@given(ANYTHING, st.integers(2, 40))
def test_one_line_keeps_its_limit(text: str, limit: int) -> None:
    assert len(one_line(text, limit)) <= limit


def test_long_words_are_broken_and_nothing_is_lost() -> None:
    broken = break_words("x" * 5000 + " end", 2000)
    assert max(map(len, broken.split())) == 2000
    assert broken.replace("\n", "") == "x" * 5000 + " end"
    assert break_words("short") == "short"
    for text in ("x" * 5000 + " end\nnext", "ന്\u200d\nത", "👩\u200d\n💻", "a\u200c\n" + "b" * 4001):
        assert join_words(break_words(clean(text), 2000, SOFT_BREAK)) == text, "also where a line ends in a joiner"


def test_cleaning_needs_no_terminal_library() -> None:
    code = "import sys, mistral_chat.text; sys.exit('textual' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
