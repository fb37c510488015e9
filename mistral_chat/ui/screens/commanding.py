"""Slash commands: the part of the chat screen that reads and obeys them."""

from __future__ import annotations

import asyncio
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from textual import work

from mistral_chat.errors import MistralChatError, UsageError
from mistral_chat.generation import Sampling
from mistral_chat.text import one_line
from mistral_chat.ui.screens.finding import FindingScreen
from mistral_chat.ui.slash import COMMANDS, matching, read

if TYPE_CHECKING:
    from mistral_chat.store.store import ConversationStore
    from mistral_chat.ui.screens.page import Page


class CommandingScreen(FindingScreen):
    """Tells commands from messages, and sends what is a message."""

    async def say(self, draft: str) -> None:
        """Send `draft`, or do what it asks for. An unknown command is refused and goes back to the composer."""
        if self.editing is not None:
            self.send_edited(draft)
            return
        said = read(draft)
        if said.message is not None:
            self.send(said.message)
        elif said.command is None:
            self._refuse(draft, said.refusal)
        elif said.command.action.endswith("_with"):
            try:
                await getattr(self, f"do_{said.command.action.removesuffix('_with')}")(said.argument)
            except MistralChatError as error:
                self._refuse(draft, str(error))
        else:
            await self.run_action(said.command.action)

    def _refuse(self, draft: str, reason: str) -> None:
        """Give a command back, and say why for as long as it stands there unchanged."""
        self._put(draft, reason, trouble=True)

    def _put(self, draft: str, told: str, *, trouble: bool = False) -> None:
        """Put a command into the composer, and what is told of it above, for as long as it stands there unchanged."""
        self.composer.set_draft(draft)
        self._refused_draft = self.composer.text
        self.notice.show(told, severity="warning" if trouble else "information", stay=True)
        self._listing = True

    def on_composer_completion_asked(self) -> None:
        """Complete a command's name."""
        found = matching(self.composer.text)
        if len(found) == 1:
            self.composer.set_draft(f"/{found[0].name}" + (" " if found[0].argument else ""))
        self.list_commands()

    def list_commands(self) -> None:
        """Show the commands that the draft may be the beginning of, but for one that was just refused."""
        if self.composer.text == self._refused_draft != "":
            return
        self._refused_draft = ""
        found = matching(self.composer.text)
        if len(found) == 1:
            self.notice.show(f"/{found[0].name} {found[0].argument}: {found[0].help}".replace(" :", ":"), stay=True)
            self._listing = True
        elif found:
            self.notice.show("  ".join(f"/{command.name}" for command in found), stay=True)
            self._listing = True
        elif self._listing:
            self._listing = False
            self.notice.clear()

    _listing = False
    """Whether the notice speaks of the command in the draft."""
    _refused_draft = ""
    """The command that was refused, while it stands unchanged."""

    async def do_system(self, text: str) -> None:
        """Set the system prompt of the conversation on the screen; without text, say what it is."""
        store, page = self._store(), self.page
        if text:
            page.system = text
            if page.conversation_id is not None:
                store.set_system(page.conversation_id, text)
            self.notice.show("The system prompt holds from the next message on.")
            return
        now = self._system_now()
        self.notice.show(f"System prompt: {now}" if now else "There is no system prompt. Set one with: /system TEXT")

    def _system_now(self) -> str:
        """The system prompt of the next message."""
        page, rooms = self.page, self.rooms
        if page.conversation_id is not None:
            return self._store().conversation(page.conversation_id).system
        persona = rooms.settings.personas.get(rooms.persona) if page.persona is None else None
        begun = persona.system if persona is not None else rooms.settings.system
        return next(text for text in (page.system, rooms.system, begun) if text is not None)

    async def do_set(self, words: str) -> None:
        """Set how tokens are drawn in the conversation on the screen; without words, say how they are.

        Raises:
            UsageError: no such setting, or a value it cannot have.
        """
        store, page = self._store(), self.page
        sampling = page.sampling or self._begun_sampling(store, page) or self.rooms.settings.sampling
        if not words:
            values = {field.name: getattr(sampling, field.name) for field in fields(Sampling)}
            told = " · ".join(f"{name} {'none' if value is None else value}" for name, value in values.items())
            self.notice.show(f"{told}. Change one with: /set temperature 0.2")
            return
        page.sampling = _changed(sampling, words)
        if page.conversation_id is not None:
            store.set_sampling(page.conversation_id, page.sampling)
        self.notice.show(f"{words.split(maxsplit=1)[0]} is {words.split()[1]} from the next message on.")

    def _begun_sampling(self, store: ConversationStore, page: Page) -> Sampling | None:
        """How the conversation draws tokens by itself or by its persona; None where the settings say it."""
        if page.conversation_id is not None:
            return store.conversation(page.conversation_id).sampling
        persona = self.rooms.settings.personas.get(self.rooms.persona if page.persona is None else page.persona)
        return persona.sampling if persona is not None else None

    async def do_export(self, name: str) -> None:
        """Write the conversation on the screen to a Markdown file that only its owner can read.

        Raises:
            UsageError: there is nothing to write, or the file is there already or cannot be written.
        """
        store, conversation_id = self._store(), self.page.conversation_id
        if conversation_id is None:
            raise UsageError("There is nothing to export yet. Send a message first.")
        if not name:
            self._put(f"/export {self._proposed_file(store, conversation_id)}", "Enter writes the conversation to this file.")
            return
        path = await asyncio.to_thread(_export, store, conversation_id, name)
        self.notice.show(f"The conversation is in {path}")

    def _proposed_file(self, store: ConversationStore, conversation_id: str) -> str:
        """A name for the exported file, made of the words of the title."""
        words = re.findall(r"\w+", store.conversation(conversation_id).summary.title.lower())
        return f"{'-'.join(words[:8])[:60] or 'conversation'}.md"

    @work(group="dialog", exclusive=True, exit_on_error=False)
    async def action_ask(self, name: str) -> None:
        """Ask for what stands behind the slash command `name`, and do it."""
        from mistral_chat.ui.dialogs.input import InputDialog

        command = next(each for each in COMMANDS if each.name == name)
        value, page = "", self.page
        try:
            if name == "export" and page.conversation_id is not None:
                value = self._proposed_file(self._store(), page.conversation_id)
            elif name == "system":
                value = self._system_now()
            about = f"{command.help[0].upper()}{command.help[1:]}."
            ask = InputDialog(command.title, label=command.argument.capitalize(), value=value, about=about)
            text = await self.app.push_screen_wait(ask)
            # A system prompt of several lines is shown on one here; Enter alone does not make it so.
            if text is not None and not (name == "system" and text == one_line(value, 4000).strip()):
                await getattr(self, f"do_{name}")(text)
        except MistralChatError as error:
            self.notice.show(str(error), severity="warning")

    def _store(self) -> ConversationStore:
        if self.store is None:
            raise UsageError("The conversations are not open yet.")
        return self.store


