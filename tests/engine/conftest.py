"""The engine's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mistral_chat.engine.encoding.format import Encoding
from mistral_chat.engine.ledger import Ledger

pytest.register_assert_rewrite("support.engine_contract", "support.fake_kv_cache")


@pytest.fixture(autouse=True)
def checked_ledgers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledger and cache agree after every step."""
    record = Ledger.set_contents

    def checked(ledger: Ledger, encoding: Encoding) -> None:
        record(ledger, encoding)
        tokens, cache = len(encoding.tokens), ledger.cache
        assert cache.n_tokens == tokens <= cache.size
        assert not tokens or cache.pos_min == 0

    monkeypatch.setattr(Ledger, "set_contents", checked)


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
