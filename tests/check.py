"""Run every check of the project, the quick ones first, and stop at the first failure.

    python tests/check.py [arguments for pytest]

Packages that do not import Textual must have a higher coverage than the whole.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PROCESSES = 2
"""How many checks run at a time, and how many processes the tests share."""

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    *(("mypy", "--platform", name, "--cache-dir", f".mypy_cache/{name}", "mistral_chat") for name in ("win32", "darwin")),
    ("lint-imports",),
)

TESTS = ("pytest", f"--numprocesses={PROCESSES}", "--dist=worksteal")

COVERED = ("--cov", "--cov-report=term")
"""Coverage is only measured in a run of all tests."""

PLAIN_ROOMS = ("coverage", "report", "--omit=*/mistral_chat/ui/*", "--fail-under=95")


def run(command: tuple[str, ...]) -> int:
    """Run a tool of this interpreter's environment."""
    sys.stdout.write(f"\n$ {' '.join(command)}\n")
    sys.stdout.flush()
    return subprocess.run(_tool(command), cwd=ROOT, check=False).returncode


def run_quietly(command: tuple[str, ...]) -> int:
    """Run a tool, and show what it says when it has failed."""
    done = subprocess.run(_tool(command), cwd=ROOT, check=False, capture_output=True, text=True)
    said = f"{done.stdout}{done.stderr}" if done.returncode else ""
    sys.stdout.write(f"$ {' '.join(command)}\n{said}")
    sys.stdout.flush()
    return done.returncode


def _tool(command: tuple[str, ...]) -> list[str]:
    return [str(Path(sysconfig.get_path("scripts")) / command[0]), *command[1:]]


def main(arguments: list[str]) -> int:
    """Run everything; the exit code is that of the first failure."""
    began = time.monotonic()
    with ThreadPoolExecutor(PROCESSES) as pool:
        failed = [code for code in pool.map(run_quietly, CHECKS) if code]
    sys.stdout.write(f"checked in {time.monotonic() - began:.0f} s\n")
    if failed:
        return failed[0]
    code = run((*TESTS, *(arguments or COVERED)))
    return code or (0 if arguments else run_quietly(PLAIN_ROOMS))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
