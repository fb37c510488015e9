"""The file types that can be read as documents."""

from __future__ import annotations

from pathlib import Path
from typing import Final

LARGEST_TEXT: Final = 32 * 1024**2
"""Maximum bytes of a text file."""
LARGEST_FILE: Final = 512 * 1024**2
"""Maximum bytes of any file; books with many pictures are large."""

_SUFFIXES: Final = {
    "pdf": ".pdf",
    "docx": ".docx",
    "odt": ".odt",
    "epub": ".epub",
    "html": ".html .htm .xhtml",
    "markdown": ".md .markdown .mdx",
    "python": ".py .pyi",
    "code": (
        ".c .h .cc .cpp .cxx .hpp .hh .cs .java .kt .kts .scala .go .rs .js .mjs .cjs .jsx .ts .tsx .vue .svelte .swift .m .mm "
        ".rb .php .pl .pm .lua .r .jl .hs .ml .mli .ex .exs .erl .clj .lisp .el .sh .bash .zsh .fish .ps1 .bat .sql .css .scss "
        ".less .dart .zig .nim .v .proto .thrift .cmake .gradle .groovy .tf .nix .vim"
    ),
    "text": (
        ".txt .text .rst .adoc .org .tex .bib .log .csv .tsv .json .jsonl .yaml .yml .toml .ini .cfg .conf .xml .srt .vtt .po "
        ".eml .ics .vcf .properties .env .diff .patch"
    ),
}
_KINDS: Final = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()} | {"": "text"}


def kind_of(path: Path) -> str | None:
    """How to read the file at `path`, by its suffix; files without one are text. None for an unknown suffix."""
    return _KINDS.get(path.suffix.lower())
