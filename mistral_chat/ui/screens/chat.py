"""The screen people stay in: the list of conversations, the transcript, the composer and the status line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.actions import SkipAction
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import Static, TextArea

from mistral_chat.errors import MistralChatError, WeightsNotFound
from mistral_chat.ui.screens.choosing import ChoosingScreen
from mistral_chat.ui.screens.replying import PAGE, Page, shown
from mistral_chat.ui.shown import ShownConversation
from mistral_chat.ui.widgets.composer import Composer
from mistral_chat.ui.widgets.notice_bar import NoticeBar
from mistral_chat.ui.widgets.placard import Placard
from mistral_chat.ui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult
    from textual.timer import Timer
    from textual.worker import Worker

    from mistral_chat.ui.rooms import Rooms
    from mistral_chat.ui.widgets.conversation_list import ConversationList
    from mistral_chat.ui.widgets.transcript import Transcript

_LISTED = 300
"""Conversations listed at first, and more with each time more are asked for."""

_SETTLED_SECONDS = 0.05
"""What the first screen is left alone for, so that the first keys are echoed at once."""

_DRAFT_SECONDS = 1.0
"""How long a draft may stand unsaved."""

_WATCH_SECONDS = 4.0
"""How often other windows' changes are looked for."""


def _binding(key: str, action: str, description: str, tooltip: str, *, priority: bool = False) -> Binding:
    return Binding(key, action, description, tooltip=tooltip, id=f"chat.{action}", show=False, priority=priority)


