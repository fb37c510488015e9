"""Models from the shell: listed, downloaded, verified, imported, shown and removed."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner, Result
from support.embedding_models import tiny_bert
from support.gguf_factory import gguf_file
from support.hub_server import Fault, HubServer
from support.small_gguf import STRING, small_model
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes

from mistral_chat.cli.download_progress import bar, show_progress
from mistral_chat.cli.machine import memory_of
from mistral_chat.cli.main import cli
from mistral_chat.cli.wiring import Program
from mistral_chat.engine.hardware import Device, DeviceKind
from mistral_chat.errors import DownloadFailed, ModelUnusable
from mistral_chat.formatting import format_size
from mistral_chat.model_listing import DownloadProgress
from mistral_chat.models.download import Speedometer
from mistral_chat.models.memory_fit import AvailableMemory
from mistral_chat.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 1_000_000


def models(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(cli, ["models", *arguments], obj=Program(environ={**os.environ, **environ}))


def answer(*arguments: str, **environ: str) -> Any:
    result = models(*arguments, "--json", **environ)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def ours() -> Path:
    return Paths.from_environment(os.environ).models_dir


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        server.add(REPOSITORY, FILE, gguf_bytes(SIZE))
        yield server


@pytest.fixture
def tiny(ours: Path) -> Path:
    path = ours / REPOSITORY / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(gguf_bytes(SIZE))
    return path


def test_the_list_has_the_keys_that_scripts_read(tiny: Path) -> None:
    rows = {row["name"]: row for row in answer("list")}
    row = rows[SPEC]
    assert set(row) == {"name", "path", "bytes", "quantization", "source", "verified", "fits"}
    assert (row["path"], row["bytes"], row["source"], row["verified"], row["fits"]) == (str(tiny), SIZE, "ours", None, True)


def test_the_list_shows_installed_partial_and_unusable_files(tiny: Path) -> None:
    hostile = tiny.with_name("bad\x1b]52;c;x\x07.gguf")
    hostile.write_bytes(b"<html>")
    result = models("list")
    assert SPEC in result.stdout
    assert "Not usable" in result.stdout
    assert "web page" in result.stdout
    assert "\x1b" not in result.stdout
    assert "models list --available" in result.stdout


def test_an_empty_list_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "models pull mistral-7b-instruct-v0.3" in models("list").stdout


def test_available_models_are_compared_with_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral_chat.cli.machine.available_memory", lambda: AvailableMemory(ram=8_000_000_000))
    rows = answer("list", "--available")
    assert [row["name"] for row in rows if row["recommended"]] == ["mistral-7b-instruct-v0.3"]
    fits = {row["name"]: row["fits"] for row in rows}
    assert (fits["mistral-7b-instruct-v0.3"], fits["mistral-nemo-instruct-2407"], fits["ministral-3-8b-instruct-2512"]) == (
        True,
        False,
        None,
    )
    table = models("list", "--available").stdout
    assert "* mistral-7b-instruct-v0.3 " in table
    assert "recommended: Needs about 5.2 GB" in table


def test_a_download_prints_only_the_path_on_standard_output(hub: HubServer, ours: Path) -> None:
    result = models("pull", SPEC, HF_ENDPOINT=hub.endpoint)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{ours / REPOSITORY / FILE}\n"
    assert "done, 1.0 of 1.0 MB" in result.stderr
    again = models("pull", SPEC, HF_ENDPOINT="http://127.0.0.1:9")
    assert "is already installed (ours)" in again.stderr
    assert models("path", SPEC).stdout == result.stdout


def test_a_failed_download_is_one_sentence_and_resumes_later(hub: HubServer, ours: Path) -> None:
    hub.misbehave(Fault(cut_after=400_000, times=1))
    hub.misbehave(Fault(web_page=True))
    result = models("pull", SPEC, HF_ENDPOINT=hub.endpoint)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "log in with a browser" in result.stderr.splitlines()[-1]
    assert f"Partial download: {SPEC} (0.4 of 1.0 MB)" in models("list").stdout
    hub.behave()
    assert models("pull", SPEC, HF_ENDPOINT=hub.endpoint).exit_code == 0
    assert hub.bytes_sent() == SIZE - 400_000


def test_a_split_model_is_resumed_between_its_parts(hub: HubServer, ours: Path) -> None:
    parts = [f"tiny-0000{number}-of-00002.gguf" for number in (1, 2)]
    for number, part in enumerate(parts):
        hub.add(REPOSITORY, part, gguf_bytes(SIZE, seed=number))
    spec = f"hf:{REPOSITORY}/{parts[0]}"
    hub.misbehave(Fault(times=1))
    hub.misbehave(Fault(status=403))
    assert models("pull", spec, HF_ENDPOINT=hub.endpoint).exit_code == 1
    assert f"Partial download: {spec} (1.0 MB). Resume with: mistral-chat models pull {spec}\n" in models("list").stdout
    assert "Not usable" not in models("list").stdout
    hub.behave()
    hub.misbehave(Fault(cut_after=400_000, times=1))
    hub.misbehave(Fault(status=403))
    assert models("pull", spec, HF_ENDPOINT=hub.endpoint).exit_code == 1
    assert f"Partial download: {spec} (1.4 MB)" in models("list").stdout
    assert f"is not downloaded (1.4 MB downloaded so far). Run: mistral-chat models pull {spec}" in models("path", spec).stderr
    hub.behave()
    assert models("pull", spec, HF_ENDPOINT=hub.endpoint).stdout == f"{ours / REPOSITORY / parts[0]}\n"
    assert hub.bytes_sent() == SIZE - 400_000


def test_a_split_model_with_a_lost_part_is_removed_by_its_name(hub: HubServer, ours: Path) -> None:
    first = ours / REPOSITORY / "tiny-00001-of-00002.gguf"
    for name in (f"hf:{REPOSITORY}/{first.name}", str(first)):
        first.parent.mkdir(parents=True)
        first.write_bytes(gguf_bytes(SIZE))
        assert "1.0 MB freed" in models("rm", name).stderr
        assert not first.parent.exists()


@pytest.mark.parametrize(
    "damaged", [gguf_bytes(SIZE)[:50_000], b"rotten" + gguf_bytes(SIZE)[6:]], ids=["its end", "its beginning"]
)
def test_a_damaged_file_is_replaced_once_a_whole_one_is_there(hub: HubServer, tiny: Path, damaged: bytes) -> None:
    tiny.write_bytes(damaged)
    hub.misbehave(Fault(cut_after=400_000, times=1))
    hub.misbehave(Fault(status=403))
    assert models("pull", SPEC, HF_ENDPOINT=hub.endpoint).exit_code == 1
    assert tiny.read_bytes() == damaged
    hub.behave()
    assert models("pull", SPEC, HF_ENDPOINT=hub.endpoint).stdout == f"{tiny}\n"
    assert tiny.read_bytes() == gguf_bytes(SIZE)
    assert hub.bytes_sent() == SIZE - 400_000
    tiny.chmod(0o600)
    tiny.write_bytes(gguf_bytes(SIZE)[:-1] + b"x")
    assert models("verify", SPEC).exit_code == 1
    assert models("pull", SPEC, HF_ENDPOINT=hub.endpoint).exit_code == 0
    assert tiny.read_bytes() == gguf_bytes(SIZE)


def test_only_the_damaged_part_of_a_split_model_is_replaced(hub: HubServer, ours: Path) -> None:
    parts = [f"tiny-0000{number}-of-00002.gguf" for number in (1, 2)]
    for number, part in enumerate(parts):
        hub.add(REPOSITORY, part, gguf_bytes(SIZE, seed=number))
    spec = f"hf:{REPOSITORY}/{parts[0]}"
    assert models("pull", spec, HF_ENDPOINT=hub.endpoint).exit_code == 0
    (ours / "checked.json").unlink()
    second = ours / REPOSITORY / parts[1]
    second.chmod(0o600)
    second.write_bytes(b"rotten" + second.read_bytes()[6:])
    hub.behave()
    assert models("pull", spec, HF_ENDPOINT=hub.endpoint).exit_code == 0
    assert second.read_bytes() == gguf_bytes(SIZE, seed=1)
    assert hub.bytes_sent() == SIZE


def test_a_sound_file_that_cannot_chat_is_not_downloaded_again(hub: HubServer) -> None:
    adapter = small_model()
    adapter.set("general.type", STRING, "adapter")
    hub.add(REPOSITORY, "lora.gguf", adapter.encoded())
    for _ in range(2):
        result = models("pull", f"hf:{REPOSITORY}/lora.gguf", HF_ENDPOINT=hub.endpoint)
        assert (result.exit_code, "this is a LoRA adapter" in result.stderr) == (1, True)
    assert hub.bytes_sent() == len(adapter.encoded())


def test_an_unknown_model_cannot_be_downloaded() -> None:
    assert models("pull", "nothing").exit_code == 1
    assert "has no quantization" in models("pull", "mistral-7b-instruct-v0.3:Q9").stderr


def test_a_model_that_does_not_fit_is_downloaded_with_a_warning(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral_chat.cli.machine.available_memory", lambda: AvailableMemory(ram=1_000_000_000))
    hub.add("bartowski/Mistral-7B-Instruct-v0.3-GGUF", "x.gguf", b"x")
    result = models("pull", "mistral-7b-instruct-v0.3", HF_ENDPOINT=hub.endpoint)
    assert "Warning: Needs about 5.2 GB of memory; 1.0 GB available" in result.stderr
    assert result.exit_code == 1


def test_verifying_exits_with_1_when_a_file_is_wrong(hub: HubServer) -> None:
    models("pull", SPEC, HF_ENDPOINT=hub.endpoint)
    assert [row["verified"] for row in answer("verify")] == [True]
    assert models("verify", SPEC).stdout.endswith(" ok\n")
    path = Paths.from_environment(os.environ).models_dir / REPOSITORY / FILE
    stat = path.stat()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"rot")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    result = models("verify", SPEC)
    assert result.exit_code == 1
    assert "WRONG, expected" in result.stdout
    assert "models pull" in result.stderr
    path.write_bytes(gguf_bytes(SIZE))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert models("path", SPEC).exit_code == 1, "what was found to be damaged is used"
    assert models("verify", SPEC).stdout.endswith(" ok\n"), "what was damaged cannot be checked again"
    assert models("path", SPEC).exit_code == 0


def test_verifying_reports_damaged_files_and_no_others(tiny: Path) -> None:
    adapter = small_model()
    adapter.set("general.type", STRING, "adapter")
    tiny.with_name("lora.gguf").write_bytes(adapter.encoded())
    assert models("verify").exit_code == 0
    tiny.write_bytes(gguf_bytes(SIZE)[:50_000])
    result = models("verify")
    assert (result.exit_code, result.stdout.count("\n")) == (1, 1)
    assert result.stdout.startswith(f"{SPEC}: DAMAGED, the file is incomplete")
    rows = json.loads(models("verify", "--json").stdout)
    assert rows == [{"name": SPEC, "path": str(tiny), "sha256": None, "expected": None, "verified": False}]


def test_verifying_reports_a_file_that_is_another_by_now(hub: HubServer, ours: Path) -> None:
    """The structure of a file may be sound, and its content not that of the model."""
    adapter = small_model()
    adapter.set("general.type", STRING, "adapter")
    hub.add(REPOSITORY, "lora.gguf", adapter.encoded())
    models("pull", f"hf:{REPOSITORY}/lora.gguf", HF_ENDPOINT=hub.endpoint)
    models("pull", SPEC, HF_ENDPOINT=hub.endpoint)
    assert models("verify").exit_code == 0
    path = ours / REPOSITORY / FILE
    path.chmod(0o600)
    path.write_bytes(adapter.encoded())
    result = models("verify")
    assert (result.exit_code, result.stdout.count("\n")) == (1, 1)
    assert result.stdout.startswith(f"{SPEC}: DAMAGED, this is a LoRA adapter")


def test_verifying_nothing_says_so() -> None:
    result = models("verify")
    assert result.exit_code == 0
    assert "No downloaded models" in result.stderr


def test_rm_reports_freed_space_and_keeps_other_programs_files(tiny: Path, demo_model: Path) -> None:
    assert "1.0 MB freed" in models("rm", SPEC).stderr
    assert not tiny.exists()
    result = models("rm", "demo")
    assert result.exit_code == 2
    assert "was not removed" in result.stderr
    assert demo_model.exists()


def test_import_needs_an_explicit_mode(tmp_path: Path, ours: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(small_model().encoded())
    assert models("import", str(path)).exit_code == 2
    result = models("import", str(path), "--link")
    assert result.stdout == f"{ours / 'mine.gguf'}\n"
    assert "No disk space was freed" in models("rm", "mine").stderr


def test_show_prints_facts_and_memory_needs(tmp_path: Path) -> None:
    draft = small_model()
    draft.set("general.name", STRING, "evil\x1b[2J")
    path = tmp_path / "mine.gguf"
    path.write_bytes(draft.encoded())
    facts = answer("show", str(path))
    assert (facts["architecture"], facts["layers"], facts["prompt_format"], facts["chat_template"]) == (
        "llama",
        1,
        "mistral-v1",
        "10 characters",
    )
    assert facts["memory_needed"]["total"] == sum(facts["memory_needed"][key] for key in ("weights", "kv", "compute"))
    text = models("show", str(path)).stdout
    needed = re.search(r"^memory needed: +(.+) \((.+) model \+ (.+) context \+ (.+) buffers\)$", text, re.MULTILINE)
    assert needed is not None
    assert list(needed.groups()) == [format_size(facts["memory_needed"][key]) for key in ("total", "weights", "kv", "compute")]
    assert re.search(rf"^bytes: +{path.stat().st_size:,}$", text, re.MULTILINE)
    assert "\x1b" not in text


def test_show_reports_an_unusable_template(tmp_path: Path) -> None:
    draft = small_model()
    draft.drop("tokenizer.chat_template")
    path = tmp_path / "mine.gguf"
    path.write_bytes(draft.encoded())
    assert answer("show", str(path))["prompt_format"].startswith("none: ")


def test_a_catalog_model_is_shown_with_its_repository() -> None:
    facts = answer("show", "mistral-7b-instruct-v0.2:Q5_K_M")
    assert (facts["path"], facts["bytes"], facts["repository"]) == (None, None, "TheBloke/Mistral-7B-Instruct-v0.2-GGUF")
    assert "not downloaded" in models("show", "mistral-7b-instruct-v0.2").stdout
    assert models("show", "nothing").exit_code == 1


def test_a_model_is_measured_and_the_result_is_kept_and_shown(gguf_folder: Path) -> None:
    model = gguf_file(gguf_folder, "v3")
    found = answer("tune", str(model))
    assert found["best"] in found["trials"]
    assert found["best"]["prompt_speed"] > 0 < found["best"]["decode_speed"]
    assert Paths.from_environment(os.environ).tuning_file.is_file()
    shown = models("tune", str(model))
    assert shown.exit_code == 0, shown.output
    assert "Fastest: prompt " in shown.output
    checked = CliRunner().invoke(cli, ["doctor"], obj=Program(environ={**os.environ, "MISTRAL_CHAT_MODEL": str(model)}))
    assert "tokens/s: batches of" in checked.output


def test_a_bar_shows_bytes_speed_and_time() -> None:
    value = DownloadProgress(stage="downloading", bytes=2_000_000_000, total=4_000_000_000, speed=2e7, seconds_left=4000.0)
    assert bar(value) == "[############............] 50% 2.00 of 4.00 GB, 20.0 MB/s, 1 h 06 min left"
    assert DownloadProgress(stage="asking").amounts == ""
    value = DownloadProgress(stage="downloading", bytes=1, total=2, speed=1.0, seconds_left=125.0)
    assert "2 min 05 s left" in value.amounts


def test_a_terminal_gets_a_bar_that_is_erased(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    show_progress(iter([DownloadProgress(stage="downloading", bytes=1, total=2, note="odd \x1b[2J")]), "x")
    output = capsys.readouterr().err
    assert output.startswith("\r\x1b[K[############............] 50%")
    assert output.endswith("\r\x1b[K")
    assert "\x1b[2J" not in output


def test_an_interrupted_download_says_how_to_resume(capsys: pytest.CaptureFixture[str]) -> None:
    def values() -> Iterator[DownloadProgress]:
        yield DownloadProgress(stage="downloading", bytes=3_000_000, total=9_000_000)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        show_progress(values(), "a-model")
    assert "Paused; 3.0 MB downloaded. Resume with: mistral-chat models pull a-model" in capsys.readouterr().err

    def failing() -> Iterator[DownloadProgress]:
        yield DownloadProgress(stage="asking", bytes=0, total=None)
        raise DownloadFailed("no")

    with pytest.raises(DownloadFailed):
        show_progress(failing(), "a-model")


def test_the_speed_is_that_of_the_last_seconds() -> None:
    speedometer = Speedometer()
    assert speedometer.speed(0.0, 0) == 0.0
    assert speedometer.speed(1.0, 100) == 100.0
    for second in range(2, 20):
        speed = speedometer.speed(float(second), 100 + (second - 1) * 10)
    assert speed == 10.0
    assert speedometer.speed(21.0, 0) == 0.0


def test_free_memory_adds_gpus_and_ram() -> None:
    def device(kind: DeviceKind, free: int) -> Device:
        return Device(name="x", description="", kind=kind, free=free, total=free)

    cards = [device(DeviceKind.GPU, 5), device(DeviceKind.GPU, 6), device(DeviceKind.CPU, 9)]
    assert memory_of(10, cards, unified=False) == AvailableMemory(ram=10, vram=11)
    assert memory_of(10, cards, unified=True) == AvailableMemory(ram=10, vram=11, unified=True)
    assert memory_of(10, cards[2:], unified=True) == AvailableMemory(ram=10)


def test_the_group_is_a_click_group() -> None:
    from mistral_chat.cli.models import models as group

    assert sorted(group.list_commands(click.Context(group))) == ["import", "list", "path", "pull", "rm", "show", "tune", "verify"]


def test_an_embedding_model_is_never_offered_for_chatting(hub: HubServer, ours: Path, tmp_path: Path) -> None:
    hub.add(
        "second-state/All-MiniLM-L6-v2-Embedding-GGUF",
        "all-MiniLM-L6-v2-Q8_0.gguf",
        tiny_bert(tmp_path / "bert.gguf").read_bytes(),
    )
    assert "all-minilm-l6-v2" not in [row["name"] for row in answer("list", "--available")]
    result = models("pull", "all-minilm-l6-v2", HF_ENDPOINT=hub.endpoint)
    assert result.exit_code == 0, result.output
    path = ours / "second-state" / "All-MiniLM-L6-v2-Embedding-GGUF" / "all-MiniLM-L6-v2-Q8_0.gguf"
    assert result.stdout == f"{path}\n"
    assert [row["name"] for row in answer("list")] == ["demo"]
    assert "Embedding model: all-minilm-l6-v2" in models("list").stdout
    assert models("path", "all-minilm-l6-v2").stdout == f"{path}\n"
    assert [row["verified"] for row in answer("verify")] == [True]
    assert answer("show", "all-minilm-l6-v2")["architecture"] == "bert"
    library = Program(environ=dict(os.environ)).library()
    with pytest.raises(ModelUnusable, match="cannot chat"):
        library.find("all-minilm-l6-v2")
    assert models("rm", "all-minilm-l6-v2").exit_code == 0
    assert not path.exists()


def test_what_is_recommended_does_not_depend_on_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who tried the demo must not see it recommended as the best model for the machine."""
    monkeypatch.setattr("mistral_chat.cli.machine.available_memory", lambda: AvailableMemory(ram=16_000_000_000))
    rows = answer("list", "--available", MISTRAL_CHAT_MODEL="demo")
    assert [row["name"] for row in rows if row["recommended"]] == ["mistral-7b-instruct-v0.3"]
