"""Our own colours. Textual's themes can be chosen as well."""

from __future__ import annotations

from typing import Final

from textual.theme import Theme

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
}
"""Our own variables in themes that are not ours."""
