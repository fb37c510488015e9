"""A conversation reopens from the disk as it was, or is read again; nothing in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.llama_engines import TEXT, Talk, cache_of, divergence, engine_of, next_scores, read_all

from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.generation import CancelToken, Prefill, PromptTurn

PROBE = [400, 500, 600]


def folder_in(path: Path) -> SnapshotFolder:
    return SnapshotFolder(path / "kv", budget=2**30)


def first_talk(path: Path, kept: Path, count: int = 3, **settings: Any) -> tuple[Talk, list[float]]:
    """A finished conversation, and the model's logits for what came next."""
    with engine_of(path, snapshots=folder_in(kept), **settings) as engine:
        talk = Talk(engine, system="You are terse.", conversation="c")
        for number in range(count):
            talk.say(f"Question {number}? {TEXT[:200]}")
        return talk, next_scores(cache_of(engine), PROBE)


def read_by(events: Any) -> int:
    """How many tokens a reply or a prefill decoded before its first token."""
    return max((event.total for event in events if isinstance(event, Prefill)), default=0)


@pytest.mark.parametrize("variant", ["v7", "v3", "v1"])
@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_a_conversation_reopens_exactly_and_decodes_only_new_text(
    tiny_model: Callable[[str], Path], tmp_path: Path, variant: str, kv_type: str
) -> None:
    path = tiny_model(variant)
    talk, expected = first_talk(path, tmp_path, kv_type=kv_type)
    with engine_of(path, snapshots=folder_in(tmp_path), kv_type=kv_type) as engine:
        again = Talk(engine, system=talk.system, conversation="c")
        again.turns, again.said = talk.turns, 3
        assert read_by(engine.prefill(again.history(), CancelToken())) == 0, "an opened conversation was read again"
        found = next_scores(cache_of(engine), PROBE)
        if variant == "v7":
            assert found == expected, "nothing was ever cut: the scores are the same to the last bit"
        assert divergence(expected, found) < 0.01
        again.say("And now?")
        assert again.read <= engine.count("And now?") + engine.count(talk.system) + 20


