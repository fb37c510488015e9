"""The child process of `mistral_chat.engine.tuning`: runs a model in several ways and prints the speed of each as a JSON line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Final

from mistral_chat.config import EngineSettings
from mistral_chat.engine import hardware
from mistral_chat.engine.hardware import LoadPlan, Tuning
from mistral_chat.engine.llama import backend
from mistral_chat.engine.llama.context import LlamaContext
from mistral_chat.engine.llama.engine import bytes_on_disk, plan_load
from mistral_chat.engine.llama.model import Model
from mistral_chat.engine.tuning import choose
from mistral_chat.errors import MistralChatError
from mistral_chat.system import lower_priority

_WINDOW: Final = 2048
_DEPTH: Final = 1024
"""Tokens in the cache before a measurement, if decoding them is quick: flash attention matters in a long context."""
_QUICK: Final = 300.0
"""Tokens per second from which on decoding them is quick."""
_BATCHES: Final = (256, 512)
"""Batch sizes to try after the default one, while a batch takes less than `_LONGEST_BATCH` seconds."""
_LONGEST_BATCH: Final = 6.0
_DECODED: Final = 6
"""Tokens decoded one at a time."""
_GUESSES: Final = (4, 8, 16)
"""Batch sizes of a token with guessed tokens after it."""
_LONG: Final = 0.5
"""Seconds from which on a run is long."""

Emit = Callable[[Tuning], object]


class Trials:
    """Runs one model in several ways within a time limit."""

    def __init__(self, path: Path, settings: EngineSettings, budget: float, emit: Emit) -> None:
        """Take the GGUF file at `path`, what the user has chosen, seconds, and what takes each result."""
        self._path = path
        self._settings = replace(settings, check_memory=False)
        self._deadline = time.monotonic() + budget
        self._emit = emit
        self._found: list[Tuning] = []
        self._depth = 0

    def run(self) -> None:
        """Try each way that the settings allow, those with the largest expected effect first.

        Raises:
            MistralChatError: the model cannot be loaded.
        """
        default = plan_load(self._path, replace(self._settings, repack=self._settings.repack or False), window=_WINDOW)
        with closing(Model(self._path, n_gpu_layers=default.n_gpu_layers, repack=default.repack)) as model:
            self._depth = _DEPTH if speed_of(model, default, 0, 32).prompt_speed >= _QUICK else 0
            self._try(model, [default])
            self._try(model, self._larger_batches(default))
            self._try(model, self._other_ways(self._best(default)))
            again = [default, self._best(default)]
            self._try(model, again[:-1] if again[1] == default else again)  # measured again: other programs come and go
            self._find_costs(model, self._best(default))
        best = self._best(default)
        if self._settings.repack is None and default.n_gpu_layers == 0 and self._fits_twice():
            repacked = replace(best, repack=True)
            with closing(Model(self._path, n_gpu_layers=0, repack=True)) as model:
                self._try(model, [repacked, repacked])
                if (found := choose(self._found)) is not None and found.repack:
                    self._find_costs(model, repacked)

    def _try(self, model: Model, plans: Iterable[LoadPlan]) -> None:
        for plan in plans:
            if time.monotonic() < self._deadline:
                self._found.append(speed_of(model, plan, self._depth, plan.batch))
                self._emit(self._found[-1])

    def _find_costs(self, model: Model, plan: LoadPlan) -> None:
        """Measure the cost of batches of a few tokens, which decides whether guessing tokens pays off."""
        found = choose(self._found)
        if found is not None and time.monotonic() < self._deadline:
            self._found.append(replace(found, batch_costs=batch_costs(model, plan)))
            self._emit(self._found[-1])

    def _best(self, default: LoadPlan) -> LoadPlan:
        found = choose(self._found)
        if found is None:
            return default
        return replace(default, threads=found.threads, batch=found.batch, flash_attention=found.flash_attention)

    def _larger_batches(self, default: LoadPlan) -> Iterator[LoadPlan]:
        for batch in _BATCHES:
            if batch > default.batch and batch / self._found[-1].prompt_speed < _LONGEST_BATCH:
                yield replace(default, batch=batch)

    def _other_ways(self, plan: LoadPlan) -> Iterator[LoadPlan]:
        """The plan with flash attention toggled and with other thread counts, unless the user has chosen them."""
        settings = self._settings
        if settings.flash_attention == "auto" and settings.kv_type == "f16" and (self._depth or plan.n_gpu_layers):
            yield replace(plan, flash_attention=not plan.flash_attention)
        if settings.threads is None and not plan.n_gpu_layers:
            usable = hardware.usable_cpus()
            others = {plan.threads - 1, hardware.performance_cores() or plan.threads}
            for threads in sorted(others - {plan.threads}):
                if 0 < threads <= usable:
                    yield replace(plan, threads=threads)

    def _fits_twice(self) -> bool:
        """Whether memory for repacked weights is available in addition to the loaded model, and llama.cpp supports them."""
        needed = 1.1 * bytes_on_disk(self._path) + 1e9
        return hardware.can_repack(backend.system_info()) and hardware.measure_memory() > needed


def speed_of(model: Model, plan: LoadPlan, depth: int, tokens: int) -> Tuning:
    """The speed of `model` under `plan`: of a batch of `tokens` after `depth` others, and of a few single ones."""
    context = LlamaContext(model, plan, _WINDOW)
    depth = depth if context.can_trim else 0
    try:
        count = model.vocabulary.size
        batch = [(300 + 7 * place) % count for place in range(plan.batch)]
        context.decode(batch[:2])
        context.clear()
        while depth > context.n_tokens:
            context.decode(batch[: depth - context.n_tokens])

        def read_prompt() -> None:
            if context.n_tokens > depth:
                context.remove(depth, context.n_tokens)
            context.decode(batch[:tokens])

        def write_reply() -> None:
            for token in batch[:_DECODED]:
                context.decode([token])

        prompt, reply = _fastest(read_prompt), _fastest(write_reply)
    finally:
        context.free()
    return Tuning(
        threads=plan.threads,
        batch=plan.batch,
        flash_attention=plan.flash_attention,
        repack=plan.repack,
        prompt_speed=round(tokens / prompt, 1),
        decode_speed=round(_DECODED / reply, 2),
    )


def _fastest(run: Callable[[], None]) -> float:
    """Seconds of the fastest of three runs, because other programs come and go; a long run is not repeated."""
    seconds: list[float] = []
    while len(seconds) < 3 and max(seconds, default=0.0) < _LONG:  # noqa: PLR2004 (three runs)
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def batch_costs(model: Model, plan: LoadPlan) -> tuple[tuple[int, float], ...]:
    """The cost of batches of a few tokens when each position is sampled, as multiples of one token's time."""
    context = LlamaContext(model, plan, _WINDOW)
    seconds = {}
    try:
        context.decode([1, 2])
        for size in (1, *_GUESSES):
            seconds[size] = _fastest(partial(context.decode, range(300, 300 + size), sample_each=True))
    finally:
        context.free()
    return tuple((size, round(seconds[size] / seconds[1], 2)) for size in _GUESSES)


def _print(tuning: Tuning) -> None:
    sys.stdout.write(json.dumps(asdict(tuning)) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Run as the child: print a line for each way tried."""
    path, given = arguments
    options = json.loads(given)
    settings = EngineSettings(**{**options["settings"], "lora": tuple(options["settings"]["lora"])})
    if options["background"]:
        lower_priority()
    try:
        Trials(Path(path), settings, options["budget"], _print).run()
    except MistralChatError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
