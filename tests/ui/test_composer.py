"""No key is lost on its way into the draft, however fast the keys come; and what is refused can be read."""

from __future__ import annotations

import pytest
from support.app_harness import AppHarness, press_at_once, run, run_loaded, screen_text, send_message, until, until_answered
from textual import events

from mistral_chat.errors import ModelNotFound


@pytest.mark.parametrize("before", [[], ["alt+up"], ["ctrl+o"]], ids=["composer", "turn", "list"])
async def test_the_message_to_edit_can_be_cut_by_the_very_next_key(before: list[str]) -> None:
    harness = AppHarness()
    harness.start_with(("the old question", "Answer"))
    async with run_loaded(harness) as pilot:
        await pilot.press(*before)
        press_at_once(harness, "f3", "ctrl+u", "n", "e", "w")
        await until(pilot, lambda: harness.chat.draft == "new", harness.chat.draft)
        await pilot.pause()
        assert harness.chat.draft == "new"
        assert harness.chat.editing
        await pilot.press("escape")
        assert harness.chat.draft == ""


async def test_letters_typed_before_editing_stay_in_their_draft() -> None:
    harness = AppHarness()
    harness.start_with(("the old question", "Answer"))
    async with run_loaded(harness) as pilot:
        press_at_once(harness, "a", "b", "c", "f3", "x")
        await until(pilot, lambda: harness.chat.draft == "the old questionx")
        await pilot.press("escape")
        assert harness.chat.draft == "abc", "the draft that editing took the place of is lost"


async def test_text_typed_while_a_conversation_opens_is_kept() -> None:
    harness = AppHarness()
    chosen = harness.add_conversation(("Question", "Answer"))
    harness.store.save_draft(chosen, "half a ")
    async with run_loaded(harness) as pilot:
        opening = harness.screen.run_worker(harness.chat.open(chosen, "typed "))
        await until(pilot, lambda: harness.chat.draft == "typed ")
        harness.chat.type("on")
        await opening.wait()
        assert harness.chat.draft == "typed on"


@pytest.mark.parametrize(("refused", "draft"), [("A question", "A question\n\nand more"), ("/regne", "and more\n\n/regne")])
async def test_what_is_typed_after_enter_stays_when_the_message_is_refused(refused: str, draft: str) -> None:
    harness = AppHarness(failure=ModelNotFound("none"))
    async with run(harness) as pilot:
        await until(pilot, lambda: harness.chat.model_error)
        harness.chat.type("and more")
        await harness.chat.send(refused)
        assert harness.chat.composer.draft == draft
        await until(pilot, lambda: len(harness.app.screen_stack) > 1, "the models are offered")


@pytest.mark.parametrize(
    ("draft", "reason"),
    [
        ("/persona nobody", "No personas yet"),
        ("/set temperature hot", "takes a number"),
        ("/regne", "Did you mean /regen?"),
    ],
)
async def test_a_refusal_is_shown_until_the_draft_changes(draft: str, reason: str) -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, draft)
        await until(pilot, lambda: reason in harness.chat.notice)
        for _ in range(20):
            await pilot.pause(0.01)
        assert reason in screen_text(harness), "the reason was taken away before it could be read"
        assert harness.chat.draft == draft
        await pilot.press("x")
        await until(pilot, lambda: reason not in harness.chat.notice)


async def test_letters_never_overtake_backspace_or_escape() -> None:
    harness = AppHarness()
    harness.start_with(("the old question", "Answer"))
    async with run_loaded(harness) as pilot:
        press_at_once(harness, "a", "b", "backspace", "c", "home", "x")
        await until(pilot, lambda: harness.chat.draft == "xac", "backspace and home act in their turn")
        press_at_once(harness, "f3", "y", "escape", "z")
        await until(pilot, lambda: harness.chat.draft == "xacz", "what is typed after Escape is for the draft")


