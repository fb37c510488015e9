"""Reports an unexpected error of a task to the app."""

from __future__ import annotations

from textual.message import Message


class WorkFailed(Message):
    """A task failed with an unexpected error, which the app logs and shows."""

    def __init__(self, error: BaseException) -> None:
        """Carry the `error`; its message is not for the log."""
        super().__init__()
        self.error = error
