"""Shows a download or a verification on standard error: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import click

from mistral_chat.cli.terminal import Progress
from mistral_chat.formatting import format_progress, format_size
from mistral_chat.model_listing import STAGES
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mistral_chat.model_listing import DownloadProgress
    from mistral_chat.models.operations import Verification

_PLAIN_EVERY: Final = 10.0
"""Seconds between two plain lines."""
_BAR: Final = 24


def show_progress(progress: Iterator[DownloadProgress], name: str) -> None:
    """Show a download until it is done.

    Raises:
        KeyboardInterrupt: the user stopped it; downloaded data is kept, and a line says so.
        ModelError: it failed.
    """
    line, plain = Progress(sys.stderr), not sys.stderr.isatty()
    downloaded, shown, shown_at = 0, "", -_PLAIN_EVERY
    try:
        for value in progress:
            downloaded = value.bytes
            text = f"{STAGES[value.stage]}{': ' + value.note if value.note else ''}"
            if not plain:
                line.show(bar(value))
            elif text != shown or time.monotonic() - shown_at >= _PLAIN_EVERY:
                click.echo(", ".join(filter(None, (f"{one_line(name)}: {one_line(text)}", value.amounts))), err=True)
                shown, shown_at = text, time.monotonic()
    except KeyboardInterrupt:
        line.clear()
        kept = f"Paused; {format_size(downloaded)} downloaded."
        click.echo(f"{kept} Resume with: mistral-chat models pull {one_line(name)}", err=True)
        raise
    finally:
        line.clear()


def bar(value: DownloadProgress) -> str:
    """One line for a terminal: a bar, bytes, speed and the remaining time."""
    share = value.share or 0.0
    filled = int(_BAR * share)
    text = value.note or ("" if value.stage == "downloading" else STAGES[value.stage])
    return one_line(f"[{'#' * filled}{'.' * (_BAR - filled)}] {share:.0%} {value.amounts} {text}")


def show_verification(verification: Verification) -> None:
    """Run a verification and show its progress on a terminal.

    Raises:
        ModelUnusable: a file cannot be read.
    """
    line = Progress(sys.stderr)
    try:
        for value in verification.follow():
            line.show(f"{verification.name}: {format_progress(value.bytes, value.total or value.bytes)} read")
    finally:
        line.clear()
