"""A new user's first half hour in a real terminal, with the real program and the demo model; and what a sudden end leaves."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sqlite3
import sys
from contextlib import contextmanager
from functools import partial
from operator import ne
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from support.small_gguf import STRING, small_model
from support.tmux import Tmux

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.long

WINDOW = 512
SHORT = 12
"""Tokens of a reply, so that half an hour passes in half a minute."""

FIRST = "Tell me a long story about a lighthouse."
EDITED = "Name one deep sea."
WORD = "periwinkle"
SECRET = "wentletrap"  # noqa: S105 (a shell that must not be found on the disk, no key)
EDGE = "context starts here"
IDLE = "? help"
"""A hint in the status bar while no reply is written."""
OTHER = "harbourlight"
"""Another model's name."""


class Keyboard(NamedTuple):
    """The keys that someone uses, by tmux's names; those for one message are pressed while it is selected."""

    help: tuple[str, ...]
    close_help: str
    select: str
    """Selects the last message."""
    select_before: str
    enter_versions: tuple[str, ...]
    """What comes before the keys for versions, and `leave_versions` after them."""
    version_before: str
    version_after: str
    leave_versions: tuple[str, ...]
    edit: tuple[str, ...]
    fork: str
    pin_message: str
    page_up: str
    to_the_end: tuple[str, ...]
    context: tuple[str, ...]
    pin: tuple[str, ...]
    delete: tuple[str, ...]
    undo: tuple[str, ...]
    first_chat: tuple[str, ...]
    terminal: str = ""
    """What the terminal calls itself."""
    never_sent: str = "(?!)"
    """A pattern of keys that do not arrive with this keyboard."""


EVERY_KEY: Final = Keyboard(
    help=("F1",),
    close_help="F1",
    select="M-Up",
    select_before="M-Up",
    enter_versions=(),
    version_before="M-Left",
    version_after="M-Right",
    leave_versions=(),
    edit=("F3",),
    fork="M-k",
    pin_message="M-p",
    page_up="PPage",
    to_the_end=("End", "Escape"),
    context=("M-w",),
    pin=("F9",),
    delete=("F4",),
    undo=("F8",),
    first_chat=("C-o", "Home", "Enter"),
)
MAC: Final = Keyboard(
    help=("?",),
    close_help="Escape",
    select="BTab",
    select_before="Up",
    enter_versions=("BTab",),
    version_before="Left",
    version_after="Right",
    leave_versions=("Escape",),
    edit=("/edit", "Enter"),
    fork="f",
    pin_message="p",
    page_up="Up",
    to_the_end=(*["Down"] * 20, "Escape"),
    context=("/context", "Enter"),
    pin=("C-o", "p", "Escape"),
    delete=("C-o", "d", "Escape"),
    undo=("/undo", "Enter"),
    first_chat=("C-o", *["Up"] * 3, "Enter"),
    terminal="Apple_Terminal",
    # Terminal keeps Home, End and the page keys for its own scrolling.
    never_sent=r"F\d+|M-.*|[CS]-(Up|Down|Left|Right|Home|End)|Home|End|[PN]Page|IC|DC",
)
"""What Terminal on macOS sends as it comes: letters, Ctrl with a letter, Shift+Tab and the arrow keys."""


