"""Commands for messages and replies: select, copy, save, pin, exclude, edit, regenerate, fork, switch versions."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Literal

from mistral_chat.errors import UsageError
from mistral_chat.formatting import counted
from mistral_chat.message_form import build_message, join_messages, split_message
from mistral_chat.paths import output_path
from mistral_chat.ui.commands import Command, all_commands
from mistral_chat.ui.keymap import format_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.conversation import TranscriptTurn
    from mistral_chat.ui.dialogs.choice import ChoiceDialog
    from mistral_chat.ui.markdown import Code
    from mistral_chat.ui.screens.chat import ChatScreen

# Selecting.


async def select(screen: ChatScreen, step: int) -> None:
    """Select the turn before or after; past the last one, return to the message box."""
    turns, selected = screen.transcript.turns, screen.transcript.selected
    if not turns:
        raise UsageError("Nothing to select yet. Send a message first.")
    place = (len(turns) if selected is None else [turn.turn_id for turn in turns].index(selected.turn_id)) + step
    if place >= len(turns):
        screen.leave_transcript()
        return
    if place < 0:
        before = len(turns)
        screen.load_older()
        turns = screen.transcript.turns
        place = max(0, place + len(turns) - before)
    screen.transcript.focus(scroll_visible=False)
    await screen.transcript.select(turns[place].turn_id)
    screen.commands.in_background(partial(show_cost, screen, turns[place]))


async def show_cost(screen: ChatScreen, turn: TranscriptTurn) -> None:
    """Show how many tokens a turn takes."""
    context = screen.session.context
    tokens = await context.tokens_of(turn)
    if tokens is not None:
        screen.transcript.show_context(context.seen, {turn.turn_id: tokens})


async def menu(screen: ChatScreen, _argument: str) -> None:
    """Show the actions for the selected turn or the last one, and run the chosen one."""
    turn = selected_turn(screen)
    await screen.transcript.select(turn.turn_id)
    actions = [(each.id, each.turn_label(turn), _letter(screen, each)) for each in all_commands() if each.turn_label]
    tokens = await screen.session.context.tokens_of(turn)
    chosen = await screen.app.push_screen_wait(turn_menu(turn, actions, tokens=tokens))
    if chosen is not None:
        screen.call_later(screen.action_command, chosen)


def turn_menu(shown: TranscriptTurn, actions: Sequence[tuple[str, str, str]], *, tokens: int | None) -> ChoiceDialog:
    """Return the menu for the turn `shown`; its result is the id of the command to run.

    Args:
        shown: the turn; its text is untrusted.
        actions: the id of each command, its label, empty where it does not apply, and its key while the turn is selected.
        tokens: how many tokens the turn takes; None while that is not known.
    """
    from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog

    turn, versions = shown.turn, (("message", shown.message), ("reply", shown.reply))
    parts = [
        f"{tokens:,} tokens in context" if tokens is not None else "tokens not counted yet",
        "pinned" if turn.pinned else "",
        "excluded" if turn.excluded else "",
        *(f"{what} {place[0]} of {place[1]}" for what, place in versions if place[1] > 1),
    ]
    choices = [Choice(name, label, key=key) for name, label, key in actions if label]
    title = split_message(turn.user).question.strip() or "Message"
    return ChoiceDialog(title, choices, text=" · ".join(filter(None, parts)))


async def show_file(screen: ChatScreen, _argument: str) -> None:
    """Show the text of a file that was sent with the selected message or the last one; of several, ask for one."""
    from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog
    from mistral_chat.ui.dialogs.passage import PassageDialog

    turns = screen.transcript.turns
    turn = screen.transcript.selected or (turns[-1] if turns else None)
    files = split_message(turn.turn.user).files if turn is not None else ()
    if not files:
        raise UsageError("No attachments in this message.")
    chosen: str | None = "0"
    if len(files) > 1:
        choices = [Choice(str(place), file.name, file.lines) for place, file in enumerate(files)]
        chosen = await screen.app.push_screen_wait(ChoiceDialog("Attachments", choices, text="Sent with the message."))
    if chosen is not None:
        await screen.app.push_screen_wait(PassageDialog(*files[int(chosen)]))


def _letter(screen: ChatScreen, wanted: Command) -> str:
    """The key that runs a command while a message is selected, as configured."""
    default = wanted.turn_letter or {"chat.branch_before": "left", "chat.branch_after": "right"}.get(wanted.id, "")
    return format_keys(screen.context.settings.keymap.get(f"transcript.{wanted.id.partition('.')[2]}", default))


# Scrolling, from the message box.


async def scroll_top(screen: ChatScreen, _argument: str) -> None:
    """Scroll to the first message."""
    while screen.load_older():
        pass
    await screen.transcript.show_oldest()


# Copying and saving.


async def copy_message(screen: ChatScreen, _argument: str) -> None:
    """Copy the user's message of a turn: what was typed, or the whole message if that is only files."""
    message = selected_turn(screen).turn.user
    await copy(screen, split_message(message).rest or message)


