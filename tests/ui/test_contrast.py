"""What is on the screen can be seen in every theme: text, frames, scroll bars and selected rows."""

from __future__ import annotations

import pytest
from textual.color import Color
from textual.theme import BUILTIN_THEMES

from mistral_chat.ui import themes
from mistral_chat.ui.app import MistralChatApp

OURS = {theme.name: theme for theme in themes.THEMES}
COLOURED = {name: theme for name, theme in {**OURS, **BUILTIN_THEMES}.items() if not name.startswith("ansi")}
"""Themes that state their colours; the others use the terminal's, which its user has chosen."""


def variables(name: str) -> dict[str, str]:
    theme = COLOURED[name]
    whole = {**themes.FALLBACKS, **theme.to_color_system().generate(), **theme.variables}
    return {**whole, **themes.readable(whole)}


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2, computed here from its definition."""

    def luminance(text: str) -> float:
        parts = [each / 255 for each in Color.parse(text).rgb]
        linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def on(behind: str, color: str) -> str:
    """The colour that is seen where `color` lets `behind` through."""
    return (Color.parse(behind) + Color.parse(color)).hex


@pytest.mark.parametrize("name", COLOURED)
def test_text_has_contrast_4_5_to_1(name: str) -> None:
    found = variables(name)
    texts = ["foreground", "text-quiet", "text-accent", "text-primary", "text-warning", "text-error", "text-success"]
    texts += [each for each in found if each.startswith("code-")]
    for text in texts:
        for behind in ("background", "surface"):
            shown = found[found[text].removeprefix("$")] if found[text].startswith("$") else found[text]
            if "auto" not in shown:  # auto is black or white, whichever can be read
                assert contrast(on(found[behind], shown), found[behind]) >= 4.5, f"${text} on ${behind}"
    assert contrast(found["block-cursor-foreground"], found["block-cursor-background"]) >= 4.5, "a selected row"
    assert contrast(found["screen-selection-foreground"], found["screen-selection-background"]) >= 4.5, "selected text"
    assert contrast(found["on-primary"], found["primary"]) >= 4.5, "a focused button"


@pytest.mark.parametrize("name", COLOURED)
def test_frames_bars_and_selection_have_contrast_3_to_1(name: str) -> None:
    found = variables(name)
    for part in ("border", "border-blurred", "scrollbar", "scrollbar-hover", "scrollbar-active", "block-cursor-background"):
        for behind in ("background", "surface"):
            assert contrast(found[part], found[behind]) >= 3, f"${part} on ${behind}"


@pytest.mark.parametrize("name", ["ansi-dark", "ansi-light"])
def test_a_theme_of_the_terminals_colours_is_left_alone(name: str) -> None:
    theme = BUILTIN_THEMES[name]
    assert themes.readable({**theme.to_color_system().generate(), **theme.variables}) == {}


def test_the_app_uses_the_readable_colours() -> None:
    from support.app_harness import AppHarness

    app: MistralChatApp = AppHarness().app
    app.theme = "solarized-light"
    assert app.get_css_variables()["text-quiet"] == variables("solarized-light")["text-quiet"]


@pytest.mark.parametrize("name", OURS)
def test_secondary_text_can_be_read_in_a_selected_row(name: str) -> None:
    found = variables(name)
    selected = found["block-cursor-background"]
    assert contrast(on(selected, found["text-quiet"]), selected) >= 2.4