def _changed(sampling: Sampling, words: str) -> Sampling:
    """Change one setting by its name.

    Raises:
        UsageError: no such setting, or a value it cannot have.
    """
    names = [field.name for field in fields(Sampling)]
    name, _, value = words.partition(" ")
    if name not in names:
        raise UsageError(f"There is no setting {name!r}. There are: {', '.join(names)}.")
    whole = name in {"top_k", "seed", "max_tokens"}
    try:
        number = None if value.strip() == "none" and name in {"seed", "max_tokens"} else (int if whole else float)(value)
        changes: dict[str, object] = {name: number}
        return replace(sampling, **changes)  # type: ignore[arg-type]  # the name was looked up among the fields just above
    except ValueError as error:
        why = str(error) if value.strip() and name in str(error) else f"{name} takes a {'whole number' if whole else 'number'}"
        raise UsageError(f"{why}. For instance: /set temperature 0.2") from error


def _export(store: ConversationStore, conversation_id: str, name: str) -> Path:
    from mistral_chat.export.markdown import to_markdown
    from mistral_chat.paths import output_path, private_opener

    path = output_path(name)
    try:
        with open(path, "x", encoding="utf-8", newline="", opener=private_opener) as file:
            file.write(to_markdown(store.export_conversation(conversation_id)))
    except FileExistsError as error:
        raise UsageError(f"{path} exists already. Choose another name.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}). Nothing was exported.") from error
    return path
