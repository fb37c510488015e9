"""A race between programs: the same steps in turns, medians and spreads, and a report. Nothing in here knows the programs."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

from support.benchmarks import processor

OURS = "mistral-chat"

Sample = dict[str, float]
"""The figures of one step by their names."""

Steps = Generator[Sample, None, None]
"""Takes one step, and gives its figures, each time it is asked."""


Tell = Callable[[str], None]
"""Takes what a step gave, in words."""


class Unavailable(Exception):
    """A program cannot be had here, or cannot do what a scene asks; the sentence says why."""


class Peer(Protocol):
    """A program in the race."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    def install(self, cache: Path) -> str:
        """Install it in a folder of its own under `cache`, unless it is there, and return its version.

        Raises:
            Unavailable: it cannot be had.
        """
        ...


@dataclass(frozen=True)
class Goal:
    """What a scene must show: a limit for the ratio of our median to that of others, or for our median alone."""

    figure: str
    against: tuple[str, ...]
    """Peers, of whom the least favourable decides; none for our median alone."""
    limit: float
    at_least: bool = False
    """Whether the ratio, ours to theirs, is to be at least the limit rather than at most."""
    ours: str = OURS
    """Whose figure is compared."""

    def met(self, ratio: float) -> bool:
        """Whether a ratio is within the limit."""
        return ratio >= self.limit if self.at_least else ratio <= self.limit

    def __str__(self) -> str:
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}"


@dataclass(frozen=True)
class Scene:
    """Something a user does, played with each program."""

    title: str
    play: Callable[..., Steps]
    """Begins to play it with a program."""
    figures: Mapping[str, str]
    """Units by the names of the figures that the report shows."""
    peers: tuple[str, ...]
    goals: tuple[Goal, ...] = ()
    warm_up: int = 0
    """Steps at the beginning that are not counted."""
    rounds: int = 3
    """Steps that are."""


@dataclass
class Result:
    """What a scene gave."""

    title: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    without: dict[str, str] = field(default_factory=dict)
    """Why a program is missing, by its name."""
    load: float = 0.0
    """The machine's load when the scene ended; what is measured is part of it."""

    def values(self, peer: str, figure: str) -> list[float]:
        """The counted figures of a program, in order."""
        return [sample[figure] for sample in self.samples.get(peer, ()) if figure in sample]

    def median(self, peer: str, figure: str) -> float:
        """The median; not a number without any."""
        values = self.values(peer, figure)
        return statistics.median(values) if values else math.nan

    def ratio(self, goal: Goal) -> tuple[float, str]:
        """The least favourable ratio of `goal`, and the peer it is to; not a number where it was not measured."""
        ours = self.median(goal.ours, goal.figure)
        if not goal.against:
            return ours, ""
        theirs = {peer: self.median(peer, goal.figure) for peer in goal.against}
        ratios = [(ours / value, peer) for peer, value in theirs.items() if value > 0 and not math.isnan(ours)]
        return (min(ratios) if goal.at_least else max(ratios)) if ratios else (math.nan, "")


@dataclass(frozen=True)
class Limits:
    """How long a scene is played."""

    rounds: int
    seconds: float = math.inf


def run(
    scene: Scene, play: Callable[[Peer], Steps], peers: Sequence[Peer], limits: Limits, *, result: Result, tell: Tell
) -> None:
    """Play a scene with all `peers` in turns: A B C, A B C, for so many rounds, or until the time is over.

    The scene's own peers take part; one that fails is listed with the reason, and the others go on. `tell` is called after
    each step, when its figures are in the `result`.
    """
    deadline = time.monotonic() + limits.seconds
    playing = {peer.name: play(peer) for peer in peers if peer.name in scene.peers}
    try:
        for number in range(limits.rounds + scene.warm_up):
            if time.monotonic() > deadline:
                break
            for name, steps in list(playing.items()):
                try:
                    sample = next(steps, None)
                except Exception as reason:  # noqa: BLE001 (whatever ails a program, the others go on)
                    result.without[name] = str(reason) or type(reason).__name__
                    sample = None
                if sample is None:
                    del playing[name]
                elif number >= scene.warm_up:
                    result.load = os.getloadavg()[0]
                    result.samples.setdefault(name, []).append(sample)
                    tell(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in sample.items()))
    finally:
        for steps in playing.values():
            steps.close()  # ends the program that it plays with


@dataclass
class Report:
    """All results, with the machine and the versions; kept in a file, so that scenes can be run one by one."""

    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Report:
        """What the file at `path` has, or nothing yet."""
        if not path.is_file():
            return cls()
        found = json.loads(path.read_text(encoding="utf-8"))
        results = {name: Result(**result) for name, result in found["results"].items()}
        return cls(found["machine"], found["versions"], results)

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    def markdown(self, scenes: Mapping[str, Scene]) -> str:
        """The report for people: goals first, then all figures."""
        machine = "; ".join(f"{key}: {value}" for key, value in self.machine.items())
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        parts = [f"{machine}\n\n{versions}\n", "| what | against | goal | measured | |", "|---|---|---|---|---|"]
        done = [(scene, self.results[name]) for name, scene in scenes.items() if name in self.results]
        parts += [row for scene, result in done for row in goal_rows(scene, result)]
        for scene, result in done:
            parts += ["", *scene_rows(scene, result)]
        return "\n".join(parts) + "\n"


def goal_rows(scene: Scene, result: Result) -> Iterator[str]:
    """One line of the table of goals for each goal that was measured."""
    for goal in scene.goals:
        ratio, peer = result.ratio(goal)
        if not math.isnan(ratio):
            what = f"{result.title}: {goal.figure}" + (f", {goal.ours}" if goal.ours != OURS else "")
            yield f"| {what} | {peer} | {goal} | {ratio:.2f} | {'met' if goal.met(ratio) else 'missed'} |"


def scene_rows(scene: Scene, result: Result) -> Iterator[str]:
    """The table of one scene: medians, with the least and the most, and the ratio to ours."""
    yield f"**{result.title}** (load {result.load:.1f})\n"
    yield "| program | " + " | ".join(f"{name}, {unit}" if unit else name for name, unit in scene.figures.items()) + " |"
    yield "|---" * (len(scene.figures) + 1) + "|"
    for peer in scene.peers:
        if peer in result.samples:
            yield f"| {peer} | " + " | ".join(_cell(result, peer, figure) for figure in scene.figures) + " |"
        if peer in result.without:
            yield f"| {peer} | {result.without[peer]} |" + " |" * (len(scene.figures) - 1)


def _cell(result: Result, peer: str, figure: str) -> str:
    values = result.values(peer, figure)
    if not values:
        return ""
    ours, median = result.median(OURS, figure), result.median(peer, figure)
    spread = f" ({_short(min(values))} to {_short(max(values))})" if len(values) > 1 else ""
    ratio = f", x {_short(median / ours)}" if peer != OURS and ours > 0 else ""
    return f"{_short(median)}{spread}{ratio}"


def _short(value: float) -> str:
    """A number with three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def describe_machine() -> dict[str, str]:
    """What the figures depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{processor()}, {os.cpu_count()} logical",
        "memory": f"{memory:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def say(text: str) -> None:
    """Report progress on standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
