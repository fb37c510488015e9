"""Commands for the user's documents and for what a message was given of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mistral_chat.errors import DocumentNotFound, UsageError
from mistral_chat.ui.commands.turns import selected_turn

if TYPE_CHECKING:
    from mistral_chat.ui.screens.chat import ChatScreen


async def attach(screen: ChatScreen, name: str) -> None:
    """Attach a collection of documents to the conversation, or detach it; without a name, choose one."""
    from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog

    session, retriever = screen.session, screen.context.retriever
    collections = await asyncio.to_thread(retriever.documents.documents.collections) if retriever is not None else []
    if not collections:
        raise UsageError("No documents yet. Index some in a shell: mistral-chat docs add FOLDER")
    attached = session.grounding.collections
    if not name:
        choices = [
            Choice(
                each.name,
                f"{'✓' if each.name in attached else ' '} {each.name}",
                f"{each.documents:,} documents, {each.passages:,} passages",
            )
            for each in collections
        ]
        text = "Replies use passages of the attached collections. Enter attaches or detaches one."
        chosen: str | None = await screen.app.push_screen_wait(ChoiceDialog("Documents", choices, text=text))
        name = chosen or ""
    if not name:
        return
    if name not in {each.name for each in collections}:
        raise DocumentNotFound(f"No collection {name!r}. /docs lists them.")
    wanted = [each for each in attached if each != name] if name in attached else [*attached, name]
    await session.grounding.attach(*wanted)
    screen.notice.show(f"Documents: {', '.join(sorted(wanted))}." if wanted else "No documents attached.")


async def sources(screen: ChatScreen, _argument: str) -> None:
    """Show what the model was given with a message; choosing an exchange goes to it, choosing a passage shows it."""
    from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog
    from mistral_chat.ui.dialogs.passage import PassageDialog

    passages = selected_turn(screen).turn.passages
    if not passages:
        raise UsageError("No earlier exchanges or documents were used for this message.")
    choices = [
        Choice(str(number), f"[{number}] {each.source}", " ".join(each.text.split())) for number, each in enumerate(passages, 1)
    ]
    chosen = await screen.app.push_screen_wait(
        ChoiceDialog("Sources", choices, text="What the model was given with the message.")
    )
    if chosen is None:
        return
    passage, conversation_id = passages[int(chosen) - 1], screen.session.conversation_id
    if passage.kind == "exchange" and passage.key and conversation_id is not None:
        await screen.open_at(conversation_id, passage.key)
    else:
        await screen.app.push_screen_wait(PassageDialog(passage.source, passage.text))
