"""`doctor` reports what is wrong on this machine, and `--privacy` what is stored where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.privileges import without_privileges
from support.programs import run
from support.terminals import Terminal

from mistral_chat.cli.wiring import Program


@pytest.fixture
def conversation() -> Path:
    program = Program()
    store = program.open_store()
    store.add_turn(store.create(), "a private question", parent_id=None)
    store.close()
    return program.paths.database


@pytest.mark.usefixtures("demo_model")
class TestDoctor:
    def test_a_machine_that_is_ready(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MISTRAL_CHAT_MODEL", "demo")
        result = run("doctor")
        assert result.exit_code == 0, result.output
        for words in ("python", "llama.cpp", "device", "default model: demo", "none yet"):
            assert words in result.stdout

    def test_a_missing_model_fails_and_names_the_command(self) -> None:
        result = run("doctor")
        assert result.exit_code == 1
        assert "mistral-chat models pull" in result.stdout
        assert "terminal" in result.stdout, "the other checks still have their turn"

    def test_an_intact_store_is_reported_as_such(self, conversation: Path) -> None:
        stdout = run("doctor").stdout
        assert f"{conversation} is intact" in stdout
        assert "private question" not in stdout

    def test_a_readable_store_is_reported_and_made_private(self, conversation: Path) -> None:
        conversation.chmod(0o644)
        assert f"{conversation} was readable by other users" in run("doctor").stdout
        assert conversation.stat().st_mode & 0o077 == 0

    def test_a_folder_that_cannot_be_opened_fails_and_the_other_checks_run(self, conversation: Path) -> None:
        conversation.parent.chmod(0)
        result = without_privileges(lambda: run("doctor"))
        conversation.parent.chmod(0o700)
        assert result.exit_code == 1
        assert f"FAIL  conversations   {conversation}: Permission denied" in result.stdout
        assert "terminal" in result.stdout

    def test_a_damaged_store_fails(self, conversation: Path) -> None:
        conversation.write_bytes(b"no database at all" * 100)
        result = run("doctor")
        assert result.exit_code == 1
        assert "FAIL  conversations" in result.stdout

    def test_a_broken_settings_file_fails_the_check(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "c.yaml").write_text("modle: x")
        monkeypatch.setenv("MISTRAL_CHAT_CONFIG", str(tmp_path / "c.yaml"))
        result = run("doctor")
        assert result.exit_code == 1
        assert "c.yaml:1: unknown key 'modle'" in result.stdout

    def test_only_changed_settings_are_counted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "c.yaml").write_text("theme: mistral-dark\ntrash_days: 7\n")
        monkeypatch.setenv("MISTRAL_CHAT_CONFIG", str(tmp_path / "c.yaml"))
        assert f"{tmp_path / 'c.yaml'}: 1 setting changed" in run("doctor").stdout

    def test_a_folder_that_cannot_be_written_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MISTRAL_CHAT_DATA_DIR", "/proc/nowhere/data")
        result = run("doctor")
        assert result.exit_code == 1
        assert "FAIL  folders         /proc/nowhere/data is not writable: " in result.stdout

    @pytest.mark.parametrize("how", ["file", "file above", "dangling link"])
    def test_something_else_in_the_place_of_a_folder_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        place = tmp_path / "data"
        if how == "dangling link":
            place.symlink_to(tmp_path / "nowhere" / "else")
        else:
            place.write_text("")
        folder = place / "deeper" if how == "file above" else place
        monkeypatch.setenv("MISTRAL_CHAT_DATA_DIR", str(folder))
        stdout = run("doctor").stdout
        assert f"FAIL  folders         {folder} is not writable: " in stdout
        assert "will be saved in" not in stdout

    def test_a_database_that_cannot_be_written_fails(self, conversation: Path) -> None:
        conversation.chmod(0o400)
        result = without_privileges(lambda: run("doctor"))
        conversation.chmod(0o600)
        assert result.exit_code == 1
        assert f"FAIL  conversations   You do not have permission to write to {conversation}" in result.stdout

    @pytest.mark.parametrize(("columns", "words"), [(100, "ok    terminal"), (50, "warn  terminal")])
    def test_the_terminal_is_checked(self, columns: int, words: str) -> None:
        terminal = Terminal(columns=columns)
        try:
            code = "import sys; from mistral_chat.cli.main import cli; cli.main(sys.argv[1:], prog_name='mistral-chat')"
            terminal.run(code, ["doctor"], {"SSH_CONNECTION": "far", "TMUX": "yes", "NO_COLOR": "1"})
            terminal.wait()
        finally:
            terminal.close()
        seen = terminal.written.decode()
        assert words in seen
        assert f"xterm-256color inside tmux, {columns}x30, no colours (NO_COLOR)" in seen
        assert "SSH session" in seen


class TestPrivacy:
    def test_every_folder_and_the_only_host_are_named(self) -> None:
        paths = Program().paths
        stdout = run("doctor", "--privacy").stdout
        for path in (paths.database, paths.snapshots_dir, paths.log_file, paths.models_dir, paths.config_file):
            assert str(path) in stdout
        assert "huggingface.co" in stdout
        assert "no token was found" in stdout

    def test_another_hub_and_a_token_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/x")
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        stdout = run("doctor", "--privacy").stdout
        assert "mirror.example" in stdout
        assert "huggingface.co" not in stdout
        assert "hf_secret" not in stdout

    def test_offline_mode_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert "none: HF_HUB_OFFLINE blocks" in run("doctor", "--privacy").stdout


class TestPaths:
    def test_an_unused_program_lists_no_files(self) -> None:
        assert json.loads(run("paths", "--json").stdout) == []
        assert "missing" in run("paths").stdout

    def test_every_file_is_listed_once_with_its_size(self, conversation: Path) -> None:
        paths = Program().paths
        paths.models_dir.mkdir(parents=True)
        (paths.models_dir / "x.gguf").write_bytes(b"x" * 1234)
        found = json.loads(run("paths", "--json").stdout)
        by_path = {each["path"]: each for each in found}
        assert len(by_path) == len(found)
        assert by_path[str(conversation)]["bytes"] == conversation.stat().st_size
        assert by_path[str(paths.models_dir)]["bytes"] == 1234
        assert by_path[str(paths.models_dir / "x.gguf")]["kind"] == "file"
        on_disk = {str(path) for path in paths.data_dir.rglob("*") if path.is_file()}
        assert on_disk <= set(by_path)

    def test_a_folder_that_cannot_be_opened_is_named_and_the_others_are_listed(self, conversation: Path) -> None:
        closed = conversation.parent / "closed"
        closed.mkdir(mode=0)
        result = without_privileges(lambda: run("paths"))
        assert result.stderr == f"{closed}: Permission denied\n"
        assert str(conversation) in result.stdout

    def test_the_text_report_lists_each_file(self, conversation: Path) -> None:
        assert f"{conversation.stat().st_size:,}  {conversation}" in run("paths").stdout

    def test_a_hostile_file_name_does_not_act_on_the_terminal(self, conversation: Path) -> None:
        (conversation.parent / "evil\x1b]0;x\x07").touch()
        assert "\x1b" not in run("paths").stdout
