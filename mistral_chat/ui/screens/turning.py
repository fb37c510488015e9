"""Doing something with one turn: the part of the chat screen that chooses a turn and acts on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from textual import work
from textual.binding import Binding

from mistral_chat.errors import InvalidText
from mistral_chat.ui.screens.commanding import CommandingScreen
from mistral_chat.ui.screens.replying import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.ui.markdown import Code
    from mistral_chat.ui.rooms import Rooms
    from mistral_chat.ui.shown import ShownTurn
    from mistral_chat.ui.widgets.turn import TurnHeader


def _binding(key: str, action: str, description: str, tooltip: str) -> Binding:
    name = {"choose(-1)": "turn_before", "choose(1)": "turn_after"}.get(action, action)
    return Binding(key, action, description, tooltip=tooltip, id=f"chat.{name}", show=False, priority=True)


TURN_BINDINGS: Final = (
    _binding("alt+up,ctrl+up", "choose(-1)", "Choose the turn before", "Choose the turn before; what follows is meant for it"),
    _binding("alt+down,ctrl+down", "choose(1)", "Choose the turn after", "Choose the turn after, and after the last one none"),
    Binding(
        "f11,alt+t",
        "turn",
        "What to do with the turn",
        tooltip="See what can be done with the chosen turn, or the last",
        id="chat.turn",
    ),
    _binding("alt+m", "copy_message", "Copy the message", "Copy the message of the chosen turn, or of the last"),
    _binding("alt+c", "copy_code", "Copy a code block", "Copy a code block of the reply; once more copies the next one"),
    _binding("alt+s", "save_code", "Save a code block", "Write a code block of the reply to a file"),
    _binding("alt+p", "pin_turn", "Pin the turn", "Keep the turn in the model's window, or no longer"),
    _binding("alt+x", "exclude_turn", "Exclude the turn", "Hide the turn from the model, or show it again"),
    _binding("alt+k", "fork", "Fork the conversation", "Begin a new conversation that ends with a copy of the turn"),
    _binding("alt+d", "details", "Details of replies", "Show under each reply what it took, or no longer"),
)
"""The keys for what is done with one turn."""

_SMALLEST_SHARE: Final = 8
"""Pinned turns leave at least this part of the window, one in so many tokens, to messages."""


class TurningScreen(CommandingScreen):
    """Acts on the turn that was chosen; where none was, on the last one."""

    def __init__(self, rooms: Rooms) -> None:
        """Take the doors to the rest of the program."""
        super().__init__(rooms)
        self._block: tuple[str, int] = ("", -1)
        """The code block that was copied last: its turn, and its place in the reply."""
        self._details = False

    def read_ahead(self) -> None:
        """Let the model read what has changed. The reading screen says how."""

    # Choosing.

    async def action_choose(self, step: int) -> None:
        """Choose the turn `step` turns on; behind the last one is the composer."""
        turns = self.transcript.turns
        if not turns:
            self.notice.show("There is no turn to choose yet. Send a message first.")
            return
        chosen = self.transcript.selected
        place = (len(turns) if chosen is None else [turn.turn_id for turn in turns].index(chosen.turn_id)) + step
        if place >= len(turns):
            self.leave_turn()
            return
        if place < 0:
            before = len(turns)
            self.load_older(turns[0].turn_id)
            turns = self.transcript.turns
            place = max(0, place + len(turns) - before)
        self.transcript.focus(scroll_visible=False)
        await self.transcript.select(turns[place].turn_id)
        self._weigh(turns[place])

    def leave_turn(self) -> None:
        """Choose no turn, and go back to the composer."""
        self.transcript.clear_selection()
        self.set_focus(self.composer)

    @work(group="weigh", exclusive=True, exit_on_error=False)
    async def _weigh(self, turn: ShownTurn) -> None:
        """Show what a turn takes, once it is known."""
        tokens = await self._cost(turn)
        if tokens is not None:
            self.transcript.show_context(self._held, {turn.turn_id: tokens})

    def on_transcript_selected(self) -> None:
        """A turn was clicked."""
        if (turn := self.transcript.selected) is not None:
            self._weigh(turn)

    def on_transcript_menu_requested(self) -> None:
        """Show what can be done."""
        self.action_turn()

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_turn(self) -> None:
        """Show what can be done with the chosen turn, or with the last, and do it."""
        from mistral_chat.ui.dialogs.turn_menu import turn_menu

        turn = self._last_turn("choose from")
        if turn is None:
            return
        await self.transcript.select(turn.turn_id)
        keys = {active.binding.action: key_name(active.binding.key) for active in self.active_bindings.values()}
        menu = turn_menu(turn, tokens=await self._cost(turn), code=len(code_of(turn)), keys=keys)
        action = await self.app.push_screen_wait(menu)
        if action is not None:
            await self.run_action(action)

    def _last_turn(self, what: str) -> ShownTurn | None:
        last = super()._last_turn(what)
        return last if last is None or what == "continue" else self.transcript.selected or last

    # Taking along.

    def action_copy_message(self) -> None:
        """Copy what the person said in the turn."""
        if (turn := self._last_turn("copy")) is not None:
            self.copy(turn.turn.user)

    def action_copy_reply(self) -> None:
        """Copy the turn's reply, as the model wrote it; with no turn chosen, the last one there is."""
        turn = self.transcript.selected
        if turn is not None and turn.turn.reply:
            self.copy(turn.turn.reply)
        else:
            super().action_copy_reply()

    def action_copy_code(self) -> None:
        """Copy a code block of the turn; once more copies the next one."""
        turn, found = self._code()
        if turn is None:
            return
        last, place = self._block
        place = (place + 1) % len(found) if last == turn.turn_id else 0
        self._block = (turn.turn_id, place)
        self.copy(found[place].text, f"code block {place + 1} of {len(found)}, ")

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_save_code(self) -> None:
        """Ask for a name, and write a code block of the turn to a file that only its owner can read."""
        from mistral_chat.ui.dialogs.save_code import save_code

        turn, found = self._code()
        if turn is None:
            return
        last, place = self._block
        path = await save_code(self.app, found, place if last == turn.turn_id else 0)
        if path is not None:
            self.notice.show(f"Saved to {path}")

    def _code(self) -> tuple[ShownTurn | None, Sequence[Code]]:
        """The chosen turn with its code blocks; with none chosen, the last turn that has any."""
        chosen = self.transcript.selected
        for turn in [chosen] if chosen is not None else reversed(self.transcript.turns):
            if found := code_of(turn):
                return turn, found
        self.notice.show("There is no code in this reply." if chosen is not None else "There is no code in these replies.")
        return None, ()

    # Marks.

    async def action_pin_turn(self) -> None:
        """Keep the turn in the model's window, or no longer."""
        turn = self._last_turn("pin")
        if turn is None or self.store is None:
            return
        tokens = await self._cost(turn)
        if turn.turn.pinned:
            self._mark("unpin", turn, pinned=False)
            self.notice.show(f"The turn is not pinned any more{_worth(tokens)}. It leaves the window when it is the oldest.")
        elif (room := await self._room_beside(tokens or 0)) is not None:
            self.notice.show(
                f"The turn cannot be pinned: it takes {tokens or 0:,} tokens, and beside what stays already that would leave "
                f"{max(0, room):,} of the window for messages.",
                severity="warning",
            )
        else:
            self._mark("pin", turn, pinned=True, excluded=False)
            self.notice.show(f"The turn is pinned: it stays in the window{_worth(tokens)}.")

    async def action_exclude_turn(self) -> None:
        """Hide the turn from the model, or show it again."""
        turn = self._last_turn("exclude")
        if turn is None or self.store is None:
            return
        tokens = await self._cost(turn)
        if turn.turn.excluded:
            self._mark("restore", turn, excluded=False)
            self.notice.show(f"The turn is restored: the model may see it again{_worth(tokens)}.")
        else:
            self._mark("exclude", turn, pinned=False, excluded=True)
            self.notice.show(f"The turn is excluded: the model does not see it{_worth(tokens)}.")

    def _mark(self, name: str, turn: ShownTurn, *, pinned: bool | None = None, excluded: bool | None = None) -> None:
        assert self.store is not None  # noqa: S101 (it was asked just before)
        store, before = self.store, turn.turn

        def mark(*, pinned: bool | None, excluded: bool | None) -> None:
            store.set_turn_flags(turn.turn_id, pinned=pinned, excluded=excluded)
            self.transcript.replace_turn(shown(store.turn(turn.turn_id)))
            self.read_ahead()

        mark(pinned=pinned, excluded=excluded)
        self._did(f"{name} a turn", lambda: mark(pinned=before.pinned, excluded=before.excluded))

    async def _cost(self, turn: ShownTurn) -> int | None:
        """How many tokens a turn takes: as the ledger has it, else counted without the format's own; None while loading."""
        ledger = self.runner.ledger if self.runner is not None else None
        known = {held.key: held.tokens for held in ledger.turns} if ledger is not None else {}
        if turn.turn_id in known:
            return known[turn.turn_id]
        return await self.count(turn.turn.user, turn.turn.reply)

    async def count(self, *texts: str) -> int | None:
        """How many tokens `texts` take as messages; None while the model loads, and for what is no text."""
        runner = self.runner
        if runner is None:
            return None
        try:
            counts = [await asyncio.to_thread(runner.count, text) for text in texts if text]
        except InvalidText:
            return None
        return None if None in counts else sum(filter(None, counts))

    async def _room_beside(self, tokens: int) -> int | None:
        """What would be left for messages if `tokens` more stayed for good; None where that is enough, or nobody knows."""
        ledger = self.runner.ledger if self.runner is not None else None
        if ledger is None or self.store is None or self.page.conversation_id is None:
            return None
        stay = [await self._cost(shown(stored)) or 0 for stored in self.store.pinned(self.page.conversation_id)]
        room = ledger.window - ledger.reserve - ledger.system_tokens - sum(stay) - tokens
        return room if room < ledger.window // _SMALLEST_SHARE else None

    # Branches and details.

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_fork(self) -> None:
        """Begin a conversation that ends with a copy of the turn, and open it."""
        turn = self._last_turn("fork")
        if turn is None or self.store is None:
            return
        forked = self.store.fork(turn.turn_id)
        await self.open(forked)
        self.conversations_changed()
        self.notice.show("This is a new conversation, a copy up to the turn you chose. The other one stays as it was.")

    async def action_branch(self, step: int) -> None:
        """Go `step` branches on: at the chosen turn, or at the last turn that has any."""
        turn = self.transcript.selected
        if turn is None:
            await super().action_branch(step)
            self.read_ahead()
        elif turn.siblings > 1:
            await self._walk(turn.turn_id, step)
        else:
            self.notice.show(
                f"This turn has no branches. {self.key_of('chat.regenerate')} or {self.key_of('chat.edit')} begins one."
            )

    async def on_turn_header_branch_requested(self, event: TurnHeader.BranchRequested) -> None:
        """An arrow was clicked."""
        await self._walk(event.turn_id, event.step)

    async def _walk(self, turn_id: str, step: int) -> None:
        """Go `step` branches on at the turn `turn_id`, and stay at that place."""
        if self.replying:
            self.notice.show(f"A reply is being written. Stop it with {self.key_of('chat.stop')} to go to another branch.")
        elif self.store is not None:
            ids = self.store.siblings(turn_id)
            wanted = ids[(ids.index(turn_id) + step) % len(ids)]
            self.store.switch_branch(wanted)
            await self.show_turns()
            while all(turn.turn_id != wanted for turn in self.transcript.turns):
                if not self.load_older(self.transcript.turns[0].turn_id):
                    return
            await self.transcript.select(wanted)
            self.read_ahead()

    def action_details(self) -> None:
        """Show under each reply what it took, or no longer."""
        self._details = not self._details
        self.transcript.show_statistics(shown=self._details)
        if self._details and not any(turn.turn.usage for turn in self.transcript.turns):
            self.notice.show("Details stand under each reply from now on.")


def code_of(turn: ShownTurn) -> Sequence[Code]:
    """The code blocks of a turn's reply, in their order."""
    from mistral_chat.ui.markdown import Code, blocks

    reply = turn.turn.reply
    if not any(mark in reply for mark in ("```", "~~~", "    ", "\t")):
        return ()
    return [block for block in blocks(reply) if isinstance(block, Code)]


def key_name(key: str) -> str:
    """A key as the rest of the screen writes it: ``Alt+M``."""
    return "+".join(part.capitalize() for part in key.split("+"))


def _worth(tokens: int | None) -> str:
    return f" ({tokens:,} tokens)" if tokens is not None else ""
