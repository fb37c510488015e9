"""The engine's interface: what it is given, what it yields, and how it is stopped.

An `Engine` is a blocking iterator of values. It knows nothing of asyncio, the store or the screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from mistral_chat.conversation import FinishReason, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is sampled."""

    temperature: Annotated[float, "Sampling temperature; 0 is greedy."] = 0.7
    top_p: Annotated[float, "Nucleus sampling: choose among the most likely tokens whose probabilities add up to this."] = 0.95
    top_k: Annotated[int, "Choose among this many of the most likely tokens; 0 is no limit."] = 40
    min_p: Annotated[float, "Exclude tokens less likely than this share of the most likely one."] = 0.05
    repeat_penalty: Annotated[float, "Above 1, tokens among the last 64 become less likely; 1.0 is off."] = 1.0
    seed: Annotated[
        int | None, "The same seed gives the same reply on the same machine; empty: a random seed for each reply."
    ] = None
    max_tokens: Annotated[int | None, "Maximum reply length in tokens; empty: no limit."] = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a value is out of its range; the message names it.
        """
        ranges = (("temperature", 0.0, 5.0), ("top_p", 0.0, 1.0), ("min_p", 0.0, 1.0), ("repeat_penalty", 0.5, 2.0))
        for name, low, high in ranges:
            if not low <= getattr(self, name) <= high:
                message = f"{name} must be from {low:g} to {high:g}, not {getattr(self, name):g}"
                raise ValueError(message)
        if self.top_k < 0:
            message = f"top_k must be 0 or more, not {self.top_k}"
            raise ValueError(message)
        if self.seed is not None and not 0 <= self.seed < 2**32 - 1:
            message = f"seed must be from 0 to 4294967294, not {self.seed}"
            raise ValueError(message)
        if self.max_tokens is not None and self.max_tokens < 1:
            message = f"max_tokens must be 1 or more, not {self.max_tokens}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A piece of text that is given to the model with one message: from a document, or from earlier in the conversation."""

    text: str
    source: str = ""
    """Where it is from, for the model and for people, such as ``lease.pdf p. 4``; one line. Untrusted text, as `text` is."""
    score: float = 0.0
    """How well it matches the message, from 0 to 1."""
    tokens: int = 0
    """Tokens of `text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTurn:
    """One turn as the engine is given it."""

    key: str
    """Says which turn this is, so that the ledger can name what it still holds. Unique in its history."""
    user: str
    reply: str = ""
    """Empty on the turn that is to be answered; on the last turn, a text here is continued."""
    pinned: bool = False
    passages: tuple[Passage, ...] = ()
    """Given to the model before `user` while this is the last turn, and as long as it is pinned; ignored otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the engine is asked to answer: the last turn, after all those before it."""

    conversation: str = ""
    """Names the conversation for snapshots; empty means that nothing of it may reach the disk."""
    system: str = ""
    turns: tuple[PromptTurn, ...] = ()
    draft: str = ""
    """For prefilling and previews: what is being typed after the turns."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """The prompt is being decoded: `done` of `total` tokens."""

    done: int
    total: int
    seconds_left: float | None = None
    """Estimated from the measured speed; None while that is unknown."""
    batch: int = 0
    """Tokens of the batch that is being decoded now: the next report follows when it is done."""

    def after(self, seconds: float) -> Prefill:
        """An estimate of the progress `seconds` after this report, within its batch."""
        if not self.seconds_left:
            return self
        speed = (self.total - self.done) / self.seconds_left
        done = self.done + min(self.batch, int(speed * seconds))
        return Prefill(done, self.total, (self.total - done) / speed, self.batch - (done - self.done))


@dataclass(frozen=True, slots=True)
class ContextShift:
    """Turns left the context window, oldest first."""

    turns: tuple[str, ...]
    """The keys of the turns."""
    tokens: int
    """How many tokens they had."""


@dataclass(frozen=True, slots=True)
class Delta:
    """One streamed piece of the reply's text; never part of a character."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The result of one generation. Its text is all deltas joined."""

    text: str
    finish_reason: FinishReason
    usage: Usage


Event = Prefill | ContextShift | Delta | Completion
"""What an engine yields, in this order: prefills and shifts, then deltas (with shifts among them), then one completion."""


@dataclass(frozen=True, slots=True)
class CachedTurn:
    """One turn that the model still sees."""

    key: str
    tokens: int
    pinned: bool = False
    passages: int = 0
    """About how many of the tokens are passages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextState:
    """What the model has in its KV cache right now, for the screen."""

    window: int
    """How many tokens the model may see, as llama.cpp rounded it."""
    reserve: int
    """Tokens kept free for a reply when a turn begins."""
    system_tokens: int = 0
    """Tokens of the system prompt and the format's head."""
    turns: tuple[CachedTurn, ...] = field(default=())

    @property
    def used(self) -> int:
        """How many tokens are in the cache."""
        return self.system_tokens + sum(turn.tokens for turn in self.turns)


