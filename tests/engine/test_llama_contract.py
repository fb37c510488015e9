"""The real engine keeps the contract of every engine: on tiny models with real vocabularies, and on the demo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from support.effort import exhaustive
from support.engine_contract import EngineContract, examine, text_of
from support.gguf_factory import write_recurrent_gguf
from support.llama_engines import cache_of, engine_of, logits, make_engine, read_all

from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.generation import CancelToken, PromptTurn

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


@pytest.fixture
def recurrent(gguf_folder: Path, architecture: Literal["mamba", "lfm2"]) -> Path:
    path = gguf_folder / f"{architecture}.gguf"
    return path if path.exists() else write_recurrent_gguf(path, architecture)


@pytest.mark.parametrize("architecture", ["mamba", "lfm2"])
class TestRecurrentEngine(EngineContract):
    """Models that keep a state in place of keys and values, which cannot go back."""

    scaffold = 1024  # all is decoded again after a change

    @pytest.fixture
    def engine(self, recurrent: Path) -> Iterator[RollingEngine]:
        engine = make_engine(recurrent, size=1024)
        yield engine
        engine.close()

    def test_what_a_change_leaves_is_as_if_decoded_from_the_start(self, engine: RollingEngine, recurrent: Path) -> None:
        turns = self.talk(engine, 2)
        cancel = CancelToken()
        for _ in engine.reply(self.history(*turns, PromptTurn(key="long", user=text_of(engine, 300))), self.sampling, cancel):
            cancel.set()
        self.say(engine, turns[:1], PromptTurn(key="again", user="Tell me about the sky."))
        used, tokens = cache_of(engine), engine.contents.tokens
        with engine_of(recurrent, size=1024) as other:
            fresh = cache_of(other)
            for start in range(0, len(tokens), fresh.batch):
                fresh.decode(tokens[start : start + fresh.batch])
            for cache in (used, fresh):
                cache.decode([1000])
            assert logits(used) == pytest.approx(logits(fresh), abs=1e-4)

    def test_a_draft_that_changes_costs_nothing(self, engine: RollingEngine) -> None:
        turns = self.talk(engine, 2)
        read_all(engine.prefill(self.history(*turns), CancelToken()))
        before = engine.contents
        for draft in ("What of the sea?", "And the sky, which is above it?"):
            assert list(engine.prefill(replace(self.history(*turns), draft=draft), CancelToken())) == []
        assert engine.contents == before

    def test_the_model_goes_on_after_a_title_as_if_there_had_been_none(self, engine: RollingEngine) -> None:
        turns = self.talk(engine, 2)
        cache = cache_of(engine)
        state, count = cache.save_state(), cache.n_tokens
        assert state is not None
        assert engine.generate_detached(
            self.history(*turns, PromptTurn(key="title", user="A title?")), self.sampling, CancelToken()
        )
        cache.decode([1000])
        after = logits(cache)
        assert cache.load_state(state, count)
        cache.decode([1000])
        assert after == logits(cache)

    def test_a_snapshot_is_reopened(self, recurrent: Path, tmp_path: Path) -> None:
        turn = PromptTurn(key="one", user="Tell me about the sea.")
        with engine_of(recurrent, snapshots=SnapshotFolder(tmp_path, budget=2**30)) as engine:
            outcome = examine(engine.reply(self.history(turn, conversation="a"), self.sampling, CancelToken()))
        with engine_of(recurrent, snapshots=SnapshotFolder(tmp_path, budget=2**30)) as engine:
            turns = (replace(turn, reply=outcome.completion.text), PromptTurn(key="two", user="Tell me more."))
            again = examine(engine.reply(self.history(*turns, conversation="a"), self.sampling, CancelToken()))
            assert again.completion.usage.cached_tokens >= outcome.completion.usage.prompt_tokens
