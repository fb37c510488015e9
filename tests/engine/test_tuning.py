"""A model is measured once on a machine, while it is idle, and from then on runs as measured."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support.gguf_factory import write_recurrent_gguf
from support.llama_engines import make_engine

from mistral_chat.config import EngineSettings
from mistral_chat.engine import tuning as room
from mistral_chat.engine.hardware import LoadPlan, Tuning
from mistral_chat.engine.llama import trials
from mistral_chat.engine.llama.engine import plan_load
from mistral_chat.engine.llama.model import Model
from mistral_chat.engine.tuning import BUDGET, TuningFile, TuningJob, choose, measure
from mistral_chat.generation import CancelToken

DEFAULT = Tuning(threads=4, batch=128, flash_attention=False, repack=False, prompt_speed=60.0, decode_speed=7.0)
QUICKER = replace(DEFAULT, batch=256, prompt_speed=80.0)
REPACKED = replace(QUICKER, repack=True, prompt_speed=85.0)


def test_the_fastest_plan_is_chosen() -> None:
    assert choose([DEFAULT, replace(DEFAULT, threads=3, prompt_speed=90.0, decode_speed=3.0), QUICKER]) == QUICKER
    assert choose([]) is None


def test_noise_does_not_change_the_defaults() -> None:
    assert choose([DEFAULT, replace(QUICKER, prompt_speed=61.0)]) == DEFAULT


def test_weights_are_repacked_only_for_a_real_gain() -> None:
    assert choose([DEFAULT, QUICKER, REPACKED]) == QUICKER
    much = replace(REPACKED, decode_speed=14.0)
    assert choose([DEFAULT, QUICKER, much]) == much
    assert choose([REPACKED]) == REPACKED, "who sets repacking has no plan without it"


def test_measurements_are_saved_for_the_owner_alone(tmp_path: Path) -> None:
    file = TuningFile(tmp_path / "cache" / "tuning.json")
    assert (file.get("one"), file.has("one")) == (None, False)
    file.put("one", DEFAULT)
    file.put("two", None)
    again = TuningFile(tmp_path / "cache" / "tuning.json")
    assert again.get("one") == DEFAULT
    assert (again.get("two"), again.has("two")) == (None, True)
    assert stat.S_IMODE((tmp_path / "cache" / "tuning.json").stat().st_mode) == 0o600
    assert [each.name for each in (tmp_path / "cache").iterdir()] == ["tuning.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"one": {"threads": 1}}', '{"one": "quick"}', '{"one": {"batch_costs": [1]}}'])
def test_a_damaged_file_counts_as_missing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(text)
    assert TuningFile(path).get("one") is None
    TuningFile(path).put("one", DEFAULT)
    assert TuningFile(path).get("one") == DEFAULT


def test_old_measurements_are_dropped(tmp_path: Path) -> None:
    file = TuningFile(tmp_path / "tuning.json")
    for number in range(70):
        file.put(str(number), DEFAULT)
    assert len(json.loads((tmp_path / "tuning.json").read_text())) == 64
    assert file.has("69")


def test_the_demo_is_measured_and_the_next_load_uses_it(
    demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "is_quiet", lambda _cancel: True)
    file = TuningFile(tmp_path / "tuning.json")
    with_file = make_engine(demo_model, tuning=file)
    try:
        assert with_file.facts.batch == 128
        with_file.run_idle_tasks(CancelToken())
    finally:
        with_file.close()
    (found,) = json.loads((tmp_path / "tuning.json").read_text()).values()
    assert found["prompt_speed"] > 0
    assert found["threads"] == 1, "the user's setting wins"
    again = make_engine(demo_model, tuning=file)
    try:
        assert (again.facts.batch, again.facts.repacked) == (found["batch"], found["repack"])
        monkeypatch.setattr("mistral_chat.engine.tuning.measure", lambda *_: pytest.fail("a model is measured twice"))
        again.run_idle_tasks(CancelToken())
    finally:
        again.close()


def test_guessing_is_measured_for_repacked_weights_where_they_win(
    tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a batch of a few tokens costs differs between the two layouts."""

    def speed(_model: Model, plan: LoadPlan, _depth: int, _tokens: int) -> Tuning:
        return replace(
            DEFAULT, threads=plan.threads, batch=plan.batch, repack=plan.repack, decode_speed=30.0 if plan.repack else 7.0
        )

    found: list[Tuning] = []
    monkeypatch.setattr(trials, "speed_of", speed)
    monkeypatch.setattr(trials.Trials, "_fits_twice", lambda _self: True)
    monkeypatch.setattr(trials, "batch_costs", lambda _model, plan: ((4, 1.5 if plan.repack else 4.0),))
    trials.Trials(tiny_model("v7"), EngineSettings(), 60.0, found.append).run()
    best = choose(found)
    assert best is not None
    assert (best.repack, best.batch_costs) == (True, ((4, 1.5),))


