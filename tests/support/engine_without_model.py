"""The rolling engine over a fake KV cache."""

from __future__ import annotations

from collections.abc import Callable

from support.fake_kv_cache import FakeKVCache
from support.words_format import ChatFormat, WordsTokenizer

from mistral_chat.engine.encoding.format import PromptFormat
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.engine.window import ContextWindow
from mistral_chat.generation import LoadedModel


def engine_without_model(
    cache: FakeKVCache,
    make_format: Callable[[WordsTokenizer], PromptFormat] = ChatFormat,
    *,
    reserve: int | None = None,
    low_water: float = 0.75,
    snapshots: SnapshotFolder | None = None,
    identity: str = "weightless",
    clock: Callable[[], float] = lambda: 0.0,
) -> RollingEngine:
    """An engine with the window of `cache`."""
    tokenizer = WordsTokenizer()
    prompt_format = make_format(tokenizer)
    size = cache.size
    window = ContextWindow(size=size, reserve=size // 8 if reserve is None else reserve, low_water=low_water)
    facts = LoadedModel(model="none", prompt_format=prompt_format.name, device="none", window=size, context_trained=size)
    return RollingEngine(
        cache,
        tokenizer,
        prompt_format,
        window,
        facts,
        identity=identity,
        snapshots=snapshots,
        clock=clock,
    )
