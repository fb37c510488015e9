"""Vocabularies for the tests of prompts, and how many random conversations they try."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from support import effort
from support.gguf_factory import gguf_file

from mistral_chat.engine.llama.model import open_vocabulary
from mistral_chat.engine.llama.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def conversations() -> int:
    """How many random conversations each test tries."""
    return effort.cases(20, 3000)


@pytest.fixture(scope="session")
def seed() -> int:
    """What the random conversations are made from."""
    return effort.seed()


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
