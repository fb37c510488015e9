"""The app as tests run it: the real chat, store and engine's thread, with an engine that writes what it is told."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from mistral_chat.config import Settings
from mistral_chat.engine.echo import EchoEngine
from mistral_chat.engine.thread import EngineThread
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore
from mistral_chat.ui.app import MistralChatApp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from textual.app import App
    from textual.pilot import Pilot

    from mistral_chat.cli.wiring import Program
    from mistral_chat.engine.thread import LoadProgress
    from mistral_chat.generation import CancelToken, Engine, Event, History, Sampling
    from mistral_chat.ui.screens.chat import ChatScreen

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

PAUSE = "⏸"
"""In a reply: the engine waits here until the gate is opened, or it is cancelled."""


class GatedEngine(EchoEngine):
    """Writes its answer up to a `PAUSE`, then waits for `gate`; what stands for the pause is not written."""

    def __init__(self, answer: Callable[[str], str], gate: threading.Event, *, slow: bool = False, **settings: Any) -> None:
        super().__init__(answer, **settings)
        self._gate = gate
        self._slow = slow

    def reply(self, history: History, sampling: Sampling, cancel: CancelToken) -> Iterator[Event]:
        from mistral_chat.generation import Completion, Delta, Prefill

        for event in super().reply(history, sampling, cancel):
            match event:
                case Prefill(done=done, total=total) if self._slow and done == total:
                    yield Prefill(total * 43 // 100, total)
                    while not self._gate.wait(0.005) and not cancel.is_set:
                        pass
                case Delta(text=text) if PAUSE in text:
                    while not self._gate.wait(0.005) and not cancel.is_set:
                        pass
                case Completion(text=text):
                    yield Completion(text=text.replace(PAUSE, ""), finish_reason=event.finish_reason, usage=event.usage)
                case _:
                    yield event


@dataclass
class Stage:
    """One app with what it stands on."""

    answer: Callable[[str], str] = lambda text: f"You said: {text}"
    settings: Settings = field(default_factory=Settings)
    window: int = 4096
    conversation_id: str | None = None
    saved: bool = True
    failure: Exception | None = None
    """Raised instead of making the engine's thread."""
    load_failure: Exception | None = None
    """Raised while the engine loads."""
    loading: bool = False
    """Whether loading stays at 40 % until `loaded` is set."""
    slow: bool = False
    """Whether reading the prompt stays at some 43 % until `gate` is set."""
    doors: dict[str, Any] = field(default_factory=dict)
    """Other doors for the app in place of the usual ones, by their names."""
    gate: threading.Event = field(default_factory=threading.Event)
    loaded: threading.Event = field(default_factory=threading.Event)
    path: Any = None
    program: Program | None = None
    """Whose settings can be changed."""
    forgotten: list[str] = field(default_factory=list)
    """What was deleted for good."""
    moment: datetime = NOON

    def __post_init__(self) -> None:
        self.store = self.open_store()
        self.app = self.make_app()

    def open_store(self) -> ConversationStore:
        return ConversationStore(open_database(self.path, now=lambda: self.moment), now=lambda: self.moment)

    def make_app(self) -> MistralChatApp:
        usual: dict[str, Any] = {
            "open_store": lambda: self.store,
            "runner_for": self._runner_for,
            "settings": self.settings,
            "now": lambda: self.moment,
            "conversation_id": self.conversation_id,
            "saved": self.saved,
            "settings_file": self.program.settings_file if self.program is not None else None,
            "forget": self.forgotten.extend,
        }
        return MistralChatApp(**usual | self.doors)

    def _runner_for(self, _spec: str) -> EngineThread:
        if self.failure is not None:
            raise self.failure
        return EngineThread(self._load)

    def _load(self, progress: LoadProgress) -> Engine:
        if self.loading:
            progress(0.4)
            while not self.loaded.wait(0.005) and progress(0.4):
                pass
        if self.load_failure is not None:
            raise self.load_failure
        return GatedEngine(self.answer, self.gate, slow=self.slow, window=self.window)

    @property
    def screen(self) -> ChatScreen:
        from mistral_chat.ui.screens.chat import ChatScreen

        return next(screen for screen in self.app.screen_stack if isinstance(screen, ChatScreen))

    def say(self, *pairs: tuple[str, str], title: str = "") -> str:
        """Put a conversation into the store; its id."""
        conversation = self.store.create(title=title)
        parent: str | None = None
        for user, reply in pairs:
            parent = self.store.add_turn(conversation, user, parent_id=parent, model="model")
            self.store.finish_reply(parent, reply, finish_reason="stop")
        return conversation

    def begin(self, *pairs: tuple[str, str], title: str = "") -> str:
        """Put a conversation into the store, with which the app begins; its id."""
        self.conversation_id = self.say(*pairs, title=title)
        self.app = self.make_app()
        return self.conversation_id


class Staged(Protocol):
    """Whatever has an app to play with."""

    app: MistralChatApp


def run(stage: Staged, size: tuple[int, int] = (100, 30)) -> AbstractAsyncContextManager[Pilot[Any]]:
    """The stage's app with a person in front of it, who sees notices and tooltips too."""
    return stage.app.run_test(size=size, notifications=True, tooltips=True)


async def until(pilot: Pilot[Any], wanted: Callable[[], Any], what: str = "") -> None:
    """Let the app run until `wanted` holds; fail after some ten seconds of its time."""
    for _ in range(2000):
        if wanted():
            return
        await pilot.pause(0.005)
    raise AssertionError(f"never happened: {what or wanted}")


async def ready(pilot: Pilot[Any], stage: Stage) -> None:
    """Wait until the model is loaded."""
    await furnished(pilot, stage)
    await until(pilot, lambda: stage.screen.status.status.state == "ready", "the model is ready")


async def furnished(pilot: Pilot[Any], stage: Stage) -> None:
    """Wait until the store is open and what was asked for is on the screen; keep the cursor still."""
    await until(pilot, lambda: stage.screen.shown_first, "the first conversation is shown")
    stage.screen.composer.cursor_blink = False


async def say(pilot: Pilot[Any], stage: Stage, text: str) -> None:
    """Type a message and send it."""
    stage.screen.composer.focus()
    stage.screen.composer.insert(text)
    await pilot.press("enter")


async def answered(pilot: Pilot[Any], stage: Stage) -> None:
    """Wait until nothing is being written and everything is drawn."""
    await until(pilot, lambda: stage.screen.transcript.turns and not stage.screen.replying, "the reply has ended")
    await pilot.pause()


async def spoken(pilot: Pilot[Any], stage: Stage, text: str) -> None:
    """Send a message and wait for the end of its reply."""
    wanted = len(stage.screen.transcript.turns) + 1
    await say(pilot, stage, text)
    await until(pilot, lambda: len(stage.screen.transcript.turns) == wanted, "the message is shown")
    await answered(pilot, stage)


def rows(app: App[Any]) -> str:
    """Everything that stands on the screen now, row by row."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def drawn(stage: Stage) -> str:
    """The whole screen, row by row; fails where the app is not laid out yet."""
    shown = rows(stage.app)
    assert shown.count("\n") + 1 == stage.app.size.height
    assert stage.app.size.width
    return shown


async def until_drawn(pilot: Pilot[Any], text: str) -> None:
    """Let the app run until `text` stands on the screen; fail after some ten seconds of its time."""
    for _ in range(1000):
        if text in rows(pilot.app):
            return
        await pilot.pause(0.01)
    raise AssertionError(f"never drawn: {text!r}\n{rows(pilot.app)}")
