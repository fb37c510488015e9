"""The attachments of a draft: added, removed and counted, and put aside while a message is edited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mistral_chat.message_form import PASTED, build_message, format_attachment, split_message
from mistral_chat.session.attachments import Attachment
from mistral_chat.session.events import AttachmentsChanged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mistral_chat.session.events import Emit
    from mistral_chat.session.grounding import Grounding
    from mistral_chat.session.model_host import ModelHost


class DraftAttachments:
    """The attachments of a conversation's draft; while a message is edited, those of that message."""

    def __init__(self, host: ModelHost, grounding: Grounding, emit: Emit) -> None:
        """Start without files.

        Args:
            host: counts them.
            grounding: reads documents, and searches those that are attached by passages.
            emit: takes an event after each change.
        """
        self._host = host
        self._grounding = grounding
        self._emit = emit
        self.files: list[Attachment] = []
        self._aside: list[Attachment] | None = None
        self._attaching = asyncio.Lock()

    async def attach(self, path: Path) -> Attachment:
        """Attach the document at `path`: whole, or by passages as a collection; see `Grounding.read_file`.

        Raises:
            InvalidText: it cannot be read, holds no text, or is too large and there is nothing to find passages with.
        """
        file = await self._grounding.read_file(path)
        await self.add(file)
        return file

    async def attach_paste(self, text: str) -> Attachment:
        """Attach a long paste. One that is too long is attached as well: the draft's count says so."""
        pasted = sum(file.pasted for file in self.files)
        file = Attachment(f"{PASTED} {pasted + 1}" if pasted else PASTED, text, pasted=True)
        await self._count(file)
        await self.add(file)
        return file

    async def add(self, file: Attachment) -> None:
        """Attach a file that was already read."""
        if file.collection:
            async with self._attaching:  # two files may be read at once
                await self._grounding.attach(*{*self._grounding.collections, file.collection})
        await self.replace([*self.files, file])

    async def remove(self, file: Attachment) -> None:
        """Remove an attachment; one by passages is detached from the conversation, too."""
        if file.collection:
            async with self._attaching:
                await self._grounding.attach(*(name for name in self._grounding.collections if name != file.collection))
        await self.replace([each for each in self.files if each is not file])

    async def replace(self, files: Sequence[Attachment]) -> None:
        """Attach `files` and nothing else."""
        if files or self.files:
            self.files[:] = files
            await self.changed()

    def with_pastes(self, draft: str) -> str:
        """A draft as it is kept for the next run of the program: with the attached pastes, which are in no file."""
        pasted = [(file.name, file.text) for file in self.files if file.pasted]
        return build_message(pasted, "", draft) if pasted else draft

    def take_pastes(self, draft: str) -> str:
        """Attach the pastes in a draft that `with_pastes` made, and return the rest of it; `changed` reports them."""
        message = split_message(draft)
        if not message.files or not all(file.name.startswith(PASTED) for file in message.files):
            return draft
        self.files += map(Attachment.of_message, message.files)
        return message.rest

    async def changed(self) -> None:
        """Report a change, and count what was not counted."""
        await self._emit(AttachmentsChanged())
        if any(file.tokens is None for file in self.files):
            await self.count()

    async def count(self) -> None:
        """Count the tokens of files attached before a model was loaded."""
        for file in list(self.files):
            await self._count(file)
        await self._emit(AttachmentsChanged())

    def put_aside(self, files: Sequence[Attachment]) -> None:
        """Put `files` in the place of those of the draft, until `take_back`; `changed` reports it."""
        if self._aside is None:
            self._aside = list(self.files)
        self.files[:] = files

    def take_back(self) -> bool:
        """Attach the files of the draft again; False if they were not put aside. `changed` reports it."""
        if self._aside is None:
            return False
        self.files[:], self._aside = self._aside, None
        return True

    async def _count(self, file: Attachment) -> None:
        text = "" if file.collection else format_attachment(file.name, file.text)
        file.tokens = await self._host.count(text)
