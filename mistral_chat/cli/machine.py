"""What this machine has free, in the form in which models are weighed against it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.engine.hardware import Device
    from mistral_chat.models.memory_fit import AvailableMemory


def free_memory() -> AvailableMemory | None:
    """Ask the system and llama.cpp; None where the system does not say. Loads llama.cpp."""
    from mistral_chat.engine.hardware import measure_memory
    from mistral_chat.engine.llama.devices import list_devices

    return memory_of(measure_memory(), list_devices(), unified=sys.platform == "darwin")


def memory_of(ram: int | None, devices: Sequence[Device], *, unified: bool) -> AvailableMemory | None:
    """Put together what is free on the `devices` and in main memory; graphics cards that share `ram` add nothing to it."""
    from mistral_chat.engine.hardware import DeviceKind
    from mistral_chat.models.memory_fit import AvailableMemory

    if ram is None:
        return None
    cards = [device for device in devices if device.kind is DeviceKind.GPU]
    return AvailableMemory(ram=ram, vram=sum(card.free for card in cards), unified=unified and bool(cards))
