"""Run every check of the project, the quick ones first, and stop at the first failure.

    python tests/check.py [arguments for pytest]

Packages that do not import Textual must have a higher coverage than the whole.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    *(("mypy", "--platform", name, "--cache-dir", f".mypy_cache/{name}", "mistral_chat") for name in ("win32", "darwin")),
    ("lint-imports",),
)

TESTS = ("pytest", "--numprocesses=2", "--dist=worksteal")

COVERED = ("--cov", "--cov-report=term")
"""Coverage is only measured in a run of all tests."""

ALONE = ("pytest", "--last-failed", "--last-failed-no-failures=none", "--cov", "--cov-append", "--cov-report=")
"""Failed tests run again, alone. A test that then passes is reported as unstable, and is a fault to fix."""

MOST_UNSTABLE = 10
"""More failures than this are never taken for unstable tests."""

PLAIN_ROOMS = ("coverage", "report", "--omit=*/mistral_chat/ui/*", "--fail-under=93")


def run(command: tuple[str, ...], *, quiet: bool) -> int:
    """Run a tool of this interpreter's environment; a quiet one speaks only when it fails."""
    sys.stdout.write("" if quiet else f"\n$ {' '.join(command)}\n")
    sys.stdout.flush()
    tool = Path(sysconfig.get_path("scripts")) / command[0]
    done = subprocess.run([str(tool), *command[1:]], cwd=ROOT, check=False, capture_output=quiet, text=quiet)
    if quiet and done.returncode:
        sys.stdout.write(f"\n$ {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.returncode


def main(arguments: list[str]) -> int:
    """Run everything; the exit code is that of the first failure."""
    began = time.monotonic()
    for command in CHECKS:
        if code := run(command, quiet=False):
            return code
    sys.stdout.write(f"checked in {time.monotonic() - began:.0f} s\n")
    if code := run((*TESTS, *(arguments or COVERED)), quiet=False):
        return code if arguments else run_alone(code)
    return 0 if arguments else run(PLAIN_ROOMS, quiet=True)


def run_alone(code: int) -> int:
    """Run a few failed tests again, alone; `code` is returned where that does not explain the failure."""
    record = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
    failed = list(json.loads(record.read_text(encoding="utf-8"))) if record.exists() else []
    if not 0 < len(failed) <= MOST_UNSTABLE or run(ALONE, quiet=False):
        return code
    sys.stdout.write("\nUNSTABLE, failed among the others and passed alone:\n" + "".join(f"    {each}\n" for each in failed))
    return run(("coverage", "report", "--fail-under=90"), quiet=True) or run(PLAIN_ROOMS, quiet=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
