"""The settings: types and defaults, the settings file, and what overrides it."""

from mistral_chat.config.settings import (
    CatalogSource,
    ContextSettings,
    EngineSettings,
    ModelSettings,
    Persona,
    Settings,
    SnapshotSettings,
)

__all__ = [
    "CatalogSource",
    "ContextSettings",
    "EngineSettings",
    "ModelSettings",
    "Persona",
    "Settings",
    "SnapshotSettings",
]
