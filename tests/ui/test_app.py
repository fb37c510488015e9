"""The app around the screens: keys, help, colours, and unexpected errors."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from support.app_harness import PAUSE, AppHarness, run_loaded, screen_text, send_and_wait, send_message, until, until_answered

from mistral_chat.config import Settings
from mistral_chat.session.workspace import Workspace
from mistral_chat.ui import themes

SAID = "what was said in the conversation"


async def test_help_shows_the_keys_in_force_and_opens_over_dialogs() -> None:
    harness = AppHarness()
    async with run_loaded(harness, (60, 20)) as pilot:
        for key in ("", "ctrl+f", "f10"):
            if key:
                await pilot.press(key)
                await until(pilot, lambda: harness.app.screen is not harness.screen)
            below = harness.app.screen
            tooltips = {each.binding.tooltip for each in below.active_bindings.values() if each.binding.tooltip}
            await pilot.press("f1")
            await until(pilot, lambda below=below: harness.app.screen is not below)  # type: ignore[misc]  # mypy has no type for a lambda's default
            await pilot.pause()
            shown = " ".join(str(harness.app.screen.query_one("KeyTable").render()).split())
            for tooltip in tooltips:
                assert tooltip.split()[0] in shown, tooltip
            assert len(shown) > sum(map(len, tooltips)), "a key is missing"
            await pilot.press("f1")
            await until(pilot, lambda below=below: harness.app.screen is below)  # type: ignore[misc]  # mypy has no type for a lambda's default
            if key:
                await pilot.press("escape")
                await until(pilot, lambda: harness.app.screen is harness.screen)


async def test_f1_shows_and_hides_help() -> None:
    harness = AppHarness()
    async with run_loaded(harness, (120, 40)) as pilot:
        await pilot.press("f1")
        await until(pilot, lambda: "Ctrl+J inserts a" in screen_text(harness))
        await pilot.press("f1")
        await until(pilot, lambda: "inserts a" not in screen_text(harness))


async def test_a_key_can_be_changed_in_the_settings() -> None:
    harness = AppHarness(settings=replace(Settings(), keymap={"chat.new": "alt+n", "chat.nwe": "f11", "chat.rename": "f4"}))
    async with run_loaded(harness) as pilot:
        await until(pilot, lambda: "Did you mean 'chat.new'?" in harness.chat.notice)
        assert "f4 is given to both" in harness.chat.notice
        await send_message(pilot, harness, "Hello")
        await until_answered(pilot, harness)
        await pilot.press("alt+n")
        await until(pilot, lambda: "New conversation" in screen_text(harness))


async def test_a_failing_action_is_logged_without_text(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(SAID)

    monkeypatch.setattr(Workspace, "pin", broken)
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        with caplog.at_level(logging.ERROR, "mistral_chat"):
            await send_and_wait(pilot, harness, "Hello")
            await pilot.press("f9")
            await until(pilot, lambda: "RuntimeError" in harness.chat.notice)
        assert SAID not in harness.chat.notice
        assert all(SAID not in record.getMessage() for record in caplog.records)
        await send_message(pilot, harness, "Still here?")
        await until_answered(pilot, harness)
    caplog.clear()


async def test_a_failing_worker_leaves_the_app_running(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.fail_next_send(monkeypatch)
        await send_message(pilot, harness, "Hello")
        await until(pilot, lambda: "ZeroDivisionError" in harness.chat.notice)
        assert harness.app.is_running
        assert not harness.chat.replying
    caplog.clear()


async def test_a_broken_screen_ends_with_one_line_and_no_message_text(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    harness = AppHarness()
    logging.getLogger("mistral_chat").addHandler(logging.NullHandler())

    def broken() -> None:
        raise RuntimeError(SAID)

    async def break_it() -> None:
        async with run_loaded(harness) as pilot:
            harness.screen.call_later(broken)
            await until(pilot, lambda: not harness.app.is_running)

    with pytest.raises(RuntimeError):
        await break_it()
    assert harness.app.return_code == 1
    printed = capsys.readouterr()
    assert SAID not in printed.out + printed.err
    assert "the interface crashed (RuntimeError)" in " ".join((printed.out + printed.err).split())
    caplog.clear()


@pytest.mark.parametrize("theme", themes.THEMES, ids=lambda theme: theme.name)
def test_text_is_readable_in_the_apps_colours(theme: Any) -> None:
    from textual.color import Color

    background = Color.parse(theme.background)
    for name in ("foreground", "primary", "accent", "warning", "error", "success"):
        assert contrast(Color.parse(getattr(theme, name)), background) >= 4.5, name
    for name, colour in theme.variables.items():
        if name.startswith("code-"):
            assert contrast(Color.parse(colour), background) >= 4.5, name


def contrast(one: Any, other: Any) -> float:
    """The ratio that WCAG 2 defines; 4.5 is its bound for text."""

    def luminance(colour: Any) -> float:
        parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.normalized]
        return float(0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2])

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


async def test_an_unknown_theme_falls_back_to_dark() -> None:
    harness = AppHarness(settings=replace(Settings(), theme="nosuch"))
    assert harness.app.theme == "mistral-dark"


async def test_up_and_down_move_through_the_history() -> None:
    harness = AppHarness()
    harness.add_conversation(("older", "A"), ("newer", "A"))
    async with run_loaded(harness) as pilot:
        await pilot.press(*"draft", "up")
        assert harness.chat.draft == "newer"
        await pilot.press("up")
        assert harness.chat.draft == "older"
        await pilot.press("up", "down")
        assert harness.chat.draft == "newer"
        await pilot.press("down")
        assert harness.chat.draft == "draft"


async def test_a_queued_message_that_begins_leaves_the_draft_behind_a_recalled_message() -> None:
    harness = AppHarness(answer=lambda text: f"{text} {PAUSE}")
    async with run_loaded(harness) as pilot:
        for text in ("one", "two"):
            await send_message(pilot, harness, text)
            await until(pilot, lambda: harness.chat.turns)
        await pilot.press(*"draft", "up")
        assert harness.chat.draft == "one"
        harness.gate.set()
        await until(pilot, lambda: len(harness.chat.turns) == 2)
        await until_answered(pilot, harness)
        await pilot.press("down")
        assert harness.chat.draft == "draft"


@pytest.mark.parametrize("key", ["ctrl+j", "alt+enter", "shift+enter"])
async def test_a_newline_can_be_typed_in_every_terminal(key: str) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await pilot.press(*"one", key, *"two")
        await pilot.pause()
        assert harness.chat.draft == "one\ntwo"
        assert not harness.chat.replying


async def test_the_composer_grows_to_eight_lines() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        heights = []
        for lines in (1, 4, 8, 30):
            harness.chat.set_draft("\n".join("x" * lines))
            await pilot.pause()
            heights.append(harness.chat.composer.content_size.height)
        assert heights == [1, 4, 8, 8]


async def test_another_windows_conversations_appear() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        harness.add_conversation(("Question", "Answer"), title="From elsewhere")
        await harness.chat.force_poll()
        await until(pilot, lambda: "From elsewhere" in screen_text(harness))
