"""What the tests of trust count: how often each hazard was tried, and how often the program stood the test."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import pytest

TESTS = Path(__file__).parents[1]
PROPERTY = "hazards"


class Tally:
    """Counts the trials of one test, by hazard."""

    def __init__(self) -> None:
        self.counts: dict[str, list[int]] = {}
        """How often each hazard was tried and passed."""

    @contextmanager
    def trial(self, hazard: str, number: int = 1) -> Iterator[None]:
        """Try a hazard once, or `number` times together; it is passed if nothing is raised."""
        count = self.counts.setdefault(hazard, [0, 0])
        count[0] += number
        yield
        count[1] += number

    def count(self, hazard: str, *, passed: bool) -> None:
        """Count a trial whose outcome decides nothing: a busy machine may spoil it."""
        count = self.counts.setdefault(hazard, [0, 0])
        count[0] += 1
        count[1] += passed


def table(reports: Iterable[pytest.TestReport]) -> list[str]:
    """The hazards of a run, with how often each was tried and passed; empty where no test tried any."""
    total: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for report in reports:
        for name, counts in report.user_properties:
            if name == PROPERTY and isinstance(counts, dict):
                for hazard, (tried, passed) in counts.items():
                    total[hazard][0] += tried
                    total[hazard][1] += passed
    if not total:
        return []
    width = max(map(len, total))
    rows = [f"{hazard:{width}}  {tried:>7,}  {passed:>7,}" for hazard, (tried, passed) in sorted(total.items())]
    return [f"{'hazard':{width}}  {'tried':>7}  {'passed':>7}", *rows]


def environment(**names: str) -> dict[str, str]:
    """The environment of a child that imports the program and `support`."""
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path, **names}


class Killer:
    """Runs a child over and over, and kills it at random moments of what it does after it has written a first byte."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.longest = 0.0
        """Seconds that the work took when it was left alone."""

    def measure(self, code: str, *arguments: str, environ: Mapping[str, str]) -> None:
        """Let the child do its work to the end, and note how long that takes."""
        with self._start(code, arguments, environ) as child:
            began = time.monotonic()
            output = child.communicate(timeout=120)[0]
            assert child.returncode == 0, output
            self.longest = time.monotonic() - began

    def kill(self, code: str, *arguments: str, environ: Mapping[str, str]) -> bytes:
        """Kill the child at a random moment of its work; what it wrote until then."""
        with self._start(code, arguments, environ) as child:
            try:
                return child.communicate(timeout=self._random.uniform(0, self.longest))[0]
            except subprocess.TimeoutExpired:
                child.kill()
                return child.communicate()[0]

    @staticmethod
    def _start(code: str, arguments: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environ),
        )
        assert child.stdout is not None
        os.read(child.stdout.fileno(), 1)
        return child
