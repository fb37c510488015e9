"""Test-loads a model in a child process, because llama.cpp may crash the process.

llama.cpp aborts on some damaged files and on some CPUs. In the app that would take down the screen; in a child it becomes an
error message. Successful tests are recorded, so that each file is tested once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from mistral_chat.config import EngineSettings
from mistral_chat.config.settings import SMALLEST_WINDOW
from mistral_chat.engine.llama import backend
from mistral_chat.engine.llama.engine import load_parts, plan_load
from mistral_chat.engine.llama.model import parse_adapters
from mistral_chat.engine.snapshots import identify
from mistral_chat.errors import EngineLoadFailed, MistralChatError

TIMEOUT = 600.0
"""Seconds after which a child that neither responds nor exits is killed."""

_BATCH = 32


def probe(path: Path, *, settings: EngineSettings, prompt_format: str | None, record: Path, note: bool = True) -> None:
    """Let a child load the model at `path` and generate two tokens, unless `record` says that this succeeded before.

    Errors other than crashes are left to the real loading, which describes them better.

    Args:
        path: the GGUF file.
        settings: how llama.cpp is to run.
        prompt_format: overrides the file's own prompt format.
        record: a file with a line for each model and settings that passed.
        note: whether to record this one.

    Raises:
        EngineLoadFailed: the child died or did not respond.
    """
    try:
        mark = identify(path, backend.version(), settings)
    except OSError as error:
        raise EngineLoadFailed(path, error.strerror or "it cannot be read") from error
    _try_in_child(path, [json.dumps(asdict(settings)), prompt_format or ""], mark=mark, record=record, note=note)


def probe_embedding(path: Path, *, record: Path, note: bool = True) -> None:
    """Let a child load the embedding model at `path` and embed a text with it, unless `record` says that this went well before.

    Takes and raises what `probe` does.
    """
    try:
        mark = identify(path, backend.version(), EngineSettings())
    except OSError as error:
        raise EngineLoadFailed(path, error.strerror or "it cannot be read") from error
    _try_in_child(path, [], mark=f"{mark}-embedding", record=record, note=note)


def _try_in_child(path: Path, how: Sequence[str], *, mark: str, record: Path, note: bool) -> None:
    """Try the weights in a child unless `record` holds `mark`, and add it there if they survive and `note` says so."""
    known = record.read_text(encoding="utf-8").split() if record.is_file() else []
    if mark in known:
        return
    command = [sys.executable, "-m", "mistral_chat.engine.llama.probe", str(path), *how]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise EngineLoadFailed(path, f"llama.cpp did not respond within {TIMEOUT / 60:.0f} minutes in a test") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise EngineLoadFailed(
            path,
            f"llama.cpp crashed ({name}) in a test. The file is damaged, or this build of "
            "llama-cpp-python does not support this CPU. Try `engine.repack: false` in config.yaml, or another file.",
        )
    if done.returncode == 0 and note:
        with os.fdopen(os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
            file.write(mark + "\n")


def smoke_test(path: Path, settings: EngineSettings, prompt_format: str | None) -> None:
    """Load the model, choose its prompt format, and decode one token.

    Weights are not repacked here: that takes longer than loading, and is tested separately before it is ever used.

    Raises:
        MistralChatError: any of this failed.
    """
    quick = replace(settings, check_memory=False, repack=settings.repack or False)
    plan = replace(plan_load(path, quick, window=SMALLEST_WINDOW), batch=_BATCH)
    model, _, cache = load_parts(path, plan, parse_adapters(settings.lora), prompt_format, size=SMALLEST_WINDOW)
    cache.decode([max(0, model.vocabulary.bos)])
    cache.close()


def main(arguments: Sequence[str]) -> int:
    """Run as the child: exit with 0 on success, with 1 after an error. A path without settings is an embedding model."""
    path, *how = arguments
    try:
        if not how:
            from mistral_chat.engine.llama.embedding import EmbeddingModel

            EmbeddingModel(Path(path)).embed_query("a")
            return 0
        settings, prompt_format = how
        given = json.loads(settings)
        smoke_test(Path(path), EngineSettings(**{**given, "lora": tuple(given["lora"])}), prompt_format or None)
    except MistralChatError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
