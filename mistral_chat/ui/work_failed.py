"""The message that passes an unexpected error to the app."""

from __future__ import annotations

from textual.message import Message


class WorkFailed(Message):
    """A task failed with an unexpected error."""

    def __init__(self, error: BaseException) -> None:
        """Carry the `error`; its message is not for the log."""
        super().__init__()
        self.error = error