@pytest.mark.parametrize(("seconds", "runs"), [([0.3, 0.1, 0.2], 3), ([0.9], 1)])
def test_short_runs_are_repeated_and_the_fastest_counts(monkeypatch: pytest.MonkeyPatch, seconds: list[float], runs: int) -> None:
    clock = [0.0]
    done: list[float] = []

    def run() -> None:
        clock[0] += seconds[len(done)]
        done.append(clock[0])

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    assert trials._fastest(run) == pytest.approx(min(seconds))
    assert len(done) == runs


def test_work_interrupts_a_measurement_that_is_repeated_later(
    demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cancel = TuningFile(tmp_path / "tuning.json"), CancelToken()
    job = TuningJob(path=demo_model, settings=EngineSettings(), key="one", file=file)
    monkeypatch.setattr(room, "is_quiet", lambda _cancel: True)
    threading.Timer(0.3, cancel.set).start()
    began = time.perf_counter()
    job.run_once(cancel)
    assert time.perf_counter() - began < BUDGET / 2, "who asks waits for a measurement"
    assert not file.has("one")


def test_nothing_is_measured_on_a_busy_machine(demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement made then would be wrong and permanent: a build takes half of the speed."""
    monkeypatch.setattr("psutil.cpu_percent", lambda: 60.0)
    file = TuningFile(tmp_path / "tuning.json")
    TuningJob(path=demo_model, settings=EngineSettings(), key="one", file=file).run_once(CancelToken())
    assert not file.has("one")


def test_a_model_that_cannot_be_measured_is_not_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "text.gguf"
    path.write_text("This is no GGUF file.")
    file = TuningFile(tmp_path / "tuning.json")
    job = TuningJob(path=path, settings=EngineSettings(), key="one", file=file)
    assert job.run(CancelToken()) is None
    assert file.has("one")


def test_measuring_stays_within_its_time_limit(demo_model: Path) -> None:
    began = time.perf_counter()
    list(measure(demo_model, EngineSettings(), CancelToken(), budget=1.0))
    assert time.perf_counter() - began < BUDGET / 2


def test_a_result_that_cannot_be_saved_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "full")
    (tmp_path / ".tuning.json.full").mkdir()
    file = TuningFile(tmp_path / "tuning.json")
    with pytest.raises(OSError, match=r"tuning\.json"):
        file.put("key", None)
    assert file.get("key") is None


def test_a_model_whose_result_cannot_be_saved_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the processor is busy for half a minute in each pause of the chat."""
    measured: list[Path] = []

    def measure(path: Path, *_: object) -> list[Tuning]:
        measured.append(path)
        return [DEFAULT]

    monkeypatch.setattr(room, "is_quiet", lambda _cancel: True)
    monkeypatch.setattr(room, "measure", measure)
    (tmp_path / "cache").write_text("This is no folder.")
    file = TuningFile(tmp_path / "cache" / "tuning.json")
    job = TuningJob(path=tmp_path / "model.gguf", settings=EngineSettings(), key="one", file=file)
    with pytest.raises(OSError, match="cache"):
        job.run_once(CancelToken())
    job.run_once(CancelToken())
    assert len(measured) == 1


def test_a_recurrent_model_is_measured_without_earlier_tokens(tmp_path: Path) -> None:
    path = write_recurrent_gguf(tmp_path / "recurrent.gguf", "mamba")
    plan = plan_load(path, EngineSettings(n_gpu_layers=0, threads=1), window=512)
    with closing(Model(path)) as model:
        assert trials.speed_of(model, plan, 256, 32).prompt_speed > 0


def test_the_child_prints_each_way_as_a_line_and_keeps_to_the_users_choice(
    tiny_model: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"settings": asdict(EngineSettings(threads=1, repack=False)), "budget": 60.0, "background": False}
    assert trials.main([str(tiny_model("v7")), json.dumps(options)]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(each["threads"], each["repack"]) for each in found} == {(1, False)}
    assert {each["batch"] for each in found} == {128, 256, 512}
    assert all(each["prompt_speed"] > 0 < each["decode_speed"] for each in found)
    assert [size for size, _ in found[-1]["batch_costs"]] == [4, 8, 16]
    (tmp_path / "none.gguf").write_bytes(b"GGUF")
    assert trials.main([str(tmp_path / "none.gguf"), json.dumps(options)]) == 1
    assert capsys.readouterr().out == ""
