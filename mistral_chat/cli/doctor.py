"""`mistral-chat doctor`: checks this machine, the models and the conversations."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from mistral_chat import __version__
from mistral_chat.errors import MistralChatError
from mistral_chat.formatting import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mistral_chat.cli.wheels import Machine
    from mistral_chat.cli.wiring import Program
    from mistral_chat.engine.hardware import Device

Verdict = Literal["ok", "warn", "FAIL"]

_ESCAPE_MILLISECONDS = 50
"""Milliseconds that tmux may wait after Escape without being noticed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    verdict: Verdict
    about: str
    text: str


@click.command(short_help="Check this machine, the models and the conversations.")
@click.option("--privacy", is_flag=True, help="Show what is stored where, and which hosts are contacted.")
@click.pass_obj
def doctor(program: Program, *, privacy: bool) -> None:
    """Check this machine, the settings, the models and the conversations.

    Exits with 1 if a check fails. Nothing is sent.
    """
    from mistral_chat.text import one_line

    if privacy:
        from mistral_chat.cli.privacy import privacy_report

        click.echo(privacy_report(program), nl=False)
        return
    failed = False
    for check in (_system, _settings, _folders, _engine, _models, _conversations, _terminal):
        for finding in _findings(check, program):
            failed |= finding.verdict == "FAIL"
            click.echo(f"{finding.verdict:4}  {finding.about:14}  {one_line(finding.text, 500)}")
    sys.exit(1 if failed else 0)


def _findings(check: Callable[[Program], Iterator[Finding]], program: Program) -> Iterator[Finding]:
    """The findings of `check`. An error is a finding too, and the other checks still run."""
    about = check.__name__.strip("_")
    try:
        yield from check(program)
    except MistralChatError as error:
        yield Finding("FAIL", about, str(error))
    except OSError as error:
        yield Finding("FAIL", about, f"{error.filename}: {error.strerror}" if error.filename else str(error))


def _system(_program: Program) -> Iterator[Finding]:
    yield Finding("ok", "mistral-chat", __version__)
    yield Finding("ok", "python", f"{platform.python_version()} for {platform.machine()} on {platform.platform()}")


def _settings(program: Program) -> Iterator[Finding]:
    changed = len(program.configuration.changed())
    file = program.paths.config_file
    differ = f"{counted(changed, 'setting')} changed" if changed else "all settings at their defaults"
    yield Finding("ok", "settings", f"{file}{'' if file.is_file() else ' (missing)'}: {differ}")


def _folders(program: Program) -> Iterator[Finding]:
    """Whether each folder is writable, tested with an unnamed file."""
    paths = program.paths
    folders = (paths.config_file.parent, paths.data_dir, paths.models_dir, paths.cache_dir, paths.log_dir)
    refused = {folder: reason for folder in folders if (reason := _refusal(folder))}
    for folder, reason in refused.items():
        yield Finding("FAIL", "folders", f"{folder} is not writable: {reason}")
    if not refused:
        yield Finding("ok", "folders", f"{paths.data_dir} and all others are writable")


def _refusal(folder: Path) -> str:
    """Why `folder` cannot be written or created; empty if it can."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)) as file:
            file.write(b"x")
    except OSError as error:
        return error.strerror or "system error"
    return ""


def _existing(folder: Path) -> Path:
    """The nearest existing folder, or what is in its place."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)


def _engine(program: Program) -> Iterator[Finding]:
    from mistral_chat.cli.logs import start_log
    from mistral_chat.cli.wheels import this_machine
    from mistral_chat.engine.hardware import measure_memory, physical_cores
    from mistral_chat.engine.llama import backend
    from mistral_chat.engine.llama.devices import list_devices

    start_log(program.paths.log_file)
    backend.init_backend()
    yield Finding("ok", "llama.cpp", backend.version())
    devices = list_devices()
    for device in devices:
        yield Finding("ok", "device", f"{device.name} ({device.description}), {device.total / 1e9:.1f} GB")
    memory = measure_memory()
    yield Finding("ok", "machine", f"{physical_cores()} cores, {memory / 1e9:.1f} GB of memory free")
    yield from gpu_findings(devices, this_machine(), built=backend.can_offload())


