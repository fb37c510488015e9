"""Races this program against others: `python tests/benchmarks/race.py [--scenes …] [--peers …] [--model …] [--markdown FILE]`.

Each scene is something a user does. All programs take each step in turns, so that whatever else the machine does slows them
alike; read the ratios. Every other program is installed, by pip or npm, in an environment of its own under --cache, and is set
up as its documentation has it. Results are kept in the JSON file, scene by scene, and the report is made of all that are in it.
Linux only.
"""

from __future__ import annotations

import argparse
import compileall
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import race_engines as engines
from support import race_screens as screens
from support.benchmarks import demo
from support.race import OURS, Goal, Limits, Peer, Report, Result, Scene, Steps, Unavailable, describe_machine, run, say
from support.race_server import local_server

import mistral_chat
from mistral_chat.engine.hardware import physical_cores
from mistral_chat.engine.llama.model import open_vocabulary, read_dimensions

if TYPE_CHECKING:
    from mistral_chat.engine.llama.vocabulary import Vocabulary

PLAIN, BARE, BARE_PROMPT = f"{OURS} without guesses", "bare llama.cpp, tuned", "bare llama.cpp, fastest for prompts"
SERVER, REUSE, SHIFT, SLOTS = (
    "llama-server",
    "llama-server --cache-reuse 16",
    "llama-server --context-shift",
    "llama-server, slots saved",
)
SCREEN, PYTHON, NODE, BENCH = f"{OURS} with its screen", "llama-cpp-python", "node-llama-cpp", "llama-bench"
TERMINALS = ("oterm", "elia", "parllama")

PEERS: tuple[Peer, ...] = (
    engines.MistralChat(),
    engines.MistralChat(PLAIN, guesses=False),
    engines.Library(BARE, plan="best"),
    engines.Library(BARE_PROMPT, plan="prompt"),
    engines.LlamaServer(),
    engines.LlamaServer(REUSE, ("--cache-reuse", "16", "-np", "1")),
    engines.LlamaServer(SHIFT, ("--context-shift",)),
    engines.LlamaServer(SLOTS, ("-np", "1"), slots=True),
    engines.Library(PYTHON),
    engines.NodeLlama(),
    engines.LlamaBench(),
    screens.ScreenWithModel(SCREEN),
)
SCREENS: tuple[Peer, ...] = (screens.OurScreen(), screens.Oterm(), screens.Elia(), screens.Parllama())
CHATS = (SERVER, REUSE, SHIFT, PYTHON, NODE)

_WORDS = """
bread rivers lighthouses clocks bees chess glass volcanoes maps tea snow violins bridges owls salt kites paper
comets gardens trains coffee mirrors whales ink deserts bicycles moss lanterns storms honey caves ships pepper
foxes islands silk harbours wool thunder pianos canals apples wolves candles meteors cotton windmills turtles
marble tides oaks drums saffron geese copper orchards fog tunnels ravens pearls
"""
SUBJECTS = _WORDS.split()

SLOW = 1e9
"""Bytes from which on a model writes a few tokens a second on a CPU."""


@dataclass
class Course:
    """One run: the model, and where things are."""

    model: Path
    vocabulary: Vocabulary
    cache: Path
    work: Path
    address: str
    """The server for programs without a model."""
    threads: int
    _homes: int = 0

    @property
    def slow(self) -> bool:
        """Whether the model writes a few tokens a second rather than a hundred."""
        return self.model.stat().st_size > SLOW

    def home(self) -> Path:
        """A new folder."""
        self._homes += 1
        return self.work / str(self._homes)

    def setup(self, context: int, reply: int) -> engines.Setup:
        """What the programs are given."""
        home = self.home()
        home.mkdir()
        return engines.Setup(self.model, context, self.threads, reply, self.count, self.cache, home)

    def count(self, text: str) -> int:
        """How many tokens a text takes."""
        return len(self.vocabulary.tokenize(text))

    def text(self, tokens: int, number: int) -> str:
        """Prose of about so many tokens that is different from its first word on for each number."""
        words = " ".join(topics[name] for name in sorted(topics)).split()
        start = 5_000 * number % (len(words) - 2 * tokens)
        text = f"{SUBJECTS[number % len(SUBJECTS)].title()} {number}. "
        few, many = 1, 2 * tokens
        while few < many:
            half = (few + many + 1) // 2
            few, many = (half, many) if self.count(text + " ".join(words[start : start + half])) <= tokens else (few, half - 1)
        return text + " ".join(words[start : start + few])


