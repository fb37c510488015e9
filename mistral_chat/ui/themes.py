"""The app's own themes, and the contrast of every theme, Textual's too."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from textual.color import BLACK, WHITE, Color, ColorParseError
from textual.theme import Theme

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DARK_CODE: Final = {
    "code-comment": "#8b8f98",
    "code-keyword": "#f0a36b",
    "code-string": "#9ccb86",
    "code-number": "#7fc7d9",
    "code-name": "#8fb4ea",
}

_LIGHT_CODE: Final = {
    "code-comment": "#6a6f78",
    "code-keyword": "#a84300",
    "code-string": "#2f6b1c",
    "code-number": "#00617a",
    "code-name": "#1f4fa3",
}

_DARK_BARS: Final = {
    "scrollbar": "#363b45",
    "scrollbar-hover": "#4a505c",
    "scrollbar-active": "#f0884a",
    "scrollbar-background": "#1c1f24",
}

_LIGHT_BARS: Final = {
    "scrollbar": "#cfcbc3",
    "scrollbar-hover": "#aaa69e",
    "scrollbar-active": "#b84a0c",
    "scrollbar-background": "#f2f0ec",
}

DARK: Final = Theme(
    name="mistral-dark",
    primary="#f0884a",
    secondary="#8fb4ea",
    accent="#f5a870",
    warning="#e8b84a",
    error="#ef6b6b",
    success="#86c07a",
    foreground="#dcdee2",
    background="#16181c",
    surface="#1c1f24",
    panel="#252931",
    dark=True,
    variables={**_DARK_CODE, **_DARK_BARS, "border": "#4a505c", "border-blurred": "#363b45", "block-cursor-text-style": "none"},
)

LIGHT: Final = Theme(
    name="mistral-light",
    primary="#b84a0c",
    secondary="#1f4fa3",
    accent="#a84300",
    warning="#8a5c00",
    error="#b3261e",
    success="#2f6b1c",
    foreground="#22252a",
    background="#fbfaf8",
    surface="#f2f0ec",
    panel="#e7e4de",
    dark=False,
    variables={**_LIGHT_CODE, **_LIGHT_BARS, "border": "#aaa69e", "border-blurred": "#cfcbc3", "block-cursor-text-style": "none"},
)

HIGH_CONTRAST: Final = Theme(
    name="mistral-high-contrast",
    primary="#ffb000",
    secondary="#7ad7ff",
    accent="#ffd75f",
    warning="#ffff00",
    error="#ff8080",
    success="#7dff7d",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#1a1a1a",
    dark=True,
    text_alpha=1.0,
    variables={
        **dict.fromkeys(_DARK_CODE, "#ffffff"),
        "code-keyword": "#ffd75f",
        "code-string": "#7dff7d",
        "border": "#ffffff",
        "border-blurred": "#c0c0c0",
        "text-muted": "#ffffff",
    },
)

THEMES: Final = (DARK, LIGHT, HIGH_CONTRAST)

FALLBACKS: Final = {
    "code-comment": "$text-muted",
    "code-keyword": "$text-accent",
    "code-string": "$text-success",
    "code-number": "$text-warning",
    "code-name": "$text-primary",
    "text-quiet": "$text-muted",
    "on-primary": "$background",
}
"""The app's own variables in themes that do not define them."""

TEXT_CONTRAST: Final = 4.5
PART_CONTRAST: Final = 3.0
"""The minimum contrast of text, and of parts such as frames, scroll bars and selected rows (WCAG 2.2, level AA)."""

_STEPS: Final = 20


def readable(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a theme that need another colour, or that the app adds, so that everything can be seen.

    A theme that uses the terminal's own colours has no contrast that could be computed, and is left alone.
    """
    theme = {name: color for name, text in variables.items() if (color := _opaque(text)) is not None}
    if any(name not in theme for name in ("background", "surface", "panel", "foreground", "primary")):
        return {}
    base = (theme["background"], theme["surface"])
    plain = _adjusted(theme["foreground"], TEXT_CONTRAST, *base, theme["panel"])
    quiet = _until(
        lambda share: plain.with_alpha(0.65 + 0.35 * share),
        lambda found: all(_contrast(on + found, on) >= TEXT_CONTRAST for on in base),
    )
    texts = {name: _adjusted(color, TEXT_CONTRAST, *base) for name, color in theme.items() if name.startswith(("text-", "code-"))}
    found = {**texts, "foreground": plain, "text-quiet": quiet, **_parts(theme, base)}
    return {name: color.hex for name, color in found.items()}


def _parts(theme: Mapping[str, Color], base: tuple[Color, Color]) -> dict[str, Color]:
    """Return the colours of frames, scroll bars, selected rows and focused buttons."""
    panel, primary = theme["panel"], theme["primary"]
    tint = _until(
        lambda share: base[0].blend(primary, 0.35 + 0.65 * share),
        lambda color: _contrast(color, *base) >= PART_CONTRAST,
    )
    selected = _adjusted(tint, PART_CONTRAST, *base)
    usual = {
        "border": theme["foreground"],
        "border-blurred": panel,
        "scrollbar": panel,
        "scrollbar-hover": primary,
        "scrollbar-active": primary,
    }
    return {
        **{name: _adjusted(theme.get(name, color), PART_CONTRAST, *base) for name, color in usual.items()},
        "block-cursor-background": selected,
        "block-cursor-foreground": _black_or_white(selected),
        "screen-selection-background": selected,
        "screen-selection-foreground": _black_or_white(selected),
        "on-primary": _black_or_white(primary),
    }


def _adjusted(color: Color, least: float, *on: Color) -> Color:
    """Return `color`, or as much of black or white mixed in as its contrast with all of `on` needs."""
    strong = _black_or_white(on[0])
    return _until(lambda share: color.blend(strong, share), lambda found: _contrast(found, *on) >= least)


def _black_or_white(behind: Color) -> Color:
    return max(WHITE, BLACK, key=lambda color: _contrast(color, behind))


@lru_cache(maxsize=1024)
def _opaque(text: str) -> Color | None:
    """Return an opaque colour, which themes write as a number; None for one that depends on what is behind it, and for no colour.

    Textual compares what is no colour with the names of all colours, at every start of the app and for each such variable.
    """
    try:
        color = Color.parse(text) if text.startswith("#") else None
    except ColorParseError:  # a number with a share
        return None
    return color if color is not None and color.a == 1 else None


def _until(make: Callable[[float], Color], good: Callable[[Color], bool]) -> Color:
    """Return the first acceptable colour; the last one if none is."""
    return next((color for step in range(_STEPS) if good(color := make(step / _STEPS))), make(1.0))


def _contrast(color: Color, *on: Color) -> float:
    """Return the least contrast ratio of `color` with the colours it may be drawn on."""
    own = _luminance(color)
    ratios = []
    for other in on:
        low, high = sorted((own, _luminance(other)))
        ratios.append((high + 0.05) / (low + 0.05))
    return min(ratios)


def _luminance(color: Color) -> float:
    """Return the relative luminance as WCAG defines it."""
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 (the curve of sRGB)
        for each in color.normalized
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
