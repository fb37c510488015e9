"""The engine's tests."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("engine_contract", "support.fake_cells")
