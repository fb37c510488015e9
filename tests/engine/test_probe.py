"""A model file that crashes llama.cpp gives an error and leaves the chat running."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from mistral_chat.config import EngineSettings
from mistral_chat.engine.llama.probe import Probe, main
from mistral_chat.errors import EngineLoadFailed


@pytest.fixture
def deadly(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    """A file that says it has 513 layers, at which llama.cpp aborts the process."""
    path = tmp_path / "deadly.gguf"
    shutil.copy(tiny_model("v3"), path)
    data = bytearray(path.read_bytes())
    key = b"llama.block_count"
    value = data.index(key) + len(key) + 4
    assert struct.unpack_from("<I", data, value) == (2,)
    struct.pack_into("<I", data, value, 513)
    path.write_bytes(data)
    return path


def smoke_test(path: Path, record: Path, *, note: bool = True) -> None:
    with Probe(path, EngineSettings(), record, note=note) as probe:
        probe.wait_loaded()
        probe.wait_decoded()


def test_a_file_that_crashes_llama_cpp_is_reported(deadly: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineLoadFailed, match=r"crashed \(SIG") as caught:
        smoke_test(deadly, tmp_path / "tried")
    assert "engine.repack" in str(caught.value)
    assert not (tmp_path / "tried").exists()


def test_a_sound_file_is_probed_once(demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "tried"
    smoke_test(demo_model, record)
    assert record.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    smoke_test(demo_model, record)


def test_other_settings_are_probed_again(demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "tried"
    smoke_test(demo_model, record)
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        Probe(demo_model, EngineSettings(kv_type="q8_0"), record)


def test_an_unsaved_run_leaves_no_mark(demo_model: Path, tmp_path: Path) -> None:
    smoke_test(demo_model, tmp_path / "tried", note=False)
    assert not (tmp_path / "tried").exists()


def test_a_model_is_loaded_even_if_that_cannot_be_recorded(demo_model: Path, tmp_path: Path) -> None:
    smoke_test(demo_model, tmp_path)


def test_a_damaged_record_counts_as_empty(demo_model: Path, tmp_path: Path) -> None:
    (tmp_path / "tried").write_bytes(b"\xff\n")
    smoke_test(demo_model, tmp_path / "tried")


def test_a_test_that_the_system_ended_does_not_blame_the_file(demo_model: Path, tmp_path: Path) -> None:
    with Probe(demo_model, EngineSettings(), tmp_path / "tried") as probe:
        assert probe._child is not None
        probe._child.kill()
        with pytest.raises(EngineLoadFailed, match="memory") as caught:
            probe.wait_decoded()
    assert "damaged" not in str(caught.value)
    assert not (tmp_path / "tried").exists()


def test_errors_that_are_not_crashes_are_left_to_the_loader(tmp_path: Path) -> None:
    path = tmp_path / "text.gguf"
    path.write_text("This is no GGUF file.")
    smoke_test(path, tmp_path / "tried")
    assert not (tmp_path / "tried").exists()
    assert main([str(path), json.dumps(asdict(EngineSettings()))]) == 1


def test_a_missing_model_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EngineLoadFailed, match="No such file"):
        smoke_test(tmp_path / "gone.gguf", tmp_path / "tried")
