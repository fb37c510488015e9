"""What commands print: rows, JSON, text that a terminal may show, and questions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from mistral_chat.errors import MistralChatError
from mistral_chat.text import clean

if TYPE_CHECKING:
    from mistral_chat.store.store import ConversationStore

SHORT_ID = 8
"""Characters of an id that are printed; any unique prefix is accepted as an argument."""


def print_json(value: Any) -> None:
    """Print `value` as one line of JSON: data classes by their fields, times in ISO 8601, paths as text."""
    click.echo(shown(json.dumps(value, ensure_ascii=False, default=_as_json)))


def _as_json(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_rows(rows: Sequence[object], lines: Iterable[str], *, as_json: bool, empty: str) -> None:
    """Print `rows` as JSON, or else `lines`, and `empty` on standard error if there are no rows."""
    if as_json:
        print_json(rows)
        return
    for line in lines:
        click.echo(line)
    if not rows:
        click.echo(empty, err=True)


def shown(text: str) -> str:
    """`text` unchanged, or sanitised when standard output is a terminal."""
    return clean(text) if sys.stdout.isatty() else text


def report_pending_purge(store: ConversationStore) -> None:
    """Purge, and report what cannot be erased yet because another program uses the database or the disk is full."""
    if not store.purge():
        reason = "because the database is in use or the disk is full"
        click.echo(f"Some deleted text has not been erased yet {reason}. It will be erased later.", err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation, unless --yes was given.

    Raises:
        click.UsageError: standard input is not a terminal.
        MistralChatError: the answer is no.
        click.Abort: Ctrl+C, or the input ended.
    """
    if yes:
        return
    if not interactive():
        raise click.UsageError("Not a terminal: pass --yes to confirm.")
    if not click.confirm(question, err=True):
        raise MistralChatError("Cancelled. Nothing was changed.")


def interactive() -> bool:
    """Whether standard input is a terminal."""
    return sys.stdin.isatty()
