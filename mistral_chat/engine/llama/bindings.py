"""llama_cpp's ctypes bindings, without the rest of that package.

Its ``__init__`` also imports a chat API, and with it NumPy, Jinja and more, which takes as much processor time as loading a small
model. So only its modules of C functions are imported.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["ggml", "llama_cpp"]

_PACKAGE = "llama_cpp"


def _import_without_package(*names: str) -> list[Any]:
    """Import modules of the package without running its ``__init__``, which a later import of the package still does.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    found = importlib.util.find_spec(_PACKAGE) if _PACKAGE not in sys.modules else None
    if found is not None:
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(found)
    try:
        return [import_module(f"{_PACKAGE}.{name}") for name in names]
    finally:
        if found is not None:
            del sys.modules[_PACKAGE]


if TYPE_CHECKING:
    from llama_cpp import _ggml as ggml
    from llama_cpp import llama_cpp
else:
    llama_cpp, ggml = _import_without_package("llama_cpp", "_ggml")