def rolling(course: Course, peer: engines.EnginePeer) -> Steps:
    """A chat that goes on long after the context is full."""
    with engines.started(peer, course.setup(1024, 32)) as running:
        running.chat.begin()
        for subject in SUBJECTS:
            yield running.chat.say(f"Please tell me something short about {subject}, and say why it matters to people today.")


def reading(course: Course, peer: engines.EnginePeer | engines.LlamaBench, tokens: int) -> Steps:
    """A prompt of so many tokens, each time another one."""
    setup = course.setup(max(1024, tokens + 256), 1)
    if isinstance(peer, engines.LlamaBench):
        while True:
            yield {"reading": peer.measure(setup, prompt=tokens)}
    with engines.started(peer, setup) as running:
        running.chat.begin()
        running.chat.say("Hello.")
        number = 0
        while number := number + 1:
            running.chat.begin()
            sample = running.chat.say(course.text(tokens, number))
            read = sample.get("prompt", tokens)
            yield {"reading": read / sample["first token"], "processor per token": 1e3 * sample["processor"] / read}


def decoding(course: Course, peer: Any) -> Steps:
    """A reply that is fresh prose."""
    reply = 64 if course.slow else 256
    setup = course.setup(1024, reply)
    if isinstance(peer, engines.LlamaBench):
        while True:
            yield {"decode": peer.measure(setup, reply=reply)}
    if isinstance(peer, screens.ScreenWithModel):
        for speed in peer.speeds(setup):
            yield {"decode": speed}
    with engines.started(peer, setup) as running:
        number = 0
        while number := number + 1:
            running.chat.begin()
            yield running.chat.say(f"Tell me a long story about {SUBJECTS[number]} and someone who keeps them.")


def copying(course: Course, peer: engines.EnginePeer) -> Steps:
    """A code block of 600 tokens that is to be given back with one change."""
    lines = Path(engines.__file__).read_text(encoding="utf-8").splitlines()
    with engines.started(peer, course.setup(2048, 500)) as running:
        for number in range(100):
            code = ""
            for line in lines[100 + 7 * number :]:
                if course.count(code) > 600:
                    break
                code += line + "\n"
            running.chat.begin()
            asked = f"Repeat this code exactly, and change only the word Sample to Figure:\n\n```python\n{code}```"
            yield running.chat.say(asked)


def starting(course: Course, peer: engines.EnginePeer, context: int) -> Steps:
    """From the start to the moment at which it takes a message; the file is in the page cache."""
    kv = read_dimensions(course.vocabulary).kv_items * 2 * context
    setup = course.setup(context, 1)
    with engines.started(peer, setup):
        """The first start of all, which may try the model out, is not what is compared."""
    while True:
        began = time.perf_counter()
        with engines.started(peer, setup) as running:
            ready = time.perf_counter() - began
            yield {"ready": ready, "memory": (running.memory() - kv) / 1e6, "processor": running.processor()}


