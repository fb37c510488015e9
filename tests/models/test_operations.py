"""Operations on models: verified against their checksum, removed without leftovers, imported from elsewhere."""

from __future__ import annotations

import errno
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
from support.effort import PATIENCE
from support.hub_server import Fault, HubServer
from support.models_on_disk import CONTENT, DIGEST, hub_cache, library_of, put
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes

from mistral_chat import system
from mistral_chat.config import CatalogSource
from mistral_chat.errors import DownloadFailed, ModelError, ModelNotFound, ModelUnusable, NotEnoughDisk, UsageError
from mistral_chat.models.checksums import ChecksumCache
from mistral_chat.models.library import Library
from mistral_chat.models.operations import Verification, download, import_file, remove
from mistral_chat.models.partial import PartialFile, RemoteFile
from mistral_chat.models.retry import RetryPolicy

OTHER_DISK = Path("/dev/shm")  # noqa: S108 (a folder of its own is made there)


def test_verification_is_remembered_and_detects_changes(library: Library, hub: HubServer) -> None:
    hub.add(REPOSITORY, FILE, gguf_bytes(500_000))
    list(download(library, SPEC).follow())
    model = library.find(SPEC)
    task = Verification(library, model)
    assert list(task.follow())[-1].bytes == 500_000
    assert ([result.right for result in task.results.values()], task.right, task.state) == ([True], True, "done")
    model.path.chmod(0o600)
    with model.path.open("r+b") as file:
        file.seek(400_000)
        file.write(b"rot")
    assert library.find(SPEC).verified is None, "a changed file must not keep its old mark"
    hub.behave()
    task = Verification(library, library.find(SPEC))
    list(task.follow())
    assert [result.right for result in task.results.values()] == [False]
    assert library.find(SPEC, even_damaged=True).verified is False


def test_a_file_that_another_program_replaced_is_not_called_damaged(library: Library, tmp_path: Path) -> None:
    path = put(tmp_path / "theirs.gguf")
    library.checksums.add(path, DIGEST, DIGEST)
    put(path, gguf_bytes(500_000))
    task = Verification(library, library.find(str(path)))
    list(task.follow())
    assert task.right is None


def test_a_damaged_second_part_is_remembered(library: Library, models_dir: Path) -> None:
    spec = f"hf:{REPOSITORY}/tiny-00001-of-00002.gguf"
    for number in (1, 2):
        path = put(models_dir / REPOSITORY / f"tiny-0000{number}-of-00002.gguf")
        library.checksums.add(path, DIGEST, DIGEST)
    assert library.find(spec).verified is True
    put(path, CONTENT[:-1] + b"x")
    assert library.find(spec).verified is None, "one part has changed"
    list(Verification(library, library.find(spec)).follow())
    with pytest.raises(ModelUnusable, match="its SHA-256 is wrong"):
        library.find(spec)


