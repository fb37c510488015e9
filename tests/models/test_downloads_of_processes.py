"""Downloads that are killed, that meet a full disk, or that run twice at once: as processes of their own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.effort import PATIENCE, cases
from support.hub_downloads import ranges
from support.hub_server import Fault, HubServer
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes
from support.trust import Tally

SIZE = 8_000_000
CHILD = Path(__file__).parents[1] / "support" / "pull_in_child.py"
KILLS = cases(6, 100)


@pytest.fixture
def content(hub: HubServer) -> bytes:
    whole = gguf_bytes(SIZE)
    hub.add(REPOSITORY, FILE, whole)
    return whole


def begin(hub: HubServer, models_dir: Path, **names: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "HF_ENDPOINT": hub.endpoint, **names}
    return subprocess.Popen([sys.executable, str(CHILD), str(models_dir), SPEC], stdout=subprocess.PIPE, text=True, env=environ)


def run(hub: HubServer, models_dir: Path, **names: str) -> tuple[int, str]:
    with begin(hub, models_dir, **names) as child:
        return_text, _ = child.communicate(timeout=60)
        return child.returncode, return_text.splitlines()[-1]


def test_kills_at_random_moments_lose_nothing(hub: HubServer, models_dir: Path, content: bytes, tally: Tally) -> None:
    hub.misbehave(Fault(rate=SIZE / 2))
    draw = random.Random(11)
    part = models_dir / REPOSITORY / f"{FILE}.part"
    target = part.with_suffix("")
    kept = []
    for _ in range(KILLS):
        here = part.stat().st_size if part.exists() else 0
        wanted = here + draw.randrange(1, SIZE // KILLS)
        with begin(hub, models_dir) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if int(line.split()[1]) >= wanted or "done" in line:
                    break
            child.send_signal(draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
            child.wait(PATIENCE)
        if target.exists():
            break
        kept.append(part.stat().st_size)
        with tally.trial("kill -9 during a download: what is here is right, and it resumes there"):
            assert part.read_bytes() == content[: kept[-1]]
    hub.misbehave(Fault())
    assert run(hub, models_dir)[0] == 0
    assert target.read_bytes() == content
    asked = ranges(hub)
    read_again = sum(max(0, before - after) for before, after in zip(kept, asked[1:], strict=False))
    assert read_again <= SIZE * 0.01, "bytes on the disk were downloaded again"
    assert {path.name for path in target.parent.iterdir()} <= {FILE, f".{FILE}.lock"}, "kills left something behind"


def test_only_the_proxy_is_contacted_and_only_for_the_file(hub: HubServer, models_dir: Path, content: bytes) -> None:
    """The name `hub.invalid` leads nowhere but through the proxy, which here is the hub itself."""
    names = {"HTTP_PROXY": hub.endpoint, "http_proxy": hub.endpoint, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    assert run(hub, models_dir, HF_ENDPOINT="http://hub.invalid", **names) == (0, f"done {SIZE}")
    assert (models_dir / REPOSITORY / FILE).read_bytes() == content
    assert all("/resolve/" in seen.path for seen in hub.seen), "something else than the file was asked for"
    assert {seen.headers["host"] for seen in hub.seen if seen.origin == "hub"} == {"hub.invalid"}


def test_two_processes_transfer_the_file_once(hub: HubServer, models_dir: Path, content: bytes) -> None:
    hub.misbehave(Fault(rate=SIZE / 2))
    children = [begin(hub, models_dir) for _ in range(2)]
    ends = [child.communicate(timeout=60)[0].splitlines()[-1] for child in children]
    assert ends == [f"done {SIZE}"] * 2
    assert ranges(hub) == [0]
    assert (models_dir / REPOSITORY / FILE).read_bytes() == content


def test_a_second_process_resumes_when_the_first_is_killed(hub: HubServer, models_dir: Path, content: bytes) -> None:
    hub.misbehave(Fault(stall_after=SIZE // 2, times=1))
    first = begin(hub, models_dir)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("downloading") and int(line.split()[1]) > SIZE // 4:
            break
    with begin(hub, models_dir) as second:
        assert second.stdout is not None
        for line in second.stdout:
            if line.startswith("waiting"):
                first.kill()
                break
        rest, _ = second.communicate(timeout=60)
    first.communicate()
    assert rest.splitlines()[-1] == f"done {SIZE}"
    assert (models_dir / REPOSITORY / FILE).read_bytes() == content
    assert min(ranges(hub)[1:]) > SIZE // 5


def test_a_file_size_limit_is_explained_and_the_download_resumes_later(hub: HubServer, models_dir: Path, content: bytes) -> None:
    code, end = run(hub, models_dir, MISTRAL_CHAT_TEST_LARGEST_FILE="5000000")
    assert code == 1
    assert end.startswith("error DownloadFailed")
    assert "cannot store a file this large" in end
    assert run(hub, models_dir) == (0, f"done {SIZE}")
    assert ranges(hub)[1] == 5_000_000


def test_a_disk_that_fills_up_is_explained_and_the_download_resumes_later(
    hub: HubServer, models_dir: Path, content: bytes
) -> None:
    models_dir.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(models_dir)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        hub.misbehave(Fault(rate=SIZE / 1.5, times=1))
        with begin(hub, models_dir) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith("downloading") and int(line.split()[1]) > SIZE // 10:
                    break
            (models_dir / "other").write_bytes(bytes(12_000_000 - SIZE + 1_000_000))
            rest, _ = child.communicate(timeout=60)
        assert child.returncode == 1
        assert "error NotEnoughDisk" in rest
        assert "GB free, but 0.0 GB are needed" in rest
        kept = (models_dir / REPOSITORY / f"{FILE}.part").stat().st_size
        assert kept > SIZE // 2
        assert run(hub, models_dir)[1].startswith("error NotEnoughDisk")
        (models_dir / "other").unlink()
        assert run(hub, models_dir) == (0, f"done {SIZE}")
        assert ranges(hub)[-1] == kept
        assert (models_dir / REPOSITORY / FILE).read_bytes() == content
    finally:
        subprocess.run(["umount", str(models_dir)], check=True)  # noqa: S607 (root's own path)
