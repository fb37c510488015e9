"""The store of conversations, as the rest of the program knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_chat.store.backup import Backup
from mistral_chat.store.organising import Organising
from mistral_chat.store.reading import Reading
from mistral_chat.store.search import search
from mistral_chat.store.transfer import Transfer
from mistral_chat.store.trash import Trash
from mistral_chat.store.writing import Writing

if TYPE_CHECKING:
    from mistral_chat.store.records import SearchHit


class ConversationStore(Reading, Writing, Organising, Trash, Transfer, Backup):
    """Every conversation in one database. Calls return when what they did is kept."""

    def search(self, query: str, *, limit: int = 50) -> list[SearchHit]:
        """The best `limit` places where the words of `query` are found, best first; see `search.py` for what it may hold."""
        return search(self.database, query, limit=limit)

    def data_version(self) -> int:
        """A number that changes when another connection, in this program or another, has written."""
        return self.database.data_version()

    def integrity_check(self) -> None:
        """Look through the whole file for damage, beside the work. Raises what `Database.integrity_check` does."""
        self.database.integrity_check()

    def new_connection(self) -> ConversationStore:
        """The same store on a connection of its own, for a thread that works long. A store in memory stays one."""
        return ConversationStore(self.database.new_connection(), now=self._now, new_id=self._new_id)

    def close(self) -> None:
        """Let the file go. No other call may follow."""
        self.database.close()
