"""Files that go along with a message: attached by path or by dropping them, shown with what they cost, sent with the draft."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from textual import on, work
from textual.binding import Binding

from mistral_chat.attachments import attached, compose, read_text
from mistral_chat.errors import InvalidText, MistralChatError
from mistral_chat.ui.dropped import completed, typed_path
from mistral_chat.ui.screens.titling import TitlingScreen
from mistral_chat.ui.shown import ShownFile
from mistral_chat.ui.widgets.composer import Composer
from mistral_chat.ui.widgets.file_bar import FileBar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from mistral_chat.chat import Chat, ChatEvent
    from mistral_chat.ui.rooms import Rooms

_OFFERED: Final = 12
"""Names shown while a path is completed."""

_COMMAND: Final = "/attach "

FILE_BINDINGS: Final = (
    Binding(
        "alt+o",
        "attach",
        "Attach a file",
        tooltip="Send a text file along with the next message",
        id="chat.attach",
        show=False,
        priority=True,
    ),
)
"""The keys for files."""


@dataclass(slots=True, eq=False)
class _File:
    """A file that was read: what the model gets is what stood in it then."""

    name: str
    text: str
    bytes: int
    tokens: int | None = None


@dataclass(slots=True, eq=False)
class _Parcel:
    """Files on their way with a message."""

    place: tuple[bool, str]
    files: list[_File]
    begun: bool = False
    """Whether its message is not only waiting any more."""


class AttachingScreen(TitlingScreen):
    """Keeps the files of each draft while the program runs. A message that is not kept gives its files back."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self._files: dict[tuple[bool, str], list[_File]] = {}
        self._parcels: list[_Parcel] = []
        self._folder = ""
        """Where a file was looked for last."""

    @property
    def _place(self) -> tuple[bool, str]:
        """Which draft the files on the screen belong to."""
        return self.rooms.saved, self.page.conversation_id or ""

    async def do_attach(self, typed: str) -> None:
        """Send a text file along with the next message; without a name, ask which.

        Raises:
            InvalidText: it cannot be read, is too large, or is no text.
        """
        if typed:
            await self.attach(typed_path(typed))
        else:
            self.action_attach()

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_attach(self) -> None:
        """Ask for a text file that goes along with the next message."""
        from mistral_chat.ui.screens.attach import AttachScreen

        self._folder = await self.app.push_screen_wait(AttachScreen(self.attach, self._folder))

    async def attach(self, path: Path) -> None:
        """Send the text file at `path` along with the next message.

        Raises:
            InvalidText: it cannot be read, is too large, or is no text.
        """
        file = await self._take(path)
        self.notice.show(f"“{file.name}” goes along with the next message.")
        self._weigh_again()

    async def on_composer_file_pasted(self, event: Composer.FilePasted) -> None:
        """Attach a file that was dropped; undoing that pastes its path. What cannot be attached is pasted as it is."""
        composer, place = self.composer, self._place
        try:
            file = await self._take(event.path)
        except MistralChatError as error:
            composer.paste_text(event.text)
            self.notice.show(f"{error} Its path was pasted.", severity="warning")
            return

        async def take_back() -> None:
            self._drop(place, file)
            composer.paste_text(event.text)

        self.deeds.did("attach", take_back)
        self.notice.show(
            f"“{file.name}” goes along with the next message.", action=f"{self.key_of('chat.undo')} pastes its path instead"
        )
        self._weigh_again()

    @on(Composer.CompletionAsked)
    async def _complete_path(self) -> None:
        """Complete a path after the command that takes one."""
        draft = self.composer.text
        if not draft.startswith(_COMMAND):
            return
        path, found = await asyncio.to_thread(completed, draft.removeprefix(_COMMAND))
        if self.composer.text == draft:
            self.composer.set_draft(_COMMAND + path)
            more = f"  and {len(found) - _OFFERED} more" if len(found) > _OFFERED else ""
            self.notice.show(("  ".join(found[:_OFFERED]) + more) if found else "There is no such file.")

    def on_file_bar_removed(self, event: FileBar.Removed) -> None:
        """Do not send a file."""
        place = self._place
        file = self._files[place][event.place]
        self._drop(place, file)

        async def take_back() -> None:
            self._files.setdefault(place, []).append(file)
            await self.show_files()

        self.deeds.did("take a file away", take_back)
        self.notice.show(f"“{file.name}” is not sent.", action=f"{self.key_of('chat.undo')} undoes it")

    async def show_turns(self) -> None:
        """Show the conversation on the screen, and the files of its draft."""
        await super().show_turns()
        await self.show_files()

    def model_ready(self) -> None:
        """Count what could not be counted before."""
        super().model_ready()
        self._count()

    def send(self, text: str, begin: Callable[[Chat], AsyncGenerator[ChatEvent, None]] | None = None) -> None:
        """Say `text` as `ReplyingScreen` does, with the files of the draft where it is a message."""
        files = self._files.get(self._place, [])
        if begin is not None or not files or self.store is None or self.trouble is not None:
            super().send(text, begin)
            return
        parcel = _Parcel(self._place, files)
        del self._files[self._place]
        self._parcels.append(parcel)
        self._list_files()

        def deliver(chat: Chat) -> AsyncGenerator[ChatEvent, None]:
            parcel.begun = True
            return self._deliver(parcel, text, chat)

        super().send(text, deliver)

    async def _deliver(self, parcel: _Parcel, text: str, chat: Chat) -> AsyncGenerator[ChatEvent, None]:
        """Send `text` with its files, which come back where it is not kept."""
        whole = compose([(file.name, file.text) for file in parcel.files], "", text)
        try:
            async with aclosing(chat.send(whole)) as events:
                async for event in events:
                    if parcel in self._parcels:
                        self._parcels.remove(parcel)
                    yield event
        finally:
            self._return(parcel)

    def _give_back(self) -> None:
        """Give back what waits, and its files."""
        super()._give_back()
        for parcel in [parcel for parcel in self._parcels if not parcel.begun]:
            self._return(parcel)

    def _return(self, parcel: _Parcel) -> None:
        if parcel in self._parcels:
            self._parcels.remove(parcel)
            self._files.setdefault(parcel.place, []).extend(parcel.files)
            self._list_files()

    async def _take(self, path: Path) -> _File:
        place = self._place
        if not await asyncio.to_thread(path.is_file):
            raise InvalidText(f"{path} is not a file that can be read. Check its path.")
        text = await asyncio.to_thread(read_text, path)
        file = _File(path.name, text, len(text.encode()))
        file.tokens = await asyncio.to_thread(self._tokens, file)
        facts = self.runner.facts if self.runner is not None else None
        if facts is not None and file.tokens is not None and file.tokens > facts.window:
            raise InvalidText(
                f"{path.name} takes {file.tokens:,} tokens, and the model's window holds {facts.window:,}. Send a part of it."
            )
        self._files.setdefault(place, []).append(file)
        await self.show_files()
        return file

    def whole(self, message: str) -> str:
        """What is sent for `message`, with the files of the draft. A message that is said anew keeps what it had."""
        files = self._files.get(self._place, []) if self.editing is None else []
        return compose([(file.name, file.text) for file in files], "", message) if files else message

    def along(self) -> str:
        """Name the files of the draft, where there are any."""
        files = self._files.get(self._place, []) if self.editing is None else []
        return f" with its {'file' if len(files) == 1 else f'{len(files)} files'}" if files else ""

    def _weigh_again(self) -> None:
        """Weigh the draft with its files, and say anew what is wrong with it."""
        self._warned = ""
        self._weigh_draft()

    def _tokens(self, file: _File) -> int | None:
        return self.runner.count(attached(file.name, file.text)) if self.runner is not None else None

    def _drop(self, place: tuple[bool, str], file: _File) -> None:
        self._files[place] = [each for each in self._files.get(place, []) if each is not file]
        self._list_files()
        if not self._files[place]:
            del self._files[place]
            self.set_focus(self.composer)

    @work(group="counting", exclusive=True, exit_on_error=False)
    async def _count(self) -> None:
        for file in [file for files in self._files.values() for file in files]:
            file.tokens = await asyncio.to_thread(self._tokens, file)
        self._list_files()

    async def show_files(self) -> None:
        """Show the files of the draft on the screen; the bar comes with the first of them."""
        if self._files and not self.query(FileBar):
            await self.query_one("#desk").mount(FileBar(), before=self.composer)
        self._list_files()

    def _list_files(self) -> None:
        for bar in self.query(FileBar):
            files = self._files.get(self._place, [])
            bar.show([ShownFile(name=file.name, bytes=file.bytes, tokens=file.tokens) for file in files])
            self._weigh_draft()
