"""Programs with a chat in the terminal, as users of each would set them up from its own documentation."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Final, Protocol

from support.make_store import make_store
from support.paced_program import END
from support.race import OURS, Unavailable
from support.race_engines import Setup, environment, family, processor_seconds, settled, version_in
from support.race_server import MODEL, RATE
from support.terminals import Terminal
from support.timed_terminal import LETTERS

from mistral_chat.cli.wiring import utc_now
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore

EXEC = "import os, sys\nos.execvp(sys.argv[1], sys.argv[1:])\n"
PATIENCE = 60.0
"""Seconds after which a screen counts as not usable."""
_RETRY = 0.2
"""Seconds until another letter is typed: a program that starts may drop some."""
AFTERWARDS = 3.0
"""Seconds from the end of a reply on in which it counts what is still drawn."""
QUIET = 3.0
"""Seconds of rest before memory is measured."""

ANSWERS: Final = {
    b"\x1b[c": b"\x1b[?62;22c",
    b"\x1b[6n": b"\x1b[1;1R",
    b"\x1b[14t": b"\x1b[4;800;960t",
    b"\x1b[16t": b"\x1b[6;20;8t",
    b"\x1b[?2026$p": b"\x1b[?2026;2$y",
    b"\x1b[?u": b"",
}
"""What a terminal answers when it is asked what it can do; without an answer some programs wait."""


class Seat:
    """Someone in front of a program in a terminal."""

    def __init__(self, command: Sequence[str | Path], environ: Mapping[str, str]) -> None:
        self._terminal = Terminal(120, 40)
        self._letters = cycle(LETTERS)
        self._seen = b""
        self.began = time.monotonic()
        self._terminal.run(EXEC, [str(part) for part in command], {"TERM": "xterm-256color", "COLORTERM": "truecolor", **environ})

    @property
    def pid(self) -> int:
        return self._terminal.process.pid

    def close(self) -> None:
        """End the program; a child goes before its parent, which may restore the terminal."""
        for each in reversed(family(self.pid)):
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
        self._terminal.close()

    def press(self, keys: bytes) -> None:
        os.write(self._terminal.master, keys)

    def first_echo(self) -> float:
        """Seconds from the start until a typed letter is on the screen."""
        self.wait_for(b"\x1b[?1049h")
        typed: list[bytes] = []
        self._seen = b""
        while True:
            typed.append(next(self._letters).encode())
            self.press(typed[-1])
            until = time.monotonic() + _RETRY
            while time.monotonic() < until:
                self.read(until - time.monotonic())
                if any(letter in self._seen for letter in typed):
                    return time.monotonic() - self.began
            if time.monotonic() - self.began > PATIENCE:
                raise Unavailable(f"no key was shown within {PATIENCE:.0f} s")

    def wait_for(self, text: bytes, seconds: float = PATIENCE) -> None:
        """Read until `text` is written."""
        deadline = time.monotonic() + seconds
        while text not in self._seen:
            if time.monotonic() > deadline or self._terminal.process.poll() is not None:
                raise Unavailable(f"{text.decode()!r} was not shown in {seconds:.0f} s")
            self.read(0.05)

    def watch(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.read(left)

    def forget(self) -> None:
        """Look only for what is written from now on."""
        self._seen = b""

    def read(self, seconds: float) -> None:
        """Read what comes within some time, and answer as a terminal does."""
        ready, _, _ = select.select([self._terminal.master], [], [], max(0.0, seconds))
        if not ready:
            return
        try:
            piece = os.read(self._terminal.master, 65536)
        except OSError:
            raise Unavailable("it ended") from None
        self._seen = self._seen[-200_000:] + piece
        for question, reply in ANSWERS.items():
            if reply and question in piece:
                self.press(reply * piece.count(question))

    def memory(self) -> float:
        """Megabytes that only this program and its children hold, at rest."""
        self.watch(QUIET)
        return sum(each.memory_full_info().uss for each in family(self.pid)) / 1e6

    def processor(self) -> float:
        return processor_seconds(self.pid)


class ScreenPeer(Protocol):
    """A program with a chat in the terminal."""

    @property
    def name(self) -> str: ...

    def install(self, cache: Path) -> str: ...

    def fill(self, cache: Path, folder: Path, address: str, chats: int) -> None:
        """Write its settings, and so many chats of two turns, to `folder`."""
        ...

    def sit(self, cache: Path, folder: Path) -> Seat:
        """Start it."""
        ...

    @property
    def send(self) -> bytes:
        """The key that sends a message."""
        ...


def chats_with_text(count: int) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Titles and messages."""
    for number in range(count):
        asked, said = f"Why is the sky blue on day {number}?", f"Because blue light is scattered most; see {number}. " * 8
        yield f"Sky {number}", [("user", asked), ("assistant", said)] * 2


