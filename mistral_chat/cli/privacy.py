"""What becomes of what is said: an account for people, of this machine's own folders and settings."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program


def account(program: Program) -> str:
    """The whole account as plain text.

    Raises:
        ConfigError: the settings cannot be used.
    """
    paths, settings = program.paths, program.settings
    budget = f"kept, at most {settings.snapshots.budget / 1e9:.1f} GB"
    snapshots = budget if settings.snapshots.enabled else "not kept (snapshots.enabled)"
    trash = f"{settings.trash_days} days" if settings.trash_days else "until you empty the trash"
    written = [
        (f"{paths.database} (with -wal and -shm while it is open)", "what you and the model said, drafts and titles"),
        (str(paths.snapshots_dir), f"the model's working memory of conversations, as tokens: {snapshots}"),
        (str(paths.log_file), "what the program and llama.cpp did; never what was said"),
        (str(paths.models_dir), "weights, and what has arrived of them"),
        (str(paths.data_dir), "which weights were tried here, and which conversations are open"),
        (str(paths.config_file), "the settings, as you write or choose them"),
        ("where you export or back up to", "what you chose to take out"),
    ]
    lines = ["What is written, readable by you alone:"]
    lines += [f"  {one_line(place, 500)}\n      {what}" for place, what in written]
    lines += [
        "",
        f"A deleted conversation stays in the trash for {trash}. Then its text is removed from the database, its log,",
        "its search index and the snapshots. What disks, file systems and backups keep of old blocks is out of reach, and",
        "swap may hold what was in memory: encrypt the disk. With --no-save nothing of a conversation is written at all.",
        "",
        "Which hosts are asked:",
        *(f"  {line}" for line in _hosts(program)),
        "",
        "What is never done: no telemetry, no update check, no account. The model runs inside this program.",
    ]
    return "\n".join(lines) + "\n"


def _hosts(program: Program) -> list[str]:
    """Every host that can ever be contacted, and when."""
    from pathlib import Path

    from mistral_chat.models.hub import Hub

    hub = Hub(environ=program.environ, home=Path.home())
    host = urlsplit(hub.endpoint).hostname or hub.endpoint
    if hub.offline:
        return [f"none: HF_HUB_OFFLINE forbids even {host}"]
    token = "a token was found on this machine" if hub.token else "no token was found"
    return [
        f"{one_line(host)}, and the storage hosts that it redirects to: only while `mistral-chat models pull` runs,",
        "or when you agree to a download in the chat. It learns which file you want and your address.",
        f"A token is sent to that host alone, and only for models that ask for one ({token}).",
        "none: for chatting, searching, exporting, and everything else",
    ]
