"""Follows a download or a check on standard error: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

from mistral_chat.cli.terminal import Progress as Line
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mistral_chat.models.library import Library, ModelFile
    from mistral_chat.models.operations import ChecksumResult
    from mistral_chat.models.progress import Progress

_PLAIN_EVERY = 10.0
"""Seconds between two plain lines."""
_BAR = 24
_STAGES = {
    "asking": "asking the hub",
    "waiting": "waiting",
    "downloading": "fetching",
    "retrying": "trying again",
    "verifying": "checking the SHA-256",
    "paused": "paused",
    "done": "done",
}


def follow(progress: Iterator[Progress], name: str) -> None:
    """Show a download until it is done.

    Raises:
        KeyboardInterrupt: a person stopped it; what has arrived is kept, and a line says so.
        WeightsError: it failed.
    """
    line, plain = Line(sys.stderr), not sys.stderr.isatty()
    last, shown, told = 0, "", -_PLAIN_EVERY
    try:
        for value in progress:
            last = value.bytes
            words = f"{_STAGES[value.stage]}{': ' + value.note if value.note else ''}"
            if not plain:
                line.show(one_line(bar(value), max(20, shutil.get_terminal_size().columns - 3)))
            elif words != shown or time.monotonic() - told >= _PLAIN_EVERY:
                click.echo(", ".join(filter(None, (f"{one_line(name)}: {one_line(words)}", amounts(value)))), err=True)
                shown, told = words, time.monotonic()
        line.clear()
    except KeyboardInterrupt:
        line.clear()
        click.echo(f"Paused; {last / 1e6:,.1f} MB are kept. Go on with: mistral-chat models pull {one_line(name)}", err=True)
        raise
    except BaseException:
        line.clear()
        raise


def bar(value: Progress) -> str:
    """One line for a terminal: a bar, bytes, speed and the time that is left."""
    share = value.bytes / value.total if value.total else 0.0
    filled = int(_BAR * share)
    words = value.note or ("" if value.stage == "downloading" else _STAGES[value.stage])
    return one_line(f"[{'#' * filled}{'.' * (_BAR - filled)}] {share:.0%} {amounts(value)} {words}")


def amounts(value: Progress) -> str:
    """Bytes, speed and the time that is left, as far as they are known; nothing before the hub has answered."""
    if value.total is None and not value.bytes:
        return ""
    whole = f" of {value.total / 1e6:,.1f}" if value.total else ""
    text = f"{value.bytes / 1e6:,.1f}{whole} MB"
    if value.speed > 0 and value.stage in {"downloading", "waiting"}:
        text += f", {value.speed / 1e6:,.1f} MB/s"
    if value.seconds_left is not None:
        text += f", {_duration(value.seconds_left)} left"
    return text


def hash_with_progress(library: Library, weights: ModelFile) -> Sequence[ChecksumResult]:
    """Hash weights and show on a terminal how far it is."""
    from mistral_chat.models.operations import verify

    line = Line(sys.stderr)
    try:
        return verify(
            library,
            weights,
            tell=lambda read: line.show(f"{one_line(weights.name)}: {read / 1e6:,.0f} of {weights.bytes / 1e6:,.0f} MB read"),
        )
    finally:
        line.clear()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
