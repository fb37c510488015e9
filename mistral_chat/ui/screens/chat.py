"""The main screen: conversation list, transcript, message box and status bar.

It routes: widgets' messages go to the session or a command, session events go to widgets. The message box sends by itself.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual import getters, on, work
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.screen import Screen

from mistral_chat.errors import MistralChatError, StoreError, UsageError
from mistral_chat.message_form import join_messages
from mistral_chat.session.model_host import ModelHost
from mistral_chat.session.overrides import Overrides
from mistral_chat.session.tasks import TaskRegistry
from mistral_chat.ui.chat_view import ChatView
from mistral_chat.ui.commands import bindings, command, hint_key, letter_bindings, turns
from mistral_chat.ui.commands.documents import show_sources
from mistral_chat.ui.commands.runner import CommandRunner
from mistral_chat.ui.external_changes import ExternalChanges
from mistral_chat.ui.message_box import MessageBox
from mistral_chat.ui.widgets.composer import Composer
from mistral_chat.ui.widgets.empty_state import EmptyState
from mistral_chat.ui.widgets.notification_bar import NotificationBar
from mistral_chat.ui.widgets.sidebar import ConversationList, ConversationSidebar
from mistral_chat.ui.widgets.status_bar import StatusBar
from mistral_chat.ui.work_failed import WorkFailed

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from textual import events as textual_events
    from textual.app import ComposeResult
    from textual.theme import Theme
    from textual.worker import Worker

    from mistral_chat.session.events import ModelEvent, SessionEvent
    from mistral_chat.session.session import ChatSession
    from mistral_chat.session.workspace import Workspace
    from mistral_chat.store.store import ConversationStore
    from mistral_chat.ui.context import AppContext
    from mistral_chat.ui.model_picker import ModelPicker
    from mistral_chat.ui.settings_sync import SettingsSync
    from mistral_chat.ui.widgets.transcript import Transcript
    from mistral_chat.ui.widgets.turn import SourcesLine, VersionMark

_SETTLED_SECONDS = 0.05
"""Seconds of quiet after the first paint, so that the first keys are echoed immediately."""

_POLL_SECONDS = 4.0
"""Seconds between two checks for changes by other programs."""

_SAVING_PATIENCE = 1.0
"""Seconds that quitting waits for pending saves."""

_KEYS = {"composer.newline": "Ctrl+J", "composer.send": "Enter"}
"""The default keys of the message box, as hints name them."""


class ChatScreen(Screen[None]):
    """Shows one conversation at a time, and all the others in the sidebar."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (90, "-wide"), (140, "-broad")]  # noqa: RUF012 (as Textual declares it)
    AUTO_FOCUS: ClassVar[str] = "Composer"
    HELP = "## Chat\n\nType a message and press **Enter**. **Esc** stops a reply. **Ctrl+P** shows all commands.\n"
    BINDINGS: ClassVar[list[BindingType]] = [*bindings("chat"), *letter_bindings()]

    message_box = getters.query_one(MessageBox)
    composer = getters.query_one(Composer)
    notice = getters.query_one(NotificationBar)
    empty_state = getters.query_one(EmptyState)
    status = getters.query_one(StatusBar)
    sidebar = getters.query_one(ConversationSidebar)

    def __init__(self, context: AppContext, *, open_first: str | None = None) -> None:
        """Open nothing yet.

        Args:
            context: the app's dependencies.
            open_first: the conversation to show first; None is a new one.
        """
        super().__init__()
        self.context = context
        self.tasks = TaskRegistry(self._show_tasks)
        self.host = ModelHost(context.open_engine, context.settings.model, emit=self._model_event, spawn=self.spawn)
        self.view = ChatView(self)
        self.commands = CommandRunner(self)
        self.changes = ExternalChanges(self)
        self.workspace: Workspace | None = None
        """The conversations; None until they are open."""
        self.saved_workspace: Workspace | None = None
        """The saved conversations while a temporary chat is on the screen."""
        self.transcript: Transcript
        self.models: ModelPicker
        self.settings_sync: SettingsSync
        self.copied_block: tuple[str, int] = ("", -1)
        """The code block that was copied last: its turn, and its position in the reply."""
        self.attach_folder = ""
        """The folder in which a file was chosen last."""
        self._open_first = open_first
        self._furnished = self._told_unsaved = self._leaving = False
        self._typing = False  # whether a letter is moving the focus to the message box, to which those that follow belong
        self._session_tasks: set[asyncio.Task[None]] = set()

    # Starting.

    def compose(self) -> ComposeResult:
        """The sidebar beside the conversation."""
        yield ConversationSidebar(self.view.list_conversations, self.context.now)
        with Vertical(id="main"):
            with Container(id="stage"):
                yield EmptyState()
            yield MessageBox(self)
            yield StatusBar()

    def on_mount(self) -> None:
        """Paint first and accept keys; everything else follows."""
        self.status.state, self.status.model = "starting", self.context.settings.model
        self.view.show_saved(saved=self.context.saved)
        self.view.show_hints()
        self.app.theme_changed_signal.subscribe(self, self._theme_changed)
        self.call_after_refresh(self.set_timer, _SETTLED_SECONDS, self._furnish)

    async def _furnish(self) -> None:
        """Mount what the first paint does without, and open the store."""
        from mistral_chat.ui.model_picker import ModelPicker
        from mistral_chat.ui.settings_sync import SettingsSync
        from mistral_chat.ui.widgets.transcript import Transcript

        self.transcript = Transcript()
        self.transcript.display = False
        self.transcript.show_statistics(shown=self.context.settings.statistics)
        self.models = ModelPicker(self)
        self.settings_sync = SettingsSync(self)
        await self.sidebar.furnish()
        await self.query_one("#stage").mount(self.transcript)
        self._furnished = True
        self.open_store()

    @work(group="store", exclusive=True, exit_on_error=False)
    async def open_store(self) -> None:
        """Open the conversations, show the first one, and load the model."""
        try:
            store = await asyncio.to_thread(self.context.open_store)
            await self.context.begin_retrieval(store)
        except MistralChatError as error:
            self.status.state, self.status.warning = "database not open", True
            keys = self.keys_of(("chat.retry", "retry"), ("app.quit", "quit"))
            self.empty_state.show(error.title, [str(error)], keys, trouble=True)
            return
        self.workspace = self.new_workspace(store, saved=self.context.saved)
        self.sidebar.reload()
        self.set_interval(_POLL_SECONDS, self.changes.poll)
        with self.commands.errors_shown():  # another program may have deleted the conversation just now
            try:
                await self._open_typing(self._open_first)
            except MistralChatError:
                if self._open_first is not None and self.session.conversation_id is None:
                    await self._open_typing(None)
                raise
        self.models.load()
        await self.settings_sync.show_key_problems()

    def new_workspace(self, store: ConversationStore, *, saved: bool) -> Workspace:
        """Open the conversations of a store."""
        from mistral_chat.session.workspace import Workspace

        return Workspace(
            store,
            self.host,
            settings=lambda: self.context.settings,
            spawn=self.spawn,
            emit=self._session_event,
            report=self.view.take_saving,
            on_unexpected_error=self._on_unexpected_error,
            started=Overrides(system=self.context.system, persona=self.context.persona or None),
            saved=saved,
            tasks=self.tasks,
            show=self.open,
            retriever=self.context.retriever,
        )

    # The session.

    @property
    def opened(self) -> Workspace:
        """The open conversations.

        Raises:
            UsageError: they are not open.
        """
        if self.workspace is None:
            raise UsageError("The conversations are not open yet.")
        return self.workspace

    @property
    def workspaces(self) -> list[Workspace]:
        """The conversations on the screen, and the saved ones behind a temporary chat."""
        return [workspace for workspace in (self.workspace, self.saved_workspace) if workspace is not None]

    @property
    def session(self) -> ChatSession:
        """The session on the screen. Raises as `opened` does."""
        return self.opened.current

    async def open(self, conversation_id: str | None, draft: str | None = None) -> None:
        """Show a conversation, or a new one, if it can be read, with its saved draft or with another `draft`."""
        workspace = self.opened
        if draft is None:
            self.message_box.save()
        saved = workspace.saver.draft(conversation_id or "")
        session = workspace.open(conversation_id)
        self.sidebar.conversations.mark_open(conversation_id)
        self.remove_class("-list")
        self.notice.clear()
        # Before anything is awaited: text typed in the meantime comes after it.
        self.message_box.show_draft(saved, draft)
        if workspace.saver.pending:
            with suppress(StoreError):  # a reply that ended just now is being saved
                await workspace.saver.flush(0.2)
                session.conversation.load()
        await self.view.show_turns()
        self.view.show_state()
        if any(file.tokens is None for file in session.attachments):
            self.commands.in_background(session.files.count)
        self.set_focus(self.composer)  # immediately: later, it would steal the focus from where the next key went

        async def prefill() -> None:
            if not session.replying:
                await session.context.prefill()

        self.call_after_refresh(prefill)  # it reads what the model is to see, which would delay the first paint

    async def _open_typing(self, conversation_id: str | None) -> None:
        """Show the first conversation: what was typed until now comes after its draft."""
        saved = self.opened.saver.draft(conversation_id or "")
        await self.open(conversation_id, join_messages(saved, self.composer.draft))

    def load_older(self) -> bool:
        """Read older turns; False if there are none."""
        older = self.session.conversation.load_older()
        self.transcript.prepend(older, complete=self.session.conversation.complete)
        return bool(older)

    async def switch_workspace(self, workspace: Workspace, conversation_id: str | None, draft: str) -> None:
        """Show a conversation of another store, with its draft."""
        # The draft changes with the store: a draft is never saved in the other store.
        self.workspace = workspace
        self.composer.set_draft(draft)
        self.view.show_saved(saved=workspace.environment.saved)
        self.view.show_conversations()
        await self.open(conversation_id, draft)

    async def _session_event(self, session: ChatSession, event: SessionEvent) -> None:
        from mistral_chat.session.events import AttachmentsChanged, DraftReturned

        if not self._leaving or (self.workspace is not None and isinstance(event, AttachmentsChanged | DraftReturned)):
            await self.view.handle(session, event)  # what returns is saved until the end

    async def _model_event(self, event: ModelEvent) -> None:
        if not self._leaving:
            await self.models.handle(event)

    def show_error(self, text: str) -> None:
        """Show a notification that needs attention."""
        self.notice.show(text, severity="warning")

    def show_undoable(self, text: str) -> None:
        """Show a notification with an undo action."""
        key = self.key_of("chat.undo")
        undo = partial(self.action_command, "chat.undo")
        self.notice.show(text, action=key if key == "/undo" else f"{key} undo", on_action=undo)

    def _show_tasks(self, text: str) -> None:
        for status in self.query(StatusBar):  # there is none any more while the app ends
            status.activity = text

    def leave_transcript(self) -> None:
        """Clear the selection, and return to the message box."""
        self.transcript.clear_selection()
        self.set_focus(self.composer)

    def show_list(self) -> None:
        """Show the sidebar."""
        self.remove_class("-no-list")
        self.add_class("-list")

    async def leave(self) -> None:
        """Save the draft, stop all work, and close everything but the engine, which saves its snapshot by itself."""
        for session in [session for workspace in self.workspaces for session in workspace.replying]:
            await session.cancel()
        self.message_box.save()
        self._leaving = True
        if self._furnished:
            await self.models.close()
        await self.commands.end()
        for workspace in self.workspaces:
            await workspace.close(_SAVING_PATIENCE)
        self.workspace = self.saved_workspace = None
        await self.host.close(wait=False)
        await self.context.end_retrieval()

    async def may_leave(self) -> bool:
        """Whether everything can be saved now. If not, show a warning; the second time, allow it anyway."""
        self.message_box.save()
        try:
            for workspace in self.workspaces or ([self.opened] if self.composer.draft.strip() else []):
                await workspace.saver.flush(_SAVING_PATIENCE)
        except (StoreError, UsageError) as error:
            if not self._told_unsaved:
                self._told_unsaved = True
                warning = f"Not saved: {error} {self.key_of('app.quit')} again quits without saving."
                for bar in [bar for screen in self.app.screen_stack for bar in screen.query(NotificationBar)]:
                    bar.show(warning, severity="warning")  # the models or the settings may cover the chat
                return False
        return True

    # Widget messages.

    @on(ConversationList.Chosen)
    async def _conversation_chosen(self, event: ConversationList.Chosen) -> None:
        with self.commands.errors_shown():
            await self.open(event.conversation_id)

    def on_transcript_selected(self) -> None:
        """Count the turn that was clicked."""
        if self.transcript.selected is not None:
            self.commands.in_background(partial(turns.show_cost, self, self.transcript.selected))

    def on_transcript_older_requested(self) -> None:
        """Read older turns."""
        with self.commands.errors_shown():
            self.load_older()

    def on_sources_line_opened(self, event: SourcesLine.Opened) -> None:
        """Open a source of a turn."""
        turn = next((each for each in self.transcript.turns if each.turn_id == event.turn_id), None)
        if turn is not None:
            self.commands.in_background(partial(show_sources, self, turn, recalled=event.recalled), "dialog")

    def on_version_mark_requested(self, event: VersionMark.Requested) -> None:
        """Show another version of a turn."""
        self.commands.in_background(partial(turns.walk, self, event.step, event.turn_id, event.among))

    # Commands.

    async def action_command(self, name: str) -> None:
        """Run the command with the id `name`."""
        await self.commands.run(command(name))

    async def action_letter_command(self, _place: str, name: str) -> None:
        """Run a command by its letter in the transcript or the list."""
        await self.action_command(name)

    def key_of(self, name: str) -> str:
        """What hints name for a command: the first of the user's keys for it that is at hand in this terminal, or another way."""
        own = self.context.settings.keymap.get(name, "")
        return _KEYS[name] if not own and name in _KEYS else hint_key(name, own)

    def keys_of(self, *wanted: tuple[str, str]) -> list[tuple[str, str]]:
        """The keys of commands, each with what it does."""
        return [(self.key_of(name), does) for name, does in wanted]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Allow actions once everything is mounted."""
        if action == "letter_command" and self._furnished:
            return (self.transcript if parameters[0] == "transcript" else self.sidebar.conversations).has_focus
        return self._furnished and super().check_action(action, parameters)

    async def on_descendant_focus(self) -> None:
        """Show what belongs to the focus."""
        self._typing = False
        await self.view.show_focus()

    def on_key(self, event: textual_events.Key) -> None:
        """Pass unhandled keys to the message box: a key typed before it has the focus is not lost."""
        if event.is_printable and event.character and (self._typing or event.key not in self.active_bindings):
            event.stop()
            if event.character == "?" and not self.composer.text:  # as in the empty message box
                self.call_later(self.action_command, "app.help")
            else:
                self._typing = True
                self.composer.focus().insert(event.character)

    # Tasks.

    def _theme_changed(self, theme: Theme) -> None:
        if self._furnished:
            self.commands.in_background(partial(self.settings_sync.save_theme, theme))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine as a task; unexpected errors are logged and shown."""
        task = asyncio.create_task(work)
        self._session_tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._session_tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_unexpected_error(error)

    def _on_unexpected_error(self, error: BaseException) -> None:
        self.post_message(WorkFailed(error))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Report an error that a worker did not foresee."""
        if event.worker.error is not None and event.state.name == "ERROR":
            self._on_unexpected_error(event.worker.error)
