"""The app's door to the settings' file: what the next start would find there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mistral_chat.cli.wiring import Program
    from mistral_chat.config.configuration import Configuration


class ProgramPreferences:
    """The settings of one run of the program, read and written anew each time."""

    def __init__(self, program: Program) -> None:
        """Use the file, the environment and the options of `program`."""
        self._program = program

    @property
    def file(self) -> str:
        """The settings' file."""
        return str(self._path)

    def read(self) -> Configuration:
        """Every setting with its source; raises as `Program.configuration` does."""
        return replace(self._program).configuration

    def write(self, key: str, value: object) -> Configuration:
        """Set the dotted `key` in the file, and read again; raises as `write_setting` and `Program.configuration` do."""
        from mistral_chat.config.writer import write_setting

        write_setting(self._path, key, value)
        return self.read()

    def write_entry(self, section: str, name: str, typed: Mapping[tuple[str, ...], str] | None) -> Configuration:
        """Change one entry in the file, and read again; raises as `config.entries.write_entry` and `Program.configuration` do."""
        from mistral_chat.config.named_entries import write_entry

        write_entry(self._path, section, name, typed)
        if section == "models.formats":
            for chosen in [each for each in self._program.formats if each.lower() == name.lower()]:
                del self._program.formats[chosen]  # what was chosen last holds
        return self.read()

    def stamp(self) -> object:
        """When the file was changed last, and its size; None while there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    @property
    def _path(self) -> Path:
        from mistral_chat.paths import Paths

        return Paths.from_environment(self._program.environ).config_file
