"""What every test gets: its own folders, and no network; and fixtures shared by several packages."""

from __future__ import annotations

import gc
import logging
import os
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import effort, trust
from support.demo import HOW, demo_file
from support.hub_server import HubServer

from mistral_chat.store.disk_probe import DiskProbe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCREENS = Path(__file__).parent / "ui"

FOREIGN = ("MISTRAL_CHAT_", "XDG_", "HF_", "HUGGINGFACE_", "OLLAMA_", "_MISTRAL_CHAT_")
"""Variables with these prefixes are the user's own and would lead a test out of its folders."""


def pytest_addoption(parser: pytest.Parser) -> None:
    effort.add_option(parser)
    parser.addoption(
        "--cover-screens", action="store_true", help="measure coverage in the tests of the screens too: twice as slow"
    )


def pytest_configure(config: pytest.Config) -> None:
    effort.read_option(config)
    # With all tests in memory, Python's own thresholds have it look for garbage a sixth of the time.
    gc.set_threshold(50_000, 20, 100)


def pytest_report_header() -> str:
    return f"random cases: {'all' if effort.exhaustive() else 'a sample'}, seed {effort.seed()} (see --exhaustive)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the long tests: at the end, one process would wait for another's."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    if not config.getoption("cover_screens"):
        for item in items:
            if SCREENS in item.path.parents:
                item.add_marker("no_cover")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [each for outcome in ("passed", "failed") for each in terminalreporter.getreports(outcome)]
    if lines := trust.table(reports):
        terminalreporter.section("hazards")
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> trust.Tally:
    """Counts what the test tries; the run prints the counts of all tests in one table."""
    tally = trust.Tally()
    request.node.user_properties.append((trust.PROPERTY, tally.counts))
    return tally


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test its own home, which contains every path of the program; subprocesses inherit it."""
    for name in os.environ:
        if name.startswith(FOREIGN) or name in {"NO_COLOR", "EDITOR", "VISUAL", "COLUMNS", "LINES"}:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    return home


@pytest.fixture(autouse=True)
def own_priority(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note by how much a command would lower its priority: nothing raises it again, and the tests after it would be slower."""
    steps: list[int] = []
    monkeypatch.setattr(os, "nice", steps.append, raising=False)
    return steps


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Give the log back as it was: a test that starts the program's own log would keep it from the tests after it."""
    logger = logging.getLogger("mistral_chat")
    propagate, level, handlers, told = logger.propagate, logger.level, list(logger.handlers), logging.raiseExceptions
    yield
    for handler in set(logger.handlers) - set(handlers):
        handler.close()
    logger.propagate, logger.handlers, logging.raiseExceptions = propagate, handlers, told
    logger.setLevel(level)


@pytest.fixture(autouse=True)
def patient_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a thread may get no second of its own; the program would say that the disk does not answer."""
    monkeypatch.setattr("mistral_chat.store.database.DiskProbe", partial(DiskProbe, patience=effort.PATIENCE))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that would leave this machine."""

    def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX and not _is_local(address[0]):
                raise OSError(f"a test tried to reach {address[0]!r}")
            return real(self, address)

        return connect

    def resolve(host: str | bytes | None, *arguments: Any, **named: Any) -> Any:
        if host is not None and not _is_local(host):
            raise socket.gaierror(f"a test tried to look up {host!r}")
        return real_resolve(host, *arguments, **named)

    real_resolve = socket.getaddrinfo
    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def _is_local(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    return name in {"localhost", "::1", ""} or name.startswith("127.")


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The demo's GGUF file; tests that need a real model are skipped where the demo is not installed."""
    path = demo_file()
    if path is None:
        pytest.skip(HOW)
    return path


@pytest.fixture(scope="session")
def gguf_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this session's GGUF files with real vocabularies are."""
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A hub of the test's own, which has nothing yet."""
    with HubServer() as server:
        yield server
