"""The README is true: its tables come from the program, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mistral_chat import __version__
from mistral_chat.cli.main import cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_tables_match_the_program() -> None:
    code = "import readme; text = readme.README.read_text('utf-8'); print(readme.filled(text) == text)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tests", capture_output=True, text=True, check=True)
    assert done.stdout == "True\n", "write them again with: python tests/readme.py"


def test_the_test_command_runs_in_a_fresh_copy() -> None:
    (command,) = re.findall(r"^    (python3 -m venv .*check\.py)$", README, flags=re.MULTILINE)
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_the_named_extras_exist() -> None:
    extras = set(PROJECT["project"]["optional-dependencies"])
    for named in re.findall(r"'\.\[([\w,]+)\]'", README):
        assert set(named.split(",")) <= extras


@pytest.mark.parametrize(
    "line", sorted(set(re.findall(r"mistral-chat ((?:ask|chats|config|docs|doctor|models|paths|completion)\b[^`\n]*)", README)))
)
def test_every_shown_command_exists(line: str) -> None:
    context = cli.make_context("mistral-chat", ["completion", "bash"])
    name, *words = line.split()
    command = cli.get_command(context, name)
    assert command is not None
    inner = getattr(command, "commands", {})
    if inner and words:
        assert words[0] in inner, line
        command = inner[words[0]]
    flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    assert {word for word in words if word.startswith("-")} <= flags


def test_every_dependency_states_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("dependencies = [") : text.index("[project.optional-dependencies]")]
    lines = [line.strip() for line in block.splitlines()[1:]]
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith('"'):
            assert before.startswith("#"), line


def test_the_changelog_has_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{__version__}]" in changelog or "## [Unreleased]" in changelog
