"""The app around the screens: keys, help, colours, and errors nobody foresaw."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from support.screens import Stage, answered, drawn, ready, run, say, until

from mistral_chat.config import Settings
from mistral_chat.ui import themes
from mistral_chat.ui.screens.chat import ChatScreen

SAID = "what was said in the conversation"


async def test_help_shows_the_keys_of_where_one_is_and_lies_over_dialogs_too() -> None:
    stage = Stage()
    async with run(stage, (60, 20)) as pilot:
        await ready(pilot, stage)
        for key in ("", "ctrl+f", "f10"):
            if key:
                await pilot.press(key)
                await until(pilot, lambda: stage.app.screen is not stage.screen)
            below = stage.app.screen
            tooltips = {each.binding.tooltip for each in below.active_bindings.values() if each.binding.tooltip}
            await pilot.press("f1")
            await until(pilot, lambda below=below: stage.app.screen is not below)  # type: ignore[misc]  # mypy has no type for a lambda's default
            await pilot.pause()
            shown = " ".join(str(stage.app.screen.query_one("KeyTable").render()).split())
            for tooltip in tooltips:
                assert tooltip.split()[0] in shown, tooltip
            assert len(shown) > sum(map(len, tooltips)), "a key is missing"
            await pilot.press("f1")
            await until(pilot, lambda below=below: stage.app.screen is below)  # type: ignore[misc]  # mypy has no type for a lambda's default
            if key:
                await pilot.press("escape")
                await until(pilot, lambda: stage.app.screen is stage.screen)


async def test_f1_shows_and_hides_help() -> None:
    stage = Stage()
    async with run(stage, (120, 40)) as pilot:
        await ready(pilot, stage)
        await pilot.press("f1")
        await until(pilot, lambda: "Ctrl+J breaks the" in drawn(stage).replace("\n", " ") or "breaks the" in drawn(stage))
        await pilot.press("f1")
        await until(pilot, lambda: "breaks the" not in drawn(stage))


async def test_a_key_can_be_changed_in_the_settings() -> None:
    stage = Stage(settings=replace(Settings(), keymap={"chat.new": "alt+n", "chat.nwe": "f11", "chat.rename": "f4"}))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await until(pilot, lambda: "Did you mean 'chat.new'?" in stage.chat.notice)
        assert "f4 is given to both" in stage.chat.notice
        await say(pilot, stage, "Hello")
        await answered(pilot, stage)
        await pilot.press("alt+n")
        await until(pilot, lambda: "A new conversation" in drawn(stage))


async def test_an_action_that_fails_leaves_the_app_alive_and_logs_only_the_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_self: ChatScreen) -> None:
        raise RuntimeError(SAID)

    monkeypatch.setattr(ChatScreen, "action_pin", broken)
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        with caplog.at_level(logging.ERROR, "mistral_chat"):
            await pilot.press("f9")
            await until(pilot, lambda: "RuntimeError" in stage.chat.notice)
        assert SAID not in stage.chat.notice
        assert all(SAID not in record.getMessage() for record in caplog.records)
        await say(pilot, stage, "Still here?")
        await answered(pilot, stage)


async def test_work_that_fails_leaves_the_app_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        stage.chat.break_sending(monkeypatch)
        await say(pilot, stage, "Hello")
        await until(pilot, lambda: "ZeroDivisionError" in stage.chat.notice)
        assert stage.app.is_running
        assert not stage.chat.replying


async def test_a_broken_screen_ends_with_one_sentence_and_without_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage()
    logging.getLogger("mistral_chat").addHandler(logging.NullHandler())

    def broken() -> None:
        raise RuntimeError(SAID)

    async def break_it() -> None:
        async with run(stage) as pilot:
            await ready(pilot, stage)
            stage.screen.call_later(broken)
            await until(pilot, lambda: not stage.app.is_running)

    with pytest.raises(RuntimeError):
        await break_it()
    assert stage.app.return_code == 1
    told = capsys.readouterr()
    assert SAID not in told.out + told.err
    assert "the screen broke (RuntimeError)" in " ".join((told.out + told.err).split())


@pytest.mark.parametrize("theme", themes.THEMES, ids=lambda theme: theme.name)
def test_text_can_be_read_in_our_colours(theme: Any) -> None:
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


async def test_an_unknown_theme_is_the_dark_one() -> None:
    stage = Stage(settings=replace(Settings(), theme="nosuch"))
    assert stage.app.theme == "mistral-dark"


async def test_history_is_walked_with_up_and_down() -> None:
    stage = Stage()
    stage.say(("older", "A"), ("newer", "A"))
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press(*"draft", "up")
        assert stage.chat.draft == "newer"
        await pilot.press("up")
        assert stage.chat.draft == "older"
        await pilot.press("up", "down")
        assert stage.chat.draft == "newer"
        await pilot.press("down")
        assert stage.chat.draft == "draft"


@pytest.mark.parametrize("key", ["ctrl+j", "alt+enter", "shift+enter"])
async def test_a_line_can_be_broken_in_every_terminal(key: str) -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        await pilot.press(*"one", key, *"two")
        await pilot.pause()
        assert stage.chat.draft == "one\ntwo"
        assert not stage.chat.replying


async def test_the_composer_grows_to_eight_lines() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        heights = []
        for lines in (1, 4, 8, 30):
            stage.chat.set_draft("\n".join("x" * lines))
            await pilot.pause()
            heights.append(stage.chat.composer.content_size.height)
        assert heights == [1, 4, 8, 8]


async def test_another_windows_conversations_appear() -> None:
    stage = Stage()
    async with run(stage) as pilot:
        await ready(pilot, stage)
        stage.say(("Question", "Answer"), title="From elsewhere")
        stage.chat.find_changes()
        await until(pilot, lambda: "From elsewhere" in drawn(stage))