class ChatScreen(ChoosingScreen):
    """Shows one conversation at a time, and all the others beside it."""

    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (90, "-wide")]  # noqa: RUF012 (as Textual declares it)
    HELP = "## Chat\n\nWrite a message and press **Enter**. **Escape** stops a reply. **Ctrl+P** lists everything there is.\n"

    BINDINGS: ClassVar[list[BindingType]] = [
        _binding("escape", "stop", "Stop", "Stop the reply; what was written stays"),
        _binding(
            "ctrl+c",
            "copy_or_stop",
            "Copy, or stop",
            "Copy what is selected; with nothing selected, stop the reply",
            priority=True,
        ),
        _binding("ctrl+n", "new", "New conversation", "Begin a new conversation", priority=True),
        _binding("ctrl+b", "toggle_list", "Show or hide the list", "Show or hide the list of conversations", priority=True),
        _binding("ctrl+o", "focus_list", "Go to the list", "Choose a conversation from the list", priority=True),
        _binding("f2", "rename", "Rename", "Give the conversation another title"),
        _binding("f4", "delete", "Delete", "Move the conversation to the trash"),
        _binding("f9", "models", "Models", "Choose another model, and fetch it where it is not here"),
        _binding("f5", "retry", "Load the model again", "Look for the model again and load it"),
        _binding("f8", "undo", "Take back", "Take the last conversation out of the trash again"),
    ]

    def __init__(self, rooms: Rooms, *, open_first: str | None = None) -> None:
        """Take the doors to the other rooms, and the id of the conversation to begin with; None is a new one."""
        super().__init__(rooms)
        self._open_first = open_first
        self.conversations: ConversationList
        self._limit = _LISTED
        self._trashed: str | None = None
        self._draft_timer: Timer | None = None
        self._version = -1
        self._furnished = False
        self.shown_first = False
        """Whether the conversation to begin with is on the screen."""

    def compose(self) -> ComposeResult:
        """The list beside the conversation."""
        with Vertical(id="side"):
            yield Static("mistral-chat", classes="name", markup=False)
        with Vertical(id="main"):
            with Container(id="stage"):
                yield Placard()
            with Vertical(id="desk"):
                yield NoticeBar()
                yield Composer()
            yield StatusLine()

    def on_mount(self) -> None:
        """Paint first, and take what is typed; the rest comes after."""
        self.status.tell(state="starting", model=self.rooms.settings.model)
        self.show_hints()
        self.call_after_refresh(self.set_timer, _SETTLED_SECONDS, self.furnish)

    async def furnish(self) -> None:
        """Bring in what the first screen does without, and open the store."""
        from mistral_chat.ui.widgets.conversation_list import ConversationList
        from mistral_chat.ui.widgets.transcript import Transcript

        self.transcript = Transcript()
        self.transcript.display = False
        self.conversations = ConversationList()
        await self.query_one("#side").mount(self.conversations)
        await self.query_one("#stage").mount(self.transcript)
        self._furnished = True
        self.open_store()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Allow this screen's actions once it is furnished."""
        return self._furnished and super().check_action(action, parameters)

    def on_key(self, event: events.Key) -> None:
        """Take what nothing else took into the composer: a key typed before it has the focus is not lost."""
        if event.is_printable and event.character:
            event.stop()
            self.composer.focus()
            self.composer.insert(event.character)

    @work(group="store", exclusive=True, exit_on_error=False)
    async def open_store(self) -> None:
        """Open the conversations, show the one to begin with, and load the model."""
        try:
            self.store = await asyncio.to_thread(self.rooms.open_store)
        except MistralChatError as error:
            self.status.tell(state="the conversations did not open", trouble=True)
            self.placard.show(error.title, [str(error)], [("F5", "try again"), ("Ctrl+Q", "quit")], trouble=True)
            return
        self.composer.remember(self.store.input_history(200))
        self.list_conversations()
        self.set_interval(_WATCH_SECONDS, self._look_around)
        typed = self.composer.text
        await self.open(self._open_first)
        if typed:
            self.composer.set_draft(typed)
        self.shown_first = True
        self.load_model()

    # The conversation on the screen.

    async def open(self, conversation_id: str | None) -> None:
        """Show a conversation, or a new one, with its draft."""
        if self.store is None:
            return
        self.save_draft()
        self.page = Page(conversation_id)
        self.conversations.mark_open(conversation_id)
        self.remove_class("-list")
        self.notice.clear()
        self.composer.set_draft(self.store.draft(conversation_id or ""))
        await self.show_turns()
        self.show_welcome()
        self.composer.focus()

    def show_welcome(self) -> None:
        """Say how to begin where nothing has been said yet, or what is missing."""
        empty = not self.transcript.turns
        self.transcript.display = not empty
        if not empty:
            self.placard.hide()
        elif isinstance(self.trouble, WeightsNotFound):
            keys = [("F9", "choose a model"), ("F5", "look again"), ("F1", "help"), ("Ctrl+Q", "quit")]
            self.placard.show("There is no model on this computer yet", [str(self.trouble)], keys)
        elif self.trouble is not None:
            keys = [("F5", "try again"), ("F1", "help"), ("Ctrl+Q", "quit")]
            self.placard.show(self.trouble.title, [str(self.trouble)], keys, trouble=True)
        else:
            keys = [("Enter", "send"), ("Ctrl+J", "new line"), ("Ctrl+O", "choose a conversation"), ("Ctrl+P", "all commands")]
            kept = "Nothing leaves this computer" + ("." if self.rooms.saved else ", and nothing of this is kept.")
            self.placard.show("A new conversation", [f"Write a message below. {kept}"], keys)

    def show_hints(self) -> None:
        """Show the keys that help now."""
        hints: tuple[tuple[str, str], ...]
        if self.replying:
            hints = (("Esc", "stop"), ("F1", "help"))
        elif self.trouble is not None:
            hints = (("F5", "try again"), ("F1", "help"))
        else:
            hints = (("Enter", "send"), ("Ctrl+J", "new line"), ("F1", "help"))
        self.status.tell(hints=hints)

    def save_draft(self) -> None:
        """Keep what is typed, for the conversation on the screen."""
        if self._draft_timer is not None:
            self._draft_timer.stop()
            self._draft_timer = None
        if self.store is not None:
            self.store.save_draft(self.page.conversation_id or "", self.composer.text)

    async def leave(self) -> None:
        """Keep the draft, stop what runs and let the rooms go."""
        self.save_draft()
        await super().leave()

    @on(TextArea.Changed, "#composer")
    def _draft_changed(self) -> None:
        if self._draft_timer is None:
            self._draft_timer = self.set_timer(_DRAFT_SECONDS, self.save_draft)

    @on(Composer.Submitted)
    def _submitted(self, event: Composer.Submitted) -> None:
        self.send(event.text)
        self.save_draft()

    @on(Composer.Refused)
    def _refused(self, event: Composer.Refused) -> None:
        self.notice.tell(event.reason, trouble=True)

    def on_transcript_older_wanted(self, event: Transcript.OlderWanted) -> None:
        """Read older turns from the store."""
        if self.store is not None and self.page.conversation_id is not None:
            older = self.store.path_page(self.page.conversation_id, before=event.before, limit=PAGE)
            self.transcript.prepend([shown(turn) for turn in older], complete=not older or older[0].parent_id is None)

    # The list.

    def conversations_changed(self) -> None:
        """Show the list anew, with the open conversation marked."""
        self.list_conversations()
        self.conversations.mark_open(self.page.conversation_id)
        if self.store is not None:
            self.composer.remember(self.store.input_history(200))

    def list_conversations(self) -> None:
        """Show the list as the store has it."""
        if self.store is None:
            return
        self._version = self.store.data_version()
        found = self.store.summaries(limit=self._limit + 1)
        lines = [
            ShownConversation(conversation_id=one.conversation_id, title=one.title, updated=one.updated, pinned=one.pinned)
            for one in found[: self._limit]
        ]
        self.conversations.show(lines, self.rooms.now(), more=len(found) > self._limit)

    def _look_around(self) -> None:
        """Notice what another window has written."""
        if self.store is not None and self.store.data_version() != self._version:
            self.list_conversations()

    async def on_conversation_list_chosen(self, event: ConversationList.Chosen) -> None:
        """Open the conversation."""
        await self.open(event.conversation_id)

    def on_conversation_list_more_wanted(self) -> None:
        """List older conversations too."""
        self._limit += _LISTED
        self.list_conversations()

    async def on_conversation_list_deletion_asked(self, event: ConversationList.DeletionAsked) -> None:
        """Move the conversation to the trash."""
        await self._delete(event.conversation_id)

    async def _delete(self, conversation_id: str) -> None:
        if self.store is None:
            return
        title = self.store.conversation(conversation_id).summary.title
        if self.replying and conversation_id == self.page.conversation_id:
            self.stop()
        self.store.trash(conversation_id)
        self._trashed = conversation_id
        if conversation_id == self.page.conversation_id:
            await self.open(None)
        self.list_conversations()
        self.notice.tell(f"“{title or 'New conversation'}” is in the trash.", offer="F8 takes it back")

    @on(NoticeBar.ActionTaken)
    async def _offer_taken(self) -> None:
        await self.action_undo()

    # Actions.

    def action_stop(self) -> None:
        """Stop the reply; otherwise put a list that lies over the chat away, and go back to the composer."""
        if self.replying:
            self.stop()
            return
        self.remove_class("-list")
        self.composer.focus()

    def action_copy_or_stop(self) -> None:
        """Copy what is selected; with nothing selected stop the reply, and never quit."""
        text = self.composer.selected_text if self.composer.has_focus else ""
        if text := text or self.get_selected_text() or "":
            self.app.copy_to_clipboard(text)
            self.notice.tell(f"Copied {len(text):,} characters, if this terminal allows it.")
        elif self.replying:
            self.stop()
        else:
            self.notice.tell("Ctrl+Q quits.")

    async def action_new(self) -> None:
        """Begin a new conversation."""
        await self.open(None)

    def action_toggle_list(self) -> None:
        """Show or hide the list."""
        if self.has_class("-narrow"):
            self.toggle_class("-list")
            (self.conversations if self.has_class("-list") else self.composer).focus()
        else:
            self.toggle_class("-no-list")
            if self.has_class("-no-list"):
                self.composer.focus()

    def action_focus_list(self) -> None:
        """Go to the list, and show it if need be."""
        self.remove_class("-no-list")
        self.add_class("-list")
        self.conversations.focus()

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_rename(self) -> None:
        """Ask for another title: of the conversation under the list's cursor, or of the open one."""
        from mistral_chat.ui.screens.rename import RenameScreen

        chosen = self.conversations.marked if self.conversations.has_focus else self.page.conversation_id
        if self.store is None or chosen is None:
            self.notice.tell("There is nothing to rename yet. Send a message first.")
            return
        title = await self.app.push_screen_wait(RenameScreen(self.store.conversation(chosen).summary.title))
        if title is not None and self.store is not None:
            self.store.rename(chosen, title, by="person")
            self.list_conversations()

    async def action_delete(self) -> None:
        """Move the open conversation to the trash."""
        if self.page.conversation_id is None:
            self.notice.tell("There is nothing to delete yet.")
        else:
            await self._delete(self.page.conversation_id)

    async def action_undo(self) -> None:
        """Take the conversation that was deleted last out of the trash, and open it."""
        if self.store is None or self._trashed is None:
            raise SkipAction
        taken, self._trashed = self._trashed, None
        self.store.restore(taken)
        self.list_conversations()
        await self.open(taken)

    def action_retry(self) -> None:
        """Try again what did not work: opening the conversations, or loading the model."""
        if self.store is None:
            self.open_store()
        elif self.trouble is not None:
            self.load_model()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Tell the app's last resort of work that failed in a way nobody foresaw."""
        if event.worker.error is not None and event.state.name == "ERROR":
            self.post_message(self.WorkFailed(event.worker.error))
