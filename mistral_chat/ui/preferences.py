"""The app's door to the settings' file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_chat.config.configuration import Configuration


class Preferences(Protocol):
    """The settings of the next start, and the file that they are written to."""

    @property
    def file(self) -> str:
        """The file's path; untrusted text."""

    def read(self) -> Configuration:
        """Every setting with its source, as the next start with the same options would find them.

        Raises:
            MistralChatError: the file, the environment or an option holds something that cannot be used.
        """

    def write(self, key: str, value: object) -> Configuration:
        """Set the dotted `key` in the file, which is made if there is none, and read again.

        Raises:
            MistralChatError: the file or the value cannot be used, and nothing was changed.
        """

    def write_entry(self, section: str, name: str, typed: Mapping[tuple[str, ...], str] | None) -> Configuration:
        """Put the entry `name` into the dotted `section` of the file, as `config.entries` reads it, or with None take it away.

        Raises:
            MistralChatError: the file, the name or a value cannot be used, and nothing was changed.
        """

    def stamp(self) -> object:
        """What is another one when the file has changed; asked for often."""
