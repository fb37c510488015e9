"""The real engine keeps the contract of every engine: on tiny models with real vocabularies, and on the demo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.effort import exhaustive
from support.engine_contract import EngineContract
from support.llama_engines import make_engine

from mistral_chat.engine.rolling import RollingEngine

SAMPLE = (
    ("v7", "f16", 256),
    ("v3", "q8_0", 256),
    ("chatml", "f16", 1024),
    ("v1", "f16", 4096),
    ("demo", "q8_0", 256),
)
ALL = (*SAMPLE, ("v3", "q8_0", 1024), ("v1", "q8_0", 4096), ("demo", "f16", 4096), ("demo", "q8_0", 4096))
CASES = ALL if exhaustive() else SAMPLE


@pytest.mark.parametrize(("variant", "kv_type", "size"), CASES)
class TestLlamaEngine(EngineContract):
    @pytest.fixture
    def engine(
        self, tiny_model: Callable[[str], Path], demo_model: Path, variant: str, kv_type: str, size: int
    ) -> Iterator[RollingEngine]:
        path = demo_model if variant == "demo" else tiny_model(variant)
        engine = make_engine(path, size=size, kv_type=kv_type)
        yield engine
        engine.close()
