"""The stored state of an open conversation: its loaded turns, its settings, and the history for the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from mistral_chat.conversation import TranscriptTurn, Turn
from mistral_chat.generation import History, PromptTurn
from mistral_chat.sampling import Sampling
from mistral_chat.session.environment import SessionEnvironment
from mistral_chat.session.overrides import Overrides, Resolved, resolve
from mistral_chat.store.records import StoredConversation, StoredTurn

PAGE: Final = 60
"""Turns loaded from the store at once."""

MIN_TURN_TOKENS: Final = 8
"""Minimum tokens of a turn, which limits how many turns are given to the engine."""


class OpenConversation:
    """A conversation in the store, or one that starts with its first message."""

    def __init__(
        self, environment: SessionEnvironment, conversation_id: str | None, sampling_options: Mapping[str, Any] | None = None
    ) -> None:
        """Load the last turns.

        Args:
            environment: what sessions share.
            conversation_id: None starts a conversation.
            sampling_options: sampling fields that apply to this run only, whatever the conversation says.

        Raises:
            ConversationNotFound: no such conversation.
        """
        self._environment = environment
        self._store = environment.store
        self._sampling_options = sampling_options or {}
        self.id = conversation_id
        """None until a new conversation has its first message."""
        self.overrides = Overrides()
        """The choices for a new conversation."""
        self.turns: list[TranscriptTurn] = []
        """The loaded turns of the current branch, oldest first."""
        self.complete = True
        """Whether there are no earlier turns."""
        self.load()

    @property
    def stored(self) -> StoredConversation | None:
        """The conversation as saved; None for a new one."""
        return self._store.conversation(self.id) if self.id is not None else None

    def load(self) -> None:
        """Load the last turns of the current branch.

        Raises:
            ConversationNotFound: the conversation is gone.
        """
        if self.id is not None:
            page = self._store.turns_page(self.id, before=None, limit=PAGE)
            self.turns = self._newest(page)
            self.complete = not page or page[0].parent_id is None

    def load_older(self) -> Sequence[TranscriptTurn]:
        """Load the page before the first loaded turn; empty if there is none."""
        if self.id is None or not self.turns or self.complete:
            return []
        page = self._store.turns_page(self.id, before=self.turns[0].turn_id, limit=PAGE)
        self.turns[:0] = page
        self.complete = not page or page[0].parent_id is None
        return page

    def replace(self, turn: TranscriptTurn) -> None:
        """Replace a loaded turn by its current state."""
        self.turns = [turn if each.turn_id == turn.turn_id else each for each in self.turns]

    def resolve(self) -> Resolved:
        """Return the system prompt, the sampling and the persona of the next message."""
        environment = self._environment
        resolved = resolve(environment.settings(), stored=self.stored, layers=(self.overrides, environment.started))
        if not self._sampling_options:
            return resolved
        return replace(resolved, sampling=replace(resolved.sampling, **self._sampling_options))

    async def apply(self, chosen: Overrides) -> None:
        """Set a system prompt, sampling or a persona for the next messages.

        A persona sets the system prompt and the sampling to its own; undo restores the previous ones.
        """
        before, stored = self.overrides, self.stored
        if chosen.persona is not None:
            await self._restore(None, chosen)
            self._environment.undo.append(("choose a persona", lambda: self._restore(stored, before)))
        elif stored is not None:
            system = stored.system if chosen.system is None else chosen.system
            await self._keep(stored.persona, system, chosen.sampling or stored.sampling)
        else:
            wanted = before.system if chosen.system is None else chosen.system
            self.overrides = replace(before, system=wanted, sampling=chosen.sampling or before.sampling)

    def history(self, answered: str | None = None) -> History:
        """The history for the engine: the end of the branch, as far as any context reaches, and the pinned turns.

        The branch is that of the turn being `answered`, even if another window has shown another one since; else the current one.

        Excluded turns, and those without a reply, are left out, except the one being `answered`.
        """
        environment = self._environment
        system = self.resolve().system
        if self.id is None:
            return History(system=system)
        loaded = environment.host.loaded
        limit = max(16, (loaded.window if loaded else environment.settings().context.size) // MIN_TURN_TOKENS)
        if answered is None:
            stored = self._store.turns_page(self.id, limit=limit)
        else:
            stored = [*self._store.turns_page(self.id, before=answered, limit=limit - 1), self._store.turn(answered)]
        ids = {turn.turn_id for turn in stored}
        pinned = [turn for turn in self._store.pinned(self.id, before=answered) if turn.turn_id not in ids]
        return History(
            conversation=self.id if environment.saved else "",
            system=system,
            turns=tuple(
                PromptTurn(
                    key=each.turn_id,
                    user=each.turn.user,
                    reply=each.turn.reply,
                    pinned=each.turn.pinned,
                    passages=each.turn.passages,
                )
                for each in self._newest([*pinned, *stored])
                if each.turn_id == answered or (each.turn.reply and not each.turn.excluded)
            ),
        )

    def _newest(self, stored: Sequence[StoredTurn]) -> list[TranscriptTurn]:
        """Turns with the replies that have just ended, or that do not fit on the disk, and are not in the store yet."""
        known = {turn.turn_id: turn.turn for turn in self.turns}
        pending = self._environment.saver.pending  # as is more of a reply that had ended before
        return [_newer(turn, known.get(turn.turn_id)) if turn.writing or pending else turn for turn in stored]

    async def _restore(self, stored: StoredConversation | None, overrides: Overrides) -> None:
        """Let the next messages have what `stored` has, or, where that is None, a new conversation with `overrides`."""
        environment, self.overrides = self._environment, overrides
        if self.id is not None:
            kept = resolve(environment.settings(), stored=stored, layers=(overrides, environment.started))
            await self._keep(kept.persona, kept.system, kept.own_sampling)

    async def _keep(self, persona: str, system: str, sampling: Sampling | None) -> None:
        conversation_id = self.id or ""
        await self._environment.saver.write(
            lambda store: store.set_overrides(conversation_id, system=system, sampling=sampling, persona=persona)
        )


def _newer(stored: StoredTurn, known: Turn | None) -> StoredTurn:
    """A turn as `known`, unless its stored reply is longer; another window may have changed its flags in any case."""
    if known is None or len(known.reply) < len(stored.turn.reply):
        return stored
    return replace(stored, turn=replace(known, pinned=stored.turn.pinned, excluded=stored.turn.excluded))
