"""The log helps to find a fault, and contains no text of conversations."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from mistral_chat.cli import logs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SAID = "a secret from a conversation"


@pytest.fixture(autouse=True)
def unlogged() -> Iterator[None]:
    yield
    logs.start_log(None)


def test_llama_cpp_and_the_program_share_one_private_file(tmp_path: Path) -> None:
    path = tmp_path / "log" / "mistral-chat.log"
    logs.start_log(path)
    logging.getLogger("mistral_chat.llama").warning("a line of llama.cpp")
    logging.getLogger("mistral_chat.app").info("a line of the program")
    text = path.read_text()
    assert "WARNING mistral_chat.llama: a line of llama.cpp" in text
    assert "INFO mistral_chat.app: a line of the program" in text
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_an_exception_is_logged_as_type_and_places(tmp_path: Path) -> None:
    logs.start_log(tmp_path / "log")

    def fail(text: str) -> None:
        raise ValueError(text)

    try:
        fail(SAID)
    except ValueError:
        logging.getLogger("mistral_chat").exception("it failed", stack_info=True)
    text = (tmp_path / "log").read_text()
    assert "ValueError" in text
    assert "test_logs.py:" in text
    assert " fail" in text
    assert SAID not in text
    assert "raise ValueError" not in text


def test_a_large_log_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "mistral-chat.log"
    path.write_text("x" * (logs.LARGEST + 1))
    logs.start_log(path)
    logging.getLogger("mistral_chat").info("new")
    assert path.stat().st_size < 200
    assert (tmp_path / "mistral-chat.log.1").stat().st_size > logs.LARGEST


def test_without_a_file_nothing_is_written_anywhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logs.start_log(None)
    logging.getLogger("mistral_chat.llama").error("a line")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.glob("*.log"))


def test_an_unwritable_log_stops_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    logs.start_log(tmp_path / "file" / "mistral-chat.log")
    logging.getLogger("mistral_chat").error("a line")
    assert capfd.readouterr() == ("", "")
