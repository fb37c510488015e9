"""Reads documents in a process of its own.

Documents are untrusted, and reading one may take forever or exhaust the memory. `mistral_chat.documents.reader` starts this
module, kills it when it takes too long, and reads its answers.

The process reads one JSON object per line, ``{"path": ..., "kind": ...}``, and answers with several: ``{"blocks": [...]}`` in the
document's order, then ``{"end": true}`` or ``{"problem": "..."}``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

from mistral_chat import network
from mistral_chat.documents import containers, kinds, markup, pdf, text_files
from mistral_chat.documents.blocks import Block
from mistral_chat.errors import DocumentUnreadable
from mistral_chat.system import disable_core_dumps, limit_process, lower_priority

MEMORY: Final = 1536 * 1024**2
"""Maximum address space of the process in bytes, if the system can limit it."""
MOST_TEXT: Final = 16_000_000
"""Maximum characters of one document."""
_BATCH: Final = 32_000
_BINARY: Final = {"pdf": pdf.pdf, "docx": containers.docx, "odt": containers.odt, "epub": containers.epub}
_TEXT: Final = {
    "html": markup.html,
    "markdown": text_files.markdown,
    "python": text_files.python_code,
    "code": text_files.source_code,
    "text": text_files.plain_text,
}


def read_blocks(path: Path, kind: str) -> Iterator[Block]:
    """The blocks of the document at `path`.

    Raises:
        DocumentUnreadable: it cannot be read as `kind`.
    """
    try:
        with path.open("rb") as file:
            if kind in _BINARY:
                yield from _BINARY[kind](file)
            else:
                content = file.read(kinds.LARGEST_TEXT + 1)
                if len(content) > kinds.LARGEST_TEXT:
                    raise DocumentUnreadable(f"it is larger than {kinds.LARGEST_TEXT // 1024**2} MB")
                yield from _TEXT[kind](text_files.decode(content))
    except OSError as error:
        raise DocumentUnreadable(error.strerror or "it cannot be opened") from error


def answers(request: Mapping[str, str]) -> Iterator[dict[str, object]]:
    """The answers about one document."""
    batch: list[Block] = []
    size = total = 0
    try:
        for each in read_blocks(Path(request["path"]), request["kind"]):
            batch.append(each)
            size += len(each.text)
            total += len(each.text)
            if total > MOST_TEXT:
                raise DocumentUnreadable(f"it contains more than {MOST_TEXT // 1_000_000} million characters")  # noqa: TRY301 (told below)
            if size > _BATCH or not each.text:  # scanned pages may follow one another for minutes
                yield {"blocks": [_fields(block) for block in batch]}
                batch, size = [], 0
        yield {"blocks": [_fields(block) for block in batch]}
        yield {"end": True}
    except DocumentUnreadable as error:
        yield {"problem": error.problem}
    except MemoryError:
        yield {"problem": "it takes too much memory to read"}
    except RecursionError:
        yield {"problem": "it is damaged: its structure is circular"}
    except Exception as error:  # noqa: BLE001 (a hostile document can make a library raise anything)
        yield {"problem": f"it is damaged ({type(error).__name__})"}


def _fields(block: Block) -> list[object]:
    return [block.text, block.headings, block.line, block.page, block.code]


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer `requests` until they end."""
    for line in requests:
        for answer in answers(json.loads(line)):
            replies.write(json.dumps(answer).encode() + b"\n")
            replies.flush()


if __name__ == "__main__":
    network.forbid()
    lower_priority()
    disable_core_dumps()
    limit_process(memory=MEMORY, file_size=0)
    sys.setrecursionlimit(3000)
    serve(sys.stdin.buffer, sys.stdout.buffer)