class User:
    """A user at the keyboard. Every step ends with looking at the screen."""

    def __init__(self, terminal: Tmux, home: Path, keyboard: Keyboard) -> None:
        self.terminal = terminal
        self.keys = keyboard
        self.home = home
        self.database = home / "data" / "conversations.db"
        weights = home / "weights"
        weights.mkdir()
        other = small_model()
        other.set("general.name", STRING, OTHER)
        (weights / f"{OTHER}.gguf").write_bytes(other.encoded())
        (home / "config.yaml").write_text(
            f"model: demo\ncontext: {{size: {WINDOW}, reserve: 64}}\nsampling: {{seed: 1}}\nmodels: {{folders: [{weights}]}}\n",
            encoding="utf-8",
        )

    def start(self, *arguments: str) -> None:
        environ = {
            **{name: value for name, value in os.environ.items() if name.startswith("XDG_") or name in {"HOME", "PATH"}},
            "MISTRAL_CHAT_CONFIG": str(self.home / "config.yaml"),
            "MISTRAL_CHAT_DATA_DIR": str(self.home / "data"),
            **({"TERM_PROGRAM": self.keys.terminal} if self.keys.terminal else {}),
        }
        self.terminal.start(shlex.join([sys.executable, "-m", "mistral_chat", *arguments]), environ)
        self.terminal.wait_for("Send a message", f"/{WINDOW}")

    def press(self, *keys: str) -> None:
        assert not [key for key in keys if re.fullmatch(self.keys.never_sent, key)], "this keyboard has no such key"
        self.terminal.press(*keys)

    def type(self, text: str) -> None:
        self.terminal.write(text)
        self.press("Enter")

    def begin(self, text: str) -> str:
        """Send a message and see its reply begin; the screen then."""
        self.type(text)
        return self.terminal.wait_for(f"█ {text}", "tok/s")

    def ask(self, text: str) -> str:
        """Send a message and see its reply end; the screen then."""
        self.type(text)
        self.terminal.wait_for(f"█ {text}")
        return self.terminal.wait_for(f"█ {text}", IDLE)

    def quit(self) -> None:
        self.press("C-q")
        assert self.terminal.wait_for_the_end() == "0"
        assert self.terminal.modes() == "00"

    # The half hour.

    def looks_around(self) -> None:
        screen = self.terminal.wait_for("New conversation", "Nothing leaves this computer.")
        assert "demo" in screen
        assert "0/" in screen
        self.press(*self.keys.help)
        self.terminal.wait_for("Enter sends", what="the help")
        self.press(self.keys.close_help)
        self.terminal.wait_without("Enter sends")

    def asks_and_stops(self) -> None:
        self.type(FIRST)
        # Stopped at its first words: a quick machine would fill a quarter of the context until its speed is shown.
        begun = re.compile(rf"█ {re.escape(FIRST)}[\s▕]+▕ {{3}}\w")
        self.terminal.wait_until(begun.search, "the first words of the reply")
        self.press("Escape")
        screen = self.terminal.wait_for("■ Stopped", "·  stopped")
        assert f"█ {FIRST}" in screen

    def asks_again_and_regenerates(self) -> None:
        self.type(f"/set max_tokens {SHORT}")
        self.terminal.wait_for(f"max_tokens = {SHORT}. Applies to the next message.")
        self.ask("Name one mountain.")
        self.press("C-r")
        self.terminal.wait_for("Reply 2 of 2")
        self.terminal.wait_for("Reply 2 of 2", IDLE)
        with self.walks_versions():
            self.press(self.keys.version_before)
            self.terminal.wait_for("Reply 1 of 2")
            self.press(self.keys.version_after)
            self.terminal.wait_for("Reply 2 of 2")

    def edits_and_branches(self) -> None:
        self.press(*self.keys.edit)
        self.terminal.wait_for("Enter sends it", "│ Name one mountain.")
        self.press("C-u")
        self.terminal.wait_for("│ Send a message")
        self.ask(EDITED)
        screen = self.terminal.wait_for("Message 2 of 2", IDLE)
        assert "Name one mountain." not in screen
        with self.walks_versions():
            self.press(self.keys.version_before)
            self.terminal.wait_for("Message 1 of 2", " Name one mountain.")
            self.press(self.keys.version_after)
            self.terminal.wait_for("Message 2 of 2", f" {EDITED}")

    @contextmanager
    def walks_versions(self) -> Iterator[None]:
        """Where versions are walked: nowhere special, or at a selected message."""
        if self.keys.enter_versions:
            self.press(*self.keys.enter_versions)
            self.terminal.wait_for("selected")
        yield
        if self.keys.leave_versions:
            self.press(*self.keys.leave_versions)
            self.terminal.wait_without("selected")

    def forks(self) -> None:
        self.press(self.keys.select)
        self.terminal.wait_for("selected")
        self.press(self.keys.select_before, self.keys.fork)
        self.terminal.wait_for("Forked. The original is unchanged.", f"█ {FIRST}")
        self.terminal.wait_without(f"█ {EDITED}")
        self.ask("Name one colour.")
        self.press("C-o", "Down", "Enter")
        screen = self.terminal.wait_for(f"█ {EDITED}", f"█ {FIRST}", IDLE)
        assert "█ Name one colour." not in screen

    def fills_the_window(self) -> None:
        self.ask(f"Remember the word {WORD}.")
        self.pins_a_turn()
        notice = "Context full:"
        for number in range(1, 16):
            # One row of the screen; each digit is a token of its own, so that a few messages fill the context.
            screen = self.ask(f"Here is step {number} of a long day at sea: 91878379757167635955514743")
            if notice in screen:
                break
        assert notice in screen
        assert "dropped out" in screen
        self.press("BTab")
        for _ in range(20):
            if EDGE in (before := self.terminal.screen):
                break
            self.press(self.keys.page_up)
            self.terminal.wait_until(partial(ne, before), "an earlier page")
        self.terminal.wait_for(EDGE)
        self.press(*self.keys.to_the_end)
        self.terminal.wait_for(f"█ Here is step {number}")
        self.press(*self.keys.context)
        screen = self.terminal.wait_for(f"Context: {WINDOW} tokens", "pinned messages")
        assert re.search(r"pinned messages +[1-9]", screen), "the pinned turn left the window"
        self.press("Escape")
        self.terminal.wait_without("pinned messages")

    def pins_a_turn(self) -> None:
        self.press(self.keys.select)
        self.terminal.wait_for("selected")
        self.press(self.keys.pin_message)
        self.terminal.wait_for("Pinned in context", "◆ pinned")
        self.press("Escape")
        self.terminal.wait_without("selected")

    def searches_and_jumps(self) -> None:
        assert f"█ Remember the word {WORD}." not in self.terminal.screen
        self.press("C-f")
        self.terminal.wait_for("Search all conversations")
        self.terminal.write(WORD)
        self.terminal.wait_for(" found", WORD)
        self.press("Enter")
        self.terminal.wait_for(f"█ Remember the word {WORD}.")

    def pins(self) -> None:
        self.press(*self.keys.pin)
        self.terminal.wait_for("Pinned", "Tell me a long story")

    def goes_on_with_another_model(self) -> None:
        self.takes_a_model(OTHER, OTHER)
        self.ask("Where am I now?")
        self.takes_a_model("SmolLM2", "demo")

    def takes_a_model(self, name: str, called: str) -> None:
        self.type(f"/model {name}")
        self.terminal.wait_for("Switch model.", "m more")
        # The details of the model under the cursor are next to the list.
        self.terminal.wait_until(re.compile(rf"[▏│] +{name}").search, f"{name} under the cursor")
        self.press("Enter")
        self.terminal.wait_until(re.compile(rf"{called}\S*  ·  [\d+]+/{WINDOW}").search, f"{called} is ready")

    def exports(self) -> None:
        file = self.home / "kept.md"
        self.type(f"/export {file}")
        self.terminal.wait_for("Exported to")
        assert WORD in file.read_text(encoding="utf-8")

    def deletes_and_takes_back(self) -> None:
        self.press("C-n")
        self.terminal.wait_for("New conversation")
        self.ask("Say good night.")
        self.press(*self.keys.delete)
        self.terminal.wait_for("to the trash.", self.keys.undo[0], "New conversation")
        self.press(*self.keys.undo)
        self.terminal.wait_for("█ Say good night.")

    def says_something_unsaved(self) -> None:
        self.type("/unsaved")
        self.terminal.wait_for("Temporary chat", "not saved")
        self.ask(f"Forget the word {SECRET}.")
        self.type("/unsaved")
        self.terminal.wait_for("Discard this temporary chat?", "Discard")
        self.press("Tab", "Enter")
        self.terminal.wait_for("█ Say good night.")
        self.terminal.wait_without(SECRET)

    def finds_everything_again(self) -> None:
        screen = self.terminal.wait_for("Pinned", "Say good night.", "New conversation")
        assert SECRET not in screen
        self.press(*self.keys.first_chat)
        self.terminal.wait_for("of a long day at sea", IDLE)
        self.press("C-f")
        self.terminal.wait_for("Search all conversations")
        self.terminal.write("mountain")
        self.terminal.wait_for(" found")
        self.press("Enter")
        self.terminal.wait_for("█ Name one mountain.")


