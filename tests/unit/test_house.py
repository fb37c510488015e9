"""What keeps the program readable: small files, small functions, and suppressions that say why."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "mistral_chat").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LONGEST_FILE = 350
LONGEST_FUNCTION = 50

SUPPRESSION = re.compile(r"#\s*(noqa(: ?[A-Z0-9, ]+)?|type: ignore(\[[a-z, -]+\])?|pragma: no \w+)(?P<reason>.*)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=name)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE
    long = [
        f"{node.name}: {lines} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long


@pytest.mark.parametrize("path", [*MODULES, *TESTS], ids=name)
def test_a_suppression_gives_its_reason(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [(number, SUPPRESSION.search(line)) for number, line in enumerate(lines, 1)]
    bare = [f"{name(path)}:{number}" for number, match in found if match and not re.search("[a-z]{3}", match["reason"])]
    assert not bare


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_classes_are_named_for_what_they_are(path: Path) -> None:
    classes = [node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)]
    assert not [each for each in classes if re.search(r"(Manager|Helper|Handler|Service|Util|Data|Info)$", each)]


def test_no_two_test_files_share_a_name() -> None:
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert len(names) == len(set(names)), "pytest imports test files by their name alone"
