"""Run every check of the project, the quick ones first, and stop at the first failure.

    python tests/check.py [--cover-screens | arguments for pytest]

Coverage is measured of the packages that do not import Textual: tracing it takes as long as the tests of the screens themselves.
`--cover-screens` measures the screens too.
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

SCREENS = "--cover-screens"

COVERED = ("--cov", "--cov-report=", "--cov-fail-under=0")
"""Coverage is only measured in a run of all tests, and compared with what it has to be after it."""

PLAIN_PACKAGES = ("coverage", "report", "--omit=*/mistral_chat/ui/*", "--fail-under=95")
ALL_PACKAGES = ("coverage", "report", "--fail-under=90")


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
    whole, screens = not arguments, arguments == [SCREENS]
    code = run((*TESTS, *(COVERED if whole or screens else ()), *arguments))
    if code or not (whole or screens):
        return code
    return run(PLAIN_PACKAGES) or (run(ALL_PACKAGES) if screens else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