def reopening(course: Course, peer: engines.EnginePeer, tokens: int, context: int) -> Steps:
    """A chat that fills the context, held before the program was started: the time from opening it to the first token."""
    setup, asked = course.setup(context, 16), "And what follows from all that?"
    turns = [(course.text(tokens // 8, 2 * number), course.text(tokens // 8, 2 * number + 1)) for number in range(4)]
    slots = isinstance(peer, engines.LlamaServer) and peer.slots
    kept = ""
    if slots or isinstance(peer, engines.MistralChat):
        with engines.started(peer, setup) as running:
            running.chat.begin(turns)
            running.chat.say("What is the most important point?")
            if isinstance(running.chat, engines.SessionChat):
                kept = running.chat.conversation or ""
            if slots and isinstance(running.chat, engines.ServerChat):
                turns = [(user, reply) for user, reply in running.chat.turns]
                running.chat.slot("save")
    while True:
        with engines.started(peer, setup) as running:
            began, used = time.perf_counter(), running.processor()
            if isinstance(running.chat, engines.SessionChat):
                running.chat.reopen(kept)
            else:
                running.chat.begin(turns)
            if slots and isinstance(running.chat, engines.ServerChat):
                running.chat.slot("restore")
            opened = time.perf_counter() - began
            sample = running.chat.say(asked)
            yield {"first token": opened + sample["first token"], "processor": running.processor() - used}


def revising(course: Course, peer: engines.EnginePeer) -> Steps:
    """The last reply again, and another text in place of a message in the middle."""
    with engines.started(peer, course.setup(4096, 16)) as running:
        number = 0
        while number := number + 1:
            turns = [(course.text(60, 20 * number + turn), course.text(60, 20 * number + turn + 10)) for turn in range(10)]
            running.chat.begin(turns)
            running.chat.say("Which of these is the most important?")
            again = running.chat.regenerate()["first token"]
            yield {"regenerate": again, "edit": running.chat.edit(5, "Tell me more about that one.")["first token"]}


def pasting(course: Course, peer: engines.EnginePeer) -> Steps:
    """A text of 2,000 tokens with a question on it, in a chat that has begun; and a second question."""
    with engines.started(peer, course.setup(4096, 16)) as running:
        number = 0
        while number := number + 1:
            running.chat.begin()
            running.chat.say("I will show you a text.")
            first = running.chat.say(f"{course.text(2000, number)}\n\nWhat is this about?")["first token"]
            yield {"question": first, "next question": running.chat.say("Who needs to know that?")["first token"]}


def opening(course: Course, peer: screens.ScreenPeer, chats: int) -> Steps:
    """From the start to the first letter that is shown, with so many stored chats."""
    folder = course.home()
    peer.fill(course.cache, folder, course.address, chats)
    while True:
        used = 0.0
        with screens.seated(peer, course.cache, folder) as seat:
            shown = seat.first_echo()
            used = seat.processor()
            yield {"first key": shown, "processor": used, "memory": seat.memory()}


def streaming(course: Course, peer: screens.ScreenPeer) -> Steps:
    """What a reply costs that arrives at 50 tokens a second, and what doing nothing costs."""
    folder = course.home()
    peer.fill(course.cache, folder, course.address, 1)
    while True:
        with screens.seated(peer, course.cache, folder) as seat:
            seat.first_echo()
            seat.watch(screens.QUIET)
            before = seat.processor()
            seat.watch(5.0)
            idle = (seat.processor() - before) / 5
            yield {"processor per token": streamed_ms(seat, peer), "processor at rest": idle * 1e3}


def streamed_ms(seat: screens.Seat, peer: screens.ScreenPeer) -> float:
    """Milliseconds of the processor for a token."""
    return screens.streamed(seat, peer.send, 400) * 1e3


def _scene(title: str, play: Any, figures: dict[str, str], peers: tuple[str, ...], *goals: Goal, **more: Any) -> Scene:
    return Scene(title, play, figures, (OURS, *peers), goals, **more)


def _read(tokens: int) -> Scene:
    figures, best = {"reading": "tokens/s", "processor per token": "ms"}, (BARE, BARE_PROMPT)
    goals = (Goal("reading", best, 0.95, at_least=True), Goal("reading", (SERVER,), 1.0, at_least=True))
    peers = (*best, SERVER, PYTHON, NODE, BENCH)
    return _scene(f"Reading a prompt of {tokens:,} tokens", partial(reading, tokens=tokens), figures, peers, *goals)


def _stored(chats: int) -> Scene:
    figures = {"first key": "s", "processor": "s", "memory": "MB"}
    goals = tuple(Goal(figure, TERMINALS, 1.0) for figure in ("first key", "memory"))
    title = f"First key on the screen, {chats:,} stored chat{'s' * (chats > 1)}"
    return _scene(title, partial(opening, chats=chats), figures, TERMINALS, *goals)


_WAIT, _SPEED = {"first token": "s", "processor": "s"}, {"decode": "tokens/s", "processor per token": "ms"}
_OTHERS = (SERVER, PYTHON, NODE)

SCENES: dict[str, Scene] = {
    "rolling": _scene(
        "A chat of 60 turns in a context of 1,024, once it is full",
        rolling,
        _WAIT,
        CHATS,
        Goal("first token", (SERVER,), 0.05),
        Goal("first token", (REUSE,), 0.6),
        warm_up=16,
        rounds=44,
    ),
    "reopening": _scene(
        "Reopening a chat of 800 tokens, in a context of 1,024, after a restart",
        partial(reopening, tokens=800, context=1024),
        _WAIT,
        (SERVER, SLOTS, PYTHON, NODE),
        Goal("first token", (*_OTHERS, SLOTS), 0.05),
    ),
    "revising": _scene("Regenerating, and editing in mid-chat", revising, {"regenerate": "s", "edit": "s"}, CHATS),
    "pasting": _scene("A text of 2,000 tokens, and questions", pasting, {"question": "s", "next question": "s"}, _OTHERS),
    "copying": _scene(
        "Giving back 600 tokens of code", copying, _SPEED, (PLAIN, SERVER), Goal("decode", (PLAIN,), 1.3, at_least=True)
    ),
    "read-500": _read(500),
    "read-2000": _read(2000),
    "decode": _scene(
        "Decode, fresh prose",
        decoding,
        _SPEED,
        (SCREEN, PLAIN, BARE, *_OTHERS, BENCH),
        Goal("decode", (BARE,), 0.98, at_least=True),
        Goal("decode", (BARE,), 0.97, at_least=True, ours=SCREEN),
        Goal("decode", (PLAIN,), 0.97, at_least=True),
    ),
    "start": _scene(
        "Start to ready, context of 4,096; memory beyond the file and the KV cache",
        partial(starting, context=4096),
        {"ready": "s", "memory": "MB", "processor": "s"},
        (BARE, *_OTHERS),
        Goal("ready", (BARE,), 1.2),
        Goal("memory", (), 150),
    ),
    "screen": _stored(1),
    "screen-1000": _stored(1_000),
    "screen-10000": _stored(10_000),
    "streaming": _scene(
        "A reply of 400 tokens on the screen",
        streaming,
        {"processor per token": "ms", "processor at rest": "ms/s"},
        TERMINALS,
        Goal("processor per token", TERMINALS, 1.0),
    ),
}


def main(arguments: Sequence[str]) -> int:
    """Run the scenes that are asked for, and write the report; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    playable = f"{', '.join(SCENES)}; without it, all; with none, only the report is made"
    parser.add_argument("--scenes", nargs="*", choices=SCENES, metavar="SCENE", help=playable)
    parser.add_argument("--peers", nargs="+", help="words in the names of the programs to race; without it, all")
    parser.add_argument("--model", type=Path, help="a GGUF file; without it, the demo")
    cores = physical_cores()
    parser.add_argument("--threads", type=int, default=cores, help=f"threads of every program ({cores}, one for each core)")
    parser.add_argument("--rounds", type=int, help="how often each scene is played")
    parser.add_argument("--seconds", type=float, default=math.inf, help="how long each scene is played at most")
    parser.add_argument(
        "--cache", type=Path, default=Path.home() / ".cache" / "mistral-chat-race", help="where peers are installed"
    )
    parser.add_argument("--json", type=Path, default=Path("race.json"), help="the file of results; scenes in it are kept")
    parser.add_argument("--markdown", type=Path, help="where the report is written; without it, standard output")
    asked = parser.parse_args(arguments)
    report = Report.read(asked.json)
    report.machine = {**describe_machine(), "threads": str(asked.threads)}
    model = (asked.model or demo()).resolve()
    asked.cache.mkdir(parents=True, exist_ok=True)
    for package in (mistral_chat.__path__[0], engines.SUPPORT):
        compileall.compile_dir(package, quiet=1)  # as pip does when it installs
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="race-")))
        vocabulary = stack.enter_context(open_vocabulary(model))
        course = Course(model, vocabulary, asked.cache.resolve(), work, stack.enter_context(local_server()), asked.threads)
        for name in list(SCENES) if asked.scenes is None else asked.scenes:
            play(SCENES[name], f"{name}, {'7B shape' if asked.model else 'demo'}", report, asked, course)
    text = report.markdown({key: SCENES[key.partition(",")[0]] for key in report.results})
    if asked.markdown:
        asked.markdown.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 1 if "| missed |" in text else 0


def play(scene: Scene, key: str, report: Report, asked: argparse.Namespace, course: Course) -> None:
    """Install what a scene needs, and play it."""
    racing, missing = [], {}
    for peer in (*PEERS, *SCREENS):
        wanted = not asked.peers or any(word in peer.name for word in asked.peers)
        fits = hasattr(peer, "fill") == (scene.peers[1:] == TERMINALS)
        if peer.name in scene.peers and wanted and fits:
            try:
                report.versions[peer.name] = peer.install(course.cache)
                racing.append(peer)
            except (Unavailable, OSError, subprocess.SubprocessError) as reason:
                missing[peer.name] = str(reason)
    say(f"{key}: load {os.getloadavg()[0]:.1f}")
    result = report.results[key] = Result(f"{scene.title} ({key.partition(', ')[2]})", without=missing)

    def tell(text: str) -> None:
        say(text)
        report.write(asked.json)

    run(scene, partial(scene.play, course), racing, Limits(asked.rounds or scene.rounds, asked.seconds), result=result, tell=tell)
    report.write(asked.json)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
