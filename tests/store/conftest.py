"""A clock that can be read off, and stores on the disk and in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.stores import Clock, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mistral_chat.store.store import ConversationStore


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "data" / "conversations.db"


@pytest.fixture
def store(database: Path, clock: Clock) -> Iterator[ConversationStore]:
    opened = open_store(database, clock)
    yield opened
    opened.close()
