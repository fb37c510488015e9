"""Long conversations with facts planted in them, and questions about the facts, for measuring recall.

A conversation is small talk and general questions, with facts said once, things said about somebody else that look like them, and
minds that were changed later. Each fact is asked for twice: in its own words, and in words that share none with it.
The same seed gives the same conversation. The sentences are in `planted_facts.txt`, on which the floors of relevance were set,
and in `unseen_facts.txt`, which was written afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Sections = Mapping[str, list[list[str]]]
"""Rows of cells, by the section's name."""


def read_sections(path: Path) -> Sections:
    """The tables in a file."""
    return {
        section.partition(":")[0]: [line.split("|") for line in section.split("\n")[1:] if line]
        for section in path.read_text(encoding="utf-8")[2:].split("\n# ")
    }


SEEN: Final = read_sections(Path(__file__).with_suffix(".txt"))
UNSEEN: Final = read_sections(Path(__file__).with_name("unseen_facts.txt"))


def _cells(sections: Sections, name: str) -> list[str]:
    return [cell.strip() for row in sections[name] for cell in row if cell.strip()]


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a fact."""

    text: str
    exchange: int
    """The index of the exchange that answers it."""
    kind: str
    """How it is asked: "same words" or "other words"."""


@dataclass(frozen=True, slots=True)
class PlantedConversation:
    """A conversation with facts in it."""

    exchanges: tuple[tuple[str, str], ...]
    questions: tuple[Question, ...]


def idle_messages(sections: Sections = SEEN) -> list[str]:
    """Messages at which nothing should be recalled."""
    return _cells(sections, "idle")


def unrelated_questions(sections: Sections = SEEN) -> list[str]:
    """Questions that the conversations do not answer."""
    return _cells(sections, "unrelated")


def plant(seed: int, *, facts: int = 40, length: int = 260, sections: Sections = SEEN) -> PlantedConversation:
    """A conversation of `length` exchanges with `facts` facts, and two questions about each."""
    chance = random.Random(seed)
    slots = {name: _cells(sections, name) for name in ("name", "city", "food", "colour", "day", "month")}
    slots["n"] = [str(number) for number in range(13, 97)]
    things = _cells(sections, "things")
    exchanges = [_filler(chance, sections, things) for _ in range(length)]
    places = sorted(chance.sample(range(length), facts + 4 + 10))
    chance.shuffle(places)
    questions: list[Question] = []
    changed = [row for row in sections["changed"] if chance.random() < 0.5]
    replied = [row for row in sections["replied"] if chance.random() < 0.5]
    plain = chance.sample(sections["facts"], facts - len(changed) - len(replied))
    for said, same, other in plain:
        at = places.pop()
        exchanges[at] = (_lead(chance) + filled(said, chance, slots), _acknowledged(chance))
        questions += [Question(same, at, "same words"), Question(other, at, "other words")]
    for first, later, same, other in changed:
        early, late = sorted((places.pop(), places.pop()))
        exchanges[early] = (filled(first, chance, slots), _acknowledged(chance))
        exchanges[late] = (filled(later, chance, slots), _acknowledged(chance))
        questions += [Question(same, late, "same words"), Question(other, late, "other words")]
    for asked, answer, same, other in replied:
        at = places.pop()
        exchanges[at] = (filled(asked, chance, slots), filled(answer, chance, slots))
        questions += [Question(same, at, "same words"), Question(other, at, "other words")]
    for (said,) in chance.sample(sections["others"], min(len(places), 10)):
        exchanges[places.pop()] = (filled(said, chance, slots), _acknowledged(chance))
    return PlantedConversation(tuple(exchanges), tuple(questions))


def filled(text: str, chance: random.Random, slots: Mapping[str, Sequence[str]]) -> str:
    """`text` with a value for each ``{slot}``."""
    for slot, values in slots.items():
        while f"{{{slot}}}" in text:
            text = text.replace(f"{{{slot}}}", chance.choice(values), 1)
    return text


def _filler(chance: random.Random, sections: Sections, things: Sequence[str]) -> tuple[str, str]:
    if chance.random() < 0.2:
        said, answer = chance.choice(sections["small talk"])
        return said, answer
    asked, answer = chance.choice(sections["general"])
    a, b, c = chance.sample(things, 3)
    return asked.format(a=a, b=b, c=c), answer.format(a=a, b=b, c=c) + _more(chance, things)


def _more(chance: random.Random, things: Sequence[str]) -> str:
    """A few sentences that make a reply as long as a model's."""
    a, b = chance.sample(things, 2)
    return chance.choice(
        [
            " Would you like an example?",
            f" If you already know {a}, much of it will look familiar, and {b} is a good next step after that.",
            " It takes practice, so give yourself a few weeks. Small steps work better than long sessions, and notes help a lot.",
            f" Many books treat it together with {a}. The chapters on {b} are worth reading as well, if time allows.",
        ]
    )


def _lead(chance: random.Random) -> str:
    return chance.choice(["", "", "", "By the way: ", "Oh, before I forget. ", "Just so you know, here is something about me. "])


def _acknowledged(chance: random.Random) -> str:
    return chance.choice(
        [
            "Noted. Is there anything you would like me to do with that?",
            "Thanks for letting me know! Shall we continue?",
            "I see. Tell me more if you like.",
            "Good to know. I'll keep it in mind for the rest of our conversation.",
            "Understood. Do you want to talk about it, or go back to what we were doing?",
        ]
    )
