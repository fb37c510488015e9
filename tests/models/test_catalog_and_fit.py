from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from mistral_chat.config import CatalogSource, Settings
from mistral_chat.engine.llama.embedding import prefixes_of
from mistral_chat.errors import ModelNotFound
from mistral_chat.memory_estimate import estimate_memory
from mistral_chat.models.catalog import Catalog, CatalogEntry, parse_hub_spec, quantization_in
from mistral_chat.models.memory_fit import AvailableMemory, estimate_for, file_bytes, fit_verdict, recommend
from mistral_chat.models.metadata import read_metadata

GB = 1_000_000_000
DEFAULT = "mistral-7b-instruct-v0.3"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load_bundled()


def entry(catalog: Catalog, name: str) -> CatalogEntry:
    found = catalog.find(name)
    assert found is not None
    return found


def test_every_entry_is_well_formed(catalog: Catalog) -> None:
    names = [each.name for each in catalog.entries()]
    assert len(names) == len(set(names))
    for each in catalog.entries():
        assert catalog.find(each.name) == each
        assert quantization_in(each.file) == each.quantization
        assert each.sha256 is None or re.fullmatch("[0-9a-f]{64}", each.sha256)
        assert each.licence
        if not each.package:
            assert parse_hub_spec(f"hf:{each.repository}@{each.revision}/{each.file}").file == each.file


def test_the_settings_default_is_in_the_catalog_with_its_hash(catalog: Catalog) -> None:
    default = entry(catalog, Settings().model)
    assert (default.quantization, default.bytes, default.prompt_format) == ("Q4_K_M", 4_372_812_000, "mistral-v3")
    assert default.sha256 == "1270d22c0fbb3d092fb725d4d96c457b7b687a5f5a715abe1e818da303e562b6"
    assert re.fullmatch("[0-9a-f]{40}", default.revision)


def test_a_name_may_choose_the_quantization_in_any_case(catalog: Catalog) -> None:
    assert entry(catalog, "Mistral-7B-Instruct-v0.3:q5_k_m").file == "Mistral-7B-Instruct-v0.3-Q5_K_M.gguf"
    assert entry(catalog, f"{DEFAULT}:Q4_K_M") == entry(catalog, DEFAULT)
    assert catalog.find("nothing") is None
    with pytest.raises(ModelNotFound, match="has no quantization 'Q9'"):
        catalog.find(f"{DEFAULT}:q9")


@pytest.mark.parametrize(
    "spec",
    [
        "hf:",
        "hf:owner",
        "hf:owner/name",
        "hf:owner/name/",
        "hf:owner/name/x.bin",
        "hf:owner/name/../x.gguf",
        "hf:owner/name/a//x.gguf",
        "hf:../name/x.gguf",
        "hf:owner/name@../x.gguf",
        "hf:owner/name/.hidden.gguf",
        "hf:ow ner/name/x.gguf",
        "hf:owner/name/x\n.gguf",
    ],
)
def test_a_hub_name_stays_inside_its_repository(spec: str) -> None:
    with pytest.raises(ModelNotFound, match="Write hf:OWNER/REPOSITORY/FILE"):
        parse_hub_spec(spec)


def test_a_hub_name_may_hold_folders_and_a_revision() -> None:
    found = parse_hub_spec("hf:owner/name@v1/q4/x-Q4_K_M.gguf")
    assert (found.repository, found.revision, PurePosixPath(found.file), found.quantization) == (
        "owner/name",
        "v1",
        PurePosixPath("q4/x-Q4_K_M.gguf"),
        "Q4_K_M",
    )


def test_entries_in_the_settings_win() -> None:
    source = CatalogSource(repository="me/mine", file="mine-Q8_0.gguf", bytes=5, sha256="AB" * 32, prompt_format="chatml")
    catalog = Catalog.load_bundled({"Mine": source, DEFAULT: source})
    assert (entry(catalog, "mine").sha256, entry(catalog, "mine").quantization) == ("ab" * 32, "Q8_0")
    assert entry(catalog, DEFAULT).repository == "me/mine"


@pytest.mark.parametrize(
    ("spec", "wanted"), [("mistral-7b", DEFAULT), ("minstral-3-3b-instruct-2512", "ministral-3-3b-instruct-2512"), ("zzz", None)]
)
def test_a_misspelt_name_gets_a_suggestion(catalog: Catalog, spec: str, wanted: str | None) -> None:
    assert next(iter(catalog.similar(spec)), None) == wanted


def test_needs_are_close_to_what_llama_cpp_reports(catalog: Catalog, demo_model: object) -> None:
    """llama.cpp 0.3.36 printed these buffer sizes, in MiB, for a 7B and for the demo."""
    dimensions = entry(catalog, DEFAULT).dimensions
    assert dimensions is not None
    for window, flash, kv, compute in ((1024, False, 128, 122.0), (4096, False, 512, 308.0), (1024, True, 128, 117.0)):
        found = estimate_memory(dimensions, 1, window=window, flash_attention=flash)
        assert found.kv == kv * 2**20
        assert found.compute / 2**20 == pytest.approx(compute, rel=0.04)
    assert estimate_memory(dimensions, 1, window=4096, kv_type="q8_0").kv == 272 * 2**20
    assert estimate_memory(dimensions, 1, window=1000).kv == 128 * 2**20


def test_the_demos_need_is_close_to_what_llama_cpp_reports(catalog: Catalog) -> None:
    dimensions = entry(catalog, "demo").dimensions
    assert dimensions is not None
    for window, compute in ((1024, 98.25), (4096, 99.4), (8192, 166.4)):
        assert estimate_memory(dimensions, 1, window=window).compute / 2**20 == pytest.approx(compute, rel=0.02)


