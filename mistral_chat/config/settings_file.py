"""The settings file of one run: read together with its overrides, and changed in place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_chat import system
from mistral_chat.config.configuration import CommandLineOverride, Configuration
from mistral_chat.errors import ConfigError
from mistral_chat.paths import private_folder

if TYPE_CHECKING:
    from mistral_chat.config.named_entries import FieldTexts
    from mistral_chat.config.reader import FileSettings

LARGEST_FILE = 64 * 1024
"""Bytes. PyYAML needs seconds for a hostile file of this size, and minutes for a larger one."""

_NEW_FILE = b"# Settings of mistral-chat. `mistral-chat config default` prints every key with its meaning.\n"

_WRITING = threading.Lock()
"""Held from reading the file to replacing it: a theme is saved in one thread while a prompt format is saved in another."""


@dataclass
class SettingsFile:
    """The file at `path`, with the environment variables and command-line options that override it.

    The YAML library is imported only where there is a file, because startup must be quick. A file whose content has not
    changed is not parsed again.
    """

    path: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, CommandLineOverride] = field(default_factory=dict)
    """The settings given on the command line, by dotted key."""
    on_entry: Callable[[str, str], None] | None = None
    """Called with the section and the name of each entry that was written or removed."""
    _parsed: tuple[bytes, FileSettings] | None = field(default=None, init=False, repr=False)
    """The content of the file that was parsed last, and what it says."""

    def read(self, *, skip_unknown: bool = False) -> Configuration:
        """Every setting with its source, as the next start with the same options would find them.

        Args:
            skip_unknown: turn unknown keys into warnings.

        Raises:
            ConfigError: the file or the environment contains something that cannot be used.
            UsageError: an option does.
        """
        content = self._content()
        if content is None:
            return self._configuration(None)
        if skip_unknown:
            from mistral_chat.config.reader import read_settings

            return self._configuration(read_settings(self._decoded(content), str(self.path), skip_unknown=True))
        return self._configuration(self._parse(content))

    def write(self, key: str, value: object) -> Configuration:
        """Set the dotted `key` in the file, which is created if there is none.

        Raises:
            ConfigError: the file or the value cannot be used, or the file cannot be written; nothing was changed.
            UsageError: an option cannot be used.
        """
        from mistral_chat.config.writer import change_setting

        return self._change(lambda before: change_setting(before, key, value, str(self.path)))

    def write_entry(self, section: str, name: str, texts: FieldTexts | None) -> Configuration:
        """Set the entry `name` of the dotted `section` in the file to what the user entered, or remove it with None.

        Raises:
            ConfigError: the file, the name or a value cannot be used, or the file cannot be written; nothing was changed.
            UsageError: an option cannot be used.
        """
        from mistral_chat.config.named_entries import change_entry

        configuration = self._change(lambda before: change_entry(before, section, name, texts, str(self.path)))
        if self.on_entry is not None:
            self.on_entry(section, name)
        return configuration

    def stamp(self) -> object:
        """A value that differs after the file has changed; cheap. None while there is no file."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def _parse(self, content: bytes) -> FileSettings:
        parsed = self._parsed
        if parsed is None or parsed[0] != content:
            from mistral_chat.config.reader import read_settings

            parsed = self._parsed = content, read_settings(self._decoded(content), str(self.path))
        return parsed[1]

    def _content(self) -> bytes | None:
        """The bytes of the file; None where there is none."""
        try:
            with self.path.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ConfigError(str(self.path), None, f"the file cannot be read: {error.strerror}") from error
        self._check_size(content)
        return content

    def _decoded(self, content: bytes) -> str:
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise ConfigError(str(self.path), line, "the file is not UTF-8 text") from error

    def _check_size(self, content: bytes) -> None:
        if len(content) > LARGEST_FILE:
            raise ConfigError(str(self.path), None, f"the file is larger than the {LARGEST_FILE // 1024} KB allowed for settings")

    def _change(self, change: Callable[[FileSettings], FileSettings]) -> Configuration:
        """Replace the file in one step, readable by its owner only. A link stays one.

        A missing file is empty, so that later defaults apply to all that was not changed.
        """
        with _WRITING:
            before = self._content()
            changed = change(self._parse(_NEW_FILE if before is None else before))
            content = changed.text.encode()
            self._check_size(content)
            target = self.path.resolve()
            try:
                private_folder(target.parent)
                system.write_private(target, content)
            except OSError as error:
                raise ConfigError(str(self.path), None, f"the file cannot be written: {error.strerror}") from error
            self._parsed = content, changed
        return self._configuration(changed)

    def _configuration(self, found: FileSettings | None) -> Configuration:
        configuration = Configuration() if found is None else Configuration.from_file(found, str(self.path))
        return configuration.overridden(self.environ, self.options)