async def copy_reply(screen: ChatScreen, _argument: str) -> None:
    """Copy the reply of the selected turn, or the last reply, as Markdown."""
    selected = screen.transcript.selected
    turns = [selected] if selected is not None and selected.turn.reply else screen.transcript.turns
    replies = [turn.turn.reply for turn in turns if turn.turn.reply]
    if not replies:
        raise UsageError("No reply to copy yet.")
    await copy(screen, replies[-1])


async def copy_code(screen: ChatScreen, _argument: str) -> None:
    """Copy a code block; each call copies the next one."""
    turn, blocks = _code(screen)
    last, place = screen.copied_block
    place = (place + 1) % len(blocks) if last == turn.turn_id else 0
    screen.copied_block = (turn.turn_id, place)
    await copy(screen, blocks[place].text, f"code block {place + 1} of {len(blocks)}")


async def save_code(screen: ChatScreen, _argument: str) -> None:
    """Save a code block to a file; of several, ask for one, at first the one that was copied last."""
    from mistral_chat.ui.dialogs.save_code import choose_code, name_file

    turn, blocks = _code(screen)
    last, place = screen.copied_block
    place = place if last == turn.turn_id else 0
    if len(blocks) > 1:
        chosen: str | None = await screen.app.push_screen_wait(choose_code("Save a code block", blocks, place))
        if chosen is None:
            return
        place = int(chosen)
    if (name := await screen.app.push_screen_wait(name_file(blocks[place]))) is not None:
        screen.notice.show(f"Saved to {output_path(name)}")


async def copy(screen: ChatScreen, text: str, what: str = "") -> None:
    """Copy `text` to the clipboard; `what` describes it in the notification."""
    from mistral_chat.ui.clipboard import set_clipboard, terminal_way

    used = await set_clipboard(text, os.environ)
    if not used:
        screen.app.copy_to_clipboard(text)
    way = f"with {used}" if used else terminal_way(os.environ)
    size = counted(len(text), "character")
    screen.notice.show(f"Copied {what} ({size}) {way}." if what else f"Copied {size} {way}.")


async def open_editor(screen: ChatScreen, _argument: str) -> None:
    """Edit the draft in the user's own editor. What returns to the message box meanwhile stays, before what was written."""
    from mistral_chat.ui.editor import edit_externally

    before, session = screen.composer.text, screen.workspace.current if screen.workspace is not None else None
    written = await edit_externally(screen.app, before, os.environ)
    if session is not None and session is not screen.session and not screen.view.shares_draft(session):
        screen.view.save_elsewhere(session, written, before)  # on Windows, the chat stays on the screen
        return
    now, sent = split_message(screen.composer.text), split_message(before)
    returned = build_message(
        [file for file in now.files if file not in sent.files], "", now.rest.removesuffix(sent.rest).rstrip()
    )
    screen.composer.text = join_messages(returned, written)


def code_of(shown: TranscriptTurn) -> Sequence[Code]:
    """The code blocks of a turn's reply, in their order."""
    from mistral_chat.ui.markdown import code_blocks

    return code_blocks(shown.turn.reply)


def _code(screen: ChatScreen) -> tuple[TranscriptTurn, Sequence[Code]]:
    """The selected turn with its code blocks; with none selected, the last turn that has any."""
    selected = screen.transcript.selected
    for turn in [selected] if selected is not None else reversed(screen.transcript.turns):
        if blocks := code_of(turn):
            return turn, blocks
    raise UsageError("No code in this reply." if selected is not None else "No code in these replies.")


# Pinning and excluding.


async def pin(screen: ChatScreen, _argument: str) -> None:
    """Pin a turn in the context, or unpin it."""
    turn, session = selected_turn(screen), screen.session
    tokens = await session.context.tokens_of(turn)
    if turn.turn.pinned:
        await session.set_flags(turn, "unpin a message", pinned=False)
        screen.notice.show(f"Unpinned{_in_tokens(tokens)}. It can drop out of the context again.")
    elif (room := await session.context.shortage_if_pinned(tokens or 0)) is not None:
        screen.show_error(f"Too large to pin{_in_tokens(tokens)}: only {max(0, room):,} tokens would be left for messages.")
    else:
        await session.set_flags(turn, "pin a message", pinned=True, excluded=False)
        screen.notice.show(f"Pinned in context{_in_tokens(tokens)}.")


