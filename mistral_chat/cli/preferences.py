"""The app's door to the settings' file: what the next start would find there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.cli.wiring import Program
    from mistral_chat.config.layers import Configuration


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

    @property
    def _path(self) -> Path:
        from mistral_chat.paths import Paths

        return Paths.from_environment(self._program.environ).config_file
