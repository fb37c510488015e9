"""The source of each setting: default, file, environment or option; later ones win."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from mistral_chat.config.settings import Settings
from mistral_chat.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_chat.config.reader import FileSettings

VARIABLES = {"MISTRAL_CHAT_MODEL": "model", "MISTRAL_CHAT_MODELS_DIR": "models.folder"}
"""Settings that environment variables override. An empty variable overrides nothing."""


class CommandLineOverride(NamedTuple):
    """A setting given as an option of the command line."""

    flag: str
    value: Any


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and the source of each that is not a default."""

    settings: Settings = field(default_factory=Settings)
    sources: Mapping[str, str] = field(default_factory=dict)
    """By dotted key: a file with its line, a variable's name, or an option's name."""
    warnings: tuple[str, ...] = ()
    """Unknown keys of the file that were skipped, each as a sentence with its location."""

    @classmethod
    def from_file(cls, found: FileSettings, path: str) -> Configuration:
        """The settings `found` in the file at `path`."""
        lines = {key: f"{path}:{line}" for key, line in found.lines.items()}
        return cls(found.settings, lines, tuple(str(error) for error in found.unknown))

    def with_value(self, key: str, value: object, source: str) -> Configuration:
        """The configuration with the dotted `key` set by `source`.

        Raises:
            ConfigError: the value is out of its range. It names `source`.
        """
        try:
            settings = _replaced(self.settings, key.split("."), value)
        except ValueError as error:
            raise ConfigError(source, None, str(error)) from error
        return replace(self, settings=settings, sources={**self.sources, key: source})

    def overridden(self, environ: Mapping[str, str], options: Mapping[str, CommandLineOverride]) -> Configuration:
        """The configuration after environment variables, and then command line `options`, have overridden it.

        Raises:
            ConfigError: a variable cannot be used.
            UsageError: an option cannot be used.
        """
        configuration = self
        for variable, key in VARIABLES.items():
            if value := environ.get(variable):
                configuration = configuration.with_value(key, value, variable)
        for key, (flag, value) in options.items():
            try:
                configuration = configuration.with_value(key, value, flag)
            except ConfigError as error:
                raise UsageError(str(error)) from error
        return configuration

    def rows(self) -> list[tuple[str, object, str]]:
        """Every setting as its dotted key, its value and its source."""
        return [(key, value, self._source(key)) for key, value in flatten(self.settings)]

    def changed(self) -> list[str]:
        """The dotted keys whose values differ from the defaults."""
        defaults = dict(flatten(Settings()))
        return [key for key, value in flatten(self.settings) if value != defaults[key]]

    def _source(self, key: str) -> str:
        inside = (source for name, source in self.sources.items() if name == key or name.startswith(f"{key}."))
        return next(inside, "default")


def flatten(section: Any, prefix: str = "") -> list[tuple[str, object]]:
    """Every value in a dataclass of settings with its dotted key; mappings and lists are values."""
    found: list[tuple[str, object]] = []
    for each in fields(section):
        value = getattr(section, each.name)
        if is_dataclass(value):
            found += flatten(value, f"{prefix}{each.name}.")
        else:
            found.append((prefix + each.name, value))
    return found


def _replaced(section: Any, names: list[str], value: object) -> Any:
    name, *rest = names
    return replace(section, **{name: _replaced(getattr(section, name), rest, value) if rest else value})
