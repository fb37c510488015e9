"""Random lives of a store, compared with a plain model after every step."""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.effort import cases
from support.stores import Clock, assert_index_is_true, open_store

if TYPE_CHECKING:
    from mistral_chat.store.store import ConversationStore

WORDS = st.text(st.sampled_from("abc é日👍 \x00\ud800\n"), max_size=12)


def kept(text: str) -> str:
    return text.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")


@dataclass
class ModelTurn:
    conversation: str
    parent: str | None
    user: str
    reply: str = ""
    writing: bool = True


@dataclass
class ModelConversation:
    current: str | None = None
    trashed: bool = False
    draft: str = ""
    turns: list[str] = field(default_factory=list)


class Lives(RuleBasedStateMachine):
    """Turns are added, regenerated, continued, selected, forked, thrown away and deleted in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "conversations.db"
        self.clock = Clock()
        self.places = itertools.count(1)
        self.store = self.opened()
        self.conversations: dict[str, ModelConversation] = {}
        self.turns: dict[str, ModelTurn] = {}

    def opened(self) -> ConversationStore:
        """A store whose ids are the same in every run, so that a failing life can be reproduced."""
        store = open_store(self.path, self.clock)
        store._new_id = lambda: f"{next(self.places):016x}"
        return store

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        self.create()

    @rule()
    def create(self) -> None:
        self.conversations[self.store.create()] = ModelConversation()

    def _add(self, turn: str, model: ModelTurn) -> None:
        self.turns[turn] = model
        self.conversations[model.conversation].turns.append(turn)
        self.conversations[model.conversation].current = turn

    @rule(data=st.data(), text=WORDS)
    def add_turn(self, data: st.DataObject, text: str) -> None:
        conversation = data.draw(st.sampled_from(sorted(self.conversations)))
        parent = data.draw(st.sampled_from([None, *self.conversations[conversation].turns]))
        turn = self.store.add_turn(conversation, text, parent_id=parent)
        self._add(turn, ModelTurn(conversation, parent, kept(text)))

    @precondition(lambda self: self.turns)
    @rule(data=st.data())
    def regenerate(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(sorted(self.turns)))
        model = self.turns[turn]
        self._add(self.store.add_sibling(turn), ModelTurn(model.conversation, model.parent, model.user))

    @precondition(lambda self: self.turns)
    @rule(data=st.data(), text=WORDS, ended=st.booleans())
    def write(self, data: st.DataObject, text: str, ended: bool) -> None:  # noqa: FBT001 - drawn by name
        turn = data.draw(st.sampled_from(sorted(self.turns)))
        if ended:
            self.store.finish_reply(turn, text, finish_reason="stop")
        else:
            self.store.write_reply(turn, text)
        self.turns[turn].reply, self.turns[turn].writing = kept(text), not ended

    @precondition(lambda self: self.turns)
    @rule(data=st.data())
    def select(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(sorted(self.turns)))
        conversation = self.conversations[self.turns[turn].conversation]
        self.store.switch_branch(turn)
        while below := [each for each in conversation.turns if self.turns[each].parent == turn]:
            turn = below[-1]
        conversation.current = turn

    @precondition(lambda self: self.turns)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(sorted(self.turns)))
        fork = self.store.fork(turn)
        self.conversations[fork] = ModelConversation()
        parent = None
        for copy, original in zip(self.store.turns(fork), self._path(turn), strict=True):
            model = self.turns[original]
            self._add(copy.turn_id, ModelTurn(fork, parent, model.user, model.reply, writing=False))
            parent = copy.turn_id

    @rule(data=st.data(), title=WORDS)
    def rename(self, data: st.DataObject, title: str) -> None:
        self.store.rename(data.draw(st.sampled_from(sorted(self.conversations))), title, by="person")

    @rule(data=st.data(), text=WORDS)
    def save_draft(self, data: st.DataObject, text: str) -> None:
        conversation = data.draw(st.sampled_from(sorted(self.conversations)))
        self.store.save_draft(conversation, text)
        self.conversations[conversation].draft = kept(text)

    @rule(data=st.data(), there=st.booleans())
    def trash(self, data: st.DataObject, there: bool) -> None:  # noqa: FBT001 - drawn by name
        conversation = data.draw(st.sampled_from(sorted(self.conversations)))
        (self.store.trash if there else self.store.restore)(conversation)
        self.conversations[conversation].trashed = there

    @precondition(lambda self: len(self.conversations) > 1)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        conversation = data.draw(st.sampled_from(sorted(self.conversations)))
        assert self.store.delete(conversation)
        for turn in self.conversations.pop(conversation).turns:
            del self.turns[turn]

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.opened()
        unfinished = [turn for turn in self.turns.values() if turn.writing]
        assert self.store.recover() == len(unfinished)
        for turn in unfinished:
            turn.writing = False

    @rule()
    def look_from_another_instance(self) -> None:
        other = open_store(self.path, self.clock)
        assert other.recover() == 0
        assert other.summaries() == self.store.summaries()
        other.close()

    def _path(self, turn: str | None) -> list[str]:
        path: list[str] = []
        while turn is not None:
            path.insert(0, turn)
            turn = self.turns[turn].parent
        return path

    @invariant()
    def paths_and_trees_are_as_in_the_model(self) -> None:
        for conversation, model in self.conversations.items():
            path = self.store.turns(conversation)
            assert [turn.turn_id for turn in path] == self._path(model.current)
            tree = self.store.tree(conversation)
            assert [turn.turn_id for turn in tree] == model.turns
            assert [ModelTurn(conversation, turn.parent_id, turn.turn.user, turn.turn.reply, turn.writing) for turn in tree] == [
                self.turns[turn] for turn in model.turns
            ]
            assert self.store.draft(conversation) == model.draft
            assert self.store.turns_page(conversation, limit=2) == path[-2:]

    @invariant()
    def the_list_holds_what_is_not_in_the_trash(self) -> None:
        for where, trashed in (("active", False), ("trash", True)):
            listed = {each.conversation_id: each.turns for each in self.store.summaries(where=where)}  # type: ignore[arg-type]  # both are shelves
            assert listed == {
                each: len(self._path(model.current)) for each, model in self.conversations.items() if model.trashed == trashed
            }

    @invariant()
    def the_index_is_true(self) -> None:
        assert_index_is_true(self.store)


Lives.TestCase.settings = settings(
    max_examples=cases(15, 500), stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLives = Lives.TestCase