def test_sampled_tokens_are_restored_with_the_snapshot(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    path = tiny_model("v3")
    talk, _ = first_talk(path, tmp_path, count=5)
    with engine_of(path, snapshots=folder_in(tmp_path)) as engine:
        again = Talk(engine, system=talk.system, conversation="c")
        again.turns = talk.turns
        read_all(engine.prefill(again.history(), CancelToken()))
        drawn = {key: tokens for key, (_, tokens) in engine._prompts.sampled.items()}
        assert [turn.reply for turn in engine.contents.turns] == [drawn[turn.key] for turn in engine.contents.turns]


def test_a_rolled_conversation_reopens_unchanged(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    path = tiny_model("v7")
    talk, expected = first_talk(path, tmp_path, count=16)
    assert talk.shifts
    with engine_of(path, snapshots=folder_in(tmp_path)) as engine:
        again = Talk(engine, system=talk.system, conversation="c")
        again.turns = talk.turns
        assert read_by(engine.prefill(again.history(), CancelToken())) == 0
        assert divergence(expected, next_scores(cache_of(engine), PROBE)) < 0.01


@pytest.mark.parametrize(
    "change", [{"size": 1024}, {"kv_type": "q8_0"}, {"flash_attention": "on"}, {"prompt_format": "mistral-v3"}]
)
def test_a_snapshot_made_with_other_settings_is_discarded(
    tiny_model: Callable[[str], Path], tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tiny_model("v7")
    talk, _ = first_talk(path, tmp_path)
    with engine_of(path, snapshots=folder_in(tmp_path), **change) as engine:
        again = Talk(engine, system=talk.system, conversation="c")
        again.turns = talk.turns
        assert read_by(engine.prefill(again.history(), CancelToken())) > 100
        again.said = 3
        assert again.say("And now?").text


def test_a_snapshot_of_another_model_is_discarded(tmp_path: Path) -> None:
    from support.gguf_factory import write_gguf

    one = write_gguf(tmp_path / "model.gguf", "v7", template="mistral-v7", seed=1)
    talk, _ = first_talk(one, tmp_path)
    other = write_gguf(tmp_path / "model.gguf", "v7", template="mistral-v7", seed=2)
    with engine_of(other, snapshots=folder_in(tmp_path)) as engine:
        again = Talk(engine, system=talk.system, conversation="c")
        again.turns = talk.turns
        assert read_by(engine.prefill(again.history(), CancelToken())) > 100


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "grown"])
def test_a_damaged_snapshot_is_replaced_by_a_prefill(tiny_model: Callable[[str], Path], tmp_path: Path, damage: str) -> None:
    path = tiny_model("v7")
    talk, expected = first_talk(path, tmp_path)
    (file,) = (tmp_path / "kv").glob("*.kv")
    data = bytearray(file.read_bytes())
    if damage == "cut":
        del data[-1000:]
    elif damage == "flip":
        data[len(data) // 2] ^= 1
    elif damage == "empty":
        data.clear()
    else:
        data += b"more"
    file.write_bytes(data)
    with engine_of(path, snapshots=folder_in(tmp_path)) as engine:
        again = Talk(engine, system=talk.system, conversation="c")
        again.turns = talk.turns
        assert read_by(engine.prefill(again.history(), CancelToken())) > 100
        assert divergence(expected, next_scores(cache_of(engine), PROBE)) < 0.01


def test_a_temporary_chat_leaves_nothing_on_the_disk(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    with engine_of(tiny_model("v7"), snapshots=folder_in(tmp_path)) as engine:
        talk = Talk(engine)
        talk.say("Nobody may know.")
        engine.run_idle_tasks(CancelToken())
        named = Talk(engine, conversation="named")
        read_all(engine.prefill(named.history(), CancelToken()))
        engine.run_idle_tasks(CancelToken())
    assert not list(tmp_path.rglob("*.kv"))


def test_switching_conversations_decodes_nothing_again(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    with engine_of(tiny_model("v7"), snapshots=folder_in(tmp_path)) as engine:
        talks = [Talk(engine, conversation=name, system=f"You are {name}.") for name in ("one", "two", "three")]
        for number in range(3):
            for talk in talks:
                talk.say(f"Question {number}? {TEXT[:150]}", key=f"{talk.conversation}{number}")
                if number:
                    assert talk.read <= 80, "the other conversation took this one's place, and it was read again"


def test_failed_idle_tasks_lose_only_the_snapshot(
    tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mistral_chat.errors import EngineFailed

    def fail(*_: object) -> None:
        raise EngineFailed("no room")

    with engine_of(tiny_model("v7"), snapshots=folder_in(tmp_path)) as engine:
        talk = Talk(engine, conversation="c")
        for number in range(3):
            talk.say(f"Question {number}?")
        del talk.turns[0]
        read_all(engine.prefill(talk.history(), CancelToken()))
        assert cache_of(engine).shift_pending
        with monkeypatch.context() as patch:
            patch.setattr(cache_of(engine), "decode", fail)
            engine.run_idle_tasks(CancelToken())
        assert talk.say("Are you still there?").text
        assert cache_of(engine).n_tokens == len(engine.contents.tokens)


def test_turns_do_not_wait_for_snapshots(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    with engine_of(tiny_model("v7"), snapshots=folder_in(tmp_path)) as engine:
        talk = Talk(engine, conversation="c")
        for number in range(4):
            talk.say(f"Question {number}?")
            engine.run_idle_tasks(CancelToken())
        turn = PromptTurn(key="last", user="Well?")
        assert read_by(engine.reply(talk.history(turn), talk.sampling, CancelToken())) < 40
    assert len(list(tmp_path.rglob("*.kv"))) == 1
