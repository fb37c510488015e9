"""The message box: sending, editing a message in place, counting, attachments, and typed commands."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from textual import getters, on
from textual.containers import Vertical
from textual.widgets import TextArea

from mistral_chat.errors import MistralChatError, UsageError
from mistral_chat.formatting import counted
from mistral_chat.message_form import as_draft
from mistral_chat.text import one_line
from mistral_chat.ui.commands import Command, command_of, matching, parse_input
from mistral_chat.ui.commands.app import choose_file
from mistral_chat.ui.path_completion import common_beginning, complete_path
from mistral_chat.ui.widgets.composer import Composer
from mistral_chat.ui.widgets.notification_bar import NotificationBar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from textual.app import ComposeResult

    from mistral_chat.conversation import TranscriptTurn
    from mistral_chat.session.attachments import Attachment
    from mistral_chat.session.context import ContextUsage
    from mistral_chat.session.reply import EditMessage, NewMessage, ReplyRequest
    from mistral_chat.session.session import ChatSession
    from mistral_chat.ui.screens.chat import ChatScreen
    from mistral_chat.ui.widgets.attachment_bar import AttachmentBar
    from mistral_chat.ui.widgets.slash_menu import SlashMenu, SlashRow

_LONG: Final = 200
"""Minimum characters of a draft that is prefilled; a shorter one takes no time."""

_HISTORY: Final = 200
"""Messages that Up recalls."""

_NAMES: Final = 12
"""Number of names shown while completing a path."""

_ATTACH: Final = "/attach "


class MessageBox(Vertical):
    """The composer, and above it notifications, the slash menu, attachments and queued messages.

    Only what the first paint shows is there from the start; the rest is mounted when it is first needed.
    """

    composer = getters.query_one(Composer)
    notice = getters.query_one(NotificationBar)

    def __init__(self, chat: ChatScreen) -> None:
        """Write to the session on the screen `chat`."""
        super().__init__()
        self._chat = chat
        self._warning = ""
        """What is wrong with the draft, while the notification says so."""
        self._refused = ""
        """A rejected command, while it is unchanged in the message box and the notification is about it."""
        self._saved: tuple[str, str | None] = "", ""
        """The conversation on the screen, and its draft as it was read or saved here; None if it was not."""
        self._reading: list[tuple[ChatSession, str]] = []
        """The files being read, each with the session whose message waits for it."""
        self._values: tuple[str, Sequence[tuple[str, str]]] = ("", ())
        """The id of the command whose argument is being typed, and what the argument may be."""

    def compose(self) -> ComposeResult:
        """The text field below the notifications."""
        yield NotificationBar()
        yield Composer(self._history)

    def _history(self) -> Sequence[str]:
        """The messages that Up recalls; none while one is edited, which they would replace."""
        with suppress(MistralChatError):
            if self._chat.session.editing is None:
                return [as_draft(message) for message in self._chat.opened.store.input_history(_HISTORY)]
        return ()

    # Sending.

    @on(Composer.Submitted)
    async def submit(self, event: Composer.Submitted) -> None:
        """Send a draft, or run it as a command."""
        if event.files is not None and self._chat.workspace is not None and self._editing is None:
            self._chat.session.files.put_aside(event.files)  # `Recalled` may have been too late
        request = await self._request_of(event.text)
        if request is not None:
            if awaited := [name for session, name in self._reading if session is self._chat.session]:
                self._chat.session.keep_recalled()
                self.composer.give_back(event.text)
                key = self._chat.key_of("composer.send")
                self.notice.show(f"Reading {awaited[0]}… Press {key} again when it is attached.", stay=True)
            else:
                await self.send(request)
        self.save()

    async def send(self, request: ReplyRequest) -> None:
        """Send a request. A message that is refused returns; an edit that is sent gives back the draft that it replaced."""
        from mistral_chat.session.events import DraftReturned
        from mistral_chat.session.reply import EditMessage, NewMessage

        chat, session = self._chat, None
        self.notice.clear()
        try:
            session = chat.session
            await session.send(request)
        except MistralChatError as error:
            if isinstance(request, EditMessage) and session is not None and session is not chat.session:  # it was left meanwhile
                await chat.view.handle(session, DraftReturned(request.text))
            elif isinstance(request, EditMessage | NewMessage):
                self.composer.give_back(request.text if self._editing is not None else as_draft(request.text))
            chat.show_error(str(error))
            if chat.workspace is not None:
                if isinstance(request, NewMessage):
                    chat.session.keep_recalled()
                chat.models.offer()
        else:
            if isinstance(request, EditMessage) and session is chat.session:
                self.composer.return_draft()

    async def _request_of(self, text: str) -> EditMessage | NewMessage | None:
        """The message to send; a command is run instead. An empty draft sends the attachments, if there are any."""
        from mistral_chat.session.reply import EditMessage, NewMessage

        chat, parsed = self._chat, parse_input(text)
        if not text and (chat.workspace is None or not chat.session.attachments):
            return None
        if self._editing is not None:
            return EditMessage(self._editing, text)
        if parsed.message is not None:
            return NewMessage(parsed.message)
        if parsed.command is None:
            self.put(text, parsed.refusal, warning=True)
        else:
            await chat.commands.run(parsed.command, parsed.argument, text)
        return None

    def put(self, text: str, notice: str, *, warning: bool = False) -> None:
        """Put a command into the message box, with a notification that stays while it is unchanged; then the draft returns."""
        if self._editing is None:
            self.composer.show_other(text, typed=True)
        else:
            self.composer.give_back(text, editing=True)
        self._refused = self.composer.text
        self.notice.show(notice, severity="warning" if warning else "information", stay=True)

    # Editing.

    @property
    def _editing(self) -> str | None:
        """The turn whose message is edited in the box."""
        return self._chat.session.editing if self._chat.workspace is not None else None

    def begin_edit(self, turn: TranscriptTurn) -> None:
        """Load a message into the message box for editing, and its files above it."""
        chat = self._chat
        if chat.session.editing is not None:
            chat.show_error(f"Send the edit or cancel it ({chat.key_of('chat.stop')}) first.")
        if chat.session.editing is not None or all(each.turn_id != turn.turn_id for each in chat.session.turns):
            return  # or another conversation was opened meanwhile
        self.composer.show_other(chat.session.begin_edit(turn))
        chat.commands.in_background(chat.session.files.changed)
        keys = f"{chat.key_of('composer.send')} sends it; {chat.key_of('chat.stop')} cancels."
        last = turn.turn_id == chat.transcript.last_id
        self.notice.show(f"Editing {'your last' if last else 'an earlier'} message. {keys}", stay=True)
        chat.view.show_hints()

    async def cancel_edit(self) -> bool:
        """Restore the draft that editing replaced; False if nothing is edited."""
        chat = self._chat
        if self._editing is None:
            return False
        await chat.session.end_edit()
        chat.transcript.clear_selection()
        self.notice.clear()
        self.composer.set_draft(self.composer.kept)
        chat.view.show_hints()
        return True

    # The draft.

    @property
    def draft(self) -> str:
        """The draft as the message that it would be: with its files."""
        return self._chat.session.files.draft(self.composer.draft)

    def show_draft(self, saved: str, draft: str | None) -> None:
        """Show the `saved` draft of the session that came to the screen, or another `draft`."""
        session = self._chat.session
        self.composer.set_draft(session.files.take(saved if draft is None else draft))
        self._saved = session.conversation_id or "", self.draft if draft in {None, saved} else None

    @on(Composer.SaveDue)
    def save(self) -> None:
        """Save the draft of the session on the screen if it was changed here: another window may have changed it, too."""
        chat = self._chat
        self.composer.cancel_save()
        if chat.workspace is not None:
            draft, (before, saved) = (chat.session.conversation_id or "", self.draft), self._saved
            if draft != self._saved:
                if saved and draft[0] != before:  # the new conversation has its id now
                    chat.opened.saver.save_draft(before, "")
                chat.opened.saver.save_draft(*draft)
                self._saved = draft

    @on(TextArea.Changed)
    async def _draft_changed(self) -> None:
        chat = self._chat
        if chat.workspace is not None:
            if chat.session.replying:
                chat.transcript.defer_redraw()
            chat.session.context.draft_changed()
        if not self.composer.text and self.composer.kept and self._editing is None and self.composer.recalled_files is None:
            self.composer.return_draft()  # the command in its place was sent or removed
        await self.list_commands()
        chat.view.show_hints()

    @on(Composer.Refused)
    def _paste_refused(self, event: Composer.Refused) -> None:
        self._chat.show_error(event.reason)

    # Counting.

    @on(Composer.Edited)
    def measure(self) -> None:
        """Count the draft, and warn if it cannot be sent or would be misread."""
        if self._chat.workspace is not None:
            self._chat.commands.in_background(partial(self._measure, self.composer.text), "draft")

    @on(Composer.Paused)
    def prefill(self) -> None:
        """Prefill a long draft."""
        chat, message = self._chat, parse_input(self.composer.text).message
        if chat.workspace is not None and message and chat.session.editing is None:
            whole = chat.session.with_attachments(message)
            if len(whole) > _LONG:
                chat.session.context.prefill_draft(whole)

    def show_usage(self, usage: ContextUsage) -> None:
        """Show on the frame what the draft takes of the context."""
        self.composer.set_class(not usage.fits, "-over")
        self.composer.border_subtitle = _draft_tokens(usage)

    async def _measure(self, text: str) -> None:
        session = self._chat.session
        message = (parse_input(text).message or "") if text.strip() else ""
        try:
            markup = await session.context.measure(session.with_attachments(message))
        except MistralChatError:
            return  # sending meets the error too, and reports it where it matters
        if session is self._chat.session:
            self._warn(markup or "")

    def _warn(self, markup: str) -> None:
        """Show what is wrong with the draft, once, and clear it when it is corrected."""
        session = self._chat.session
        usage = session.context.usage
        warning = markup if usage is None or usage.fits else _too_long(usage, len(session.attachments))
        if warning == self._warning:
            return
        if warning:
            self.notice.show(warning, severity="warning", stay=True)
        elif self.notice.text == one_line(self._warning, NotificationBar.LONGEST):
            self.notice.clear()
        self._warning = warning

    def _measure_again(self) -> None:
        """Count the draft, and repeat a warning that another notification has replaced."""
        self._warning = ""
        self.measure()

    # Attachments and queued messages.

    async def attach(self, path: Path) -> None:
        """Attach the document at `path`."""
        file = await self._read(self._chat.session, path)
        self.notice.show(_attached(file), stay=bool(file.collection))
        self._measure_again()

    async def _read(self, session: ChatSession, path: Path) -> Attachment:
        """Attach the document at `path` to the draft of `session`, which is not sent meanwhile."""
        self._reading.append(reading := (session, path.name))
        try:
            return await session.files.attach(path)
        finally:
            self._reading.remove(reading)

    @on(Composer.AttachRequested)
    def _attach_requested(self) -> None:
        if self._chat.workspace is None:
            self.composer.insert("@")
        else:
            self._chat.commands.in_background(partial(choose_file, self._chat, "@"), "dialog")

    @on(Composer.AttachmentPasted)
    async def _attachment_pasted(self, event: Composer.AttachmentPasted) -> None:
        if self._chat.workspace is None:
            self.composer.paste_text(event.text)
        elif event.path is None:
            await self._attach_pasted(event.text, None)
        else:  # a long document takes minutes, and keys are answered meanwhile
            self._chat.commands.in_background(partial(self._attach_pasted, event.text, event.path))

    async def _attach_pasted(self, text: str, path: Path | None) -> None:
        """Attach a file that was dropped, or a long text; undo pastes its path or the text.

        What cannot be attached is pasted as text.
        """
        chat, session = self._chat, self._chat.session
        try:
            file = await (session.files.attach_paste(text) if path is None else self._read(session, path))
        except MistralChatError as error:
            pasted = ""
            if session is chat.session:
                self.composer.paste_text(text)
                pasted = "" if path is None else " Its path was pasted."
            chat.show_error(f"{error}{pasted}")
            return

        async def undo() -> None:
            if session is not chat.session or file not in session.attachments:
                raise UsageError("The attachment was sent or removed, or is in another conversation.")
            await session.files.remove(file)
            self.composer.paste_text(text)

        session.environment.undo.append(("attach", undo))
        self.composer.attached = self.composer.attached is None and path is None
        offer = f"{chat.key_of('chat.undo')} pastes {'it as text' if path is None else 'its path'} instead"
        self.notice.show(_attached(file), action=offer, on_action=partial(chat.action_command, "chat.undo"))
        self._measure_again()

    @on(Composer.Recalled)
    async def _attach_recalled(self) -> None:
        """Attach the files of a recalled message; the draft gets its own attachments again."""
        with self._chat.commands.errors_shown():
            session, recalled = self._chat.session, self.composer.recalled_files
            if session.editing is not None:
                return  # editing has begun in the meantime
            if recalled is not None:
                session.files.put_aside(recalled)
            else:
                session.files.take_back()
            await session.files.changed()

    def on_attachment_bar_opened(self, event: AttachmentBar.Opened) -> None:
        """Show the text of an attachment; one by passages has none."""
        from mistral_chat.ui.dialogs.passage import PassageDialog

        if event.file.collection:
            self.notice.show(_attached(event.file))
        else:
            self.app.push_screen(PassageDialog(event.file.name, event.file.text))

    async def on_attachment_bar_removed(self, event: AttachmentBar.Removed) -> None:
        """Remove an attachment; a key that is held may ask for it again."""
        with self._chat.commands.errors_shown():
            session, file = self._chat.session, event.file
            if file not in session.attachments:
                return
            await session.files.remove(file)
            session.environment.undo.append(("remove an attachment", lambda: session.files.add(file)))
            self._chat.show_undoable(f"Removed {file.name}.")

    async def show_attachments(self) -> None:
        """Show the attachments of the draft, and save them with it."""
        from mistral_chat.ui.widgets.attachment_bar import AttachmentBar

        files = self._chat.session.attachments
        if files and not self.query(AttachmentBar):
            await self.mount(AttachmentBar(), before=self.composer)
        for bar in self.query(AttachmentBar):
            if not files and bar.has_focus:
                self._chat.set_focus(self.composer)
            bar.show(files)
            self.measure()
        self.save()
        self._chat.view.show_hints()

    async def show_queue(self) -> None:
        """Show the queued messages."""
        from mistral_chat.ui.widgets.queued_messages import QueuedMessages

        if self._chat.session.queue and not self.query(QueuedMessages):
            await self.mount(QueuedMessages(), before=self.composer)
        # Read only now: while the widget was being mounted, the first message may have been sent.
        rows = [[*(f"▤ {file.name}" for file in each.attachments), each.draft] for each in self._chat.session.queue]
        for queued in self.query(QueuedMessages):
            queued.show(["  ".join(filter(None, row)) for row in rows if any(row)])

    # Commands.

    async def list_commands(self) -> None:
        """Show the commands that match the draft, except a rejected one."""
        text = self.composer.text
        if self._refused:
            if text == self._refused:
                return
            self._refused = ""
            self.notice.clear()
        found = await self._rows(text)
        if self.composer.text != text:
            return
        if found and self.composer.menu is None:
            from mistral_chat.ui.widgets.slash_menu import SlashMenu

            self.composer.menu = SlashMenu()
            await self.mount(self.composer.menu, before=self.composer)
        if self.composer.menu is not None:
            self.composer.menu.show(found)

    def on_slash_menu_taken(self, event: SlashMenu.Taken) -> None:
        """Put the command into the message box."""
        self.composer.text = f"/{event.name} "

    @on(Composer.CompletionRequested)
    async def _complete(self) -> None:
        """Complete a command's name, or the path after the command that takes one."""
        text = self.composer.text
        if text.startswith(_ATTACH):
            path, found = await asyncio.to_thread(complete_path, text.removeprefix(_ATTACH))
            if self.composer.text == text:
                self.composer.text = _ATTACH + path
                more = f"  and {len(found) - _NAMES} more" if len(found) > _NAMES else ""
                self.notice.show(("  ".join(found[:_NAMES]) + more) if found else "No such file.")
            return
        rows = await self._rows(text)
        if rows and self.composer.text == text:
            shared = f"/{common_beginning(sorted(row.name for row in rows))}"
            if shared.startswith(text):
                self.composer.text = shared + (" " if len(rows) == 1 and rows[0].argument else "")

    async def _rows(self, text: str) -> list[SlashRow]:
        """The commands that the draft may be the beginning of, or what the argument of its command may be."""
        found = [_row(each, text[1:]) for each in matching(text)]
        name, space, begun = text.partition(" ")
        wanted = command_of(name) if space and "\n" not in text else None
        if wanted is None or wanted.values is None or self._chat.workspace is None:
            self._values = "", ()
            return found
        if self._values[0] != wanted.id:
            self._values = wanted.id, await self._chat.commands.values_of(wanted)
        return _value_rows(wanted, name[1:], begun, self._values[1])


