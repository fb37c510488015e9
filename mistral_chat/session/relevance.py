"""How well texts match a question: words and vectors on one absolute scale.

A score is ``0.3 * BM25 / 8 + 0.7 * cosine``. Either part alone fails on half of what users ask: words on a paraphrased
question, vectors on names and numbers. BM25 is divided by a constant, not by the question's best match, which would make a weak
match as good as a strong one. The best by score, the best by words and the best by vectors alone take turns in the ranking.

A question about nothing in the texts finds nothing. The best text must be close to it, closer than small talk is, and, unless the
question is about the user or something mentioned in the texts, closer than general-knowledge questions are.
`tests/benchmarks/retrieval.py` measures all of this.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, Protocol

from mistral_chat.store.retrieval import content_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

WORD_SHARE: Final = 0.3
WORD_SCALE: Final = 8.0
"""BM25 of a strong match."""
NEAREST: Final = 200
"""How many of the nearest vectors are ranked."""

_LEAST_COSINE: Final = 0.28
_LEAST_ABOUT_TALK: Final = 0.2
"""Below this cosine of the best text, nothing is found; the second one holds for questions about the user or the conversation."""
_SMALL_TALK_MARGIN: Final = 0.03
_SMALL_TALK_ABOUT_TALK: Final = 0.1
_WORLD_MARGIN: Final = 0.02
"""How much closer small talk, or a general-knowledge question, may be to the question than the best text."""
_SHARE_OF_BEST: Final = 0.4
"""Texts below this share of the best score are dropped."""
_WEAK: Final = 4.5
"""BM25 of a match that is worth using when only words are compared."""
About = Literal["named", "user", "documents", "unknown"]
"""What a question is about: something named in the texts, the user, documents attached for it, or perhaps something else."""
_BY_ABOUT: Final[dict[About, float]] = {"named": 0.5, "user": 1.0, "documents": 1.0, "unknown": 1.4}
"""The factor on `_WEAK`."""
_CLOSE: Final = 0.4
"""The cosine of a passage that answers a question, even one that sounds like general knowledge."""
_HANDFUL: Final = 5
"""With fewer texts, word frequencies say nothing."""
_UNRELATED: Final = 0.207
"""The mean cosine of the messages in `SMALL_TALK` by all-MiniLM-L6-v2, for which the cosines above were measured."""
_ASKS_ON: Final = re.compile(r"\b(when|where|who|whose|which|how (much|many|long|far|old|often))\b", re.IGNORECASE)
"""Matches a message that asks its own question even if its subject is in the message before it."""
_REFERS_BACK: Final = re.compile(
    r"^\W*(and|but|or|so|also|then|what about|how about)\b|"
    r"\b(it|its|that|this|they|them|their|those|these|he|she|him|her|his|ones?)\b",
    re.IGNORECASE,
)
"""Matches a message that refers to something named before."""
_FOLLOW_UP_WORDS: Final = 2
"""A message with at most this many words, or one that refers back, continues the subject of the message before it."""

_SMALL_TALK: Final = (
    "Hi there|Hello, how are you doing?|Good afternoon|Thank you very much|Thanks for your help|You're welcome|Okay|"
    "All right|Yes|No|Sure|Fine|Of course|Goodbye|See you tomorrow|Talk to you later|Sleep well|Great|Awesome|Amazing|"
    "Fantastic|Funny|Haha|Oh no|Sorry|Excuse me|Interesting|I understand|I agree|I don't agree|That's wrong|That's right|"
    "I'm not sure|Maybe|Please continue|Keep going|What else?|More|Say it again|Repeat the last answer|"
    "Explain it differently|Can you elaborate?|Why is that?|What does it mean?|Summarise this|Make it shorter|"
    "Make it longer|Rephrase it|Rewrite this more formally|Translate it into German|Put it in a table|Give an example|"
    "Another one|Tell me something funny|Tell me a story|Entertain me|Who made you?|Are you an AI?|"
    "What are your abilities?|Can you help me?|I have a question|Let's do something different|Forget it|Hold on a moment|"
    "I'm back|I'm tired|I'm sad|I'm glad|Congratulations|Merry Christmas|Enjoy your evening|How was your day?|"
    "I'll think about it|Let me see|Ready when you are"
)
SMALL_TALK: Final = tuple(_SMALL_TALK.split("|"))
"""Messages about the conversation itself. A question closer to one of them than to any text is about no text."""

_WORLD: Final = (
    "What is the capital of France?|Which country has the largest population?|How high is the highest mountain?|"
    "How long is the Nile?|Which languages are spoken in India?|What is the currency of Mexico?|Where is the Grand Canyon?|"
    "How far away is the moon?|Which is the biggest ocean?|What is the weather like in Iceland in June?|"
    "Who wrote War and Peace?|Who painted the Mona Lisa?|Who composed the Moonlight Sonata?|Who invented the light bulb?|"
    "Who discovered America?|Who was the first president of the United States?|Who directed Casablanca?|"
    "What is the novel Moby Dick about?|When did the Second World War end?|What caused the French Revolution?|"
    "What happened in 1789?|When was the wheel invented?|Who was Cleopatra?|How many people died in the plague?|"
    "What is the chemical formula of water?|At what temperature does iron melt?|How many elements are in the periodic table?|"
    "What is gravity?|Explain how magnets work|What is a black hole?|Explain the theory of relativity|"
    "How does a battery work?|How do birds fly?|How do antibiotics work?|How many teeth does an adult have?|"
    "What are the symptoms of the flu?|Which foods contain iron?|What is cholesterol?|What is the largest animal?|"
    "How long do elephants live?|What is a mammal?|What is the square root of 144?|Solve 3x + 5 = 20|"
    "What is the derivative of sine?|What is a prime number?|Convert 5 kilometres to miles|How many grams are in an ounce?|"
    "Write a function that sorts a list in Python|How do I reverse a string in JavaScript?|What does the error 404 mean?|"
    "What is the difference between a list and a tuple?|What is an API?|How do I undo a commit in git?|"
    "Write a SQL query that counts rows|What is an operating system?|Write a poem about spring|Write a story about a dragon|"
    "Give me a recipe for bread|Give me a list of synonyms for happy|Translate 'good morning' into Spanish|"
    "What does 'ubiquitous' mean?|What is the plural of ox?|Define irony|What is democracy?|"
    "How does the parliament work?|What is a recession?|How are taxes calculated?|What is a mortgage?|"
    "Who won the World Cup in 1998?|What are the rules of chess?|How many players are in a football team?|"
    "What is a metaphor?|Who is the god of thunder?|What is the meaning of carpe noctem?|What are the pillars of Islam?"
)
WORLD: Final = tuple(_WORLD.split("|"))
"""General-knowledge questions, which no conversation answers."""

_USER: Final = re.compile(
    r"\b(my|mine|myself|our|ours|we|us)\b|(?<!\bhow do )(?<!\bhow can )(?<!\bhow should )(?<!\bcan )\bi('ve|'m|'d)?\b|"
    r"(?<!\bgive )(?<!\btell )(?<!\bshow )(?<!\bhelp )\bme\b|"
    r"\b(did|have) you\b|\byou (said|say|told|suggest\w*|recommend\w*|mention\w*|come up)",
    re.IGNORECASE,
)
"""A message about the user or the conversation."""
_NAME: Final = re.compile(r"(?<=[\w,;:] )[A-Z]\w+")
"""A name, by its capital inside a sentence."""

_TALK: Final = (
    "thank thanks hello hi hey welcome good morning afternoon evening night day yeah nope sure great nice cool fine perfect "
    "wow lol haha hmm funny interesting amazing awesome bored happy glad sad tired sorry bye goodbye wait second moment "
    "minute again repeat continue keep come back start stop short shorter long longer brief briefly detail details example "
    "another make list bullet table rewrite rephrase translate summarise summarize explain elaborate mean means think "
    "thought know see say said tell sound sounds love want need right wrong agree disagree later work works time times two "
    "anything nothing everything well lot talk question answer help "
    "today tonight tomorrow weekend week year new feel feeling mind "
)
_TALK_WORDS: Final = frozenset(_TALK.split())
"""Words that are not a subject on their own."""


class Embedder(Protocol):
    """Turns texts into vectors of length 1; see `engine.llama.embedding.EmbeddingModel`."""

    @property
    def key(self) -> str:
        """Identifies the model that made a vector."""

    @property
    def dimensions(self) -> int:
        """The length of a vector."""

    def embed_query(self, text: str) -> NDArray[np.float16]:
        """Embed a question."""

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Embed texts to be searched, one row each."""

    def embed_kept(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """As `embed_passages`, for texts that never change."""

    def close(self) -> None:
        """Free the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A search query."""

    text: str
    """The message, with the one before it where it continues that."""
    words: tuple[str, ...]
    """The words about its subject."""
    vector: NDArray[np.float32] | None = None
    """None without an embedding model."""
    subject: NDArray[np.float32] | None = None
    """The vector to rank texts by; None if that is `vector`."""
    small_talk: float = 0.0
    """The cosine of the nearest small talk."""
    world: float = 0.0
    """The cosine of the nearest general-knowledge question."""
    names: tuple[str, ...] = ()
    """The words that are names."""
    about_user: bool = False
    """Whether it is about the user or the conversation."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """The vectors of texts, by key."""

    keys: Sequence[str]
    matrix: NDArray[np.float32]
    """A row for each key."""
    parts: NDArray[np.float32] | None = None
    """The vectors of the parts of each text: by text, by part."""
    places: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Index the keys."""
        object.__setattr__(self, "places", {key: place for place, key in enumerate(self.keys)})

    @classmethod
    def of_blobs(cls, blobs: Iterable[tuple[str, bytes]], dimensions: int) -> Vectors:
        """Parse the vectors in `blobs` of 16-bit floats; a blob of several rows has the keys ``key/0``, ``key/1`` and so on."""
        import numpy as np

        keys: list[str] = []
        parts = [np.zeros((0, dimensions), np.float16)]
        for key, blob in blobs:
            rows = np.frombuffer(blob[: len(blob) - len(blob) % (2 * dimensions)], np.float16).reshape(-1, dimensions)
            parts.append(rows)
            keys += [f"{key}/{row}" for row in range(len(rows))]
        return cls(keys, np.concatenate(parts).astype(np.float32))


class Relevance:
    """Ranks texts by how well they match a question."""

    def __init__(self, embedder: Embedder | None = None) -> None:
        """Compare vectors from `embedder`, or only words without one."""
        self.embedder = embedder

    @cached_property
    def _elsewhere(self) -> tuple[NDArray[np.float32], float]:
        """The vectors of small talk and general-knowledge questions, and the factor that scales a distance from 1.0 to MiniLM's.

        Models differ in the cosines of unrelated texts: 0.5 is high for one and low for another.
        """
        import numpy as np

        if self.embedder is None:
            raise AssertionError("small talk has vectors only with an embedding model")
        vectors = self.embedder.embed_kept([*SMALL_TALK, *WORLD]).astype(np.float32)
        small_talk = vectors[: len(SMALL_TALK)]
        cosines = small_talk @ small_talk.T
        mean = float(cosines[np.triu_indices(len(SMALL_TALK), 1)].mean())
        return vectors, (1 - _UNRELATED) / max(1 - mean, 0.01)

    def question(self, message: str, before: str = "") -> Question | None:
        """The query of `message`; None if it is small talk.

        A message of few words, such as "and in winter?", takes over the words of the message `before`.
        """
        words = content_words(message)
        about = set(content_words(before)) - _TALK_WORDS
        asks_on = bool(about) and bool(_ASKS_ON.search(message))
        if not set(words) - _TALK_WORDS and not asks_on:
            return None
        if about and len(words) <= _FOLLOW_UP_WORDS and (not words or _REFERS_BACK.search(message)):
            words = list(dict.fromkeys([*words, *content_words(before)]))
            message = f"{before}\n{message}"
        named = {name for match in _NAME.finditer(message) for name in content_words(match.group())}
        names = tuple(word for word in words if word in named)
        about_user = bool(_USER.search(message))
        if self.embedder is None:
            return Question(text=message, words=tuple(words), names=names, about_user=about_user)
        import numpy as np

        vector = self.embedder.embed_query(message).astype(np.float32)
        cosines = self._elsewhere[0] @ vector
        small_talk, world = float(cosines[: len(SMALL_TALK)].max()), float(cosines[len(SMALL_TALK) :].max())
        return Question(
            text=message,
            words=tuple(words),
            vector=vector,
            small_talk=self._scaled(small_talk),
            world=self._scaled(world),
            names=names,
            about_user=about_user,
        )

    def in_first_person(self, question: Question, speakers: Collection[str]) -> Question:
        """`question` without the names of `speakers`, who say "I" where the question has their names."""
        if not speakers:
            return question
        names = re.compile(rf"\b(?:{'|'.join(map(re.escape, speakers))})(['\u2019]s)?\b", re.IGNORECASE)
        text = names.sub(lambda found: "my" if found[1] else "I", question.text)
        words = tuple(word for word in question.words if word not in speakers)
        if self.embedder is None:
            return replace(question, text=text, words=words)
        import numpy as np

        return replace(question, text=text, words=words, subject=self.embedder.embed_query(text).astype(np.float32))

    def rank(
        self,
        question: Question,
        by_words: Mapping[str, float],
        vectors: Vectors | None,
        *,
        population: int,
        about: About = "documents",
    ) -> list[tuple[str, float]]:
        """The keys and scores of the texts that match `question`, best first; empty if none matches well enough.

        Args:
            question: what is searched for.
            by_words: BM25 of the texts that share words with it, by key.
            vectors: the vectors of the texts, as far as there are any.
            population: how many texts there are; a word is worth less among few.
            about: what it is about.
        """
        rare = _least_words(population)
        strongest = max(by_words.values(), default=0.0)
        cosines, nearest = self._cosines(question, by_words, vectors)
        if nearest is None:
            found = strongest >= _BY_ABOUT[about] * rare
        else:
            found = _near(question, nearest, about) or strongest >= 2 * rare
        if not found:
            return []
        scores = {
            key: WORD_SHARE * by_words.get(key, 0.0) / WORD_SCALE + (1 - WORD_SHARE) * cosines.get(key, 0.0)
            for key in {*by_words, *cosines}
        }
        least = _SHARE_OF_BEST * max(scores.values(), default=0.0)
        places = _places(scores, by_words, cosines)
        return sorted(((key, score) for key, score in scores.items() if score >= least), key=lambda each: places[each[0]])

    def _cosines(
        self, question: Question, by_words: Iterable[str], vectors: Vectors | None
    ) -> tuple[dict[str, float], float | None]:
        """The cosines of the nearest texts and of those that share words with the question, and the nearest text's to the floor.

        A text with parts counts for half as a whole, and for half by its nearest part: a reply about something else would hide
        what was said in the message.
        """
        if question.vector is None or vectors is None or not vectors.keys:
            return {}, None
        import numpy as np

        cosines = _products(vectors.matrix, question.vector)
        nearest = self._scaled(float(cosines.max()))
        subject = question.vector if question.subject is None else question.subject
        if question.subject is not None:
            cosines = _products(vectors.matrix, subject)
        if vectors.parts is not None:
            cosines = (cosines + (vectors.parts @ subject).max(axis=1)) / 2
        best = np.argpartition(cosines, -min(NEAREST, len(cosines)))[-NEAREST:]
        places = {*map(int, best), *(vectors.places[key] for key in by_words if key in vectors.places)}
        return {vectors.keys[place]: self._scaled(float(cosines[place])) for place in places}, nearest

    def _scaled(self, cosine: float) -> float:
        return 1 - (1 - cosine) * self._elsewhere[1]


def _products(matrix: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product of `matrix` and `vector`, row by row: for a large one BLAS would take every core, also from the chat model."""
    products: NDArray[np.float32] = (matrix[:, None] @ vector)[:, 0]
    return products


def _near(question: Question, nearest: float, about: About) -> bool:
    """Whether the nearest text's cosine is that of a text that the question is about."""
    if about in {"named", "user"}:
        return nearest >= max(_LEAST_ABOUT_TALK, question.small_talk - _SMALL_TALK_ABOUT_TALK)
    world = question.world - _WORLD_MARGIN
    if about == "documents":
        world = min(world, _CLOSE)
    return nearest >= max(_LEAST_COSINE, question.small_talk - _SMALL_TALK_MARGIN, world)


def _places(*rankings: Mapping[str, float]) -> dict[str, float]:
    """Each key's best place in the rankings, the first of which wins a draw."""
    places: dict[str, float] = {}
    for number, values in enumerate(rankings):
        for place, key in enumerate(sorted(values, key=lambda key: -values[key])):
            places[key] = min(places.get(key, math.inf), place + number / len(rankings))
    return places


def _least_words(population: int) -> float:
    """The minimum BM25 when only words are compared: that of a word shared by two of many texts.

    Among few texts, words have almost no weight, and any match counts.
    """
    if population < _HANDFUL:
        return 0.0
    return min(_WEAK, math.log((population - 1.5) / 2)) * population / (population + 2 * _HANDFUL)


def choose(ranked: Iterable[tuple[str, float]], tokens: Mapping[str, int], *, budget: int, most: int | None = None) -> list[str]:
    """The keys of the best texts that fit in `budget` tokens together, at most `most`, best first."""
    chosen: list[str] = []
    for key, _ in ranked:
        if most is not None and len(chosen) == most:
            break
        if tokens[key] <= budget:
            chosen.append(key)
            budget -= tokens[key]
    return chosen
