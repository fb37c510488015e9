"""The settings in words: labels, values, groups, and when a change takes effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mistral_chat.config.docs import setting_docs
from mistral_chat.config.parsing import format_value, is_scalar
from mistral_chat.formatting import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_chat.config.configuration import Configuration
    from mistral_chat.config.docs import SettingDoc

_GROUPS: Final = {
    "": "General",
    "sampling": "Sampling",
    "context": "Context",
    "snapshots": "Context snapshots",
    "engine": "Engine (llama.cpp)",
    "models": "Models",
}

_LABELS: Final = {
    "model": "Model",
    "embedding_model": "Embedding model",
    "recall": "Recall exchanges",
    "system": "System prompt",
    "theme": "Theme",
    "titles": "Conversation titles",
    "statistics": "Reply statistics",
    "trash_days": "Keep deleted chats for",
    "personas": "Personas",
    "keymap": "Keybindings",
    "sampling.temperature": "Temperature",
    "sampling.top_p": "Top P",
    "sampling.top_k": "Top K",
    "sampling.min_p": "Min P",
    "sampling.repeat_penalty": "Repeat penalty",
    "sampling.seed": "Seed",
    "sampling.max_tokens": "Maximum reply length",
    "context.size": "Context size",
    "context.reserve": "Reserved for the reply",
    "context.low_water": "Shrink context to",
    "context.read_ahead": "Preload conversations",
    "snapshots.enabled": "Save snapshots",
    "snapshots.budget": "Disk space",
    "engine.n_gpu_layers": "GPU layers",
    "engine.threads": "CPU threads",
    "engine.kv_type": "KV cache type",
    "engine.flash_attention": "Flash attention",
    "engine.repack": "Repack weights",
    "engine.check_memory": "Check free memory",
    "engine.lora": "LoRA adapters",
    "models.folder": "Download folder",
    "models.folders": "More model folders",
    "models.formats": "Prompt formats",
    "models.catalog": "Your models",
}
"""The label of each setting; one that is not listed shows its key."""

_EMPTY: Final = {
    "embedding_model": "words only",
    "system": "none",
    "sampling.seed": "random",
    "sampling.max_tokens": "no limit",
    "engine.n_gpu_layers": "as many as fit",
    "engine.threads": "one per core",
    "engine.lora": "none",
    "engine.repack": "as measured",
    "models.folder": "data folder",
    "models.folders": "none",
}
"""The meaning of an empty value."""

_EFFECTS: Final = {
    "personas": "immediately; existing conversations keep their own",
    "embedding_model": "with the next message",
    "system": "in the next new conversation",
    "models.formats": "when the model is loaded",
}
"""When settings outside of the groups below take effect."""

LIVE_SETTINGS: Final = frozenset({"theme", "keymap", "personas", "statistics"})
"""Settings that take effect while the app runs."""

PER_MESSAGE_SETTINGS: Final = frozenset({"system", "sampling", "context.read_ahead", "embedding_model"})
"""Settings, or sections of them, that are read again for each message."""

MODEL_LIST_SETTINGS: Final = frozenset({"models.catalog", "models.folders"})
"""Settings that are read again when the models screen is opened."""


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
    def label(self) -> str:
        """What the setting is called."""
        return _LABELS.get(self.key, self.key)

    @property
    def group(self) -> str:
        """The heading that it is listed under."""
        return _GROUPS[self.key.rpartition(".")[0]]

    @property
    def text(self) -> str:
        """The value in words; untrusted text."""
        if self.key == "snapshots.budget" and isinstance(self.value, int):
            return format_size(self.value)
        text = format_value(self.value)
        if not text:
            return _EMPTY.get(self.key, "empty") if is_scalar(self.key) else "none"
        return text if not is_scalar(self.key) else in_words(self.key, text)

    @property
    def default(self) -> str:
        """The default in words."""
        text = self.entry.default.strip('"[]{}')
        if self.key == "snapshots.budget":
            return format_size(int(text))
        return in_words(self.key, text) if text else _EMPTY.get(self.key, "empty" if is_scalar(self.key) else "none")


def in_words(key: str, text: str) -> str:
    """Format a value from the settings file in words."""
    if key == "trash_days":
        return {"0": "until you empty the trash", "1": "1 day"}.get(text, f"{text} days")
    if key in {"context.size", "context.reserve", "sampling.max_tokens"}:
        return f"{int(text):,} tokens" if text.isdecimal() else text
    on_off = key.partition(".")[0] in {"context", "snapshots", "engine", "recall", "statistics"}
    words = {"true": "on", "false": "off"} if on_off else {}
    return {**words, "first_line": "first line", "0": "greedy" if key == "sampling.temperature" else "0"}.get(text, text)


def rows(configuration: Configuration) -> Iterator[Row]:
    """Every setting, group by group. A section of named entries is one row."""
    found = {key: (value, source) for key, value, source in configuration.rows()}
    named = [Row(entry, *found[entry.key]) for entry in setting_docs() if entry.key in found]
    for group in _GROUPS.values():
        yield from (row for row in named if row.group == group)


def effect_note(key: str) -> str:
    """When a change of `key` takes effect, as a sentence."""
    if key in _EFFECTS:
        when = _EFFECTS[key]
    elif key in LIVE_SETTINGS:
        when = "immediately"
    elif {key, key.partition(".")[0]} & PER_MESSAGE_SETTINGS:
        when = "with the next message, unless the conversation overrides it"
    elif key in MODEL_LIST_SETTINGS:
        when = "when you open the models screen"
    else:
        when = "after a restart"
    return f"Takes effect {when}."


def place(source: str, file: str) -> str:
    """A source in a few words: ``line 12``, the name of a variable or an option, or nothing for a default."""
    if source == "default":
        return ""
    return f"line {source.removeprefix(f'{file}:')}" if source.startswith(f"{file}:") else source
