"""Times the rolling context against what other programs do: `python tests/benchmarks/engine_rolling.py [MODEL] [options]`.

Without MODEL, the demo is used. Each part prints one line a figure, with the ratio that counts. Messages have equal
length, replies too, and each program gets the same ones; the other programs drop their oldest turn until the prompt
fits, as chat programs do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.benchmarks import PROSE, SYSTEM, demo, processor, say
from support.llama_engines import Talk, cache_of, log_probabilities, logits, model_of, read_all

from mistral_chat.config import ContextSettings, EngineSettings
from mistral_chat.engine.llama.engine import open_engine
from mistral_chat.engine.snapshots import SnapshotFolder
from mistral_chat.generation import CancelToken, History, PromptTurn
from mistral_chat.sampling import Sampling

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mistral_chat.engine.rolling import RollingEngine


def message(number: int) -> str:
    return f"Question {number:03}: please tell me something short about the number {number:03}, and say why it matters to you."


def open_for(path: Path, arguments: argparse.Namespace, **more: Any) -> RollingEngine:
    kv_type = more.pop("kv_type", "f16")
    size = more.pop("size", arguments.window)
    settings = EngineSettings(threads=arguments.threads, kv_type=kv_type)
    return open_engine(path, name=path.name, settings=settings, context=ContextSettings(size=size), **more)


def medians(times: Sequence[float], first: int) -> tuple[float, float]:
    """The medians before the turn number `first` and behind it; the first turn of all reads the system prompt too."""
    return statistics.median(times[1 : first + 1]), statistics.median(times[first + 1 :])


def report_times(name: str, times: Sequence[float], read: Sequence[int], first: int) -> float:
    before, after = medians(times, first)
    say(
        f"{name}: first token before, after",
        f"{before:7.3f} s {after:7.3f} s   x {after / before:5.2f}   reads {statistics.median(read[first + 1 :]):.0f} tokens",
    )
    return after


def rolling(path: Path, arguments: argparse.Namespace) -> None:
    """Time to first token: this engine, a naive prefill on the same cache, and llama-cpp-python's own chat."""
    sampling = Sampling(temperature=0, max_tokens=arguments.reply)
    engine = open_for(path, arguments)
    talk = Talk(engine, system=SYSTEM, sampling=sampling)
    times, read, first = [], [], -1
    for number in range(arguments.turns):
        done = talk.say(message(number))
        times.append(done.usage.time_to_first_token)
        read.append(talk.read)
        if first < 0 and talk.shifts:
            first = number
    say(
        "turns, first that left after turn, turns that left",
        f"{arguments.turns}, {first + 1}, {sum(len(s.turns) for s in talk.shifts)}",
    )
    ours = report_times("this program", times, read, first)
    naive = naive_times(engine, talk, arguments, first)
    engine.close()
    say("naive drop-oldest / this program, first token after", f"x {naive / ours:.1f}")
    if not arguments.no_llama:
        theirs = llama_times(path, talk, arguments, first)
        say("Llama.create_chat_completion / this program, after", f"x {theirs / ours:.1f}")


def naive_times(engine: RollingEngine, talk: Talk, arguments: argparse.Namespace, first: int) -> float:
    """The same cache, read as most programs do: the oldest turn is dropped until the prompt fits, a common prefix is kept."""
    cache = cache_of(engine)
    cache.clear()
    held: list[int] = []
    times, read = [], []
    start = 0
    for number, turn in enumerate(talk.turns):
        began = time.perf_counter()
        while True:
            turns = [*talk.turns[start:number], PromptTurn(key="now", user=turn.user)]
            tokens = list(engine._format.encode(SYSTEM, turns).tokens)
            if len(tokens) + arguments.reply <= cache.size:
                break
            start += 1
        same = next((i for i, (a, b) in enumerate(zip(held, tokens, strict=False)) if a != b), min(len(held), len(tokens)))
        same = min(same, len(tokens) - 1)
        if same < cache.n_tokens:
            cache.remove(same, cache.n_tokens)
        for place in range(same, len(tokens), cache.batch):
            cache.decode(tokens[place : place + cache.batch])
        cache.start_sampling(Sampling(temperature=0), [])
        cache.sample()
        times.append(time.perf_counter() - began)
        read.append(len(tokens) - same)
        cache.stop_sampling()
        reply = model_of(engine).vocabulary.tokenize(turn.reply)
        if reply:
            cache.decode(reply[: cache.batch])
        held = tokens + reply
    return report_times("naive drop-oldest", times, read, first)


