"""The program without its screen, for the race; the settings file and the data folder are in the environment.

Each line on standard input is a JSON object with a step; the answer is a line when the first text is there, and one at the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import closing
from typing import Any

from mistral_chat.cli.wiring import Program
from mistral_chat.errors import MistralChatError
from mistral_chat.session.events import ReplyFailed, ReplyFinished, SessionEvent, TextAdded
from mistral_chat.session.headless import HeadlessSession, open_headless
from mistral_chat.session.overrides import Overrides
from mistral_chat.session.reply import EditMessage, NewMessage, Regenerate, ReplyRequest
from mistral_chat.session.session import ChatSession


def tell(**answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


class Steps:
    """Takes steps in one session after another."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.running: HeadlessSession | None = None
        self._first = False
        self._usage: dict[str, Any] = {}

    async def emit(self, event: SessionEvent) -> None:
        match event:
            case TextAdded() if self._first:
                self._first = False
                tell(first=True)
            case ReplyFinished(completion=completion) if completion is not None:
                usage = completion.usage
                steps, speed = usage.completion_tokens - 1, usage.tokens_per_second
                self._usage = {
                    "tokens": usage.completion_tokens,
                    "seconds": steps / speed if speed else 0.0,
                    "prompt": usage.prompt_tokens - usage.cached_tokens,
                }
            case ReplyFailed(error=error):
                self._usage = {"error": str(error)}

    async def take(self, running: HeadlessSession, step: dict[str, Any]) -> None:
        """Take one step, and tell what it gave."""
        session = running.session
        match step["do"]:
            case "open":
                running.session = self.open(session, step["conversation"])
            case "keep":
                running.session = self.open(session, self.keep(step["turns"]))
            case "say":
                await self.answer(running, NewMessage(step["text"]))
            case "edit":
                await self.answer(running, EditMessage(session.turns[step["place"]].turn_id, step["text"]))
            case "regenerate":
                await self.answer(running, Regenerate(session.turns[-1].turn_id))
        tell(**self._usage, conversation=running.session.conversation_id)

    def open(self, session: ChatSession, conversation: str | None) -> ChatSession:
        self._usage = {}
        return ChatSession(session.environment, emit=self.emit, conversation_id=conversation)

    def keep(self, turns: list[list[str]]) -> str:
        """Store a conversation that was held before."""
        with closing(self.program.open_store()) as store:
            conversation, last = store.create(), None
            for user, reply in turns:
                last = store.add_turn(conversation, user, parent_id=last)
                store.finish_reply(last, reply, finish_reason="stop")
        return conversation

    async def answer(self, running: HeadlessSession, request: ReplyRequest) -> None:
        self._first = True
        await running.answer(request)

    async def serve(self) -> None:
        """Load the model, and take steps until the input ends."""
        program = self.program
        store = program.open_store()
        with closing(store), closing(program.retriever()) as retriever:
            async with open_headless(
                store,
                lambda spec: program.runner(spec or None),
                settings=program.settings,
                emit=self.emit,
                on_model=_ignore,
                started=Overrides(),
                retriever=retriever,
            ) as running:
                await running.load()
                tell(ready=True)
                while line := await asyncio.to_thread(sys.stdin.readline):
                    await self.take(running, json.loads(line))


async def _ignore(_event: object) -> None:
    """How loading goes is not asked."""


if __name__ == "__main__":
    try:
        asyncio.run(Steps(Program()).serve())
    except MistralChatError as error:
        tell(error=str(error))
