"""The engine's interface: its inputs, its events, and cancellation.

An `Engine` is a blocking iterator of values. It knows nothing of asyncio, the store or the screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mistral_chat.conversation import FinishReason, Passage, Usage

if TYPE_CHECKING:
    from mistral_chat.sampling import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTurn:
    """One turn of a prompt."""

    key: str
    """Identifies the turn in the ledger. Unique in its history."""
    user: str
    reply: str = ""
    """Empty on the turn to be answered; text on the last turn is continued."""
    pinned: bool = False
    passages: tuple[Passage, ...] = ()
    """Placed before `user` while this is the last turn, and as long as it is pinned; ignored otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The input of a reply: the last turn is answered, after all those before it."""

    conversation: str = ""
    """The conversation's id for snapshots; if empty, nothing of it may be written to disk."""
    system: str = ""
    turns: tuple[PromptTurn, ...] = ()
    draft: str = ""
    """The text being typed after the turns; for prefilling and previews."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """The prompt is being decoded: `done` of `total` tokens."""

    done: int
    total: int
    seconds_left: float | None = None
    """Estimated from the measured speed; None while that is unknown."""
    batch: int = 0
    """Tokens of the batch being decoded; the next report follows when it is done."""
    kept: int = 0
    """Tokens of the prompt that were in the KV cache already."""

    def after(self, seconds: float) -> Prefill:
        """Estimate the progress `seconds` after this report, within its batch."""
        if not self.seconds_left:
            return self
        speed = (self.total - self.done) / self.seconds_left
        done = self.done + min(self.batch, int(speed * seconds))
        return Prefill(done, self.total, (self.total - done) / speed, self.batch - (done - self.done), self.kept)


@dataclass(frozen=True, slots=True)
class ContextShift:
    """Turns left the context window, oldest first."""

    turns: tuple[str, ...]
    """The keys of the turns."""
    tokens: int
    """The number of their tokens."""


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
    """A turn in the KV cache."""

    key: str
    tokens: int
    pinned: bool = False
    passages: int = 0
    """The approximate number of passage tokens among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextState:
    """The contents of the KV cache, for display."""

    window: int
    """The size of the context window in tokens, as llama.cpp rounded it."""
    reserve: int
    """Tokens kept free for a reply when a turn starts."""
    system_tokens: int = 0
    """Tokens of the system prompt and the format's head."""
    turns: tuple[CachedTurn, ...] = field(default=())

    @property
    def used(self) -> int:
        """The number of tokens in the cache."""
        return self.system_tokens + sum(turn.tokens for turn in self.turns)


@dataclass(frozen=True, slots=True)
class PromptPiece:
    """A segment of a prompt, for display."""

    text: str
    """The decoded text, or the name of one control token. Untrusted."""
    tokens: int
    is_control: bool = False


@dataclass(frozen=True, slots=True)
class PromptPart:
    """One turn of a prompt, or what precedes the first."""

    key: str
    """The turn's key; empty for the head and for a draft."""
    pieces: tuple[PromptPiece, ...]
    passages: int = 0
    """The approximate number of passage tokens among its tokens."""

    @property
    def tokens(self) -> int:
        """The number of its tokens."""
        return sum(piece.tokens for piece in self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A whole prompt, for display."""

    window: int
    reserve: int
    """Tokens kept free for a reply when a turn starts."""
    parts: tuple[PromptPart, ...] = ()
    """The head, then the turns; empty if there is no prompt."""
    draft: bool = False
    """Whether the last part is the draft, which the model would answer."""

    @property
    def tokens(self) -> int:
        """The number of its tokens."""
        return sum(part.tokens for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """Properties of a loaded model, for display and for the store."""

    model: str
    """The model's name."""
    prompt_format: str
    device: str
    """Where the model runs, such as ``"CPU"`` or ``"CUDA0"``."""
    window: int
    context_trained: int
    """The context length that the model was trained with, in tokens."""
    parameters: int = 0
    bytes: int = 0
    threads: int = 0
    batch: int = 0
    """The maximum number of tokens in one decode."""
    flash_attention: bool = False
    repacked: bool = False
    """Whether the weights were repacked for this CPU."""
    batch_costs: tuple[tuple[int, float], ...] = ()
    """The measured time of batches of a few tokens, as multiples of one token's; empty if not measured."""
    note: str = ""
    """What differs from the settings, as a sentence for the user; usually empty."""


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
    """Generates replies. All but `count`, `ambiguous_markup`, `preview_prompt` and `facts` must be called on one thread."""

    @property
    def facts(self) -> LoadedModel:
        """Properties of the loaded model."""

    @property
    def ledger(self) -> ContextState:
        """The contents of the KV cache. Read it between calls, or on the engine's thread."""

    def reply(self, history: History, sampling: Sampling, cancel: CancelToken) -> Iterator[Event]:
        """Answer the last turn of `history`, or continue its reply.

        Ends with exactly one `Completion`. Cancelling takes effect within one token, or within 250 ms during prefill, and the
        engine stays usable. The work after the completion is maintenance: exhaust the iterator.

        Raises:
            MessageTooLong: the last turn cannot fit; the cache was not touched.
            PromptFormatError: the model's format cannot express this history.
            EngineFailed: llama.cpp failed; the cache was dropped and the next call starts from scratch.
        """

    def prefill(self, history: History, cancel: CancelToken) -> Iterator[Prefill]:
        """Bring `history`, all of whose turns are closed, into the cache before it is needed."""

    def generate_detached(self, history: History, sampling: Sampling, cancel: CancelToken) -> str:
        """Answer the last turn of `history` and leave the KV cache as it was.

        Returns:
            The reply; empty if it would evict a turn, or if it was stopped.

        Raises:
            EngineFailed: llama.cpp failed; the cache was dropped and the next call starts from scratch.
        """

    def count(self, text: str) -> int:
        """The number of tokens in `text` as a message. Thread-safe."""

    def ambiguous_markup(self, text: str) -> str | None:
        """A sentence about text that the model cannot tell from its format's own markup; None if there is none. Thread-safe."""

    def preview_prompt(self, history: History) -> Prompt:
        """Build the prompt of `history` and its draft without changing the cache. Thread-safe.

        Without a draft all turns are closed, as in the cache after the last reply.

        Raises:
            MessageTooLong: the draft cannot fit.
            PromptFormatError: the model's format cannot express this history.
        """

    def discard_conversation(self, conversation: str) -> None:
        """Remove a deleted conversation from the cache and the disk. An empty id removes unnamed ones."""

    def run_idle_tasks(self, cancel: CancelToken) -> None:
        """Do deferred work, such as saving a snapshot, while the engine is idle."""

    def close(self) -> None:
        """Free the model. No other call may follow."""
