"""Loads a model in a child process first, because llama.cpp may take the process down.

llama.cpp ends the process on some damaged files and on some processors. In the program itself that would take the screen along;
in a child it is a sentence. What was tried and survived is noted, so that each file is tried once.
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
"""Seconds after which a child that neither answers nor dies is killed."""

_BATCH = 32


def probe(path: Path, *, settings: EngineSettings, prompt_format: str | None, record: Path, note: bool = True) -> None:
    """Let a child load the weights at `path` and say two tokens with them, unless `record` says that this went well before.

    An error that is not a crash is left to the real loading, which describes it better.

    Args:
        path: the GGUF file.
        settings: how llama.cpp is to run.
        prompt_format: how messages become tokens, where the file's own way is not to be used.
        record: a file with a line for each set of weights and settings that survived.
        note: whether to add a line for this one.

    Raises:
        EngineLoadFailed: the child died or did not answer.
    """
    try:
        mark = identify(path, backend.version(), settings)
    except OSError as error:
        raise EngineLoadFailed(path, error.strerror or "it cannot be read") from error
    known = record.read_text(encoding="utf-8").split() if record.is_file() else []
    if mark in known:
        return
    command = [
        sys.executable,
        "-m",
        "mistral_chat.engine.llama.probe",
        str(path),
        json.dumps(asdict(settings)),
        prompt_format or "",
    ]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise EngineLoadFailed(path, f"llama.cpp did not answer within {TIMEOUT / 60:.0f} minutes when it was tried") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise EngineLoadFailed(
            path,
            f"llama.cpp died of it ({name}) when it was tried apart from the chat. The file is damaged, or this build of "
            "llama-cpp-python does not suit the processor: try `engine.repack: false` in config.yaml, or another file.",
        )
    if done.returncode == 0 and note:
        with os.fdopen(os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
            file.write(mark + "\n")


def smoke_test(path: Path, settings: EngineSettings, prompt_format: str | None) -> None:
    """Load the weights, find their prompt format, and decode one token.

    Weights are not repacked here: that takes longer than loading does, and is tried out apart before it is ever chosen.

    Raises:
        MistralChatError: that cannot be done.
    """
    quick = replace(settings, check_memory=False, repack=settings.repack or False)
    plan = replace(plan_load(path, quick, window=SMALLEST_WINDOW), batch=_BATCH)
    model, _, cache = load_parts(path, plan, parse_adapters(settings.lora), prompt_format, size=SMALLEST_WINDOW)
    cache.decode([max(0, model.vocabulary.bos)])
    cache.close()


def main(arguments: Sequence[str]) -> int:
    """Be the child: exit with 0 when all went well, with 1 when there was an error."""
    path, settings, prompt_format = arguments
    given = json.loads(settings)
    try:
        smoke_test(Path(path), EngineSettings(**{**given, "lora": tuple(given["lora"])}), prompt_format or None)
    except MistralChatError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