@dataclass(frozen=True)
class OurScreen:
    """This program; its model is replaced by one that writes at the pace of the others' server."""

    name: str = OURS
    send: bytes = b"\r"

    def install(self, cache: Path) -> str:
        return version_in(Path(sys.executable), "mistral-chat")

    def fill(self, cache: Path, folder: Path, address: str, chats: int) -> None:
        folder.mkdir(parents=True)
        make_store(folder / "conversations.db", chats, chats * 4)

    def sit(self, cache: Path, folder: Path) -> Seat:
        support = Path(__file__).parents[1]
        environ = {
            "MISTRAL_CHAT_DATA_DIR": str(folder),
            "MISTRAL_CHAT_CONFIG": str(folder / "config.yaml"),
            "PYTHONPATH": os.pathsep.join([str(support.parent), str(support)]),
            "PACED_TOKENS_PER_SECOND": str(RATE),
        }
        return Seat([sys.executable, "-c", "from support.paced_program import run\nrun()\n", "-m", "demo"], environ)


@dataclass(frozen=True)
class ScreenWithModel:
    """This program with its screen and a model of its own."""

    name: str

    def install(self, cache: Path) -> str:
        return version_in(Path(sys.executable), "mistral-chat")

    def speeds(self, setup: Setup) -> Iterator[float]:
        """Tokens a second of one reply after another, as the program counts them."""
        seat = Seat([sys.executable, "-m", "mistral_chat"], settled(setup))
        try:
            seat.first_echo()
            number = 0
            while number := number + 1:
                seat.press(b"\x15\x0e")
                seat.watch(1.0)
                seat.press(f"Tell me a long story about a lighthouse and its {number} keepers.".encode())
                seat.watch(0.5)
                seat.press(b"\r")
                yield _last_speed(seat, setup.home / "conversations.db", number)
        finally:
            seat.close()


def _last_speed(seat: Seat, path: Path, replies: int) -> float:
    """The speed of the newest reply, once the store has so many conversations whose replies are finished."""
    deadline = time.monotonic() + 10 * PATIENCE
    while time.monotonic() < deadline:
        seat.watch(0.5)
        with closing(ConversationStore(open_database(path), now=utc_now)) as store:
            last = [store.turns(each.conversation_id)[-1].turn for each in store.summaries()]
        if len(last) == replies and last[0].usage is not None:
            return last[0].usage.tokens_per_second
    raise Unavailable("the reply did not end")


