"""A question from the shell: input, output, and where it is saved."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from support.programs import echo_program

from mistral_chat.cli.main import cli
from mistral_chat.cli.stdin import argument_text
from mistral_chat.config import Settings
from mistral_chat.errors import EngineFailed, StoreBusy
from mistral_chat.message_form import build_message, format_attachment
from mistral_chat.paths import Paths
from mistral_chat.session import headless
from mistral_chat.session.attachments import LARGEST_FILE

if TYPE_CHECKING:
    from mistral_chat.store.store import ConversationStore

KEYS = {"reply", "finish_reason", "conversation_id", "model", "usage", "sources"}
USAGE = {"prompt_tokens", "cached_tokens", "completion_tokens", "time_to_first_token", "tokens_per_second"}


def ask(*arguments: str, stdin: str | bytes = "", **program: Any) -> Result:
    return CliRunner().invoke(cli, ["ask", "-m", "demo", *arguments], obj=echo_program(**program), input=stdin)


def answer(*arguments: str, **more: Any) -> dict[str, Any]:
    result = ask(*arguments, "--json", **more)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def configure(text: str) -> None:
    path = Paths.from_environment({}).config_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def store() -> ConversationStore:
    return echo_program().open_store()


class TestWhatGoesIn:
    def test_a_file_whose_name_is_not_text_is_included(self, tmp_path: Path) -> None:
        path = tmp_path / "bad\udcff.txt"
        path.write_text("text")
        assert "bad\ufffd.txt\n```\ntext" in answer("Why?", "-f", str(path))["reply"]

    def test_the_prompt_is_the_message(self) -> None:
        assert ask("hello").stdout == "You said: hello\n"

    def test_standard_input_alone_is_the_message(self) -> None:
        assert answer(stdin="Reply with one word.")["reply"] == "You said: Reply with one word."

    def test_standard_input_comes_before_the_prompt(self) -> None:
        assert answer("And now?", stdin="A text.\n")["reply"] == "You said: A text.\n\nAnd now?"

    def test_files_come_first_with_their_names(self, tmp_path: Path) -> None:
        (tmp_path / "a.py").write_text("print(1)\n")
        (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfb\r\n")
        found = answer("Why?", "-f", str(tmp_path / "a.py"), "-f", str(tmp_path / "b.txt"))
        assert found["reply"] == "You said: a.py\n```\nprint(1)\n```\n\nb.txt\n```\nb\n```\n\nWhy?"

    def test_a_file_alone_is_a_message(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("text")
        assert "text" in answer("-f", str(tmp_path / "a.txt"))["reply"]

    @pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0JFIF", b"GGUF\0\0", b"\xff\xfea"])
    def test_a_file_that_is_not_text_is_refused_by_name(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "picture.png").write_bytes(content)
        result = ask("What is this?", "-f", str(tmp_path / "picture.png"))
        assert result.exit_code == 1
        assert "picture.png" in result.stderr
        assert result.stdout == ""

    def test_a_file_that_no_model_could_read_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "large.txt").write_bytes(b"x" * (LARGEST_FILE + 1))
        assert "larger than 4 MB" in ask("-f", str(tmp_path / "large.txt")).stderr

    def test_standard_input_may_have_a_byte_order_mark(self) -> None:
        assert answer(stdin="Grüße".encode("utf-16"))["reply"] == "You said: Grüße"
        assert answer(stdin=b"\xef\xbb\xbfHi")["reply"] == "You said: Hi"

    @pytest.mark.parametrize("stdin", ["", "\n \n"])
    def test_an_empty_question_is_wrong_usage(self, stdin: str) -> None:
        result = ask(stdin=stdin)
        assert result.exit_code == 2
        assert "Nothing to ask" in result.stderr

    def test_a_question_without_quotes_is_wrong_usage_and_says_so(self) -> None:
        result = ask("Why", "is", "the", "sky", "blue?", "--no-save")
        assert result.exit_code == 2
        assert "Put the question in quotes" in result.stderr
        assert "No such option" in ask("Why", "--is", "the").stderr

    def test_a_fence_is_longer_than_any_in_the_file(self) -> None:
        assert format_attachment("x.md", "````\na\n````") == "x.md\n`````\n````\na\n````\n`````"

    def test_bytes_outside_the_locale_are_read_as_utf_8(self) -> None:
        assert argument_text("Gr\udcc3\udcbc\udcc3\udc9fe") == "Grüße"
        assert argument_text("a\udcff") == "a\ufffd"

    def test_one_part_stays_as_it_is(self) -> None:
        assert build_message([], "", "  indented") == "  indented"


class TestWhatComesOut:
    def test_json_is_one_object_with_the_promised_keys(self) -> None:
        result = ask("hello", "--json", "--stats")
        found = json.loads(result.stdout)
        assert result.stdout.count("\n") == 1
        assert set(found) == KEYS
        assert set(found["usage"]) == USAGE
        assert (found["reply"], found["finish_reason"], found["model"]) == ("You said: hello", "stop", "echo")

    def test_stats_go_to_standard_error(self) -> None:
        result = ask("hello", "--stats")
        assert result.stdout == "You said: hello\n"
        assert "reply tokens" in result.stderr
        assert "stop" in result.stderr

    def test_a_pipe_gets_the_reply_exactly(self) -> None:
        result = ask("hello", answer=lambda _: "a\x1b[31mb\u202ec\r\n")
        assert result.stdout_bytes.replace(b"\r\n", b"\n") == b"a\x1b[31mb\xe2\x80\xaec\n\n"

    def test_a_truncated_reply_is_reported(self) -> None:
        assert answer("one two three four", "--max-tokens", "2")["finish_reason"] == "length"

    def test_a_reply_that_is_cut_off_says_so_on_standard_error(self) -> None:
        result = ask("one two three four", "--max-tokens", "2")
        assert result.stderr == "The reply was cut off: maximum length reached.\n"
        assert "cut off" not in result.stdout, "a pipe gets the reply alone"
        assert ask("one two").stderr == ""

    def test_an_error_is_one_sentence_on_standard_error(self) -> None:
        result = CliRunner().invoke(cli, ["ask", "-m", "nothing-like-it", "hello"], obj=echo_program(), input="")
        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.startswith("mistral-chat: No model named 'nothing-like-it'.")
        assert result.stderr.count("\n") == 1

    def test_a_failed_reply_keeps_the_question_and_the_reason(self, store: ConversationStore) -> None:
        def fail(_text: str) -> str:
            raise EngineFailed("llama.cpp could not compute.")

        result = ask("hello", answer=fail)
        assert (result.exit_code, result.stderr) == (1, "mistral-chat: llama.cpp could not compute.\n")
        (turn,) = store.turns(store.latest() or "")
        assert (turn.turn.user, turn.turn.error) == ("hello", "llama.cpp could not compute.")

    @pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be moved")
    def test_a_reply_that_cannot_be_saved_is_printed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def lose_the_database(_text: str) -> str:
            path = Paths.from_environment({}).database
            path.rename(path.with_suffix(".away"))
            return "Yes."

        monkeypatch.setattr(headless, "SAVING_PATIENCE", 0.0)
        result = ask("hello", "--json", answer=lose_the_database)
        assert json.loads(result.stdout)["reply"] == "Yes."
        assert result.exit_code == 1
        assert result.stderr.startswith("mistral-chat: ")


class TestWhereItIsKept:
    def test_it_is_a_conversation_like_any_other(self, store: ConversationStore) -> None:
        found = answer("hello", "-s", "Be kind.")
        stored = store.conversation(found["conversation_id"])
        (turn,) = store.turns(found["conversation_id"])
        assert (stored.system, stored.summary.title) == ("Be kind.", "hello")
        assert (turn.turn.user, turn.turn.reply, turn.turn.finish_reason) == ("hello", "You said: hello", "stop")

    def test_the_latest_conversation_can_be_continued(self, store: ConversationStore) -> None:
        first = answer("one")["conversation_id"]
        assert answer("two", "-c")["conversation_id"] == first
        assert [turn.turn.user for turn in store.turns(first)] == ["one", "two"]

    def test_continuing_without_a_conversation_starts_one(self) -> None:
        assert answer("one", "-c")["conversation_id"]

    def test_a_short_id_continues_its_conversation(self) -> None:
        first = answer("one")["conversation_id"]
        answer("other")
        assert answer("two", "--chat", first[:6])["conversation_id"] == first

    def test_a_wrong_id_is_reported_before_the_question_is_sent(self) -> None:
        result = ask("two", "--chat", "zzzz")
        assert result.exit_code == 1
        assert "zzzz" in result.stderr

    def test_without_saving_nothing_touches_the_disk(self, own_folders: Path) -> None:
        assert answer("hello", "--no-save")["conversation_id"] is None
        assert not [path for path in own_folders.rglob("*") if path.is_file()]

    @pytest.mark.parametrize("options", [("-c", "--chat", "x"), ("--no-save", "-c"), ("--no-save", "--chat", "x")])
    def test_options_that_do_not_go_together_are_wrong_usage(self, options: tuple[str, ...]) -> None:
        result = ask("hello", *options)
        assert result.exit_code == 2
        assert "cannot be used together" in result.stderr

    def test_the_log_never_holds_message_text(self, own_folders: Path) -> None:
        answer("a secret word: xyzzy")
        logs = list(own_folders.rglob("*.log"))
        assert logs
        assert all("xyzzy" not in path.read_text() for path in logs)

    def test_expired_trash_is_deleted(self, store: ConversationStore) -> None:
        configure("trash_days: 1\n")
        old = answer("one")["conversation_id"]
        store.trash(old)
        answer("two", now=lambda: datetime.now(UTC) + timedelta(hours=23))
        assert [summary.conversation_id for summary in store.summaries(where="trash")] == [old]
        answer("three", now=lambda: datetime.now(UTC) + timedelta(hours=25))
        assert not store.summaries(where="trash")

    def test_an_answer_stands_when_old_trash_cannot_be_deleted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def busy(_store: ConversationStore) -> bool:
            raise StoreBusy("Another program is writing.")

        monkeypatch.setattr("mistral_chat.store.store.ConversationStore.purge", busy)
        assert answer("hello")["reply"] == "You said: hello"


class TestHowItIsAsked:
    def test_a_persona_sets_its_system_prompt(self, store: ConversationStore) -> None:
        configure("personas: {pirate: {system: Arr.}}\n")
        found = answer("hello", "-p", "pirate")
        assert store.conversation(found["conversation_id"]).system == "Arr."

    def test_an_unknown_persona_is_wrong_usage(self) -> None:
        result = ask("hello", "-p", "nobody")
        assert result.exit_code == 2
        assert "Unknown persona 'nobody'" in result.stderr

    def test_a_value_out_of_its_range_is_wrong_usage(self) -> None:
        result = ask("hello", "--temperature", "9")
        assert result.exit_code == 2
        assert "--temperature: temperature must be from 0 to 5" in result.stderr

    def test_sampling_options_apply_to_this_run_only(self, store: ConversationStore) -> None:
        first = answer("one two three", "--max-tokens", "1", "--seed", "4")
        assert first["usage"]["completion_tokens"] == 1
        assert store.conversation(first["conversation_id"]).sampling is None
        assert answer("one two three", "-c")["usage"]["completion_tokens"] == 5

    def test_sampling_options_win_over_the_conversations(self, store: ConversationStore) -> None:
        first = answer("one")["conversation_id"]
        store.set_overrides(first, sampling=Settings().sampling)
        assert answer("one two three", "-c", "--max-tokens", "2")["finish_reason"] == "length"

    def test_the_context_size_can_be_set(self) -> None:
        result = ask("word " * 600, "--ctx-size", "256")
        assert result.exit_code == 1
        assert "256" in result.stderr

    def test_a_broken_settings_file_is_reported_with_its_line(self) -> None:
        configure("\nmodle: x\n")
        result = ask("hello")
        assert result.exit_code == 1
        assert "config.yaml:2: unknown key 'modle'; did you mean 'model'?" in result.stderr
