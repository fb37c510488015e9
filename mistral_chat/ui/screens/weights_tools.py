"""What can be done with weights that are here: checked, given another prompt format, removed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import work

from mistral_chat.errors import MistralChatError
from mistral_chat.formatting import format_size
from mistral_chat.text import one_line
from mistral_chat.ui.screens.weights_choice import WeightsChoice
from mistral_chat.ui.screens.weights_words import FORMATS, Step, checked, doomed, not_ours

if TYPE_CHECKING:
    from mistral_chat.ui.errands import Check
    from mistral_chat.ui.shelf import ShownWeights


class WeightsTools(WeightsChoice):
    """Works on the weights under the cursor."""

    def end(self, spec: str | None) -> None:
        """Leave with what was chosen. The screen for weights says how."""

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_more(self) -> None:
        """Choose what to do with the weights under the cursor."""
        from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog

        weights = self._marked_here()
        if weights is None:
            return
        answers = []
        if weights.place:
            answers.append(Choice("check", "Verify the file", "Verify the SHA-256 checksum"))
            answers.append(Choice("format", "Prompt format", weights.prompt_format or "auto-detected"))
        if weights.frees is not None:
            answers.append(
                Choice("remove", "Remove", f"Frees {format_size(weights.frees)}" if weights.frees else "Frees no room")
            )
        chosen = await self.app.push_screen_wait(ChoiceDialog(_name(weights), answers))
        if chosen == "check":
            self._check(weights)
        elif chosen == "format":
            await self._choose_format(weights)
        elif chosen == "remove":
            await self._remove(weights)

    def action_check(self) -> None:
        """Hash the file under the cursor in the background."""
        weights = self._marked_here()
        if weights is not None:
            self._check(weights)

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_format(self) -> None:
        """Choose the prompt format for the weights under the cursor."""
        weights = self._marked_here()
        if weights is not None:
            await self._choose_format(weights)

    @work(group="tool", exclusive=True, exit_on_error=False)
    async def action_remove(self) -> None:
        """Remove the weights under the cursor, after a question."""
        weights = self._marked_here()
        if weights is not None:
            await self._remove(weights)

    def tell_checked(self, check: Check) -> None:
        """Say how a check ended, and show it in the list."""
        text, trouble = checked(check)
        if text:
            self.notice.show(text, severity="warning" if trouble else "information", stay=trouble)
        self.look()

    def _marked_here(self) -> ShownWeights | None:
        """The weights under the cursor, where anything of them is here."""
        weights = self.chosen if self._step is Step.CHOOSING else None
        if weights is not None and not weights.place and not weights.arrived and not weights.under_way:
            self.notice.show(f"{_name(weights)} is not here. Enter fetches it.")
            return None
        return weights

    def _check(self, weights: ShownWeights) -> None:
        if not weights.place:
            self.notice.show("It is checked when all of it has arrived.")
            return
        self._errands.check(weights)
        self._refresh(weights.spec)
        self.notice.show(f"{_name(weights)} is being checked. That goes on in the background.")

    async def _choose_format(self, weights: ShownWeights) -> None:
        from mistral_chat.ui.dialogs.choice import Choice, ChoiceDialog

        if not weights.place:
            self.notice.show("A prompt format can be chosen when all of it has arrived.")
            return
        used = weights.spec == self._stock.in_use
        text = "Only for a model that answers in riddles: the wrong format makes a model worse." + (
            " It is in use, and is loaded anew with what you choose." if used else ""
        )
        names = await asyncio.to_thread(self._shelf.formats)
        answers = [Choice(name, name, FORMATS.get(name, "")) for name in names]
        chosen = await self.app.push_screen_wait(
            ChoiceDialog(f"Prompt format for {_name(weights)}", answers, text=text, selected=weights.prompt_format or names[0])
        )
        if chosen is None or chosen == (weights.prompt_format or names[0]):
            return
        try:
            told = await asyncio.to_thread(self._shelf.keep_format, weights.spec, chosen)
        except MistralChatError as error:
            self.notice.show(str(error), severity="warning")
            return
        if used:
            self.end(weights.spec)
        else:
            self.notice.show(told)
            self.look()

    async def _remove(self, weights: ShownWeights) -> None:
        from mistral_chat.ui.dialogs.confirm import ConfirmDialog

        if weights.frees is None:
            self.notice.show(not_ours(weights))
        elif weights.spec == self._stock.in_use:
            self.notice.show("It is in use. Choose another model first; then it can be removed.")
        elif weights.under_way:
            self.notice.show(f"Not while this goes on: {one_line(weights.under_way)}. Stop it first.")
        else:
            question = ConfirmDialog(f"Remove {_name(weights)}?", doomed(weights), yes="Remove", no="Keep")
            if await self.app.push_screen_wait(question):
                await self._delete(weights)

    async def _delete(self, weights: ShownWeights) -> None:
        try:
            freed = await asyncio.to_thread(self._shelf.remove, weights.spec)
        except (MistralChatError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            self.notice.show(f"{_name(weights)} could not be removed: {why}", severity="warning")
            return
        self.notice.show(f"Removed {_name(weights)}: {format_size(freed)} are free again.")
        self.look()


def _name(weights: ShownWeights) -> str:
    return one_line(f"{weights.title} {weights.quantization}".strip(), 60)
