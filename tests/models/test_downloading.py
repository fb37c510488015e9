"""A download from its first byte to its last: pauses, company, its place on the disk, and what is left over."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.effort import PATIENCE
from support.hub_downloads import QUICK, SIZE, failure, ranges, run_download, target
from support.hub_server import Fault, HubServer
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes

from mistral_chat.errors import DownloadFailed, NotEnoughDisk
from mistral_chat.models.catalog import Catalog
from mistral_chat.models.checksums import ChecksumCache
from mistral_chat.models.library import Library
from mistral_chat.models.operations import download, remove
from mistral_chat.models.partial import PartialFile, PartialWriter
from mistral_chat.models.retry import RetryPolicy

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.model_listing import DownloadProgress


def test_a_downloaded_file_is_complete_verified_and_read_only(library: Library, hub: HubServer, content: bytes) -> None:
    values = run_download(library)
    assert target(library).read_bytes() == content
    assert (values[-1].stage, values[-1].bytes, values[-1].total) == ("done", SIZE, SIZE)
    model = library.find(SPEC)
    assert (model.verified, model.source, model.bytes) == (True, "ours", SIZE)
    assert target(library).stat().st_mode & 0o777 == 0o400
    left = {path.name for path in library.models_dir.rglob("*") if path.is_file()}
    assert left <= {FILE, f".{FILE}.lock", "checked.json", ".checked.json.lock"}
    assert hub.bytes_sent() == SIZE


def test_an_unexpected_error_is_never_taken_for_success(
    library: Library, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that just ended would leave the user without a model and without an error."""

    def fail(_cache: ChecksumCache, _path: Path, _digest: str, _expected: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ChecksumCache, "add", fail)
    task = download(library, SPEC, policy=QUICK)
    with pytest.raises(ZeroDivisionError):
        list(task.follow())
    assert task.state == "failed"
    assert target(library).read_bytes() == content


