"""Titles written by the model after the first reply."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from mistral_chat.errors import MistralChatError
from mistral_chat.generation import PromptTurn
from mistral_chat.sampling import Sampling
from mistral_chat.session.conversation import OpenConversation
from mistral_chat.session.environment import SessionEnvironment
from mistral_chat.session.events import ConversationsChanged, Emit

_TRIES: Final = 3
"""How many times the model is asked before the first line stays the title."""

_KEY: Final = "\0title"
_QUESTION: Final = "Give this conversation a title of at most six words. Answer with the title alone."


class TitleWriter:
    """Asks the model for a conversation's title while it is idle."""

    def __init__(self, environment: SessionEnvironment, conversation: OpenConversation, emit: Emit) -> None:
        """Start idle."""
        self._environment = environment
        self._conversation = conversation
        self._emit = emit
        self.task: asyncio.Task[None] | None = None
        """The last request for a title."""
        self._tries = 0

    def begin(self) -> None:
        """Ask for a title, if the settings enable it and the conversation has only its first line."""
        environment, stored = self._environment, self._conversation.stored
        wanted = environment.settings().titles == "model" and environment.saved and self._tries < _TRIES
        if wanted and not environment.host.busy and stored is not None and stored.title_by == "first_line":
            self._tries += 1
            self.task = environment.spawn(self._run())

    def cancel(self) -> None:
        """Cancel the request; it is repeated after the next reply."""
        if self.task is not None:
            self.task.cancel()

    async def suggest(self) -> str:
        """Return the model's title; empty if it gives none, or the question does not fit.

        Raises:
            MistralChatError: the engine failed.
        """
        history, engine = self._conversation.history(), self._environment.host.engine
        if not history.turns or engine is None:
            return ""
        asked = replace(history, turns=(*history.turns, PromptTurn(key=_KEY, user=_QUESTION)))
        answer = await engine.generate_detached(asked, Sampling(temperature=0, max_tokens=24))
        lines = answer.strip().splitlines()
        return lines[0].strip(" \"'*#.").removeprefix("Title:").strip(" \"'*") if lines else ""

    async def _run(self) -> None:
        conversation_id = self._conversation.id or ""
        try:
            with self._environment.tasks.begin("titling", "this conversation", cancel=self.cancel):
                title = await self.suggest()
            if title:
                await self._environment.saver.save(lambda store: store.rename(conversation_id, title, by="model"))
                await self._emit(ConversationsChanged())
        except MistralChatError:
            return  # the first line remains the title; the next message reports what is wrong with the engine or the store
