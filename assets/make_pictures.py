# noqa: INP001 (a script, in no package)
"""Makes the README's pictures from the app itself: `python assets/make_pictures.py [FOLDER]`.

The real screen, session and store run without a terminal, with a fixed clock and an engine with fixed replies, so that the same
program gives the same pictures.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.echo_engine import EchoEngine

from mistral_chat.cli.wiring import Program
from mistral_chat.config import Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore
from mistral_chat.ui.app import MistralChatApp
from mistral_chat.ui.context import AppContext
from mistral_chat.ui.screens.chat import ChatScreen

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.pilot import Pilot

    from mistral_chat.generation import LoadedModel

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
SIZE = (100, 30)
MODEL = "mistral-7b-instruct-v0.3"
THEMES = {"dark": "mistral-dark", "light": "mistral-light"}

QUESTION = "How do I keep the last n lines of a file in Python?"
ANSWER = """\
A **deque** with a maximum length drops its oldest line by itself, so the file is read once and never kept as a whole:

```python
from collections import deque

def last_lines(path: str, n: int = 10) -> list[str]:
    with open(path, encoding="utf-8") as file:
        return list(deque(file, maxlen=n))  # the newest
```

| Method | In memory | Best for |
|---|---|---|
| a deque | n lines | any text file |
| blocks from the end | one block | files of many gigabytes |
"""

NOTES = "Where should we walk for three days? Here are my notes:\n\n" + "a hut, a pass and a path, " * 247 + "and so on."
"""A message that takes a third of the context."""

TRIP = {
    NOTES: "The round of the Puez group: huts a few hours apart, and no glacier.",
    "Which month is best?": "Late September. The huts are still open, the air is clear, and the paths are empty.",
    "How do we get there without a car?": "By train to Ponte Gardena, then by bus to Selva; it runs twice an hour.",
    "What should we pack?": "Layers, a rain coat, a sleeping bag liner for the huts, cash, and a paper map.",
}
TITLES = ("Bread with rye", "Letter to the landlord", "Rust lifetimes", "Reading list")


class Actor(EchoEngine):
    """Gives the replies of the pictures, under the name of a real model."""

    @property
    def facts(self) -> LoadedModel:
        """The facts of the real model."""
        return replace(super().facts, model=MODEL)


async def until(pilot: Pilot[Any], wanted: Callable[[], object]) -> None:
    """Let the app run until `wanted` holds.

    Raises:
        TimeoutError: it never does.
    """
    async with asyncio.timeout(30):
        while not wanted():
            await pilot.pause(0.01)
    await pilot.pause()


class Scene:
    """One app on a store in memory."""

    def __init__(self, theme: str, *, system: str = "") -> None:
        """Set up the app with the model's replies, and with older conversations in the list."""
        replies = {QUESTION: ANSWER, **TRIP}
        moment = NOON
        self.store = ConversationStore(open_database(None), now=lambda: moment)
        for days, title in enumerate(TITLES, 1):
            moment = NOON - timedelta(days=days)
            self.store.create(title=title)
        moment = NOON
        context = AppContext(
            open_store=lambda: self.store,
            open_engine=lambda _: EngineThread(lambda _progress: Actor(lambda text: replies.get(text, ""))),
            settings=replace(Settings(), theme=theme, system=system),
            now=lambda: moment,
            models=Program().model_service,
        )
        self.app = MistralChatApp(context)

    @property
    def chat(self) -> ChatScreen:
        """The chat screen."""
        return next(screen for screen in self.app.screen_stack if isinstance(screen, ChatScreen))

    async def ready(self, pilot: Pilot[Any]) -> None:
        """Wait for the model; the cursor stands still from then on."""
        await until(pilot, lambda: self.chat.host.loaded is not None and not self.chat.status.state)
        self.chat.composer.cursor_blink = False

    async def say(self, pilot: Pilot[Any], text: str) -> None:
        """Send a message and wait for the end of its reply."""
        turns = len(self.chat.transcript.turns) + 1
        self.chat.composer.insert(text)
        await pilot.press("enter")
        await until(pilot, lambda: len(self.chat.transcript.turns) == turns and not self.chat.session.replying)
        await pilot.pause(0.2)  # until the reply is drawn


async def first_run(scene: Scene, pilot: Pilot[Any]) -> None:
    """Show what a new user sees."""
    await scene.ready(pilot)


async def reply_with_code(scene: Scene, pilot: Pilot[Any]) -> None:
    """Show a question and a reply with code in it."""
    await scene.ready(pilot)
    await scene.say(pilot, QUESTION)


async def window_line(scene: Scene, pilot: Pilot[Any]) -> None:
    """Show the line where the model's context starts."""
    await scene.ready(pilot)
    for text in TRIP:
        await scene.say(pilot, text)
    scene.chat.notice.clear()
    await pilot.pause()


PICTURES = {
    "first-run": (first_run, ""),
    "reply": (reply_with_code, ""),
    "window-line": (window_line, "You know every path. " * 560),
}


async def draw(name: str, shade: str) -> str:
    """Give one picture as SVG."""
    act, system = PICTURES[name]
    scene = Scene(THEMES[shade], system=system)
    async with scene.app.run_test(size=SIZE, notifications=True) as pilot:
        await act(scene, pilot)
        drawn = scene.app.export_screenshot(title="mistral-chat")
    # A picture fetches nothing: without the fonts' addresses, it takes the fonts that are there.
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


def main(folder: Path) -> None:
    """Write every picture into `folder`."""
    os.environ["TZ"] = "UTC"  # what is today depends on where one is
    time.tzset()
    for name in PICTURES:
        for shade in THEMES:
            path = folder / f"{name}-{shade}.svg"
            path.write_text(asyncio.run(draw(name, shade)), encoding="utf-8")
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