def _draft_tokens(usage: ContextUsage) -> str:
    """The token count on the frame of the message box."""
    if not usage.draft:
        return ""
    if not usage.fits:
        return f"{usage.draft:,} / {usage.max_message_tokens:,} tokens"
    tokens = counted(usage.draft, "token")
    return f"{tokens} · oldest messages will drop out" if usage.evicts else tokens


def _too_long(usage: ContextUsage, files: int) -> str:
    """The warning about a draft that does not fit."""
    with_files = f" with {counted(files, 'attachment')}" if files else ""
    return (
        f"Too long{with_files}: {usage.draft:,} tokens, {usage.max_message_tokens:,} available. "
        f"Remove at least {usage.draft - usage.max_message_tokens:,} tokens to send it."
    )


def _attached(file: Attachment) -> str:
    """The notice about an attached file: whether the model is given all of it."""
    if not file.collection:
        return f"Attached {file.name} in full." if not file.pasted else f"Attached {file.name}."
    size = f"{file.tokens:,} tokens" if file.tokens else "long"
    return f"Attached {file.name} ({size}). Each message uses matching passages from it. /docs detaches it."


def _row(command: Command, begun: str) -> SlashRow:
    """A command as the menu shows it, by the name that was begun, with the first words of its help."""
    from mistral_chat.ui.widgets.slash_menu import SlashRow

    name = next((name for name in command.names if name.startswith(begun)), command.slash)
    return SlashRow(name, command.argument, re.split(r"[.;,] | \(", command.help)[0])


def _value_rows(command: Command, name: str, begun: str, values: Sequence[tuple[str, str]]) -> list[SlashRow]:
    """What the argument of a command may be, as the menu shows it."""
    from mistral_chat.ui.widgets.slash_menu import SlashRow

    more = command.argument.partition(" ")[2]
    fitting = [(value, about) for value, about in values if begun.casefold() in value.casefold()]
    if any(begun == value for value, _ in fitting):
        # It is written out, and Enter runs it; only what follows it may still be missing.
        fitting = [(value, about) for value, about in fitting if begun == value and more]
    return [SlashRow(f"{name} {value}", more, about) for value, about in fitting]
