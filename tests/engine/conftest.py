"""The engine's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mistral_chat.engine.ledger import Ledger

pytest.register_assert_rewrite("support.engine_contract", "support.fake_kv_cache")


@pytest.fixture(autouse=True)
def checked_ledgers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledger and cache agree after every step."""
    from support.llama_engines import set_checked_contents

    monkeypatch.setattr(Ledger, "set_contents", set_checked_contents)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the file of a variant of `support.gguf_factory`, wide enough for a quantized cache; written once."""
    from support.gguf_factory import VARIANTS, write_gguf

    folder = tmp_path_factory.mktemp("weights")

    def find(variant: str) -> Path:
        path = folder / f"{variant}.gguf"
        if not path.exists():
            chosen = VARIANTS[variant]
            write_gguf(path, chosen.vocabulary, template=chosen.template, name=chosen.name, width=256, **chosen.options)
        return path

    return find
