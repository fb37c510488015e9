"""The form of messages with attachments: what is written can be taken apart, and nothing else is."""

from __future__ import annotations

import pytest

from mistral_chat.message_form import build_message, split_message


@pytest.mark.parametrize(
    ("files", "piped", "prompt", "rest"),
    [
        ([("a.txt", "x\ny\n")], "", "What?", "What?"),
        ([("a.txt", ""), ("b c.md", "````\nq\n````\n")], "piped\n", "q\n\nmore", "piped\n\nq\n\nmore"),
        ([("Pasted text", "\n\nhello\n" * 40), ("Pasted text 2", "x")], "", "", ""),
        ([("x.txt", "a\n```")], "", "```", "```"),
        ([("Makefile", "  lead\n``` \n")], "", "y.txt", "y.txt"),
        ([("a.txt", "b.txt\n```\nc\n```\n\nd")], "", "What?", "What?"),
    ],
)
def test_a_message_splits_into_its_original_parts(files: list[tuple[str, str]], piped: str, prompt: str, rest: str) -> None:
    message = build_message(files, piped, prompt)
    split = split_message(message)
    assert [tuple(file) for file in split.files] == [(name, text.rstrip()) for name, text in files]
    assert split.rest == rest
    assert build_message(split.files, "", split.rest) == message, "no character is lost"


@pytest.mark.parametrize(
    "message",
    [
        "",
        "What?",
        "Look at this:\n```\na\n```\n\nWhat is wrong?",
        "a.txt\n```\na\n```\nb",
        "a.txt\n````\na\n````\n\nb",
        "a.txt\n```\na\n```\n\n",
        "a.txt\n```\na\n```\n",
        "a.txt\n```\na\n``` \n\nb",
        "a.txt\n```\na \n```\n\nb",
        "a.txt\n```py\na\n```\n\nb",
        "a.txt\n```\na",
        "a.txt\n```\n```",
        "\na.txt\n```\na\n```\n\nb",
        "." * 1_000_000,
        "a.b" * 1_000_000,
    ],
    ids=lambda message: repr(message[:30]),
)
def test_anything_not_exactly_in_the_format_is_text(message: str) -> None:
    assert split_message(message) == ((), message)


def test_the_question_is_what_a_message_is_about() -> None:
    def question(*parts: str) -> str:
        return split_message(build_message([(parts[0], parts[1])], "", parts[2])).question

    assert question("notes.txt", "bread", "What do I need?") == "What do I need?"
    assert question("notes.txt", "bread", "") == "notes.txt"
    assert question("Pasted text", "bread\nsalt", "") == "bread\nsalt"
    assert split_message("notes.txt").question == "notes.txt"
