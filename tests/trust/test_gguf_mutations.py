"""A hostile or damaged GGUF file gives an error and never ends the process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.effort import cases
from support.gguf_mutations import mutation
from support.trust import Tally

from mistral_chat.errors import ModelUnusable
from mistral_chat.models.metadata import read_metadata

COUNT = cases(150, 20_000)
LOADER = Path(__file__).parents[1] / "support" / "load_in_child.py"


def problem_of(path: Path) -> str:
    try:
        read_metadata(path)
    except ModelUnusable as error:
        return error.problem
    return ""


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The mutated files that passed; every other one was refused with a reason, and quickly."""
    folder = tmp_path_factory.mktemp("mutations")
    passed = []
    for seed in range(COUNT):
        path = folder / f"{seed}.gguf"
        path.write_bytes(mutation(seed))
        began = time.process_time()
        problem = problem_of(path)
        if problem:
            assert problem.endswith("."), problem
            path.unlink()
        else:
            passed.append(path)
        assert time.process_time() - began < 5, f"mutation {seed} kept the reader busy"
    return passed


def test_most_mutations_are_refused_before_llama_cpp_sees_them(accepted: list[Path]) -> None:
    assert 0.2 * COUNT < len(accepted) < 0.6 * COUNT


def test_no_accepted_file_kills_the_process(accepted: list[Path], tally: Tally) -> None:
    done = subprocess.run(
        [sys.executable, str(LOADER)],
        input="".join(f"{path}\n" for path in accepted),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    lines = done.stdout.splitlines()
    with tally.trial("a mutated model file: refused with a reason, or loaded without a crash", COUNT):
        assert done.returncode == 0, f"{lines[-1:]} killed llama.cpp: {done.stderr[-500:]}"
    assert len(lines) == 2 * len(accepted)
    assert sum(line.endswith("\tloaded") for line in lines) > len(accepted) / 3
