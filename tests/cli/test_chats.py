"""`mistral-chat chats`, as a user or a script sees it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from support.stores import Clock, chat, said

from mistral_chat.cli.chats import chats
from mistral_chat.cli.chats_format import repair_lines
from mistral_chat.cli.main import cli
from mistral_chat.cli.wiring import Program
from mistral_chat.errors import MistralChatError
from mistral_chat.store.repair import RepairResult

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.store.store import ConversationStore


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(environ={"MISTRAL_CHAT_DATA_DIR": str(tmp_path / "data")}, now=Clock())


def run(program: Program, *arguments: str, **more: Any) -> Result:
    return CliRunner().invoke(chats, arguments, obj=program, catch_exceptions=not more.pop("raises", False), **more)


def done(program: Program, *arguments: str) -> str:
    result = run(program, *arguments)
    assert (result.exception, result.exit_code) == (None, 0), result.output
    return result.stdout


def as_json(program: Program, *arguments: str) -> Any:
    return json.loads(done(program, *arguments, "--json"))


def opened(program: Program) -> closing[ConversationStore]:
    return closing(program.open_store())


@pytest.fixture
def herons(program: Program) -> str:
    """A conversation with a branch, and another one; the id of the first."""
    with opened(program) as store:
        conversation, turns = chat(store, ("What is a heron?", "A bird."), ("Big?", "Two metres."))
        said(store, conversation, "How big?", "Very.", turns[0])
        chat(store, ("Zebras", "Striped."), title="About zebras")
    return conversation


def test_list_has_the_keys_that_scripts_rely_on(program: Program, herons: str) -> None:
    listed = as_json(program, "list")
    assert [each["title"] for each in listed] == ["About zebras", "What is a heron?"]
    for each in listed:
        assert each.keys() == {
            *("conversation_id", "title", "turns", "created", "updated", "pinned", "archived", "trashed", "model", "tags")
        }
        assert datetime.fromisoformat(each["updated"]).tzinfo is not None
    assert (listed[1]["conversation_id"], listed[1]["turns"]) == (herons, 2)


def test_the_plain_list_shows_short_ids(program: Program, herons: str) -> None:
    lines = done(program, "list").splitlines()
    assert re.fullmatch(rf"{herons[:8]}  \d{{4}}-\d\d-\d\d \d\d:\d\d      2  What is a heron\?", lines[1])


def test_an_empty_list_succeeds(program: Program) -> None:
    result = run(program, "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No conversations yet" in result.stderr
    assert as_json(program, "list") == []
    assert as_json(program, "search", "x") == []
    assert run(program, "search", "x").stderr == "No matches.\n"


@pytest.mark.parametrize(
    ("arguments", "said_instead"),
    [
        (["list", "--archived"], "The archive is empty."),
        (["list", "--trash"], "The trash is empty."),
        (["list", "--tag", "birds"], "No matches."),
        (["list", "--contains", "owls"], "No matches."),
        (["trash", "--empty"], "The trash is empty."),
    ],
)
@pytest.mark.usefixtures("herons")
def test_an_empty_part_of_the_list_is_named(program: Program, arguments: list[str], said_instead: str) -> None:
    result = run(program, *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"{said_instead}\n")


def test_lists_can_be_filtered(program: Program, herons: str) -> None:
    done(program, "tag", herons[:8], "Birds", "big")
    assert [each["tags"] for each in as_json(program, "list", "--tag", "birds")] == [["big", "birds"]]
    assert "#big #birds" in done(program, "list")
    done(program, "tag", herons, "--off", "big")
    assert [each["tags"] for each in as_json(program, "list", "--contains", "HERON")] == [["birds"]]
    done(program, "archive", herons)
    assert [each["conversation_id"] for each in as_json(program, "list", "--archived")] == [herons]
    assert len(as_json(program, "list")) == 1
    done(program, "archive", "--off", herons)
    done(program, "pin", herons)
    assert as_json(program, "list", "-n", "1")[0]["conversation_id"] == herons
    done(program, "pin", "--off", herons)
    assert as_json(program, "list", "-n", "1")[0]["conversation_id"] != herons


def test_search_has_the_keys_that_scripts_rely_on(program: Program, herons: str) -> None:
    (hit,) = as_json(program, "search", "two", "metres")
    assert hit.keys() == {"conversation_id", "turn_id", "title", "snippet", "rank"}
    assert (hit["conversation_id"], hit["snippet"]) == (herons, "Two metres.")
    assert as_json(program, "search", "about")[0]["turn_id"] is None
    assert "Two metres." in done(program, "search", '"two metres"')


def test_show_prints_the_current_path(program: Program, herons: str) -> None:
    shown = done(program, "show", herons[:6])
    assert "What is a heron?" in shown
    assert "[2 of 2]:\nHow big?" in shown
    assert "Two metres." not in shown
    found = as_json(program, "show", herons)
    assert [turn["reply"] for turn in found["turns"]] == ["A bird.", "Very."]
    assert found["conversation_id"] == herons


def test_show_tree_prints_every_branch_and_marks_the_path(program: Program, herons: str) -> None:
    lines = [line[9:] for line in done(program, "show", herons, "--tree").splitlines()]
    assert lines == [
        "* What is a heron? → A bird.",
        "  ├ Big? → Two metres.",
        "* └ How big? → Very.",
    ]
    assert [turn["current"] for turn in as_json(program, "show", herons, "--tree")["turns"]] == [True, False, True]


def test_show_says_how_replies_ended(program: Program) -> None:
    with opened(program) as store:
        conversation = store.create(system="Be brief.")
        turn = store.add_turn(conversation, "a", parent_id=None)
        store.finish_reply(turn, "half", finish_reason="cancelled")
        store.finish_reply(store.add_sibling(turn), "", finish_reason=None, error="The model failed.")
    assert "(The model failed.)" in done(program, "show", conversation)
    assert "System:\nBe brief." in done(program, "show", conversation)
    assert "(stopped)" in done(program, "show", conversation, "--tree")


HOSTILE = "\x1b]52;c;cm0gLXJm\x07\x1b[2J\u202etitle\x9b31m\r"


def test_titles_cannot_act_on_the_terminal(program: Program) -> None:
    with opened(program) as store:
        conversation, _ = chat(store, (f"zebra {HOSTILE}", f"reply {HOSTILE}"))
        with store.database.write() as connection:  # a store of another program
            connection.execute("UPDATE conversations SET title = ?, title_by = 'person', model = ?", (HOSTILE, HOSTILE))
            connection.execute("UPDATE turns SET model = ?", (HOSTILE,))
            connection.execute("INSERT INTO tags VALUES (1, ?)", (HOSTILE,))
    for arguments in (["list"], ["search", "zebra"], ["show", conversation, "--tree"]):
        assert not set("\x1b\x07\x9b\u202e\r") & set(done(program, *arguments))
    assert done(program, "show", conversation).count("\x1b]52") == 2  # the two texts, exactly as they were written


def test_rename_sets_a_title_and_an_empty_one_restores_the_first_message(program: Program, herons: str) -> None:
    done(program, "rename", herons, "Birds")
    assert as_json(program, "show", herons)["title"] == "Birds"
    done(program, "rename", herons, "")
    assert as_json(program, "show", herons)["title"] == "What is a heron?"


def test_rm_moves_to_the_trash_and_restore_undoes_it(program: Program, herons: str) -> None:
    assert done(program, "rm", herons) == ""
    assert [each["conversation_id"] for each in as_json(program, "trash")] == [herons]
    assert herons[:8] in done(program, "trash")
    assert herons[:8] in done(program, "list", "--trash")
    done(program, "restore", herons[:8])
    assert as_json(program, "trash") == []
    assert len(as_json(program, "list")) == 2


def test_rm_now_deletes_permanently_with_snapshots(program: Program, herons: str) -> None:
    snapshots = program.paths.snapshots_dir
    snapshots.mkdir(parents=True)
    asked = run(program, "rm", "--now", herons)
    assert asked.exit_code == 2
    assert "pass --yes" in asked.output
    assert len(as_json(program, "list")) == 2
    done(program, "rm", "--now", "--yes", herons, herons[:8])
    assert [each["title"] for each in as_json(program, "list")] == ["About zebras"]
    assert not any(b"heron" in path.read_bytes() for path in program.paths.data_dir.rglob("*") if path.is_file())
    with pytest.raises(MistralChatError):
        run(program, "show", herons, raises=True)


def test_emptying_the_trash_prints_what_was_deleted(program: Program, herons: str) -> None:
    assert as_json(program, "trash", "--empty") == []
    done(program, "rm", herons)
    assert as_json(program, "trash", "--empty", "--yes") == [herons]
    assert as_json(program, "trash") == []


def test_answering_no_deletes_nothing(program: Program, herons: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral_chat.cli.printing.interactive", lambda: True)
    refused = run(program, "rm", "--now", herons, input="n\n")
    assert (refused.exit_code, str(refused.exception)) == (1, "Cancelled. Nothing was changed.")
    assert len(as_json(program, "list")) == 2
    assert run(program, "rm", "--now", herons, input="y\n").exit_code == 0
    assert len(as_json(program, "list")) == 1


def test_everything_survives_export_and_import(program: Program, herons: str, tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    done(program, "export", "--all", "-o", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    other = Program(environ={"MISTRAL_CHAT_DATA_DIR": str(tmp_path / "other")}, now=Clock())
    assert "Would import 2 conversations with 4 turns." in done(other, "import", "--dry-run", str(file))
    assert as_json(other, "list") == []
    assert as_json(other, "import", str(file))["turns"] == 4
    assert "Skipped 2 conversations already present, perhaps in the trash." in done(other, "import", str(file))
    assert as_json(other, "show", herons, "--tree") == as_json(program, "show", herons, "--tree")


def test_export_writes_markdown_one_file_a_conversation(program: Program, herons: str, tmp_path: Path) -> None:
    assert done(program, "export", herons, "-f", "markdown").startswith("---\nmistral-chat: 1\n")
    assert json.loads(done(program, "export", herons))["conversations"][0]["id"] == herons
    longest = tmp_path / f"{'x' * 252}.md"
    done(program, "export", herons, "-o", str(longest))
    assert "Very." in longest.read_text()
    done(program, "export", "--all", "-f", "markdown", "-o", str(tmp_path / "notes"))
    assert sorted(path.name[:-12] for path in (tmp_path / "notes").iterdir()) == ["About-zebras", "What-is-a-heron"]


def test_an_impossible_export_is_refused(program: Program, herons: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("mine")
    for arguments, expected in (
        (["export"], "Pass conversation ids"),
        (["export", "--all", herons], "Pass conversation ids"),
        (["export", herons, "-o", str(file)], "already exists"),
        (["export", "--all", "-f", "markdown"], "need a folder"),
        (["export", herons, "-o", str(tmp_path / "missing" / "x.json")], "cannot be written"),
    ):
        result = run(program, *arguments)
        assert expected in f"{result.output} {result.exception}"
        assert result.exit_code != 0
    assert file.read_text() == "mine"
    (tmp_path / "x.json.part").write_text("mine too")
    done(program, "export", herons, "-o", str(file), "--force")
    assert (tmp_path / "x.json.part").read_text() == "mine too"
    assert herons in file.read_text()


def test_a_broken_file_changes_nothing(program: Program, herons: str, tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    done(program, "export", "--all", "-o", str(file))
    done(program, "rm", "--now", "--yes", herons)
    file.write_text(file.read_text().replace('"title_by": "person"', '"title_by": "cat"'))
    result = run(program, "import", str(file))
    assert "conversations[1]" in str(result.exception)
    assert len(as_json(program, "list")) == 1


def test_an_import_ends_with_a_table_of_what_was_skipped(program: Program, tmp_path: Path) -> None:
    def node(key: str, parent: str | None, role: str, **content: Any) -> dict[str, Any]:
        return {"parent": parent, "message": {"author": {"role": role}, "content": content}}

    picture = {"content_type": "image_asset_pointer"}
    good = {
        "q": node("q", None, "user", content_type="multimodal_text", parts=[picture, "Which bird?"]),
        "a": node("a", "q", "assistant", content_type="text", parts=["A heron."]),
    }
    file = tmp_path / "conversations.json"
    value = [{"id": "1", "title": "Birds", "mapping": good}, {"id": "2", "title": "\x1b[31mBad", "mapping": 5}, {"mapping": {}}]
    file.write_text(json.dumps(value))
    (tmp_path / "user.json").write_text('{"id": "u"}')
    lines = done(program, "import", str(tmp_path)).splitlines()
    left_out = "pictures, recordings and other files (1), damaged conversations (1), conversations without text (1)"
    assert " ".join(lines[1].split()) == f"conversations.json ChatGPT 1 1 {left_out}"
    assert [line.split()[:4] for line in lines[3:4]] == [["Total", "1", "1"]]
    assert lines[4] == (
        "conversations.json: damaged conversations: conversations.json, conversation 2.mapping: expected an object. (␛[31mBad)"
    )
    assert lines[-2].endswith("files without conversations: user.json")
    assert lines[-1] == "Imported 1 conversation with 1 turn."
    assert (
        done(program, "import", str(tmp_path)).splitlines()[-1] == "Skipped 1 conversation already present, perhaps in the trash."
    )
    (source, rest) = as_json(program, "import", str(tmp_path))["sources"]
    assert (source["format"], source["conversations"], source["turns"], rest["name"]) == ("ChatGPT", 1, 1, tmp_path.name)
    assert {each["what"]: each["count"] for each in source["left_out"]}["damaged conversations"] == 1


def test_delete_is_another_name_for_rm(program: Program, herons: str) -> None:
    done(program, "delete", herons)
    assert [each["conversation_id"] for each in as_json(program, "list", "--trash")] == [herons]
    done(program, "delete", "--now", "--yes", herons)
    assert as_json(program, "list", "--trash") == []


def test_a_folder_that_cannot_be_created_is_named(program: Program, herons: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = run(program, "export", "--all", "-f", "markdown", "-o", str(tmp_path / "file" / "notes"))
    assert "cannot be created" in str(result.exception)


def test_backup_and_repair(program: Program, herons: str, tmp_path: Path) -> None:
    file = tmp_path / "backup.db"
    done(program, "backup", str(file))
    assert "already exists. Choose another name, or pass --force." in str(run(program, "backup", str(file)).exception)
    done(program, "backup", "--force", str(file))
    nothing: dict[str, Any] = {
        "kept": None,
        "conversations": 0,
        "turns": 0,
        "lost_conversations": 0,
        "lost_turns": 0,
        "incomplete": [],
    }
    assert as_json(program, "repair") == nothing
    assert "not damaged. Its search index was rebuilt" in done(program, "repair")
    database = program.paths.database
    os.truncate(database, database.stat().st_size - 4096)
    assert "chats repair" in str(run(program, "list").exception)
    output = done(program, "repair")
    assert "Saved 2 conversations with 4 turns." in output
    assert "is kept as" in output
    assert len(as_json(program, "show", herons, "--tree")["turns"]) == 3


@pytest.mark.parametrize(
    ("turns", "conversations", "lost"),
    [
        (31, 0, "Lost 31 turns, and perhaps more."),
        (0, 1, "Lost the titles and settings of 1 conversation, and perhaps more."),
        (1, 2, "Lost 1 turn, the titles and settings of 2 conversations, and perhaps more."),
    ],
)
def test_a_repair_names_only_what_was_lost(tmp_path: Path, turns: int, conversations: int, lost: str) -> None:
    result = RepairResult(kept=tmp_path / "damaged", conversations=3, turns=5, lost_conversations=conversations, lost_turns=turns)
    saved, missing, kept = repair_lines(result)
    assert (saved, missing.partition(" `")[0]) == ("Saved 3 conversations with 5 turns.", lost)
    assert "is kept as" in kept


def test_a_repair_names_what_else_was_lost(tmp_path: Path) -> None:
    result = RepairResult(kept=tmp_path / "damaged", conversations=3, turns=5, incomplete=("drafts", "turn_passages"))
    assert "Lost some drafts, some passages given with messages, and perhaps more." in "\n".join(repair_lines(result))


def test_ids_are_completed_with_their_titles(program: Program, herons: str) -> None:
    environment = {
        **os.environ,
        "MISTRAL_CHAT_DATA_DIR": program.environ["MISTRAL_CHAT_DATA_DIR"],
        "_MISTRAL_CHAT_COMPLETE": "zsh_complete",
        "COMP_WORDS": f"mistral-chat chats show {herons[:3]}",
        "COMP_CWORD": "3",
    }
    completed = subprocess.run(
        [sys.executable, "-c", "from mistral_chat.cli.main import cli; cli(prog_name='mistral-chat')"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{herons[:8]}\nWhat is a heron?" in completed.stdout


def test_the_group_is_part_of_the_program() -> None:
    result = CliRunner().invoke(cli, ["chats", "--help"])
    assert result.exit_code == 0
    for name in ("list", "show", "search", "export", "import", "rename", "pin", "rm", "restore", "trash", "backup", "repair"):
        assert f"\n  {name} " in result.output
