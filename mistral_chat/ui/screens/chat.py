"""The screen people stay in: the list of conversations, the transcript, the composer and the status line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.widgets import Static, TextArea

from mistral_chat.errors import MistralChatError, ModelNotFound
from mistral_chat.ui.screens.attaching import FILE_BINDINGS
from mistral_chat.ui.screens.page import Page
from mistral_chat.ui.screens.turning import TURN_BINDINGS
from mistral_chat.ui.screens.unsaved import UnsavedScreen
from mistral_chat.ui.screens.weighing import WINDOW_BINDINGS
from mistral_chat.ui.widgets.composer import Composer
from mistral_chat.ui.widgets.empty_state import EmptyState
from mistral_chat.ui.widgets.notification_bar import NotificationBar
from mistral_chat.ui.widgets.status_bar import StatusBar

if TYPE_CHECKING:
    from textual import events
    from textual.app import ComposeResult
    from textual.timer import Timer
    from textual.worker import Worker

    from mistral_chat.ui.rooms import Rooms

_SETTLED_SECONDS = 0.05
"""What the first screen is left alone for, so that the first keys are echoed at once."""

_DRAFT_SECONDS = 1.0
"""How long a draft may stand unsaved."""

_WATCH_SECONDS = 4.0
"""How often other windows' changes are looked for."""


def _binding(key: str, action: str, description: str, tooltip: str, *, priority: bool = False) -> Binding:
    name = {"branch(-1)": "branch_before", "branch(1)": "branch_after"}.get(action, action)
    return Binding(key, action, description, tooltip=tooltip, id=f"chat.{name}", show=False, priority=priority)


