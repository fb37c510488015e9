"""The app as tests run it: the real chat, store and engine's thread, with an engine that writes the given answer."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from support.echo_engine import EchoEngine
from support.effort import PATIENCE
from support.idle import draw, wait_by_state
from support.shared_css import share_parsed_css
from textual import events

from mistral_chat.cli.wiring import Program
from mistral_chat.config import Settings
from mistral_chat.engine.thread import EngineThread
from mistral_chat.store.database import open_database
from mistral_chat.store.store import ConversationStore
from mistral_chat.ui.app import MistralChatApp
from mistral_chat.ui.context import AppContext
from mistral_chat.ui.path_completion import path_from_input
from mistral_chat.ui.widgets.composer import Composer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    import pytest
    from textual.app import App
    from textual.pilot import Pilot
    from textual.widget import Widget

    from mistral_chat.conversation import TranscriptTurn
    from mistral_chat.engine.thread import LoadProgress
    from mistral_chat.generation import CancelToken, ContextState, Engine, Event, History
    from mistral_chat.sampling import Sampling
    from mistral_chat.session.context import ContextUsage
    from mistral_chat.session.downloads import Downloads
    from mistral_chat.session.tasks import TaskRegistry
    from mistral_chat.ui.screens.chat import ChatScreen
    from mistral_chat.ui.widgets.sidebar import ConversationList
    from mistral_chat.ui.widgets.transcript import Transcript
    from mistral_chat.ui.widgets.turn import TurnView

wait_by_state()
share_parsed_css()

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)

PAUSE = "⏸"
"""In a reply: the engine waits here until the gate is opened, or it is cancelled."""


class GatedEngine(EchoEngine):
    """Writes its answer up to a `PAUSE`, then waits for `gate`; the mark of the pause is not written."""

    def __init__(self, answer: Callable[[str], str], gate: threading.Event, *, slow: bool = False, **settings: Any) -> None:
        super().__init__(answer, **settings)
        self._gate = gate
        self._slow = slow

    def reply(self, history: History, sampling: Sampling, cancel: CancelToken) -> Iterator[Event]:
        from mistral_chat.generation import Completion, Delta, Prefill

        for event in super().reply(history, sampling, cancel):
            match event:
                case Prefill(done=done, total=total) if self._slow and done == total:
                    yield replace(event, done=total * 43 // 100)
                    while not self._gate.wait(0.005) and not cancel.is_set:
                        pass
                case Delta(text=text) if PAUSE in text:
                    while not self._gate.wait(0.005) and not cancel.is_set:
                        pass
                case Completion(text=text):
                    yield Completion(text=text.replace(PAUSE, ""), finish_reason=event.finish_reason, usage=event.usage)
                case _:
                    yield event


class ChatDriver:
    """What tests see of the chat screen and do to it. Only this class knows what the screen is made of."""

    def __init__(self, app: MistralChatApp) -> None:
        self._app = app

    @property
    def screen(self) -> ChatScreen:
        """The screen itself, for what every screen has: queries, classes, focus, workers."""
        from mistral_chat.ui.screens.chat import ChatScreen

        return next(screen for screen in self._app.screen_stack if isinstance(screen, ChatScreen))

    @property
    def is_current(self) -> bool:
        """Whether no dialog or other screen covers it."""
        return self.screen.is_active

    @property
    def shown(self) -> bool:
        """Whether the store is open and the first conversation is on the screen."""
        return self.screen.host._loading is not None

    def end_threads_with(self, stack: AsyncExitStack) -> None:
        """Let `stack` end the engine's thread and those that save."""
        for workspace in filter(None, (self.screen.workspace, self.screen.saved_workspace)):
            stack.push_async_callback(workspace.saver.close)
        if self.runner is not None:
            stack.callback(self.runner.close)

    # The composer.

    @property
    def composer(self) -> Composer:
        """The widget, for its focus, classes, border and size."""
        return self.screen.composer

    @property
    def draft(self) -> str:
        """The text in the composer."""
        return self.screen.composer.text

    def set_draft(self, text: str) -> None:
        """Replace the text in the composer."""
        self.screen.composer.text = text

    def type(self, text: str) -> None:
        """Insert a text at the composer's cursor."""
        self.screen.composer.insert(text)

    def save_draft(self) -> None:
        """Save the draft now, as the screen does a second after a key."""
        self.screen.message_box.save()

    @property
    def draft_due(self) -> bool:
        """Whether the pause after which a draft is prefilled has still to pass."""
        return self.screen.composer._ticks is not None

    @property
    def counted(self) -> str | None:
        """The draft whose tokens were counted last."""
        return self.screen.composer._reported

    @property
    def editing(self) -> bool:
        """Whether a message that was sent is being edited."""
        return self.screen.session.editing is not None

    # The notice and the status.

    @property
    def notice(self) -> str:
        """The text in the notification bar."""
        return self.screen.notice.text

    def clear_notice(self) -> None:
        self.screen.notice.clear()

    def notify(self, text: str, *, offer: str = "", trouble: bool = False) -> None:
        """Show a notice, with what it offers."""
        self.screen.notice.show(text, action=offer, severity="warning" if trouble else "information")

    def show_failure(self, text: str) -> None:
        """Fill the screen's empty middle with a text, as a failure to load does."""
        self.screen.empty_state.show(text, [text], [("F5", "retry")], trouble=True)

    @property
    def state(self) -> str:
        """What the status bar says the model does; "ready" while a loaded model waits."""
        return self.screen.status.state or ("ready" if self.screen.host.loaded is not None else "")

    @property
    def tokens_used(self) -> int:
        """How much of the context the status bar shows as used."""
        return self.screen.status.used

    @property
    def hints(self) -> list[str]:
        """The keys that the status bar names, as "Esc stop"."""
        return [f"{key} {does}" for key, does in self.screen.status.hints]

    @property
    def status_height(self) -> int:
        return self.screen.status.size.height

    def show_status(self, **changes: Any) -> None:
        """Change what the status bar shows."""
        for name, value in changes.items():
            setattr(self.screen.status, name, value)

    @property
    def model_error(self) -> Exception | None:
        """Why no model is available, if so."""
        return self.screen.host.error

    # The conversation.

    @property
    def transcript(self) -> Transcript:
        """The widget, for its scrolling and its size."""
        return self.screen.transcript

    @property
    def turns(self) -> Sequence[TranscriptTurn]:
        """The turns on the screen, oldest first."""
        return self.screen.transcript.turns

    @property
    def views(self) -> Sequence[TurnView]:
        """The widgets of the turns that are drawn, oldest first."""
        return self.screen.transcript.views

    @property
    def selected_turn(self) -> TranscriptTurn | None:
        """The turn that was chosen with the keys."""
        return self.screen.transcript.selected

    @property
    def evicted(self) -> Sequence[str]:
        """The ids of the turns that left the context."""
        return self.screen.transcript.evicted

    @property
    def replying(self) -> bool:
        """Whether a reply is being written or waits for its turn."""
        return self.screen.workspace is not None and (self.screen.session.replying or bool(self.screen.session.queue))

    @property
    def conversation_id(self) -> str | None:
        """The conversation on the screen; None is one that has no message yet."""
        return self.screen.session.conversation_id

    @property
    def system(self) -> str | None:
        """The system prompt of a conversation that has no message yet."""
        return self.screen.session.conversation.overrides.system

    @property
    def full_context_announced(self) -> bool:
        """Whether it was said that the context is full."""
        return self.screen.session._shifted

    @property
    def sampling(self) -> Sampling:
        """How the next reply is sampled."""
        return self.screen.session.conversation.resolve().sampling

    async def open(self, conversation_id: str | None, draft: str | None = None) -> None:
        """Show a conversation, or a new one."""
        await self.screen.open(conversation_id, draft)

    async def send(self, text: str) -> None:
        """Send a message past the composer."""
        await self.screen.message_box.submit(Composer.Submitted(text))

    def fail_next_send(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Make the next message fail with an unexpected error."""
        monkeypatch.setattr(self.screen.session.conversation, "resolve", lambda: 1 / 0)

    def focus_attachments(self) -> None:
        """Go to the files attached to the next message."""
        self.screen.query_one("#files").focus()

    async def mount_above_composer(self, widget: Widget) -> None:
        await self.screen.message_box.mount(widget)

    async def attach(self, path: str) -> None:
        """Attach a file to the next message."""
        await self.screen.message_box.attach(path_from_input(path))

    def with_files(self, text: str) -> str:
        """A message as the model gets it, with its files."""
        return self.screen.session.with_attachments(text)

    # The model and the rest of the program.

    @property
    def runner(self) -> EngineThread | None:
        return self.screen.host.engine

    @property
    def ledger(self) -> ContextState | None:
        """Which turns the model has read, once it has read any."""
        return self.screen.host.context

    @property
    def model(self) -> str:
        """The model that is loaded, or is to be."""
        return self.screen.host.model

    async def use_model(self, spec: str) -> None:
        """Load another model."""
        await self.screen.models.use(spec)

    @property
    def usage(self) -> ContextUsage | None:
        """How the context is filled, once it was counted."""
        return self.screen.session.context.usage if self.screen.workspace is not None else None

    @property
    def tasks(self) -> TaskRegistry:
        """The tasks in the background."""
        return self.screen.tasks

    @property
    def downloads(self) -> Downloads:
        """Downloads and verifications of models."""
        return self.screen.models.downloads

    @property
    def settings(self) -> Settings:
        return self.screen.context.settings

    def use_settings(self, settings: Settings) -> None:
        """Take other settings, as after a change of the file."""
        self.screen.context.settings = settings

    @property
    def saved(self) -> bool:
        """Whether conversations are saved in this run."""
        return self.screen.opened.environment.saved

    @property
    def store(self) -> ConversationStore | None:
        return self.screen.workspace.store if self.screen.workspace is not None else None

    @property
    def conversation_list(self) -> ConversationList:
        """The sidebar's list."""
        return self.screen.sidebar.conversations

    def shorten_busy_timeout(self) -> None:
        """Let SQLite wait for another program for a moment only."""
        saver = self.screen.opened.saver
        saver._retry_seconds = 0.05
        saver._writer = saver._writer or saver._store.new_connection()
        with saver._writer.database.autocommit() as connection:
            connection.execute("PRAGMA busy_timeout = 50")

    async def poll_changes(self) -> None:
        """Check for changes by other programs now, as the screen does every few seconds."""
        await self.screen.changes.poll()

    async def force_poll(self) -> None:
        """Check for changes as if another program had written."""
        self.screen.changes._data_version = -1
        await self.screen.changes.poll()


@dataclass
class AppHarness:
    """One app and its dependencies."""

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
    app_options: dict[str, Any] = field(default_factory=dict)
    """Other dependencies of the app in place of the usual ones, by their names in `AppContext`."""
    gate: threading.Event = field(default_factory=threading.Event)
    loaded: threading.Event = field(default_factory=threading.Event)
    path: Any = None
    program: Program | None = None
    """Whose settings can be changed."""
    forgotten: list[str] = field(default_factory=list)
    """What was deleted permanently."""
    moment: datetime = NOON

    def __post_init__(self) -> None:
        self.store = self.open_store()
        self.app = self.make_app()

    def open_store(self) -> ConversationStore:
        return ConversationStore(open_database(self.path), now=lambda: self.moment)

    def make_app(self) -> MistralChatApp:
        usual: dict[str, Any] = {
            "open_store": lambda: self.store,
            "open_engine": self._open_engine,
            "settings": self.settings,
            "now": lambda: self.moment,
            "saved": self.saved,
            "models": (self.program or Program()).model_service,
            "settings_file": self.program.settings_file if self.program is not None else None,
            "discard_snapshots": self.forgotten.extend,
        }
        return MistralChatApp(AppContext(**usual | self.app_options), conversation_id=self.conversation_id)

    def _open_engine(self, _spec: str) -> EngineThread:
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
    def chat(self) -> ChatDriver:
        """The chat screen."""
        return ChatDriver(self.app)

    @property
    def screen(self) -> ChatScreen:
        """The chat screen itself, for what every screen has."""
        return self.chat.screen

    def add_conversation(self, *pairs: tuple[str, str], title: str = "") -> str:
        """Put a conversation into the store; its id."""
        conversation = self.store.create(title=title)
        parent: str | None = None
        for user, reply in pairs:
            parent = self.store.add_turn(conversation, user, parent_id=parent, model="model")
            self.store.finish_reply(parent, reply, finish_reason="stop")
        return conversation

    def start_with(self, *pairs: tuple[str, str], title: str = "") -> str:
        """Put a conversation into the store, which the app opens first; its id."""
        self.conversation_id = self.add_conversation(*pairs, title=title)
        self.app = self.make_app()
        return self.conversation_id


class HasApp(Protocol):
    """Whatever has an app to play with."""

    app: MistralChatApp


def run(harness: HasApp, size: tuple[int, int] = (100, 30)) -> AbstractAsyncContextManager[Pilot[Any]]:
    """Run the harness's app with its notices and tooltips."""
    return running(harness.app, size)


@asynccontextmanager
async def running(app: MistralChatApp, size: tuple[int, int] = (100, 30), *, headless: bool = True) -> AsyncIterator[Pilot[Any]]:
    """Run an app; whatever the test did, the app's threads end too, or they would keep it in memory."""
    async with (
        AsyncExitStack() as threads,
        app.run_test(headless=headless, size=size, notifications=True, tooltips=True) as pilot,
    ):
        try:
            yield pilot
        finally:
            with suppress(StopIteration):  # the test quit the app
                ChatDriver(app).end_threads_with(threads)


@asynccontextmanager
async def run_loaded(harness: AppHarness, size: tuple[int, int] = (100, 30)) -> AsyncIterator[Pilot[Any]]:
    """Run the harness's app, and begin when its model is loaded."""
    async with run(harness, size) as pilot:
        await until_ready(pilot, harness)
        yield pilot


async def until(pilot: Pilot[Any], wanted: Callable[[], Any], what: str = "") -> None:
    """Let the app run until its screen is laid out and `wanted` is true."""
    deadline = time.monotonic() + PATIENCE
    while not (laid_out(pilot.app) and wanted()):
        assert time.monotonic() < deadline, f"never happened: {what or wanted}"
        await asyncio.sleep(0.005)
        draw(pilot.app)


async def until_ready(pilot: Pilot[Any], harness: AppHarness) -> None:
    """Wait until the model is loaded."""
    await until_shown(pilot, harness)
    await until(pilot, lambda: harness.chat.state == "ready", "the model is ready")


async def until_shown(pilot: Pilot[Any], harness: AppHarness) -> None:
    """Wait until the store is open and what was asked for is on the screen; keep the cursor still."""
    await until(pilot, lambda: harness.chat.shown, "the first conversation is shown")
    harness.chat.composer.cursor_blink = False


def press_at_once(harness: AppHarness, *keys: str) -> None:
    """Press keys without a pause, as a terminal brings them when the machine is busy."""
    for key in keys:
        event = events.Key(key, key if len(key) == 1 else None)
        event.set_sender(harness.app)
        harness.app.post_message(event)


async def send_message(pilot: Pilot[Any], harness: AppHarness, text: str) -> None:
    """Type a message and send it."""
    harness.chat.composer.focus()
    harness.chat.type(text)
    await pilot.press("enter")


async def until_answered(pilot: Pilot[Any], harness: HasApp) -> None:
    """Wait until nothing is being written, and everything is saved and drawn."""
    chat = ChatDriver(harness.app)
    await until(pilot, lambda: chat.turns and not chat.replying, "the reply has ended")
    await until(pilot, lambda: not chat.screen.opened.saver.pending, "the reply is saved")
    await pilot.pause()


async def send_and_wait(pilot: Pilot[Any], harness: AppHarness, text: str) -> None:
    """Send a message and wait for the end of its reply."""
    wanted = len(harness.chat.turns) + 1
    await send_message(pilot, harness, text)
    await until(pilot, lambda: len(harness.chat.turns) == wanted, "the message is shown")
    await until_answered(pilot, harness)


def laid_out(app: App[Any]) -> bool:
    """Whether the screen has its size; one that was just opened has none yet. An app that has ended has no screen."""
    return not app._screen_stack or app.screen._compositor.size == app.size


def rendered_rows(app: App[Any]) -> str:
    """Everything on the screen now, row by row."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def screen_text(harness: AppHarness) -> str:
    """The whole screen, row by row; fails where the app is not laid out yet."""
    assert laid_out(harness.app)
    return rendered_rows(harness.app)


_BORDERS = re.compile("[\u2500-\u259f]")
"""Box drawing and block elements."""


async def until_drawn(pilot: Pilot[Any], text: str) -> None:
    """Let the app run until `text` is on the screen, in one row or over several."""
    deadline = time.monotonic() + PATIENCE
    while text not in (rows := rendered_rows(pilot.app)) and text not in " ".join(_BORDERS.sub(" ", rows).split()):
        assert time.monotonic() < deadline, f"never drawn: {text!r}\n{rows}"
        await pilot.pause(0.01)
