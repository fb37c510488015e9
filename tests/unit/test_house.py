"""What keeps the program readable: short functions, flat classes, plain names, and suppressions that say why."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.no_cover
"""The program is read here and not run; measuring nothing would take as long again."""

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "mistral_chat").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

LONGEST_FUNCTION = 50
LONGEST_CLASS = 400
DEEPEST_CHAIN = 2
"""Project classes above a library's class in a chain of inheritance. Those in errors.py do not count."""

SUPPRESSION = re.compile(r"#\s*(noqa(: ?[A-Z0-9, ]+)?|type: ignore(\[[a-z, -]+\])?|pragma: no \w+)(?P<reason>.*)")

ALLOWED: dict[str, frozenset[str]] = {}
"""What breaks a rule for a reason, by class or method. The lists only shrink: an entry goes as soon as its reason does."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@lru_cache(maxsize=16)
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def lines(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def definitions(path: Path) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every class and function of a file by its qualified name."""

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + child.name, child
                yield from walk(child, f"{prefix}{child.name}.")
            elif not isinstance(child, ast.expr):
                yield from walk(child, prefix)

    return walk(parsed(path), "")


def long_functions() -> Iterator[tuple[str, str]]:
    for path in [*MODULES, *TESTS]:
        for full, node in definitions(path):
            if not isinstance(node, ast.ClassDef) and lines(node) > LONGEST_FUNCTION:
                yield full, f"{name(path)}:{node.lineno}: {full} has {lines(node)} lines"


def long_classes() -> Iterator[tuple[str, str]]:
    for path in [*MODULES, *TESTS]:
        for full, node in definitions(path):
            if isinstance(node, ast.ClassDef) and lines(node) > LONGEST_CLASS:
                yield full, f"{name(path)}:{node.lineno}: {full} has {lines(node)} lines"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[1:] if parts[0] == "tests" else parts)


@cache
def project_classes() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Every class of the project, with its bases as (module, name); bases of libraries stay as they are written."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for path in [*MODULES, *TESTS]:
        imported = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
                names = [base.id for base in bases if isinstance(base, ast.Name)]
                found[module_of(path), node.name] = [imported.get(each, (module_of(path), each)) for each in names]
    return found


def depth(known: tuple[str, str]) -> int:
    classes = project_classes()
    if known not in classes or known[0] == "mistral_chat.errors":
        return 0
    return 1 + max((depth(base) for base in classes[known] if base != known), default=0)


def deep_chains() -> Iterator[tuple[str, str]]:
    for module, kind in project_classes():
        if (found := depth((module, kind))) > DEEPEST_CHAIN:
            yield kind, f"{module}.{kind} stands on {found} project classes, itself among them"


def empty_methods() -> Iterator[tuple[str, str]]:
    """Methods of the package with only a docstring, except those of Protocols and those that a Protocol requires."""
    asked = {
        method.name
        for path in MODULES
        for _, node in definitions(path)
        if isinstance(node, ast.ClassDef) and is_abstract(node)
        for method in node.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    for path in MODULES:
        for full, node in definitions(path):
            if not isinstance(node, ast.ClassDef) or {"Protocol", "ABC"} & {
                ast.unparse(base).split("[")[0] for base in node.bases
            }:
                continue
            for method in node.body:
                if (
                    isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
                    and method.name not in asked
                    and does_nothing(method)
                ):
                    yield f"{full}.{method.name}", f"{name(path)}:{method.lineno}: {full}.{method.name} does nothing"


def is_abstract(node: ast.ClassDef) -> bool:
    return bool({"Protocol", "ABC"} & {ast.unparse(base).split("[")[0] for base in node.bases})


def does_nothing(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    declared = {"overload", "abstractmethod"} & {ast.unparse(each) for each in method.decorator_list}
    return not declared and all(
        isinstance(each, ast.Pass) or (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
        for each in method.body
    )


def dispatch_by_name() -> Iterator[tuple[str, str]]:
    """Functions of the package that put an attribute's name together, or call what they looked up by a name."""
    for path in MODULES:
        for full, node in definitions(path):
            if not isinstance(node, ast.ClassDef) and any(dispatches(each) for each in ast.walk(node)):
                yield full, f"{name(path)}:{node.lineno}: {full} dispatches with getattr"


def dispatches(node: ast.AST) -> bool:
    def looks_up(call: ast.AST) -> bool:
        return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "getattr"

    if not isinstance(node, ast.Call):
        return False
    if looks_up(node):
        return isinstance(node.args[1], ast.JoinedStr | ast.BinOp)
    return looks_up(node.func) and isinstance(node.func, ast.Call) and not isinstance(node.func.args[1], ast.Constant)


RULES = {
    "long functions": long_functions,
    "long classes": long_classes,
    "deep chains": deep_chains,
    "empty methods": empty_methods,
    "dispatch by name": dispatch_by_name,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_code_keeps_the_rule_and_has_only_the_exceptions_that_it_needs(rule: str) -> None:
    found, allowed = dict(RULES[rule]()), ALLOWED.get(rule, frozenset())
    broken = [where for what, where in found.items() if what not in allowed]
    assert not broken, f"{rule}:\n" + "\n".join(broken)
    left_over = allowed - found.keys()
    assert not left_over, f"remove from ALLOWED[{rule!r}] in tests/unit/test_house.py: {sorted(left_over)}"


def test_a_suppression_gives_its_reason() -> None:
    bare = [
        f"{name(path)}:{number}"
        for path in [*MODULES, *TESTS]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := SUPPRESSION.search(line)) and not re.search("[a-z]{3}", match["reason"])
    ]
    assert not bare


def test_classes_are_named_for_what_they_are() -> None:
    vague = re.compile(r"(Manager|Helper|Handler|Util|Data|Info)$")
    assert not [kind for module, kind in project_classes() if module.startswith("mistral_chat.") and vague.search(kind)]


def test_no_two_test_files_share_a_name() -> None:
    places = defaultdict(list)
    for path in TESTS:
        if path.name.startswith("test_"):
            places[path.name].append(name(path))
    assert not {each: where for each, where in places.items() if len(where) > 1}, "pytest imports test files by their name alone"
