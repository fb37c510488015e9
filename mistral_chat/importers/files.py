"""Finds conversations in files of any supported kind."""

from __future__ import annotations

import gzip
import io
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from mistral_chat.errors import ImportFailed
from mistral_chat.importers.chatgpt import is_chatgpt, read_chatgpt
from mistral_chat.importers.json_reader import parsed
from mistral_chat.importers.mistral_chat_json import conversations_in, is_export
from mistral_chat.importers.mistral_chat_markdown import read_markdown
from mistral_chat.importers.oterm_llm import SQLITE_HEADER, import_oterm_or_llm
from mistral_chat.importers.report import ImportSource, NotConversations

_TEXTS: Final = {".md", ".json"}
_CONTAINERS: Final = {".zip", ".gz", ".db"}
_ZIP_HEADERS: Final = (b"PK\x03\x04", b"PK\x05\x06")
_GZIP_HEADER: Final = b"\x1f\x8b"

LARGEST_ARCHIVE: Final = 4 * 1024**3
"""Maximum unpacked bytes of all files in an archive, and of a pipe."""
DEEPEST_FOLDER: Final = 5
"""Maximum depth of subfolders that are searched."""
_Found = Iterator[tuple[ImportSource, Callable[[ImportSource], object]]]
"""Files, each with the function that reads it."""

NO_CONVERSATIONS: Final = "files without conversations"


def read_import_files(paths: Iterable[Path]) -> list[ImportSource]:
    """Read the conversations in files and folders, by their content and not by their names.

    These are known: exports of mistral-chat (JSON and Markdown), ChatGPT's ``conversations.json``, and the databases of oterm
    and llm; the texts also compressed by gzip or in a ZIP archive. In a folder and its subfolders, all files with their suffixes
    are read. Those without conversations are listed.

    Raises:
        ImportFailed: a file is missing, damaged or of an unknown kind, or a folder or archive holds no conversations.
    """
    sources: list[ImportSource] = []
    for path in paths:
        try:
            if path.is_dir():
                sources += _one_or_more(path, _files_in_folder(path))
                continue
            content = _opened(path)
            if _head(content).startswith(_ZIP_HEADERS):
                sources += _one_or_more(path, _files_in_zip(content, path))
            else:
                sources.append(source := ImportSource(path.name, "", _changed(path)))
                _read_file(content, path, source)
        except OSError as error:
            raise ImportFailed(f"{path} cannot be read ({error.strerror}). Nothing was imported.") from error
    return sources


