"""Which conversations are in a file, whatever kind of file it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mistral_chat.errors import ImportFailed
from mistral_chat.export.chatgpt import chatgpt_trees, is_chatgpt
from mistral_chat.export.json_file import is_export, trees_in
from mistral_chat.export.json_reader import parsed
from mistral_chat.export.markdown import read_markdown
from mistral_chat.store.foreign import SQLITE_HEADER, import_oterm_or_llm

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from mistral_chat.export.exported_conversation import ExportedConversation


def read_import_files(paths: Iterable[Path], *, now: datetime) -> list[ExportedConversation]:
    """The conversations in files and folders: our JSON and Markdown, ChatGPT's `conversations.json`, oterm's and llm's stores.

    A folder stands for the Markdown and JSON files in it. A file is known by what is in it, not by its name.

    Raises:
        ImportFailed: a file is missing, of another kind or at fault; its name and the place in it are told.
    """
    trees: list[ExportedConversation] = []
    for path in paths:
        files = sorted(file for file in path.iterdir() if file.suffix in {".md", ".json"}) if path.is_dir() else [path]
        for file in files:
            trees += _in_file(file, now)
    return trees


def _in_file(path: Path, now: datetime) -> list[ExportedConversation]:
    try:
        content = path.read_bytes()
        if content.startswith(SQLITE_HEADER):
            return import_oterm_or_llm(path)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ImportFailed(f"{path} cannot be read ({error.strerror}). Nothing was imported.") from error
    except UnicodeDecodeError as error:
        raise ImportFailed(f"{path} is no text in UTF-8 (byte {error.start}). Nothing was imported.") from error
    source = path.name
    if not text.lstrip().startswith(("{", "[")):
        return [read_markdown(text, source, now=now)]
    value = parsed(text, source)
    if is_export(value):
        return trees_in(value, source)
    if isinstance(value, list) and is_chatgpt(value):
        return chatgpt_trees(value, source)
    raise ImportFailed(
        f"{source} is JSON, but neither an export of mistral-chat nor ChatGPT's conversations.json. Nothing was imported."
    )
