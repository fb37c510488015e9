"""The trash: deleted conversations, to restore or delete permanently."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final

from textual import on, work
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Button, OptionList
from textual.widgets.option_list import Option

from mistral_chat.errors import StoreError
from mistral_chat.formatting import counted
from mistral_chat.text import one_line
from mistral_chat.ui.dialogs.base import Dialog, button_row, frame, status_line
from mistral_chat.ui.dialogs.confirm import ConfirmDialog
from mistral_chat.ui.keymap import key_binding

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.app import ComposeResult

    from mistral_chat.store.records import ConversationSummary
    from mistral_chat.store.store import ConversationStore

_LISTED: Final = 1000


class TrashDialog(Dialog[str]):
    """Lists the trash; the result is the id of the restored conversation, or None."""

    HELP = """\
    ## Trash

    **Enter** restores the selected conversation. **d**, **Delete** or **Backspace** deletes it permanently, after a question.
    **Esc** closes the trash.
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding(
            "trash.destroy", "delete,backspace,d", "destroy", "Delete permanently", "Delete the conversation permanently"
        ),
    ]

    def __init__(
        self,
        store: ConversationStore,
        *,
        restore: Callable[[str], Awaitable[object]],
        delete: Callable[[str | None], Awaitable[bool]],
    ) -> None:
        """List the trash of `store`.

        Args:
            store: is only read here.
            restore: restores the conversation with an id; raises `StoreError`.
            delete: deletes the conversation with an id permanently, None all in the trash; returns whether no trace is left.
                Raises `StoreError`.
        """
        super().__init__()
        self._store = store
        self._put_back = restore
        self._delete = delete
        self._deletion: asyncio.Task[str] | None = None
        self._titles: dict[str, str] = {}
        """The titles of the conversations listed, by their ids."""

    def compose(self) -> ComposeResult:
        """Show the conversations and what can be done with them."""
        with frame("Trash", hints=(("Enter", "restore"), ("d", "delete permanently"), ("Esc", "close")), classes="tall"):
            yield status_line()
            yield OptionList(markup=False, compact=True)
            yield button_row([("restore", "Restore"), ("destroy", "Delete permanently"), ("empty", "Empty trash")])

    def on_mount(self) -> None:
        """List the trash."""
        self._show()
        self.listed.focus()

    @on(OptionList.OptionSelected)
    @work(group="restore", exclusive=True, exit_on_error=False)
    async def action_restore(self) -> None:
        """Restore the selected conversation."""
        if (selected := self.marked) is not None:
            try:
                await self._put_back(selected)
            except StoreError as error:
                self.show_status(str(error), warning=True)
            else:
                self.dismiss(selected)

    def action_destroy(self) -> None:
        """Delete the selected conversation permanently, after a question."""
        if (selected := self.marked) is not None:
            self._destroy(selected, f"Delete “{one_line(self._titles[selected], 60) or 'New conversation'}” permanently?")

    def action_empty(self) -> None:
        """Delete everything in the trash permanently, after a question."""
        if self._titles:
            self._destroy(None, "Empty the trash?")

    @work(group="destroy", exclusive=True, exit_on_error=False)
    async def _destroy(self, conversation_id: str | None, question: str) -> None:
        count = len(self._titles) if conversation_id is None else 1
        what = "This" if count == 1 else f"This deletes {count:,} conversations and"
        if not await self.app.push_screen_wait(ConfirmDialog(question, f"{what} cannot be undone.", yes="Delete", no="Keep")):
            return
        self.show_status("Deleting…")
        # Leaving the dialog ends this worker, but not a deletion.
        self._deletion = asyncio.create_task(self._delete_now(conversation_id))
        result = await asyncio.shield(self._deletion)
        self._show()
        if result:
            self.show_status(result)

    async def _delete_now(self, conversation_id: str | None) -> str:
        """Delete a conversation, None all; return what remains to be said."""
        try:
            traceless = await self._delete(conversation_id)
        except StoreError as error:
            return str(error)
        return (
            ""
            if traceless
            else "Deleted. The remaining data will be erased later because the database is in use or the disk is full."
        )

    def _show(self) -> None:
        try:
            found = self._store.summaries(where="trash", limit=_LISTED)
        except StoreError as error:
            self.show_status(str(error), warning=True)
            return
        self.listed.set_options([Option(_line(summary), id=summary.conversation_id) for summary in found])
        self.listed.highlighted = 0
        self._titles = {summary.conversation_id: summary.title for summary in found}
        self.show_status(counted(len(found), "conversation") if found else "The trash is empty.")
        for button in self.query(Button):
            button.disabled = not found


def _line(summary: ConversationSummary) -> Content:
    title = one_line(summary.title, 70) or "New conversation"
    if summary.trashed is None:
        return Content(title)
    return Content.assemble(title, "  ", (f"deleted {summary.trashed.astimezone():%d %B %Y}", "$text-quiet"))
