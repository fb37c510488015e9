"""What the real engine writes: whole characters, the same for the same seed, up to where it ends, and under its adapters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from support.llama_engines import TEXT, Talk, cache_of, engine_of, logits, model_of

from mistral_chat.engine.llama.context import LlamaContext
from mistral_chat.engine.rolling import RollingEngine
from mistral_chat.errors import EngineLoadFailed, MessageTooLong, UsageError
from mistral_chat.generation import CancelToken, Completion, Delta, PromptTurn
from mistral_chat.sampling import Sampling


def script(engine: RollingEngine, monkeypatch: pytest.MonkeyPatch, tokens: list[int]) -> None:
    """Let the model sample `tokens`, and its own end after them."""
    waiting = iter([*tokens, model_of(engine).vocabulary.eos])
    monkeypatch.setattr(cache_of(engine), "sample", lambda *_: next(waiting))


def deltas(engine: RollingEngine, talk: Talk) -> tuple[list[str], Completion]:
    events = list(engine.reply(talk.history(PromptTurn(key="x", user="Say it.")), Sampling(temperature=0), CancelToken()))
    done = events[-1]
    assert isinstance(done, Completion)
    return [event.text for event in events if isinstance(event, Delta)], done


@pytest.mark.parametrize("variant", ["v3", "tekken"])
def test_characters_arrive_whole(tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    text = "日本語 👩‍🚀🏳️‍🌈 שלום é"
    with engine_of(tiny_model(variant)) as engine:
        vocabulary = model_of(engine).vocabulary
        tokens = vocabulary.tokenize(text)
        assert any(not _decodes(vocabulary.piece(token)) for token in tokens), "no token here is part of a character"
        script(engine, monkeypatch, tokens)
        pieces, done = deltas(engine, Talk(engine))
        assert "".join(pieces) == done.text == text
        assert "\ufffd" not in done.text
        assert done.finish_reason == "stop"
        assert done.usage.completion_tokens == len(tokens)
        assert engine.contents.turns[-1].reply == tuple(tokens), "the tokens are kept as sampled"


def _decodes(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_an_incomplete_character_is_left_out(tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with engine_of(tiny_model("v3")) as engine:
        tokens = model_of(engine).vocabulary.tokenize("👩‍🚀")[:2]
        script(engine, monkeypatch, tokens)
        pieces, done = deltas(engine, Talk(engine))
        assert "".join(pieces) == done.text == "", "a damaged character would stay in the conversation"


@pytest.mark.parametrize("control", ["[INST]", "</s>", "<unk>"])
def test_a_control_token_ends_a_reply_and_is_never_shown(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, control: str
) -> None:
    with engine_of(tiny_model("v3")) as engine:
        vocabulary = model_of(engine).vocabulary
        words = vocabulary.tokenize("Good day")
        script(engine, monkeypatch, [*words, vocabulary.controls[control], *words])
        _, done = deltas(engine, Talk(engine))
        assert done.text == "Good day"
        assert done.finish_reason == "stop"


def test_the_same_seed_gives_the_same_reply(tiny_model: Callable[[str], Path]) -> None:
    with engine_of(tiny_model("v7")) as engine:

        def ask(seed: int | None) -> str:
            engine._ledger.reset()
            return (
                Talk(engine, sampling=Sampling(temperature=1.5, top_k=0, top_p=1, min_p=0, seed=seed, max_tokens=12))
                .say("Go.")
                .text
            )

        assert ask(11) == ask(11)
        assert len({ask(seed) for seed in (11, 12, 13)}) == 3
        assert ask(None) != ask(None), "without a seed, replies differ"


def test_temperature_0_takes_the_likeliest_token(tiny_model: Callable[[str], Path]) -> None:
    with engine_of(tiny_model("v7")) as engine:
        talk = Talk(engine, sampling=Sampling(temperature=0, max_tokens=1))
        cache = cache_of(engine)
        talk.say("Go.")
        prompt = [*engine.contents.head, *engine.contents.turns[0].prompt]
        drawn = engine.contents.turns[0].reply
        cache.clear()
        cache.decode(prompt)
        scores = logits(cache)
        assert drawn == (max(range(len(scores)), key=scores.__getitem__),)


def test_a_repeat_penalty_makes_recent_tokens_less_likely(tiny_model: Callable[[str], Path]) -> None:
    with engine_of(tiny_model("v7")) as engine:
        cache = cache_of(engine)
        cache.decode([400, 500, 600])

        def draw(sampling: Sampling, recent: list[int]) -> int:
            cache.start_sampling(sampling, recent)
            return cache.sample()

        likeliest = draw(Sampling(temperature=0), [])
        penalised = Sampling(temperature=0, repeat_penalty=2.0)
        assert draw(penalised, []) == likeliest
        assert draw(penalised, [likeliest]) != likeliest
        assert draw(penalised, [likeliest] + [1] * 64) == likeliest, "only the last 64 tokens count"
        warm = Sampling(temperature=1.0, top_k=2, repeat_penalty=2.0, seed=1)
        assert draw(warm, [likeliest]) >= 0


def test_the_speed_ignores_the_token_that_ends_the_reply(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine_of(tiny_model("v7")) as engine:
        now = iter(float(second) for second in range(1000))
        tokens = model_of(engine).vocabulary.tokenize("one two three four")
        script(engine, monkeypatch, tokens)
        times: list[float] = []

        def clock() -> float:
            times.append(next(now))
            return times[-1]

        monkeypatch.setattr(engine, "_clock", clock)
        _, done = deltas(engine, Talk(engine))
        assert done.usage.tokens_per_second == 1.0, "one token a second, however the reply ends"


def test_max_tokens_counts_sampled_tokens(tiny_model: Callable[[str], Path]) -> None:
    with engine_of(tiny_model("v7")) as engine:
        for wanted in (1, 2, 7):
            done = Talk(engine, sampling=Sampling(temperature=0, max_tokens=wanted)).say("Go.", key=f"m{wanted}")
            assert (done.usage.completion_tokens, done.finish_reason) == (wanted, "length")


def test_a_reply_that_fills_the_context_drops_older_turns(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine_of(tiny_model("v7"), size=256) as engine:
        talk = Talk(engine)
        talk.say(TEXT[:300])
        words = model_of(engine).vocabulary.tokenize(TEXT) * 4
        script(engine, monkeypatch, words[:220])
        done = talk.say("Tell me everything.", sampling=Sampling(temperature=0))
        assert done.usage.completion_tokens == 220
        assert done.finish_reason == "stop"
        assert [key for shift in talk.shifts for key in shift.turns] == ["t0"]
        monkeypatch.undo()
        script(engine, monkeypatch, words[:400])
        done = talk.say("And more.", sampling=Sampling(temperature=0))
        assert done.finish_reason == "length", "alone in the window, a reply ends where the window does"
        monkeypatch.undo()
        assert talk.say("Hello?").text


def test_a_message_longer_than_the_context_is_refused_with_counts(tiny_model: Callable[[str], Path]) -> None:
    with engine_of(tiny_model("v3"), size=256) as engine, pytest.raises(MessageTooLong) as caught:
        Talk(engine).say(TEXT * 4)
    assert caught.value.window == 256
    assert caught.value.tokens > 256 > caught.value.available > 150


def test_the_cache_refuses_what_does_not_fit(tiny_model: Callable[[str], Path]) -> None:
    from mistral_chat.errors import EngineFailed

    with engine_of(tiny_model("v7"), size=256) as engine:
        cache: LlamaContext = cache_of(engine)
        cache.decode([400] * 100)
        cache.decode([400] * 100)
        with pytest.raises(EngineFailed, match="Send the message again"):
            cache.decode([400] * 100)
        with pytest.raises(EngineFailed, match="outside a reply"):
            cache.sample()


def write_adapter(path: Path, *, width: int = 256, arch: str = "llama", rank: int = 4) -> Path:
    """A LoRA adapter of random weights for both layers of the tiny model."""
    rng = np.random.default_rng(5)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    for layer in range(2):
        name = f"blk.{layer}.attn_q.weight"
        writer.add_tensor(f"{name}.lora_a", rng.standard_normal((rank, width)).astype(np.float32))
        writer.add_tensor(f"{name}.lora_b", rng.standard_normal((width, rank)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def scores_with(path: Path, **settings: Any) -> list[float]:
    with engine_of(path, **settings) as engine:
        cache_of(engine).decode([400, 500, 600, 700])
        return logits(cache_of(engine))


def test_an_adapter_changes_the_model_by_its_scale(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    path = tiny_model("v7")
    adapter = write_adapter(tmp_path / "style.gguf")
    plain = scores_with(path)
    assert scores_with(path, lora=(f"{adapter}:0",)) == plain
    whole = scores_with(path, lora=(str(adapter),))
    assert whole != plain
    assert whole == scores_with(path, lora=(f"{adapter}:1.0",))
    assert scores_with(path, lora=(f"{adapter}:0.5",)) not in (plain, whole)
    assert scores_with(path, lora=(f"{adapter}:0.5", f"{adapter}:0.5")) == pytest.approx(whole, abs=0.05)


def test_an_adapter_in_a_file_with_a_colon_in_its_name(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "style:1.gguf")
    assert scores_with(tiny_model("v7"), lora=(str(adapter),)) != scores_with(tiny_model("v7"))


@pytest.mark.parametrize("kind", ["missing", "no adapter", "other shape", "other architecture", "noise"])
def test_an_adapter_for_another_model_is_refused_by_name(tiny_model: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    path = tiny_model("v7")
    file = tmp_path / "style.gguf"
    if kind == "no adapter":
        file = path
    elif kind == "other shape":
        write_adapter(file, width=128)
    elif kind == "other architecture":
        write_adapter(file, arch="gemma2")
    elif kind == "noise":
        file.write_bytes(b"GGUF" + bytes(range(200)))
    with pytest.raises(EngineLoadFailed) as caught, engine_of(path, lora=(str(file),)):
        pass
    assert caught.value.path == file
    assert len(caught.value.reason) > 10


@pytest.mark.parametrize("scale", ["x", "nan", "inf", ""])
def test_a_scale_that_is_not_a_number_is_refused(tiny_model: Callable[[str], Path], tmp_path: Path, scale: str) -> None:
    adapter = write_adapter(tmp_path / "style.gguf")
    with pytest.raises(UsageError, match="FILE:SCALE"), engine_of(tiny_model("v7"), lora=(f"{adapter}:{scale}",)):
        pass