def llama_times(path: Path, talk: Talk, arguments: argparse.Namespace, first: int) -> float:
    """llama-cpp-python's chat on the same messages and replies, dropping the oldest turn until the prompt fits."""
    import llama_cpp

    library: Any = llama_cpp.llama_cpp
    made = library.llama_model_default_params

    def without_repacking() -> Any:
        params = made()
        params.use_extra_bufts = False  # this version dies in its AMX path otherwise
        return params

    library.llama_model_default_params = without_repacking
    model: Any = llama_cpp.Llama(
        str(path), n_ctx=arguments.window, n_threads=arguments.threads, n_threads_batch=arguments.threads, verbose=False
    )
    times, read = [], []
    start = 0
    for number, turn in enumerate(talk.turns):
        while True:
            said = [{"role": "system", "content": SYSTEM}]
            for old in talk.turns[start:number]:
                said += [{"role": "user", "content": old.user}, {"role": "assistant", "content": old.reply}]
            said.append({"role": "user", "content": turn.user})
            began = time.perf_counter()
            try:
                events = model.create_chat_completion(said, stream=True, temperature=0, max_tokens=arguments.reply)
                pieces = (each["choices"][0]["delta"].get("content") for each in events)
                next((piece for piece in pieces if piece), "")  # random weights may end at once
            except ValueError:  # the prompt does not fit
                start += 1
                continue
            times.append(time.perf_counter() - began)
            break
        read.append(int(model.n_tokens))
        for _ in pieces:
            """The rest of the reply goes into its cache, as in a chat."""
    before, after = medians(times, first)
    say("Llama.create_chat_completion: first token before, after", f"{before:7.3f} s {after:7.3f} s   x {after / before:5.2f}")
    return after


def decoding(path: Path, arguments: argparse.Namespace) -> None:
    """Tokens a second of the engine's whole way to the screen, against a bare loop over the same cache, in turns."""
    engine = open_for(path, arguments, size=512)
    cache = cache_of(engine)
    ours, bare = [], []
    sampling = Sampling(temperature=0.7, seed=1, max_tokens=arguments.decode)
    for number in range(arguments.rounds):
        talk = Talk(engine, sampling=sampling)
        speed = talk.say(message(number), key=f"d{number}").usage.tokens_per_second
        if speed:
            ours.append(speed)
        bare.append(bare_speed(cache, engine, sampling, arguments.decode))
    engine.close()
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=False))
    say(
        "decode: engine, bare llama_decode + sampler",
        f"{statistics.median(ours):.2f} /s  {statistics.median(bare):.2f} /s   x {ratio:.3f}",
    )


def bare_speed(cache: Any, engine: RollingEngine, sampling: Sampling, count: int) -> float:
    """The smallest loop there is: sample, decode one token, again."""
    import llama_cpp

    cache.clear()
    tokens = engine._format.encode("", [PromptTurn(key="x", user=message(0))]).tokens
    for start in range(0, len(tokens), cache.batch):
        cache.decode(tokens[start : start + cache.batch])
    cache.start_sampling(sampling, tokens)
    chain, context = cache._sampler._chain, cache.pointer
    one = (llama_cpp.llama_token * 1)()
    token = llama_cpp.llama_sampler_sample(chain, context, -1)
    began = time.perf_counter()
    for _ in range(count - 1):
        one[0] = token
        llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(one, 1))
        token = llama_cpp.llama_sampler_sample(chain, context, -1)
    took = time.perf_counter() - began
    cache.stop_sampling()
    engine._ledger.reset()
    return (count - 1) / took


def quality(path: Path, arguments: argparse.Namespace) -> None:
    """What forgetting in place costs: the loss on the next reply, compared with a fresh prefill of the same kept turns.

    The replies are Python's own documentation, paragraph by paragraph and never the same twice.
    """
    for kv_type in ("f16", "q8_0"):
        engine = open_for(path, arguments, kv_type=kv_type, size=arguments.quality_window)
        fresh = open_for(path, arguments, kv_type=kv_type, size=arguments.quality_window)
        differences: list[float] = []
        turns: list[PromptTurn] = []
        shifts = 0
        for number, reply in enumerate(paragraphs()):
            turn = PromptTurn(key=f"q{number}", user=message(number), reply=reply)
            if shifts >= arguments.shifts:
                differences.append(loss_here(engine, fresh, turns, turn))
            turns.append(turn)
            before = {held.key for held in engine.contents.turns}
            read_all(engine.prefill(History(system=SYSTEM, turns=tuple(turns)), CancelToken()))
            shifts += bool(before - {held.key for held in engine.contents.turns})
            if len(differences) >= arguments.probes:
                break
        mean, spread = statistics.mean(differences), statistics.stdev(differences)
        say(
            f"quality, {kv_type}: loss against a fresh read, nats a token",
            f"{mean:+.4f} (sd {spread:.4f} over {len(differences)} turns after {arguments.shifts} shifts)",
        )
        engine.close()
        fresh.close()


