"""What tests of the screen share."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.first_run import FirstRun
from support.hub_server import HubServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Days begin at midnight UTC, wherever the tests run."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(autouse=True)
def lasting_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice stays until a test has seen it, however busy the machine is."""
    monkeypatch.setattr("mistral_chat.ui.widgets.notification_bar._SECONDS", 3600.0)


@pytest.fixture(autouse=True)
def no_unexpected_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which the app met an error of its own, which it logs and survives; a test that means one clears `caplog`."""
    yield
    errors = [record.exc_info[1] for record in caplog.get_records("call") if record.name == "mistral_chat.ui" and record.exc_info]
    for error in filter(None, errors):
        raise error


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail a test that leaves one of the app's threads behind, which keeps the whole app in memory."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name in {"engine", "saver"}] == []


@pytest.fixture
def first(tmp_path: Path, hub: HubServer) -> FirstRun:
    """A computer without a model yet, and a hub that has one."""
    return FirstRun(tmp_path, hub)
