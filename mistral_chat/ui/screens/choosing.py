"""Choosing the model: the part of the chat screen that opens the list of weights and changes to what was taken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import work

from mistral_chat.errors import EngineError, WeightsNotFound
from mistral_chat.ui.screens.replying import ReplyingScreen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from textual.worker import Worker

    from mistral_chat.chat import Chat, ChatEvent
    from mistral_chat.errors import MistralChatError


class ChoosingScreen(ReplyingScreen):
    """Asks which model to use when there is none, and whenever a person wants another."""

    def model_missing(self, error: MistralChatError) -> None:
        """Say what is wrong with the model; where it is not on this disk, offer those that are and those that can be had."""
        sent = bool(self._queue)
        super().model_missing(error)
        # Who is typing goes on typing: the list would take the next keys for its own. It opens when the message is sent.
        if self.is_current and (sent or not self.composer.text):
            self._offer_models()

    def send(self, text: str, begin: Callable[[Chat], AsyncGenerator[ChatEvent, None]] | None = None) -> None:
        """Say `text` as `ReplyingScreen` does; where there is no model, keep it as the draft and offer models."""
        super().send(text, begin)
        self._offer_models()

    def _offer_models(self) -> None:
        if isinstance(self.trouble, WeightsNotFound) and self.rooms.shelf is not None:
            self.action_models()

    @work(group="models", exclusive=True, exit_on_error=False)
    async def action_models(self) -> None:
        """Choose a model, and fetch it where it is not here."""
        from mistral_chat.ui.screens.weights import WeightsScreen

        shelf = self.rooms.shelf
        if shelf is None:
            self.notice.tell("Models cannot be chosen here. mistral-chat models lists them.")
            return
        in_use = self.model if self.runner is not None and self.trouble is None else None
        problem = str(self.trouble) if self.trouble is not None else ""
        screen = WeightsScreen(shelf, wanted=self.model, in_use=in_use, problem=problem)
        spec = await self.app.push_screen_wait(screen)
        if spec is None:
            return
        loading = await self.use_model(spec)
        # It ends early where another load takes its place.
        await asyncio.gather(loading.wait(), return_exceptions=True)
        if loading.is_cancelled or self.trouble is not None:
            return
        if told := await asyncio.to_thread(shelf.keep, spec, first=in_use is None):
            self.notice.tell(told)

    def load_model(self) -> Worker[None]:
        """Load the model as `ReplyingScreen` does, in a way that can be given up."""
        loading = super().load_model()
        self._watch(loading)
        return loading

    @work(group="watching", exit_on_error=False)
    async def _watch(self, loading: Worker[None]) -> None:
        with self.background.doing("loading", self._give_up, quiet=True):
            # It ends early where another load takes its place.
            await asyncio.gather(loading.wait(), return_exceptions=True)

    @work(group="model", exclusive=True, exit_on_error=False)
    async def _give_up(self) -> None:
        """Stop loading."""
        runner, self.runner = self.runner, None
        if runner is not None:
            await asyncio.to_thread(runner.close)
        self.model_missing(EngineError("Loading was stopped. F5 loads the model, F7 chooses another."))

    async def use_model(self, spec: str) -> Worker[None]:
        """Go on with the model `spec`, as ``-m`` names it. A reply that is being written is stopped; what it has stays."""
        if self.replying:
            self.stop()
            writing = [worker.wait() for worker in self.workers if worker.group == "reply"]
            await asyncio.gather(*writing, return_exceptions=True)
        self.model, self.trouble = spec, None
        self.show_welcome()
        self.show_hints()
        return self.load_model()
