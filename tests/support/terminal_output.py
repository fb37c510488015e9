"""A terminal that records everything the app writes to it, and searches it for anything that is not the app's own."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.color import ColorSystem
from support.app_harness import running
from support.hostile import dangerous
from textual.drivers.headless_driver import HeadlessDriver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from textual.pilot import Pilot

    from mistral_chat.ui.app import MistralChatApp

_OURS: Final = re.compile(
    r"\x1b\[(?:\d+;\d+H|\?2026[hl]|\?25[hl]|(?:(?:\d|2\d|39|49|[34]8;2;\d+;\d+;\d+)(?:;(?=\d)|(?=m)))*m)|\x1b\]22;[a-z-]+\x07"
    r"|\x1b\[2[23];2t|\x1b\]2;([^\x00-\x1f\x7f-\x9f]*mistral-chat)\x07"
)
"""What Textual writes by itself: where the cursor goes, frames that come whole, letters' styles with true colours alone, and the
mouse's shape. And what the app adds: the terminal's title, whose text is searched as everything else."""


class TerminalOutput:
    """What was written to one terminal."""

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def hear(self, data: str) -> None:
        """Take what the app writes; a bell that comes alone is Textual's own, for a field that is full."""
        if data != "\x07":
            self._pieces.append(data)

    def heard(self) -> str:
        """Everything since the last call, as a terminal gets it; text that is not UTF-8 would end the app."""
        data = "".join(self._pieces)
        self._pieces.clear()
        return data.encode("utf-8").decode("utf-8")

    def foreign(self) -> list[str]:
        """Output since the last call that controls a terminal, reorders a line or is hidden, and is not the app's own."""
        return dangerous(_OURS.sub(r"\1", self.heard()))


@asynccontextmanager
async def capture_output(
    app: MistralChatApp, size: tuple[int, int] = (100, 30)
) -> AsyncIterator[tuple[Pilot[Any], TerminalOutput]]:
    """Run `app` in a terminal that listens."""
    output = TerminalOutput()

    class Driver(HeadlessDriver):
        """As Textual's for tests, but what is drawn reaches it."""

        @property
        def is_headless(self) -> bool:
            return False

        @property
        def can_suspend(self) -> bool:
            return True

        def write(self, data: str) -> None:
            output.hear(data)

    app.driver_class = Driver
    # Whatever terminal the tests run in: a hostile text may hold codes for sixteen colours, and the app never writes those.
    app.console._color_system = ColorSystem.TRUECOLOR
    async with running(app, size, headless=False) as pilot:
        yield pilot, output
