"""The README's pictures can be made from the app as it is, and load nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_pictures_show_what_their_names_say(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(ROOT / "assets" / "make_pictures.py"), str(tmp_path)], check=True, env=dict(os.environ), timeout=120
    )
    wanted = {
        "first-run": "New&#160;conversation",
        "reply": "last_lines",
        "window-line": "context&#160;starts&#160;here",
    }
    made = {path.stem: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.svg")}
    assert set(made) == {f"{name}-{shade}" for name in wanted for shade in ("dark", "light")}
    for name, picture in made.items():
        assert wanted[name.rpartition("-")[0]] in picture
        assert not re.search(r"url\(\s*[\"']?http", picture)


def test_the_readme_shows_pictures_that_are_there() -> None:
    shown = re.findall(r"assets/[\w.-]+\.svg", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(shown) >= 4
    assert [name for name in shown if not (ROOT / name).is_file()] == []
