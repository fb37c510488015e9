"""Test-loads a model in a child process, because llama.cpp may crash the process.

llama.cpp aborts on some damaged files and on some CPUs. In the app that would take down the screen; in a child it becomes an
error message. Successful tests are recorded, so that each file is tested once.

Most of that costs no time: the child starts before the program imports llama.cpp, and decodes while the program loads.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, Final, Self

from mistral_chat.errors import EngineLoadFailed, MistralChatError
from mistral_chat.paths import private_opener

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from mistral_chat.config import EngineSettings

TIMEOUT: Final = 600.0
"""Seconds after which a child that neither responds nor exits is killed."""

LOADED, DECODED = "loaded", "decoded"
"""What the child prints."""

_WINDOW, _BATCH = 256, 32
_TEXT: Final = "Hello!\n\n\t1,234 Grüße, 你好 😀"

_GPU_LAYERS: Final = 2
"""Layers that are tested on a GPU; copying all of them there would take as long as loading."""


class Probe:
    """A child that loads a model and decodes a token, unless this succeeded before. Exiting its context ends the child.

    Errors other than crashes are left to the real loading, which describes them better.
    """

    def __init__(self, path: Path, settings: EngineSettings | None, record: Path, *, note: bool = True) -> None:
        """Start the child.

        Args:
            path: the GGUF file.
            settings: how llama.cpp is to run; None for an embedding model.
            record: a file with a line for each model and settings that passed.
            note: whether to record this one.

        Raises:
            EngineLoadFailed: the file cannot be read.
        """
        from mistral_chat.engine.snapshots import identify  # the child does without it

        self._path, self._record, self._note = path, record, note
        try:
            self._mark = identify(path, _installation(), settings or "embedding")
        except OSError as error:
            raise EngineLoadFailed(path, error.strerror or "it cannot be read") from error
        self._child: subprocess.Popen[str] | None = None
        try:
            passed = record.read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            passed = []
        if self._mark not in passed:
            how = json.dumps(asdict(settings) if settings else None)
            command = [sys.executable, "-P", "-m", "mistral_chat.engine.llama.probe", str(path), how]
            quiet = subprocess.DEVNULL
            self._child = subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, text=True)

    def wait_loaded(self) -> None:
        """Wait until the child has loaded the model.

        Raises:
            EngineLoadFailed: it crashed.
        """
        self._await(LOADED)

    def wait_decoded(self) -> None:
        """Wait until the child has decoded a token, and record that.

        Raises:
            EngineLoadFailed: it crashed.
        """
        if self._await(DECODED) and self._note:
            # On a full disk, the model is tested again next time.
            with contextlib.suppress(OSError), open(self._record, "a", encoding="utf-8", opener=private_opener) as file:
                file.write(self._mark + "\n")

    def _await(self, word: str) -> bool:
        """Wait until the child prints `word`; False if it exits before, or was not needed."""
        child = self._child
        if child is None or child.stdout is None or child.returncode is not None:
            return False
        timer = Timer(TIMEOUT, child.kill)
        timer.start()
        try:
            if any(line.strip() == word for line in child.stdout):
                return True
            code = child.wait()
        finally:
            timer.cancel()
        if code in {0, 1}:
            return False
        name = signal.Signals(-code).name if code < 0 else f"exit code {code:#x}"
        if name == "SIGKILL":
            reason = (
                "its test was killed: the computer may have run out of memory, or reading the file took longer than 10 minutes."
            )
        else:
            reason = (
                f"llama.cpp crashed ({name}) in a test. The file is damaged, or this build of "
                "llama-cpp-python does not support this CPU. Try `engine.repack: false` in config.yaml, or another file."
            )
        raise EngineLoadFailed(self._path, reason)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._child is not None and self._child.stdout is not None:
            self._child.kill()
            self._child.wait()
            self._child.stdout.close()


def _installation() -> tuple[object, ...]:
    """Identifies the installed llama-cpp-python without importing it: by its file and modification time."""
    found = importlib.util.find_spec("llama_cpp")
    return (found.origin, Path(found.origin).stat().st_mtime_ns) if found is not None and found.origin else ()


def smoke_test(path: Path, settings: dict[str, Any]) -> None:
    """Load the model, tokenize a text, and decode one token; print the progress.

    Weights are repacked here only if the settings say so: that takes longer than loading, and is tested separately otherwise.

    Raises:
        MistralChatError: any of this failed.
    """
    from mistral_chat.engine.llama.bindings import llama_cpp
    from mistral_chat.engine.llama.model import Model, parse_adapters

    layers = 0 if settings["n_gpu_layers"] == 0 else _GPU_LAYERS
    model = Model(path, n_gpu_layers=layers, repack=bool(settings["repack"]))
    for file, scale in parse_adapters(settings["lora"]):
        model.add_adapter(file, scale)
    tokens = model.vocabulary.tokenize(_TEXT)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = _WINDOW, _BATCH, _BATCH
    params.flash_attn_type = {"auto": -1, "off": 0, "on": 1}[settings["flash_attention"]]
    params.type_k = params.type_v = llama_cpp.GGML_TYPE_Q8_0 if settings["kv_type"] == "q8_0" else llama_cpp.GGML_TYPE_F16
    params.n_threads = params.n_threads_batch = settings["threads"] or max(1, (os.cpu_count() or 2) // 2)
    context = llama_cpp.llama_init_from_model(model.pointer, params)
    if not context:
        raise EngineLoadFailed(path, "its context cannot be created")
    model.apply_adapters(context)
    _print(LOADED)
    llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one((llama_cpp.llama_token * 1)(*tokens[:1]), 1))
    _print(DECODED)


def _print(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Run as the child: return 0 on success, and 1 after an error."""
    path, settings = Path(arguments[0]), json.loads(arguments[1])
    try:
        if settings is None:
            from mistral_chat.engine.llama.embedding import EmbeddingModel

            EmbeddingModel(path).embed_query("a")
            _print(DECODED)
        else:
            smoke_test(path, settings)
    except MistralChatError:
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # freeing everything in order would take as long as loading it
