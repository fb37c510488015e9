"""Arguments and helpers shared by the `mistral-chat chats` commands."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from mistral_chat.store.records import Folder

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON only.")


class ConversationId(click.ParamType[str]):
    """A conversation's id or the start of one."""

    name = "conversation"

    def __init__(self, *folders: Folder) -> None:
        """Complete the conversations of `folders`."""
        self._folders = folders

    def shell_complete(self, ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Ids that start with `incomplete`, with their titles; none if the store cannot be read."""
        from click.shell_completion import CompletionItem

        from mistral_chat.cli.chats_format import SHORT_ID
        from mistral_chat.cli.wiring import Program
        from mistral_chat.errors import MistralChatError
        from mistral_chat.text import one_line

        try:
            program = ctx.find_object(Program) or Program()
            with closing(program.open_store()) as store:
                summaries = [each for folder in self._folders for each in store.summaries(where=folder, limit=-1)]
        except MistralChatError:
            return []
        return [
            CompletionItem(summary.conversation_id[:SHORT_ID], help=one_line(summary.title, 60))
            for summary in summaries
            if summary.conversation_id.startswith(incomplete)
        ]


CONVERSATION = ConversationId("active", "archived")
"""The type of an argument that names a conversation."""

TRASHED = ConversationId("trash")
"""The type of an argument that names a conversation in the trash."""


def print_json(value: Any) -> None:
    """Print `value` as one line of JSON."""
    click.echo(json.dumps(value, ensure_ascii=False))