async def exclude(screen: ChatScreen, _argument: str) -> None:
    """Exclude a turn from the context, or include it."""
    turn, session = selected_turn(screen), screen.session
    tokens = await session.context.tokens_of(turn)
    if turn.turn.excluded:
        await session.set_flags(turn, "include a message", excluded=False)
        screen.notice.show(f"Included in context{_in_tokens(tokens)}.")
    else:
        await session.set_flags(turn, "exclude a message", pinned=False, excluded=True)
        screen.notice.show(f"Excluded from context{_in_tokens(tokens)}.")


async def statistics(screen: ChatScreen, _argument: str) -> None:
    """Show or hide token counts and speed under replies, also after a restart."""
    shown = not screen.context.settings.statistics
    screen.notice.show(f"Reply statistics {'on' if shown else 'off'}.")
    await screen.settings_sync.save("statistics", shown)  # afterwards: it may have an error to show


def _in_tokens(tokens: int | None) -> str:
    return f" ({tokens:,} tokens)" if tokens is not None else ""


# Branches.


async def regenerate(screen: ChatScreen, _argument: str) -> None:
    """Regenerate a reply; the original is kept as a branch."""
    from mistral_chat.session.reply import Regenerate

    await screen.message_box.send(Regenerate(selected_turn(screen).turn_id))


def recalled(shown: TranscriptTurn) -> bool:
    """Whether earlier exchanges were recalled for a turn."""
    return any(each.kind == "exchange" for each in shown.turn.passages)


async def regenerate_without_recall(screen: ChatScreen, _argument: str) -> None:
    """Regenerate a reply without the exchanges that were recalled for it; the original is kept as a branch."""
    from mistral_chat.session.reply import Regenerate

    turn = selected_turn(screen)
    if not recalled(turn):
        raise UsageError("Nothing was recalled for this message.")
    await screen.message_box.send(Regenerate(turn.turn_id, recall=False))


async def continue_reply(screen: ChatScreen, _argument: str) -> None:
    """Continue the last reply."""
    from mistral_chat.session.reply import ContinueReply

    selected_turn(screen)
    last = screen.transcript.turns[-1]
    if not last.turn.reply:
        raise UsageError(f"No reply to continue. {screen.key_of('chat.regenerate')} regenerates one.")
    await screen.message_box.send(ContinueReply(last.turn_id))


def edit(screen: ChatScreen, _argument: str) -> None:
    """Edit a message; the original is kept as a branch."""
    turn = selected_turn(screen)
    # Keys typed before this one may not have reached the message box yet; what follows must come after them.
    screen.set_focus(screen.composer)
    screen.composer.call_later(screen.message_box.begin_edit, turn)


async def fork(screen: ChatScreen, _argument: str) -> None:
    """Fork the conversation at a turn, and open the copy."""
    await screen.open(await screen.session.fork(selected_turn(screen).turn_id))
    screen.notice.show("Forked. The original is unchanged.")


def step_version(screen: ChatScreen, step: int) -> None:
    """Show the previous or next version of a turn; in a draft, move a word left or right."""
    if not (screen.composer.has_focus and screen.composer.text):
        screen.commands.in_background(partial(walk, screen, step))
    elif step < 0:
        screen.composer.action_cursor_word_left()
    else:
        screen.composer.action_cursor_word_right()


async def walk(screen: ChatScreen, step: int, turn_id: str = "", among: Literal["all", "messages", "replies"] = "all") -> None:
    """Go `step` versions on: at the turn `turn_id`, else at the selected one, else at the last that has several."""
    session, transcript = screen.session, screen.transcript
    if session.replying:
        raise UsageError(f"Stop the reply ({screen.key_of('chat.stop')}) first.")
    selected = transcript.selected
    turns = [selected] if selected is not None else list(reversed(transcript.turns))
    found = turn_id or next((turn.turn_id for turn in turns if turn.siblings > 1), "")
    if not found:
        again, edits = screen.key_of("chat.regenerate"), screen.key_of("chat.edit")
        raise UsageError(f"Only one version. {again} regenerates, {edits} edits.")
    before = next((turn.message for turn in transcript.turns if turn.turn_id == found), None)
    shown = await session.switch_branch(found, step, among)
    if turn_id or selected is not None:
        while all(turn.turn_id != shown.turn_id for turn in transcript.turns):
            if not screen.load_older():
                return
        await transcript.select(shown.turn_id)
    what, (number, count) = ("Reply", shown.reply) if shown.message == before else ("Message", shown.message)
    end = {1: ", the oldest", count: ", the newest"}.get(number, "")
    screen.notice.show(f"{what} {number} of {count}{end}")


def selected_turn(screen: ChatScreen) -> TranscriptTurn:
    """The selected turn, or the last one.

    Raises:
        UsageError: a reply is being generated, or there is no turn.
    """
    if screen.session.replying:
        raise UsageError(f"Stop the reply ({screen.key_of('chat.stop')}) first.")
    if not screen.transcript.turns:
        raise UsageError("No messages yet. Send one first.")
    return screen.transcript.selected or screen.transcript.turns[-1]
