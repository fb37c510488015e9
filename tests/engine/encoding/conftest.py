"""Vocabularies for the tests of prompts, and how many random conversations they try.

In full, with at least 3,000 conversations for each format:

    CONVERSATIONS=3000 SEED=1 python -m pytest tests/engine/encoding
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from support.gguf_factory import gguf_file

from mistral_chat.engine.llama.vocabulary import Vocabulary, open_vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONVERSATIONS = int(os.environ.get("CONVERSATIONS", "60"))
SEED = int(os.environ.get("SEED", "20260401"))


@pytest.fixture(scope="session")
def conversations() -> int:
    """How many random conversations each test tries."""
    return CONVERSATIONS


@pytest.fixture(scope="session")
def seed() -> int:
    """What the random conversations are made from."""
    return SEED


@pytest.fixture(scope="session")
def vocabulary(gguf_folder: Path) -> Iterator[Callable[[str | Path], Vocabulary]]:
    """Opens the vocabulary of a variant of the factory, or of a file, once in the session."""
    opened: dict[str | Path, Vocabulary] = {}
    with ExitStack() as stack:

        def open_one(which: str | Path) -> Vocabulary:
            if which not in opened:
                path = gguf_file(gguf_folder, which) if isinstance(which, str) else which
                opened[which] = stack.enter_context(open_vocabulary(path))
            return opened[which]

        yield open_one


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was tried, so that it can be tried again."""
    terminalreporter.write_line(f"prompts: {CONVERSATIONS:,} random conversations for each format, SEED={SEED}")
