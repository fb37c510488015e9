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

ALONE = ("pytest", "--last-failed", "--last-failed-no-failures=none", "--cov", "--cov-append", "--cov-report=")
"""What failed among the others runs again, alone. A test that passes then is unstable: it is named, and is a fault to mend."""

MOST_UNSTABLE = 3
"""More failures than this are never taken for unstable tests."""

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
    if arguments:
        return code
    return (code and run_alone(code)) or run_quietly(PLAIN_ROOMS)


def run_alone(code: int) -> int:
    """Run a few failed tests again, alone; `code` is returned where that does not explain the failure."""
    record = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
    failed = list(json.loads(record.read_text(encoding="utf-8"))) if record.exists() else []
    if not 0 < len(failed) <= MOST_UNSTABLE or run(ALONE):
        return code
    sys.stdout.write("\nUNSTABLE, failed among the others and passed alone:\n" + "".join(f"    {each}\n" for each in failed))
    return run_quietly(("coverage", "report", "--fail-under=90"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
