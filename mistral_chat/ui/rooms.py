"""What the screens are given of the rest of the program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from mistral_chat.config import Settings
    from mistral_chat.config.settings_file import SettingsFile
    from mistral_chat.engine.thread import EngineThread
    from mistral_chat.models.service import ModelService
    from mistral_chat.store.store import ConversationStore
    from mistral_chat.ui.keymap import KeyChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """The doors to the store and the engine. Each is opened once, after the first screen has been painted."""

    open_store: Callable[[], ConversationStore]
    """Opens the conversations; a store in memory leaves nothing behind. Raises `StoreError`."""
    runner_for: Callable[[str], EngineThread]
    """Makes the engine's thread, not started, for a model as ``-m`` names it. Raises `ModelError`."""
    settings: Settings
    now: Callable[[], datetime]
    """The clock, with a zone."""
    saved: bool = True
    """Whether what is said is kept."""
    system: str | None = None
    """The system prompt asked for in place of the settings'."""
    persona: str = ""
    forget: Callable[[Iterable[str]], object] = tuple
    """Drops what else was kept of conversations that were deleted for good, by their ids: KV states on the disk."""
    models: Callable[[], ModelService] | None = None
    """Opens the model service; None where no model can be chosen."""
    settings_file: SettingsFile | None = None
    """The settings' file; None where it is not to be changed."""
    keys: KeyChoice | None = None
    """The app's keys; None where they are not to be changed."""
