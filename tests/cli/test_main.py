"""The command line: help, wrong commands, exit codes, and errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support.programs import run

from mistral_chat import __version__
from mistral_chat.cli.main import COMMANDS, cli
from mistral_chat.cli.wiring import Program
from mistral_chat.config import EngineSettings
from mistral_chat.engine.llama.probe import Probe
from mistral_chat.engine.tuning import measure
from mistral_chat.errors import MistralChatError, ModelNotFound, UsageError
from mistral_chat.generation import CancelToken


def test_the_help_names_every_command_in_its_own_words() -> None:
    result = run("--help")
    assert result.exit_code == 0
    context = click.Context(cli)
    for name, words in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(200) == words, name
        assert name in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    for flag in ("-h", "--help"):
        assert run(name, flag).exit_code == 0


def test_every_option_is_explained() -> None:
    def options(command: click.Command, name: str) -> list[str]:
        inner = command.commands.items() if isinstance(command, click.Group) else ()
        bare = [
            f"{name} {each.opts[0]}"
            for each in command.params
            if isinstance(each, click.Option) and not each.help and not each.hidden
        ]
        return bare + [line for label, each in inner for line in options(each, f"{name} {label}")]

    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        assert options(command, name) == []


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_is_printed(flag: str) -> None:
    assert run(flag).stdout == f"mistral-chat {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["akk"], "No such command 'akk'. Did you mean 'ask'?"),
        (["What is the capital of France?"], 'To ask a question, run: mistral-chat ask "…"'),
        (["--modle", "demo"], "No such option"),
        (["-m", "demo", "ask", "hello"], "-m belongs after the command: mistral-chat ask …"),
        (["-c", "--chat", "x"], "--continue and --chat cannot be used together."),
        (["--kv-type", "q4_0"], "'q4_0' is not one of"),
        ([], "The chat needs a terminal."),
    ],
)
def test_wrong_usage_is_reported_with_the_correct_usage(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "mistral-chat: " in result.stderr
    assert result.stdout == ""


def test_a_group_without_a_command_shows_its_help_once() -> None:
    result = run("chats")
    assert result.exit_code == 2
    assert result.stderr.count("Usage: ") == 1
    assert "Archive a conversation." in result.stderr
    assert "mistral-chat: " not in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ModelNotFound("No such file."), 1, "mistral-chat: No such file.\n"),
        (UsageError("That does not exist."), 2, "mistral-chat: That does not exist.\n"),
        (MistralChatError("named \x1b]0;evil\x07"), 1, "mistral-chat: named ␛]0;evil␇\n"),
        (click.ClickException("click says"), 1, "mistral-chat: click says\n"),
        (KeyboardInterrupt(), 130, "mistral-chat: stopped\n"),
    ],
)
def test_an_error_is_one_clean_sentence(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "get_command", lambda *_: click.Command("ask", callback=fail))
    result = run("ask")
    assert (result.exit_code, result.stderr.lstrip("\n")) == (code, words)


def test_a_broken_settings_file_does_not_break_the_help(own_folders: Path) -> None:
    (own_folders / "config" / "mistral-chat").mkdir(parents=True)
    (own_folders / "config" / "mistral-chat" / "config.yaml").write_text("modle: x")
    for arguments in (["--help"], ["ask", "--help"], ["config", "path"], ["config", "default"], ["completion", "bash"]):
        assert run(*arguments).exit_code == 0
    assert run("config", "show").exit_code == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_MISTRAL_CHAT_COMPLETE" in result.stdout


def test_completion_completes_commands_and_options() -> None:
    def completed(words: str, number: int) -> str:
        environ = {**os.environ, "_MISTRAL_CHAT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        code = "from mistral_chat.cli.main import main; main()"
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
        return done.stdout

    assert completed("mistral-chat as", 1) == "plain,ask\n"
    assert "plain,--seed" in completed("mistral-chat ask --se", 2)


class TestCompletedValues:
    """A shell offers what is there, and nothing where something is wrong."""

    @staticmethod
    def offered(words: str) -> list[str]:
        number = len(words.split()) - (0 if words.endswith(" ") else 1)
        environ = {**os.environ, "_MISTRAL_CHAT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        code = "from mistral_chat.cli.main import main; main()"
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return [line.partition(",")[2] for line in done.stdout.splitlines() if line]

    def test_installed_and_available_models(self) -> None:
        assert "demo" in self.offered("mistral-chat ask -m de")
        assert any(name.startswith("mistral-7b") for name in self.offered("mistral-chat -m mistral-7b"))
        assert self.offered("mistral-chat ask -m ./x") == ["./x"]

    def test_conversations_by_their_ids(self) -> None:
        assert self.offered("mistral-chat ask --chat ") == []
        store = Program().open_store()
        wanted = store.create()
        store.add_turn(wanted, "a title", parent_id=None)
        store.close()
        assert self.offered("mistral-chat ask --chat ") == [wanted]

    def test_conversations_where_they_are(self) -> None:
        store = Program().open_store()
        kept, gone = store.create(title="kept"), store.create(title="gone")
        store.trash(gone)
        store.close()
        assert self.offered("mistral-chat chats show ") == [kept[:8]]
        assert self.offered("mistral-chat chats restore ") == [gone[:8]]

    def test_models_and_prompt_formats(self) -> None:
        for command in ("models pull", "models show", "models rm", "models verify"):
            assert any(name.startswith("mistral-7b") for name in self.offered(f"mistral-chat {command} mistral-7b")), command
        assert self.offered("mistral-chat prompt --prompt-format chat") == ["chatml"]

    def test_personas_of_the_settings(self, own_folders: Path) -> None:
        folder = own_folders / "config" / "mistral-chat"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("personas: {pirate: {system: Arr.}}")
        assert self.offered("mistral-chat ask -p p") == ["pirate"]
        (folder / "config.yaml").write_text("personas: 3")
        assert self.offered("mistral-chat ask -p p") == []
        assert self.offered("mistral-chat ask -m d") == []


def test_a_file_in_the_working_directory_shadows_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, ran = tmp_path / "model.gguf", tmp_path / "ran"
    model.write_text("This is no GGUF file.")
    (tmp_path / "json.py").write_text(f"open({str(ran)!r}, 'w')")
    subprocess.run([sys.executable, "-m", "mistral_chat", "chats", "list", "--json"], check=False, capture_output=True)
    assert not ran.exists(), "the program itself"
    with Probe(model, EngineSettings(), tmp_path / "tried") as probe:
        probe.wait_decoded()
    assert not ran.exists(), "the test of a model"
    assert list(measure(model, EngineSettings(), CancelToken())) == []
    assert not ran.exists(), "the measurement of a model"
