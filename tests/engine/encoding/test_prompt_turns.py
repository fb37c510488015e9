"""A prompt cut at its turns: nothing between them, nothing lost, and replies as they were sampled."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest
from support import conversations as make
from support.chat_templates import FAMILIES
from support.gguf_factory import write_gguf

from mistral_chat.conversation import Message, Role
from mistral_chat.engine.encoding import rendered_prompt
from mistral_chat.engine.encoding.choose import choose_format
from mistral_chat.generation import PromptTurn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mistral_chat.engine.encoding.format import PromptFormat
    from mistral_chat.engine.llama.vocabulary import Vocabulary

NATIVE = ("v1", "v2", "v3", "v3-no-space", "v7", "tekken", "chatml", "chatml-user-defined")

Opened = tuple["Vocabulary", "PromptFormat"]


@pytest.fixture(params=[*NATIVE, *FAMILIES], ids=str)
def opened(request: pytest.FixtureRequest, vocabulary: Callable[[str | Path], Vocabulary], gguf_folder: Path) -> Opened:
    if request.param in NATIVE:
        found = vocabulary(request.param)
        return found, choose_format(found, found.template, found.name, None)
    path = gguf_folder / "all marks.gguf"
    if not path.exists():
        write_gguf(path, "v1", control=sorted({text for _, texts in FAMILIES.values() for text in texts}))
    return vocabulary(path), choose_format(vocabulary(path), FAMILIES[request.param][0], "", "template")


def messages_of(system: str, turns: Iterable[PromptTurn]) -> list[Message]:
    """A history as messages, for `PromptFormat.encode_messages`. The tokens are those of `PromptFormat.encode`."""
    messages = [Message(Role.SYSTEM, system)] if system else []
    for turn in turns:
        messages.append(Message(Role.USER, turn.user))
        if turn.reply:
            messages.append(Message(Role.ASSISTANT, turn.reply))
    return messages


def test_the_turns_are_the_whole_prompt(opened: Opened, conversations: int, seed: int) -> None:
    _, chosen = opened
    rng = Random(f"{seed} turns")
    for number in range(max(10, conversations // 5)):
        history = make.turns(rng, make.HOSTILE if number % 2 else ())
        system = make.text(rng, make.HOSTILE) if rng.random() < 0.5 else ""
        closed = rng.random() < 0.3
        encoding = chosen.encode(system, history, closed=closed)
        whole = chosen.encode_messages(messages_of(system, history), closed=closed)
        note = f"seed {seed}, history {number}: {system!r} {history!r}"
        assert encoding.tokens == whole.tokens, note
        assert [turn.key for turn in encoding.turns] == [turn.key for turn in history], note
        for turn, made in zip(history, encoding.turns, strict=True):
            assert turn.reply or not made.reply, note
            assert made.reply or not turn.reply.strip(), note
        assert closed or not encoding.turns[-1].closing, note


def test_spans_are_in_order_and_hold_their_messages(opened: Opened, conversations: int, seed: int) -> None:
    vocabulary, chosen = opened
    rng = Random(f"{seed} spans")
    for number in range(max(10, conversations // 5)):
        messages = make.messages(rng, make.HOSTILE if number % 2 else ())
        encoding = chosen.encode_messages(messages)
        for span in encoding.spans:
            assert 0 <= span.start < span.end <= len(encoding.tokens)
            spelled = b"".join(vocabulary.piece(token) for token in encoding.tokens[span.start : span.end]).decode(
                "utf-8", "replace"
            )
            said = (
                messages[span.message].content.replace("\u2581", " ")
                if vocabulary.is_sentencepiece
                else messages[span.message].content
            )
            assert said.strip() in spelled or said.strip().replace("w", "vv") in spelled, f"seed {seed}, conversation {number}"
        shown = {span.message for span in encoding.spans}
        missing = [each for place, each in enumerate(messages) if place not in shown and each.content.strip()]
        assert not missing, f"seed {seed}, conversation {number}: {missing!r}"


def test_replies_keep_their_sampled_tokens(opened: Opened) -> None:
    vocabulary, chosen = opened
    history = [
        PromptTurn(key="a", user="One?", reply="First reply"),
        PromptTurn(key="b", user="Two?", reply="Second reply"),
        PromptTurn(key="c", user="Three?"),
    ]
    drawn = {"b": vocabulary.tokenize("Sec") + vocabulary.tokenize("ond") + vocabulary.tokenize("reply")}
    plain = chosen.encode("Be brief.", history)
    encoding = chosen.encode("Be brief.", history, sampled=drawn)
    assert encoding.turns[1].reply == tuple(drawn["b"])
    assert encoding.head == plain.head
    assert encoding.turns[0].reply == plain.turns[0].reply
    assert encoding.turns[2] == plain.turns[2]
    assert all(turn.closing for turn in encoding.turns[:2])


@pytest.mark.parametrize("reply", ["\n\nplain", "plain\n\n", "<think>\nHm.\n</think>\n\nYes."])
def test_no_part_of_a_reply_is_in_a_rewritten_prompt_twice(
    vocabulary: Callable[[str | Path], Vocabulary], gguf_folder: Path, reply: str
) -> None:
    """Where a template rewrites a message, the places of the others are known less exactly."""
    template, marks = FAMILIES["rewriting"]
    path = gguf_folder / "thoughts.gguf"
    if not path.exists():
        write_gguf(path, "v1", control=marks, user_defined=("<think>", "</think>"), space_prefix=False)
    opened = vocabulary(path)
    chosen = choose_format(opened, template, "", "template")
    history = [PromptTurn(key="a", user="One?", reply=reply), PromptTurn(key="b", user="Two words?")]

    def spelled(sampled: Mapping[str, Sequence[int]]) -> str:
        return b"".join(opened.piece(token) for token in chosen.encode("", history, sampled=sampled).tokens).decode()

    assert spelled({"a": opened.tokenize(reply)}) == spelled({})


def test_a_reply_that_is_being_written_extends_the_prompt(opened: Opened) -> None:
    vocabulary, chosen = opened
    history = [PromptTurn(key="a", user="One?", reply="First"), PromptTurn(key="b", user="Two?")]
    asked = chosen.encode("Be brief.", history)
    drawn = tuple(vocabulary.tokenize("Some thing"))
    empty = chosen.encode("Be brief.", history, sampled={"b": drawn})
    assert empty.tokens == asked.tokens + drawn
    written = chosen.encode("Be brief.", [history[0], replace(history[1], reply="Some thing")], sampled={"b": drawn})
    assert written.tokens == asked.tokens + drawn
    ended = chosen.encode("Be brief.", [history[0], replace(history[1], reply="Some thing")], sampled={"b": drawn}, closed=True)
    assert ended.turns[-1].closing


def test_a_thinking_reply_is_continued_with_its_thoughts(opened: Opened) -> None:
    """After a restart, when the tokens that it was sampled as are no longer known."""
    vocabulary, chosen = opened
    reply = "<think>\nHm.\n</think>\n\nYes, "
    encoding = chosen.encode("", [PromptTurn(key="a", user="One?", reply=reply)])
    assert reply.strip() in b"".join(vocabulary.piece(token) for token in encoding.tokens).decode()


def test_a_template_that_rewrites_text_does_not_take_a_second(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way in which a template may have stripped a text is tried once."""
    tried: list[int] = []
    real = rendered_prompt._matching

    def matching(text: str, place: int, variants: Iterator[tuple[str, int]], after: str) -> Iterator[tuple[int, int]]:
        tried.append(place)
        return real(text, place, variants, after)

    monkeypatch.setattr(rendered_prompt, "_matching", matching)
    _, chosen = opened
    turns = [PromptTurn(key=str(number), user="One?", reply="Yes.") for number in range(15)]
    chosen.encode("", [*turns, PromptTurn(key="last", user="One more word?")])
    assert len(tried) < 1000


