"""Loads GGUF files named on standard input, one a line, in llama.cpp, and says of each what came of it.

A test runs this as a process of its own: a file that kills it is the last one that it named.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

os.environ["GGML_NO_BACKTRACE"] = "1"

import llama_cpp


def load(path: bytes) -> str:
    """Load the model, make a context, and decode four tokens."""
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(path, params)
    if not model:
        return "refused"
    try:
        asked = llama_cpp.llama_context_default_params()
        asked.n_ctx, asked.n_batch, asked.n_threads, asked.n_threads_batch = 256, 64, 1, 1
        context = llama_cpp.llama_init_from_model(model, asked)
        if not context:
            return "no context"
        try:
            words = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
            tokens = (llama_cpp.llama_token * 4)(*(min(place, words - 1) for place in (1, 5, 6, 7)))
            code = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, 4))
        finally:
            llama_cpp.llama_free(context)
    finally:
        llama_cpp.llama_model_free(model)
    return "loaded" if code == 0 else f"decode gave {code}"


def main() -> None:
    """Answer every line with ``PATH<TAB>RESULT``."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, None)
    llama_cpp.llama_backend_init()
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        print(f"{path}\tbegun", flush=True)  # noqa: T201 (the script's answer)
        print(f"{path}\t{load(os.fsencode(path))}", flush=True)  # noqa: T201 (the script's answer)


if __name__ == "__main__":
    main()
