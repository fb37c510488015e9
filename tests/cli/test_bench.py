"""The figures of `mistral-chat bench` are true, and its JSON keys are fixed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.programs import echo_program

from mistral_chat.cli.main import cli
from mistral_chat.cli.wiring import Program

KEYS = {
    "prompt_tokens",
    "cached_tokens",
    "prefilled_tokens",
    "evicted_turns",
    "evicted_tokens",
    "time_to_first_token",
    "tokens_per_second",
    "ledger_tokens",
    "window",
}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model file that no engine of these tests reads."""
    from support.gguf_factory import gguf_file

    return gguf_file(tmp_path, "v7")


@pytest.fixture
def bench(tiny: Path) -> Callable[..., Result]:
    """Runs the command on an engine without a model."""

    def run(*arguments: str, program: Program | None = None, text: str | None = None) -> Result:
        own = program or echo_program()
        return CliRunner().invoke(cli, ["bench", "-m", str(tiny), *arguments], obj=own, input=text)

    return run


def messages_file(folder: Path, messages: Any) -> str:
    path = folder / "messages.json"
    path.write_text(json.dumps(messages), encoding="utf-8")
    return str(path)


def test_json_has_one_entry_a_message_under_the_fixed_names(bench: Callable[..., Result], tmp_path: Path) -> None:
    said = [{"role": "system", "content": "Be brief."}, "Hello.", {"role": "user", "content": "And again?"}, "Bye."]
    result = bench("--messages", messages_file(tmp_path, said), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found) == {"turns"}
    assert len(found["turns"]) == 3
    for turn in found["turns"]:
        assert set(turn) == KEYS
        assert turn["prefilled_tokens"] == turn["prompt_tokens"] - turn["cached_tokens"]
        assert turn["window"] == 4096
    assert found["turns"][0]["cached_tokens"] == 0
    assert found["turns"][2]["cached_tokens"] > 0, "the conversation starts again"


def test_messages_come_from_standard_input_too(bench: Callable[..., Result]) -> None:
    result = bench("--messages", "-", "--json", text='["Hello."]')
    assert len(json.loads(result.stdout)["turns"]) == 1


def test_dropped_turns_are_counted_in_the_turn_that_drops_them(bench: Callable[..., Result], tmp_path: Path) -> None:
    said = [f"Message {number}: " + "many words " * 40 for number in range(12)]
    result = bench("--messages", messages_file(tmp_path, said), "--json", "--ctx-size", "512")
    turns = json.loads(result.stdout)["turns"]
    gone = [turn for turn in turns if turn["evicted_turns"]]
    assert gone
    assert all(turn["evicted_tokens"] > 0 for turn in gone)
    assert all(turn["ledger_tokens"] <= turn["window"] == 512 for turn in turns)
    assert sum(turn["evicted_turns"] for turn in turns) < 12


def test_the_table_is_readable(bench: Callable[..., Result], tmp_path: Path) -> None:
    result = bench("--messages", messages_file(tmp_path, ["Hello.", "Again."]))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "first token" in lines[2]
    assert len(lines) == 5


def test_without_messages_the_context_is_filled_until_it_rolls(bench: Callable[..., Result]) -> None:
    result = bench("--ctx-size", "512")
    assert result.exit_code == 0, result.output
    assert "first token, before the context rolls" in result.stdout
    assert "times as long" in result.stdout
    assert "reopening from disk" in result.stdout


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not valid JSON"),
        ("{}", "a list of messages"),
        ("[]", "a list of messages"),
        ('[{"role": "system", "content": ""}, "Hello.", " \\n"]', "message 3 is empty"),
        ("[1]", "message 1"),
        ('["a", {"role": "assistant", "content": "b"}]', "message 2"),
        ('["a", {"role": "system", "content": "b"}]', "message 2"),
        ('[{"role": "system", "content": "b"}]', "no user message"),
    ],
)
def test_a_file_without_a_message_list_is_refused_by_name(bench: Callable[..., Result], text: str, problem: str) -> None:
    result = bench("--messages", "-", "--json", text=text)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stdout == ""


def test_the_real_engine_reports_true_usage(tiny: Path, tmp_path: Path, own_folders: Path) -> None:
    said = [f"Message {number}: " + "many words " * 30 for number in range(14)]
    arguments = ["bench", "-m", str(tiny), "--messages", messages_file(tmp_path, said), "--json", "--ctx-size", "512"]
    arguments += ["--max-tokens", "8", "--temperature", "0", "--threads", "1"]
    result = CliRunner().invoke(cli, arguments, obj=Program())
    assert result.exit_code == 0, result.output
    turns = json.loads(result.stdout)["turns"]
    assert len(turns) == 14
    first = next(place for place, turn in enumerate(turns) if turn["evicted_turns"])
    assert first < 8
    for turn in turns[1:]:
        assert turn["prefilled_tokens"] <= turns[0]["prefilled_tokens"] + 8, "after the window rolled, only new text is read"
    assert not list(own_folders.rglob("*.kv")), "a measurement leaves no KV state behind"
    assert not list(own_folders.rglob("*.db")), "a measurement is no conversation"


def test_the_real_engine_reopens_from_the_disk(tiny: Path) -> None:
    result = CliRunner().invoke(cli, ["bench", "-m", str(tiny), "--ctx-size", "256", "--threads", "1"], obj=Program())
    assert result.exit_code == 0, result.output
    assert "prefilling it again" in result.stdout, "the KV state was not found again"
