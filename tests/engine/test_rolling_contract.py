"""The rolling engine keeps the contract of every engine, over cells without a model and every shape of prompt format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from support.engine_contract import EngineContract
from support.engine_without_model import engine_without_model
from support.fake_kv_cache import FakeKVCache
from support.words_format import BYTES, FIRST_WORD, FORMATS

from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.sampling import Sampling


class TalkativeCells(FakeKVCache):
    """Samples a dozen tokens for each reply, words and bytes of characters among them."""

    def start_sampling(self, sampling: Sampling, recent: Sequence[int]) -> None:
        super().start_sampling(sampling, recent)
        self.script.extend([FIRST_WORD + 3, FIRST_WORD, *(BYTES + byte for byte in "é👩‍🚀".encode()), FIRST_WORD + 7])


@pytest.mark.parametrize("shape", FORMATS)
class TestRollingEngine(EngineContract):
    scaffold = 60

    @pytest.fixture
    def engine(self, shape: str) -> Iterator[RollingEngine]:
        engine = engine_without_model(TalkativeCells(2048), FORMATS[shape])
        yield engine
        engine.close()