async def test_letters_never_overtake_enter_or_a_line_break() -> None:
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        press_at_once(harness, "a", "b", "enter", "c", "ctrl+j", "d", "enter", "e")
        await until(pilot, lambda: len(harness.chat.turns) == 2 and not harness.chat.replying)
        assert [shown.turn.user for shown in harness.chat.turns] == ["ab", "c\nd"]
        assert harness.chat.draft == "e"


async def test_a_long_word_is_sent_as_it_was_pasted_and_edited() -> None:
    harness = AppHarness()
    word = "x" * 2500 + " end"
    async with run_loaded(harness) as pilot:
        harness.app.post_message(events.Paste(word))
        await until(pilot, lambda: harness.chat.draft == word, "the draft is what was pasted")
        assert harness.chat.composer.document.line_count == 2, "the view is broken, or typing would take seconds"
        await pilot.press("enter")
        await until_answered(pilot, harness)
        assert harness.chat.turns[0].turn.user == word
        await pilot.press("f3")
        await until(pilot, lambda: harness.chat.draft == word, "the message to edit is what was sent")


AS_WRITTEN = {
    "tabs": "def f():\n\treturn\t1\n\n\n\tend",
    "leading spaces": "    indented\n  less",
    "inner trailing spaces": "one  \ntwo \t\nthree",
    "fences": "````md\n```py\nx = 1\n```\n````",
    "slashes": "/new\n//x\n/// doc\n/* y */",
    "a comment": "//TODO: fix",
    "an HTML comment": "<!-- /undo -->",
    "backslashes": "C:\\new\\table \\( x \\)",
    "markup": "[bold]x[/bold] [@click=app.quit]y[/] **z** <b>",
    "control tokens": "[INST] x [/INST] </s>",
    "combining": "e\u0301 \u1100\u1161 \u0928\u093f \u0e01\u0e33",
    "joiners": "\u0d28\u0d4d\u200d\n\u0d24 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u0645\u06cc\u200c\u062e",
    "flags": "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f \U0001f1e9\U0001f1ea",
    "no-break spaces": "a\u00a0b\u202fc\u3000d",
    "a long word": "x" * 2_950,
    "long words and lines": "\n".join("y" * 400 for _ in range(6)),
}


@pytest.mark.parametrize("keys", [("ctrl+x",), ("ctrl+c", "backspace")], ids=["cut", "copied"])
async def test_a_long_word_is_cut_copied_and_edited_as_written(keys: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    word = "x" * 5_000
    monkeypatch.setenv("PATH", "")  # no program that sets the clipboard
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        harness.chat.set_draft(word)
        harness.chat.composer.select_all()
        await pilot.press(*keys)
        await until(pilot, lambda: harness.app.clipboard and not harness.chat.draft)
        assert harness.app.clipboard == word
        harness.chat.composer.action_paste()
        assert harness.chat.draft == word
        assert harness.chat.composer.document.line_count > 2, "a word in one line would block the editor"
        harness.chat.composer.move_cursor((1, 0))
        await pilot.press("backspace")
        assert harness.chat.draft == word


@pytest.mark.parametrize("name", AS_WRITTEN)
async def test_what_is_pasted_is_sent_edited_and_restored_as_it_was_written(name: str) -> None:
    text = AS_WRITTEN[name]
    harness = AppHarness()
    async with run_loaded(harness) as pilot:
        harness.app.post_message(events.Paste(text.replace("\n", "\r")))  # as terminals bring line breaks
        await until(pilot, lambda: harness.chat.draft == text, f"{harness.chat.draft!r} is {text!r}")
        harness.chat.save_draft()
        await until(pilot, lambda: harness.store.draft("") == text, "the draft is saved")
        await pilot.press("enter")
        await until(pilot, lambda: harness.store.latest() is not None)
        await until_answered(pilot, harness)
        (turn,) = harness.store.turns(harness.store.latest() or "")
        assert turn.turn.user == text
        await pilot.press("f3")
        await until(pilot, lambda: harness.chat.editing)
        assert harness.chat.draft == text
        await pilot.press("escape", "up")
        await until(pilot, lambda: harness.chat.draft == text, "it is recalled")
