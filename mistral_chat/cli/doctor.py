"""`mistral-chat doctor`: what is right and what is wrong on this machine, and what becomes of what is said."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from mistral_chat import __version__
from mistral_chat.errors import MistralChatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mistral_chat.cli.wiring import Program

Verdict = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    verdict: Verdict
    about: str
    text: str


@click.command(short_help="Check this machine, the models and the conversations.")
@click.option("--privacy", is_flag=True, help="Say what is written where, and which hosts are ever asked.")
@click.pass_obj
def doctor(program: Program, *, privacy: bool) -> None:
    """Check this machine, the settings, the weights and the conversations.

    The exit code is 1 when something is wrong. Nothing is repaired and nothing is sent.
    """
    from mistral_chat.text import one_line

    if privacy:
        from mistral_chat.cli.privacy import privacy_report

        click.echo(privacy_report(program), nl=False)
        return
    wrong = False
    for look in (_system, _settings, _engine, _weights, _conversations, _terminal):
        for finding in _looked(look, program):
            wrong |= finding.verdict == "wrong"
            click.echo(f"{finding.verdict:5}  {finding.about:14}  {one_line(finding.text, 500)}")
    sys.exit(1 if wrong else 0)


def _looked(look: Callable[[Program], Iterator[Finding]], program: Program) -> Iterator[Finding]:
    """What `look` finds; an error on the way is a finding too, and the others still have their turn."""
    try:
        yield from look(program)
    except MistralChatError as error:
        yield Finding("wrong", look.__name__.strip("_"), str(error))


def _system(_program: Program) -> Iterator[Finding]:
    yield Finding("ok", "mistral-chat", __version__)
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}")


def _settings(program: Program) -> Iterator[Finding]:
    given = sum(source != "default" for _, _, source in program.configuration.rows())
    file = program.paths.config_file
    place = f"{file} is read" if file.is_file() else f"{file} is not there"
    yield Finding("ok", "settings", f"{place}; {given} settings are not left at their defaults")


def _engine(program: Program) -> Iterator[Finding]:
    from mistral_chat.cli.logs import start_log
    from mistral_chat.engine.hardware import measure_memory, physical_cores
    from mistral_chat.engine.llama import backend
    from mistral_chat.engine.llama.devices import list_devices

    start_log(program.paths.log_file)
    backend.init_backend()
    yield Finding("ok", "llama.cpp", backend.version())
    for device in list_devices():
        yield Finding("ok", "device", f"{device.name} ({device.description}), {device.total / 1e9:.1f} GB")
    memory = measure_memory()
    free = "unknown memory" if memory is None else f"{memory / 1e9:.1f} GB of memory free"
    yield Finding("ok", "machine", f"{physical_cores()} cores, {free}; runs on {'a GPU' if backend.can_offload() else 'the CPU'}")


def _weights(program: Program) -> Iterator[Finding]:
    library = program.library()
    usable, refused = library.scan()
    for weights in usable:
        checked = {True: ", verified", False: ", NOT what was published", None: ""}[weights.verified]
        verdict: Verdict = "wrong" if weights.verified is False else "ok"
        size = f"{weights.bytes / 1e9:.2f} GB"
        yield Finding(verdict, "weights", f"{weights.name} ({size}, {weights.source}{checked}): {weights.path}")
    for each in refused:
        yield Finding("note", "weights", f"{each.path} cannot be used: {each.reason}")
    library.find(program.settings.model)
    yield Finding("ok", "model", f"{program.settings.model} is what the chat opens with")


def _conversations(program: Program) -> Iterator[Finding]:
    from mistral_chat.store.database import open_database
    from mistral_chat.store.store import ConversationStore

    path = program.paths.database
    if not path.exists():
        yield Finding("ok", "conversations", f"none yet; they will be kept in {path}")
        return
    yield from _permissions(program.paths.data_dir)
    database = open_database(path, now=program.now)
    try:
        database.integrity_check()
        latest = ConversationStore(database, now=program.now).latest()
    finally:
        database.close()
    kept = "in order" if latest else "in order, and empty"
    yield Finding("ok", "conversations", f"{path} is {kept} ({path.stat().st_size / 1e6:.1f} MB)")


def _permissions(folder: Path) -> Iterator[Finding]:
    """Files with what was said that others on this machine could read until now: opening them makes them private."""
    for path in sorted(folder.glob("conversations.db*")):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding("note", "conversations", f"others on this machine could read {path}; from now on only you can")


def _terminal(program: Program) -> Iterator[Finding]:
    if not sys.stdout.isatty():
        yield Finding("note", "terminal", "standard output is none, so the terminal was not looked at")
        return
    width, height = shutil.get_terminal_size()
    environ = program.environ
    colours = "no colours (NO_COLOR)" if environ.get("NO_COLOR") else environ.get("COLORTERM") or "the terminal's own colours"
    inside = " inside tmux" if environ.get("TMUX") else ""
    verdict: Verdict = "ok" if width >= 60 and height >= 20 else "note"  # noqa: PLR2004 (what the app is laid out for)
    yield Finding(verdict, "terminal", f"{environ.get('TERM', 'unknown')}{inside}, {width}x{height}, {colours}")
    if "utf" not in (sys.stdout.encoding or "").lower():
        yield Finding("note", "terminal", f"its encoding is {sys.stdout.encoding}; replies may show wrong characters")
    if os.environ.get("SSH_CONNECTION"):
        yield Finding("note", "terminal", "this is a session over SSH: the chat runs on the far machine")
