"""Detects what a template puts around messages, by rendering a conversation of known words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_chat.engine.encoding.renderer import ESCAPE, TemplateRefusedError
from mistral_chat.errors import PromptFormatError

if TYPE_CHECKING:
    from mistral_chat.engine.encoding.renderer import Renderer

_SYSTEM, _FIRST, _REPLY, _SECOND = "Quietly", "Lighthouse", "Marmalade", "Umbrella"


@dataclass(frozen=True, slots=True)
class TemplateTraits:
    """The template's text around messages."""

    opening: str
    """Precedes a question that is not the first."""
    asking: str
    """Follows the last question and starts the reply."""
    leading: str
    """White space that the model samples before a reply, because the template adds it in every finished turn."""
    closing: str
    """Follows a reply."""
    takes_system: bool
    """Whether system messages are in the prompt."""


def detect_traits(renderer: Renderer) -> TemplateTraits:
    """Detect the traits of `renderer`'s template.

    Raises:
        PromptFormatError: the template does not work, or drops the user's messages.
    """
    question = {"role": "user", "content": _FIRST}
    reply = {"role": "assistant", "content": _REPLY}
    asked = renderer.render([question], generation=True)
    if _FIRST not in asked:
        raise PromptFormatError(f"The model's chat template drops the user's messages, so it cannot be used for chat. {ESCAPE}")
    asking = asked.rpartition(_FIRST)[2]
    whole = renderer.render([question, reply, {"role": "user", "content": _SECOND}], generation=True)
    between = whole.partition(_REPLY)[2].partition(_SECOND)[0]
    begun = whole.partition(_FIRST)[2].partition(_REPLY)[0]
    leading = begun.removeprefix(asking) if begun.startswith(asking) else ""
    try:
        closing = renderer.render([question, reply], generation=False).partition(_REPLY)[2]
    except TemplateRefusedError:
        closing = ""
    closing = closing if between.startswith(closing) else ""
    return TemplateTraits(
        opening=between[len(closing) :],
        asking=asking,
        leading=leading if leading.isspace() else "",
        closing=closing,
        takes_system=_takes_system(renderer),
    )


def _takes_system(renderer: Renderer) -> bool:
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _FIRST}]
    try:
        text = renderer.render(messages, generation=True)
    except PromptFormatError:
        return False
    return _SYSTEM in text and _FIRST in text
