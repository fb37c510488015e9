"""Loading models: what is refused and why, and what must not reach the terminal or the log."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.gguf_factory import write_gguf
from support.llama_engines import Talk, engine_of, make_engine

from mistral_chat.engine import hardware
from mistral_chat.errors import EngineLoadFailed, NotEnoughMemory, PromptFormatError, UsageError
from mistral_chat.generation import CancelToken, PromptTurn
from mistral_chat.sampling import Sampling


def test_a_loaded_model_describes_itself(tiny_model: Callable[[str], Path]) -> None:
    with engine_of(tiny_model("v3"), size=512) as engine:
        facts = engine.facts
        assert (facts.prompt_format, facts.window, facts.context_trained) == ("mistral-v3", 512, 32768)
        assert facts.device
        assert facts.parameters > 1_000_000
        assert facts.bytes > 1_000_000


def test_a_context_beyond_the_training_is_refused_with_numbers(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "short.gguf", "v7", template="mistral-v7", context=1024)
    with pytest.raises(UsageError, match=r"1,024 tokens.*2,048.*--ctx-size"):
        make_engine(path, size=2048)
    make_engine(path, size=1024).close()


@pytest.mark.parametrize(("trained", "window"), [(512, 512), (1000, 768), (100, 256)])
def test_the_default_context_shrinks_to_the_training_context(tmp_path: Path, trained: int, window: int) -> None:
    path = write_gguf(tmp_path / "short.gguf", "v7", template="mistral-v7", context=trained)
    with engine_of(path, size=4096, explicit_size=False) as engine:
        assert (engine.facts.window, engine.facts.context_trained) == (window, trained)
        assert engine.facts.note == f"Context reduced from 4,096 to {window} tokens: the model was trained on {trained:,}."
        assert Talk(engine).say("Go.").usage.completion_tokens


def test_what_does_not_fit_is_refused_before_it_is_loaded(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "measure_memory", lambda: 12_000 * 1024)
    with pytest.raises(NotEnoughMemory) as caught:
        make_engine(tiny_model("v7"))
    assert caught.value.free == 12_000 * 1024 < caught.value.needed
    assert "smaller" in str(caught.value)
    make_engine(tiny_model("v7"), check_memory=False).close()


def test_a_refused_prompt_format_frees_the_context(tiny_model: Callable[[str], Path]) -> None:
    def memory_after_refusal() -> int:
        with pytest.raises(PromptFormatError, match="chatml"):
            make_engine(tiny_model("v3"), size=32_768, prompt_format="chatml")
        return psutil.Process().memory_info().rss

    before = memory_after_refusal()
    assert max(memory_after_refusal() for _ in range(4)) < before + 32 * 1024**2  # one context takes more


@pytest.mark.parametrize("damage", ["cut", "other magic", "empty", "missing", "text", "folder"])
def test_a_file_that_cannot_be_loaded_says_why(tiny_model: Callable[[str], Path], tmp_path: Path, damage: str) -> None:
    data = tiny_model("v7").read_bytes()
    path = tmp_path / "broken.gguf"
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "other magic":
        path.write_bytes(b"ABCD" + data[4:])
    elif damage == "empty":
        path.touch()
    elif damage == "text":
        path.write_text("These are no weights.", encoding="utf-8")
    elif damage == "folder":
        path.mkdir()
    with pytest.raises(EngineLoadFailed) as caught:
        make_engine(path)
    assert caught.value.path == path
    assert len(caught.value.reason) > 15, caught.value.reason
    assert "gave no reason" not in caught.value.reason


def test_loading_reports_progress_and_can_be_cancelled(tiny_model: Callable[[str], Path]) -> None:
    from mistral_chat.config import ContextSettings, EngineSettings
    from mistral_chat.engine.llama.engine import open_engine

    path = tiny_model("v3")
    shares: list[float] = []

    def go_on(share: float) -> bool:
        shares.append(share)
        return True

    settings, context = EngineSettings(threads=1), ContextSettings(size=256)
    open_engine(path, name="x", settings=settings, context=context, on_progress=go_on).close()
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    with pytest.raises(EngineLoadFailed):
        open_engine(path, name="x", settings=settings, context=context, on_progress=lambda _: False)


def test_closing_twice_is_harmless(tiny_model: Callable[[str], Path]) -> None:
    engine = make_engine(tiny_model("v7"))
    engine.close()
    engine.close()


def test_loading_writes_nothing_to_the_terminal(
    tiny_model: Callable[[str], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = [os.fstat(number) for number in (0, 1, 2)]
    during = []

    def look(_share: float) -> bool:
        during.append([os.fstat(number) for number in (0, 1, 2)])
        return True

    from mistral_chat.config import ContextSettings, EngineSettings
    from mistral_chat.engine.llama.engine import open_engine

    settings, context = EngineSettings(threads=1), ContextSettings(size=256)
    engine = open_engine(tiny_model("v7"), name="x", settings=settings, context=context, on_progress=look)
    cancel = CancelToken()
    for _ in engine.reply(Talk(engine).history(PromptTurn(key="a", user="Hello.")), Sampling(max_tokens=8), cancel):
        cancel.set()
    engine.close()
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_model("v7").read_bytes()[:100_000])
    with pytest.raises(EngineLoadFailed):
        make_engine(broken)
    assert during
    identity = [(each.st_dev, each.st_ino) for each in before]
    assert all([(each.st_dev, each.st_ino) for each in moment] == identity for moment in during), "the screen goes black"
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_the_log_holds_no_message_text(
    tiny_model: Callable[[str], Path], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    from mistral_chat.engine.snapshots import SnapshotFolder

    caplog.set_level(logging.DEBUG)
    folder = SnapshotFolder(tmp_path / "kv", budget=2**30)
    with engine_of(tiny_model("v3"), size=256, snapshots=folder) as engine:
        talk = Talk(engine, system="Keep the xylophone secret.", conversation="c")
        for number in range(8):
            talk.say(f"Where is the zeppelin number {number}? Ask the quagmire.")
        cancel = CancelToken()
        for _ in engine.reply(talk.history(PromptTurn(key="a", user="The zeppelin again.")), Sampling(), cancel):
            cancel.set()
    assert caplog.records, "llama.cpp's log is lost"
    for word in ("xylophone", "zeppelin", "quagmire"):
        assert word not in caplog.text
    replies = [turn.reply.strip() for turn in talk.turns if len(turn.reply.strip()) > 20]
    assert not any(reply in caplog.text for reply in replies)
