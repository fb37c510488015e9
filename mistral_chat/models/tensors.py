"""How GGUF files store tensors: the types, with their blocks, and the record of each tensor in the header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GGML_TYPES: Final = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
}
"""How each tensor type is stored: its name, how many weights make a block, and how many bytes a block takes."""


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """What the header says of one tensor."""

    name: str
    dimensions: tuple[int, ...]
    kind: int
    """The type, as in `GGML_TYPES`."""
    offset: int
    """Where its bytes begin, after the header."""

    @property
    def elements(self) -> int:
        """How many weights it has."""
        product = 1
        for dimension in self.dimensions:
            product *= dimension
        return product

    @property
    def bytes(self) -> int | None:
        """How many bytes it takes; None for a type that is not known here."""
        if self.kind not in GGML_TYPES:
            return None
        _, weights, size = GGML_TYPES[self.kind]
        return self.elements // weights * size