def test_folders_made_by_a_first_download_are_private(hub: HubServer, tmp_path: Path, own_folders: Path, content: bytes) -> None:
    """Where nothing is saved, no other part of the program has made the data folder before."""
    data = tmp_path / "share" / "mistral-chat"
    library = Library(
        models_dir=data / "models",
        folders=(),
        catalog=Catalog.load_bundled(),
        environ={"HF_ENDPOINT": hub.endpoint},
        home=own_folders,
    )
    before = os.umask(0o022)
    try:
        run_download(library)
    finally:
        os.umask(before)
    assert target(library).read_bytes() == content
    made = [data.parent, data, *(path for path in data.rglob("*") if path.is_dir())]
    assert {path: oct(path.stat().st_mode & 0o777) for path in made} == dict.fromkeys(made, oct(0o700))
    shared = [path for path in data.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert not shared, "others can read the download"


def test_an_installed_file_is_not_downloaded_again(library: Library, hub: HubServer, content: bytes) -> None:
    run_download(library)
    hub.behave()
    assert run_download(library)[-1].stage == "done"
    assert hub.seen == []


def test_a_full_disk_is_reported_before_the_first_byte(
    library: Library, hub: HubServer, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    almost_full = shutil._ntuple_diskusage(SIZE, 1, SIZE - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: almost_full)
    error = failure(library)
    assert isinstance(error, NotEnoughDisk)
    assert (error.needed, error.free) == (SIZE, SIZE - 1)
    for number in (1, 2):
        hub.add(REPOSITORY, f"tiny-0000{number}-of-00002.gguf", gguf_bytes(SIZE // 2 + 1, seed=number))
    error = failure(library, f"hf:{REPOSITORY}/tiny-00001-of-00002.gguf")
    assert isinstance(error, NotEnoughDisk), "the first part fits, and was downloaded for nothing"
    assert hub.bytes_sent() == 0


def test_progress_is_frequent_and_pausing_is_quick(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(rate=1_500_000, times=1))
    task, moments = download(library, SPEC, policy=QUICK), []
    last: DownloadProgress | None = None
    for last in task.follow():
        moments.append(time.monotonic())
        if last.bytes > 1_000_000 and task.state == "running":
            assert last.speed > 0
            assert last.seconds_left is not None
            task.cancel()
    assert last is not None
    assert last.stage == "paused"
    assert max(after - before for before, after in itertools.pairwise(moments)) < 2, "the progress seems to have stopped"
    task.join(PATIENCE)
    kept = PartialFile(target(library)).size()
    assert kept >= 1_000_000
    assert library.partials()[0].bytes == kept
    assert {path.stat().st_mode & 0o077 for path in target(library).parent.iterdir()} == {0}, "others can read the partial file"
    hub.behave()
    run_download(library)
    assert ranges(hub) == [kept]


def test_a_file_that_something_else_wrote_into_is_not_taken_for_whole(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(rate=1_500_000))
    progress = download(library, SPEC, policy=QUICK).follow()
    while next(progress).bytes < 1_000_000:
        pass
    with PartialFile(target(library)).path.open("ab") as file:
        file.write(b"odd")
    with pytest.raises(DownloadFailed, match="was changed while it was downloaded"):
        list(progress)
    assert not target(library).exists()
    hub.behave()
    run_download(library)
    assert target(library).read_bytes() == content


def test_a_pause_wakes_a_stalled_connection(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(stall_after=1_000_000))
    task = download(library, SPEC, policy=RetryPolicy(stall=30))
    for progress in task.follow():
        if progress.bytes >= 1_000_000 and task.state == "running":
            task.cancel()
            asked = time.monotonic()
    assert time.monotonic() - asked < 15, "the pause waited until the stall was noticed"
    assert progress.stage == "paused"


def test_leaving_the_progress_pauses_the_download(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(rate=1_000_000))
    values = download(library, SPEC, policy=QUICK).follow()
    next(values)
    values.close()  # type: ignore[attr-defined]  # what is annotated as an iterator is a generator
    hub.behave()
    run_download(library)
    assert target(library).read_bytes() == content


def test_two_downloads_at_once_transfer_the_file_once(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(rate=2_000_000))
    seen: list[list[DownloadProgress]] = [[], []]
    threads = [threading.Thread(target=lambda place=place: seen[place].extend(run_download(library))) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [values[-1].stage for values in seen] == ["done", "done"]
    assert ranges(hub) == [0]
    assert "waiting" in {value.stage for values in seen for value in values}
    assert target(library).read_bytes() == content


def test_all_parts_of_a_split_file_are_downloaded(library: Library, hub: HubServer) -> None:
    parts = {f"q/tiny-0000{number}-of-00002.gguf": gguf_bytes(500_000 * number, seed=number) for number in (1, 2)}
    for name, part in parts.items():
        hub.add(REPOSITORY, name, part)
    values = run_download(library, f"hf:{REPOSITORY}/q/tiny-00002-of-00002.gguf")
    assert (values[-1].bytes, values[-1].total) == (1_500_000, 1_500_000)
    for name, part in parts.items():
        assert (library.models_dir / REPOSITORY / name).read_bytes() == part
    assert library.find(f"hf:{REPOSITORY}/q/tiny-00002-of-00002.gguf").bytes == 1_500_000


def test_a_split_file_that_changes_between_its_parts_is_not_mixed(library: Library, hub: HubServer) -> None:
    names = [f"tiny-0000{number}-of-00002.gguf" for number in (1, 2)]
    for seed in (1, 3):
        for number, name in enumerate(names):
            hub.add(REPOSITORY, name, gguf_bytes(500_000, seed=seed + number))
        if seed == 1:
            hub.misbehave(Fault(times=1))
            hub.misbehave(Fault(status=404))
            failure(library, f"hf:{REPOSITORY}/{names[0]}")
            hub.behave()
    run_download(library, f"hf:{REPOSITORY}/{names[0]}")
    for number, name in enumerate(names):
        assert (library.models_dir / REPOSITORY / name).read_bytes() == gguf_bytes(500_000, seed=3 + number)


def test_an_interrupted_download_keeps_the_name_that_resumes_it(library: Library, hub: HubServer) -> None:
    spec = f"hf:{REPOSITORY}@main/tiny-00001-of-00002.gguf"
    for number in (1, 2):
        hub.add(REPOSITORY, f"tiny-0000{number}-of-00002.gguf", gguf_bytes(500_000 * number, seed=number))
    hub.misbehave(Fault(cut_after=700_000, times=2))
    hub.misbehave(Fault(status=404))
    failure(library, spec)
    (partial,) = library.partials()
    assert (partial.name, partial.bytes, partial.total) == (spec, 1_200_000, None)
    assert remove(library, spec) == 1_200_000
    assert not (library.models_dir / REPOSITORY).exists(), "a complete part is left"


def test_a_checksum_that_cannot_be_saved_fails_no_complete_download(library: Library, content: bytes) -> None:
    (library.models_dir / "checked.json").mkdir(parents=True)
    assert run_download(library)[-1].stage == "done"
    assert library.find(SPEC).bytes == len(content)


def test_a_file_in_folders_of_a_repository_is_found_before_and_after_its_end(library: Library, hub: HubServer) -> None:
    file = "a/b/c/d/e/f/TINY.GGUF"
    hub.add(REPOSITORY, file, gguf_bytes(500_000))
    hub.misbehave(Fault(cut_after=200_000, times=1))
    hub.misbehave(Fault(status=404))
    failure(library, f"hf:{REPOSITORY}/{file}")
    assert [(partial.name, partial.bytes) for partial in library.partials()] == [(f"hf:{REPOSITORY}/{file}", 200_000)]
    hub.behave()
    run_download(library, f"hf:{REPOSITORY}/{file}")
    assert library.find(f"hf:{REPOSITORY}/{file}").bytes == 500_000


def write_damaged(library: Library, content: bytes) -> Path:
    """Write the file that a download replaces."""
    target(library).parent.mkdir(parents=True)
    target(library).write_bytes(content)
    return target(library)


def pause(library: Library, hub: HubServer) -> None:
    """Download 1,000,000 bytes, which stay."""
    hub.misbehave(Fault(cut_after=1_000_000, times=1))
    hub.misbehave(Fault(status=404))
    failure(library)


def test_a_paused_download_that_replaces_a_damaged_file_is_kept_listed_and_resumed(
    library: Library, hub: HubServer, content: bytes
) -> None:
    damaged = write_damaged(library, content[:50_000])
    pause(library, hub)
    part = PartialFile(damaged)
    for path in (damaged, part.path, part.metadata_path):
        os.utime(path, (1, 1))
    hub.behave()
    hub.add(REPOSITORY, "other.gguf", gguf_bytes(500_000))
    run_download(library, f"hf:{REPOSITORY}/other.gguf")
    assert [(partial.name, partial.bytes, partial.total) for partial in library.partials()] == [(SPEC, 1_000_000, SIZE)]
    assert download(library, SPEC).progress.bytes == 1_000_000, "the damaged file counts as downloaded"
    hub.behave()
    assert run_download(library)[-1].stage == "done"
    assert ranges(hub) == [1_000_000]
    assert library.partials() == []


def test_a_paused_download_of_a_file_that_came_in_another_way_is_dropped(
    library: Library, hub: HubServer, content: bytes
) -> None:
    pause(library, hub)
    target(library).write_bytes(content)
    assert library.partials() != []
    assert run_download(library)[-1].stage == "done"
    assert library.partials() == []
    assert target(library).read_bytes() == content


def test_a_paused_download_that_replaces_a_damaged_file_is_removed_with_it(
    library: Library, hub: HubServer, content: bytes
) -> None:
    damaged = write_damaged(library, content[:50_000])
    pause(library, hub)
    assert remove(library, str(damaged)) == 1_050_000
    assert not damaged.parent.exists()


@pytest.mark.parametrize("size", [100, 2 * SIZE])
def test_a_disk_that_fills_up_while_a_damaged_file_is_replaced_needs_what_is_missing(
    library: Library, content: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = write_damaged(library, b"rotten".ljust(size, b"x"))
    real = PartialWriter.append

    def append(writer: PartialWriter, block: bytes) -> None:
        if PartialFile(damaged).size() > SIZE // 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(writer, block)

    monkeypatch.setattr(PartialWriter, "append", append)
    error = failure(library)
    assert isinstance(error, NotEnoughDisk)
    assert error.needed == SIZE - PartialFile(damaged).size()


def test_a_disk_too_full_for_a_folder_is_reported_whether_or_not_the_size_is_known(
    library: Library, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mistral_chat.models.download.private_folder", refuse)
    assert "Could not write to" in str(failure(library))
    assert isinstance(failure(library, "mistral-7b-instruct-v0.3:Q4_K_M"), NotEnoughDisk)


def test_abandoned_parts_are_deleted_and_fresh_ones_kept(library: Library, hub: HubServer, content: bytes) -> None:
    folder = library.models_dir / "other" / "repo"
    folder.mkdir(parents=True)
    half_written = [folder / ".begun.gguf.part.json.0123abcd", folder / "begun.gguf.part.json.new"]
    old = [folder / "whole.gguf.part.json", folder / "gone.gguf.part.json", *half_written]
    kept = [folder / "begun.gguf.part", folder / "begun.gguf.part.json", folder / "fresh.gguf.part.json", folder / "whole.gguf"]
    browser = [folder / "browser.gguf", folder / "browser.gguf.part"]
    foreign = [
        folder / "notes.zip.part",
        folder / "notes.zip",
        folder / "talk.partial.txt",
        folder / "big.gguf.part1of2",
        *browser,
    ]
    for path in (*old, *kept, *foreign):
        path.write_bytes(b"x")
    for path in (*old, *kept[:2], *foreign):
        os.utime(path, (1, 1))
    run_download(library)
    assert [path.exists() for path in old] == [False] * 4
    assert all(path.exists() for path in (*kept, *foreign))
