"""What the screen for weights is given: what is here and what can be had, as values, and the doors to both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

Fit = Literal["fits", "tight", "too large", "unknown"]
"""Whether a model fits into the memory that is free."""

Stage = Literal["asking", "waiting", "downloading", "retrying", "verifying", "paused", "done"]
"""What a download is doing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownWeights:
    """Weights as the list shows them. Sizes are in bytes; any text may hold anything."""

    spec: str
    """What names them, as ``-m`` takes it; unique in a `Stock`."""
    title: str
    quantization: str = ""
    about: str = ""
    """One sentence for a person who chooses."""
    licence: str = ""
    size: int | None = None
    """The file or, for a split one, all of its parts; None while nobody knows."""
    exact: bool = True
    """Whether `size` is stated somewhere; else it is an estimate."""
    needs: tuple[int, int, int] | None = None
    """Memory for the weights, for the KV cache and to compute; None while nobody knows."""
    fit: Fit = "unknown"
    reason: str = ""
    """One sentence about the memory it needs and what is free."""
    place: str = ""
    """Whose files they are on this disk, such as ``LM Studio``; empty for what is to be fetched."""
    source: str = ""
    """The path on this disk, or the repository and file on the hub."""
    verified: bool | None = None
    """Whether the SHA-256 was found right; None when that was never asked."""
    arrived: int = 0
    """What is here of a download that was begun."""
    obstacle: str = ""
    """Why they cannot be fetched from here, and what to do instead."""
    recommended: bool = False
    frees: int | None = None
    """Bytes that removing them frees; None where they are not ours to remove."""
    prompt_format: str = ""
    """The prompt format that a person chose; empty where it is found by itself."""
    under_way: str = ""
    """What is being done to them, such as ``fetching 40 %``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """What is here, what can be had, and what this machine has free."""

    weights: tuple[ShownWeights, ...]
    """Those on this disk first, then the others in the catalog's order."""
    chosen: str = ""
    """The spec of those to choose first; empty without any."""
    in_use: str = ""
    """The spec of those that are in use; empty while there are none."""
    memory: int | None = None
    """Bytes of memory that are free; None where the system does not say."""
    card: int = 0
    """Bytes that are free on the graphics cards."""
    disk: int | None = None
    """Bytes that are free where downloads go; None where the system does not say."""
    folder: str = ""
    """Where downloads go."""
    hub: str = ""
    """Where they come from: a host's name."""
    window: int = 0
    """The tokens of the window that the memory is reckoned for."""
    unusable: tuple[tuple[str, str], ...] = ()
    """Files on this disk that cannot be used, each with the reason."""

    def find(self, spec: str) -> ShownWeights | None:
        """The weights that `spec` names."""
        return next((weights for weights in self.weights if weights.spec == spec), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Where a download stands. Sizes are in bytes."""

    stage: Stage
    here: int
    total: int | None = None
    """None until the hub has answered."""
    speed: float = 0.0
    """Bytes a second."""
    seconds_left: float | None = None
    note: str = ""
    """Why it waits or tries again."""


class Shelf(Protocol):
    """The doors to the weights. All of them may take long and are called beside the screen, in a thread."""

    def look(self, wanted: str, in_use: str | None) -> Stock:
        """See what is here, what can be had, and what is free.

        Args:
            wanted: what was asked for, as ``-m`` takes it; it may name nothing.
            in_use: what is loaded now, whose memory will be free again.

        Raises:
            MistralChatError: the settings or the disk do not allow it.
        """
        ...

    def fetch(self, spec: str, stop: threading.Event) -> Iterator[Arrival]:
        """Fetch weights, going on with what is here; says where it stands at least four times a second.

        The last stage is ``done``, or ``paused`` after `stop` was set. What has arrived is always kept.

        Raises:
            MistralChatError: they cannot be had.
        """
        ...

    def keep(self, spec: str, *, first: bool) -> str:
        """Let the next start begin with `spec`, or say how a person does that; gives what is to be told, if anything.

        Args:
            spec: what was taken.
            first: whether there was no model before; only then is the settings' file written.
        """
        ...

    def check(self, spec: str, stop: threading.Event, tell: Callable[[int], None]) -> bool | None:
        """Hash weights that are here; says whether the SHA-256 is what it should be, None when nobody says what that is.

        Args:
            spec: which.
            stop: set it to leave; the answer is None then.
            tell: hears how many bytes have been read.

        Raises:
            MistralChatError: the file cannot be read.
        """
        ...

    def remove(self, spec: str) -> int:
        """Delete weights of ours, or what has arrived of them; gives the bytes that this frees.

        Raises:
            MistralChatError: they are not ours, or not there.
        """
        ...

    def formats(self) -> tuple[str, ...]:
        """The prompt formats that weights can be given; the first leaves it to the file."""
        ...

    def keep_format(self, spec: str, name: str) -> str:
        """Speak to the weights in the prompt format `name` from the next loading on; gives what is to be told.

        Raises:
            MistralChatError: there are no such weights.
        """
        ...
