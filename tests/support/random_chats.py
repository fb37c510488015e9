"""The messages of random chats, and what happens to their replies."""

from __future__ import annotations

from dataclasses import dataclass, field

import hypothesis.strategies as st
from support.words_format import BYTES, FIRST_WORD, INST, WORDS

from mistral_chat.conversation import Passage
from mistral_chat.generation import History, PromptTurn

WORD_TOKENS = st.integers(FIRST_WORD, FIRST_WORD + len(WORDS) - 1)
BYTE_TOKENS = st.sampled_from([BYTES + byte for byte in "é👩‍🚀".encode()])
DRAWN = st.one_of(
    st.lists(st.one_of(WORD_TOKENS, WORD_TOKENS, BYTE_TOKENS, st.just(INST)), max_size=40),
    st.builds(lambda tokens, times: tokens * times, st.lists(WORD_TOKENS, min_size=1, max_size=8), st.integers(10, 60)),
)
TEXTS = st.one_of(
    st.text("abc .é\n", min_size=1, max_size=24).map(lambda text: "a" + text),
    st.builds(lambda word, count: word * count, st.sampled_from(["ab", "a b.", " and c"]), st.integers(1, 30)),
)
PASSAGES = st.lists(st.builds(lambda text: Passage(kind="document", text=text, source="a"), TEXTS), min_size=1, max_size=2).map(
    tuple
)
SYSTEMS = st.one_of(st.just(""), st.just("abc a b c."), TEXTS, st.just("c b a. " * 12))


@dataclass(frozen=True)
class Fate:
    """What happens during one generation."""

    cancel_at_read: int | None = None
    cancel_at_event: int | None = None
    abandon_at_event: int | None = None
    fail: tuple[str, int] | None = None
    finished_part: int = 0


FATES = st.one_of(
    st.just(Fate()),
    st.just(Fate()),
    st.builds(Fate, cancel_at_read=st.integers(0, 30), finished_part=st.integers(0, 40)),
    st.builds(Fate, cancel_at_event=st.integers(0, 12)),
    st.builds(Fate, abandon_at_event=st.integers(0, 12)),
    st.builds(
        Fate,
        fail=st.tuples(st.sampled_from(["decode", "decode", "remove", "insert"]), st.integers(0, 12)),
        finished_part=st.integers(0, 40),
    ),
)


@dataclass
class Said:
    """A turn as the store keeps it."""

    turn: PromptTurn
    excluded: bool = False


@dataclass
class Conversation:
    """A conversation as the store keeps it."""

    name: str
    system: str
    path: list[Said] = field(default_factory=list)

    def history(self, answered: str | None = None) -> History:
        shown = [said.turn for said in self.path if said.turn.key == answered or (said.turn.reply and not said.excluded)]
        return History(conversation=self.name, system=self.system, turns=tuple(shown))
