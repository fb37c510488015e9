"""The trash: what was deleted, to take back or to destroy."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.errors import StoreError
from mistral_chat.text import one_line
from mistral_chat.ui.dialogs.confirm import ConfirmDialog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from textual.app import ComposeResult

    from mistral_chat.store.records import ConversationSummary
    from mistral_chat.store.store import ConversationStore

_LISTED: Final = 1000


class TrashList(OptionList):
    """What is in the trash."""

    HELP = "## Trash\n\n**Enter** takes the conversation back. **Delete** destroys it for good, after a question.\n"


class TrashButton(Button):
    """One thing to do with the trash."""

    HELP = "## Trash\n\n**Tab** goes from one to the other, **Enter** does it, **Escape** goes back.\n"


class TrashScreen(ModalScreen["str | None"]):
    """Lists the trash; ends with the id of the conversation that was taken back, or None."""

    CSS_PATH = "dialog.tcss"
    HELP = "## Trash\n\n**Enter** takes a conversation back, **Delete** destroys it, **Escape** goes back.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Leave the trash as it is", id="trash.cancel"),
        Binding(
            "delete",
            "destroy",
            "Delete for good",
            tooltip="Destroy the conversation; it cannot be taken back",
            id="trash.destroy",
        ),
    ]

    def __init__(self, store: ConversationStore, forget: Callable[[list[str]], Awaitable[None]]) -> None:
        """List the trash of `store`; `forget` drops what else was kept of conversations that are gone."""
        super().__init__()
        self._store = store
        self._forget = forget
        self._found: list[ConversationSummary] = []

    def compose(self) -> ComposeResult:
        """The list and what can be done."""
        with Vertical(classes="dialog tall"):
            yield Static("Trash", classes="heading", markup=False)
            yield Static("", id="told", markup=False)
            yield TrashList(markup=False, compact=True)
            with Horizontal(classes="buttons"):
                yield TrashButton("Take back", id="restore", variant="primary", compact=True)
                yield TrashButton("Delete for good", id="destroy", compact=True)
                yield TrashButton("Empty the trash", id="empty", compact=True)

    def on_mount(self) -> None:
        """Show what there is."""
        self._show()
        self.query_one(TrashList).focus()

    def action_leave(self) -> None:
        """Leave the trash as it is."""
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    @on(Button.Pressed, "#restore")
    def _restore(self) -> None:
        marked = self._marked()
        if marked is not None:
            self._store.restore(marked.conversation_id)
            self.dismiss(marked.conversation_id)

    @on(Button.Pressed, "#destroy")
    def action_destroy(self) -> None:
        """Destroy the marked conversation, after a question."""
        marked = self._marked()
        if marked is not None:
            self._destroy([marked], f"Delete “{one_line(marked.title, 60) or 'New conversation'}” for good?")

    @on(Button.Pressed, "#empty")
    def _empty(self) -> None:
        if self._found:
            self._destroy(self._found, "Empty the trash?", everything=True)

    @work(group="destroy", exclusive=True, exit_on_error=False)
    async def _destroy(self, doomed: list[ConversationSummary], question: str, *, everything: bool = False) -> None:
        many = "It is" if len(doomed) == 1 else f"All {len(doomed)} conversations are"
        ask = ConfirmDialog(
            question, f"{many} destroyed, with everything that was said. This cannot be taken back.", yes="Delete", no="Keep"
        )
        if not await self.app.push_screen_wait(ask):
            return
        self._tell("Deleting …")
        ids = [one.conversation_id for one in doomed]
        told = ""
        try:
            if not await asyncio.to_thread(_delete, self._store, None if everything else ids[0]):
                told = "Deleted. Another window is reading; the last traces go when it lets go."
        except StoreError as error:
            told = str(error)
        # Whatever happened on the way, nothing else may be kept of what is gone.
        left = {one.conversation_id for one in self._store.summaries(where="trash", limit=-1)}
        await self._forget([one for one in ids if one not in left])
        self._show()
        if told:
            self._tell(told)

    def _marked(self) -> ConversationSummary | None:
        place = self.query_one(TrashList).highlighted
        return self._found[place] if place is not None and place < len(self._found) else None

    def _show(self) -> None:
        self._found = self._store.summaries(where="trash", limit=_LISTED)
        listed = self.query_one(TrashList)
        listed.set_options([Option(_line(summary)) for summary in self._found])
        listed.highlighted = 0 if self._found else None
        self._tell(f"{len(self._found)} deleted" if self._found else "The trash is empty.")
        for button in self.query(TrashButton):
            button.disabled = not self._found

    def _tell(self, text: str) -> None:
        self.query_one("#told", Static).update(Content(one_line(text)))


def _line(summary: ConversationSummary) -> Content:
    title = one_line(summary.title, 70) or "New conversation"
    if summary.trashed is None:
        return Content(title)
    return Content.assemble(title, "  ", (f"deleted {summary.trashed.astimezone():%d %B %Y}", "$foreground 65%"))


def _delete(store: ConversationStore, conversation_id: str | None) -> bool:
    """Delete one conversation for good, or all that are in the trash; says whether no trace is left.

    It may take seconds, and has a connection of its own.
    """
    another = store.new_connection()
    try:
        if conversation_id is not None:
            return another.delete(conversation_id)
        another.empty_trash()
        return not another.purge_pending()
    finally:
        if another.database is not store.database:
            another.close()
