"""Reads the header of a GGUF file strictly and within bounds, so that llama.cpp is never given an invalid file.

The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: magic, version, the numbers of tensors and of
metadata entries, the metadata, one record for each tensor, padding, the tensors' data. llama.cpp's own `gguf` package reads it
too, but takes two seconds for a small model, because it keeps every token of the vocabulary, and it trusts counts.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from mistral_chat.errors import ModelUnusable

if TYPE_CHECKING:
    from pathlib import Path

Scalar = int | float | bool | str
Value = Scalar | tuple[Scalar, ...]

MAX_ENTRIES: Final = 16_384
MAX_TENSORS: Final = 65_536
MAX_ITEMS: Final = 8_000_000
"""Array items in the whole header; the largest vocabularies have about 260,000 tokens and twice as many merges."""
MAX_KEY: Final = 1024
MAX_TEXT: Final = 4 << 20
"""Bytes of a text; the longest chat templates have about 100 kB."""
VOCABULARY: Final = "tokenizer.ggml.tokens"
"""The key of the vocabulary."""
MAX_KEPT_ITEMS: Final = 1024
"""Longer arrays are counted but not kept."""
_BUFFER = 1 << 20
_MAX_NAME = 63
_MAX_DIMENSIONS = 4
_LARGEST_TYPE = 64
_MIN_ALIGNMENT = 32
"""llama.cpp maps tensors into memory and aborts the process if they are not aligned to this."""
_STRING, _ARRAY, _BOOL = 8, 9, 7
_FORMATS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
_SIZES: Final = {kind: struct.calcsize(f"<{code}") for kind, code in _FORMATS.items()}

GGML_TYPES: Final = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
}
"""Tensor types: the name, the weights in a block, and the bytes of a block."""


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """A tensor's record in the header."""

    name: str
    dimensions: tuple[int, ...]
    kind: int
    """The type, a key of `GGML_TYPES`."""
    offset: int
    """Where its data starts, after the header."""

    @property
    def elements(self) -> int:
        """The number of weights."""
        return math.prod(self.dimensions)

    @property
    def bytes(self) -> int | None:
        """The bytes of its data; None for an unknown type."""
        if self.kind not in GGML_TYPES:
            return None
        _, weights, size = GGML_TYPES[self.kind]
        return self.elements // weights * size


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The header of a well-formed GGUF file."""

    path: Path
    bytes: int
    """The file's size."""
    metadata: dict[str, Value]
    """Scalars, texts, and arrays of up to `MAX_KEPT_ITEMS` numbers."""
    lengths: dict[str, int] = field(default_factory=dict)
    """The number of items in each array, kept or not."""
    tensors: tuple[TensorRecord, ...]

    def text(self, key: str) -> str:
        """The text under `key`; empty without one."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int | None:
        """The integer under `key`, the largest if there is one for each layer; None without one."""
        value = self.metadata.get(key)
        numbers = [item for item in (value if isinstance(value, tuple) else (value,)) if type(item) is int]
        return max(numbers, default=None)


def read_header(path: Path) -> Header:
    """Read and check the header of the GGUF file at `path`, without the tensors' data.

    Raises:
        ModelUnusable: it is not a GGUF file, or it is incomplete, damaged or hostile; the message says which.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ModelUnusable(path, "this is not a file.")
        with path.open("rb", buffering=_BUFFER) as file:
            return _Reader(path, file, size).header()
    except OSError as error:
        raise ModelUnusable(path, f"the file cannot be read ({error.strerror}).") from error


