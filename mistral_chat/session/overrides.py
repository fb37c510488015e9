"""Which system prompt, sampling and persona apply to a conversation. Only this module decides that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_chat.config import Settings
from mistral_chat.sampling import Sampling

if TYPE_CHECKING:
    from mistral_chat.store.records import StoredConversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Values that override the settings; None overrides nothing."""

    system: str | None = None
    sampling: Sampling | None = None
    persona: str | None = None
    """A persona's name; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The values that apply to the next message."""

    system: str
    sampling: Sampling
    persona: str
    """A persona's name; empty without one. The settings may no longer have it."""
    own_sampling: Sampling | None
    """The conversation's own sampling; None if it follows the settings."""


def resolve(settings: Settings, *, stored: StoredConversation | None, layers: tuple[Overrides, ...] = ()) -> Resolved:
    """Return what applies to the next message.

    A stored conversation keeps what it was begun with. For a new one, the first of `layers` that says something wins, and after
    them the settings; within a layer, an explicit value comes before its persona's.
    """
    if stored is not None:
        own = stored.sampling
        return Resolved(system=stored.system, sampling=own or settings.sampling, persona=stored.persona, own_sampling=own)
    system: str | None = None
    sampling: Sampling | None = None
    persona: str | None = None
    for layer in layers:
        system = layer.system if system is None else system
        sampling = sampling or layer.sampling
        if persona is None and layer.persona is not None:
            persona = layer.persona
            if (found := settings.personas.get(persona)) is not None:
                system = found.system if system is None else system
                sampling = sampling or found.sampling
    return Resolved(
        system=settings.system if system is None else system,
        sampling=sampling or settings.sampling,
        persona=persona or "",
        own_sampling=sampling,
    )
