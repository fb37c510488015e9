"""A model's vocabulary: what it says of itself, and what it does once its model is gone."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.conversations import HOSTILE, WORDS
from support.gguf_factory import gguf_file

from mistral_chat.conversation import Message, Role
from mistral_chat.engine.encoding.choose import choose_format
from mistral_chat.engine.encoding.segments import describe, joined
from mistral_chat.engine.encoding.text import TextEncoder
from mistral_chat.engine.llama.model import open_vocabulary
from mistral_chat.errors import EngineFailed, EngineLoadFailed, PromptFormatError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mistral_chat.engine.llama.vocabulary import Vocabulary


def test_a_vocabulary_describes_its_model(vocabulary: Callable[[str], Vocabulary]) -> None:
    opened = vocabulary("v0.3")
    assert opened.name == "Mistral-7B-Instruct-v0.3"
    assert opened.architecture == "llama"
    assert opened.context_trained == 32768
    assert opened.template == "mistral-v3"
    assert (opened.bos, opened.eos, opened.add_bos) == (1, 2, True)
    assert opened.end_tokens == {2}
    assert vocabulary("v1-bare").template is None
    assert not vocabulary("v3-no-space").space_prefix
    assert vocabulary("tekken").pre_tokenizer == "tekken"


def test_pieces_spell_the_text(vocabulary: Callable[[str], Vocabulary]) -> None:
    for variant in ("v1", "v3", "tekken"):
        opened = vocabulary(variant)
        for text in [*WORDS, *HOSTILE]:
            spelled = b"".join(opened.piece(token) for token in opened.tokenize(text)).decode()
            expected = text.replace("\u2581", " ") if opened.is_sentencepiece else text
            assert spelled == (" " + expected if opened.space_prefix else expected)


def test_text_before_a_user_defined_piece_needs_nothing_to_be_cut_off(vocabulary: Callable[[str], Vocabulary]) -> None:
    opened = vocabulary("chatml-user-defined")
    encoder = TextEncoder(opened)
    encoder._barrier = None  # as where tokens merge with every control character
    piece, token = next(iter(opened.user_defined.items()))
    assert encoder.message(f"Hm{piece}") == (*opened.tokenize("Hm"), token)
    with pytest.raises(PromptFormatError, match="in the middle of a line"):
        encoder.message(f"Hm{piece}so")


def test_a_pasted_text_without_words_does_not_end_the_process(gguf_folder: Path) -> None:
    """llama.cpp's expressions recurse for each character of a word, and a word of Tekken may contain line breaks and slashes."""
    program = """if True:
        import pathlib, sys
        from mistral_chat.engine.llama.model import open_vocabulary
        with open_vocabulary(pathlib.Path(sys.argv[1])) as opened:
            for text in ("/\\n", "-/\\n", "a-", "a", "-", "_", " ", "\\n", "\\u0301", "é-1"):
                tokens = opened.tokenize(text * 20_000)
                assert b"".join(map(opened.piece, tokens)).decode() == text * 20_000
    """
    subprocess.run([sys.executable, "-c", program, str(gguf_file(gguf_folder, "tekken"))], check=True)


def test_a_long_text_without_spaces_has_the_tokens_that_llama_cpp_gives_it(gguf_folder: Path) -> None:
    with open_vocabulary(gguf_file(gguf_folder, "tekken")) as opened:
        for start in range(8):
            text = "." * start + '{"name":12,"other":["ab"]},' * 100
            assert opened.tokenize(text) == opened._tokenize(text.encode())


def test_many_threads_read_at_once(gguf_folder: Path) -> None:
    texts = [text * 50 for text in (*WORDS, *HOSTILE)]
    with open_vocabulary(gguf_file(gguf_folder, "v3")) as opened:
        expected = [opened.tokenize(text) for text in texts]
        with ThreadPoolExecutor(8) as threads:
            for found in threads.map(lambda _: [opened.tokenize(text) for text in texts], range(16)):
                assert found == expected


def test_a_closed_vocabulary_raises_an_error(gguf_folder: Path) -> None:
    with open_vocabulary(gguf_file(gguf_folder, "v3")) as opened:
        pass
    with pytest.raises(EngineFailed, match="closed"):
        opened.tokenize("Hello")
    with pytest.raises(EngineFailed, match="closed"):
        opened.piece(1000)


def test_a_file_that_is_not_gguf_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "page.gguf"
    path.write_text("<html>not found</html>")
    with pytest.raises(EngineLoadFailed, match=r"page\.gguf"), open_vocabulary(path):
        pass


def test_parts_of_characters_are_shown_as_bytes_and_joined_as_text(vocabulary: Callable[[str], Vocabulary]) -> None:
    opened = vocabulary("v3")
    chosen = choose_format(opened, opened.template, opened.name, None)
    pieces = describe(chosen.encode_messages([Message(Role.USER, "𰁴")]), opened)
    assert [piece.text for piece in pieces] == ["<s>", "[INST]", " ", "<0xF0>", "<0xB0>", "<0x81>", "<0xB4>", "[/INST]"]
    assert [piece.is_control for piece in pieces] == [True, True, False, False, False, False, False, True]
    assert [piece.span is not None for piece in pieces] == [False, False, False, True, True, True, True, False]
    assert joined(pieces[2:-1], opened) == " 𰁴"