def test_a_file_and_its_catalog_entry_need_the_same(catalog: Catalog, demo_model: object) -> None:
    from pathlib import Path

    assert isinstance(demo_model, Path)
    demo = entry(catalog, "demo")
    assert demo.dimensions is not None
    assert demo.bytes is not None
    assert estimate_for(read_metadata(demo_model), window=4096) == estimate_memory(demo.dimensions, demo.bytes, window=4096)
    assert read_metadata(demo_model).dimensions == demo.dimensions


def test_a_size_that_is_not_stated_is_estimated_within_a_hundredth(catalog: Catalog) -> None:
    from dataclasses import replace

    for each in catalog.entries():
        if each.bytes and each.model.startswith("mistral-7b"):
            size, exact = file_bytes(replace(each, bytes=None))
            assert not exact
            assert size == pytest.approx(each.bytes, rel=0.01)


@pytest.mark.parametrize(
    ("memory", "wanted"),
    [
        (AvailableMemory(ram=24 * GB), DEFAULT),
        (AvailableMemory(ram=8 * GB), DEFAULT),
        (AvailableMemory(ram=int(5.6 * GB)), f"{DEFAULT}:IQ3_M"),
        (AvailableMemory(ram=int(4.5 * GB)), "ministral-3-3b-instruct-2512"),
        (AvailableMemory(ram=1 * GB), "demo"),
        (AvailableMemory(ram=0), "demo"),
        (AvailableMemory(ram=2 * GB, vram=8 * GB), DEFAULT),
        (AvailableMemory(ram=8 * GB, vram=6 * GB, unified=True), DEFAULT),
    ],
)
def test_exactly_one_is_recommended_and_it_suits_the_machine(catalog: Catalog, memory: AvailableMemory, wanted: str) -> None:
    choices = recommend(catalog, memory)
    assert [choice.spec for choice in choices if choice.recommended] == [wanted]
    chat = [each.name for each in catalog.entries("chat")]
    assert [choice.spec for choice in choices] == chat, "an embedding model is offered for chatting"
    families = {choice.family for choice in choices}
    assert sorted(choice.family for choice in choices if choice.suggested) == sorted(families), "one row a family"
    assert all(choice.reason.endswith(".") for choice in choices)


def test_the_reason_says_where_a_model_would_run(catalog: Catalog) -> None:
    def reason(memory: AvailableMemory) -> str:
        return next(c.reason for c in recommend(catalog, memory) if c.spec == DEFAULT)

    assert reason(AvailableMemory(ram=24 * GB)) == "Needs about 5.2 GB of memory; 24.0 GB available."
    assert "Close other programs first." in reason(AvailableMemory(ram=6 * GB))
    assert "would fail to load or be very slow" in reason(AvailableMemory(ram=4 * GB))
    assert "Part of it runs on the CPU" in reason(AvailableMemory(ram=8 * GB, vram=4 * GB))
    assert "8.0 GB available on the graphics card" in reason(AvailableMemory(ram=8 * GB, vram=8 * GB))
    mac = AvailableMemory(ram=12 * GB, vram=int(10.7 * GB), unified=True)
    assert reason(mac).endswith("12.0 GB available, of which macOS lets the GPU use 10.7 GB.")
    small = AvailableMemory(ram=8 * GB, vram=5 * GB, unified=True)
    assert "GPU use 5.0 GB. Part of it runs on the CPU" in reason(small), "Metal's working set is smaller than the model"


def test_unknown_facts_are_called_unknown() -> None:
    assert fit_verdict(None, AvailableMemory(ram=GB)) == "unknown"
    assert file_bytes(parse_hub_spec("hf:a/b/c-Q4_K_M.gguf")) == (None, False)


def test_embedding_models_are_listed_separately_with_their_needs(catalog: Catalog) -> None:
    found = {each.model: each for each in catalog.entries("embedding")}
    assert set(found) == {"all-minilm-l6-v2", "bge-small-en-v1.5", "nomic-embed-text-v1.5", "embeddinggemma-300m"}
    for each in found.values():
        assert each.embedding is not None
        assert (each.embedding.dimensions, each.embedding.context) > (0, 0)
        assert file_bytes(each)[0], "how much is downloaded is not said"
    nomic, bge = found["nomic-embed-text-v1.5"].embedding, found["bge-small-en-v1.5"].embedding
    assert nomic is not None
    assert bge is not None
    assert (nomic.query_prefix, nomic.document_prefix, nomic.pooling) == ("search_query: ", "search_document: ", "mean")
    assert bge.pooling == "cls"
    assert file_bytes(found["bge-small-en-v1.5"]) == (37_000_000, False), "a rounded size is taken for the exact one"


def test_an_embedding_model_is_known_by_its_name_and_by_its_file(catalog: Catalog) -> None:
    bge = catalog.embedding_traits("bge-small-en-v1.5:Q8_0", "any.gguf")
    assert bge is not None
    assert (bge.pooling, bge.query_prefix) == ("cls", "Represent this sentence for searching relevant passages: ")
    gemma = catalog.embedding_traits("/models/x.gguf", "embeddinggemma-300M-Q8_0.gguf")
    assert gemma is not None
    assert (gemma.query_prefix, gemma.document_prefix) == ("task: search result | query: ", "title: none | text: ")
    assert catalog.embedding_traits("/models/x.gguf", "x.gguf") is None
    for entry in catalog.entries("embedding"):
        assert entry.embedding is not None
        assert prefixes_of(entry.file) == (entry.embedding.query_prefix, entry.embedding.document_prefix)