@dataclass(frozen=True)
class Oterm:
    """oterm with an endpoint of its settings' `openaiCompatible`, and without its splash screen."""

    name: str = "oterm"
    send: bytes = b"\r"

    def install(self, cache: Path) -> str:
        return version_in(environment(cache / "oterm", "oterm"), "oterm")

    def fill(self, cache: Path, folder: Path, address: str, chats: int) -> None:
        folder.mkdir(parents=True)
        settings = {"splash-screen": False, "openaiCompatible": {"here": {"base_url": f"{address}/v1"}}}
        (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
        code = "import asyncio; from oterm.store.store import Store; asyncio.run(Store.get_store())"
        _run(environment(cache / "oterm"), code, self._environ(folder))
        with closing(sqlite3.connect(folder / "store.db")) as database, database:
            for number, (title, messages) in enumerate(chats_with_text(chats), 1):
                row = (number, title, MODEL, "openai-compat/here")
                database.execute("INSERT INTO chat (id, name, model, provider) VALUES (?, ?, ?, ?)", row)
                rows = [(number, role, text) for role, text in messages]
                database.executemany("INSERT INTO message (chat_id, author, text) VALUES (?, ?, ?)", rows)

    def sit(self, cache: Path, folder: Path) -> Seat:
        return Seat([environment(cache / "oterm").with_name("oterm")], self._environ(folder))

    @staticmethod
    def _environ(folder: Path) -> dict[str, str]:
        return {"OTERM_DATA_DIR": str(folder)}


@dataclass(frozen=True)
class Elia:
    """elia with "a model running on a local server", as its example has it."""

    name: str = "elia"
    send: bytes = b"\n"

    def install(self, cache: Path) -> str:
        return version_in(environment(cache / "elia", "elia-chat"), "elia-chat")

    def fill(self, cache: Path, folder: Path, address: str, chats: int) -> None:
        settings = folder / "elia"
        settings.mkdir(parents=True)
        name = f"openai/{MODEL}"
        model = f'default_model = "{name}"\n[[models]]\nname = "{name}"\napi_base = "{address}/v1"\napi_key = "none"\n'
        (settings / "config.toml").write_text(model, encoding="utf-8")
        code = (
            "import asyncio; import elia_chat.database.models; "
            "from elia_chat.database.database import create_database; asyncio.run(create_database())"
        )
        _run(environment(cache / "elia"), code, self._environ(folder))
        day = "2026-01-01 00:00:00.000000"
        with closing(sqlite3.connect(settings / "elia.sqlite")) as database, database:
            for number, (title, messages) in enumerate(chats_with_text(chats), 1):
                chat = (number, f"openai/{MODEL}", title, day, False)
                database.execute("INSERT INTO chat (id, model, title, started_at, archived) VALUES (?, ?, ?, ?, ?)", chat)
                rows = [(number, role, text, day, "{}", f"openai/{MODEL}") for role, text in messages]
                query = "INSERT INTO message (chat_id, role, content, timestamp, meta, model) VALUES (?, ?, ?, ?, ?, ?)"
                database.executemany(query, rows)

    def sit(self, cache: Path, folder: Path) -> Seat:
        return Seat([environment(cache / "elia").with_name("elia")], self._environ(folder))

    @staticmethod
    def _environ(folder: Path) -> dict[str, str]:
        return {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}


@dataclass(frozen=True)
class Parllama:
    """parllama with Ollama at the server's address, on its chat tab."""

    name: str = "parllama"
    send: bytes = b"\r"

    def install(self, cache: Path) -> str:
        return version_in(environment(cache / "parllama", "parllama"), "parllama")

    def fill(self, cache: Path, folder: Path, address: str, chats: int) -> None:
        (folder / "chats").mkdir(parents=True)
        model = {"provider": "Ollama", "model_name": MODEL, "temperature": 0.5}
        settings = {
            "ollama_host": address,
            "show_first_run": False,
            "last_tab": "Chat",
            "starting_tab": "Chat",
            "last_llm_config": model,
        }
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        for number, (title, messages) in enumerate(chats_with_text(chats)):
            said = [{"id": f"{number}-{place}", "role": role, "content": text} for place, (role, text) in enumerate(messages)]
            chat = {"id": f"{number:032x}", "name": title, "last_updated": "2026-01-01T00:00:00+00:00", "llm_config": model}
            (folder / "chats" / f"{number:032x}.json").write_text(json.dumps({**chat, "messages": said}), encoding="utf-8")

    def sit(self, cache: Path, folder: Path) -> Seat:
        environ = {"PARLLAMA_DATA_DIR": str(folder), "HOME": str(folder)}
        return Seat([environment(cache / "parllama").with_name("parllama")], environ)


def _run(python: Path, code: str, environ: Mapping[str, str]) -> None:
    done = subprocess.run([python, "-c", code], env={**os.environ, **environ}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(done.stderr.strip().splitlines()[-1][:200])


def streamed(seat: Seat, send: bytes, tokens: int) -> float:
    """Send a message that is answered with so many tokens; seconds of the processor for each. The first reply is not counted."""
    for count in (20, tokens):
        seat.watch(2.0)
        seat.press(f"{count} words please".encode())
        seat.watch(0.7)
        seat.forget()
        before = seat.processor()
        seat.press(send)
        seat.watch(count / RATE + AFTERWARDS)
        seat.wait_for(END.encode(), 30)
    return (seat.processor() - before) / tokens


@contextmanager
def seated(peer: ScreenPeer, cache: Path, folder: Path) -> Iterator[Seat]:
    """Someone in front of a program, which is ended in the end."""
    seat = peer.sit(cache, folder)
    try:
        yield seat
    finally:
        seat.close()
