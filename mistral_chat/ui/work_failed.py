"""The message that carries an unforeseen error to the app's last resort."""

from __future__ import annotations

from textual.message import Message


class WorkFailed(Message):
    """A task failed with an error that was not foreseen."""

    def __init__(self, error: BaseException) -> None:
        """Carry the `error`; its message is not for the log."""
        super().__init__()
        self.error = error
