"""Startup time, compared with the time that its libraries take at least.

python tests/benchmarks/startup.py [ROUNDS]

Prints medians and ratios. Runs alternate, so that a busy machine slows both sides; read the ratios, not the seconds.
"""

from __future__ import annotations

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.terminals import Terminal

import mistral_chat

HELP_LIMIT = 2.5
SCREEN_LIMIT = 1.5

KEY = b"~"
"""Typed as soon as the screen is the app's; nothing else on the screen looks like it."""

BARE = """
from textual.app import App
from textual.widgets import TextArea
class FastWidget(App):
    def compose(self):
        yield TextArea()
FastWidget().run()
"""

PROGRAM = "import sys\nfrom mistral_chat.cli.main import cli\ncli.main(sys.argv[1:], prog_name='mistral-chat')\n"


def run_seconds(*command: str) -> float:
    """Seconds that a command of this interpreter takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def screen_seconds(code: str, *arguments: str) -> float:
    """Seconds from the launch until a typed key is on the screen."""
    terminal = Terminal()
    try:
        began = time.perf_counter()
        terminal.run(code, arguments)
        terminal.read_until(b"\x1b[?1049h")
        os.write(terminal.master, KEY)
        terminal.read_until(KEY)
        return time.perf_counter() - began
    finally:
        terminal.close()


def compare(name: str, ours: list[float], least: list[float], limit: float) -> bool:
    """Print one line; whether the ratio of the medians is within `limit`."""
    mine, theirs = statistics.median(ours), statistics.median(least)
    sys.stdout.write(f"{name:32} {mine:7.3f} s  against {theirs:7.3f} s  ratio {mine / theirs:5.2f}  (at most {limit})\n")
    return mine / theirs <= limit


def main(rounds: int) -> int:
    """Measure, print, and give 1 when a ratio is above its limit."""
    compileall.compile_dir(mistral_chat.__path__[0], quiet=1)  # as pip does when it installs
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MISTRAL_CHAT_DATA_DIR"] = folder
        os.environ["MISTRAL_CHAT_CONFIG"] = f"{folder}/config.yaml"
        run_seconds("-c", PROGRAM, "--help")
        screen_seconds(PROGRAM, "-m", "demo")
        helps, clicks, screens, bares = [], [], [], []
        for _ in range(rounds):
            helps.append(run_seconds("-c", PROGRAM, "--help"))
            clicks.append(run_seconds("-c", "import click"))
            screens.append(screen_seconds(PROGRAM, "-m", "demo"))
            bares.append(screen_seconds(BARE))
    quick = compare("--help, against importing click", helps, clicks, HELP_LIMIT)
    usable = compare("first key, against one TextArea", screens, bares, SCREEN_LIMIT)
    return 0 if quick and usable else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=5, help="how often each is started (5)")
    sys.exit(main(parser.parse_args().rounds))
