"""Commands for whole conversations: create, organise, delete, search, export; their system prompt, sampling and persona."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from mistral_chat.errors import UsageError
from mistral_chat.paths import write_new
from mistral_chat.session.overrides import Overrides
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.sampling import Sampling
    from mistral_chat.session.workspace import Workspace
    from mistral_chat.ui.screens.chat import ChatScreen

LONGEST_TITLE = 200
"""Characters of a title."""


async def rename(screen: ChatScreen, title: str) -> None:
    """Rename a conversation; without a title, ask for it."""
    from mistral_chat.ui.dialogs.input import InputDialog

    chosen = _chosen(screen, "rename")
    before = screen.opened.store.conversation(chosen).summary.title
    dialog = InputDialog("Rename the conversation", label="Title", value=before, confirm="Rename", longest=LONGEST_TITLE)
    entered: str | None = title or await screen.app.push_screen_wait(dialog)
    title = one_line(entered or "", LONGEST_TITLE)
    if title not in {"", before}:
        await screen.opened.rename(chosen, title)
        screen.show_undoable(f"Renamed to “{title}”.")


async def pin(screen: ChatScreen, _argument: str) -> None:
    """Pin or unpin a conversation."""
    chosen = _chosen(screen, "pin")
    summary = screen.opened.store.conversation(chosen).summary
    await screen.opened.pin(chosen, not summary.pinned)
    screen.show_undoable(f"{'Unpinned' if summary.pinned else 'Pinned'} “{summary.title or 'New conversation'}”.")


async def archive(screen: ChatScreen, _argument: str) -> None:
    """Archive or unarchive a conversation."""
    chosen = _chosen(screen, "archive")
    if screen.sidebar.conversations.is_early(chosen):
        return
    summary = screen.opened.store.conversation(chosen).summary
    await screen.opened.archive(chosen, not summary.archived)
    screen.show_undoable(f"{'Unarchived' if summary.archived else 'Archived'} “{summary.title or 'New conversation'}”.")


async def tag(screen: ChatScreen, words: str) -> None:
    """Add or remove tags; without words, list them."""
    chosen = _chosen(screen, "tag")
    if words:
        tags = await screen.opened.tag(chosen, words)
        screen.show_undoable(f"Tags: {' '.join(f'#{name}' for name in tags) or 'none'}.")
        return
    store = screen.opened.store
    used = "  ".join(f"#{name} ({count})" for name, count in store.tags().items())
    mine = " ".join(f"#{name}" for name in store.conversation(chosen).summary.tags) or "none"
    screen.notice.show(f"Tags: {mine}. In use: {used or 'none; /tag WORD adds one'}.")


async def delete(screen: ChatScreen, _argument: str) -> None:
    """Move a conversation to the trash, and show a new one if it was open."""
    chosen = _chosen(screen, "delete")
    if screen.sidebar.conversations.is_early(chosen):
        return
    title = screen.opened.store.conversation(chosen).summary.title
    await screen.opened.delete(chosen)
    if screen.session.conversation_id == chosen:
        await screen.open(None)
    screen.show_undoable(f"Moved “{title or 'New conversation'}” to the trash.")


async def trash(screen: ChatScreen, _argument: str) -> None:
    """Open the trash, and then what was restored from it."""
    from mistral_chat.ui.dialogs.trash import TrashDialog

    workspace = screen.opened

    async def delete(conversation_id: str | None) -> bool:
        traceless = await workspace.delete_permanently(conversation_id, forget=screen.context.discard_snapshots)
        shown = workspace.current.conversation_id
        with screen.commands.errors_shown():  # the deletion has not failed, whatever happens now
            if screen.workspace is workspace and shown is not None and workspace.store.state(shown) is None:
                # Another window moved it to the trash. Its draft is gone with it.
                await screen.open(None, workspace.saver.draft(""))
        return traceless

    async def restore(conversation_id: str) -> None:
        await workspace.saver.write(lambda store: store.restore(conversation_id))

    restored = await screen.app.push_screen_wait(TrashDialog(workspace.store, restore=restore, delete=delete))
    screen.sidebar.reload()
    if restored is not None:
        await screen.open(restored)


async def undo(screen: ChatScreen, _argument: str) -> None:
    """Undo the last action."""
    done = await screen.opened.undo()
    screen.notice.show(f"Undone: {done}" if done else "Nothing to undo.")


async def search(screen: ChatScreen, words: str) -> None:
    """Search all conversations, and open a hit."""
    from mistral_chat.ui.dialogs.search import SearchDialog

    hit = await screen.app.push_screen_wait(SearchDialog(screen.opened.store, words, screen.session.conversation_id))
    if hit is not None:
        await open_at(screen, hit.conversation_id, hit.turn_id)


async def open_at(screen: ChatScreen, conversation_id: str, turn_id: str | None) -> None:
    """Show a conversation at one turn, on the branch that leads to it."""
    workspace = screen.opened
    if turn_id is None:
        await screen.open(conversation_id)
        return
    hidden = all(turn.turn_id != turn_id for turn in workspace.store.turns(conversation_id))
    replying = any(session.conversation_id == conversation_id for session in workspace.replying)
    if hidden and not replying:
        await workspace.saver.write(lambda store: store.switch_branch(turn_id))
    await screen.open(conversation_id)
    if hidden and replying:
        raise UsageError(f"That message is on another branch. Stop the reply ({screen.key_of('chat.stop')}) first.")
    while screen.transcript.turns and all(turn.turn_id != turn_id for turn in screen.transcript.turns):
        if not screen.load_older():
            return
    await screen.transcript.go_to(turn_id)


def filter_list(screen: ChatScreen, words: str) -> None:
    """Filter the list while typing."""
    screen.show_list()
    screen.sidebar.begin_filter(words)


def show_archived(screen: ChatScreen, _argument: str) -> None:
    """Switch between archived and active conversations."""
    screen.show_list()
    screen.sidebar.toggle_archive()


def toggle_list(screen: ChatScreen, _argument: str) -> None:
    """Show or hide the list."""
    if screen.has_class("-narrow"):
        if screen.has_class("-list"):
            screen.remove_class("-list")
            screen.set_focus(screen.composer)
        else:
            focus_list(screen, "")
    else:
        screen.toggle_class("-no-list")
        if screen.has_class("-no-list"):
            screen.set_focus(screen.composer)


def focus_list(screen: ChatScreen, _argument: str) -> None:
    """Go to the list."""
    screen.show_list()
    screen.sidebar.focus_list()


async def temporary(screen: ChatScreen, _argument: str) -> None:
    """Start or leave a temporary chat."""
    from mistral_chat.ui.dialogs.confirm import ConfirmDialog

    if screen.session.replying:
        raise UsageError(f"Stop the reply ({screen.key_of('chat.stop')}) first.")
    saved = screen.saved_workspace
    if saved is None:
        if not screen.context.saved:
            screen.notice.show("Nothing is saved in this session anyway.")
        else:
            await _begin_temporary(screen)
        return
    opened, files = screen.opened, screen.session.files.own
    if screen.message_box.draft.strip() or files or opened.replying or opened.store.latest():
        text = "This temporary chat and its draft will be lost. Use /export to keep it."
        dialog = ConfirmDialog("Discard this temporary chat?", text, yes="Discard", no="Keep chatting")
        if not await screen.app.push_screen_wait(dialog):
            return
    await _end_temporary(screen, saved)


async def _begin_temporary(screen: ChatScreen) -> None:
    """Start a temporary chat.

    The draft of a new conversation moves into it and is deleted from the disk. While nothing can be saved, any draft moves.
    """
    from mistral_chat.store.database import open_database
    from mistral_chat.store.store import ConversationStore

    saved, new, now = screen.opened, screen.session.conversation_id is None, screen.context.now
    screen.message_box.save()
    moves, files = new or saved.saver.problem is not None, screen.session.files
    draft = screen.composer.draft if moves else ""
    screen.saved_workspace = saved
    workspace = screen.new_workspace(ConversationStore(open_database(None), now=now), saved=False)
    if moves:
        workspace.current.files.give([file for file in files.own if not file.collection])
    if new:
        files.give_away()
        saved.saver.save_draft("", "")
    await screen.switch_workspace(workspace, None, draft)


async def _end_temporary(screen: ChatScreen, saved: Workspace) -> None:
    """Discard the temporary chat, and return to the saved conversations."""
    temporary, back = screen.opened, saved.current.conversation_id
    if back is not None and saved.store.state(back) is None:  # another window has deleted it
        back = None
    draft = saved.saver.draft(back or "")
    screen.saved_workspace = None
    await screen.switch_workspace(saved, back, draft)
    await temporary.close()
    again = " Conversations are saved again." if saved.saver.problem is None else ""
    screen.notice.show(f"Temporary chat discarded.{again}")
    await saved.discard([""])  # after a reply elsewhere
    await screen.session.context.refresh()


_SAVING_SECONDS: Final = 5.0
"""How long an export waits for what is not saved yet."""


async def export(screen: ChatScreen, name: str) -> None:
    """Write the conversation to a Markdown file that only its owner can read."""
    from mistral_chat.export.markdown import to_markdown

    conversation_id, store = screen.session.conversation_id, screen.opened.store
    if conversation_id is None:
        raise UsageError("Nothing to export yet. Send a message first.")
    if not name:
        screen.message_box.put(f"/export {proposed_file(screen)}", "Enter exports the conversation to this file.")
        return
    await screen.opened.saver.flush(_SAVING_SECONDS)
    path = await asyncio.to_thread(lambda: write_new(name, to_markdown(store.export_conversation(conversation_id))))
    screen.notice.show(f"Exported to {path}")


def proposed_file(screen: ChatScreen) -> str:
    """A file name made of the words of the title."""
    conversation_id = screen.session.conversation_id
    if conversation_id is None:
        raise UsageError("Nothing to export yet. Send a message first.")
    words = re.findall(r"\w+", screen.opened.store.conversation(conversation_id).summary.title.lower())
    return f"{'-'.join(words[:8])[:60] or 'conversation'}.md"


# Settings of the next message.


async def system(screen: ChatScreen, text: str) -> None:
    """Set the system prompt; without text, show it."""
    if text:
        await screen.session.conversation.apply(Overrides(system=text))
        screen.notice.show("System prompt set. Applies to the next message.")
        return
    now = system_now(screen)
    screen.notice.show(f"System prompt: {now}" if now else "No system prompt. Set one with: /system TEXT")


def system_now(screen: ChatScreen) -> str:
    """The system prompt of the next message."""
    return screen.session.conversation.resolve().system


async def sampling(screen: ChatScreen, words: str) -> None:
    """Set a sampling parameter; without words, show all."""
    now = screen.session.conversation.resolve().sampling
    if not words:
        shown = " · ".join(f"{name} {value}" for name, value in _values(now).items())
        screen.notice.show(f"{shown}. Change one with: /set temperature 0.2")
        return
    await screen.session.conversation.apply(Overrides(sampling=_changed(now, words)))
    screen.notice.show(f"{words.split(maxsplit=1)[0]} = {words.split()[1]}. Applies to the next message.")


async def sampling_values(screen: ChatScreen) -> Sequence[tuple[str, str]]:
    """The sampling parameters, each with its value."""
    return [(name, f"now {value}") for name, value in _values(screen.session.conversation.resolve().sampling).items()]


def _values(sampling: Sampling) -> dict[str, str]:
    """The parameters by their names, as the user writes them."""
    return {name: "none" if value is None else str(value) for name, value in asdict(sampling).items()}


def _changed(now: Sampling, words: str) -> Sampling:
    """Change one parameter by its name.

    Raises:
        UsageError: no such parameter, or a value it cannot have.
    """
    name, _, value = words.partition(" ")
    if name not in (known := _values(now)):
        raise UsageError(f"Unknown sampling parameter {name!r}. Known: {', '.join(known)}.")
    whole = name in {"top_k", "seed", "max_tokens"}
    try:
        number = None if value.strip() == "none" and name in {"seed", "max_tokens"} else (int if whole else float)(value)
        changes: dict[str, Any] = {name: number}
        return replace(now, **changes)
    except ValueError as error:
        why = str(error) if value.strip() and name in str(error) else f"{name} takes a {'whole number' if whole else 'number'}"
        raise UsageError(f"{why}. Example: /set temperature 0.2") from error


async def persona(screen: ChatScreen, name: str) -> None:
    """Choose a persona, or ``none``; without a name, ask."""
    from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog

    personas, session = screen.context.settings.personas, screen.session
    now = session.conversation.resolve().persona
    none_yet = f"No personas yet. Add one in the settings: {screen.key_of('chat.settings')}, then personas."
    if not name:
        if not personas:
            screen.notice.show(none_yet)
            return
        choices = [Choice("", "none", "The system prompt and sampling of the settings")]
        for each, found in personas.items():
            choices.append(Choice(each, each, found.system.strip().partition("\n")[0] or "No system prompt"))
        marked = [each._replace(label=f"{each.label} (current)") if each.value == now else each for each in choices]
        chosen = await screen.app.push_screen_wait(ChoiceDialog("Choose a persona", marked, selected=now))
        if chosen is None or session is not screen.session:
            return
        name = chosen
    elif name == "none" and name not in personas:
        name = ""
    elif not personas:
        raise UsageError(none_yet)
    else:
        screen.context.settings.persona(name)
    if name == now:
        screen.notice.show(f"The persona is already {name}." if name else "No persona is in use.")
        return
    await session.conversation.apply(Overrides(persona=name))
    await session.context.prefill()
    screen.show_undoable(
        f"Persona: {name}. Applies to the next message." if name else "Persona removed, starting with the next message."
    )


async def persona_names(screen: ChatScreen) -> Sequence[tuple[str, str]]:
    """The personas, and none."""
    personas = screen.context.settings.personas
    found = [(name, one_line(persona.system, 60) or "no system prompt") for name, persona in personas.items()]
    return [*found, ("none", "the system prompt and sampling of the settings")] if found else []


def _chosen(screen: ChatScreen, what: str) -> str:
    """The conversation under the list's cursor if the list has the focus, or the open one.

    Raises:
        UsageError: there is none.
    """
    listed = screen.sidebar.conversations
    chosen = listed.marked if listed.has_focus else screen.session.conversation_id
    if chosen is None:
        nothing = "No conversation is selected." if listed.has_focus else f"Nothing to {what} yet. Send a message first."
        raise UsageError(nothing)
    return chosen
