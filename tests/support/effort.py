"""How much the tests try: a fixed sample by default, everything with `pytest --exhaustive`.

`--exhaustive` picks a new seed and prints it; `--exhaustive=SEED` repeats that run.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

import hypothesis

if TYPE_CHECKING:
    import pytest

PATIENCE: Final = 60.0
"""Seconds after which a test counts as hung, on the busiest machine."""

_SEED = 20260401
_chosen: list[str] = []
"""The seed of an exhaustive run, once the command line is read."""


def add_option(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive",
        nargs="?",
        const=str(Random().randrange(10**9)),
        metavar="SEED",
        help="try every case that tests draw at random, with a new seed or with SEED: hours instead of minutes",
    )


def read_option(config: pytest.Config) -> None:
    """Take the option before any test module is imported."""
    if (seed := config.getoption("exhaustive")) is not None:
        _chosen[:] = [seed]
    hypothesis.settings.register_profile("sample", deadline=None, max_examples=50, derandomize=True)
    hypothesis.settings.register_profile("exhaustive", deadline=None, max_examples=1000)
    hypothesis.settings.load_profile("exhaustive" if exhaustive() else "sample")


def exhaustive() -> bool:
    """Whether this run tries everything."""
    return bool(_chosen)


def cases(usual: int, full: int) -> int:
    """How many cases to try: `usual` by default, `full` in an exhaustive run."""
    return full if exhaustive() else usual


def seed() -> int:
    """The seed of the random cases of this run."""
    return int(_chosen[0]) if _chosen else _SEED
