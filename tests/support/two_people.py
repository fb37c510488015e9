"""A long conversation of two people over many days, and questions about what they told each other.

One of the two is the user and the other one the model. Both tell of the same kinds of things, each in their own words, between
much talk that says little, and questions name the person. The same seed gives the same conversation. The sentences are in
`two_people.txt`.
"""

from __future__ import annotations

import random
from pathlib import Path

from support.planted_facts import PlantedConversation, Question, filled, read_sections

_SECTIONS = read_sections(Path(__file__).with_suffix(".txt"))
_SLOTS = {name: [cell for row in _SECTIONS[name] for cell in row] for name in ("friend", "place", "number", "thing", "day")}
_NAMES = [cell for row in _SECTIONS["name"] for cell in row]


def two_people(seed: int, *, days: int = 18) -> PlantedConversation:
    """A conversation of `days` days with about 20 exchanges each; half of the events are told by the user."""
    chance = random.Random(seed)
    names = chance.sample(_NAMES, 2)
    events = [(row, teller) for row in _SECTIONS["events"] for teller in (0, 1) if chance.random() < 0.8]
    chance.shuffle(events)
    exchanges: list[tuple[str, str]] = []
    questions: list[Question] = []
    share = -(-len(events) // days)
    for day in range(days):
        exchanges.append(_said(chance, chance.choice(_SECTIONS["opening"]), names))
        for row, teller in events[day * share : (day + 1) * share]:
            exchanges += [_said(chance, chance.choice(_SECTIONS["chat"]), names) for _ in range(chance.randint(1, 4))]
            known = {slot: [chance.choice(values)] for slot, values in _SLOTS.items()}
            known["me"] = known["who"] = [names[teller]]
            said, answer, *asked = filled("|".join(row), chance, known).split("|")
            if teller == 0:
                exchanges.append((said, answer))
            else:  # the model tells it, and the user answers in the next message
                exchanges.append((exchanges.pop()[0], said))
            questions += [
                Question(text, len(exchanges) - 1, kind) for text, kind in zip(asked, ("same words", "other words"), strict=True)
            ]
            if teller == 1:
                exchanges.append((answer, chance.choice(_SECTIONS["chat"])[1]))
        exchanges.append(_said(chance, chance.choice(_SECTIONS["closing"]), names))
    return PlantedConversation(tuple(exchanges), tuple(questions))


def _said(chance: random.Random, row: list[str], names: list[str]) -> tuple[str, str]:
    said, answer = (text.replace("{me}", names[0]).replace("{other}", names[1]) for text in row)
    return filled(said, chance, _SLOTS), filled(answer, chance, _SLOTS)
