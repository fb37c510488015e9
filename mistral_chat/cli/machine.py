"""The memory that is available to models on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.engine.hardware import Device
    from mistral_chat.models.memory_fit import AvailableMemory


def available_memory() -> AvailableMemory:
    """The memory that the system and llama.cpp report. Imports llama.cpp."""
    from mistral_chat.engine.hardware import measure_memory
    from mistral_chat.engine.llama.devices import list_devices

    return memory_of(measure_memory(), list_devices(), unified=sys.platform == "darwin")


def memory_of(ram: int, devices: Sequence[Device], *, unified: bool) -> AvailableMemory:
    """Combine the free memory of the `devices` and `ram`.

    Integrated GPUs add nothing, because they share `ram`. Where memory is `unified`, the GPU's part is the working set that
    Metal allows.
    """
    from mistral_chat.engine.hardware import DeviceKind
    from mistral_chat.models.memory_fit import AvailableMemory

    cards = [device for device in devices if device.kind is DeviceKind.GPU]
    return AvailableMemory(ram=ram, vram=sum(card.free for card in cards), unified=unified and bool(cards))
