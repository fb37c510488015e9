"""The parts of the program work together: what one opens, another finds."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from support.echo_engine import EchoEngine
from support.programs import echo_program, run

from mistral_chat.cli.main import cli
from mistral_chat.cli.wiring import Program
from mistral_chat.config.configuration import CommandLineOverride
from mistral_chat.errors import ConfigError, EngineError, ModelNotFound, UsageError

if TYPE_CHECKING:
    from mistral_chat.engine.thread import LoadProgress


def configure(folder: Path, text: str) -> None:
    path = folder / "config" / "mistral-chat" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


class TestSettings:
    def test_a_typed_option_wins_and_is_named_when_it_is_wrong(self) -> None:
        program = Program().with_options({"sampling.seed": CommandLineOverride("--seed", 5)})
        assert program.settings.sampling.seed == 5
        with pytest.raises(UsageError, match="--ctx-size: size must be from"):
            _ = program.with_options({"context.size": CommandLineOverride("--ctx-size", 1)}).settings

    def test_nothing_is_loaded_before_it_is_needed(self, own_folders: Path) -> None:
        configure(own_folders, "modle: x")
        program = Program()
        with pytest.raises(ConfigError):
            _ = program.settings

    def test_the_settings_move_the_models_folder(self, own_folders: Path) -> None:
        configure(own_folders, "models: {folder: /elsewhere}")
        assert Program().paths.models_dir == Path("/elsewhere")
        assert Program({"MISTRAL_CHAT_MODELS_DIR": "/there"}).paths.models_dir == Path("/there")


class TestStore:
    def test_a_reply_left_by_a_dead_process_is_closed(self) -> None:
        pid = os.fork()
        if pid == 0:
            store = Program().open_store()
            turn = store.add_turn(store.create(), "question", parent_id=None)
            store.write_reply(turn, "half an ans")
            os._exit(9)
        os.waitpid(pid, 0)
        store = Program().open_store()
        (left,) = store.turns(store.latest() or "")
        assert (left.turn.user, left.turn.reply, left.turn.finish_reason) == ("question", "half an ans", "cancelled")

    def test_expired_trash_is_deleted_with_its_snapshots(self) -> None:
        program = Program()
        store = program.open_store()
        doomed, kept = store.create(), store.create()
        for each in (doomed, kept):
            store.add_turn(each, "question", parent_id=None)
            store.trash(each)
        folder = program.snapshots()
        assert folder is not None
        path = folder._path(doomed)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"state")
        later = Program(now=lambda: datetime.now(UTC) + timedelta(days=31))
        store.restore(kept)
        later.purge_old_trash(later.open_store())
        assert not path.exists()
        assert store.summaries(where="trash") == []
        assert [each.conversation_id for each in store.summaries()] == [kept]

    def test_trash_without_expiry_is_kept(self, own_folders: Path) -> None:
        configure(own_folders, "trash_days: 0")
        store = Program().open_store()
        doomed = store.create()
        store.add_turn(doomed, "question", parent_id=None)
        store.trash(doomed)
        Program(now=lambda: datetime.now(UTC) + timedelta(days=3000)).purge_old_trash(store)
        assert store.summaries(where="trash")

    def test_a_file_that_was_attached_to_no_message_is_deleted_after_a_day(self, own_folders: Path) -> None:
        configure(own_folders, "trash_days: 0")
        store = Program().open_store()
        for name in ("withdrawn.pdf", "sent.pdf", "attached again.pdf"):
            store.documents.create_collection(name, attached=True)
        store.documents.create_collection("named")
        store.documents.attach(store.create(), "sent.pdf")
        later = Program(now=lambda: datetime.now(UTC) + timedelta(days=2))
        again = later.open_store()
        again.documents.create_collection("attached again.pdf", attached=True)
        later.purge_old_trash(again)
        assert [each.name for each in store.documents.collections()] == ["attached again.pdf", "named", "sent.pdf"]

    def test_a_database_that_is_gone_is_not_made_again_for_its_snapshots(self) -> None:
        program = Program()
        assert not program._has_conversation("one")
        assert not program.paths.database.exists()

    def test_deleting_creates_no_snapshots_folder(self) -> None:
        Program().forget_snapshots(["one"])
        assert not Program().paths.snapshots_dir.exists()


class TestEngine:
    def test_a_missing_model_is_reported_before_a_thread_starts(self) -> None:
        with pytest.raises(ModelNotFound):
            Program().runner("no-such-model")

    def test_snapshots_can_be_switched_off(self, own_folders: Path) -> None:
        configure(own_folders, "snapshots: {enabled: false}")
        assert Program().snapshots() is None

    async def test_the_chosen_format_reaches_the_engine(self, demo_model: Path) -> None:
        asked: list[Any] = []

        def load(_program: Program, weights: Any, prompt_format: str | None, _on_progress: LoadProgress) -> EchoEngine:
            asked.append((weights.path, prompt_format))
            return EchoEngine()

        in_the_app = {"demo": "chatml"}
        for given, kept in (("mistral-v1", {}), (None, {}), ("mistral-v1", in_the_app)):
            runner = Program(load=load, formats=kept).runner("demo", prompt_format=given)
            await runner.wait_ready()
            runner.close()
        assert asked[0] == (demo_model, "mistral-v1")
        assert asked[2] == (demo_model, "chatml"), "what was chosen on the screen would have no effect, without a word"

    @pytest.mark.usefixtures("demo_model")
    async def test_llama_cpp_is_the_default_loader(self) -> None:
        small = {"context.size": CommandLineOverride("--ctx-size", 256)}
        runner = Program().with_options(small).runner("demo", saved=False)
        facts = await runner.wait_ready()
        runner.close(None)
        assert (facts.model, facts.window) == ("demo", 256)


class TestStopping:
    @staticmethod
    def ask(program: Program, *arguments: str) -> Any:
        return CliRunner().invoke(cli, ["ask", *arguments, "hello"], obj=program, input="")

    def test_ctrl_c_while_the_model_loads_stores_nothing(self) -> None:
        def load(*_: Any) -> EchoEngine:
            on_progress: LoadProgress = _[-1]
            os.kill(os.getpid(), signal.SIGINT)
            while on_progress(0.5):
                os.sched_yield()
            raise EngineError("given up")

        result = self.ask(Program(load=load), "-m", "demo")
        assert (result.exit_code, result.stdout) == (130, "")
        assert Program().open_store().latest() is None

    def test_the_second_ctrl_c_stops_what_the_first_did_not(self) -> None:
        def answer(_text: str) -> str:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            return "word " * 10_000

        assert self.ask(echo_program(answer), "-m", "demo").exit_code == 130

    def test_a_continued_conversation_uses_its_own_model(self) -> None:
        store = Program().open_store()
        conversation = store.create(model="demo")
        store.finish_reply(
            store.add_turn(conversation, "one", parent_id=None), "1", finish_reason="stop", usage=None, model="demo"
        )
        assert self.ask(echo_program(), "-c").exit_code == 0
        gone = store.create(model="gone")
        store.finish_reply(store.add_turn(gone, "two", parent_id=None), "2", finish_reason="stop", model="gone")
        result = self.ask(replace(echo_program(), environ={**os.environ, "MISTRAL_CHAT_MODEL": "demo"}), "-c")
        assert result.exit_code == 0, "a model that is gone gives way to the settings'"


class TestUnknownKeys:
    """A key that the program does not know stops what generates text, and is a warning elsewhere."""

    @pytest.fixture(autouse=True)
    def settings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "c.yaml").write_text("modle: x\ntrash_days: 3\n", encoding="utf-8")
        monkeypatch.setenv("MISTRAL_CHAT_CONFIG", str(tmp_path / "c.yaml"))

    @pytest.mark.parametrize("arguments", [["chats", "list"], ["paths"], ["models", "list"]])
    def test_is_a_single_warning_where_nothing_is_generated(self, arguments: list[str]) -> None:
        result = run(*arguments)
        assert result.exit_code == 0
        assert result.stderr.count("mistral-chat: warning: ") == 1
        assert "c.yaml:1: unknown key 'modle'; did you mean 'model'?" in result.stderr

    @pytest.mark.parametrize("arguments", [["ask", "hello"], ["bench"], ["config", "show"], ["doctor"]])
    def test_is_an_error_where_it_could_change_a_reply(self, arguments: list[str]) -> None:
        result = run(*arguments)
        assert result.exit_code == 1
        assert "unknown key 'modle'" in result.output


class TestAHomeThatCannotBeWritten:
    """Every command gives one error that names the folder and what to do."""

    @pytest.mark.parametrize("arguments", [["ask", "-m", "demo", "hello"], ["chats", "list"], ["chats", "search", "x"]])
    @pytest.mark.usefixtures("demo_model")
    def test_the_error_names_the_folder(self, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MISTRAL_CHAT_DATA_DIR", "/proc/nowhere/data")
        result = run(*arguments)
        assert result.exit_code == 1
        assert "Cannot create the data folder /proc/nowhere/data: No such file or directory" in result.stderr
        assert "MISTRAL_CHAT_DATA_DIR" in result.stderr
