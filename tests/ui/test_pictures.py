"""What every state of every screen looks like, as pictures that a person has looked at.

A picture that differs from the one that is kept is left beside the test's other files, and the failure says where. After a
change that is meant, `pytest tests/ui/test_pictures.py --snapshot-update` keeps the new ones; look at them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support import scenes_behind, scenes_kept, scenes_models, scenes_talk
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.scenes import Scene
    from syrupy.assertion import SnapshotAssertion

SIZES = [(60, 20), (100, 30), (200, 50)]
THEMES = {"dark": "mistral-dark", "light": "mistral-light"}
LISTS = (scenes_talk.SCENES, scenes_kept.SCENES, scenes_behind.SCENES, scenes_models.SCENES)
SCENES = {scene.name: scene for scenes in LISTS for scene in scenes}
TELLING = ("reply", "marks-and-the-chosen-turn", "the-window-in-parts", "settings", "first-run", "downloading")
"""Scenes in which colours mean something."""


class Svg(SingleFileSnapshotExtension):
    """One file for each picture."""

    _write_mode = WriteMode.TEXT
    _file_extension = "svg"

    def serialize(self, data: Any, **_: Any) -> str:
        return str(data)


@pytest.fixture(autouse=True)
def lasting_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice stays until its picture is taken, however busy the machine is."""
    monkeypatch.setattr("mistral_chat.ui.widgets.notice_bar._SECONDS", 3600.0)


@pytest.fixture(autouse=True)
def a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program was started in a folder with a few files."""
    folder = tmp_path / "here"
    (folder / "letters").mkdir(parents=True)
    for name in ("notes.txt", "poem.md"):
        (folder / name).write_text("A line.\n", encoding="utf-8")
    monkeypatch.chdir(folder)


@pytest.fixture
def kept(snapshot: SnapshotAssertion, tmp_path: Path) -> Callable[[str, str], None]:
    """Compares a picture with the one of its name."""

    def compare(picture: str, name: str) -> None:
        if picture != snapshot(name=name, extension_class=Svg):
            seen = tmp_path / f"{name}.svg"
            seen.write_text(picture, encoding="utf-8")
            pytest.fail(f"The screen looks different now. Compare {seen} with the picture in tests/ui/__snapshots__.")

    return compare


def named(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


@pytest.mark.parametrize("size", SIZES, ids=named)
@pytest.mark.parametrize("scene", SCENES.values(), ids=lambda scene: scene.name)
async def test_in_dark_and_light(scene: Scene, size: tuple[int, int], kept: Callable[[str, str], None]) -> None:
    taken = await scene.take(size, list(THEMES.values()))
    for shade, theme in THEMES.items():
        kept(taken[theme], shade)


@pytest.mark.parametrize("theme", ["mistral-light", "mistral-high-contrast", "nord"])
async def test_begun_in_other_colours(theme: str, kept: Callable[[str, str], None]) -> None:
    taken = await SCENES["reply"].take((100, 30), [theme])
    kept(taken[theme], theme)


@pytest.mark.parametrize("name", TELLING)
async def test_without_colours(name: str, kept: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    taken = await SCENES[name].take((100, 30), ["mistral-dark"])
    kept(taken["mistral-dark"], "none")
