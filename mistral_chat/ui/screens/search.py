"""Finding words in everything that was said."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Final

from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from mistral_chat.errors import StoreError
from mistral_chat.text import one_line
from mistral_chat.ui.widgets.ordered_keys import OrderedKeys

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from mistral_chat.store.records import SearchHit
    from mistral_chat.store.store import ConversationStore

_FOUND: Final = 50
"""Hits that are listed."""

_LONGEST: Final = 1000
"""Characters of words that are brought along."""

_HOW: Final = '"Two words" stay together; wor* finds words.'
"""Said while no word has been typed."""


class SearchInput(OrderedKeys, Input):
    """The words to find."""

    HELP = """\
    ## Search

    All words must occur in one turn, or in one title. **"Quotation marks"** keep words together, **word*** finds what begins
    with it. **Down** goes to the list, **Enter** opens what is marked.
    """


class HitList(OptionList):
    """What was found."""

    HELP = "## Found\n\n**Enter** opens the conversation at this place. **Escape** goes back.\n"


class SearchScreen(ModalScreen["SearchHit | None"]):
    """Searches as one types; ends with the hit that was chosen, or None."""

    CSS_PATH = "dialog.tcss"
    HELP = "## Search\n\nType words; **Enter** opens what is marked, **Escape** goes back.\n"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", tooltip="Leave the search", id="search.cancel"),
        Binding("down", "down", "Next hit", tooltip="Mark the next hit", id="search.down", show=False),
        Binding("up", "up", "Previous hit", tooltip="Mark the previous hit", id="search.up", show=False),
    ]

    def __init__(self, store: ConversationStore, words: str = "") -> None:
        """Search in `store`, for `words` to begin with."""
        super().__init__()
        self._store = store
        self._words = one_line(words, _LONGEST)
        self._hits: list[SearchHit] = []

    def compose(self) -> ComposeResult:
        """The field, the hits, and how many there are."""
        with Vertical(classes="dialog tall"):
            yield SearchInput(
                self._words, placeholder="Find words in everything that was said", select_on_focus=False, compact=True
            )
            yield Static(_HOW, id="told", markup=False)
            yield HitList(markup=False, compact=True)

    def action_leave(self) -> None:
        """Leave without choosing."""
        self.dismiss(None)

    def action_down(self) -> None:
        """Mark the next hit."""
        self.query_one(HitList).action_cursor_down()

    def action_up(self) -> None:
        """Mark the previous hit."""
        self.query_one(HitList).action_cursor_up()

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        self._find(event.value)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        marked = self.query_one(HitList).highlighted
        if marked is not None and marked < len(self._hits):
            self.dismiss(self._hits[marked])

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._hits[event.option_index])

    @work(group="search", exclusive=True, exit_on_error=False)
    async def _find(self, words: str) -> None:
        told = self.query_one("#told", Static)
        try:
            hits = await asyncio.to_thread(self._store.search, words, limit=_FOUND)
        except StoreError as error:
            told.update(Content(one_line(str(error))))
            return
        self._hits = hits
        listed = self.query_one(HitList)
        listed.set_options([Option(_line(hit)) for hit in hits])
        listed.highlighted = 0 if hits else None
        many = f"{len(hits)} found" if len(hits) < _FOUND else f"the best {_FOUND}"
        told.update(Content(many if hits else "Nothing found" if words.strip() else _HOW))


def _line(hit: SearchHit) -> Content:
    """Show a hit: its conversation, and the text around with the words marked."""
    title = Content.styled(one_line(hit.title, 60) or "New conversation", "bold")
    if hit.turn_id is None:
        return title
    place, pieces = 0, []
    for start, end in hit.marks:
        pieces.append(Content(one_line(f"|{hit.snippet[place:start]}|")[1:-1]))
        pieces.append(Content.styled(one_line(hit.snippet[start:end]), "$text-accent bold"))
        place = end
    pieces.append(Content(one_line(f"|{hit.snippet[place:]}|")[1:-1]))
    return Content("\n").join([title, Content("").join(pieces)])