@dataclass(frozen=True, slots=True)
class PromptPiece:
    """A stretch of a prompt as people read it."""

    text: str
    """What the tokens spell, or one control token's name. Untrusted text."""
    tokens: int
    is_control: bool = False


@dataclass(frozen=True, slots=True)
class PromptPart:
    """One turn of a prompt, or what stands before the first."""

    key: str
    """The turn's key; empty for the head and for a draft."""
    pieces: tuple[PromptPiece, ...]
    passages: int = 0
    """About how many of its tokens are passages."""

    @property
    def tokens(self) -> int:
        """How many tokens it takes."""
        return sum(piece.tokens for piece in self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """All that the model is given, for people."""

    window: int
    reserve: int
    """Tokens kept free for a reply when a turn begins."""
    parts: tuple[PromptPart, ...] = ()
    """The head, then the turns; empty where nothing would be given."""
    draft: bool = False
    """Whether the last part is the draft, and the model would answer it."""

    @property
    def tokens(self) -> int:
        """How many tokens it takes."""
        return sum(part.tokens for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """What an engine is, for people and for the store."""

    model: str
    """The weights' name."""
    prompt_format: str
    device: str
    """Where the model runs, such as ``"CPU"`` or ``"CUDA0"``."""
    window: int
    context_trained: int
    """How many tokens the model was trained to see."""
    parameters: int = 0
    bytes: int = 0
    threads: int = 0
    batch: int = 0
    """The most tokens in one decode."""
    flash_attention: bool = False
    repacked: bool = False
    """Whether the weights are copied into a layout of this processor's."""
    note: str = ""
    """What is not as the settings say, as a sentence for the user; mostly empty."""


class CancelToken:
    """Tells an engine to stop; may be set from any thread.

    The flag is the first byte of a C buffer, so that llama.cpp's abort callback can read it without Python.
    """

    def __init__(self) -> None:
        """Make a flag that is not set."""
        import ctypes  # the first paint does without it

        self._buffer = ctypes.create_string_buffer(2)
        self.address = ctypes.addressof(self._buffer)
        """Where the C string starts: empty while the flag is not set. Valid as long as this object lives."""

    def set(self) -> None:
        """Ask the engine to stop."""
        self._buffer[0] = b"\x01"

    @property
    def is_set(self) -> bool:
        """Whether the engine was asked to stop."""
        return self._buffer.raw[0] != 0


class Engine(Protocol):
    """Turns a history into a reply. All but `count`, `ambiguous_markup`, `preview_prompt` and `facts` belong to one thread."""

    @property
    def facts(self) -> LoadedModel:
        """What this engine is."""

    @property
    def ledger(self) -> ContextState:
        """What the model has in its cache now. Read between calls or from the engine's thread."""

    def reply(self, history: History, sampling: Sampling, cancel: CancelToken) -> Iterator[Event]:
        """Answer the last turn of `history`, or continue its reply.

        Ends with exactly one `Completion`. A cancel ends it within one token, and within 250 ms while the prompt is read.
        The engine can be used again afterwards. What follows the completion is upkeep: exhaust the iterator.

        Raises:
            MessageTooLong: the last turn cannot fit; the cache was not touched.
            PromptFormatError: the model's format cannot express this history.
            EngineFailed: llama.cpp failed; the cache was dropped and the next call starts afresh.
        """

    def prefill(self, history: History, cancel: CancelToken) -> Iterator[Prefill]:
        """Bring `history`, all of whose turns are closed, into the cache before it is needed."""

    def generate_detached(self, history: History, sampling: Sampling, cancel: CancelToken) -> str:
        """Answer the last turn of `history` in passing: what was in the cache before is in it afterwards, and nothing else.

        Returns:
            The answer; empty when there is no room for it without a turn leaving, or when it was stopped.

        Raises:
            EngineFailed: llama.cpp failed; the cache was dropped and the next call starts afresh.
        """

    def count(self, text: str) -> int:
        """How many tokens `text` takes as a message. May be called from any thread."""

    def ambiguous_markup(self, text: str) -> str | None:
        """Say what in `text` the model takes for its format's own marks, as a sentence; None if nothing. From any thread."""

    def preview_prompt(self, history: History) -> Prompt:
        """What the model would be given for `history` and its draft, without touching the cache; from any thread.

        Without a draft all turns are closed, as in the cache after the last reply.

        Raises:
            MessageTooLong: the draft cannot fit.
            PromptFormatError: the model's format cannot express this history.
        """

    def discard_conversation(self, conversation: str) -> None:
        """Keep nothing of a conversation, in the cache or on the disk: it was deleted. Empty means those without a name."""

    def run_idle_tasks(self, cancel: CancelToken) -> None:
        """Do upkeep that may wait, such as saving a KV state: nothing has been asked for a while."""

    def close(self) -> None:
        """Let the weights go. No other call may follow."""
