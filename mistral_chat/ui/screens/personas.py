"""Personas: the part of the chat screen that asks who the model is to be, and holds the conversation so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from textual import work

from mistral_chat.errors import UsageError
from mistral_chat.ui.screens.visiting import VisitingScreen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mistral_chat.config import Persona
    from mistral_chat.generation import Sampling
    from mistral_chat.store.store import ConversationStore
    from mistral_chat.ui.dialogs.choice import ChoiceDialog
    from mistral_chat.ui.screens.page import Page


class _Way(NamedTuple):
    """How a conversation is held. In a new one, None leaves a part to how the program was started and to the settings."""

    persona: str | None
    system: str | None
    sampling: Sampling | None


class PersonasScreen(VisitingScreen):
    """Gives the conversation on the screen a persona: its name, its system prompt and its sampling."""

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_persona(self) -> None:
        """Choose a persona for the conversation on the screen, or none."""
        personas, page = self.rooms.settings.personas, self.page
        if self.store is None:
            return
        if not personas:
            self.notice.show(self._none_yet)
            return
        name = await self.app.push_screen_wait(_choice(personas, self._persona_of(self.store, page)))
        if name is not None and page is self.page:
            self._choose_persona(name)

    @property
    def _none_yet(self) -> str:
        key = self.key_of("chat.settings")
        return f"There are no personas yet. Add one in the settings: {key}, then personas."

    async def do_persona(self, name: str) -> None:
        """Hold the conversation on the screen with the persona `name`, or with ``none``; without a name, ask which.

        Raises:
            UsageError: no such persona.
        """
        personas = self.rooms.settings.personas
        if not name:
            self.action_persona()
        elif name == "none" and name not in personas:
            self._choose_persona("")
        elif not personas:
            raise UsageError(self._none_yet)
        else:
            self._choose_persona(name)

    def _choose_persona(self, name: str) -> None:
        store, page = self._store(), self.page
        if name == self._persona_of(store, page):
            self.notice.show(f"The persona is {name} already." if name else "There is no persona in this conversation.")
            return
        before = self._way_of(store, page)
        if name:
            persona = self.rooms.settings.persona(name)
            self._hold(store, page, _Way(name, persona.system, persona.sampling))
        else:
            self._hold(store, page, _Way("", None, None))
        self._did("persona", lambda: self._hold(store, page, before))
        told = f"Persona: {name} from the next message on." if name else "No persona from the next message on."
        self.notice.show(told, action=f"{self.key_of('chat.undo')} undoes it")

    def _persona_of(self, store: ConversationStore, page: Page) -> str:
        """The name of the persona of the next message; empty for none."""
        held = self._way_of(store, page).persona
        return self.rooms.persona if held is None else held

    def _way_of(self, store: ConversationStore, page: Page) -> _Way:
        if page.conversation_id is None:
            return _Way(page.persona, page.system, page.sampling)
        stored = store.conversation(page.conversation_id)
        return _Way(stored.persona, stored.system, stored.sampling)

    def _hold(self, store: ConversationStore, page: Page, way: _Way) -> None:
        """Keep a way for the first message of a new conversation, or with the conversation where there is one."""
        page.persona, page.system, page.sampling = way
        if page.conversation_id is not None:
            rooms = self.rooms
            name = rooms.persona if way.persona is None else way.persona
            # A persona that the settings do not have any more leaves its name, and nothing else to go by.
            persona = rooms.settings.personas.get(name)
            other = persona.system if persona is not None else rooms.settings.system
            otherwise = other if rooms.system is None else rooms.system
            store.set_persona(page.conversation_id, name)
            store.set_system(page.conversation_id, otherwise if way.system is None else way.system)
            store.set_sampling(page.conversation_id, way.sampling or (persona.sampling if persona is not None else None))
        if page is self.page:
            self.read_ahead()


def _choice(personas: Mapping[str, Persona], current: str) -> ChoiceDialog:
    """Return the list of personas, with the cursor on the `current` one; its result is a name, empty for no persona."""
    from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog

    choices = [Choice("", "none", "The system prompt and sampling of the settings")]
    for name, persona in personas.items():
        choices.append(Choice(name, name, persona.system.strip().partition("\n")[0] or "No system prompt"))
    marked = [choice._replace(label=f"{choice.label} (current)") if choice.value == current else choice for choice in choices]
    return ChoiceDialog("Choose a persona", marked, selected=current)
