"""The draft: sending, editing a message in place, counting, attachments, and typed commands."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from mistral_chat.errors import MistralChatError
from mistral_chat.formatting import counted
from mistral_chat.text import one_line
from mistral_chat.ui.commands import Command, command_of, matching, parse_input
from mistral_chat.ui.path_completion import common_beginning, complete_path
from mistral_chat.ui.widgets.notification_bar import NotificationBar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mistral_chat.conversation import TranscriptTurn
    from mistral_chat.message_form import FileText
    from mistral_chat.session.attachments import Attachment
    from mistral_chat.session.context import ContextUsage
    from mistral_chat.ui.screens.chat import ChatScreen
    from mistral_chat.ui.widgets.slash_menu import SlashRow

_LONG: Final = 200
"""Minimum characters of a draft that is prefilled; a shorter one takes no time."""

_NAMES: Final = 12
"""Number of names shown while completing a path."""

_ATTACH: Final = "/attach "


class Draft:
    """The behaviour of the text in the message box."""

    def __init__(self, screen: ChatScreen) -> None:
        """Serve `screen`."""
        self._screen = screen
        self._warning = ""
        """What is wrong with the draft, while the notification says so."""
        self._refused = ""
        """A rejected command, while it is unchanged in the message box."""
        self._noticed = False
        """Whether the notification is about the command in the message box."""
        self._replaced = ""
        """The draft that the message being edited replaced."""
        self._own: list[Attachment] = []
        """The attachments of the draft, while a recalled message with its own is in the message box."""
        self._values: tuple[str, Sequence[tuple[str, str]]] = ("", ())
        """The id of the command whose argument is being typed, and what the argument may be."""

    # Sending.

    async def submit(self, text: str) -> None:
        """Send a draft, or run it as a command.

        What is refused returns to the message box. An empty draft sends the attachments, if there are any.
        """
        from mistral_chat.session.reply import EditMessage, NewMessage

        screen = self._screen
        if not text and (screen.workspace is None or not screen.session.attachments):
            return
        parsed = parse_input(text)
        request: EditMessage | NewMessage | None = None
        if screen.workspace is not None and screen.session.editing is not None:
            request = EditMessage(screen.session.editing, text)
        elif parsed.message is not None:
            request = NewMessage(parsed.message)
        elif parsed.command is None:
            self.put(text, parsed.refusal, warning=True)
        else:
            await screen.commands.run(parsed.command, parsed.argument, text)
        if request is None:
            return
        screen.notice.clear()
        try:
            await screen.session.send(request)
        except MistralChatError as error:
            if request.text:
                screen.composer.set_draft(request.text)
            screen.show_error(str(error))
            if screen.workspace is not None:
                screen.models.offer()
        if isinstance(request, EditMessage) and not screen.composer.text:
            screen.composer.set_draft(self._replaced)

    def put(self, text: str, notice: str, *, warning: bool = False) -> None:
        """Put a command into the message box, with a notification that stays while the command is unchanged."""
        screen = self._screen
        screen.composer.restore_draft(text)
        self._refused = screen.composer.text
        screen.notice.show(notice, severity="warning" if warning else "information", stay=True)
        self._noticed = True

    # Editing.

    def begin_edit(self, turn: TranscriptTurn) -> None:
        """Load a message into the message box for editing, and its files above it."""
        screen = self._screen
        if screen.session.editing is None:
            self.save()
            self._replaced = screen.composer.text
        screen.composer.set_draft(screen.session.begin_edit(turn))
        screen.commands.in_background(screen.session.files.changed)
        keys = f"{screen.key_of('composer.send')} sends it, {screen.key_of('chat.stop')} cancels."
        last = turn.turn_id == screen.transcript.last_id
        screen.notice.show(f"Editing {'your last' if last else 'an earlier'} message. {keys}", stay=True)
        screen.view.show_hints()

    async def cancel_edit(self) -> bool:
        """Restore the draft that editing replaced; False if nothing is edited."""
        screen = self._screen
        if screen.workspace is None or screen.session.editing is None:
            return False
        await screen.session.end_edit()
        screen.transcript.clear_selection()
        screen.notice.clear()
        screen.composer.set_draft(self._replaced)
        screen.view.show_hints()
        return True

    def save(self) -> None:
        """Save the draft of the session on the screen."""
        screen = self._screen
        screen.composer.cancel_save()
        if screen.workspace is not None and screen.session.editing is None:
            screen.opened.saver.save_draft(screen.session.conversation_id or "", screen.composer.text)

    # Counting.

    def measure(self, *, again: bool = False) -> None:
        """Count the draft, and warn if it cannot be sent or would be misread; `again` repeats a warning."""
        if again:
            self._warning = ""
        if self._screen.workspace is not None:
            measure = partial(self._measure, self._screen.composer.text)
            self._screen.commands.in_background(measure, "draft", exclusive=True)

    def prefill(self) -> None:
        """Prefill a long draft."""
        if self._screen.workspace is None:
            return
        session = self._screen.session
        message = parse_input(self._screen.composer.text).message
        whole = session.with_attachments(message) if message else ""
        if len(whole) > _LONG and session.editing is None:
            session.context.prefill_draft(whole)

    async def _measure(self, text: str) -> None:
        session = self._screen.session
        message = (parse_input(text).message or "") if text.strip() else ""
        try:
            markup = await session.context.measure(session.with_attachments(message))
        except MistralChatError:
            return  # sending meets the error too, and reports it where it matters
        if session is self._screen.session:
            self._warn(markup or "")

    def _warn(self, markup: str) -> None:
        """Show what is wrong with the draft, once, and clear it when it is corrected."""
        session, notice = self._screen.session, self._screen.notice
        usage, warning = session.context.usage, markup
        if usage is not None and not usage.fits:
            warning = _too_long(usage, len(session.attachments))
        if warning == self._warning:
            return
        if warning:
            notice.show(warning, severity="warning", stay=True)
        elif notice.text == one_line(self._warning, NotificationBar.LONGEST):
            notice.clear()
        self._warning = warning

    # Attachments.

    async def attach(self, path: Path) -> None:
        """Attach the document at `path`."""
        file = await self._screen.session.files.attach(path)
        self._screen.notice.show(_attached(file), stay=bool(file.collection))
        self.measure(again=True)

    async def attach_pasted(self, path: Path | None, text: str) -> None:
        """Attach a file that was dropped, or a long text; undo pastes its path or the text.

        What cannot be attached is pasted as text.
        """
        screen = self._screen
        if screen.workspace is None:
            screen.composer.paste_text(text)
            return
        session, what = screen.session, "it as text" if path is None else "its path"
        try:
            file = await (session.files.attach_paste(text) if path is None else session.files.attach(path))
        except MistralChatError as error:
            screen.composer.paste_text(text)
            screen.show_error(str(error) if path is None else f"{error} Its path was pasted.")
            return

        async def undo() -> None:
            if session is screen.session and file in session.attachments:
                await session.files.remove(file)
                screen.composer.paste_text(text)

        session.environment.undo.push("attach", undo)
        offer = f"{screen.key_of('chat.undo')} pastes {what} instead"
        screen.notice.show(_attached(file), action=offer, on_action=partial(screen.action_command, "chat.undo"))
        self.measure(again=True)

    async def recall(self, files: Sequence[FileText] | None, *, first: bool) -> None:
        """Attach the files of a message that the message box recalled; None is the draft, with its own attachments again.

        The `first` message takes the place of the draft.
        """
        from mistral_chat.session.attachments import Attachment

        session = self._screen.session
        if files is None:
            recalled = self._own
        else:
            self._own = list(session.attachments) if first else self._own
            recalled = [Attachment.of_message(file) for file in files]
        await session.files.replace(recalled)

    def show_attachment(self, place: int) -> None:
        """Show the text of an attachment; one by passages has none."""
        from mistral_chat.ui.dialogs.passage import PassageDialog

        screen, file = self._screen, self._screen.session.attachments[place]
        if file.collection:
            screen.notice.show(_attached(file))
        else:
            screen.app.push_screen(PassageDialog(file.name, file.text))

    async def remove_attachment(self, place: int) -> None:
        """Remove an attachment."""
        session = self._screen.session
        file = session.attachments[place]
        await session.files.remove(file)
        session.environment.undo.push("remove an attachment", lambda: session.files.add(file))
        self._screen.show_undoable(f"Removed {file.name}.")

    # Commands.

    async def list_commands(self) -> None:
        """Show the commands that match the draft, except a rejected one."""
        screen, text = self._screen, self._screen.composer.text
        if text == self._refused != "":
            return
        self._refused = ""
        if self._noticed:
            self._noticed = False
            screen.notice.clear()
        found = await self._rows(text)
        if screen.composer.text != text:
            return
        if found and screen.composer.menu is None:
            from mistral_chat.ui.widgets.slash_menu import SlashMenu

            screen.composer.menu = SlashMenu()
            await screen.query_one("#desk").mount(screen.composer.menu, before=screen.composer)
        if screen.composer.menu is not None:
            screen.composer.menu.show(found)

    async def complete(self) -> None:
        """Complete a command's name, or the path after the command that takes one."""
        screen = self._screen
        text = screen.composer.text
        if text.startswith(_ATTACH):
            path, found = await asyncio.to_thread(complete_path, text.removeprefix(_ATTACH))
            if screen.composer.text == text:
                screen.composer.set_draft(_ATTACH + path)
                more = f"  and {len(found) - _NAMES} more" if len(found) > _NAMES else ""
                screen.notice.show(("  ".join(found[:_NAMES]) + more) if found else "No such file.")
            return
        rows = await self._rows(text)
        if rows and screen.composer.text == text:
            shared = f"/{common_beginning(sorted(row.name for row in rows))}"
            if shared.startswith(text):
                screen.composer.set_draft(shared + (" " if len(rows) == 1 and rows[0].argument else ""))

    async def _rows(self, text: str) -> list[SlashRow]:
        """The commands that the draft may be the beginning of, or what the argument of its command may be."""
        found = [_row(each, text[1:]) for each in matching(text)]
        name, space, begun = text.partition(" ")
        wanted = command_of(name) if space and "\n" not in text else None
        if wanted is None or wanted.values is None or self._screen.workspace is None:
            self._values = "", ()
            return found
        if self._values[0] != wanted.id:
            self._values = wanted.id, ()
            with suppress(MistralChatError):  # running the command says why there are none
                self._values = wanted.id, await wanted.values(self._screen)
        from mistral_chat.ui.widgets.slash_menu import SlashRow

        more = wanted.argument.partition(" ")[2]
        fitting = [(value, about) for value, about in self._values[1] if begun.casefold() in value.casefold()]
        if any(begun == value for value, _ in fitting):
            # It is written out, and Enter runs it; only what follows it may still be missing.
            fitting = [(value, about) for value, about in fitting if begun == value and more]
        return [SlashRow(f"{name[1:]} {value}", more, about) for value, about in fitting]


def _too_long(usage: ContextUsage, files: int) -> str:
    """The warning about a draft that does not fit."""
    with_files = f" with {counted(files, 'attachment')}" if files else ""
    return (
        f"Too long{with_files}: {usage.draft:,} tokens, {usage.max_message_tokens:,} available. "
        f"Remove {usage.draft - usage.max_message_tokens:,} tokens to send."
    )


def _attached(file: Attachment) -> str:
    """The notice about an attached file: whether the model is given all of it."""
    if not file.collection:
        return f"Attached {file.name} in full." if not file.pasted else f"Attached {file.name}."
    size = f"{file.tokens:,} tokens" if file.tokens else "long"
    return f"Attached {file.name} ({size}). Each message uses matching passages of it. /docs detaches it."


def _row(command: Command, begun: str) -> SlashRow:
    """A command as the menu shows it, by the name that was begun, with the first words of its help."""
    from mistral_chat.ui.widgets.slash_menu import SlashRow

    name = next((name for name in command.names if name.startswith(begun)), command.slash)
    return SlashRow(name, command.argument, re.split(r"[.;,] | \(", command.help)[0])
