"""Shows a session on the chat screen: its events, and everything that depends on its state."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from textual.content import Content

from mistral_chat.errors import ConversationNotFound, MistralChatError, ModelNotFound, StoreError, StoreFull
from mistral_chat.message_form import as_draft, join_messages, split_message
from mistral_chat.text import one_line
from mistral_chat.ui.commands import parse_input
from mistral_chat.ui.widgets.sidebar import ConversationList, ListedConversation, ListFilter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.conversation import TranscriptTurn
    from mistral_chat.generation import Completion
    from mistral_chat.session.events import PassagesGiven, SavingEvent, SavingFailed, SessionEvent
    from mistral_chat.session.reply import PendingReply
    from mistral_chat.session.session import ChatSession
    from mistral_chat.ui.screens.chat import ChatScreen
    from mistral_chat.ui.widgets.status_bar import Hints

_STATE_SECONDS: Final = 1.0
"""Seconds between two updates of the speed."""

_TEMPORARY: Final = "mistral-chat, temporary"
"""The app's title during a temporary chat."""

_LONGEST_TITLE: Final = 80
"""Characters of a title in the frame and in the terminal's title."""


class ChatView:
    """Passes events of the session on the screen to the widgets."""

    def __init__(self, screen: ChatScreen) -> None:
        """Show on `screen`."""
        self._screen = screen
        self._state_shown = 0.0
        self._by_words_told = False

    async def handle(self, session: ChatSession, event: SessionEvent) -> None:
        """Show an event of any session."""
        if not self._screen.is_attached:
            return
        if session is not self._screen.session:
            await self._take_elsewhere(session, event)
            return
        await self._take_reply(event)
        await self._take_state(event)

    async def _take_reply(self, event: SessionEvent) -> None:
        """Show an event of the reply that is generated."""
        from mistral_chat.session import events

        screen = self._screen
        match event:
            case events.TextAdded(turn_id, text):
                screen.transcript.append_text(turn_id, text)
                self._show_progress()
            case events.PrefillProgress():
                self._show_progress(at_once=True)
            case events.ReplyStarted(turn):
                await screen.transcript.begin(turn)
                self._reply_started()
            case events.ContextShifted(turns, _, first):
                screen.transcript.show_context(screen.session.context.seen)
                if first:
                    screen.notice.show(_context_full(len(turns)))
            case events.ReplyFinished(turn, completion):
                self._reply_finished(turn, completion)
            case events.ReplyFailed(error, turn):
                self._reply_failed(error, turn)

    async def _take_state(self, event: SessionEvent) -> None:
        """Show any other event."""
        from mistral_chat.session import events

        screen = self._screen
        match event:
            case events.TurnsReplaced():
                await self.show_turns()
                self._reply_started()
            case events.TurnChanged(turn):
                screen.transcript.replace_turn(turn)
            case events.PassagesGiven(turn):
                screen.transcript.replace_turn(turn)
                if notice := self._passages_notice(event):
                    screen.notice.show(notice)
            case events.DraftReturned(text):
                screen.composer.give_back(as_draft(text), editing=screen.session.editing is not None)
                screen.message_box.save()
            case events.QueueChanged():
                self.show_state()
                await screen.message_box.show_queue()
            case events.AttachmentsChanged():
                await screen.message_box.show_attachments()
            case events.UsageChanged():
                self.show_usage()
            case events.ConversationsChanged():
                self.show_conversations()

    def _passages_notice(self, event: PassagesGiven) -> str:
        """What is to be said about the passages of a message; that they were found by words alone is said once."""
        if event.notice:
            return event.notice
        retriever = self._screen.context.retriever
        if self._by_words_told or retriever is None or not retriever.by_words:
            return ""
        self._by_words_told = True
        from mistral_chat.session.documents import WITHOUT_EMBEDDING_MODEL

        return WITHOUT_EMBEDDING_MODEL.format(" and restart")

    async def _take_elsewhere(self, session: ChatSession, event: SessionEvent) -> None:
        """Save messages returned by another conversation as its draft, and update the list."""
        from mistral_chat.session import events

        match event:
            case events.DraftReturned(text) if self.shares_draft(session):
                self._screen.composer.give_back(as_draft(text))
                self._screen.message_box.save()
            case events.DraftReturned(text):
                self.save_elsewhere(session, as_draft(text))
            case events.AttachmentsChanged() if self.shares_draft(session):
                for file in list(session.attachments):
                    session.attachments.remove(file)
                    await self._screen.session.files.add(file)
            case events.AttachmentsChanged():
                self.save_elsewhere(session)
            case events.ReplyFailed(error, None):
                self._screen.show_error(f"Not sent in another conversation: {error}")
            case events.ConversationsChanged() | events.QueueChanged():
                self.show_conversations()
                self._show_elsewhere()

    def save_elsewhere(self, session: ChatSession, text: str = "", old: str | None = None) -> None:
        """Save the draft of another conversation: its attachments, and `text` before the rest or in place of `old`."""
        saver, key = session.environment.saver, _draft_key(session)

        def joined(before: str) -> str:
            rest = split_message(before).rest if key else before  # other new conversations have attachments, too
            texts = (text, rest) if old is None else (f"\n\n{rest}".removesuffix(f"\n\n{old}").removeprefix("\n\n"), text)
            return session.files.draft(join_messages(*texts)) if key else join_messages(session.files.draft(""), *texts)

        try:
            saver.save_draft(key, joined(saver.draft(key)))
        except StoreError:  # it cannot be read now
            saver.save(lambda store: store.save_draft(key, joined(store.draft(key))))

    def shares_draft(self, session: ChatSession) -> bool:
        """Whether what returns to this conversation belongs to the new one on the screen: all new ones have one draft."""
        shown = self._screen.session
        return not (shown.conversation_id or _draft_key(session)) and shown.environment is session.environment

    def take_saving(self, event: SavingEvent) -> None:
        """Show that saving fails, or works again."""
        from mistral_chat.session import events

        if not self._screen.is_running:
            return
        if isinstance(event, events.SavingFailed):
            self._screen.notice.show_lasting(_saving_failed(event))
        else:
            self._screen.notice.lasting = ""
            self._screen.notice.show("Everything is saved again.")

    async def show_turns(self) -> None:
        """Show the session's turns from their end, with the reply that is being generated."""
        session = self._screen.session
        await self._screen.transcript.show(session.turns, complete=session.conversation.complete, growing=session.growing)
        if self._screen.host.loaded is not None:
            # What the model did for the conversation shown before is not the state now.
            status, current = self._screen.status, self._screen.session.current
            status.warning, status.state = False, _reply_state(current) if current is not None else ""
        self.show_title()
        await self._screen.message_box.show_attachments()
        await self._screen.message_box.show_queue()
        self.show_usage()

    def show_state(self) -> None:
        """Show what depends on whether a reply is generated, and on the model."""
        screen = self._screen
        if screen.workspace is not None:
            session = screen.workspace.current
            screen.status.queued = len(session.queue)
            screen.composer.still = session.replying  # each blink costs the model CPU time
            self._show_elsewhere()
            self.show_empty_state()
        self.show_hints()

    def _show_elsewhere(self) -> None:
        """Show how many replies are running in other conversations, including the saved ones behind a temporary chat."""
        screen = self._screen
        running = [session for workspace in screen.workspaces for session in workspace.replying]
        screen.status.elsewhere = sum(session is not screen.session for session in running)

    def show_empty_state(self) -> None:
        """Show in an empty conversation how to start, or what is missing."""
        screen = self._screen
        if screen.workspace is None:
            return  # what it shows is why the conversations are not open
        empty = not screen.transcript.turns
        screen.transcript.display = not empty
        if not empty:
            screen.empty_state.display = False
            return
        error, saved = screen.host.error, screen.workspace.environment.saved
        heading, lines, keys = _welcome(error, downloading=screen.models.downloading, saved=saved)
        trouble = error is not None and not isinstance(error, ModelNotFound)
        screen.empty_state.show(heading, lines, screen.keys_of(*keys), trouble=trouble)

    async def show_focus(self) -> None:
        """Show the keys of the focused part; the command menu belongs to the message box, which the list may not cover."""
        if self._screen.composer.has_focus:
            self._screen.remove_class("-list")
            await self._screen.message_box.list_commands()
        else:
            self._screen.composer.close_menu()
        self.show_hints()

    def show_hints(self) -> None:
        """Show the most useful keys for the focused part."""
        screen = self._screen
        editing = screen.workspace is not None and screen.session.editing is not None
        screen.composer.border_title = "Editing" if editing else ""
        screen.composer.set_class(editing, "-editing")
        named = ((screen.key_of(key) if "." in key else key, does) for key, does in self._hints())
        screen.status.hints = tuple((key, "" if key == f"/{does}" else does) for key, does in named)

    def _hints(self) -> Hints:
        """The most useful keys now, best first."""
        screen = self._screen
        session = screen.workspace.current if screen.workspace is not None else None
        if session is not None and session.replying:
            return ("chat.stop", "stop"), ("app.palette", "commands")
        if keys := self._hints_of_focus():
            return keys
        if session is not None and session.editing is not None:
            return ("composer.send", "resend"), ("chat.stop", "cancel")
        if text := screen.composer.text:
            more = ("Tab", "files") if session is not None and session.attachments else ("app.palette", "commands")
            runs = parse_input(text).command is not None
            send: Hints = (("composer.send", "run"),) if runs else (("composer.send", "send"), ("composer.newline", "new line"))
            return *send, more
        if screen.host.error is not None:
            return ("chat.models", "choose a model"), ("chat.retry", "retry"), ("?", "help")
        last = session.turns[-1].turn if session is not None and session.turns else None
        stopped = last is not None and last.finish_reason == "cancelled"
        again: Hints = (("chat.continue", "continue"), ("chat.regenerate", "regenerate")) if stopped else ()
        select: Hints = (("Shift+Tab", "messages"),) if last is not None else ()
        return *again, ("/", "commands"), ("?", "help"), *select, ("chat.focus_list", "chats")

    def _hints_of_focus(self) -> Hints:
        """The keys of the part that has the focus; none for the message box without its menu."""
        screen, focused = self._screen, self._screen.focused
        if screen.workspace is not None and focused is screen.transcript:
            return ("Enter", "actions"), ("Esc", "back"), ("↑↓", "select"), ("c", "copy code"), ("e", "edit"), ("f", "fork")
        if isinstance(focused, ConversationList):
            return ("Enter", "open"), ("Esc", "back"), ("/", "filter"), ("d", "delete"), ("r", "rename"), ("p", "pin")
        if isinstance(focused, ListFilter):
            return ("↓", "results"), ("Esc", "show all")
        if focused is not None and focused.id == "files":
            return ("Enter", "show"), ("d", "remove"), ("Esc", "back")
        if screen.composer.menu_is_open:
            return ("↑↓", "choose"), ("Enter", "run"), ("Esc", "close"), ("Tab", "complete")
        return ()

    def show_saved(self, *, saved: bool) -> None:
        """Show whether anything is saved."""
        screen = self._screen
        screen.set_class(not saved, "-unsaved")
        screen.status.temporary = not saved
        empty = "No conversations yet" if saved else "Conversations are hidden"
        screen.sidebar.show_heading("mistral-chat" if saved else _TEMPORARY, empty=empty)

    def show_usage(self) -> None:
        """Show the context usage, and what the draft takes of it."""
        screen, session = self._screen, self._screen.session
        screen.transcript.show_context(session.context.seen, session.context.costs)
        usage = session.context.usage
        if usage is None:
            return
        screen.status.window, screen.status.draft = usage.window, usage.draft
        if not session.replying:
            screen.status.used = usage.used
        screen.message_box.show_usage(usage)

    def show_conversations(self) -> None:
        """List the conversations as they are now."""
        self._screen.sidebar.reload()
        self._screen.sidebar.conversations.mark_open(self._screen.session.conversation_id)
        self.show_title()

    def show_title(self) -> None:
        """Show the conversation's title in the frame, while the list is hidden, and as the terminal's title."""
        screen = self._screen
        workspace, conversation_id = screen.opened, screen.session.conversation_id
        title = ""
        if conversation_id is not None:
            with suppress(StoreError):  # deleted by another window, or unreadable, as the list says
                title = one_line(workspace.store.conversation(conversation_id).summary.title, _LONGEST_TITLE)
        screen.query_one("#stage").border_title = Content(f" {title or 'New conversation'} ")
        # Programs that list or record windows see a terminal's title: that of a temporary chat is not for them.
        saved = workspace.environment.saved
        screen.app.title = _TEMPORARY if not saved else f"{title} - mistral-chat" if title else "mistral-chat"

    def list_conversations(
        self, where: Literal["active", "archived"], words: str, tag: str, limit: int
    ) -> Sequence[ListedConversation] | None:
        """The conversations for the sidebar; None after an error, which is shown as a notification."""
        try:
            workspace = self._screen.opened
            found = workspace.store.summaries(where=where, contains=words, tag=tag, limit=limit)
        except MistralChatError as error:
            self._screen.show_error(str(error))
            return None
        replying = {session.conversation_id for session in workspace.replying}
        return [
            ListedConversation(
                conversation_id=each.conversation_id,
                title=each.title,
                updated=each.updated,
                pinned=each.pinned,
                tags=each.tags,
                replying=each.conversation_id in replying,
            )
            for each in found
        ]

    def _reply_started(self) -> None:
        transcript = self._screen.transcript
        if self._screen.session.replying and transcript.has_focus and transcript.selected is None:
            # The letters of messages would take what is typed next.
            self._screen.set_focus(self._screen.composer)
        self.show_state()
        self._show_progress(at_once=True)

    def _reply_finished(self, shown: TranscriptTurn, completion: Completion | None) -> None:
        screen, reason = self._screen, completion.finish_reason if completion is not None else "cancelled"
        screen.transcript.finish(shown)
        screen.status.warning, screen.status.state = False, "stopped" if reason == "cancelled" else ""
        if reason == "stop" and completion is not None and shown.turn.reply and not completion.text:
            screen.notice.show("The model had nothing to add.")

    def _reply_failed(self, error: MistralChatError, shown: TranscriptTurn | None) -> None:
        screen = self._screen
        if shown is not None:
            screen.transcript.finish(shown)
            screen.status.warning, screen.status.state = True, "failed"
            return
        screen.status.warning, screen.status.state = False, ""
        cannot_be_saved = isinstance(error, StoreError) and not isinstance(error, ConversationNotFound)
        temporary = f" {screen.key_of('chat.unsaved')} starts a temporary chat." if cannot_be_saved else ""
        screen.show_error(f"{error}{temporary}")

    def _show_progress(self, *, at_once: bool = False) -> None:
        current, now, status = self._screen.session.current, time.monotonic(), self._screen.status
        if current is not None and (at_once or now - self._state_shown >= _STATE_SECONDS):
            self._state_shown = now
            status.warning, status.state = False, _reply_state(current)
            status.used = current.used + (current.reply.pieces if current.reply is not None else 0)


