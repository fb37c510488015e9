"""Sound GGUF files of any size, and where the hub's tests keep one."""

from __future__ import annotations

import random

from support.small_gguf import small_model

REPOSITORY, FILE = "acme/tiny-GGUF", "tiny-F32.gguf"
SPEC = f"hf:{REPOSITORY}/{FILE}"


def gguf_bytes(size: int, seed: int = 0) -> bytes:
    """A sound GGUF file of `size` bytes; what follows its tensors is random."""
    whole = small_model().encoded()
    return whole + random.Random(seed).randbytes(size - len(whole))
