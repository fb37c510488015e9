"""What the engine's benchmarks share: messages, the demo model, and output lines."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from support.demo import HOW, demo_file

SYSTEM = "You are a helpful assistant who answers briefly."
PROSE = (
    "The ferry to the island leaves at dawn when the tide allows it and at noon when it does not. Those who miss it wait in the "
    "small house by the pier, where an old woman sells bread, soup and newspapers that are a week old. Nobody minds. The island "
    "has no news of its own, except who was born, who was married and who did not come back with the boats. In winter the light "
    "is gone by four, and the children are taught to read by lamps that smell of fish. In spring the grass grows so fast that "
    "people say they can hear it. A painter came once to stay for a month and stayed for eleven years; his pictures hang in the "
    "town hall of the mainland, where few remember whose sea it is that they show. "
)


def say(name: str, value: str) -> None:
    sys.stdout.write(f"{name:58}{value}\n")
    sys.stdout.flush()


def demo() -> Path:
    path = demo_file()
    if path is None:
        raise SystemExit(HOW)
    return path


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
