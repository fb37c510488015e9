"""The settings as the settings screen shows them: in groups, each with its value, its source and when a change takes effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mistral_chat.config.docs import setting_docs
from mistral_chat.config.parsing import format_value, is_scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_chat.config.configuration import Configuration
    from mistral_chat.config.docs import SettingDoc

_GROUPS: Final = {
    "": "General",
    "sampling": "How tokens are drawn",
    "context": "What the model sees",
    "snapshots": "KV states on disk",
    "engine": "llama.cpp",
    "models": "Weights",
}

AT_ONCE: Final = frozenset({"theme", "keymap", "personas"})
"""Settings that the app changes to while it runs."""

SOON: Final = frozenset({"system", "sampling", "context.read_ahead"})
"""Settings, or sections of them, that the app asks for again with each message."""

LISTED: Final = frozenset({"models.catalog", "models.folders"})
"""Settings that are asked for again whenever the list of models is opened."""


@dataclass(frozen=True, slots=True)
class Row:
    """One setting."""

    entry: SettingDoc
    value: object
    source: str
    """A file with its line, a variable, an option, or ``"default"``; untrusted text."""

    @property
    def key(self) -> str:
        """The dotted key."""
        return self.entry.key

    @property
    def name(self) -> str:
        """The key without its section."""
        return self.key.rpartition(".")[2]

    @property
    def group(self) -> str:
        """The heading it stands under."""
        return _GROUPS[self.key.rpartition(".")[0]]

    @property
    def text(self) -> str:
        """The value in words; untrusted text."""
        return format_value(self.value) or ("nothing yet" if not is_scalar(self.key) else "empty")

    @property
    def default(self) -> str:
        """The default in words."""
        return self.entry.default.strip('"') or "empty"


def rows(configuration: Configuration) -> Iterator[Row]:
    """Every setting, in the order of the groups. What people name themselves stands once, under the name of its section."""
    found = {key: (value, source) for key, value, source in configuration.rows()}
    named = [Row(entry, *found[entry.key]) for entry in setting_docs() if entry.key in found]
    for group in _GROUPS.values():
        yield from (row for row in named if row.group == group)


def effect(key: str) -> str:
    """When a change of `key` takes effect, as a sentence."""
    when = "when mistral-chat is started next"
    if key == "personas":
        when = "at once; a conversation keeps what it began with"
    elif key in AT_ONCE:
        when = "at once"
    elif key == "system":
        when = "with the next new conversation"
    elif {key, key.partition(".")[0]} & SOON:
        when = "with the next message, where the conversation has no settings of its own"
    elif key in LISTED:
        when = "when the list of models is opened next"
    elif key == "models.formats":
        when = "when the model is loaded next"
    return f"A change takes effect {when}."


def place(source: str, file: str) -> str:
    """A source in few words: ``line 12``, the name of a variable or an option, or nothing for a default."""
    if source == "default":
        return ""
    return f"line {source.removeprefix(f'{file}:')}" if source.startswith(f"{file}:") else source