def _draft_key(session: ChatSession) -> str:
    """The conversation to whose draft a message of `session` returns: a new one, if its own was deleted by another window."""
    key = session.conversation_id or ""
    with suppress(StoreError):  # it cannot be read now
        return key if session.environment.store.state(key) is not None else ""
    return key


def _welcome(error: MistralChatError | None, *, downloading: str, saved: bool) -> tuple[str, tuple[str, ...], Hints]:
    """The heading, the lines and the keys of an empty conversation: how to start, or what is missing."""
    last: Hints = (("app.help", "help"), ("app.quit", "quit"))
    if isinstance(error, ModelNotFound) and downloading:
        keys: Hints = (("chat.models", "show the progress, or switch model"), ("chat.cancel_background", "pause"), *last)
        return f"Downloading {downloading}…", ("You can start typing while it downloads.",), keys
    if isinstance(error, ModelNotFound):
        keys = (("chat.models", "choose a model"), ("chat.retry", "retry"), *last)
        return "No model loaded", (error.problem, "Choose an installed model, or one to download."), keys
    if error is not None:
        return error.title, (str(error),), (("chat.models", "choose another model"), ("chat.retry", "retry"), *last)
    keys = (
        ("composer.send", "send"),
        ("composer.newline", "new line"),
        ("chat.focus_list", "conversations"),
        ("app.palette", "all commands"),
    )
    if saved:
        return "New conversation", ("Write a message below. Nothing leaves this computer.",), keys
    return "Temporary chat", ("Nothing here is saved. Nothing leaves this computer.",), keys


def _reply_state(pending: PendingReply) -> str:
    """What the model is doing for a reply."""
    if pending.reply is not None and pending.reply.pieces:
        speed = pending.reply.speed
        return f"writing {speed:.1f} tok/s" if speed is not None else "writing"
    done, total = pending.prefill
    return f"processing prompt {done / total:.0%}" if total else "waiting for the model"


def _context_full(turns: int) -> str:
    """The notice when messages drop out of the context for the first time."""
    dropped, stay = ("the oldest message", "It stays") if turns == 1 else (f"the {turns} oldest messages", "They stay")
    return f"Context full: {dropped} dropped out. {stay} in the chat and in search."


def _saving_failed(event: SavingFailed) -> str:
    """The warning when nothing can be saved."""
    free = ""
    if event.bytes_free is not None and not isinstance(event.error, StoreFull):  # which already states the free space
        free = f" The disk has {event.bytes_free / 1e6:,.0f} MB free."
    return f"Not saved yet: {event.error}{free} Your text is kept in memory and saved as soon as possible."
