"""What every state of every screen looks like, as reviewed pictures.

A picture that differs from the one that is kept is left beside the test's other files, and the failure says where. After a
change that is meant, `pytest tests/ui/test_pictures.py --snapshot-update` keeps the new ones; look at them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import scenes_chat, scenes_conversations, scenes_models, scenes_settings
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from support.scenes import Scene
    from syrupy.assertion import SnapshotAssertion

pytestmark = pytest.mark.no_cover
"""Pictures are compared, and tell nothing about the code that draws them; measuring it would take twice as long."""

USUAL, NARROW, WIDE = (100, 30), (60, 20), (200, 50)
LISTS = (scenes_chat.SCENES, scenes_conversations.SCENES, scenes_settings.SCENES, scenes_models.SCENES)
SCENES = {scene.name: scene for scenes in LISTS for scene in scenes}
TELLING = ("reply", "marks-and-the-chosen-turn", "the-window-in-parts", "settings", "first-run", "downloading")
"""Scenes in which colours mean something: they are taken in a light theme and without colours too."""
RELAID = (
    "all-commands",
    "attaching",
    "branches",
    "downloading",
    "files",
    "first-run",
    "help",
    "long-code",
    "marks-and-the-chosen-turn",
    "new",
    "no-model",
    "queued",
    "reply",
    "search-finds",
    "settings",
    "slash-commands",
    "streaming",
    "the-list",
    "the-prompt",
    "the-trash",
    "the-window-in-parts",
    "what-to-do-with-a-turn",
    "wide-table",
)
"""Scenes that are laid out in another way where the terminal is small."""
SPACIOUS = ("first-run", "reply", "settings")
"""Scenes that are taken in a large terminal too."""
PICTURES = [
    *((scene, USUAL) for scene in SCENES),
    *((scene, NARROW) for scene in RELAID),
    *((scene, WIDE) for scene in SPACIOUS),
]


class Svg(SingleFileSnapshotExtension):
    """One file for each picture."""

    _write_mode = WriteMode.TEXT
    _file_extension = "svg"

    def serialize(self, data: Any, **_: Any) -> str:
        return str(data)


@pytest.fixture(autouse=True)
def a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program was started in a folder with a few files."""
    folder = tmp_path / "here"
    (folder / "letters").mkdir(parents=True)
    for name in ("notes.txt", "poem.md"):
        (folder / name).write_text("A line.\n", encoding="utf-8")
    monkeypatch.chdir(folder)


class Album:
    """The pictures that are kept of one test."""

    def __init__(self, snapshot: SnapshotAssertion, names: Mapping[str, str], here: Path, *, update: bool) -> None:
        """Have a picture for each theme, under the name that `names` gives it; one that differs is left in `here`."""
        self._snapshot, self._names, self._here, self._update = snapshot, names, here, update

    async def compare(self, scene: Scene, size: tuple[int, int]) -> None:
        """Play a scene, and compare its pictures with the saved ones."""
        for theme, picture in (await scene.take(size, list(self._names), self._wanted)).items():
            name = self._names[theme]
            if picture != self._snapshot(name=name, extension_class=Svg):
                seen = self._here / f"{name}.svg"
                seen.write_text(picture, encoding="utf-8")
                pytest.fail(f"The screen looks different now. Compare {seen} with the picture in tests/ui/__snapshots__.")

    def _wanted(self, theme: str, picture: str) -> bool:
        """Whether it is the picture that is kept; any is, where new ones are to be kept."""
        kept = self._snapshot(name=self._names[theme], extension_class=Svg)
        location = Path(kept.extension.get_location(test_location=kept.test_location, index=self._names[theme]))
        return self._update or not location.exists() or location.read_text(encoding="utf-8") == picture


@pytest.fixture
def album(snapshot: SnapshotAssertion, tmp_path: Path, pytestconfig: pytest.Config) -> Callable[[Mapping[str, str]], Album]:
    """Makes an album of names by theme."""
    update = bool(pytestconfig.getoption("update_snapshots"))
    return lambda names: Album(snapshot, names, tmp_path, update=update)


@pytest.mark.parametrize(
    ("name", "size"), PICTURES, ids=lambda value: value if isinstance(value, str) else "x".join(map(str, value))
)
async def test_the_screen_looks_as_it_did(name: str, size: tuple[int, int], album: Callable[[Mapping[str, str]], Album]) -> None:
    themes = {"mistral-dark": "dark"} | ({"mistral-light": "light"} if name in TELLING and size == USUAL else {})
    await album(themes).compare(SCENES[name], size)


@pytest.mark.parametrize("theme", ["mistral-light", "mistral-high-contrast", "nord"])
async def test_begun_in_other_colours(theme: str, album: Callable[[Mapping[str, str]], Album]) -> None:
    await album({theme: theme}).compare(SCENES["reply"], USUAL)


@pytest.mark.parametrize("name", TELLING)
async def test_without_colours(name: str, album: Callable[[Mapping[str, str]], Album], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    await album({"mistral-dark": "none"}).compare(SCENES[name], USUAL)