def paragraphs() -> Iterator[str]:
    """Prose of some 80 tokens a piece, from the documentation that comes with Python."""
    for topic in sorted(topics):
        for paragraph in topics[topic].split("\n\n"):
            text = " ".join(paragraph.split())
            if paragraph[:1].isalpha() and 250 < len(text) < 600:
                yield text


def loss_here(engine: RollingEngine, fresh: RollingEngine, turns: Sequence[PromptTurn], turn: PromptTurn) -> float:
    """The loss on the reply of `turn` behind what `engine` holds, less that behind a fresh read of the same tokens."""
    keys = {held.key for held in engine.contents.turns}
    encoding = engine._format.encode(SYSTEM, [*(each for each in turns if each.key in keys), turn])
    held = len(engine.contents.tokens)
    if encoding.tokens[:held] != engine.contents.tokens:
        raise SystemExit("the ledger holds something else than the kept turns")
    question = encoding.tokens[held : len(encoding.tokens) - len(encoding.turns[-1].reply)]
    cache, others = cache_of(engine), cache_of(fresh)
    reply = encoding.turns[-1].reply[: min(64, cache.size - held - len(question))]
    others.clear()
    for place in range(0, held, others.batch):
        others.decode(encoding.tokens[place : min(held, place + others.batch)])
    return loss(cache, question, reply) - loss(others, question, reply)


def loss(cache: Any, question: Sequence[int], reply: Sequence[int]) -> float:
    """Nats a token of `reply` behind `question`; both are cut out again."""
    end = cache.n_tokens
    cache.decode(question)
    total = 0.0
    for token in reply:
        total -= log_probabilities(logits(cache))[token]
        cache.decode([token])
    cache.remove(end, cache.n_tokens)
    return total / len(reply)


def reopening(path: Path, arguments: argparse.Namespace) -> None:
    """Opening a conversation from its KV state, in another engine, compared with a prefill."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_for(path, arguments, size=arguments.reopen, snapshots=SnapshotFolder(Path(folder), budget=2**40))
        turns: list[PromptTurn] = []
        while sum(engine.count(turn.user + turn.reply) + 24 for turn in turns) < arguments.filled:
            turns.append(PromptTurn(key=f"r{len(turns)}", user=message(len(turns)), reply=PROSE[: 300 + len(turns)]))
        history = History(conversation="c", system=SYSTEM, turns=tuple(turns))
        began = time.perf_counter()
        read_all(engine.prefill(history, CancelToken()))
        reading = time.perf_counter() - began
        held = engine.contents.tokens
        state = cache_of(engine).save_state()
        cache_of(engine).decode(held[-1:])
        expected = logits(cache_of(engine))
        cache_of(engine).remove(len(held), len(held) + 1)
        engine.close()
        engine = open_for(path, arguments, size=arguments.reopen, snapshots=SnapshotFolder(Path(folder), budget=2**40))
        began = time.perf_counter()
        read_all(engine.prefill(history, CancelToken()))
        opening = time.perf_counter() - began
        cache_of(engine).decode(held[-1:])
        same = logits(cache_of(engine)) == expected
        say(
            f"reopening {len(held):,} tokens ({len(state or b'') / 1e6:.0f} MB): reading, from disk",
            f"{reading:.2f} s  {opening:.3f} s   x {reading / opening:.0f}   logits {'identical' if same else 'DIFFER'}",
        )
        engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--parts", nargs="+", default=["rolling", "decoding", "quality", "reopening"])
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--turns", type=int, default=36)
    parser.add_argument("--reply", type=int, default=32, help="tokens of a reply")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2))
    parser.add_argument("--decode", type=int, default=48, help="tokens of a round of decoding")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shifts", type=int, default=24)
    parser.add_argument("--probes", type=int, default=12, help="replies whose loss is compared")
    parser.add_argument("--quality-window", type=int, default=768)
    parser.add_argument("--reopen", type=int, default=4096, help="the window that is reopened")
    parser.add_argument("--filled", type=int, default=3400, help="tokens in it")
    parser.add_argument("--no-llama", action="store_true")
    arguments = parser.parse_args()
    path = arguments.model or demo()
    say("processor, cores, threads", f"{processor()}, {os.cpu_count()}, {arguments.threads}; load {os.getloadavg()[0]:.1f}")
    say("model", f"{path.name}, {path.stat().st_size / 1e9:.2f} GB")
    parts = {"rolling": rolling, "decoding": decoding, "quality": quality, "reopening": reopening}
    for part in arguments.parts:
        parts[part](path, arguments)


if __name__ == "__main__":
    main()
