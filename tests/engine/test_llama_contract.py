"""The real engine, on tiny weights with real vocabularies, owes what every engine owes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.engine_contract import EngineContract
from support.llama_engines import make_engine

from mistral_chat.engine.rolling import RollingEngine

CASES = (
    ("v7", "f16", 256),
    ("v3", "q8_0", 256),
    ("v3", "q8_0", 1024),
    ("chatml", "f16", 1024),
    ("v1", "q8_0", 4096),
)


@pytest.mark.parametrize(("variant", "kv_type", "size"), CASES)
class TestLlamaEngine(EngineContract):
    @pytest.fixture
    def engine(self, tiny_weights: Callable[[str], Path], variant: str, kv_type: str, size: int) -> Iterator[RollingEngine]:
        engine = make_engine(tiny_weights(variant), size=size, kv_type=kv_type)
        yield engine
        engine.close()
