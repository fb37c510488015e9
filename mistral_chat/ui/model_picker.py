"""Chooses the model: opens the models screen, loads the chosen model, and follows background downloads."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from mistral_chat.errors import EngineError, MistralChatError, ModelNotFound
from mistral_chat.session.downloads import Downloads
from mistral_chat.session.events import ModelEvent, ModelFailed, ModelLoaded, ModelLoading
from mistral_chat.session.tasks import watch_snapshots

if TYPE_CHECKING:
    from mistral_chat.models.task import ModelTask
    from mistral_chat.session.tasks import BackgroundTask
    from mistral_chat.ui.screens.chat import ChatScreen


class ModelPicker:
    """Asks which model to use when there is none, and when the user wants another."""

    def __init__(self, screen: ChatScreen) -> None:
        """Serve `screen`."""
        self._screen = screen
        self.downloads = Downloads(screen.context.models, spawn=screen.spawn, listener=self._task_changed, tasks=screen.tasks)
        """The downloads and verifications."""
        self._downloaded = ""
        """The model downloaded last in the background."""
        self._first = False
        """Whether no default model is saved yet."""
        self._loading: BackgroundTask | None = None

    @property
    def downloading(self) -> str:
        """The names of the models being downloaded; empty while there is none."""
        return " and ".join(task.name for task in self.downloads.running if task.chats)

    async def choose(self, name: str = "") -> None:
        """Show the models, with the cursor on the one whose name contains `name`, and switch to the chosen one."""
        from mistral_chat.ui.screens.models import ModelsScreen

        screen, host = self._screen, self._screen.host
        in_use = host.model if host.error is None else None
        problem = str(host.error) if host.error is not None else ""
        selected, self._downloaded = self._downloaded, ""
        models, downloads = screen.context.models(), self.downloads
        picker = ModelsScreen(
            models, downloads, wanted=host.model, in_use=in_use, problem=problem, selected=selected, search=name
        )
        model = await screen.app.push_screen_wait(picker)
        first = isinstance(host.error, ModelNotFound)
        if model is None and first:
            # A model downloaded in the meantime is better than none.
            model = picker.downloaded or None
        if model is not None:
            # As a task: a dialog that opens meanwhile ends the command, and the model would not become the default.
            self._use(model, first=first, message=picker.message)
        else:
            screen.view.show_empty_state()

    def load(self, model: str | None = None) -> asyncio.Task[None]:
        """Load a model in the background; messages sent meanwhile wait for it."""
        screen = self._screen
        screen.status.warning, screen.status.state = False, "loading"
        loading = screen.host.load(model)
        screen.status.model = screen.host.model
        if self._loading is not None:
            self._loading.end()
        self._loading = screen.tasks.begin("loading", screen.host.model, cancel=self._cancel_loading, quiet=True)
        screen.view.show_state()
        return loading

    async def use(self, model: str) -> asyncio.Task[None]:
        """Load `model`. Replies that are being generated are stopped, and keep their text."""
        for workspace in self._screen.workspaces:
            await workspace.end_replies()
        return self.load(model)

    async def handle(self, event: ModelEvent) -> None:
        """Show the progress of loading, and start what waits for the model."""
        screen, status = self._screen, self._screen.status
        self._show_loading(event)
        queued = any(workspace.replying for workspace in screen.workspaces)
        match event:
            case ModelLoading(share):
                status.state = f"loading {share:.0%}" if share else "loading"
            case ModelLoaded(loaded):
                status.model, status.window, status.used = loaded.model, loaded.window, 0
                status.state = status.state if screen.workspace is not None and screen.session.replying else ""
                if screen.host.engine is not None and screen.host.engine.snapshots is not None:
                    watch_snapshots(screen.host.engine.snapshots, screen.tasks)
                if loaded.note:
                    screen.notice.show(loaded.note)
            case ModelFailed(error):
                status.state = "no model" if isinstance(error, ModelNotFound) else "model not loaded"
                status.warning = True
        for workspace in screen.workspaces:
            await workspace.model_changed()
        screen.view.show_state()
        if isinstance(event, ModelLoaded) and screen.workspace is not None:
            screen.message_box.measure()
            await screen.session.files.count()
            await screen.session.context.prefill()
        elif isinstance(event, ModelFailed):
            self._failed(event.error, queued=queued)

    def _failed(self, error: MistralChatError, *, queued: bool) -> None:
        screen = self._screen
        if not screen.empty_state.display:
            screen.show_error(str(error))
        # The user may be typing, and the list would take the keys. It opens when the message is sent.
        if screen.is_active and (queued or not screen.composer.text):
            self.offer()

    def offer(self) -> None:
        """After a message that no model can answer, show the download or the models."""
        screen = self._screen
        if screen.host.error is not None and self.downloading:
            more = f"Your message stays in the message box. {screen.key_of('chat.models')} shows the progress."
            screen.show_error(f"Still downloading {self.downloading}. {more}")
        elif isinstance(screen.host.error, ModelNotFound):
            # Not over a dialog that the user has opened meanwhile.
            screen.call_later(lambda: screen.action_command("chat.models") if screen.is_active else None)

    def _show_loading(self, event: ModelEvent) -> None:
        """Tell the background task of loading."""
        if self._loading is not None and isinstance(event, ModelLoading):
            self._loading.tell(event.share)
        elif self._loading is not None:
            self._loading.end()
            self._loading = None

    async def close(self) -> None:
        """Pause downloads."""
        await self.downloads.close()

    async def _switch(self, model: str, *, first: bool, message: str) -> None:
        """Show `message`, load `model`, and make it the default if it is the first.

        What is used only until a download is done does not become the default.
        """
        screen = self._screen
        screen.notice.clear()
        if message:
            screen.notice.show(message)
        self._first = self._first or first
        loading = await self.use(model)
        await asyncio.wait({loading})
        if loading.cancelled() or screen.host.error is not None or self.downloading:
            return
        first, self._first = self._first, False
        if message := await asyncio.to_thread(screen.context.models().save_default, model, first=first):
            screen.notice.show(message)

    def _cancel_loading(self) -> None:
        again, other = self._screen.key_of("chat.retry"), self._screen.key_of("chat.models")
        error = EngineError(f"Loading was cancelled. {again} loads the model; {other} switches to another.")
        self._screen.spawn(self._screen.host.cancel_loading(error))

    def _task_changed(self, task: ModelTask) -> None:
        """Notify of the end of a background download or verification."""
        from mistral_chat.ui.screens.models import outcome

        screen = self._screen
        if task.state == "running":
            return
        screen.view.show_empty_state()
        if task.kind == "downloading" and task.state == "done":
            self._downloaded_one(task)
            return
        text, trouble = outcome(task)
        if text:
            retry = f" Press {screen.key_of('chat.models')} to retry." if task.kind == "downloading" else ""
            screen.notice.show(f"{text}{retry}", severity="warning" if trouble else "information", stay=trouble)

    def _downloaded_one(self, task: ModelTask) -> None:
        """Load what was downloaded if there is no model; else offer it."""
        screen = self._screen
        if not task.chats:
            if screen.context.retriever is not None:
                screen.commands.in_background(partial(asyncio.to_thread, screen.context.retriever.reload))
            screen.notice.show(f"Downloaded {task.name}. Recall and documents use it from now on.")
            return
        if isinstance(screen.host.error, ModelNotFound):
            self._use(task.spec, first=True)
            return
        self._downloaded = task.spec
        offer = f"{screen.key_of('chat.models')} and Enter switch to it"
        screen.notice.show(f"Downloaded {task.name}.", action=offer, on_action=lambda: self._use(task.spec), stay=True)

    def _use(self, model: str, *, first: bool = False, message: str = "") -> None:
        self._downloaded = ""
        self._screen.spawn(self._switch(model, first=first, message=message))
