"""Finding one's way and taking text along: search, older turns, the clipboard and the editor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from textual import work

from mistral_chat.ui.screens.branching import BranchingScreen
from mistral_chat.ui.screens.replying import PAGE, shown

if TYPE_CHECKING:
    from mistral_chat.ui.widgets.transcript import Transcript


class FindingScreen(BranchingScreen):
    """Goes to any place in any conversation, and carries text out of it."""

    async def do_search(self, words: str) -> None:
        """Find `words` in everything that was said, and go there."""
        self.action_search(words)

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_search(self, words: str = "") -> None:
        """Find words in everything that was said, beginning with `words`, and go there."""
        from mistral_chat.ui.dialogs.search import SearchDialog

        if self.store is not None:
            hit = await self.app.push_screen_wait(SearchDialog(self.store, words))
            if hit is not None:
                await self.open_at(hit.conversation_id, hit.turn_id)

    async def open_at(self, conversation_id: str, turn_id: str | None) -> None:
        """Show a conversation where one turn is, on the branch that leads to it."""
        if self.store is None:
            return
        if turn_id is not None and all(turn.turn_id != turn_id for turn in self.store.turns(conversation_id)):
            self.store.switch_branch(turn_id)
        await self.open(conversation_id)
        if turn_id is None:
            return
        while self.transcript.turns and all(turn.turn_id != turn_id for turn in self.transcript.turns):
            if not self.load_older(self.transcript.turns[0].turn_id):
                return
        await self.transcript.go_to(turn_id)

    def on_transcript_older_requested(self, event: Transcript.OlderRequested) -> None:
        """Read older turns from the store."""
        self.load_older(event.before)

    def load_older(self, before: str) -> bool:
        """Give the transcript turns before the turn `before`; says whether there were any."""
        if self.store is None or self.page.conversation_id is None:
            return False
        older = self.store.turns_page(self.page.conversation_id, before=before, limit=PAGE)
        self.transcript.prepend([shown(turn) for turn in older], complete=not older or older[0].parent_id is None)
        return bool(older)

    def action_copy_reply(self) -> None:
        """Copy the last reply, as the model wrote it."""
        replies = [shown.turn.reply for shown in self.transcript.turns if shown.turn.reply]
        if replies:
            self.copy(replies[-1])
        else:
            self.notice.show("There is no reply to copy yet.")

    @work(group="copy", exclusive=True, exit_on_error=False)
    async def copy(self, text: str, what: str = "") -> None:
        """Put `text` on the clipboard, and say how; `what` is said before its length."""
        from mistral_chat.ui.clipboard import set_clipboard, terminal_way

        used = await set_clipboard(text, os.environ)
        if not used:
            self.app.copy_to_clipboard(text)
        way = f"with {used}" if used else terminal_way(os.environ)
        self.notice.show(f"Copied {what}{len(text):,} characters {way}.")

    @work(group="editor", exclusive=True, exit_on_error=False)
    async def action_editor(self) -> None:
        """Write the draft in the person's own editor."""
        from mistral_chat.ui.editor import edit_externally

        text, problem = await edit_externally(self.app, self.composer.text, os.environ)
        if problem:
            self.notice.show(problem, severity="warning")
        else:
            self.composer.set_draft(text)
