"""`mistral-chat chats`: the stored conversations, from the shell."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from mistral_chat.cli import chats_files
from mistral_chat.cli.chats_arguments import CONVERSATION, as_json_option, print_json

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program
    from mistral_chat.store.store import ConversationStore


@click.group(
    short_help="List, search, export and delete conversations.", context_settings={"help_option_names": ["-h", "--help"]}
)
def chats() -> None:
    """List, search, export and delete conversations.

    A conversation is named by its id, or by as many of its first characters as fit it alone.
    """


for command in chats_files.COMMANDS:
    chats.add_command(command)


@chats.command("list", short_help="List conversations, the last used first.")
@click.option("--archived", "where", flag_value="archived", help="List the archive instead.")
@click.option("--trash", "where", flag_value="trash", help="List the trash instead.")
@click.option("--active", "where", flag_value="active", default=True, hidden=True)
@click.option("--tag", default="", help="Only those that bear this tag.")
@click.option("--contains", default="", help="Only those whose title holds this.")
@click.option("-n", "--limit", type=click.IntRange(1), help="At most this many.")
@as_json_option
@click.pass_obj
def list_conversations(program: Program, /, *, as_json: bool, limit: int | None, **asked: Any) -> None:
    """List conversations: pinned ones first, then the last used first."""
    from mistral_chat.cli.chats_format import summary_json, summary_lines

    with closing(program.open_store()) as store:
        summaries = store.summaries(limit=-1 if limit is None else limit, **asked)
    if as_json:
        print_json([summary_json(summary) for summary in summaries])
        return
    for line in summary_lines(summaries):
        click.echo(line)
    if not summaries:
        click.echo('There are none. `mistral-chat ask "…"` or `mistral-chat` begins one.', err=True)


@chats.command("show", short_help="Print a conversation.")
@click.argument("conversation", type=CONVERSATION)
@click.option("--tree", is_flag=True, help="Show every branch, a line a turn; * marks the current path.")
@as_json_option
@click.pass_obj
def show(program: Program, /, conversation: str, *, tree: bool, as_json: bool) -> None:
    """Print a conversation along its current path.

    To a file or a pipe, texts go exactly as they were written; on a terminal, control characters are made visible.
    """
    from mistral_chat.cli.chats_format import conversation_json, conversation_lines, tree_lines

    with closing(program.open_store()) as store:
        conversation_id = store.resolve(conversation)
        found, path = store.conversation(conversation_id), store.turns(conversation_id)
        turns = store.tree(conversation_id) if tree else path
    if as_json:
        print_json(conversation_json(found, turns, path))
        return
    for line in tree_lines(turns, path) if tree else conversation_lines(found, path):
        click.echo(line)


@chats.command("search", short_help="Find words in titles and messages.")
@click.argument("words", nargs=-1, required=True)
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="At most this many places.")
@as_json_option
@click.pass_obj
def search(program: Program, /, words: tuple[str, ...], *, limit: int, as_json: bool) -> None:
    """Find WORDS in titles and messages, best places first.

    All words must occur together. "Words in quotation marks" stand side by side, word* finds what begins with it, and so does
    the last word. Case and accents do not matter.
    """
    from mistral_chat.cli.chats_format import hit_json, hit_lines

    with closing(program.open_store()) as store:
        hits = store.search(" ".join(words), limit=limit)
    if as_json:
        print_json([hit_json(hit) for hit in hits])
        return
    for line in hit_lines(hits):
        click.echo(line)
    if not hits:
        click.echo("Nothing was found.", err=True)


@chats.command("rename", short_help="Give a conversation a title.")
@click.argument("conversation", type=CONVERSATION)
@click.argument("title")
@click.pass_obj
def rename(program: Program, /, conversation: str, title: str) -> None:
    """Give a conversation a TITLE. An empty one gives it its first line again."""
    with closing(program.open_store()) as store:
        store.rename(store.resolve(conversation), title, by="person")


@chats.command("pin", short_help="Keep a conversation at the top of the list.")
@click.argument("conversation", type=CONVERSATION)
@click.option("--off", is_flag=True, help="No longer.")
@click.pass_obj
def pin(program: Program, /, conversation: str, *, off: bool) -> None:
    """Keep a conversation at the top of the list."""
    with closing(program.open_store()) as store:
        store.pin(store.resolve(conversation), not off)


@chats.command("archive", short_help="Put a conversation out of the list.")
@click.argument("conversation", type=CONVERSATION)
@click.option("--off", is_flag=True, help="Put it back.")
@click.pass_obj
def archive(program: Program, /, conversation: str, *, off: bool) -> None:
    """Put a conversation out of the list without throwing it away. Search still finds it."""
    with closing(program.open_store()) as store:
        store.archive(store.resolve(conversation), not off)


@chats.command("tag", short_help="Tag a conversation.")
@click.argument("conversation", type=CONVERSATION)
@click.argument("tags", nargs=-1, required=True)
@click.option("--off", is_flag=True, help="Take the tags away.")
@click.pass_obj
def tag(program: Program, /, conversation: str, tags: tuple[str, ...], *, off: bool) -> None:
    """Give a conversation TAGS. `chats list --tag TAG` lists those that bear one."""
    with closing(program.open_store()) as store:
        (store.untag if off else store.tag)(store.resolve(conversation), *tags)


@chats.command("rm", short_help="Move conversations to the trash, or delete them for good.")
@click.argument("conversations", nargs=-1, required=True, type=CONVERSATION)
@click.option("--now", is_flag=True, help="Delete for good, past the trash; nothing brings them back.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(program: Program, /, conversations: tuple[str, ...], *, now: bool, yes: bool) -> None:
    """Move conversations to the trash; `chats restore` brings them back.

    With --now they are deleted for good: afterwards no byte of their text is in the database, its log, the search index or the
    KV states.
    """
    with closing(program.open_store()) as store:
        ids = [store.resolve(conversation) for conversation in conversations]
        if not now:
            for conversation_id in ids:
                store.trash(conversation_id)
            return
        confirm(f"Delete {counted(len(ids))} for good?", yes=yes)
        for conversation_id in ids:
            store.delete(conversation_id)
        program.forget_snapshots(ids)
        tell_what_is_owed(store)


@chats.command("restore", short_help="Take conversations out of the trash.")
@click.argument("conversations", nargs=-1, required=True, type=CONVERSATION)
@click.pass_obj
def restore(program: Program, /, conversations: tuple[str, ...]) -> None:
    """Take conversations out of the trash; they come back as they were."""
    with closing(program.open_store()) as store:
        for conversation_id in [store.resolve(conversation) for conversation in conversations]:
            store.restore(conversation_id)


@chats.command("trash", short_help="List the trash, or empty it.")
@click.option("--empty", is_flag=True, help="Delete all that is in it, for good.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@as_json_option
@click.pass_obj
def trash(program: Program, /, *, empty: bool, yes: bool, as_json: bool) -> None:
    """List the trash, or empty it for good. With --json, --empty prints the ids that are gone."""
    from mistral_chat.cli.chats_format import summary_json, summary_lines

    with closing(program.open_store()) as store:
        summaries = store.summaries(where="trash", limit=-1)
        if empty:
            if summaries:
                confirm(f"Delete {counted(len(summaries))} for good?", yes=yes)
            gone = store.empty_trash()
            program.forget_snapshots(gone)
            tell_what_is_owed(store)
            if as_json:
                print_json(gone)
            return
    if as_json:
        print_json([summary_json(summary) for summary in summaries])
        return
    for line in summary_lines(summaries):
        click.echo(line)


def counted(conversations: int) -> str:
    """How many, in words."""
    return "1 conversation" if conversations == 1 else f"{conversations:,} conversations"


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless the answer was given.

    Raises:
        click.UsageError: there is nobody to ask.
        click.Abort: the answer is no.
    """
    if yes:
        return
    if nobody_to_ask():
        raise click.UsageError("There is nobody to ask. Give --yes if it is meant.")
    click.confirm(question, abort=True, err=True)


def nobody_to_ask() -> bool:
    """Whether standard input is no terminal."""
    return not sys.stdin.isatty()


def tell_what_is_owed(store: ConversationStore) -> None:
    """Say so when another program's reading kept traces of deleted text in the log."""
    if store.purge_pending():
        click.echo(
            "Deleted. Another mistral-chat is reading the database; the last traces of the text go when it lets go of it.",
            err=True,
        )
