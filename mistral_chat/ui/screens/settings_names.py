"""What people name themselves in the settings, as the dialogs for it read and keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_chat.config.docs import setting_docs
from mistral_chat.config.named_entries import entries_of, entry_fields, entry_to_text
from mistral_chat.errors import ConfigError, MistralChatError
from mistral_chat.ui.screens.settings_words import effect

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_chat.config.configuration import Configuration
    from mistral_chat.config.named_entries import EntryField, FieldTexts
    from mistral_chat.config.settings_file import SettingsFile


class NamedSection:
    """One section of the settings whose keys a person names, read from and written to the settings' file."""

    def __init__(
        self, key: str, configuration: Configuration, settings_file: SettingsFile, changed: Callable[[Configuration], None]
    ) -> None:
        """Stand for the dotted section `key`.

        Args:
            key: the section.
            configuration: what holds now.
            settings_file: where the entries are kept.
            changed: told of what holds after each change.
        """
        self.key = key
        meaning = next(entry.meaning for entry in setting_docs() if entry.key == key)
        self.meaning = f"{meaning} {effect(key)}"
        self._configuration, self._file, self._changed = configuration, settings_file, changed

    def fields(self) -> tuple[EntryField, ...]:
        """What an entry can say."""
        return entry_fields(self.key)

    def names(self) -> dict[str, str]:
        """Every entry by its name, with the beginning of what it says."""
        return {name: _summary(self.typed(name)) for name in entries_of(self._configuration.settings, self.key)}

    def typed(self, name: str) -> FieldTexts:
        """What an entry says."""
        return entry_to_text(self.key, name, self._configuration)

    def texts(self) -> dict[str, str]:
        """Every entry of a section of texts."""
        return entries_of(self._configuration.settings, self.key)

    def keep(self, name: str, typed: FieldTexts | None) -> str:
        """Keep an entry, or with None take it away; says why that cannot be, or nothing."""
        try:
            self._configuration = self._file.write_entry(self.key, name, typed)
        except ConfigError as error:
            return error.problem if error.line is None or error.source == self.key else str(error)
        except MistralChatError as error:
            return str(error)
        self._changed(self._configuration)
        return ""


def _summary(typed: FieldTexts) -> str:
    return " · ".join(text.partition("\n")[0] for text in typed.values() if text)
