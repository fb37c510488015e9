"""Commands for the app: stop, copy, reload the model, attachments, context, prompt, background tasks."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from mistral_chat.errors import UsageError
from mistral_chat.message_form import split_message
from mistral_chat.session.tasks import cancelled_message
from mistral_chat.ui.commands import parse_input
from mistral_chat.ui.commands.turns import copy
from mistral_chat.ui.path_completion import path_from_input
from mistral_chat.ui.themes import THEMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.ui.screens.chat import ChatScreen


async def stop(screen: ChatScreen, _argument: str) -> None:
    """Stop the reply; else cancel the edit, return queued messages, or close what covers the chat and return to the box."""
    session = screen.session
    if screen.composer.close_menu():
        screen.view.show_hints()
    elif not session.replying and await screen.message_box.cancel_edit():
        return
    elif session.replying or session.queue:
        await session.stop()
    else:
        screen.sidebar.reset()
        screen.remove_class("-list")
        screen.leave_transcript()


async def copy_or_stop(screen: ChatScreen, _argument: str) -> None:
    """Copy the selection; else stop the reply; else clear the draft; else quit, when pressed twice."""
    selected = screen.composer.selected_text if screen.composer.has_focus else ""
    if text := selected or screen.get_selected_text() or "":
        screen.commands.in_background(partial(copy, screen, text))
    elif screen.session.replying or screen.session.queue:
        await screen.session.stop()
    elif screen.composer.text:
        screen.composer.clear()
        screen.notice.show("Draft cleared. Ctrl+Z restores it.")
    elif screen.commands.pressed_twice():
        await screen.app.run_action("quit")
    else:
        screen.notice.show("Press Ctrl+C again to quit.")


async def model_names(screen: ChatScreen) -> Sequence[tuple[str, str]]:
    """The models that are installed, and those that can be downloaded."""
    listing = await asyncio.to_thread(screen.context.models().listing, screen.host.model, None)
    return [(row.spec, "installed" if row.installed else "can be downloaded") for row in listing.rows]


def retry(screen: ChatScreen, _argument: str) -> None:
    """Retry what failed: opening the conversations, or loading the model."""
    if screen.workspace is None:
        screen.open_store()
    elif screen.host.error is not None:
        screen.models.load()
    else:
        ready = screen.host.loaded is not None
        screen.notice.show("The model is already loaded." if ready else "The model is loading.")


async def attach(screen: ChatScreen, path: str) -> None:
    """Attach a document to the next message; without a path, ask for it."""
    if path:
        await screen.message_box.attach(path_from_input(path))
    else:
        screen.commands.in_background(partial(choose_file, screen), "dialog")


async def choose_file(screen: ChatScreen, sign: str = "") -> None:
    """Ask for a file, and attach it; if there is none, insert the `sign` that asked for it, and what was typed after it."""
    from mistral_chat.ui.dialogs.attach import AttachDialog

    before = len(screen.session.attachments)
    dialog = AttachDialog(screen.message_box.attach, screen.attach_folder)
    folder = await screen.app.push_screen_wait(dialog)
    screen.attach_folder = folder or screen.attach_folder
    if sign and len(screen.session.attachments) == before:
        screen.composer.insert(sign + dialog.left)


async def context(screen: ChatScreen, _argument: str) -> None:
    """Show the context usage."""
    from mistral_chat.ui.dialogs.context import ContextDialog

    session, usage = screen.session, screen.session.context.usage
    if usage is None:
        raise UsageError("The model has not loaded yet.")
    turns, conversation_id = screen.transcript.turns, session.conversation_id
    count = screen.opened.store.conversation(conversation_id).summary.turns if conversation_id else 0
    loaded = {turn.turn_id for turn in turns}
    evicted = set(screen.transcript.evicted)
    await screen.app.push_screen_wait(
        ContextDialog(
            usage,
            turns=count,
            excluded=sum(turn.turn.excluded for turn in turns),
            left=[split_message(turn.turn.user).question for turn in turns if turn.turn_id in evicted],
            older=max(0, count - len(loaded | session.context.seen.keys())),
        )
    )


async def prompt(screen: ChatScreen, _argument: str) -> None:
    """Show the exact prompt."""
    from mistral_chat.ui.screens.prompt import PromptScreen

    session, loaded = screen.session, screen.host.loaded
    if loaded is None:
        raise UsageError("The prompt cannot be shown until the model has loaded.")
    message = parse_input(screen.composer.text).message if session.editing is None else None
    preview = await session.context.preview(session.with_attachments(message) if message and message.strip() else "")
    if preview is None or not preview.parts:
        raise UsageError("The prompt is empty. Write a message first.")
    labels, behind = {}, 0
    if session.conversation_id is not None:
        store = screen.opened.store
        stored = [store.turn(part.key) for part in preview.parts if part.key]
        labels = {turn.turn_id: f"Turn {turn.depth}" + (", pinned" if turn.turn.pinned else "") for turn in stored}
        behind = store.conversation(session.conversation_id).summary.turns - len(stored)
    what = f"format {loaded.prompt_format}, {loaded.model}"
    await screen.app.push_screen_wait(PromptScreen(preview, labels=labels, behind=behind, what=what))


def cancel_tasks(screen: ChatScreen, _argument: str) -> None:
    """Cancel the background task; with several, choose from a list."""
    if len(screen.tasks.tasks) > 1:
        from mistral_chat.ui.dialogs.tasks import TasksDialog

        screen.app.push_screen(TasksDialog(screen.tasks))
    else:
        screen.notice.show(cancelled_message(screen.tasks.cancel()))


async def theme(screen: ChatScreen, name: str) -> None:
    """Change the theme; without a name, ask."""
    from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog

    names = themes(screen)
    if not name:
        now = screen.app.theme
        choices = [Choice(each, f"{each} (current)" if each == now else each) for each in names]
        dialog = ChoiceDialog("Choose a theme", choices, selected=now, filterable=True)
        chosen: str | None = await screen.app.push_screen_wait(dialog)
        name = chosen or now
    if name not in names:
        raise UsageError(f"No theme {name!r}. /theme lists them.")
    screen.app.theme = name


def themes(screen: ChatScreen) -> list[str]:
    """The names of the themes, the app's own first."""
    own = [each.name for each in THEMES]
    return [*own, *sorted(name for name in screen.app.available_themes if name not in own)]


async def theme_names(screen: ChatScreen) -> Sequence[tuple[str, str]]:
    """The themes."""
    return [(name, "current" if name == screen.app.theme else "") for name in themes(screen)]
