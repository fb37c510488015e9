"""Opens the app, under a parent process that restores the terminal."""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

from mistral_chat.cli.options import refuse_conflicts
from mistral_chat.cli.supervisor import fresh_command, supervise
from mistral_chat.cli.terminal import require_screen
from mistral_chat.system import disable_core_dumps
from mistral_chat.ui.performance import tuned

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program
    from mistral_chat.engine.thread import EngineThread
    from mistral_chat.store.store import ConversationStore


def run_tui(program: Program, **given: Any) -> None:
    """Open the app in the terminal with the `options.conversation_options` and the prompt format, and exit with its code.

    Raises:
        click.UsageError: there is no terminal, or options cannot be used together.
        MistralChatError: the settings or the conversations cannot be used.
    """
    refuse_conflicts(given)
    require_screen(program.environ)
    disable_core_dumps()
    supervise(lambda name: exit_message(program, name), command=fresh_command(sys.argv[1:]))
    sys.exit(_run(program, **given))


def exit_message(program: Program, name: str) -> str:
    """The sentence for standard error after the signal or Windows exception `name` killed the app."""
    from mistral_chat.errors import MistralChatError

    kept = "Your conversations are saved; up to a second of an unfinished reply may be missing."
    if name in {"SIGTERM", "SIGHUP", "SIGINT", "console closed"}:
        return f"the chat was terminated ({name}). {kept}"
    try:
        log_file = program.paths.log_file
    except MistralChatError:
        return f"the chat crashed ({name}). {kept}"
    return f"the chat crashed ({name}). {kept} The last messages of llama.cpp are in {log_file}"


def _run(
    program: Program,
    *,
    system: str | None,
    persona: str,
    resume: bool,
    chat: str | None,
    no_save: bool,
    prompt_format: str | None,
) -> int:
    """Run the app and return its exit code."""
    with tuned():
        from mistral_chat.cli.logs import start_log
        from mistral_chat.ui.app import MistralChatApp
        from mistral_chat.ui.context import AppContext
    saved = not no_save
    start_log(program.paths.log_file if saved else None)
    settings = program.settings
    if persona:
        settings.persona(persona)
    opened = program.open_store() if chat or resume else None  # otherwise the app opens the conversations
    conversation_id = None if opened is None else opened.resolve(chat) if chat else opened.latest()
    engines: list[EngineThread] = []

    def open_engine(spec: str) -> EngineThread:
        engines.append(program.runner(spec, prompt_format=prompt_format, saved=saved))
        return engines[-1]

    context = AppContext(
        open_store=lambda: _purged(program, opened or program.open_store(saved=saved), saved=saved),
        open_engine=open_engine,
        open_retriever=lambda store: program.retriever(
            store.new_connection() if saved else None, saved=saved, chosen=lambda: context.settings.embedding_model
        ),
        settings=settings,
        now=program.now,
        system=system,
        persona=persona,
        saved=saved,
        models=lambda: program.model_service(saved=saved),
        settings_file=program.settings_file,
        discard_snapshots=program.forget_snapshots,
    )
    app = MistralChatApp(context, conversation_id=conversation_id)
    app.run()
    for engine in engines:  # the terminal is the user's again; a KV state takes up to a second
        engine.close()
    return app.return_code or 0


def _purged(program: Program, store: ConversationStore, *, saved: bool) -> ConversationStore:
    """Return the store, and delete its old trash in the background."""
    if saved:
        threading.Thread(target=_purge, args=(program, store.new_connection()), name="purge", daemon=True).start()
    return store


def _purge(program: Program, store: ConversationStore) -> None:
    with closing(store):
        program.purge_old_trash(store)
