"""The privacy report: what is stored where on this machine, and which hosts are contacted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mistral_chat.text import one_line

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program


def privacy_report(program: Program) -> str:
    """The report as plain text.

    Raises:
        ConfigError: the settings cannot be used.
    """
    paths, settings = program.paths, program.settings
    budget = f"at most {settings.snapshots.budget / 1e9:.1f} GB"
    snapshots = budget if settings.snapshots.enabled else "off (snapshots.enabled)"
    trash = f"{settings.trash_days} days" if settings.trash_days else "until you empty the trash"
    # Windows protects the user's profile by its own access lists, which the program does not change.
    readable = "" if sys.platform == "win32" else ", readable by you only"
    written = [
        (
            f"{paths.database} (with -wal and -shm while it is open)",
            "messages, replies, drafts, titles, and the text of the documents you indexed",
        ),
        (str(paths.snapshots_dir), f"context snapshots, which contain conversations as tokens: {snapshots}"),
        (str(paths.log_file), "messages of the program and llama.cpp; no conversation text"),
        (str(paths.models_dir), "models and partial downloads"),
        (str(paths.data_dir), "which models were tested, and which conversations are open"),
        (str(paths.config_file), "settings"),
        ("where you export or back up to", "what you choose to export"),
    ]
    lines = [f"What is stored{readable}:"]
    lines += [f"  {one_line(place, 500)}\n      {what}" for place, what in written]
    lines += [
        "",
        f"A deleted conversation stays in the trash for {trash}. Then its text is removed from the database, its log,",
        "its search index and the snapshots. Disks, file systems and backups may keep old blocks, and swap may contain what",
        "was in memory: encrypt the disk. With --no-save, no conversation is written to disk at all.",
        "",
        "Which hosts are contacted:",
        *(f"  {line}" for line in _hosts(program)),
        "",
        "No telemetry, no update check, no account. The model runs inside this program.",
    ]
    return "\n".join(lines) + "\n"


def _hosts(program: Program) -> list[str]:
    """Every host that is contacted, and when."""
    from pathlib import Path

    from mistral_chat.models.hub import Hub

    hub = Hub(environ=program.environ, home=Path.home())
    if hub.offline:
        return [f"none: HF_HUB_OFFLINE blocks {hub.host} too"]
    token = "a token was found on this machine" if hub.token else "no token was found"
    return [
        f"{one_line(hub.host)}, and the storage hosts that it redirects to: only while `mistral-chat models pull` runs,",
        "or when you agree to a download in the chat. It sees your IP address and the file you request.",
        f"A token is sent only to that host, and only for models that require one ({token}).",
        "None for chatting, searching, exporting or anything else.",
    ]
