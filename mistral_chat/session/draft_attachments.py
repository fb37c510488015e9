"""The attachments of a draft: added, removed and counted, and put aside while a message is edited or recalled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_chat.message_form import PASTED, format_attachment, split_message
from mistral_chat.session.attachments import Attachment, draft_of
from mistral_chat.session.events import AttachmentsChanged

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mistral_chat.message_form import FileText
    from mistral_chat.session.events import Emit
    from mistral_chat.session.grounding import Grounding
    from mistral_chat.session.model_host import ModelHost


class DraftAttachments:
    """The attachments of a conversation's draft; while a message is edited or recalled, those of that message."""

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
        self._others: Sequence[Attachment] = ()
        """What took the place of those that are put aside."""
        self._shown: Sequence[FileText] = ()
        """The same as files of their message."""

    @property
    def own(self) -> list[Attachment]:
        """The files of the draft, and those that were added to what took their place."""
        if self._aside is None:
            return list(self.files)
        return [*self._aside, *(file for file in self.files if file not in self._others)]

    def draft(self, text: str) -> str:
        """The draft with this `text` as it is saved: the message that it would be."""
        return draft_of(self.own, text)

    def take(self, draft: str) -> str:
        """Attach the files of a saved draft that are not attached here, and return its text; `changed` reports it."""
        files, text = split_message(draft)
        here = {(file.name, file.text.rstrip()) for file in self.files}
        self.files.extend(Attachment.of_message(file) for file in files if file not in here)
        return text

    async def attach(self, path: Path) -> Attachment:
        """Attach the document at `path`: whole, or by passages as a collection; see `Grounding.read_file`.

        Raises:
            InvalidText: it cannot be read, holds no text, or is too large and there is nothing to find passages with.
        """
        drafting = self._aside is None
        file = await self._grounding.read_file(path)
        await self.add(file, to_draft=drafting)
        return file

    async def attach_paste(self, text: str) -> Attachment:
        """Attach a long paste. One that is too long is attached as well: the draft's count says so."""
        pasted = sum(file.pasted for file in self.files)
        file = Attachment(f"{PASTED} {pasted + 1}" if pasted else PASTED, text, pasted=True)
        await self._count(file)
        await self.add(file)
        return file

    async def add(self, file: Attachment, *, to_draft: bool = False) -> None:
        """Attach a file that was already read, or give it to the draft, which may be put aside."""
        if file.collection:
            async with self._grounding.attaching:  # two files may be read at once
                await self._grounding.attach(*{*self._grounding.collections, file.collection})
        if not file.collection or all(each.collection != file.collection for each in self.own):
            (self._aside if to_draft and self._aside is not None else self.files).append(file)
            await self.changed()

    async def remove(self, file: Attachment) -> None:
        """Remove an attachment; one by passages is detached from the conversation, too."""
        if file.collection:
            async with self._grounding.attaching:
                await self._grounding.attach(*(name for name in self._grounding.collections if name != file.collection))
        await self.replace([each for each in self.files if each is not file])

    async def drop_detached(self) -> None:
        """Remove the files by passages whose collections are not attached any more."""
        attached = {"", *self._grounding.collections}
        if self._aside is not None:
            self._aside = [file for file in self._aside if file.collection in attached]
        await self.replace([file for file in self.files if file.collection in attached])

    async def replace(self, files: Sequence[Attachment]) -> None:
        """Attach `files` and nothing else."""
        if files or self.files:
            self.files[:] = files
            await self.changed()

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

    def give_away(self) -> list[Attachment]:
        """Return the files of the draft, which goes elsewhere; keep only those by passages, which belong to the conversation."""
        own, self._aside = self.own, None
        self.files[:] = [file for file in own if file.collection]
        return [file for file in own if not file.collection]

    def give(self, files: Sequence[Attachment]) -> None:
        """Add files to those of the draft, which may be put aside, each once; `changed` reports it."""
        own = self.files if self._aside is None else self._aside
        here = {(file.name, file.text.rstrip(), file.collection) for file in own}
        own.extend(file for file in files if (file.name, file.text.rstrip(), file.collection) not in here)

    def put_aside(self, others: Sequence[FileText]) -> None:
        """Put the files of a message in the place of those of the draft, until `take_back`; `changed` reports it."""
        if self._aside is None or self._shown != others:
            self._aside, self._shown, self._others = self.own, others, [Attachment.of_message(file) for file in others]
            self.files[:] = self._others

    def take_back(self, *, added: bool = True) -> bool:
        """Attach the files of the draft again, and those `added` to what took their place; False if they were not put aside.

        `changed` reports it.
        """
        if self._aside is None:
            return False
        self.files[:], self._aside = self.own if added else self._aside, None
        return True

    def keep(self) -> None:
        """Make what took the place of the draft's files its own."""
        self._others = ()

    async def _count(self, file: Attachment) -> None:
        text = "" if file.collection else format_attachment(file.name, file.text)
        file.tokens = await self._host.count(text)
