"""Formats a message with attachments: each file's name and fenced text, then piped text, then the question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

PASTED: Final = "Pasted text"
"""The name of an attached paste; further ones in the same message are numbered."""

_FENCES: Final = re.compile(r"`{3,}")
_OPENING: Final = re.compile(
    r"(?P<name>[^\n]{0,238}[^\s.]\.[\w+-]{1,16}|\.[\w+-]{1,32}|Pasted text(?: \d+)?|Makefile|Dockerfile|README|LICENSE)"
    r"\n(?P<fence>`{3,})\n"
)
"""The start of a file. Without an extension, a name cannot be told from a line that introduces code."""


class FileText(NamedTuple):
    """A file in a message."""

    name: str
    text: str

    @property
    def lines(self) -> str:
        """The number of lines, such as ``214 lines``."""
        return count_lines(self.text)


class SplitMessage(NamedTuple):
    """The parts of a message."""

    files: tuple[FileText, ...]
    rest: str
    """The text after the files; empty if there is none."""

    @property
    def question(self) -> str:
        """The text after the files; without it, the first file."""
        if self.rest or not self.files:
            return self.rest
        first = self.files[0]
        return (first.text if first.name.startswith(PASTED) else "") or first.name


def build_message(files: Sequence[tuple[str, str]], piped: str, prompt: str) -> str:
    """Join files (each a name and a text), piped text and the prompt, in this order.

    The question comes last, where models attend to it most. A single part keeps its form, without its last line break.
    """
    parts = [format_attachment(name, text) for name, text in files]
    parts += [part for part in (piped.rstrip("\r\n"), prompt) if part.strip()]
    return "\n\n".join(parts)


def join_messages(*messages: str) -> str:
    """One message of several, of which some may be empty: the files of all, each once, then what was written."""
    parts = [split_message(message) for message in messages]
    files = dict.fromkeys(file for part in parts for file in part.files)
    return build_message([*files], "", "\n\n".join(part.rest for part in parts if part.rest))


def format_attachment(name: str, text: str) -> str:
    """A file's form in a message: its name, and its text in a code fence longer than any fence inside."""
    longest = max(map(len, _FENCES.findall(text)), default=2) if "```" in text else 2
    fence = "`" * (longest + 1)
    return f"{name}\n{fence}\n{text.rstrip()}\n{fence}"


def split_message(message: str) -> SplitMessage:
    """Split a message that `build_message` wrote. One that is not exactly of its form is all `rest`."""
    files, start = [], 0
    while (opening := _OPENING.match(message, start)) is not None:
        end = message.find(f"\n{opening['fence']}", opening.end())
        file = FileText(opening["name"], message[opening.end() : max(end, opening.end())])
        whole = format_attachment(*file)
        after = start + len(whole)
        if end < 0 or not message.startswith(whole, start) or message[after : after + 2] not in {"", "\n\n"}:
            break
        files.append(file)
        start = after + 2
    rest = message[start:]
    if not files or (start <= len(message) and not rest.strip()):
        return SplitMessage((), message)
    return SplitMessage(tuple(files), rest)


def as_draft(message: str) -> str:
    """What is typed to send `message`: one that would be a command gets its second slash again."""
    written = split_message(message).rest
    return f"{message.removesuffix(written)}/{written}" if re.fullmatch("/(?!/).*", written) else message


def count_lines(text: str) -> str:
    """How many lines `text` has, as words."""
    lines = text.rstrip().count("\n") + 1 if text.strip() else 0
    return f"{lines:,} {'line' if lines == 1 else 'lines'}"