def gpu_findings(devices: Sequence[Device], machine: Machine, *, built: bool) -> Iterator[Finding]:
    """Whether llama.cpp uses the GPU of this `machine`; if not, why, and what to run.

    Args:
        devices: what llama.cpp can compute on.
        machine: what the system says of itself.
        built: whether the installed llama.cpp supports GPUs at all.
    """
    from mistral_chat.cli.wheels import advise, installed_release
    from mistral_chat.engine.hardware import DeviceKind

    used = [device for device in devices if device.kind in {DeviceKind.GPU, DeviceKind.INTEGRATED}]
    if used:
        yield Finding("ok", "gpu", f"models run on {used[0].description or used[0].name}")
        return
    advice = advise(machine)
    gpu = advice.gpu or next(iter(machine.gpus), None)
    if gpu is None:
        yield Finding("ok", "gpu", "none found; models run on the CPU")
    else:
        why = "its driver or runtime library is missing" if built else "the installed llama-cpp-python has no GPU support"
        yield Finding("warn", "gpu", f"{gpu.name} is not used: {why}")
    for note in advice.notes:
        yield Finding("warn", "gpu", note)
    if advice.gpu is not None and advice.index not in {None, "cpu"}:
        yield Finding("warn", "gpu", f"Run: {advice.line(installed_release(), sys.executable)}")


def _models(program: Program) -> Iterator[Finding]:
    library = program.library()
    usable, refused = library.scan()
    for model in usable:
        verified = {True: ", verified", False: ", WRONG checksum", None: ""}[model.verified]
        verdict: Verdict = "FAIL" if model.verified is False else "ok"
        yield Finding(verdict, "model", f"{model.name} ({model.bytes / 1e9:.2f} GB, {model.source}{verified}): {model.path}")
    for each in refused:
        yield Finding("warn", "model", f"{each.path} cannot be used: {each.reason}")
    default = library.find(program.settings.model)
    yield Finding("ok", "model", f"default model: {program.settings.model}")
    yield Finding("ok", "speed", _speed(program, default.path))


def _speed(program: Program, path: Path) -> str:
    """The best way to run the model at `path` on this machine, if it was measured."""
    from mistral_chat.cli.tune import describe
    from mistral_chat.engine.llama.engine import tuning_key
    from mistral_chat.engine.tuning import TuningFile

    found = TuningFile(program.paths.tuning_file).get(tuning_key(path, program.settings.engine))
    return describe(found) if found else "not measured yet; run `mistral-chat models tune`, or leave the chat idle for a while"


def _conversations(program: Program) -> Iterator[Finding]:
    from mistral_chat.store.database import open_database
    from mistral_chat.store.store import ConversationStore

    path = program.paths.database
    if not path.exists():
        if not _refusal(path.parent):  # otherwise the folder was named
            yield Finding("ok", "conversations", f"none yet; they will be saved in {path}")
        return
    yield from _permissions(program.paths.data_dir)
    with closing(open_database(path)) as database:
        database.integrity_check()
        latest = ConversationStore(database, now=program.now).latest()
    if database.obstacle is not None:
        yield Finding("FAIL", "conversations", str(database.obstacle))
        return
    empty = "" if latest else ", empty"
    yield Finding("ok", "conversations", f"{path} is intact{empty} ({path.stat().st_size / 1e6:.1f} MB)")


def _permissions(folder: Path) -> Iterator[Finding]:
    """Conversation files that other users can read. Opening the database makes them private."""
    if sys.platform == "win32":  # access lists protect the profile there
        return
    for path in sorted(folder.glob("conversations.db*")):
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding("warn", "conversations", f"{path} was readable by other users; fixed")


def _terminal(program: Program) -> Iterator[Finding]:
    if not sys.stdout.isatty():
        yield Finding("warn", "terminal", "not a terminal; skipped")
        return
    width, height = shutil.get_terminal_size()
    environ = program.environ
    colours = "no colours (NO_COLOR)" if environ.get("NO_COLOR") else environ.get("COLORTERM") or "the terminal's colours"
    inside = " inside tmux" if environ.get("TMUX") else ""
    verdict: Verdict = "ok" if width >= 60 and height >= 20 else "warn"  # noqa: PLR2004 (what the app is laid out for)
    yield Finding(verdict, "terminal", f"{environ.get('TERM', 'unknown')}{inside}, {width}x{height}, {colours}")
    if "utf" not in (sys.stdout.encoding or "").lower():
        yield Finding("warn", "terminal", f"encoding {sys.stdout.encoding}; set LC_ALL=C.UTF-8 to open the chat")
    if environ.get("SSH_CONNECTION"):
        yield Finding("warn", "terminal", "SSH session; the chat runs on the remote machine")
    if environ.get("TMUX"):
        from mistral_chat.cli.wheels import run_quietly

        delay = (run_quietly(["tmux", "show-options", "-gv", "escape-time"]) or "").strip()
        if delay.isdigit() and int(delay) > _ESCAPE_MILLISECONDS:
            yield Finding("warn", "terminal", f"tmux delays Escape by {delay} ms; add to tmux.conf: set -g escape-time 10")
