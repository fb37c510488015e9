"""Texts as vectors, by llama.cpp on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from support.demo import HOW as HOW_DEMO
from support.demo import demo_file
from support.embedding_models import HOW, minilm_file, tiny_bert

from mistral_chat.engine.llama.embedding import TOKENS, EmbeddingModel, Prefixes, prefixes_of
from mistral_chat.errors import EngineFailed, EngineLoadFailed

TEXTS = ["the rent", "a roof, leaking since march", "?", "", "x" * 5000, "the " * 2000, "\x00\ud800 caf\u00e9 \U0001f600"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddingModel]:
    model = EmbeddingModel(tiny_bert(tmp_path_factory.mktemp("tiny") / "tiny.gguf"))
    yield model
    model.close()


@pytest.fixture(scope="module")
def minilm() -> Iterator[EmbeddingModel]:
    path = minilm_file()
    if path is None:
        pytest.skip(HOW)
    model = EmbeddingModel(path)
    yield model
    model.close()


def test_every_text_has_a_vector_of_length_one(tiny: EmbeddingModel) -> None:
    vectors = tiny.embed_passages(TEXTS)
    assert vectors.shape == (len(TEXTS), tiny.dimensions)
    assert vectors.dtype == np.float16
    assert np.allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=0.01)


def test_a_vector_does_not_depend_on_what_is_read_with_it(tiny: EmbeddingModel) -> None:
    together = tiny.embed_passages(TEXTS * 5).astype(np.float32)
    alone = np.concatenate([tiny.embed_passages([text]) for text in TEXTS]).astype(np.float32)
    assert np.allclose(together[: len(TEXTS)], alone, atol=0.01)
    assert np.allclose(together[-len(TEXTS) :], alone, atol=0.01)


def test_a_long_text_is_embedded_by_its_beginning(tiny: EmbeddingModel) -> None:
    long = tiny.embed_passages(["rent " * TOKENS + "roof " * TOKENS, "rent " * 2 * TOKENS]).astype(np.float32)
    assert long[0] @ long[1] > 0.99


@pytest.mark.parametrize("pooling", [1, 2])
def test_pooling_comes_from_the_file(tmp_path: Path, pooling: int) -> None:
    model = EmbeddingModel(tiny_bert(tmp_path / "a.gguf", pooling=pooling))
    text = "the roof of the house"
    vector = model.embed_passages([text])[0].astype(np.float32)
    model.close()
    other = EmbeddingModel(tiny_bert(tmp_path / "b.gguf", pooling=3 - pooling))
    assert vector @ other.embed_passages([text])[0].astype(np.float32) < 0.99
    other.close()


def test_a_file_without_pooling_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineLoadFailed, match="not an embedding model"):
        EmbeddingModel(tiny_bert(tmp_path / "a.gguf", pooling=0))


def test_a_chat_model_is_refused() -> None:
    path = demo_file()
    if path is None:
        pytest.skip(HOW_DEMO)
    with pytest.raises(EngineLoadFailed, match="not an embedding model"):
        EmbeddingModel(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tiny_bert(tmp_path / "a.gguf")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(EngineLoadFailed):
        EmbeddingModel(path)


def test_a_closed_model_raises_an_error(tmp_path: Path) -> None:
    model = EmbeddingModel(tiny_bert(tmp_path / "a.gguf"))
    model.close()
    model.close()
    with pytest.raises(EngineFailed, match="closed"):
        model.embed_query("rent")


def test_threads_take_turns(tiny: EmbeddingModel) -> None:
    expected = tiny.embed_passages(TEXTS[:2])
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(n for n in range(20) if not np.array_equal(tiny.embed_passages(TEXTS[:2]), expected))

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("all-MiniLM-L6-v2-Q8_0", Prefixes()),
        ("bge-small-en-v1.5-q8_0", Prefixes("Represent this sentence for searching relevant passages: ")),
        ("nomic-embed-text-v1.5.Q8_0", Prefixes("search_query: ", "search_document: ")),
        ("embeddinggemma-300M-qat-Q4_0", Prefixes("task: search result | query: ", "title: none | text: ")),
        ("Multilingual E5 small", Prefixes("query: ", "passage: ")),
        ("bge-m3", Prefixes()),
    ],
)
def test_each_model_gets_its_training_prefixes(name: str, expected: Prefixes) -> None:
    assert prefixes_of("unknown", name) == expected


def test_each_model_has_its_own_key(tmp_path: Path, tiny: EmbeddingModel) -> None:
    other = EmbeddingModel(tiny_bert(tmp_path / "a.gguf", width=64))
    assert (other.dimensions, other.key) != (tiny.dimensions, tiny.key)
    other.close()


def test_minilm_finds_what_is_meant(minilm: EmbeddingModel) -> None:
    query = minilm.embed_query("How do I reset my password?").astype(np.float32)
    passages = ["To regain access to your account, use the link on the login page.", "Bananas are rich in potassium."]
    near, far = minilm.embed_passages(passages).astype(np.float32) @ query
    assert near > 0.4
    assert far < 0.15
    assert (minilm.dimensions, minilm.name) == (384, "all-MiniLM-L6-v2")


def test_minilm_matches_the_published_similarities(minilm: EmbeddingModel) -> None:
    """The cosines on the model's card, between its first sentence and the other two."""
    sentences = ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    vectors = minilm.embed_passages(sentences).astype(np.float32)
    assert np.allclose(vectors[1:] @ vectors[0], [0.695, 0.943, 0.257], atol=0.01)
