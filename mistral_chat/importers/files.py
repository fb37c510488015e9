"""Which conversations are in files, whatever kind of files they are."""

from __future__ import annotations

import zipfile
import zlib
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mistral_chat.errors import ImportFailed
from mistral_chat.importers.chatgpt import is_chatgpt, read_chatgpt
from mistral_chat.importers.json_reader import parsed
from mistral_chat.importers.mistral_chat_json import conversations_in, is_export
from mistral_chat.importers.mistral_chat_markdown import read_markdown
from mistral_chat.importers.oterm_llm import SQLITE_HEADER, import_oterm_or_llm
from mistral_chat.importers.report import ImportSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_SUFFIXES: Final = {".md", ".json"}
_ZIP_HEADERS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")

LARGEST_ARCHIVE: Final = 4 * 1024**3
"""Bytes that the files of a ZIP archive may have together, unpacked."""
_BLOCK: Final = 1024**2
_ZIP_ERRORS: Final = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, NotImplementedError, EOFError, ValueError)

NO_CONVERSATIONS: Final = "files without conversations"


class _NotConversations(ImportFailed):
    """The file is readable and holds something else."""


def read_import_files(paths: Iterable[Path]) -> list[ImportSource]:
    """Read the conversations in files and folders, by what is in them and not by their names.

    These are known: exports of mistral-chat (JSON and Markdown), ChatGPT's ``conversations.json``, and the databases of oterm
    and llm. Of a folder or a ZIP archive the Markdown and JSON files are read; those without conversations are noted.

    Raises:
        ImportFailed: a file is missing, damaged or of an unknown kind, or a folder or archive holds no conversations.
    """
    sources: list[ImportSource] = []
    for path in paths:
        try:
            if path.is_dir():
                sources += _one_or_more(path, _files_in_folder(path))
            elif _head(path).startswith(_ZIP_HEADERS):
                sources += _one_or_more(path, _files_in_zip(path))
            else:
                sources.append(_read_file(path))
        except OSError as error:
            raise ImportFailed(f"{path} cannot be read ({error.strerror}). Nothing was imported.") from error
    return sources


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(SQLITE_HEADER))


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _read_file(path: Path) -> ImportSource:
    source = ImportSource(path.name, "", _changed(path))
    if _head(path) == SQLITE_HEADER:
        import_oterm_or_llm(path, source)
    else:
        _read_content(path.read_bytes(), source)
    return source


def _one_or_more(container: Path, found: Iterator[tuple[ImportSource, Callable[[], bytes]]]) -> list[ImportSource]:
    """Read the files of a folder or archive. Those that hold no conversations are noted in one source of their own.

    Raises:
        ImportFailed: none of them holds any.
    """
    sources: list[ImportSource] = []
    rest = ImportSource(container.name, "", _changed(container))
    for source, read in found:
        try:
            _read_content(read(), source)
        except _NotConversations:
            rest.leave_out(NO_CONVERSATIONS, source.name)
        except ImportFailed as error:
            rest.leave_out("damaged files", str(error).removesuffix(" Nothing was imported."))
        else:
            sources.append(source)
    if not any(source.conversations or source.left_out for source in sources):
        details = "; ".join(detail for each in rest.left_out.values() for detail in each.details[:3])
        raise ImportFailed(f"{container} holds no conversations{f' ({details})' if details else ''}. Nothing was imported.")
    return [*sources, *([rest] if rest.left_out else [])]


def _files_in_folder(folder: Path) -> Iterator[tuple[ImportSource, Callable[[], bytes]]]:
    """The Markdown and JSON files of a folder or, when it has none, of the folders in it."""

    def found(pattern: str) -> list[Path]:
        return sorted(file for file in folder.glob(pattern) if file.suffix.lower() in _SUFFIXES and file.is_file())

    for file in found("*") or found("*/*"):
        yield ImportSource(str(file.relative_to(folder)), "", _changed(file)), file.read_bytes


def _files_in_zip(path: Path) -> Iterator[tuple[ImportSource, Callable[[], bytes]]]:
    """The Markdown and JSON files of a ZIP archive, which is not unpacked.

    Raises:
        ImportFailed: the archive is damaged, encrypted, or larger than `LARGEST_ARCHIVE` unpacked.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (*_ZIP_ERRORS, OverflowError) as error:
        raise ImportFailed(f"{path} cannot be unpacked ({error}). Nothing was imported.") from error
    with archive:
        members = [each for each in archive.infolist() if Path(each.filename).suffix.lower() in _SUFFIXES and not each.is_dir()]
        if any(member.flag_bits & 1 for member in members):
            raise ImportFailed(f"{path} is encrypted. Unpack it and import the folder. Nothing was imported.")
        room = _Room(archive)
        for member in sorted(members, key=lambda member: member.filename):
            yield ImportSource(member.filename, "", _member_time(member, path)), partial(room.unpack, member)
        room.check()


class _Room:
    """What is left of `LARGEST_ARCHIVE` while an archive is unpacked."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = LARGEST_ARCHIVE

    def unpack(self, member: zipfile.ZipInfo) -> bytes:
        """The content of a member, whatever size its header states.

        Raises:
            ImportFailed: it is damaged, or the archive holds too much.
        """
        blocks = []
        try:
            with self._archive.open(member) as file:
                while self._left >= 0 and (block := file.read(_BLOCK)):
                    blocks.append(block)
                    self._left -= len(block)
        except _ZIP_ERRORS as error:
            raise ImportFailed(f"{member.filename} cannot be unpacked ({error}). Nothing was imported.") from error
        self.check()
        return b"".join(blocks)

    def check(self) -> None:
        """Refuse an archive that holds too much.

        Raises:
            ImportFailed: it does.
        """
        if self._left < 0:
            raise ImportFailed(
                f"{self._archive.filename} holds more than {LARGEST_ARCHIVE / 1024**3:g} GB. Unpack it and import the folder. "
                "Nothing was imported."
            )


def _member_time(member: zipfile.ZipInfo, path: Path) -> datetime:
    """When a member was changed; ZIP keeps local time without a zone."""
    try:
        return datetime(*member.date_time, tzinfo=UTC)
    except ValueError:
        return _changed(path)


def _read_content(content: bytes, source: ImportSource) -> None:
    """Read the text of a file into `source`.

    Raises:
        ImportFailed: it is not text, not a file of a known kind, or damaged.
    """
    try:
        text = content.decode("utf-16" if content.startswith(_UTF16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ImportFailed(f"{source.name} is not text in UTF-8 (byte {error.start}). Nothing was imported.") from error
    if not text.lstrip().startswith(("{", "[")):
        source.format = "Markdown"
        source.add(read_markdown(text, source.name, now=source.changed))
        return
    value = parsed(text, source.name)
    if is_export(value):
        source.format = "mistral-chat"
        for conversation in conversations_in(value, source.name):
            source.conversations.append(conversation)
    elif is_chatgpt(value):
        source.format = "ChatGPT"
        read_chatgpt(value, source)
    else:
        raise _NotConversations(
            f"{source.name} is JSON, but neither an export of mistral-chat nor ChatGPT's conversations.json. "
            "Nothing was imported."
        )