def test_an_empty_conversation_is_just_the_head(opened: Opened) -> None:
    _, chosen = opened
    system = "Be brief."
    started = chosen.encode(system, [PromptTurn(key="a", user="Hello")])
    assert chosen.encode(system, []).head == started.head
    assert chosen.encode(system, []).turns == ()


def test_unanswered_questions_are_merged(opened: Opened) -> None:
    _, chosen = opened
    history = [
        PromptTurn(key="a", user="One?"),
        PromptTurn(key="b", user="Two?"),
        PromptTurn(key="c", user="Three?", reply="Yes"),
        PromptTurn(key="d", user="Four?"),
    ]
    encoding = chosen.encode("", history)
    for turn in encoding.turns[:2]:
        assert turn.prompt
        assert turn.reply == turn.closing == ()
    assert encoding.tokens == chosen.encode_messages(messages_of("", history)).tokens


def test_messages_in_any_role_order_are_accepted(opened: Opened) -> None:
    _, chosen = opened
    for roles in (
        [Role.ASSISTANT],
        [Role.SYSTEM],
        [Role.ASSISTANT, Role.ASSISTANT, Role.USER],
        [Role.USER, Role.SYSTEM, Role.SYSTEM, Role.USER],
        [Role.SYSTEM, Role.ASSISTANT, Role.USER],
    ):
        messages = [Message(role, f"This is {place}") for place, role in enumerate(roles)]
        shown = {span.message for span in chosen.encode_messages(messages).spans}
        assert shown == set(range(len(messages))), roles
