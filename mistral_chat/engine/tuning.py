"""Measures once, in a child process, how a model runs fastest on this machine, and saves the result in a file.

The fastest way differs by a factor of two between CPUs and can only be found by measuring. The child loads the model separately
from the chat, because repacked weights need a second load, and because it can be killed at any time: each line of its output is
a complete result.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import psutil

from mistral_chat import system
from mistral_chat.config import EngineSettings
from mistral_chat.engine.hardware import Tuning
from mistral_chat.generation import CancelToken
from mistral_chat.paths import private_folder

BUDGET: Final = 30.0
"""Maximum seconds for measuring a model."""

_PROMPT, _REPLY = 500, 150
"""Tokens of the turn by which plans are compared: the fastest plan completes it first."""

_GAIN: Final = 0.05
"""The minimum gain, as a share, over the defaults; less is noise."""

_REPACK_GAIN: Final = 0.15
"""The minimum gain that justifies twice the memory and a longer load."""

_BUSY_PERCENT: Final = 25.0
"""The maximum CPU share of other programs; above it, the figures would be distorted."""

_WATCH_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.05
_MOST_RECORDS: Final = 64


def is_quiet(cancel: CancelToken) -> bool:
    """Watch the CPU load for a moment; False if other programs use the CPU, or `cancel` is set."""
    psutil.cpu_percent()
    until = time.monotonic() + _WATCH_SECONDS
    while time.monotonic() < until and not cancel.is_set:
        time.sleep(_POLL_SECONDS)
    return not cancel.is_set and psutil.cpu_percent() < _BUSY_PERCENT


def turn_seconds(tuning: Tuning) -> float:
    """Seconds from sending a typical message to the end of its reply."""
    return _PROMPT / tuning.prompt_speed + _REPLY / tuning.decode_speed


def choose(trials: Sequence[Tuning]) -> Tuning | None:
    """The best of `trials`, the first of which uses the defaults; None without any."""
    if not trials:
        return None
    plain = [trial for trial in trials if not trial.repack] or list(trials)
    best = min(plain, key=turn_seconds)
    if turn_seconds(best) > turn_seconds(plain[0]) * (1 - _GAIN):
        best = plain[0]
    repacked = [trial for trial in trials if trial.repack]
    if repacked and turn_seconds(quickest := min(repacked, key=turn_seconds)) < turn_seconds(best) * (1 - _REPACK_GAIN):
        best = quickest
    alike = [trial.batch_costs for trial in trials if (trial.repack, trial.threads) == (best.repack, best.threads)]
    return replace(best, batch_costs=max(alike, key=len))


def _tuning(entry: dict[str, Any]) -> Tuning:
    """Parse a tuning from JSON.

    Raises:
        AttributeError, TypeError, ValueError: it was written by another version.
    """
    costs = tuple((int(size), float(cost)) for size, cost in entry.pop("batch_costs", ()))
    return Tuning(**entry, batch_costs=costs)


class TuningFile:
    """Measurements on this machine: a JSON file in the cache folder with an entry for each model, build and machine."""

    def __init__(self, path: Path, *, frozen: bool = False) -> None:
        """Use the file at `path`, which need not exist. A `frozen` one accepts no new measurements."""
        self._path = path
        self.frozen = frozen

    def get(self, key: str) -> Tuning | None:
        """The measurement under `key`; None if there is none, or if it gave no result."""
        entry = self._read().get(key)
        try:
            return _tuning(entry) if entry else None
        except (AttributeError, TypeError, ValueError):
            return None  # written by another version

    def has(self, key: str) -> bool:
        """Whether a measurement was made under `key`, with or without a result."""
        return key in self._read()

    def put(self, key: str, tuning: Tuning | None) -> None:
        """Save a measurement under `key`; None records that it gave no result, so that it is not repeated.

        Raises:
            OSError: the file cannot be written; the error names it.
        """
        entries = self._read()
        entries.pop(key, None)
        entries[key] = asdict(tuning) if tuning else None
        newest = dict(list(entries.items())[-_MOST_RECORDS:])
        private_folder(self._path.parent)
        system.write_private(self._path, json.dumps(newest, indent=1).encode())

    def _read(self) -> dict[str, dict[str, Any] | None]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningJob:
    """A model to measure, and where to save the result."""

    path: Path
    """The GGUF file."""
    settings: EngineSettings
    key: str
    file: TuningFile

    def run_once(self, cancel: CancelToken) -> None:
        """Measure the model unless that was done before.

        A measurement that was cancelled, or that other programs would have distorted, is repeated later.
        """
        if not self.file.frozen and not self.file.has(self.key) and is_quiet(cancel):
            try:
                self.run(cancel)
            except OSError:
                self.file.frozen = True  # nothing can be saved before a restart
                raise

    def run(self, cancel: CancelToken) -> Tuning | None:
        """Measure the model and save the result; None if it gave none, or `cancel` was set before the first."""
        trials = list(measure(self.path, self.settings, cancel))
        found = choose(trials)
        if not cancel.is_set:
            self.file.put(self.key, found)
        return found


def measure(
    path: Path, settings: EngineSettings, cancel: CancelToken, *, budget: float = BUDGET, background: bool = True
) -> Iterator[Tuning]:
    """Let a child process try the model at `path` in several ways; yield each result, the defaults first.

    In the `background`, other programs go first.

    Ends when all were tried, after `budget` seconds, when `cancel` is set, or when the child dies.
    """
    options = json.dumps({"settings": asdict(settings), "budget": budget, "background": background})
    command = [sys.executable, "-P", "-m", "mistral_chat.engine.llama.trials", str(path), options]
    deadline = time.monotonic() + budget
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        limit = threading.Thread(target=_limit, args=(child, deadline, cancel), name="tuning", daemon=True)
        limit.start()
        try:
            for line in child.stdout or ():
                if line.endswith("\n"):  # else it was killed while it wrote
                    yield _tuning(json.loads(line))
        finally:
            child.kill()
            limit.join()


def _limit(child: subprocess.Popen[str], deadline: float, cancel: CancelToken) -> None:
    """Kill the child at the deadline, or when `cancel` is set."""
    while child.poll() is None and time.monotonic() < deadline and not cancel.is_set:
        time.sleep(_POLL_SECONDS)
    child.kill()
