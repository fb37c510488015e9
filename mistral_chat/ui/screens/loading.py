"""Loading the model: the part of the chat screen that has the engine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import work

from mistral_chat.errors import MistralChatError, ModelNotFound
from mistral_chat.ui.screens.working import WorkingScreen

if TYPE_CHECKING:
    from mistral_chat.engine.thread import EngineThread
    from mistral_chat.generation import LoadedModel
    from mistral_chat.ui.rooms import Rooms


class LoadingScreen(WorkingScreen):
    """Has one engine at a time."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program; nothing is opened yet."""
        super().__init__(rooms)
        self.runner: EngineThread | None = None
        self.model = rooms.settings.model
        """What is to be loaded, as ``-m`` names it."""
        self.trouble: MistralChatError | None = None
        """Why there is no model."""

    @property
    def replying(self) -> bool:
        """Whether a reply is awaited or being written. The replying screen knows."""
        return False

    def show_welcome(self) -> None:
        """Say how to begin where nothing has been said yet. The chat screen says it."""

    def show_hints(self) -> None:
        """Show the keys that help now. The chat screen knows them."""

    def _send_next(self) -> None:
        """Send the message that waits, if nothing else goes on. The replying screen does."""

    def _give_back(self) -> None:
        """Give back what waited for the model. The replying screen does."""

    def model_ready(self) -> None:
        """The model is loaded."""
        if not self.replying:
            self.status.state = "ready"
        self.show_welcome()

    @work(group="model", exclusive=True, exit_on_error=False)
    async def load_model(self) -> None:
        """Load the model in the background; messages sent meanwhile wait for it."""
        self.trouble = None
        old, self.runner = self.runner, None
        if old is not None:
            await asyncio.to_thread(old.close)
        self.status.state = "loading"
        self.status.warning = False
        self.status.model = self.model
        try:
            self.runner = await asyncio.to_thread(self.rooms.runner_for, self.model)
            if self.runner.snapshots is not None:
                self.watch_snapshots(self.runner.snapshots)
            self._send_next()
            facts = await self._followed(self.runner)
        except MistralChatError as error:
            self.model_missing(error)
            return
        self.status.model = facts.model
        self.status.window = facts.window
        self.status.used = 0
        self.model_ready()

    async def _followed(self, runner: EngineThread) -> LoadedModel:
        """Show how far loading is until it is done; raises as `EngineThread.wait_ready` does."""
        ready = asyncio.ensure_future(runner.wait_ready())
        try:
            while not (await asyncio.wait({ready}, timeout=0.2))[0]:
                self.loaded_so_far(runner.progress)
            return ready.result()
        finally:
            ready.cancel()

    def loaded_so_far(self, share: float) -> None:
        """Show the share of the model that is loaded, from 0.0 to 1.0."""
        self.status.state = f"loading {share:.0%}"

    def model_missing(self, error: MistralChatError) -> None:
        """Say what is wrong with the model, and give back what waited for it."""
        self.trouble = error
        state = "no model yet" if isinstance(error, ModelNotFound) else "the model did not load"
        self.status.state = state
        self.status.warning = True
        self._give_back()
        self.show_welcome()
        if not self.empty_state.display:
            self.notice.show(str(error), severity="warning")
        self.show_hints()
