"""Context snapshots on disk: a bounded cache of KV states with which old conversations reopen at once.

One file a conversation: a magic word, the length of a JSON header, the header, the state. The header names what the state was
made with and contains the ledger; a keyed BLAKE2b of all of it is at the end, so that a truncated, changed or foreign file is
recognised before llama.cpp sees it. Whatever is wrong with a file, it is removed and the conversation is decoded again.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple

from mistral_chat import system
from mistral_chat.engine.encoding.format import Encoding, TurnTokens
from mistral_chat.paths import private_folder

log = logging.getLogger(__name__)

MAGIC = b"mistral-chat kv 1\n"
_DIGEST = 32
_LONGEST_HEADER = 64 * 1024 * 1024
_BLOCK: Final = 8 << 20
"""Bytes between two opportunities to report progress and to stop: about 20 ms on an ordinary disk."""
_ABANDONED: Final = 3600.0
"""Seconds after which a partial file is attributed to a process that died."""


class SnapshotProgress(NamedTuple):
    """The progress of writing or reading a snapshot."""

    what: Literal["saving", "restoring"]
    done: int
    """Bytes."""
    total: int


class SnapshotCancelled(Exception):
    """Reading a snapshot was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A conversation's KV state, and the ledger of what is in it."""

    conversation: str
    identity: str
    """What the state was created with; it is valid for nothing else."""
    contents: Encoding
    sampled: Mapping[str, tuple[str, tuple[int, ...]]]
    """Replies as the model sampled them, by the turn's key: the text and its tokens."""
    pinned: frozenset[str]
    passages: Mapping[str, int] = field(default_factory=dict)
    """The number of passage tokens of each turn that has any, by key."""
    stale: tuple[str, int] | None = None
    """Where the stale part of the state starts; see `Ledger.stale_from`."""
    state: bytes | memoryview


