"""Which files a folder gives: its documents, without those that its owner excludes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from support.privileges import without_privileges

from mistral_chat.documents.folders import documents_in


def tree(root: Path, **files: str) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder.absolute()).as_posix() for path in documents_in(folder)]


def test_a_folder_gives_its_documents_in_order(tmp_path: Path) -> None:
    tree(
        tmp_path,
        **{"b.md": "x", "a.txt": "x", "sub/c.py": "x", "LICENSE": "x", "d.png": "x", "empty.txt": "", ".hidden/e.md": "x"},
    )
    (tmp_path / "program").write_bytes(b"\x7fELF\0\0\0")
    assert names(tmp_path) == ["LICENSE", "a.txt", "b.md", "sub/c.py"]


def test_a_file_that_vanishes_meanwhile_is_left_out(tmp_path: Path) -> None:
    tree(tmp_path, **{"a.txt": "x", "b.txt": "x", "c.txt": "x"})
    found = documents_in(tmp_path)
    next(found)
    (tmp_path / "b.txt").unlink()
    assert [path.name for path in found] == ["c.txt"]


def test_a_gitignore_is_obeyed_in_every_folder(tmp_path: Path) -> None:
    tree(
        tmp_path,
        **{
            ".gitignore": "build/\n*.log\n!keep.log\n/top.txt\n",
            "build/a.txt": "x",
            "a.log": "x",
            "keep.log": "x",
            "top.txt": "x",
            "sub/top.txt": "x",
            "sub/.gitignore": "secret*\n!*.log\n",
            "sub/secret.md": "x",
            "sub/b.log": "x",
        },
    )
    assert names(tmp_path) == ["keep.log", "sub/b.log", "sub/top.txt"]


def test_a_gitignore_cannot_stop_the_search(tmp_path: Path) -> None:
    tree(
        tmp_path,
        **{"a" * 104 + ".txt": "x", ".gitignore": "*a*a*a*a*a*a*b\n*a*a*/*a*a*/b\n*.min.*\n", "b.min.txt": "x", "sub/c.txt": "x"},
    )
    os.mkfifo(tmp_path / "sub" / ".gitignore")
    began = time.process_time()
    assert names(tmp_path) == ["a" * 104 + ".txt", "sub/c.txt"]
    assert time.process_time() - began < 5


def test_a_gitignore_rule_for_many_folders_is_obeyed(tmp_path: Path) -> None:
    tree(
        tmp_path, **{".gitignore": "/*/*/src*/**/*.egg/secrets/*/*.txt\n", "a/b/src1/c/d.egg/secrets/e/f.txt": "x", "g.txt": "x"}
    )
    assert names(tmp_path) == ["g.txt"]


def test_gitignore_rules_above_the_folder_apply_in_a_repository(tmp_path: Path) -> None:
    tree(tmp_path, **{".git/HEAD": "x", ".gitignore": "*.key\n", "docs/a.md": "x", "docs/b.key": "x", "docs/c.txt": "x"})
    assert names(tmp_path / "docs") == ["a.md", "c.txt"]


def test_documents_are_found_below_a_thousand_folders(tmp_path: Path) -> None:
    chain = [tmp_path]
    for _ in range(1200):
        chain.append(chain[-1] / "d")
        chain[-1].mkdir()
    (deepest := chain[-1] / "a.md").write_text("x")
    try:
        assert len(names(tmp_path)) == 1
    finally:  # pytest could not delete them
        deepest.unlink()
        for folder in reversed(chain[1:]):
            folder.rmdir()


@pytest.mark.skipif(sys.platform == "win32", reason="modes mean nothing")
def test_a_folder_that_cannot_be_entered_does_not_keep_the_others_from_being_found(tmp_path: Path) -> None:
    tree(tmp_path, **{"a.md": "x", "closed/b.md": "x", "c.md": "x"})
    (tmp_path / "closed").chmod(0o600)
    try:
        assert without_privileges(lambda: names(tmp_path)) == ["a.md", "c.md"]
    finally:
        (tmp_path / "closed").chmod(0o700)


@pytest.mark.skipif(sys.platform != "linux", reason="the longest path is another one")
def test_a_path_that_is_too_long_does_not_keep_the_others_from_being_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, **{"a.md": "x", "z.md": "x"})
    above = tmp_path
    monkeypatch.chdir(tmp_path)
    while len(str(above)) < 4080:
        name = "d" * min(200, 4090 - len(str(above)))
        Path(name).mkdir()
        os.chdir(name)
        above /= name
    Path("long" * 20 + ".md").write_text("x")
    assert names(tmp_path) == ["a.md", "z.md"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    tree(tmp_path, **{"in/a.md": "x", "out/b.md": "x"})
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "round").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "file.md").symlink_to(tmp_path / "out" / "b.md")
    assert names(tmp_path / "in") == ["a.md"]


def test_an_explicitly_named_file_is_always_taken(tmp_path: Path) -> None:
    tree(tmp_path, **{".gitignore": "*\n", "a.unknown": "x"})
    assert list(documents_in(tmp_path / "a.unknown")) == [tmp_path / "a.unknown"]