def test_checksums_that_two_windows_save_at_once_are_all_kept(tmp_path: Path) -> None:
    path = put(tmp_path / "x.gguf")
    others = [tmp_path / f"{number}.gguf" for number in range(20)]
    begin = threading.Barrier(len(others))

    def save(other: Path) -> None:
        other.hardlink_to(path)
        begin.wait()
        ChecksumCache(tmp_path / "checked.json").add(other, DIGEST, DIGEST)

    threads = [threading.Thread(target=save, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert all(ChecksumCache(tmp_path / "checked.json").of(other) for other in others)


def test_checksums_that_cannot_be_read_are_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = put(tmp_path / "x.gguf"), put(tmp_path / "other.gguf")
    cache = ChecksumCache(tmp_path / "checked.json")
    cache.add(path, DIGEST, DIGEST)

    def refuse(_path: Path, _encoding: str) -> str:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_text", refuse)
        cache.add(other, DIGEST, DIGEST)
        assert cache.of(path) is None
    assert cache.of(path) is not None


def test_a_verification_that_cannot_be_saved_is_reported_all_the_same(library: Library, tmp_path: Path) -> None:
    (library.models_dir / "checked.json").mkdir(parents=True)
    task = Verification(library, library.find(str(put(tmp_path / DIGEST))))
    list(task.follow())
    assert task.state == "done"
    assert [result.sha256 for result in task.results.values()] == [DIGEST]


def test_a_cancelled_verification_reports_nothing(library: Library, tmp_path: Path) -> None:
    task = Verification(library, library.find(str(put(tmp_path / "x.gguf"))))
    task.cancel()
    list(task.follow())
    assert (task.results, task.right, task.state) == ({}, None, "paused")


def test_removing_reports_freed_space_and_leaves_nothing(library: Library, hub: HubServer) -> None:
    hub.add(REPOSITORY, FILE, gguf_bytes(500_000))
    hub.misbehave(Fault(cut_after=200_000, times=1))
    hub.misbehave(Fault(status=404))
    with pytest.raises(DownloadFailed):
        list(download(library, SPEC).follow())
    partial = library.partials()[0]
    assert (partial.name, partial.bytes, partial.total) == (SPEC, 200_000, 500_000)
    with pytest.raises(ModelNotFound, match=r"0\.2 of 0\.5 MB downloaded so far"):
        library.find(SPEC)
    assert remove(library, SPEC) == 200_000
    hub.behave()
    list(download(library, SPEC).follow())
    assert remove(library, SPEC) == 500_000
    assert {path.name for path in library.models_dir.iterdir()} == {"checked.json", ".checked.json.lock"}
    with pytest.raises(ModelNotFound):
        remove(library, SPEC)


def test_a_file_of_another_size_than_the_catalogs_is_removed_by_its_catalog_name(own_folders: Path, models_dir: Path) -> None:
    entry = CatalogSource(repository="acme/known", file="known.gguf", bytes=len(CONTENT) + 1)
    library = library_of(own_folders, models_dir, sources={"known": entry})
    put(models_dir / "acme/known/known.gguf")
    assert remove(library, "known") == len(CONTENT)
    assert not (models_dir / "acme").exists()
    with pytest.raises(ModelNotFound):
        remove(library, "known")


def test_an_import_takes_the_place_of_a_paused_download(own_folders: Path, models_dir: Path, tmp_path: Path) -> None:
    entry = CatalogSource(repository="acme/known", file="known.gguf", sha256=DIGEST, bytes=len(CONTENT))
    library = library_of(own_folders, models_dir, sources={"known": entry})
    part = PartialFile(put(models_dir / "acme/known/known.gguf.part", b"x").with_suffix(""))
    remote = RemoteFile(repository="acme/known", file="known.gguf", commit="", bytes=9, etag="e", sha256=None)
    part.resume_or_reset(remote)
    part.path.write_bytes(b"x")
    assert part.resume_or_reset(remote) == 1
    assert import_file(library, put(tmp_path / "known.gguf"), "copy").path == part.target
    assert library.partials() == []


@pytest.mark.parametrize("name", ["", "hf:acme/known/known.gguf"])
def test_a_part_of_a_catalog_file_has_the_catalogs_name(own_folders: Path, models_dir: Path, name: str) -> None:
    repository, file = "acme/known", "known.gguf"
    library = library_of(own_folders, models_dir, sources={"known": CatalogSource(repository=repository, file=file)})
    part = PartialFile(put(models_dir / repository / f"{file}.part", b"x").with_suffix(""))
    part.resume_or_reset(RemoteFile(name=name, repository=repository, file=file, commit="", bytes=9, etag="", sha256=None))
    part.path.touch()
    assert [each.name for each in library.partials()] == ["known"]
    remove(library, "hf:acme/known/known.gguf")
    assert not part.path.exists()


def test_a_download_that_continues_elsewhere_is_not_removed(library: Library, hub: HubServer) -> None:
    hub.add(REPOSITORY, FILE, gguf_bytes(500_000))
    hub.misbehave(Fault(stall_after=200_000, times=1))
    progress = download(library, SPEC).follow()
    while next(progress).bytes < 200_000:
        pass
    with pytest.raises(ModelError, match=r"is still being downloaded, here or by another mistral-chat\. Pause the download"):
        remove(library, SPEC)
    progress.close()  # type: ignore[attr-defined]  # it is a generator
    assert remove(library, SPEC) == 200_000


def test_the_first_part_is_not_removed_while_a_download_waits_to_ask_for_the_second(library: Library, hub: HubServer) -> None:
    """Its lock would go with it, and two downloads would write into one file."""
    first = f"{REPOSITORY}/tiny-00001-of-00002.gguf"
    put(library.models_dir / first)
    hub.add(REPOSITORY, "tiny-00001-of-00002.gguf", CONTENT)
    hub.misbehave(Fault(on="HEAD", status=503))
    task = download(library, f"hf:{first}", policy=RetryPolicy(first_wait=60, max_wait=60))
    progress = task.follow()
    while next(progress).stage != "retrying":
        pass
    with pytest.raises(ModelError, match="is still being downloaded"):
        remove(library, f"hf:{first}")
    progress.close()  # type: ignore[attr-defined]  # it is a generator
    task.join(PATIENCE)
    assert remove(library, f"hf:{first}") == len(CONTENT)
    assert not (library.models_dir / REPOSITORY).exists(), "a lock is left"


def test_only_what_is_in_the_models_folder_itself_is_removed(
    tmp_path: Path, own_folders: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = [put(tmp_path / "mine.gguf"), put(tmp_path / "lm studio" / REPOSITORY / FILE)]
    models_dir.mkdir()
    (models_dir / "linked").symlink_to(tmp_path / "lm studio")
    (models_dir / "link.gguf").symlink_to(theirs[0])
    library = library_of(own_folders, models_dir)
    monkeypatch.chdir(models_dir)
    for name in ("../mine.gguf", f"linked/{REPOSITORY}/{FILE}", str(models_dir / ".." / "mine.gguf")):
        with pytest.raises(UsageError, match="belongs to you or to another program"):
            remove(library, name)
    assert remove(library, "link.gguf") == 0, "the file that it links to is still there"
    assert not (models_dir / "link.gguf").is_symlink()
    assert all(path.read_bytes() == CONTENT for path in theirs)


def test_a_damaged_file_is_removed_though_another_program_has_a_sound_one(
    tmp_path: Path, own_folders: Path, models_dir: Path
) -> None:
    hub_cache(tmp_path / "cache")
    library = library_of(own_folders, models_dir, HF_HUB_CACHE=str(tmp_path / "cache"))
    ours = put(models_dir / REPOSITORY / FILE)
    library.checksums.add(ours, DIGEST, "0" * 64)
    assert library.find(SPEC).source == "hub cache"
    remove(library, SPEC)
    assert not ours.exists()


def test_a_locked_model_file_is_reported_with_advice(library: Library, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPOSITORY, FILE, gguf_bytes(500_000))
    list(download(library, SPEC).follow())

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "The process cannot access the file")

    monkeypatch.setattr(system, "delete", refuse)
    with pytest.raises(ModelError, match=r"cannot access the file\. If the model is in use, switch to another one"):
        remove(library, SPEC)
    assert library.find(SPEC).path.exists(), "it is gone"


def test_an_imported_file_has_its_name_in_the_list(library: Library, tmp_path: Path) -> None:
    taken = import_file(library, put(tmp_path / "given" / "mine.gguf"), "link")
    assert taken.name == "mine.gguf"
    assert [model.name for model in library.list() if model.source == "ours"] == ["mine.gguf"]
    assert remove(library, taken.name) == 0


@pytest.mark.parametrize("way", ["link", "move", "copy"])
def test_importing_brings_a_file_into_the_models_folder(tmp_path: Path, own_folders: Path, models_dir: Path, way: str) -> None:
    path = put(tmp_path / "mine-Q4_0.gguf")
    library = library_of(own_folders, models_dir)
    model = import_file(library, path, way)  # type: ignore[arg-type]  # the parameter's values are the literals
    assert (model.source, model.path) == ("ours", models_dir / "mine-Q4_0.gguf")
    assert path.exists() == (way != "move")
    assert model.path.read_bytes() == CONTENT
    with pytest.raises(ModelError, match="exists already"):
        import_file(library, put(tmp_path / "again" / "mine-Q4_0.gguf"), "copy")
    assert remove(library, "mine-Q4_0") == (0 if way == "link" else len(CONTENT))


@pytest.mark.parametrize("way", ["link", "move"])
def test_importing_follows_a_link_to_the_file(tmp_path: Path, own_folders: Path, models_dir: Path, way: str) -> None:
    link = hub_cache(tmp_path / "cache")
    model = import_file(library_of(own_folders, models_dir), link, way)  # type: ignore[arg-type]  # the parameter's values are the literals
    assert not model.path.is_symlink()
    assert model.path.read_bytes() == CONTENT
    assert link.is_symlink() == (way == "link")


@pytest.mark.skipif(not OTHER_DISK.is_dir(), reason="there is no second disk")
def test_moving_to_another_disk_copies_first(
    tmp_path: Path, own_folders: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = library_of(own_folders, models_dir)
    with tempfile.TemporaryDirectory(dir=OTHER_DISK) as other, monkeypatch.context() as full:
        path = put(Path(other) / "mine.gguf")
        full.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
        with pytest.raises(NotEnoughDisk):
            import_file(library, path, "move")
        full.undo()
        assert path.read_bytes() == CONTENT
        assert import_file(library, path, "move").path.read_bytes() == CONTENT
        assert not path.exists()


def test_moving_between_two_mounts_of_one_disk_copies(
    tmp_path: Path, own_folders: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, _target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", refuse)
    path = put(tmp_path / "mine.gguf")
    assert import_file(library_of(own_folders, models_dir), path, "move").path.read_bytes() == CONTENT
    assert not path.exists()


def test_a_models_folder_that_cannot_be_made_is_told(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    put(models_dir)
    with pytest.raises(ModelError, match=r"Could not import .* into .*below: Not a directory\.$"):
        import_file(library_of(own_folders, models_dir / "below"), put(tmp_path / "mine.gguf"), "link")


def test_a_blob_without_a_suffix_is_listed_once_imported(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    library = library_of(own_folders, models_dir)
    assert import_file(library, put(tmp_path / f"sha256-{DIGEST}"), "link").path == models_dir / f"sha256-{DIGEST}.gguf"
    assert [model.name for model in library.list() if model.source == "ours"] == [f"sha256-{DIGEST}.gguf"]


@pytest.mark.parametrize("way", ["link", "move", "copy"])
def test_a_split_import_that_fails_midway_leaves_everything_as_it_was(
    tmp_path: Path, own_folders: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    parts = [put(tmp_path / f"mine-0000{number}-of-00002.gguf") for number in (1, 2)]
    act = {"link": "hardlink_to", "move": "rename", "copy": "chmod"}[way]
    real = getattr(Path, act)

    def fail_for_the_second(path: Path, other: Path | int) -> object:
        if "-00002-" in path.name:
            raise OSError(errno.EIO, "Input/output error")
        return real(path, other)

    library = library_of(own_folders, models_dir)
    with monkeypatch.context() as broken:
        broken.setattr(Path, act, fail_for_the_second)
        with pytest.raises(ModelError, match="Input/output error"):
            import_file(library, parts[0], way)  # type: ignore[arg-type]  # the parameter's values are the literals
    assert [part.read_bytes() for part in parts] == [CONTENT] * 2
    assert list(models_dir.iterdir()) == []
    assert import_file(library, parts[0], way).bytes == 2 * len(CONTENT)  # type: ignore[arg-type]  # as above


def test_importing_a_known_file_gives_it_the_catalogs_name(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    sources = {"known": CatalogSource(repository="acme/known", file="known.gguf", bytes=len(CONTENT), sha256=DIGEST)}
    library = library_of(own_folders, models_dir, sources=sources)
    model = import_file(library, put(tmp_path / "x.gguf"), "copy")
    assert (model.name, model.verified, model.path) == ("known", True, models_dir / "acme" / "known" / "known.gguf")


def test_a_refused_import_leaves_nothing(
    tmp_path: Path, own_folders: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = library_of(own_folders, models_dir)
    with pytest.raises(ModelUnusable):
        import_file(library, put(tmp_path / "cut.gguf", CONTENT[:-1]), "move")
    full = shutil._ntuple_diskusage(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(ModelError, match=r"0\.0 GB free"):
        import_file(library, put(tmp_path / "whole.gguf"), "copy")

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(ModelError, match="--move or --copy"):
        import_file(library, tmp_path / "whole.gguf", "link")
    assert not list(models_dir.rglob("*.gguf"))