def identify(path: Path, *facts: object) -> str:
    """Identify what a state depends on: the model at `path` and all `facts` (versions, window, types, adapters).

    The model is identified by its size, its modification time and 5 MiB of its content; reading 4 GB at each start would cost
    more than a snapshot saves.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST)
    status = path.stat()
    digest.update(repr((status.st_size, status.st_mtime_ns, *facts)).encode())
    with path.open("rb") as file:
        digest.update(file.read(4 * 1024 * 1024))
        file.seek(max(0, status.st_size - 1024 * 1024))
        digest.update(file.read(1024 * 1024))
    return digest.hexdigest()


class SnapshotFolder:
    """The snapshots in one folder, kept within a budget. They are written on a separate thread."""

    def __init__(self, folder: Path, *, budget: int, still_there: Callable[[str], bool] = lambda _conversation: True) -> None:
        """Use a folder.

        Args:
            folder: made when it is first needed.
            budget: bytes that all snapshots may take.
            still_there: whether a conversation still exists; asked on the writing thread when its snapshot is complete,
                because another window may have deleted it.
        """
        self._folder = folder
        self._budget = budget
        self._still_there = still_there
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="snapshots")
        self._lock = threading.Lock()
        self._wanted: dict[str, object] = {}
        self._pending: Future[None] | None = None
        self._stopped = threading.Event()
        self._tell: Callable[[SnapshotProgress | None], object] = lambda _upkeep: None

    def subscribe(self, tell: Callable[[SnapshotProgress | None], object]) -> None:
        """Call `tell` with the progress of writing or reading, and with None when it ends, on the thread that does it."""
        self._tell = tell

    def stop(self) -> None:
        """Stop writing or reading. Only time is lost: the conversation is decoded again when it is opened."""
        with self._lock:
            self._wanted.clear()
        self._stopped.set()

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot in the background, replacing the conversation's last one. An older one still waiting is dropped."""
        if len(snapshot.state) > self._budget:
            return
        ticket = object()
        with self._lock, contextlib.suppress(RuntimeError):  # the folder is closed
            self._wanted[snapshot.conversation] = ticket
            self._pending = self._writer.submit(self._write, snapshot, ticket)

    def load(self, conversation: str, identity: str) -> Snapshot | None:
        """Read a conversation's snapshot, if there is one that was created with the same model and settings.

        A file that cannot be used for any reason is removed and counts as missing.
        """
        path = self._path(conversation)
        if conversation in self._wanted:
            self.flush()
        if not os.access(path, os.F_OK):
            return None
        self._stopped.clear()
        try:
            snapshot = _unpack(_read(path, self._budget + _LONGEST_HEADER, self._note_reading), self._key())
        except (FileNotFoundError, SnapshotCancelled):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.info("a snapshot was discarded: %s", type(error).__name__)
            _discard(path)
            return None
        finally:
            self._tell(None)
        if snapshot.identity != identity or snapshot.conversation != conversation:
            _discard(path)
            return None
        with contextlib.suppress(OSError):  # another window may have removed it meanwhile
            os.utime(path)
        return snapshot

    def forget(self, conversation: str) -> None:
        """Delete a conversation's snapshot, including one that is being written."""
        with self._lock:
            self._wanted.pop(conversation, None)
            system.delete(self._path(conversation))

    def flush(self) -> None:
        """Wait until nothing is being written."""
        if self._pending is not None:
            wait([self._pending])

    def close(self) -> None:
        """Finish writing, and accept no more."""
        self._writer.shutdown()

    def _path(self, conversation: str) -> Path:
        return self._folder / f"{hashlib.blake2b(conversation.encode(), digest_size=16).hexdigest()}.kv"

    def _write(self, snapshot: Snapshot, ticket: object) -> None:
        path = self._path(snapshot.conversation)
        part = path.with_suffix(f".kv.{secrets.token_hex(4)}")
        try:
            private_folder(self._folder)
            self._remove_abandoned()
            with self._lock:
                if self._wanted.get(snapshot.conversation) is not ticket:
                    return
            with os.fdopen(system.create_private(part), "wb") as file:
                self._put(snapshot, ticket, file)
                file.flush()
                os.fsync(file.fileno())
            with self._lock:
                if self._wanted.get(snapshot.conversation) is ticket:
                    system.replace(part, path)
                    del self._wanted[snapshot.conversation]
                    self._make_room(path)
            if not self._still_there(snapshot.conversation):
                self.forget(snapshot.conversation)
        except OSError as error:
            log.warning("a snapshot could not be written: %s", error.strerror)
        finally:
            _discard(part)
            self._tell(None)

    def _put(self, snapshot: Snapshot, ticket: object, file: BinaryIO) -> None:
        """Write the snapshot for as long as it is wanted."""
        done, total = 0, len(snapshot.state)
        self._tell(SnapshotProgress("saving", done, total))
        for block in blocks(_pack(snapshot, self._key())):
            if self._wanted.get(snapshot.conversation) is not ticket:
                return
            file.write(block)
            done += len(block)
            self._tell(SnapshotProgress("saving", min(done, total), total))

    def _note_reading(self, done: int, total: int) -> None:
        if self._stopped.is_set():
            raise SnapshotCancelled
        self._tell(SnapshotProgress("restoring", done, total))

    def _make_room(self, newest: Path) -> None:
        """Delete the least recently used snapshots but the `newest` until the budget is kept."""
        files: list[tuple[int, int, Path]] = []
        for path in self._folder.glob("*.kv"):
            with contextlib.suppress(OSError):  # it may have been removed meanwhile
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._budget:
                break
            if path != newest:
                with contextlib.suppress(OSError):  # Windows deletes no file that is being read
                    system.delete(path)
                    total -= size

    def _remove_abandoned(self) -> None:
        """Delete the partial files of processes that died."""
        for part in self._folder.glob("*.kv.*"):
            with contextlib.suppress(OSError):  # another window may have removed it
                if part.stat().st_mtime < time.time() - _ABANDONED:
                    part.unlink()

    def _key(self) -> bytes:
        """The key of the checksums: only who can read this folder can create a valid snapshot."""
        path = self._folder / "key"
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = b""
        if len(key) != _DIGEST:
            private_folder(self._folder)
            key = secrets.token_bytes(_DIGEST)
            system.write_private(path, key)
        return key