def _opened(path: Path) -> BinaryIO:
    """Open a file for reading; the content of a pipe is read first.

    Raises:
        ImportFailed: it is a device, or the pipe gives too much.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise ImportFailed(f"{path} is not a file. Nothing was imported.")
    file = path.open("rb")
    if stat.S_ISREG(mode):
        return file
    with file:
        return io.BytesIO(_read_all(file, str(path)))


def _read_all(file: BinaryIO | gzip.GzipFile, name: str) -> bytes:
    content = file.read(LARGEST_ARCHIVE + 1)
    if len(content) > LARGEST_ARCHIVE:
        raise ImportFailed(f"{name} contains more than {LARGEST_ARCHIVE / 1024**3:g} GB. Nothing was imported.")
    return content


def _head(content: BinaryIO) -> bytes:
    head = content.read(len(SQLITE_HEADER))
    content.seek(0)
    return head


def _changed(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _read_file(content: BinaryIO, path: Path, source: ImportSource) -> None:
    """Read a file that is not a ZIP archive."""
    with content:
        head = _head(content)
        if head == SQLITE_HEADER:
            import_oterm_or_llm(path, source)
        elif head.startswith(_GZIP_HEADER):
            try:
                with gzip.GzipFile(fileobj=content) as unpacked:
                    text = _read_all(unpacked, source.name)
            except (OSError, EOFError, zlib.error) as error:
                raise ImportFailed(f"{source.name} cannot be unpacked ({error}). Nothing was imported.") from error
            if text.startswith(SQLITE_HEADER):
                raise ImportFailed(f"{source.name} is a compressed database. Unpack it first. Nothing was imported.")
            _read_content(text, source)
        else:
            _read_content(content.read(), source)


def _one_or_more(container: Path, found: _Found) -> list[ImportSource]:
    """Read the files of a folder or archive. Those without conversations are listed in one source of their own.

    Raises:
        ImportFailed: none of them contains any.
    """
    sources: list[ImportSource] = []
    rest = ImportSource(container.name, "", _changed(container))
    for source, read in found:
        try:
            read(source)
        except NotConversations:
            rest.leave_out(NO_CONVERSATIONS, source.name)
        except OSError as error:
            rest.leave_out("files that cannot be read", f"{source.name}: {error.strerror}")
        except ImportFailed as error:
            rest.leave_out("damaged files", str(error).removesuffix(" Nothing was imported."))
        else:
            sources.append(source)
    if not any(source.conversations or source.left_out for source in sources):
        details = "; ".join(detail for each in rest.left_out.values() for detail in each.details[:3])
        raise ImportFailed(f"{container} contains no conversations{f' ({details})' if details else ''}. Nothing was imported.")
    return [*sources, *([rest] if rest.left_out else [])]


def _files_in_folder(folder: Path) -> _Found:
    """The files in a folder and its subfolders that may contain conversations."""
    visited: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        here = Path(place)
        real = os.path.realpath(place)
        if real in visited or len(here.relative_to(folder).parts) > DEEPEST_FOLDER:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(each for each in folders if not each.startswith((".", "__MACOSX")))
        for file in (here / name for name in sorted(names)):
            if file.suffix.lower() in _TEXTS | _CONTAINERS and not file.name.startswith(".") and file.is_file():
                yield from _files_in_file(file, str(file.relative_to(folder)))


def _files_in_file(file: Path, name: str) -> _Found:
    """A file in a folder, or the files in a ZIP archive in it."""
    source = ImportSource(name, "", _changed(file))
    try:
        content = _opened(file)
        if _head(content).startswith(_ZIP_HEADERS):
            yield from _files_in_zip(content, file, f"{name}/")
            return
    except (OSError, ImportFailed) as error:
        yield source, partial(_raise, error)
    else:
        yield source, partial(_read_file, content, file)


def _raise(error: Exception, _source: ImportSource) -> None:
    raise error


def _files_in_zip(content: BinaryIO, path: Path, prefix: str = "") -> _Found:
    """The Markdown and JSON files of a ZIP archive, which is not unpacked.

    Raises:
        ImportFailed: the archive is damaged, encrypted, or larger than `LARGEST_ARCHIVE` unpacked.
    """
    try:
        archive = zipfile.ZipFile(content)
    except Exception as error:
        content.close()
        raise ImportFailed(f"{path} cannot be unpacked ({error}). Nothing was imported.") from error
    left = LARGEST_ARCHIVE

    def refuse_too_much() -> None:
        if left < 0:
            raise ImportFailed(
                f"{path} contains more than {LARGEST_ARCHIVE / 1024**3:g} GB. Unpack it and import the folder. "
                "Nothing was imported."
            )

    def read(member: zipfile.ZipInfo, source: ImportSource) -> None:
        """Unpack a member, whatever size its header states, and read the conversations in it."""
        nonlocal left
        try:
            with archive.open(member) as file:
                unpacked = file.read(left + 1)
        except Exception as error:
            raise ImportFailed(f"{member.filename} cannot be unpacked ({error}). Nothing was imported.") from error
        left -= len(unpacked)
        refuse_too_much()
        _read_content(unpacked, source)

    with content, archive:
        members = [each for each in archive.infolist() if _may_contain_conversations(each)]
        if any(member.flag_bits & 1 for member in members):
            raise ImportFailed(f"{path} is encrypted. Unpack it and import the folder. Nothing was imported.")
        for member in sorted(members, key=lambda member: member.filename):
            yield ImportSource(prefix + member.filename, "", _member_time(member, path)), partial(read, member)
        refuse_too_much()


def _may_contain_conversations(member: zipfile.ZipInfo) -> bool:
    """Whether a member of an archive is a Markdown or JSON file, and not macOS metadata."""
    name = Path(member.filename)
    return (
        not member.is_dir() and name.suffix.lower() in _TEXTS and not name.name.startswith(".") and "__MACOSX" not in name.parts
    )


def _member_time(member: zipfile.ZipInfo, path: Path) -> datetime:
    """The modification time of a member; ZIP stores local time without a zone."""
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
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        raise ImportFailed(f"{source.name} is not UTF-8 text (byte {error.start}). Nothing was imported.") from error
    if not text.lstrip().startswith(("{", "[")):
        source.format = "Markdown"
        source.add(read_markdown(text, source.name, now=source.changed))
        return
    value = parsed(text, source.name)
    if is_export(value):
        source.format = "mistral-chat"
        source.conversations += conversations_in(value, source.name)
    elif is_chatgpt(value):
        source.format = "ChatGPT"
        read_chatgpt(value, source)
    else:
        raise NotConversations(
            f"{source.name} is JSON, but neither an export of mistral-chat nor ChatGPT's conversations.json. "
            "Nothing was imported."
        )
