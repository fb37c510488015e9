"""Choosing the model: the part of the chat screen that opens the list of weights and changes to what was taken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import work

from mistral_chat.errors import EngineError, ModelNotFound
from mistral_chat.models.downloads import Downloads
from mistral_chat.ui.screens.replying import ReplyingScreen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from textual.worker import Worker

    from mistral_chat.chat import Chat, ChatEvent
    from mistral_chat.errors import MistralChatError
    from mistral_chat.models.task import ModelTask
    from mistral_chat.ui.background import Job
    from mistral_chat.ui.rooms import Rooms


class ChoosingScreen(ReplyingScreen):
    """Asks which model to use when there is none, and whenever a person wants another."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self.downloads = (
            Downloads(rooms.models, spawn=self._run, listener=self._task_changed, track=self.background.doing)
            if rooms.models is not None
            else None
        )
        """The downloads and verifications of this session; None where no model can be chosen."""
        self._downloaded = ""
        """The last model downloaded behind the chat."""
        self._first = False
        """Whether the next start still has no model to begin with."""
        self._loading: Job | None = None

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
        if self.trouble is not None and self.downloading:
            more = f"{self.key_of('chat.models')} shows progress"
            self.notice.show(f"Downloading {self.downloading}. Your message stays in the box until then; {more}.")
        else:
            self._offer_models()

    def _offer_models(self) -> None:
        if isinstance(self.trouble, ModelNotFound) and self.rooms.models is not None:
            self.action_models()

    async def do_models(self, name: str) -> None:
        """Choose a model as `action_models` does, beginning at the one that `name` is in."""
        self.action_models(name)

    @work(group="models", exclusive=True, exit_on_error=False)
    async def action_models(self, name: str = "") -> None:
        """Choose a model, and fetch it where it is not here. The cursor begins at the one that `name` is in."""
        from mistral_chat.ui.screens.models import ModelsScreen

        if self.rooms.models is None or self.downloads is None:
            self.notice.show("Models cannot be changed here. See mistral-chat models list.")
            return
        in_use = self.model if self.runner is not None and self.trouble is None else None
        problem = str(self.trouble) if self.trouble is not None else ""
        selected, self._downloaded = self._downloaded, ""
        screen = ModelsScreen(
            self.rooms.models(),
            self.downloads,
            wanted=self.model,
            in_use=in_use,
            problem=problem,
            selected=selected,
            search=name,
        )
        spec = await self.app.push_screen_wait(screen)
        if spec is None and isinstance(self.trouble, ModelNotFound):
            spec = screen.downloaded or None
        if spec is not None:
            await self._go_on_with(spec, first=in_use is None)
        else:
            self.show_welcome()

    async def _go_on_with(self, spec: str, *, first: bool) -> None:
        """Load the model `spec`, and let the next start begin with it if it is the first.

        What is taken only until a download is done is not what a person wants to begin with.
        """
        self.notice.clear()
        self._first = self._first or first
        loading = await self.use_model(spec)
        # It ends early where another load takes its place.
        await asyncio.gather(loading.wait(), return_exceptions=True)
        models = self.rooms.models
        if models is None or loading.is_cancelled or self.trouble is not None or self.downloading:
            return
        first, self._first = self._first, False
        if told := await asyncio.to_thread(models().save_default, spec, first=first):
            self.notice.show(told)

    @property
    def downloading(self) -> str:
        """The names of the models that are being downloaded; empty while none is."""
        return " and ".join(task.name for task in self.downloads.running) if self.downloads else ""

    def load_model(self) -> Worker[None]:
        """Load the model as `ReplyingScreen` does, in a way that can be given up."""
        loading = super().load_model()
        self._watch(loading)
        return loading

    def loaded_so_far(self, share: float) -> None:
        """Show how far loading is, in the list of what goes on too."""
        super().loaded_so_far(share)
        if self._loading is not None:
            self._loading.tell(share)

    @work(group="watching", exit_on_error=False)
    async def _watch(self, loading: Worker[None]) -> None:
        with self.background.doing("loading", self.model, cancel=self._give_up, quiet=True) as self._loading:
            # It ends early where another load takes its place.
            await asyncio.gather(loading.wait(), return_exceptions=True)

    @work(group="model", exclusive=True, exit_on_error=False)
    async def _give_up(self) -> None:
        """Stop loading."""
        runner, self.runner = self.runner, None
        if runner is not None:
            await asyncio.to_thread(runner.close)
        again, another = self.key_of("chat.retry"), self.key_of("chat.models")
        self.model_missing(EngineError(f"Loading was stopped. {again} loads the model, {another} chooses another."))

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

    # What goes on meanwhile.

    def _run(self, work: Coroutine[None, None, None]) -> None:
        self.run_worker(work, group="model task", exit_on_error=False)

    def _task_changed(self, task: ModelTask) -> None:
        """Tell how a download or a verification ended behind the chat."""
        from mistral_chat.ui.screens.models import outcome

        if task.state == "running":
            return
        self.show_welcome()
        if task.kind == "downloading" and task.state == "done":
            self._offer_downloaded(task)
            return
        text, trouble = outcome(task)
        if text:
            retry = f" {self.key_of('chat.models')} to retry." if task.kind == "downloading" else ""
            self.notice.show(f"{text}{retry}", severity="warning" if trouble else "information", stay=trouble)

    def _offer_downloaded(self, task: ModelTask) -> None:
        """Load a downloaded model if none is loaded; else offer it."""
        if isinstance(self.trouble, ModelNotFound):
            self._switch(task.spec, first=True)
            return
        self._downloaded = task.spec
        offer = f"{self.key_of('chat.models')} and Enter switch to it"
        self.notice.show(f"Downloaded {task.name}.", action=offer, on_action=lambda: self._switch(task.spec), stay=True)

    @work(group="models", exclusive=True, exit_on_error=False)
    async def _switch(self, spec: str, *, first: bool = False) -> None:
        """Go on with a model that has just come."""
        self._downloaded = ""
        await self._go_on_with(spec, first=first)

    async def leave(self) -> None:
        """Pause what is being fetched, stop what runs and let the rooms go."""
        if self.downloads is not None:
            await self.downloads.close()
        await super().leave()
