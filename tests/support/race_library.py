"""llama-cpp-python, for the race: its chat call, or its low level with a given plan. Runs in an environment of its own.

    python race_library.py MODEL {"n_ctx": …, "threads": …, "reply": …, "plan": null or what the low level is run with}

Each line on standard input is a list of messages; the answer is a line when the first text is there, and one at the end.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import llama_cpp


def tell(**answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def chat_call(path: str, options: dict[str, Any]) -> Any:
    """What answers messages as the documentation of `create_chat_completion` has it."""
    threads = options["threads"]
    model: Any = llama_cpp.Llama(path, n_ctx=options["n_ctx"], n_threads=threads, n_threads_batch=threads, verbose=False)

    def answer(messages: list[dict[str, str]]) -> Iterator[str]:
        chunks = model.create_chat_completion(messages, stream=True, temperature=0, max_tokens=options["reply"])
        for chunk in chunks:
            if piece := chunk["choices"][0]["delta"].get("content"):
                yield piece

    return answer


def bare_loop(path: str, options: dict[str, Any]) -> Any:
    """What answers the last message with the smallest loop there is: decode the prompt in batches, sample, decode one token."""
    plan = options["plan"]
    llama_cpp.llama_backend_init()
    load: Any = llama_cpp.llama_model_default_params()
    load.use_extra_bufts = plan["repack"]
    model: Any = llama_cpp.llama_model_load_from_file(path.encode(), load)
    run: Any = llama_cpp.llama_context_default_params()
    run.n_ctx = options["n_ctx"]
    run.n_batch = run.n_ubatch = plan["batch"]
    run.n_threads = run.n_threads_batch = plan["threads"]
    run.flash_attn_type = int(plan["flash_attention"])
    context: Any = llama_cpp.llama_init_from_model(model, run)
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    data, add_special, parse_special = True, True, False
    greedy: Any = llama_cpp.llama_sampler_init_greedy()

    def tokens_of(text: bytes) -> Any:
        room = (llama_cpp.llama_token * (len(text) + 8))()
        count = llama_cpp.llama_tokenize(vocabulary, text, len(text), room, len(room), add_special, parse_special)
        return (llama_cpp.llama_token * count)(*room[:count])

    def decode(tokens: Any) -> None:
        llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(tokens)))

    def answer(messages: list[dict[str, str]]) -> Iterator[str]:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), data)
        prompt = tokens_of(messages[-1]["content"].encode())
        for start in range(0, len(prompt), plan["batch"]):
            piece = prompt[start : start + plan["batch"]]
            decode((llama_cpp.llama_token * len(piece))(*piece))
        one = (llama_cpp.llama_token * 1)()
        for number in range(options["reply"]):
            one[0] = llama_cpp.llama_sampler_sample(greedy, context, -1)
            yield "."
            if number + 1 < options["reply"]:
                decode(one)

    return answer


def main() -> None:
    path, given = sys.argv[1:]
    options = json.loads(given)
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, None)
    answer = (bare_loop if options["plan"] else chat_call)(path, options)
    tell(ready=True)
    for line in sys.stdin:
        pieces: list[str] = []
        first = last = 0.0
        try:
            for piece in answer(json.loads(line)):
                last = time.perf_counter()
                if not pieces:
                    first = last
                    tell(first=True)
                pieces.append(piece)
        except ValueError as error:
            tell(error=str(error))
        else:
            tell(text="".join(pieces), tokens=len(pieces), seconds=last - first)


if __name__ == "__main__":
    main()
