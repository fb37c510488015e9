"""What differs between the systems: each system's calls are replaced at the one place where they are made."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from mistral_chat import system
from mistral_chat.cli import supervisor

ROOT = Path(__file__).parents[2]

IMPORT_ALL = """
import importlib, os, pkgutil, signal, sys
import mistral_chat

names = [m.name for m in pkgutil.walk_packages(mistral_chat.__path__, "mistral_chat.") if not m.name.endswith("__main__")]
for name in names:  # the libraries, as they are on this system
    importlib.import_module(name)
for name in [name for name in sys.modules if name.partition(".")[0] == "mistral_chat"]:
    del sys.modules[name]
sys.platform = sys.argv[1]
if sys.platform == "win32":
    for module in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty"):
        sys.modules[module] = None
    for owner, missing in ((os, ("fork", "nice", "statvfs", "getuid", "WNOHANG", "WIFSTOPPED")),
                           (signal, ("SIGHUP", "SIGTSTP", "SIGCONT", "SIGKILL", "SIGALRM", "alarm", "setitimer"))):
        for each in missing:
            delattr(owner, each)
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_a_private_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o644)
    system.write_private(path, b"new")
    assert path.read_bytes() == b"new"
    if sys.platform != "win32":
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileNotFoundError) as caught:
        system.write_private(tmp_path / "gone" / "file", b"")
    assert caught.value.filename == str(tmp_path / "gone" / "file")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        system.write_private(path, b"newer")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("platform", ["win32", "darwin", "linux"])
def test_every_module_is_imported_without_what_its_system_lacks(platform: str) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL, platform], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150


