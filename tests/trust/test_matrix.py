"""Every action of the chat screen that uses the store, under every fault of the disk, and after the fault is gone.

Every fault is a real one: a small file system that is filled or mounted read-only, a lock that another connection holds, modes
met without root's rights, a file that is overwritten, a folder that is moved away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.app_harness import AppHarness, run_loaded, send_and_wait, until
from support.effort import exhaustive, seed
from support.event_loop import Standstill, longest_callback
from support.privileges import without_privileges

from mistral_chat.config import Persona, Settings
from mistral_chat.ui.commands import command
from mistral_chat.ui.widgets.sidebar import ConversationList

if TYPE_CHECKING:
    from support.trust import Tally
    from textual.pilot import Pilot

MOUNT, UMOUNT = (shutil.which(name) or "" for name in ("mount", "umount"))
TYPED = "precious"
ECHO_SECONDS = 0.1
"""In this time every key shows up."""
STANDSTILL_SECONDS = 0.5
"""The longest callback of the event loop on a busy machine, where threads of one process wait for one another. A call that waits
for a lock takes five seconds."""

Action = Callable[["User"], Coroutine[Any, Any, None]]


@dataclass
class User:
    """A user in front of the screen, while the disk fails."""

    harness: AppHarness
    pilot: Pilot[Any]
    other: str
    """A conversation that is not the open one."""
    exports: Path
    typed: list[str] = field(default_factory=list)
    """What must be found again in the end."""

    async def type(self, text: str) -> None:
        """Press keys in the message box; each shows up in it."""
        chat = self.harness.chat
        chat.composer.focus()
        before = chat.draft
        await self.pilot.press(*text)
        await until(self.pilot, lambda: chat.draft == before + text, f"{text!r} is in the message box after {before!r}")

    async def command(self, name: str, argument: str = "") -> None:
        """Run a command as its key or its slash command does."""
        await self.harness.screen.commands.run(command(name), argument)
        await self.pilot.pause(0.05)

    @property
    def dialog_open(self) -> bool:
        return len(self.harness.app.screen_stack) > 1

    async def close_dialogs(self) -> None:
        while self.dialog_open:
            await self.pilot.press("escape")
            await self.pilot.pause()


async def draft(person: User) -> None:
    person.harness.chat.save_draft()


async def send(person: User) -> None:
    await person.pilot.press("enter")
    await until(person.pilot, lambda: not person.harness.chat.replying, "it is answered or refused")


async def edit(person: User) -> None:
    await person.command("chat.edit")
    await until(person.pilot, lambda: person.harness.chat.editing, "a message is edited")
    person.harness.chat.set_draft("amended")
    person.typed.append("amended")
    await person.pilot.press("enter")
    await until(person.pilot, lambda: not person.harness.chat.replying, "it is answered or refused")


async def regenerate(person: User) -> None:
    await person.command("chat.regenerate")


async def search(person: User) -> None:
    await person.command("chat.search", "flour")
    await until(person.pilot, lambda: person.dialog_open, "the search is open")
    await person.pilot.pause(0.1)
    await person.pilot.press("enter")


async def open_other(person: User) -> None:
    chat = person.harness.chat
    chat.conversation_list.post_message(ConversationList.Chosen(person.other))
    await person.pilot.pause(0.1)


async def trash(person: User) -> None:
    await person.command("chat.trash")
    await until(person.pilot, lambda: person.dialog_open, "the trash is open")
    await person.pilot.pause(0.1)
    await person.pilot.press("enter")
    await person.pilot.pause(0.1)


async def export(person: User) -> None:
    await person.command("chat.export", str(person.exports / "bread.md"))


async def leave(person: User) -> None:
    person.harness.chat.save_draft()
    await person.pilot.press("ctrl+q")
    await until(person.pilot, lambda: "again quits without saving" in person.harness.chat.notice, "what is lost is told first")


def runs(name: str, argument: str = "") -> Action:
    async def action(person: User) -> None:
        await person.command(name, argument)

    return action


ACTIONS: dict[str, Action] = {
    "draft": draft,
    "send": send,
    "edit": edit,
    "regenerate": regenerate,
    "rename": runs("chat.rename", "Rolls"),
    "pin": runs("chat.pin"),
    "tag": runs("chat.tag", "kitchen"),
    "archive": runs("chat.archive"),
    "delete": runs("chat.delete"),
    "undo": runs("chat.undo"),
    "export": export,
    "search": search,
    "open another": open_other,
    "fork": runs("chat.fork"),
    "pin a turn": runs("chat.pin_turn"),
    "exclude a turn": runs("chat.exclude_turn"),
    "persona": runs("chat.persona", "cook"),
    "trash": trash,
    "quit": leave,
}


class Disk:
    """The place of a store, and what goes wrong with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "data" / "conversations.db"
        self._away = folder / "away"
        self._whole = b""
        self._lock: sqlite3.Connection | None = None

    def truncate_log(self) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def fill(self) -> None:
        self.truncate_log()
        with contextlib.suppress(OSError), (self.folder / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def empty(self) -> None:
        (self.folder / "fill").unlink()

    def remount(self, mode: str) -> None:
        subprocess.run([MOUNT, "-o", f"remount,{mode}", str(self.folder)], check=True)

    def lock(self) -> None:
        self._lock = sqlite3.connect(self.path, isolation_level=None)
        self._lock.execute("BEGIN IMMEDIATE")

    def unlock(self) -> None:
        assert self._lock is not None
        self._lock.rollback()
        self._lock.close()

    def overwrite(self) -> None:
        self.truncate_log()
        self._whole = self.path.read_bytes()
        self._write(b"garbage " * (len(self._whole) // 8))

    def restore(self) -> None:
        self._write(self._whole)

    def _write(self, content: bytes) -> None:
        """Write over the file as another program would: it stays the same file."""
        with self.path.open("r+b") as file:
            file.write(content)

    def move(self) -> None:
        self.path.parent.rename(self._away)

    def put_back(self) -> None:
        self._away.rename(self.path.parent)

    def forbid(self) -> None:
        for path in self.path.parent.iterdir():
            path.chmod(0o400)
        self.path.parent.chmod(0o500)

    def permit(self) -> None:
        self.path.parent.chmod(0o700)
        for path in self.path.parent.iterdir():
            path.chmod(0o600)


@dataclass(frozen=True)
class Fault:
    begin: Callable[[Disk], None]
    end: Callable[[Disk], None]
    told: str
    """What the notice says of it."""
    mounted: bool = False
    """Whether it needs a file system of its own."""
    from_start: bool = False
    """Whether the program is started with it."""
    unprivileged: bool = False
    """Whether it is none to root."""


FAULTS = {
    "disk full": Fault(Disk.fill, Disk.empty, "is full", mounted=True),
    "read-only": Fault(
        lambda disk: disk.remount("ro"), lambda disk: disk.remount("rw"), "mounted read-only", mounted=True, from_start=True
    ),
    "locked": Fault(Disk.lock, Disk.unlock, "Another program is writing"),
    "garbage": Fault(Disk.overwrite, Disk.restore, "is damaged"),
    "folder gone": Fault(Disk.move, Disk.put_back, "was deleted or moved"),
    "no permission": Fault(Disk.forbid, Disk.permit, "You do not have permission", unprivileged=True),
}


def cells() -> list[tuple[str, str]]:
    """Every pair of an action and a fault; in a sample, each action once, and each fault with three actions or more."""
    if exhaustive():
        return [(action, fault) for action in ACTIONS for fault in FAULTS]
    faults = list(FAULTS)
    random.Random(seed()).shuffle(faults)
    return [(action, faults[place % len(faults)]) for place, action in enumerate(ACTIONS)]


@contextlib.contextmanager
def place(fault: Fault) -> Iterator[Disk]:
    """A folder that every user can reach, on a file system of its own where the fault needs one."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    if fault.mounted:
        command = [MOUNT, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
        if not MOUNT or subprocess.run(command, capture_output=True, check=False).returncode:
            folder.rmdir()
            pytest.skip("mounting a small file system needs root's rights")
    try:
        yield Disk(folder)
    finally:
        if fault.mounted:
            subprocess.run([UMOUNT, "--lazy", str(folder)], check=True)
        shutil.rmtree(folder)


def make_harness(path: Path) -> tuple[AppHarness, str]:
    """Three conversations, one of them in the trash; and the one that is not opened."""
    harness = AppHarness(path=path, settings=Settings(personas={"cook": Persona(system="You are a cook.")}))
    other = harness.add_conversation(("And rye?", "It takes rye flour."), title="Rye")
    gone = harness.add_conversation(("Old", "Gone"), title="Old")
    harness.store.trash(gone)
    harness.start_with(("How is bread made?", "With flour."), ("And rolls?", "The same."), title="Bread")
    return harness, other


def kept_texts(harness: AppHarness) -> list[str]:
    """All that was typed and is not lost: in the message box and in the store."""
    found = [harness.chat.draft]
    with contextlib.closing(harness.open_store()) as store:
        found.append(store.draft(""))
        for summary in (each for where in ("active", "archived", "trash") for each in store.summaries(where=where)):
            found.append(store.draft(summary.conversation_id))
            found.extend(turn.turn.user for turn in store.turns(summary.conversation_id))
    return found


async def try_cell(action: str, fault: Fault, disk: Disk, caplog: pytest.LogCaptureFixture) -> Standstill:
    """Do one action under one fault, and end the fault; the seconds for which the event loop stood still at the longest."""
    harness, other = make_harness(disk.path)
    if fault.from_start:
        harness.store.close()
        fault.begin(disk)
        harness.store = harness.open_store()
        harness.app = harness.make_app()
    async with run_loaded(harness) as pilot:
        chat = harness.chat
        saver = harness.screen.opened.saver
        saver._retry_seconds = 0.05
        person = User(harness, pilot, other, disk.folder)
        if action == "undo" and not fault.from_start and not fault.unprivileged:
            await person.command("chat.pin")
            await until(pilot, lambda: "Pinned" in chat.notice, "it is pinned")
        if fault.told.startswith("Another"):
            chat.shorten_busy_timeout()
        await person.type(TYPED)
        if not fault.from_start:
            fault.begin(disk)
        with longest_callback() as longest:
            await person.type("x")
            await ACTIONS[action](person)
            await person.close_dialogs()
            assert harness.app.is_running, "the program ended"
            await person.type("y")
            chat.save_draft()
            await until(pilot, lambda: saver.problem is not None, "it is noticed that nothing can be saved")
            await pilot.pause()
            chat.clear_notice()
            assert fault.told in chat.notice, "the notice stays while nothing can be saved"
            await person.type("z")
        fault.end(disk)
        await until(pilot, lambda: saver.problem is None and not saver.pending, f"saving works again: {saver.problem}")
        await until(pilot, lambda: fault.told not in chat.notice, f"the notice ends: {chat.notice!r}")
        assert harness.app._exception is None
        chat.save_draft()
        await until(pilot, lambda: not saver.pending, "the draft is saved")
        kept = "\n".join(kept_texts(harness))
        assert [text for text in [TYPED, *person.typed] if text not in kept] == [], "what was typed is lost"
        if chat.editing:  # what could not be sent can be sent again
            await pilot.press("escape")
        if not chat.replying:
            await send_and_wait(pilot, harness, "and a last one")
    broken = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not broken
    return longest


@pytest.mark.parametrize(("action", "fault"), cells())
def test_no_disk_fault_breaks_the_screen_or_loses_typed_text(
    action: str, fault: str, tally: Tally, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = FAULTS[fault]
    if chosen.unprivileged and sys.platform != "linux" and os.getuid() == 0:
        pytest.skip("modes mean nothing to root, and its rights can be given up only on Linux")
    with place(chosen) as disk, tally.trial(f"{fault}, whatever is done on the screen: told, nothing lost, saved afterwards"):

        def work() -> Standstill:
            return asyncio.run(try_cell(action, chosen, disk, caplog))

        longest = without_privileges(work) if chosen.unprivileged else work()
        tally.count(f"{fault}: keys show up within 0.1 s", passed=longest.seconds < ECHO_SECONDS)
        assert longest.seconds < STANDSTILL_SECONDS, f"no key was echoed for {longest.seconds:.2f} s: {longest.what}"
