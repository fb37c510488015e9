"""Hypothesis strategies for whole conversations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from mistral_chat.conversation import Passage, Turn, Usage
from mistral_chat.export.exported_conversation import ExportedConversation, TreeTurn
from mistral_chat.sampling import Sampling

COLLECTIONS = ("contracts", "Müller & Söhne")
"""The names of the collections that a store needs for `conversation_trees`."""

texts = st.text(st.one_of(st.characters(), st.sampled_from("\x00\r\n\t #-<!:\\\ud800\u202e")), max_size=80)
times = st.datetimes(
    min_value=datetime(1980, 1, 1),  # noqa: DTZ001 - hypothesis wants the bounds without a zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - hypothesis wants the bounds without a zone
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
)
keys = st.text("0123456789abcdef", min_size=16, max_size=16)
counts = st.integers(0, 10**9)
seconds = st.floats(0, 1e6, allow_nan=False)
usages = st.builds(
    Usage,
    prompt_tokens=counts,
    cached_tokens=counts,
    completion_tokens=counts,
    time_to_first_token=seconds,
    tokens_per_second=seconds,
)
samplings = st.builds(
    Sampling,
    temperature=st.floats(0, 5),
    top_p=st.floats(0, 1),
    top_k=st.integers(0, 1000),
    min_p=st.floats(0, 1),
    repeat_penalty=st.floats(0.5, 2),
    seed=st.none() | st.integers(0, 2**32 - 2),
    max_tokens=st.none() | st.integers(1, 10**6),
)
passages = st.builds(
    Passage,
    kind=st.sampled_from(["exchange", "document", "file"]),
    text=texts,
    source=texts,
    key=texts,
    score=st.floats(-100, 100),
    tokens=counts,
)
turns = st.builds(
    Turn,
    user=texts,
    reply=texts,
    finish_reason=st.sampled_from([None, "stop", "length", "cancelled"]),
    error=texts,
    model=texts,
    usage=st.none() | usages,
    pinned=st.booleans(),
    excluded=st.booleans(),
    passages=st.lists(passages, max_size=2).map(tuple),
)


@st.composite
def conversation_trees(draw: st.DrawFn, /, **fixed: Any) -> ExportedConversation:
    """A conversation with up to eight turns that hang on one another in any way."""
    names = draw(st.lists(keys, max_size=8, unique=True))
    parents = [draw(st.sampled_from([None, *names[:place]])) for place in range(len(names))]
    made = [
        TreeTurn(key=name, parent=parent, created=draw(times), turn=draw(turns))
        for name, parent in zip(names, parents, strict=True)
    ]
    fields: dict[str, Any] = {
        "key": draw(keys),
        "title": draw(texts),
        "title_by": draw(st.sampled_from(["first_line", "model", "person"])),
        "created": draw(times),
        "updated": draw(times),
        "system": draw(texts),
        "model": draw(texts),
        "sampling": draw(st.none() | samplings),
        "persona": draw(texts),
        "recall": draw(st.sampled_from([None, False, True])),
        "pinned": draw(st.booleans()),
        "archived": draw(st.booleans()),
        "tags": tuple(draw(st.lists(texts, max_size=3))),
        "collections": tuple(draw(st.lists(st.sampled_from(COLLECTIONS), unique=True))),
        "draft": draw(texts),
        "turns": tuple(made),
        "current": draw(st.sampled_from(names)) if names else None,
    }
    return ExportedConversation(**(fields | fixed))
