"""What a hostile or damaged GGUF file may cost: a sentence, never the process.

500 files are made in each run; MISTRAL_CHAT_TEST_MUTATIONS=5000 makes more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.gguf_mutations import mutation

from mistral_chat.errors import ModelUnusable
from mistral_chat.models.metadata import read_metadata

COUNT = 500
LOADER = Path(__file__).parents[1] / "support" / "load_in_child.py"


def problem_of(path: Path) -> str:
    try:
        read_metadata(path)
    except ModelUnusable as error:
        return error.problem
    return ""


@pytest.fixture(scope="module")
def count() -> int:
    return int(os.environ.get("MISTRAL_CHAT_TEST_MUTATIONS", COUNT))


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory, count: int) -> list[Path]:
    """The mutated files that passed; every other one was refused with a reason, and quickly."""
    folder = tmp_path_factory.mktemp("mutations")
    passed = []
    for seed in range(count):
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


def test_most_mutations_are_refused_before_llama_cpp_sees_them(accepted: list[Path], count: int) -> None:
    assert 0.2 * count < len(accepted) < 0.6 * count


def test_no_accepted_file_kills_the_process(accepted: list[Path]) -> None:
    done = subprocess.run(
        [sys.executable, str(LOADER)],
        input="".join(f"{path}\n" for path in accepted),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{lines[-1:]} killed llama.cpp: {done.stderr[-500:]}"
    assert len(lines) == 2 * len(accepted)
    assert sum(line.endswith("\tloaded") for line in lines) > len(accepted) / 3