class TestFiles:
    def test_a_file_in_use_is_tried_again_until_it_is_free(self) -> None:
        tries = []

        def act() -> str:
            tries.append(1)
            if len(tries) < 3:
                raise PermissionError(13, "in use")
            return "done"

        assert system.retry_in_use(act, (0.0, 0.0, 0.0)) == "done"
        assert len(tries) == 3

    def test_a_file_that_stays_in_use_is_an_error_in_the_end(self) -> None:
        tries = []

        def act() -> None:
            tries.append(1)
            raise PermissionError(13, "in use")

        with pytest.raises(PermissionError):
            system.retry_in_use(act, (0.0, 0.0))
        assert len(tries) == 3

    def test_a_missing_file_is_not_waited_for(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            system.replace(tmp_path / "none", tmp_path / "target")

    def test_windows_lets_a_read_only_file_be_replaced_and_deleted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        changed: list[Path] = []
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setattr(Path, "chmod", lambda path, _mode: changed.append(path))
        (tmp_path / "new").write_text("new")
        (tmp_path / "old").write_text("old")
        system.replace(tmp_path / "new", tmp_path / "old")
        assert (tmp_path / "old").read_text() == "new"
        system.delete(tmp_path / "old")
        system.delete(tmp_path / "old")
        assert not (tmp_path / "old").exists()
        assert set(changed) == {tmp_path / "old"}

    def test_a_private_file_is_new_and_only_for_its_owner(self, tmp_path: Path) -> None:
        os.close(system.create_private(tmp_path / "f"))
        assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
        with pytest.raises(FileExistsError):
            system.create_private(tmp_path / "f")

    @pytest.mark.parametrize(
        ("name", "problem"),
        [
            ("con.txt", "a device"),
            ("NUL", "a device"),
            ("com¹.md", "a device"),
            ("aux .json", "a device"),
            ("notes.", "ends with a dot"),
            ("notes ", "ends with a dot or a space"),
            ("C:x.md", "does not allow"),
            ("a\\b", "does not allow"),
            ("what?.md", "does not allow"),
            ("a\x07b", "does not allow"),
        ],
    )
    def test_names_that_windows_loses_are_explained(self, name: str, problem: str) -> None:
        assert problem in (system.name_problem(name) or "")

    @pytest.mark.parametrize("name", ["notes.md", "console.txt", "комп.json", ".gitignore", "a b (1).md"])
    def test_other_names_are_good_everywhere(self, name: str) -> None:
        assert system.name_problem(name) is None


class TestLocks:
    def test_a_lock_is_exclusive_and_freed_when_its_process_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "lock"
        code = (
            "import os, sys; from mistral_chat import system\n"
            "print(system.lock(os.open(sys.argv[1], os.O_CREAT | os.O_RDWR), wait=False), flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", code, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "True\n"
            descriptor = os.open(path, os.O_RDWR)
            assert not system.lock(descriptor, wait=False)
            owner.kill()
        assert system.lock(descriptor, wait=True)
        os.close(descriptor)

    def test_windows_locks_a_byte_and_retries(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        answers = [OSError(13, "locked"), OSError(13, "locked"), None, OSError(13, "locked")]
        asked: list[tuple[int, int]] = []

        def locking(_descriptor: int, mode: int, count: int) -> None:
            asked.append((mode, count))
            if error := answers.pop(0):
                raise error

        monkeypatch.setitem(sys.modules, "msvcrt", types.SimpleNamespace(locking=locking, LK_NBLCK=2))
        monkeypatch.setattr(sys, "platform", "win32")
        descriptor = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
        assert system.lock(descriptor, wait=True)
        assert not system.lock(descriptor, wait=False)
        os.close(descriptor)
        assert asked == [(2, 1)] * 4


class FakeKernel:
    """The calls of Windows' console: two of three handles are consoles, with modes that can be set."""

    def __init__(self) -> None:
        self.modes = {-10: 0x1F7, -11: 0x3}
        self.handlers: list[Any] = []
        self.priority = 0

    def GetStdHandle(self, number: int) -> int:  # noqa: N802 (Windows' own name)
        return number

    def GetConsoleMode(self, handle: int, mode: Any) -> int:  # noqa: N802 (Windows' own name)
        if handle not in self.modes:
            return 0
        mode._obj.value = self.modes[handle]
        return 1

    def SetConsoleMode(self, handle: int, mode: int) -> int:  # noqa: N802 (Windows' own name)
        self.modes[handle] = mode
        return 1

    def SetConsoleCtrlHandler(self, handler: Any, _add: int) -> int:  # noqa: N802 (Windows' own name)
        self.handlers.append(handler)
        return 1

    def GetCurrentProcess(self) -> int:  # noqa: N802 (Windows' own name)
        return -1

    def SetPriorityClass(self, _process: int, priority: int) -> int:  # noqa: N802 (Windows' own name)
        self.priority = priority
        return 1


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    kernel = FakeKernel()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(system, "_kernel32", lambda: kernel)
    monkeypatch.setattr(ctypes, "WINFUNCTYPE", lambda *_: lambda function: function, raising=False)
    return kernel


class TestWindows:
    def test_console_modes_are_saved_and_restored(self, windows: FakeKernel, capfd: pytest.CaptureFixture[str]) -> None:
        state = system.console_state()
        assert state == [(-10, 0x1F7), (-11, 0x3)]
        windows.modes.update({-10: 0x200, -11: 0x7})
        system.restore_console(state, b"\x1b[?1049l")
        assert windows.modes == {-10: 0x1F7, -11: 0x3}
        assert capfd.readouterr().err == "\x1b[?1049l"

    def test_escape_sequences_are_switched_on_for_output_alone(self, windows: FakeKernel) -> None:
        system.enable_escape_sequences()
        assert windows.modes == {-10: 0x1F7, -11: 0x7}

    def test_without_a_console_there_is_nothing_to_restore(self, windows: FakeKernel) -> None:
        windows.modes.clear()
        assert system.console_state() is None

    def test_closing_logging_off_and_shutting_down_save_and_ctrl_c_does_not(self, windows: FakeKernel) -> None:
        saved: list[int] = []

        def ended() -> bool:
            saved.append(1)
            return True

        kept: Any = system.watch_console_close(ended)
        (handler,) = windows.handlers
        assert kept is handler
        assert [handler(event) for event in (0, 1, 2, 5, 6)] == [0, 0, 1, 1, 1]
        assert len(saved) == 3

    def test_windows_signals_priority_and_limits_are_used(self, windows: FakeKernel) -> None:
        assert system.end_signals() == (signal.SIGTERM,)
        system.lower_priority()
        assert windows.priority == 0x4000
        system.disable_core_dumps()
        system.limit_process(memory=1, file_size=0)
        system.limit_time(0.001)


class TestHowAChildEnded:
    @pytest.mark.parametrize(
        ("code", "name"),
        [
            (0, None),
            (1, None),
            (-11, "SIGSEGV"),
            (0xC0000005, "access violation"),
            (0xC0000409, "abort"),
            (0xC000013A, "console closed"),
            (0xC0001234, "exception 0xC0001234"),
        ],
    )
    def test_crashes_are_named_and_exit_codes_are_not(self, code: int, name: str | None) -> None:
        assert supervisor.crash_name(code) == name

    def test_only_linux_forks(self) -> None:
        assert supervisor.fresh_command(["-m", "demo"], "linux") is None
        for platform in ("darwin", "win32"):
            command = [sys.executable, "-P", "-m", "mistral_chat", "-m", "demo"]
            assert supervisor.fresh_command(["-m", "demo"], platform) == command

    def test_a_child_by_subprocess_is_waited_for_and_knows_its_parent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        code = f"import os, sys; sys.exit(7 if os.environ.get({supervisor.SUPERVISED!r}) else 1)"
        before = signal.getsignal(signal.SIGINT)
        try:
            assert supervisor._run([sys.executable, "-c", code]) == 7
        finally:
            signal.signal(signal.SIGINT, before)