class _Reader:
    """Reads the header once, never past the end of the file."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._items = 0
        self._lengths: dict[str, int] = {}

    def header(self) -> Header:
        tensors, entries = self._opening()
        metadata: dict[str, Value] = {}
        keys: set[str] = set()
        for _ in range(entries):
            key = self._text(MAX_KEY, "a metadata key")
            if not key or key in keys:
                raise self._damaged(f"the metadata key {key!r} is empty or repeated")
            keys.add(key)
            value = self._value(key, self._number("I"))
            if value is not None:
                metadata[key] = value
        records = tuple(self._tensor() for _ in range(tensors))
        if len({record.name for record in records}) != len(records):
            raise self._damaged("two tensors have the same name")
        self._check_extent(records, metadata)
        return Header(
            path=self._path,
            bytes=self._size,
            metadata=metadata,
            lengths=self._lengths,
            tensors=records,
        )

    def _opening(self) -> tuple[int, int]:
        if self._size == 0:
            raise ModelUnusable(self._path, "the file is empty.")
        magic = self._take(min(4, self._size))
        if magic != b"GGUF":
            raise ModelUnusable(self._path, _guess_format(magic + self._take(min(60, self._size - len(magic)))))
        version = self._number("I")
        if version & 0xFFFF == 0 and version:
            raise ModelUnusable(self._path, "this GGUF file is for big-endian machines.")
        if version not in (2, 3):
            raise ModelUnusable(self._path, f"this is GGUF version {version}; versions 2 and 3 are supported.")
        tensors, entries = self._number("Q"), self._number("Q")
        if tensors > MAX_TENSORS or entries > MAX_ENTRIES:
            raise self._damaged(f"it claims {tensors:,} tensors and {entries:,} metadata entries")
        return tensors, entries

    def _value(self, key: str, kind: int) -> Value | None:
        if kind == _STRING:
            return self._text(MAX_TEXT, key)
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _FORMATS:
            raise self._damaged(f"{key} has the unknown type {kind}")
        return self._scalar(kind)

    def _scalar(self, kind: int) -> Scalar:
        value: int | float = struct.unpack(f"<{_FORMATS[kind]}", self._take(_SIZES[kind]))[0]
        return bool(value) if kind == _BOOL else value

    def _array(self, key: str) -> Value | None:
        kind, count = self._number("I"), self._number("Q")
        self._items += count
        if self._items > MAX_ITEMS:
            raise self._damaged(f"{key} claims {count:,} items")
        self._lengths[key] = count
        if kind == _STRING:
            self._texts(key, count)
            return None
        if kind not in _FORMATS:
            raise self._damaged(f"the items of {key} have the unknown type {kind}")
        if count > MAX_KEPT_ITEMS:
            self._skip(count * _SIZES[kind])
            return None
        return tuple(self._scalar(kind) for _ in range(count))

    def _texts(self, key: str, count: int) -> None:
        """Skip strings. Tokens of the vocabulary must differ, or llama.cpp aborts the process."""
        if count * 8 > self._size - self._file.tell():
            raise self._cut(f"{key} claims {count:,} texts")
        unpack, take = struct.Struct("<Q").unpack, self._take
        tokens: set[bytes] = set()
        filled = 0
        for _ in range(count):
            (length,) = unpack(take(8))
            if length > MAX_TEXT:
                self._check_length(length, MAX_TEXT, key)
            text = take(length)
            if key == VOCABULARY and length:
                tokens.add(text)
                filled += 1
        if len(tokens) != filled:
            raise ModelUnusable(
                self._path,
                "its vocabulary has the same token twice, which llama.cpp cannot load. Use another file of this model.",
            )

    def _tensor(self) -> TensorRecord:
        name = self._text(_MAX_NAME, "a tensor's name")
        count = self._number("I")
        if not 1 <= count <= _MAX_DIMENSIONS:
            raise self._damaged(f"the tensor {name!r} has {count} dimensions")
        record = TensorRecord(name, tuple(self._number("Q") for _ in range(count)), self._number("I"), self._number("Q"))
        if record.kind > _LARGEST_TYPE:
            raise self._damaged(f"the tensor {name!r} has the unknown type {record.kind}")
        if not 0 < record.elements < 2**62 or min(record.dimensions) < 1:
            raise self._damaged(f"the tensor {name!r} has {record.elements:,} weights")
        weights = GGML_TYPES[record.kind][1] if record.kind in GGML_TYPES else 1
        if record.dimensions[0] % weights:
            raise self._damaged(f"the rows of the tensor {name!r} are not a whole number of blocks")
        return record

    def _check_extent(self, records: tuple[TensorRecord, ...], metadata: dict[str, Value]) -> None:
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or not _MIN_ALIGNMENT <= alignment <= 1 << 20 or alignment & (alignment - 1):
            raise self._damaged(f"general.alignment is {alignment!r}")
        start = -(-self._file.tell() // alignment) * alignment
        expected: int | None = 0
        for record in records:
            if record.offset % alignment or expected not in {None, record.offset}:
                raise self._damaged(f"the tensor {record.name!r} is at the wrong offset")
            size = record.bytes
            end = record.offset + (size or 0)
            if start + end > self._size:
                raise ModelUnusable(
                    self._path,
                    f"the file is incomplete: it has {self._size:,} bytes and its tensor {record.name!r} ends at {start + end:,}."
                    " Download it again.",
                )
            expected = None if size is None else -(-end // alignment) * alignment

    def _text(self, limit: int, what: str) -> str:
        length = self._number("Q")
        self._check_length(length, limit, what)
        return self._take(length).decode("utf-8", "replace")

    def _check_length(self, length: int, limit: int, what: str) -> None:
        if length > self._size - self._file.tell():
            raise self._cut(f"{what} claims {length:,} bytes")
        if length > limit:
            raise self._damaged(f"{what} has {length:,} bytes")

    def _number(self, code: str) -> int:
        form = f"<{code}"
        value: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return value

    def _take(self, count: int) -> bytes:
        taken = self._file.read(count)
        if len(taken) < count:
            raise self._cut(f"its header continues at {self._size:,}")
        return taken

    def _skip(self, count: int) -> None:
        target = self._file.tell() + count
        if target > self._size:
            raise self._cut(f"a value ends at {target:,}")
        self._file.seek(target)

    def _damaged(self, what: str) -> ModelUnusable:
        advice = "Download it again, or use another file of this model."
        return ModelUnusable(self._path, f"the GGUF file is not valid: {what}. {advice}")

    def _cut(self, what: str) -> ModelUnusable:
        return ModelUnusable(self._path, f"the file is incomplete: it has {self._size:,} bytes and {what}. Download it again.")


def _guess_format(start: bytes) -> str:
    """Guess the type of a file that is not GGUF."""
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html")):
        return "this is a web page, not a GGUF file; a login page or an error page was downloaded."
    if text.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer, not the GGUF file itself. Get the file with git lfs pull or mistral-chat models pull."
    if start.startswith((b"ggml", b"lmgg", b"fmgg", b"tjgg")):
        return "this is a GGML file from 2023, which llama.cpp no longer reads. Look for a GGUF file of the model."
    if start.startswith(b"PK"):
        return "this is a ZIP archive or a PyTorch file, not a GGUF file."
    if text.startswith(b"{") or start[8:9] == b"{":
        return "this is a safetensors or JSON file, not a GGUF file."
    return "this is not a GGUF file."
