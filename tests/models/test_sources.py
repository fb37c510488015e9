"""What is on the disk already is found where other programs keep it, used in place, and never written to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.models_on_disk import COMMIT, CONTENT, DIGEST, hub_cache, library_of, ollama_store, put
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes

from mistral_chat.config import CatalogSource
from mistral_chat.errors import ModelNotFound, ModelUnusable, UsageError
from mistral_chat.models.library import Library
from mistral_chat.models.operations import Verification, remove

LOADER = Path(__file__).parents[1] / "support" / "load_in_child.py"


def traces(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything below a folder, with size, mode and time of the last change."""
    return {str(path): (s.st_size, s.st_mode, s.st_mtime_ns) for path in sorted(folder.rglob("*")) for s in [path.lstat()]}


@pytest.mark.parametrize("store", ["hub cache", "lm studio", "ollama", "folder"])
def test_other_programs_models_are_used_in_place(tmp_path: Path, own_folders: Path, models_dir: Path, store: str) -> None:
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
    assert [model.path for model in library.list() if model.source == store] == [found.path]
    assert library.find(found.name).path == found.path
    loaded = subprocess.run([sys.executable, str(LOADER)], input=f"{found.path}\n", capture_output=True, text=True, check=True)
    assert loaded.stdout.endswith("\tloaded\n")
    with pytest.raises(UsageError, match="was not removed"):
        remove(library, names[store])
    assert traces(own_folders) | traces(tmp_path / "shelf") == before
    assert not models_dir.exists()


