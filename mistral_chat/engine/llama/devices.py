"""The devices that llama.cpp can compute on, with their memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from mistral_chat.engine.hardware import Device, DeviceKind
from mistral_chat.engine.llama import backend
from mistral_chat.engine.llama.bindings import ggml

_KINDS = {0: DeviceKind.CPU, 1: DeviceKind.GPU, 2: DeviceKind.INTEGRATED, 3: DeviceKind.ACCELERATOR}
"""ggml's ``ggml_backend_dev_type``."""


def list_devices() -> list[Device]:
    """Ask ggml for its devices. The Python package has no function for them, so the library's own are called."""
    backend.init_backend()
    count = _function("ggml_backend_dev_count", ctypes.c_size_t)
    get = _function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)
    name = _function("ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)
    description = _function("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
    kind = _function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)
    memory = _function("ggml_backend_dev_memory", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    devices = []
    for index in range(count()):
        device = get(index)
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        memory(device, ctypes.byref(free), ctypes.byref(total))
        devices.append(
            Device(
                name=name(device).decode(errors="replace"),
                description=description(device).decode(errors="replace").strip(),
                kind=_KINDS.get(kind(device), DeviceKind.ACCELERATOR),
                free=free.value,
                total=total.value,
            )
        )
    return devices


def _function(name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = getattr(ggml.libggml, name)
    function.restype = result
    function.argtypes = list(arguments)
    return function  # type: ignore[no-any-return]  # ctypes has no type for a function of a library