def block_of(view: memoryview, start: int) -> memoryview:
    """The block of `view` that starts at `start`."""
    return view[start : start + _BLOCK]


def blocks(pieces: Sequence[bytes | memoryview]) -> Iterator[memoryview]:
    """Yield the contents of `pieces` in blocks that are written quickly; nothing is copied."""
    for piece in pieces:
        view = memoryview(piece).cast("B") if len(piece) else memoryview(b"")
        for start in range(0, len(view), _BLOCK):
            yield block_of(view, start)


def _discard(path: Path) -> None:
    """Remove an unusable file; failing to do so does no harm."""
    with contextlib.suppress(OSError):
        system.delete(path)


def _read(path: Path, limit: int, note: Callable[[int, int], None]) -> bytearray:
    """Read a file into a buffer that llama.cpp can use directly, without a second copy of half a gigabyte.

    Args:
        path: the file.
        limit: its maximum size in bytes.
        note: receives the bytes read and the total; may raise `SnapshotCancelled`.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more than `limit` bytes, which no snapshot has.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise ValueError("too large")
        data = bytearray(size)
        read = 0
        with memoryview(data) as view:
            while got := file.readinto(block_of(view, read)):
                read += got
                note(read, size)
    return data[:read] if read != len(data) else data


def _pack(snapshot: Snapshot, key: bytes) -> list[bytes | memoryview]:
    contents = snapshot.contents
    header = json.dumps(
        {
            "conversation": snapshot.conversation,
            "identity": snapshot.identity,
            "head": contents.head,
            "turns": [[turn.key, turn.prompt, turn.reply, turn.closing] for turn in contents.turns],
            "sampled": {name: list(sampled) for name, sampled in snapshot.sampled.items()},
            "pinned": sorted(snapshot.pinned),
            "passages": dict(snapshot.passages),
            "stale": snapshot.stale,
        }
    ).encode()
    pieces: list[bytes | memoryview] = [MAGIC, len(header).to_bytes(4, "little"), header, snapshot.state]
    digest = hashlib.blake2b(key=key, digest_size=_DIGEST)
    for piece in pieces:
        digest.update(piece)
    return [*pieces, digest.digest()]


def _unpack(data: bytearray, key: bytes) -> Snapshot:
    """Read a snapshot.

    Raises:
        ValueError: it is not what was written.
    """
    body = memoryview(data)[: len(data) - _DIGEST]
    start = len(MAGIC) + 4
    if len(data) < start + _DIGEST or data[: len(MAGIC)] != MAGIC:
        raise ValueError("not a snapshot")
    if not hmac.compare_digest(hashlib.blake2b(body, key=key, digest_size=_DIGEST).digest(), data[-_DIGEST:]):
        raise ValueError("changed")
    end = start + int.from_bytes(data[len(MAGIC) : start], "little")
    header: dict[str, Any] = json.loads(bytes(body[start:end]))
    return Snapshot(
        conversation=str(header["conversation"]),
        identity=str(header["identity"]),
        contents=Encoding(
            head=tuple(header["head"]),
            turns=tuple(TurnTokens(str(k), tuple(p), tuple(r), tuple(c)) for k, p, r, c in header["turns"]),
        ),
        sampled={str(name): (str(text), tuple(tokens)) for name, (text, tokens) in header["sampled"].items()},
        pinned=frozenset(header["pinned"]),
        passages={str(key): int(tokens) for key, tokens in header.get("passages", {}).items()},
        stale=(str(stale[0]), int(stale[1])) if (stale := header.get("stale")) else None,
        state=body[end:],
    )