def test_folders_of_other_programs_follow_the_environment(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    hub_cache(tmp_path / "a" / "hub", repository="acme/one")
    hub_cache(tmp_path / "b", repository="acme/two", content=gguf_bytes(120_000, 1))
    ollama_store(tmp_path / "c", "registry.ollama.ai/someone/chat/latest", gguf_bytes(120_000, 2))
    put(own_folders / ".lmstudio-home-pointer", str(tmp_path / "d").encode())
    put(tmp_path / "d" / "settings.json", json.dumps({"downloadsFolder": str(tmp_path / "e")}).encode())
    put(tmp_path / "e" / "pub" / "repo" / "x.gguf", gguf_bytes(120_000, 3))
    names = {model.name for model in library_of(own_folders, models_dir, HF_HOME=str(tmp_path / "a")).list()}
    assert {f"hf:acme/one/{FILE}", "pub/repo/x.gguf"} <= names
    library = library_of(own_folders, models_dir, HF_HUB_CACHE=str(tmp_path / "b"), OLLAMA_MODELS=str(tmp_path / "c"))
    assert {f"hf:acme/two/{FILE}", "someone/chat:latest"} <= {model.name for model in library.list()}


def test_hostile_and_broken_folders_do_no_harm(own_folders: Path, models_dir: Path) -> None:
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
    assert [model.source for model in library_of(own_folders, models_dir).list()] in ([], ["demo"])


def test_one_odd_link_hides_no_other_model(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    """A link to a name that no file can have, or into a folder that may not be entered, is an error even to ask about."""
    hub = own_folders / "cache" / "huggingface" / "hub"
    snapshots = hub_cache(hub).parents[1]
    ollama = own_folders / ".ollama" / "models"
    blob = ollama_store(ollama)
    ollama_store(ollama, "registry.ollama.ai/library/whole/7b", gguf_bytes(120_000, 5))
    put(tmp_path / "shelf" / "mine.gguf", gguf_bytes(120_000, 6))
    part = put(tmp_path / "shelf" / "split-00001-of-00002.gguf", gguf_bytes(120_000, 7))
    blob.unlink()
    odd = (blob, hub / "odd", snapshots / "odd", tmp_path / "shelf" / "odd.gguf", part.with_name("split-00002-of-00002.gguf"))
    for link in odd:
        link.symlink_to("n" * 300)
    library = library_of(own_folders, models_dir, folders=(tmp_path / "shelf",))
    assert {model.name for model in library.list()} - {"demo"} == {SPEC, "whole:7b", "mine.gguf"}
    assert library.find("mine").source == "folder"
    with pytest.raises(ModelUnusable, match=r"its part .* is missing"):
        library.find("split-00001-of-00002")


@pytest.mark.parametrize("name", ["/a\0b", "/\ud800"])
def test_a_name_that_no_folder_can_have_hides_no_other_model(own_folders: Path, models_dir: Path, name: str) -> None:
    put(own_folders / ".lmstudio" / "settings.json", json.dumps({"downloadsFolder": name}).encode())
    put(own_folders / ".lmstudio-home-pointer", name.encode(errors="replace"))
    put(own_folders / ".lmstudio" / "models" / REPOSITORY / FILE)
    found = library_of(own_folders, models_dir, folders=(Path(name),)).list()
    assert [model.source for model in found if model.source != "demo"] == ["lm studio"]


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
    with pytest.raises(ModelNotFound):
        library.find("wrong-size")
    assert {"by-hash", "by-place", "by-name-and-size", "pub/repo/wrong.gguf"} <= {model.name for model in library.list()}


def verified(library: Library) -> bool | None:
    task = Verification(library, library.find("mistral:7b", even_damaged=True))
    list(task.follow())
    return task.right


def test_verifying_a_blob_compares_it_with_its_own_name(own_folders: Path, models_dir: Path) -> None:
    blob = ollama_store(own_folders / ".ollama" / "models")
    library = library_of(own_folders, models_dir)
    assert verified(library) is True
    assert library.find("mistral:7b").verified is True
    with blob.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"rot")
    assert verified(library) is False
    assert [model.verified for model in library.list() if model.source == "ollama"] == [False]
    with pytest.raises(ModelUnusable, match="damaged"):
        library.find("mistral:7b")


@pytest.mark.parametrize("store", ["lm studio", "folder", "ours"])
def test_models_in_linked_folders_are_found_once_and_loops_end(
    tmp_path: Path, own_folders: Path, models_dir: Path, store: str
) -> None:
    """Users link the folder to keep models on a second disk; a folder that is silently skipped is a lost model."""
    roots = {"lm studio": own_folders / ".lmstudio" / "models", "folder": tmp_path / "mine", "ours": models_dir}
    root = roots[store]
    put(tmp_path / "disk" / "repo" / "linked.gguf")
    root.mkdir(parents=True)
    (root / "pub").symlink_to(tmp_path / "disk", target_is_directory=True)
    (tmp_path / "disk" / "again").symlink_to(root, target_is_directory=True)
    (root / "gone").symlink_to(tmp_path / "nowhere", target_is_directory=True)
    library = library_of(own_folders, models_dir, folders=(tmp_path / "mine",))
    assert [model.path.name for model in library.list() if model.source == store] == ["linked.gguf"]
    assert library.find("linked").source == store


def test_ollama_models_are_found_by_ollamas_names(own_folders: Path, models_dir: Path) -> None:
    root = own_folders / ".ollama" / "models"
    ollama_store(root, "registry.ollama.ai/library/smollm2/latest")
    ollama_store(root, "registry.ollama.ai/library/smollm2/135m")
    ollama_store(root, "registry.ollama.ai/library/mistral/7b", gguf_bytes(120_000, 5))
    library = library_of(own_folders, models_dir)
    for spec in ("smollm2", "SmolLM2:latest", "smollm2:135m"):
        assert library.find(spec).source == "ollama", f"{spec} is not found"
    with pytest.raises(ModelNotFound, match=r"Did you mean mistral:7b"):
        library.find("mistral")
    listed = {model.name: model.aliases for model in library.list() if model.source == "ollama"}
    assert listed == {"mistral:7b": (), "smollm2:135m": ("smollm2:latest",)}, "a tag of the same blob has no name"
