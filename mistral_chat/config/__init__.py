"""The settings: what can be set, and how a file, the environment and typed options set it."""

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
