"""Slash commands."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.app_harness import (
    AppHarness,
    run,
    run_loaded,
    screen_text,
    send_message,
    until,
    until_answered,
    until_drawn,
    until_ready,
)
from support.first_run import FrozenModelService, usual_listing
from support.ways import ways

from mistral_chat.config import Persona, Settings
from mistral_chat.message_form import as_draft, build_message
from mistral_chat.session.grounding import Grounding
from mistral_chat.ui.commands import all_commands, command, matching, parse_input
from mistral_chat.ui.palette import CommandProvider
from mistral_chat.ui.screens.models import ModelsScreen

if TYPE_CHECKING:
    from pathlib import Path

    from mistral_chat.store.store import ConversationStore
    from mistral_chat.ui.commands import Command


@pytest.mark.parametrize(
    ("draft", "message"),
    [
        ("hello", "hello"),
        ("//etc/hosts is a file", "/etc/hosts is a file"),
        ("//new", "/new"),
        ("/new\nlines", "/new\nlines"),
        (" /new", " /new"),
        ("// a comment", "// a comment"),
        ("// main.c\nint main;", "// main.c\nint main;"),
        ("///doc", "///doc"),
        ("//TODO fix", "//TODO fix"),
        ("//foo();", "//foo();"),
        ("//#include <x>", "//#include <x>"),
        ("//x=1;", "//x=1;"),
        ("//help", "/help"),
        ("//home/me/.profile?", "/home/me/.profile?"),
        ("/* a comment */\nint x;", "/* a comment */\nint x;"),
        ("  //x", "  //x"),
    ],
)
def test_messages_are_distinguished_from_commands(draft: str, message: str) -> None:
    assert parse_input(draft).message == message


@pytest.mark.parametrize(
    ("message", "draft"),
    [
        ("hello", "hello"),
        ("/new", "//new"),
        ("/etc/hosts is a file", "//etc/hosts is a file"),
        ("/new\nlines", "/new\nlines"),
        ("// a comment", "// a comment"),
        ("", ""),
        (build_message([("a.py", "pass")], "", "/new"), build_message([("a.py", "pass")], "", "//new")),
    ],
)
def test_a_message_is_a_message_again_as_a_draft(message: str, draft: str) -> None:
    assert as_draft(message) == draft


@pytest.mark.parametrize("draft", ["/nwe", "/etc/hosts is a file", "/", "/NEW", "/new is a command", "/undo that"])
def test_an_invalid_command_is_refused(draft: str) -> None:
    said = parse_input(draft)
    assert said.message is None
    assert said.command is None
    assert "two slashes" in said.refusal


def test_a_command_is_completed_from_its_beginning() -> None:
    assert [command.slash for command in matching("/re")] == ["regen", "rename", "recall", "reload"]
    assert matching("/re x") == []
    assert len(matching("/")) == sum(bool(command.slash) for command in all_commands())


async def test_an_unknown_command_is_not_sent() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/regne")
        await until(pilot, lambda: "Did you mean /regen?" in screen_text(harness))
        assert harness.chat.draft == "/regne"
        assert harness.store.latest() is None


@pytest.mark.parametrize("draft", ["/regen shorter", "/delete this"])
async def test_text_after_a_command_without_arguments_is_not_lost(draft: str) -> None:
    harness = AppHarness()
    harness.start_with(("One", "Two"))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, draft)
        await until(pilot, lambda: "takes no argument" in harness.chat.notice)
        assert harness.chat.draft == draft
        assert [turn.turn.reply for turn in harness.store.turns(harness.conversation_id or "")] == ["Two"]


async def test_commands_accept_what_their_dialogs_ask_for() -> None:
    harness = AppHarness(app_options={"models": lambda: FrozenModelService(usual_listing())})
    harness.start_with(("Where is the lighthouse?", "In the harbour."))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/search harbour")
        await until_drawn(pilot, "1 found")
        await pilot.press("escape")
        await send_message(pilot, harness, "/rename Of the sea")
        await until(pilot, lambda: harness.store.conversation(harness.conversation_id or "").summary.title == "Of the sea")
        await send_message(pilot, harness, "/model v0.3 q8_0")
        await until(pilot, lambda: isinstance(harness.app.screen, ModelsScreen) and harness.app.screen.model_list.selected)
        assert harness.app.screen.model_list.selected == "mistral-7b-instruct-v0.3:Q8_0"  # type: ignore[attr-defined]  # asked for just above
        await pilot.press("escape")
        await send_message(pilot, harness, "/model nonsense")
        await until_drawn(pilot, "No model matches 'nonsense'.")
        await pilot.press("escape")
        await send_message(pilot, harness, "/filter nothing like it")
        await until_drawn(pilot, "No matches")
        await pilot.press("escape")
        await until_drawn(pilot, "Of the sea")


async def test_the_menu_lists_commands_while_typing_and_tab_completes() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("/", *"exp")
        await until(pilot, lambda: "/export FILE" in screen_text(harness))
        await until(pilot, lambda: "Export the conversation to a Markdown file" in screen_text(harness))
        await pilot.press("tab")
        await until(pilot, lambda: harness.chat.draft == "/export ")
        await until(pilot, lambda: "/export FILE" not in screen_text(harness))
        harness.chat.set_draft("/re")
        await until(pilot, lambda: "/regen" in screen_text(harness) and "/rename" in screen_text(harness))
        await pilot.press("tab")
        assert harness.chat.draft == "/re", "what several commands share is there already"
        await pilot.press("escape")
        await until(pilot, lambda: "/rename" not in screen_text(harness))
        assert harness.chat.draft == "/re"


async def test_a_clicked_command_is_put_into_the_message_box_unless_it_is_gone() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press("/")
        await until(pilot, lambda: harness.chat.composer.menu_is_open)
        await pilot.click("#slash", offset=(4, 1))
        await until(pilot, lambda: harness.chat.draft == "/regen ")
        menu = harness.chat.composer.menu
        assert menu is not None
        harness.chat.set_draft("/e")
        await until(pilot, lambda: "/export" in screen_text(harness))
        menu.highlighted = 2
        menu.action_select()
        menu.show([])
        await pilot.pause()
        assert harness.chat.draft == "/e"


async def test_arrow_keys_move_in_the_menu_and_enter_runs() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await pilot.press("/", *"arch")
        await until(pilot, lambda: "/archived" in screen_text(harness))
        await pilot.press("down", "down", "up", "enter")
        await until(pilot, lambda: "Archived" in harness.chat.notice)
        assert harness.store.conversation(harness.conversation_id or "").summary.archived


async def test_a_unique_beginning_and_an_alias_run_a_command() -> None:
    harness = AppHarness()
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/und")
        await until(pilot, lambda: harness.chat.notice == "Nothing to undo.")
        await send_message(pilot, harness, "/temp")
        await until(pilot, lambda: not harness.chat.saved)


@pytest.mark.parametrize("wanted", all_commands(), ids=lambda each: each.id)
def test_every_command_is_reachable_in_every_terminal(wanted: Command) -> None:
    """Alt, function keys and Ctrl with an arrow do not arrive on a Mac."""
    assert ways(wanted), f"{wanted.id} has no way that always arrives"


async def test_system_prompt_and_sampling_apply_to_this_conversation() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/system Be brief.")
        await send_message(pilot, harness, "/set temperature 0.2")
        await until(pilot, lambda: "temperature = 0.2" in harness.chat.notice)
        await send_message(pilot, harness, "Hello")
        await until_answered(pilot, harness)
        stored = harness.store.conversation(harness.store.latest() or "")
        assert stored.system == "Be brief."
        assert stored.sampling is not None
        assert stored.sampling.temperature == 0.2
        await send_message(pilot, harness, "/set top_k 7")
        await until(pilot, lambda: harness.store.conversation(stored.summary.conversation_id).sampling.top_k == 7)  # type: ignore[union-attr]  # set just above
        await send_message(pilot, harness, "/system")
        await until(pilot, lambda: "Be brief." in harness.chat.notice)


@pytest.mark.parametrize(
    "draft", ["/set", "/set nothing 1", "/set temperature hot", "/set temperature 99", "/set top_k 1.5", "/export"]
)
async def test_wrong_values_are_refused_with_a_reason(draft: str) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, draft)
        await until(pilot, lambda: harness.chat.notice)
        assert harness.store.latest() is None


async def test_a_conversation_is_exported_once(tmp_path: Path) -> None:
    harness = AppHarness()
    path = tmp_path / "talk.md"
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "Hello")
        await until_answered(pilot, harness)
        await send_message(pilot, harness, f"/export {path}")
        await until(pilot, path.exists)
        assert "You said: Hello" in path.read_text()
        assert path.stat().st_mode & 0o777 == 0o600
        await send_message(pilot, harness, f"/export {path}")
        await until(pilot, lambda: "exists already" in harness.chat.notice)
        await send_message(pilot, harness, f"/export {tmp_path / 'no' / 'folder.md'}")
        await until(pilot, lambda: "Cannot write" in harness.chat.notice)
        harness.chat.set_draft("")
        await send_message(pilot, harness, "/export ~nobody-of-that-name/x.md")
        await until(pilot, lambda: "no such home folder" in harness.chat.notice)


async def test_an_export_says_when_the_conversation_cannot_be_saved_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mistral_chat.ui.commands.conversations._SAVING_SECONDS", 0.1)
    harness = AppHarness(path=tmp_path / "store.db")
    harness.start_with(("Question", "Answer"))
    async with run_loaded(harness) as pilot:
        with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            harness.screen.opened.saver.save_draft("", "not saved yet")
            await send_message(pilot, harness, f"/export {tmp_path / 'talk.md'}")
            await until(pilot, lambda: "another program" in harness.chat.notice.lower(), harness.chat.notice)
        assert not (tmp_path / "talk.md").exists()


async def test_the_export_dialog_proposes_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "How is bread made?")
        await until_answered(pilot, harness)
        await send_message(pilot, harness, "/export")
        await until(pilot, lambda: harness.chat.draft == "/export how-is-bread-made.md")
        await until(pilot, lambda: "Enter exports" in harness.chat.notice)
        await pilot.press("enter")
        await until(pilot, (tmp_path / "how-is-bread-made.md").exists)


async def test_every_command_can_be_found_without_knowing_its_slash_name() -> None:
    harness = AppHarness()
    async with run_loaded(harness):
        titles = {hit.text async for hit in CommandProvider(harness.screen).discover()}
    assert {command.title for command in all_commands()} - {"All commands"} == titles


def test_ids_names_and_keys_are_unique() -> None:
    commands = all_commands()
    names = [name for command in commands for name in command.names]
    keys = [key for command in commands for key in command.key.split(",") if key]
    assert len({command.id for command in commands}) == len(commands)
    assert len(set(names)) == len(names)
    assert len(set(keys)) == len(keys)


async def test_commands_without_a_key_run_from_the_palette() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.type("a draft")
        harness.screen.commands.ask_for(command("chat.sampling"))
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        await pilot.press(*"temperature", "space", *"9", "enter")
        await until(pilot, lambda: "must be from 0 to 5" in harness.chat.notice)
        harness.screen.commands.ask_for(command("chat.system"))
        await until(pilot, lambda: harness.app.screen is not harness.screen)
        await pilot.press(*"Short", "enter")
        await until(pilot, lambda: harness.chat.system == "Short")
        assert harness.chat.draft == "a draft", "asking took the draft away"


async def test_an_argument_typed_before_the_conversations_are_open_lists_nothing() -> None:
    harness = AppHarness()
    opened = threading.Event()

    def open_store() -> ConversationStore:
        assert opened.wait(30)
        return harness.store

    harness.app_options["open_store"] = open_store
    harness.app = harness.make_app()
    async with run(harness) as pilot:
        await pilot.press(*"/set", "space", "m")
        await until(pilot, lambda: harness.chat.draft == "/set m")
        await pilot.pause()
        assert not harness.chat.composer.menu_is_open
        opened.set()
        await until_ready(pilot, harness)
        await pilot.press("a")
        await until(pilot, lambda: "/set max_tokens VALUE" in screen_text(harness))


@pytest.mark.parametrize("text", ["/tag", "/rename Bread", "/model"])
async def test_a_command_before_the_conversations_are_open_stays_in_the_message_box(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr("mistral_chat.ui.screens.chat._SETTLED_SECONDS", 1e6)
    harness = AppHarness()
    async with run(harness) as pilot:
        harness.chat.type(text)
        await pilot.press("enter")
        await until(pilot, lambda: "The conversations are not open yet." in harness.chat.notice)
        await pilot.press("ctrl+q")
        await until(pilot, lambda: "Not saved: The conversations are not open yet." in harness.chat.notice)
        assert harness.chat.draft == text
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not harness.app.is_running)


async def test_the_values_of_an_argument_are_listed_and_completed() -> None:
    personas = {"Chef": Persona(system="Cook."), "Critic": Persona(system="Judge.")}
    harness = AppHarness(
        settings=replace(Settings(), personas=personas), app_options={"models": lambda: FrozenModelService(usual_listing())}
    )
    async with run_loaded(harness) as pilot:
        await pilot.press(*"/persona", "space")
        await until(pilot, lambda: "/persona Chef" in screen_text(harness) and "/persona none" in screen_text(harness))
        await pilot.press(*"cr")
        await until(pilot, lambda: "/persona Chef" not in screen_text(harness) and "/persona Critic" in screen_text(harness))
        await pilot.press("enter")
        await until(pilot, lambda: "Persona: Critic" in harness.chat.notice)
        await pilot.press(*"/set", "space", *"top")
        await until(pilot, lambda: "/set top_p VALUE" in screen_text(harness) and "now 40" in screen_text(harness))
        await pilot.press("_", "k", "tab")
        await until(pilot, lambda: harness.chat.draft == "/set top_k ")
        await pilot.press("7", "enter")
        await until(pilot, lambda: "top_k = 7" in harness.chat.notice)
        await pilot.press(*"/model", "space", *"Q8")
        await until(pilot, lambda: "/model mistral-7b-instruct-v0.3:Q8_0" in screen_text(harness))
        await pilot.press("tab")
        assert harness.chat.draft == "/model mistral-7b-instruct-v0.3:Q8_0"
        await until(pilot, lambda: not harness.chat.composer.menu_is_open)


async def test_an_unexpected_error_while_an_argument_is_typed_leaves_the_app_running(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_grounding: Grounding) -> None:
        raise RuntimeError

    monkeypatch.setattr(Grounding, "available", broken)
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press(*"/docs", "space", *"ho")
        await until(pilot, lambda: "Internal error (RuntimeError)" in harness.chat.notice)
        assert harness.chat.draft == "/docs ho"
        assert harness.app.is_running
    caplog.clear()
