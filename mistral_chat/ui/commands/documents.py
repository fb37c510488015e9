"""Commands for document collections and the sources of a message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from mistral_chat.errors import DocumentNotFound, UsageError
from mistral_chat.formatting import counted
from mistral_chat.ui.commands.conversations import open_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.conversation import TranscriptTurn
    from mistral_chat.ui.screens.chat import ChatScreen


async def attach(screen: ChatScreen, name: str) -> None:
    """Attach a collection of documents to the conversation, or detach it; without a name, choose one."""
    from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog

    session = screen.session
    collections = await asyncio.to_thread(session.grounding.available)
    attached = session.grounding.collections
    if not collections and name not in attached:
        raise UsageError("No documents yet. Add some in a shell: mistral-chat docs add FOLDER")
    if not name:
        choices = [
            Choice(
                each.name,
                f"{'✓' if each.name in attached else ' '} {each.name}",
                f"{counted(each.documents, 'document')}, {counted(each.passages, 'passage')}",
            )
            for each in collections
        ]
        text = "Replies use passages of the attached collections. Enter attaches or detaches one."
        chosen: str | None = await screen.app.push_screen_wait(ChoiceDialog("Documents", choices, text=text))
        name = chosen or ""
    if not name:
        return
    if name not in {*attached, *(each.name for each in collections)}:  # what is attached may have been deleted
        raise DocumentNotFound(f"No collection {name!r}. /docs lists them.")
    async with session.grounding.attaching:
        attached = session.grounding.collections
        wanted = [each for each in attached if each != name] if name in attached else [*attached, name]
        await session.grounding.attach(*wanted)
    await session.files.drop_detached()
    screen.notice.show(f"Attached: {', '.join(sorted(wanted))}." if wanted else "No documents attached.")


async def recall(screen: ChatScreen, wanted: str) -> None:
    """Switch recall in this conversation on or off; without an argument, to the other."""
    grounding = screen.session.grounding
    if wanted not in {"", "on", "off"}:
        raise UsageError("Type /recall on or /recall off.")
    on = wanted == "on" if wanted else not grounding.recalls
    await grounding.set_recall(recall=on)
    screen.notice.show(f"Recall is {'on' if on else 'off'} in this conversation. Applies to the next message.")


async def collection_names(screen: ChatScreen) -> Sequence[tuple[str, str]]:
    """The collections of documents."""
    grounding = screen.session.grounding
    found, attached = await asyncio.to_thread(grounding.available), grounding.collections
    return [(each.name, "attached" if each.name in attached else counted(each.documents, "document")) for each in found]


async def show_sources(screen: ChatScreen, turn: TranscriptTurn, *, recalled: bool = False) -> None:
    """Show the sources of a message, or only the exchanges `recalled` for it; with several, ask for one.

    Scrolls to an exchange, shows a passage.
    """
    from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog
    from mistral_chat.ui.dialogs.passage import PassageDialog

    passages = turn.turn.passages
    places = [place for place, each in enumerate(passages) if each.kind == "exchange" or not recalled]
    if not places:
        raise UsageError("No earlier exchanges or documents were used for this message.")
    chosen: str | None = str(places[0])
    if len(places) > 1:
        choices = [
            Choice(str(place), f"[{place + 1}] {passages[place].source}", " ".join(passages[place].text.split()))
            for place in places
        ]
        chosen = await screen.app.push_screen_wait(ChoiceDialog("Sources", choices, text="Given to the model with the message."))
    if chosen is None:
        return
    passage, conversation_id = passages[int(chosen)], screen.session.conversation_id
    if passage.kind == "exchange" and passage.key and conversation_id is not None:
        await open_at(screen, conversation_id, passage.key)
    else:
        await screen.app.push_screen_wait(PassageDialog(passage.source, passage.text))