class ChatScreen(UnsavedScreen):
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
        _binding("ctrl+r", "regenerate", "Regenerate", "Answer the last message once more; the old reply stays as a branch"),
        _binding(
            "f3", "edit", "Edit the last message", "Say the last message anew; the old one stays as a branch", priority=True
        ),
        _binding("f6", "continue", "Continue the reply", "Let the model go on with its last reply", priority=True),
        _binding(
            "alt+left", "branch(-1)", "Branch before", "Go to the branch before, at the last turn that has any", priority=True
        ),
        _binding(
            "alt+right", "branch(1)", "Branch after", "Go to the branch after, at the last turn that has any", priority=True
        ),
        _binding("ctrl+y", "copy_reply", "Copy the reply", "Copy the last reply as the model wrote it", priority=True),
        _binding("ctrl+g", "editor", "Write in your editor", "Write the message in $VISUAL or $EDITOR", priority=True),
        _binding("f9", "pin", "Pin", "Keep the conversation at the top of the list, or no longer"),
        _binding("ctrl+f", "search", "Search", "Find words in everything that was said", priority=True),
        _binding("f2", "rename", "Rename", "Give the conversation another title"),
        _binding("f4", "delete", "Delete", "Move the conversation to the trash"),
        _binding("f7", "models", "Models", "Choose another model, and fetch it where it is not here", priority=True),
        _binding("f10", "trash", "Trash", "See what was deleted, take it back, or delete it for good"),
        _binding("f12,ctrl+comma", "settings", "Settings", "See every setting, and change it", priority=True),
        _binding("ctrl+l", "prompt", "Look at the prompt", "See exactly what the model is given", priority=True),
        _binding(
            "ctrl+t", "unsaved", "Unsaved conversation", "Begin a conversation that is not saved, or go back", priority=True
        ),
        _binding("alt+r", "persona", "Persona", "Choose who the model is in this conversation", priority=True),
        *TURN_BINDINGS,
        *WINDOW_BINDINGS,
        *FILE_BINDINGS,
        _binding("f5", "retry", "Load the model again", "Look for the model again and load it"),
        _binding(
            "alt+z",
            "cancel_background",
            "Cancel background work",
            "Stop what goes on in the background; where that is several things, choose from a list",
            priority=True,
        ),
        _binding(
            "f8",
            "undo",
            "Undo",
            "Take back what was done last: delete, archive, rename, pin, exclude, tag, persona, edit, regenerate",
        ),
        _binding("alt+a", "archive", "Archive", "Put the conversation into the archive, or back into the list", priority=True),
        _binding("alt+v", "archived", "Archived conversations", "List what is archived, or go back", priority=True),
        _binding("alt+l", "filter", "Filter the list", "Narrow the list of conversations down as you type", priority=True),
    ]

    def __init__(self, rooms: Rooms, *, open_first: str | None = None) -> None:
        """Take the doors to the other rooms.

        Args:
            rooms: the doors.
            open_first: the id of the conversation to begin with; None is a new one.
        """
        super().__init__(rooms)
        self._open_first = open_first
        self._draft_timer: Timer | None = None
        self._furnished = False
        self.shown_first = False
        """Whether the conversation to begin with is on the screen."""

    def compose(self) -> ComposeResult:
        """The list beside the conversation."""
        with Vertical(id="side"):
            yield Static("mistral-chat", classes="name", markup=False)
        with Vertical(id="main"):
            with Container(id="stage"):
                yield EmptyState()
            with Vertical(id="desk"):
                yield NotificationBar()
                yield Composer()
            yield StatusBar()

    def on_mount(self) -> None:
        """RenderStyle first, and take what is typed; the rest comes after."""
        self.status.state = "starting"
        self.status.model = self.rooms.settings.model
        self.show_hints()
        self.call_after_refresh(self.set_timer, _SETTLED_SECONDS, self.furnish)

    async def furnish(self) -> None:
        """Bring in what the first screen does without, and open the store."""
        from mistral_chat.ui.widgets.conversation_list import ConversationList
        from mistral_chat.ui.widgets.list_filter import ListFilter
        from mistral_chat.ui.widgets.transcript import Transcript

        self.transcript = Transcript()
        self.transcript.display = False
        self.conversations, self.list_filter = ConversationList(), ListFilter()
        await self.query_one("#side").mount(self.list_filter, self.conversations)
        await self.query_one("#stage").mount(self.transcript)
        self._furnished = True
        self.open_store()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Allow this screen's actions once it is furnished."""
        return self._furnished and super().check_action(action, parameters)

    def on_key(self, event: events.Key) -> None:
        """Take what nothing else took into the composer: a key typed before it has the focus is not lost."""
        if event.is_printable and event.character and event.key not in self.active_bindings:
            event.stop()
            self.composer.focus()
            self.composer.insert(event.character)

    @work(group="store", exclusive=True, exit_on_error=False)
    async def open_store(self) -> None:
        """Open the conversations, show the one to begin with, and load the model."""
        try:
            self.store = await asyncio.to_thread(self.rooms.open_store)
        except MistralChatError as error:
            self.status.state = "the conversations did not open"
            self.status.warning = True
            keys = self.keys_of(("chat.retry", "try again"), ("app.quit", "quit"))
            self.empty_state.show(error.title, [str(error)], keys, trouble=True)
            return
        self.composer.remember(self.store.input_history(200))
        self.list_conversations()
        self.set_interval(_WATCH_SECONDS, self.look_around)
        await self.open(self._open_first, self.composer.text or None)
        self.shown_first = True
        self.load_model()
        await self.tell_keys()

    # The conversation on the screen.

    async def open(self, conversation_id: str | None, draft: str | None = None) -> None:
        """Show a conversation, or a new one, with its draft; `draft` is what stands there already, where anything does."""
        if self.store is None:
            return
        if draft is None:
            self.save_draft()
        self.editing = None
        self.page = Page(conversation_id)
        self.conversations.mark_open(conversation_id)
        self.remove_class("-list")
        self.notice.clear()
        # Before anything is waited for: what is typed meanwhile comes behind it.
        if draft is None or draft != self.composer.text:
            self.composer.set_draft(self.store.draft(conversation_id or "") if draft is None else draft)
        await self.show_turns()
        self.show_welcome()
        self.set_focus(self.composer)  # at once: later, it would take the focus back from where the next key went
        self.read_ahead()

    def show_welcome(self) -> None:
        """Say how to begin where nothing has been said yet, or what is missing."""
        empty = not self.transcript.turns
        self.transcript.display = not empty
        if not empty:
            self.empty_state.hide()
        elif isinstance(self.trouble, ModelNotFound) and self.downloading:
            keys = self.keys_of(
                ("chat.models", "show it, or use another model"),
                ("chat.cancel_background", "pause it"),
                ("app.help", "help"),
                ("app.quit", "quit"),
            )
            self.empty_state.show(f"Downloading {self.downloading}", ["You can start typing while it downloads."], keys)
        elif isinstance(self.trouble, ModelNotFound):
            keys = self.keys_of(
                ("chat.models", "choose a model"), ("chat.retry", "retry"), ("app.help", "help"), ("app.quit", "quit")
            )
            self.empty_state.show("Model not downloaded", [str(self.trouble)], keys)
        elif self.trouble is not None:
            keys = self.keys_of(("chat.retry", "try again"), ("app.help", "help"), ("app.quit", "quit"))
            self.empty_state.show(self.trouble.title, [str(self.trouble)], keys, trouble=True)
        else:
            keys = self.keys_of(
                ("composer.send", "send"),
                ("composer.newline", "new line"),
                ("chat.focus_list", "choose a conversation"),
                ("app.palette", "all commands"),
            )
            kept = "Nothing leaves this computer" + ("." if self.rooms.saved else ", and nothing of this is kept.")
            heading = "A new conversation" if self.rooms.saved else "A conversation that is not saved"
            self.empty_state.show(heading, [f"Write a message below. {kept}"], keys)

    def show_hints(self) -> None:
        """Show the keys that help now."""
        if self.replying:
            hints = self.keys_of(("chat.stop", "stop"), ("app.help", "help"))
        elif self.trouble is not None:
            hints = self.keys_of(("chat.retry", "try again"), ("app.help", "help"))
        else:
            hints = self.keys_of(("composer.send", "send"), ("composer.newline", "new line"), ("app.help", "help"))
        self.status.hints = tuple((key.replace("Escape", "Esc"), does) for key, does in hints)

    def save_draft(self) -> None:
        """Keep what is typed, for the conversation on the screen."""
        if self._draft_timer is not None:
            self._draft_timer.stop()
            self._draft_timer = None
        if self.store is not None and self.editing is None:
            self.store.save_draft(self.page.conversation_id or "", self.composer.text)

    async def leave(self) -> None:
        """Keep the draft, stop what runs and let the rooms go."""
        self.save_draft()
        await super().leave()

    @on(TextArea.Changed, "#composer")
    def _draft_changed(self) -> None:
        if self.replying:
            self.transcript.defer_redraw()
        self.list_commands()
        if self._draft_timer is None:
            self._draft_timer = self.set_timer(_DRAFT_SECONDS, self.save_draft)

    @on(Composer.Submitted)
    async def _submitted(self, event: Composer.Submitted) -> None:
        await self.say(event.text)
        self.save_draft()

    @on(Composer.Refused)
    def _refused(self, event: Composer.Refused) -> None:
        self.notice.show(event.reason, severity="warning")

    @on(NotificationBar.ActionRequested)
    def _offer_taken(self) -> None:
        self.action_undo()

    # Actions.

    def action_stop(self) -> None:
        """Stop the reply; otherwise put a list that lies over the chat away, and go back to the composer."""
        if self.leave_editing():
            return
        if self.replying:
            self.stop()
            return
        self.leave_list()
        self.remove_class("-list")
        self.leave_turn()

    def action_copy_or_stop(self) -> None:
        """Copy what is selected; with nothing selected stop the reply, and never quit."""
        text = self.composer.selected_text if self.composer.has_focus else ""
        if text := text or self.get_selected_text() or "":
            self.copy(text)
        elif self.replying:
            self.stop()
        else:
            self.notice.show(f"{self.key_of('app.quit')} quits.")

    async def action_new(self) -> None:
        """Begin a new conversation."""
        await self.open(None)

    def action_toggle_list(self) -> None:
        """Show or hide the list."""
        if self.has_class("-narrow"):
            self.toggle_class("-list")
            self.action_focus_list() if self.has_class("-list") else self.set_focus(self.composer)
        else:
            self.toggle_class("-no-list")
            if self.has_class("-no-list"):
                self.set_focus(self.composer)

    def action_focus_list(self) -> None:
        """Go to the list, and show it if need be."""
        self.remove_class("-no-list")
        self.add_class("-list")
        # At once where it is in view already, so that a key pressed right after this one is the list's.
        if self.conversations.focusable:
            self.set_focus(self.conversations)
        else:
            self.conversations.focus()

    def action_retry(self) -> None:
        """Try again what did not work: opening the conversations, or loading the model."""
        if self.store is None:
            self.open_store()
        elif self.trouble is not None:
            self.load_model()
        else:
            ready = self.runner is not None and self.runner.facts is not None
            self.notice.show("Nothing is wrong: the model is loaded." if ready else "The model is being loaded.")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Tell the app's last resort of work that failed in a way nobody foresaw."""
        if event.worker.error is not None and event.state.name == "ERROR":
            self.post_message(self.WorkFailed(event.worker.error))
