"""The progress of a download: a bar, how much is downloaded and how fast, or why it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import ProgressBar, Static

from mistral_chat.model_listing import STAGES
from mistral_chat.text import clean, one_line

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from mistral_chat.model_listing import DownloadProgress

_QUIET: Final = "$text-quiet"
_STAGES: Final = {**STAGES, "downloading": "", "verifying": "verifying the SHA-256 so far"}


class DownloadPanel(VerticalScroll):
    """Shows a download, paused or not, or why it failed."""

    HELP = (
        "## Download\n\n**p** pauses and resumes it. **b** continues it in the background. **Esc** leaves. "
        "Downloaded data is always kept.\n"
    )

    def __init__(self) -> None:
        """Create an empty panel."""
        super().__init__(id="download", can_focus=False)

    def compose(self) -> ComposeResult:
        """A heading, the bar, and three lines of text."""
        yield Static(id="download-title", markup=False)
        yield ProgressBar(total=1.0, show_eta=False, id="download-bar")
        yield Static(id="download-amounts", markup=False)
        yield Static(id="download-state", markup=False)
        yield Static(id="download-note", markup=False)

    def open(self, name: str, progress: DownloadProgress, *, hub: str, folder: str) -> None:
        """Show the download of the model `name` from the host `hub` into `folder`."""
        self._set("title", Content.styled(f"Downloading {one_line(name, 120)}", "bold $text-primary"))
        note = f"From {one_line(hub)} to {one_line(folder)}.\nDownloaded data is kept if you pause, cancel or quit."
        self._set("note", Content.styled(note, _QUIET))
        self.show(progress)

    def show(self, progress: DownloadProgress) -> None:
        """Show the progress."""
        self.query_one(ProgressBar).update(progress=progress.share or 0.0)
        self._set("amounts", Content(progress.amounts))
        style = "$text-warning" if progress.stage in {"retrying", "waiting", "paused"} else _QUIET
        self._set("state", Content.styled(clean(progress.note or _STAGES[progress.stage]), style))

    def fail(self, title: str, text: str) -> None:
        """Show that the download failed, and why."""
        self._set("state", Content.assemble((one_line(title), "bold $text-error"), "\n", clean(text)))
        self._set("note", Content(""))
        self.scroll_home(animate=False)

    def _set(self, part: str, text: Content) -> None:
        static = self.query_one(f"#download-{part}", Static)
        static.update(text)
        static.display = bool(text)
