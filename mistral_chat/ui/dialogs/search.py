"""Search in all conversations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final

from textual import on, work
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from mistral_chat.errors import StoreError
from mistral_chat.text import one_line
from mistral_chat.ui.dialogs.base import Dialog, frame, status_line
from mistral_chat.ui.keymap import key_binding
from mistral_chat.ui.widgets.ordered_keys import Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import ComposeResult

    from mistral_chat.store.records import SearchHit
    from mistral_chat.store.store import ConversationStore

_FOUND: Final = 50
"""Hits that are listed."""

_LONGEST: Final = 1000
"""Maximum characters of the initial query."""

_SYNTAX: Final = 'Words in any order, "exact phrase", prefix*'
"""Shown while there is no query."""


class SearchDialog(Dialog["SearchHit"]):
    """Searches while the user types; the result is the chosen hit, or None."""

    HELP = """\
    ## Search

    All words must be in one turn, or in one title. **"Quotation marks"** find a phrase, **word*** finds words that start with it.
    **Up** and **Down** move through the hits, **Enter** opens one, **Esc** closes the search.
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        key_binding("search.down", "down", "mark(1)", "Next hit", "Go to the next hit"),
        key_binding("search.up", "up", "mark(-1)", "Previous hit", "Go to the previous hit"),
    ]

    def __init__(self, store: ConversationStore, query: str = "", shown: str | None = None) -> None:
        """Search in `store`, at first for `query`; hits in the conversation `shown` come first."""
        super().__init__()
        self._store = store
        self._shown = shown
        self._first_query = one_line(query, _LONGEST)
        self._hits: dict[Option, SearchHit] = {}
        """The hits by their rows."""

    def compose(self) -> ComposeResult:
        """Show the field, the number of hits, and the hits."""
        with frame("Search all conversations", hints=(("Enter", "open"), ("Esc", "close")), classes="tall"):
            yield Field(self._first_query, placeholder="Search", select_on_focus=False, compact=True)
            yield status_line(_SYNTAX)
            yield OptionList(markup=False, compact=True)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.listed.action_select()

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        if event.option in self._hits:  # else the text was changed in the meantime
            self.dismiss(self._hits[event.option])

    @on(Input.Changed)
    @work(group="search", exclusive=True, exit_on_error=False)
    async def _search(self, event: Input.Changed) -> None:
        try:
            hits = await asyncio.to_thread(_find, self._store, event.value)
        except StoreError as error:
            self.show_status(str(error), warning=True)
            return
        best = len(hits) == _FOUND
        hits = _distinct(hits, self._shown)
        self._hits = {Option(_line(hit, here=hit.conversation_id == self._shown)): hit for hit in hits}
        self.listed.set_options(self._hits)
        self.listed.highlighted = 0
        found = f"The best {len(hits)} hits" if best else f"{len(hits)} found"
        self.show_status(found if hits else "Nothing found" if event.value.strip() else _SYNTAX)


def _find(store: ConversationStore, query: str) -> list[SearchHit]:
    """Search on a separate connection, because the screen uses the other at the same time."""
    connection = store.new_connection()
    try:
        return connection.search(query, limit=_FOUND)
    finally:
        if connection.database is not store.database:
            connection.close()


def _distinct(hits: Sequence[SearchHit], shown: str | None) -> list[SearchHit]:
    """`hits` without those that look alike, as the versions of one reply do; those of the conversation `shown` come first."""
    alike = {(hit.conversation_id, hit.snippet): hit for hit in reversed(hits)}
    return sorted((hit for hit in hits if hit in alike.values()), key=lambda hit: hit.conversation_id != shown)


def _line(hit: SearchHit, *, here: bool) -> Content:
    """Show a hit: its conversation, and the text around the words found."""
    place = ("  this conversation", "$text-quiet") if here else ""
    title = Content.assemble((one_line(hit.title, 60) or "New conversation", "bold"), place)
    if hit.turn_id is None:
        return title
    end_of_last, pieces = 0, []
    for start, end in hit.marks:
        pieces.append(Content(one_line(f"|{hit.snippet[end_of_last:start]}|")[1:-1]))
        pieces.append(Content.styled(one_line(hit.snippet[start:end]), "$text-accent bold"))
        end_of_last = end
    pieces.append(Content(one_line(f"|{hit.snippet[end_of_last:]}|")[1:-1]))
    return Content("\n").join([title, Content("").join(pieces)])