@pytest.fixture
def keyboard() -> Keyboard:
    return EVERY_KEY


@pytest.fixture
def person(tmp_path: Path, demo_model: Path, own_folders: Path, keyboard: Keyboard) -> Iterator[User]:
    terminal = Tmux(tmp_path / "tmux")
    yield User(terminal, tmp_path, keyboard)
    terminal.close()


@pytest.mark.parametrize("keyboard", [EVERY_KEY, MAC], ids=["every key", "the keys of a Mac"])
def test_the_first_half_hour(person: User) -> None:
    person.start()
    person.looks_around()
    person.asks_and_stops()
    person.asks_again_and_regenerates()
    person.edits_and_branches()
    person.forks()
    person.fills_the_window()
    person.searches_and_jumps()
    person.pins()
    person.goes_on_with_another_model()
    person.exports()
    person.deletes_and_takes_back()
    person.says_something_unsaved()
    person.quit()
    assert not [path for path in (person.home / "data").rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    person.start()
    person.finds_everything_again()
    person.quit()


@pytest.mark.skipif(sys.platform != "linux", reason="the program behind its waiting parent is found in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_sudden_end_keeps_the_question_and_what_was_written(person: User, number: signal.Signals) -> None:
    person.start()
    person.begin(FIRST)
    said = sqlite3.connect(person.home / "data" / "conversations.db")
    kept = "SELECT user, finish_reason, length(reply) > 40 FROM turns"
    person.terminal.wait_until(lambda _: said.execute(kept).fetchall() == [(FIRST, None, 1)], "a second of the reply on the disk")
    (child,) = Path(f"/proc/{person.terminal.pid}/task/{person.terminal.pid}/children").read_text(encoding="ascii").split()
    os.kill(int(child) if number == signal.SIGKILL else person.terminal.pid, number)
    assert person.terminal.wait_for_the_end() == str(128 + number)
    assert person.terminal.modes() == "00"
    person.start("--continue")
    person.terminal.wait_for("■ Stopped", "F6 continue")
    person.quit()
    assert said.execute(kept).fetchall() == [(FIRST, "cancelled", 1)]
    said.close()
