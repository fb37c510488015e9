"""The ways to a command that need no Alt, no function key and no Ctrl with an arrow: what every terminal sends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mistral_chat.ui.keymap import format_keys, known_bindings
from mistral_chat.ui.widgets.composer import Composer
from mistral_chat.ui.widgets.sidebar import ConversationList
from mistral_chat.ui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from mistral_chat.ui.commands import Command

_NEVER_SENT: Final = re.compile(r"alt\+.*|f\d+|ctrl\+(up|down|left|right|home|end|comma)|insert|delete")
"""Keys that some terminal or desktop types as a character, keeps for itself, or has no key for."""

_PLACES: Final[dict[type[DOMNode], str]] = {Composer: "", Transcript: " on a message", ConversationList: " in the list"}

_THROUGH_WIDGETS: Final = {
    ("transcript.down", "chat.turn_after"),
    ("transcript.turn", "chat.turn"),
    ("transcript.newest", "chat.bottom"),
}
"""Keys of widgets that do what a command does, by their ids, without naming it in their action."""


_TYPED: Final = {"app.help": "? in an empty message box", "chat.attach": "@ in the message box"}
"""Characters that run a command where they are typed, by the command's id."""


def ways(wanted: Command) -> list[str]:
    """The keys and the slash names that run a command from every terminal, as the README shows them."""
    found = [format_keys(key) for key in wanted.key.split(",") if key and arrives(key)]
    found += [f"{letter}{place}" for letter, place in _letters(wanted)]
    found += [_TYPED[wanted.id]] if wanted.id in _TYPED else []
    found += [f"`/{wanted.slash}`"] if wanted.slash else []
    return found


def arrives(key: str) -> bool:
    """Whether every terminal sends `key`, in Textual's words, with its default settings."""
    return _NEVER_SENT.fullmatch(key) is None


def _letters(wanted: Command) -> list[tuple[str, str]]:
    found = [(wanted.turn_letter, _PLACES[Transcript])] if wanted.turn_letter else []
    found += [(wanted.list_letter, _PLACES[ConversationList])] if wanted.list_letter else []
    for widget, place in _PLACES.items():
        for name, binding in known_bindings((widget,)).items():
            if binding.action == f"screen.command({wanted.id!r})" or (name, wanted.id) in _THROUGH_WIDGETS:
                found += [(format_keys(key), place) for key in binding.key.split(",") if arrives(key)]
    return found
