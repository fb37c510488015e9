"""Where each setting comes from: the default, the file, the environment, or an option that was typed; the later wins."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from mistral_chat.config.settings import Settings
from mistral_chat.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

VARIABLES = {"MISTRAL_CHAT_MODEL": "model", "MISTRAL_CHAT_MODELS_DIR": "models.folder"}
"""Settings that an environment variable can give. An empty variable gives nothing."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and the source of each that is not a default."""

    settings: Settings = field(default_factory=Settings)
    sources: Mapping[str, str] = field(default_factory=dict)
    """By dotted key: a file with its line, a variable's name, or an option's name."""

    def with_value(self, key: str | Sequence[str], value: object, source: str) -> Configuration:
        """The configuration with the `key`, dotted or as its names, set by `source`.

        Raises:
            ConfigError: the value is out of its range. It names `source`.
        """
        names = key.split(".") if isinstance(key, str) else list(key)
        try:
            settings = _replaced(self.settings, names, value)
        except ValueError as error:
            raise ConfigError(source, None, str(error)) from error
        return Configuration(settings, {**self.sources, ".".join(names): source})

    def rows(self) -> list[tuple[str, object, str]]:
        """Every setting as its dotted key, its value and its source."""
        return [(key, value, self._source(key)) for key, value in leaves(self.settings)]

    def _source(self, key: str) -> str:
        inside = [name for name in self.sources if name == key or name.startswith(f"{key}.")]
        return self.sources[inside[0]] if inside else "default"


def load_configuration(path: Path, environ: Mapping[str, str]) -> Configuration:
    """Read the file at `path`, then the environment's variables.

    Raises:
        ConfigError: a value in either cannot be used.
    """
    configuration = Configuration()
    if path.exists():
        # Without a file, start-up does without the YAML library too.
        from mistral_chat.config.reader import read_file

        found = read_file(path)
        configuration = Configuration(found.settings, {key: f"{path}:{line}" for key, line in found.lines.items()})
    for variable, key in VARIABLES.items():
        if value := environ.get(variable):
            configuration = configuration.with_value(key, value, variable)
    return configuration


def leaves(section: Any, prefix: str = "") -> list[tuple[str, object]]:
    """Every value in a dataclass of settings with its dotted key; mappings and lists are values."""
    found: list[tuple[str, object]] = []
    for each in fields(section):
        value = getattr(section, each.name)
        if is_dataclass(value):
            found += leaves(value, f"{prefix}{each.name}.")
        else:
            found.append((prefix + each.name, value))
    return found


def _replaced(section: Any, names: list[str], value: object) -> Any:
    name, *rest = names
    if isinstance(section, dict):
        return {**section, name: value}
    return replace(section, **{name: _replaced(getattr(section, name), rest, value) if rest else value})
