"""`mistral-chat chats`: the stored conversations, from the shell."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from mistral_chat.cli import chats_files, chats_recall
from mistral_chat.cli.chats_arguments import CONVERSATION, TRASHED, as_json_option, print_json
from mistral_chat.formatting import counted

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program
    from mistral_chat.store.store import ConversationStore


@click.group(
    short_help="List, search, export and delete conversations.", context_settings={"help_option_names": ["-h", "--help"]}
)
def chats() -> None:
    """List, search, export and delete conversations.

    CONVERSATION is a conversation's id, or a unique prefix of it.
    """


for command in (*chats_files.COMMANDS, chats_recall.recall):
    chats.add_command(command)


@chats.command("list", short_help="List conversations, last used first.")
@click.option("--archived", "where", flag_value="archived", help="List archived conversations.")
@click.option("--trash", "where", flag_value="trash", help="List deleted conversations.")
@click.option("--active", "where", flag_value="active", default=True, hidden=True)
@click.option("--tag", default="", help="Only with this tag.")
@click.option("--contains", default="", help="Only titles containing this text.")
@click.option("-n", "--limit", type=click.IntRange(1), help="Maximum number of conversations.")
@as_json_option
@click.pass_obj
def list_conversations(program: Program, /, *, as_json: bool, limit: int | None, **asked: Any) -> None:
    """List conversations: pinned ones first, then by last use."""
    from mistral_chat.cli.chats_format import summary_json, summary_lines

    with closing(program.open_store()) as store:
        summaries = store.summaries(limit=-1 if limit is None else limit, **asked)
    if as_json:
        print_json([summary_json(summary) for summary in summaries])
        return
    for line in summary_lines(summaries):
        click.echo(line)
    if not summaries:
        click.echo('No conversations yet. Start one with `mistral-chat` or `mistral-chat ask "…"`.', err=True)


@chats.command("show", short_help="Print a conversation.")
@click.argument("conversation", type=CONVERSATION)
@click.option("--tree", is_flag=True, help="Show every branch, one line per turn; * marks the current one.")
@as_json_option
@click.pass_obj
def show(program: Program, /, conversation: str, *, tree: bool, as_json: bool) -> None:
    """Print the current branch of a conversation.

    Text is unchanged in files and pipes; on a terminal, control characters are made visible.
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


@chats.command("search", short_help="Search titles and messages.")
@click.argument("words", nargs=-1, required=True)
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Maximum number of matches.")
@as_json_option
@click.pass_obj
def search(program: Program, /, words: tuple[str, ...], *, limit: int, as_json: bool) -> None:
    """Search titles and messages for WORDS, best matches first.

    All words must occur in the same message or title. "Quoted words" must be adjacent; word* matches words that start with it,
    as does the last word. Case and accents are ignored.
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
        click.echo("No matches.", err=True)


@chats.command("rename", short_help="Rename a conversation.")
@click.argument("conversation", type=CONVERSATION)
@click.argument("title")
@click.pass_obj
def rename(program: Program, /, conversation: str, title: str) -> None:
    """Rename a conversation to TITLE. An empty TITLE restores the automatic one."""
    with closing(program.open_store()) as store:
        store.rename(store.resolve(conversation), title, by="person")


@chats.command("pin", short_help="Pin a conversation to the top of the list.")
@click.argument("conversation", type=CONVERSATION)
@click.option("--off", is_flag=True, help="Unpin the conversation.")
@click.pass_obj
def pin(program: Program, /, conversation: str, *, off: bool) -> None:
    """Pin a conversation to the top of the list."""
    with closing(program.open_store()) as store:
        store.pin(store.resolve(conversation), not off)


@chats.command("archive", short_help="Archive a conversation.")
@click.argument("conversation", type=CONVERSATION)
@click.option("--off", is_flag=True, help="Unarchive the conversation.")
@click.pass_obj
def archive(program: Program, /, conversation: str, *, off: bool) -> None:
    """Move a conversation from the list to the archive. Search still finds it."""
    with closing(program.open_store()) as store:
        store.archive(store.resolve(conversation), not off)


@chats.command("tag", short_help="Tag a conversation.")
@click.argument("conversation", type=CONVERSATION)
@click.argument("tags", nargs=-1, required=True)
@click.option("--off", is_flag=True, help="Remove the tags instead.")
@click.pass_obj
def tag(program: Program, /, conversation: str, tags: tuple[str, ...], *, off: bool) -> None:
    """Add TAGS to a conversation. `chats list --tag TAG` lists the conversations with a tag."""
    with closing(program.open_store()) as store:
        (store.untag if off else store.tag)(store.resolve(conversation), *tags)


@chats.command("rm", short_help="Move conversations to the trash, or delete them permanently.")
@click.argument("conversations", nargs=-1, required=True, type=CONVERSATION)
@click.option("--now", is_flag=True, help="Delete permanently; this cannot be undone.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def remove(program: Program, /, conversations: tuple[str, ...], *, now: bool, yes: bool) -> None:
    """Move conversations to the trash. `chats restore` moves them back. `chats delete` is another name for this command.

    With --now they are deleted permanently: no trace of their text remains in the database, its log, the search index or the
    snapshots.
    """
    with closing(program.open_store()) as store:
        ids = [store.resolve(conversation) for conversation in conversations]
        if not now:
            for conversation_id in ids:
                store.trash(conversation_id)
            return
        confirm(f"Delete {counted(len(ids), 'conversation')} permanently?", yes=yes)
        program.forget_snapshots(ids)  # first: if the program is killed in between, nothing deleted is kept
        for conversation_id in ids:
            store.delete(conversation_id)
        report_pending_purge(store)


chats.add_command(remove, "delete")


@chats.command("restore", short_help="Restore conversations from the trash.")
@click.argument("conversations", nargs=-1, required=True, type=TRASHED)
@click.pass_obj
def restore(program: Program, /, conversations: tuple[str, ...]) -> None:
    """Restore conversations from the trash, unchanged."""
    with closing(program.open_store()) as store:
        for conversation_id in [store.resolve(conversation) for conversation in conversations]:
            store.restore(conversation_id)


@chats.command("trash", short_help="List the trash, or empty it.")
@click.option("--empty", is_flag=True, help="Delete everything in the trash permanently.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@as_json_option
@click.pass_obj
def trash(program: Program, /, *, empty: bool, yes: bool, as_json: bool) -> None:
    """List the trash, or empty it. With --json, --empty prints the ids of the deleted conversations."""
    from mistral_chat.cli.chats_format import summary_json, summary_lines

    with closing(program.open_store()) as store:
        summaries = store.summaries(where="trash", limit=-1)
        if empty:
            if summaries:
                confirm(f"Delete {counted(len(summaries), 'conversation')} permanently?", yes=yes)
            gone = store.empty_trash(forget=program.forget_snapshots)
            report_pending_purge(store)
            if as_json:
                print_json(gone)
            return
    if as_json:
        print_json([summary_json(summary) for summary in summaries])
        return
    for line in summary_lines(summaries):
        click.echo(line)
    if not summaries:
        click.echo("The trash is empty.", err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation, unless --yes was given.

    Raises:
        click.UsageError: standard input is not a terminal.
        click.Abort: the answer is no.
    """
    if yes:
        return
    if not interactive():
        raise click.UsageError("Not a terminal: pass --yes to confirm.")
    click.confirm(question, abort=True, err=True)


def interactive() -> bool:
    """Whether standard input is a terminal."""
    return sys.stdin.isatty()


def report_pending_purge(store: ConversationStore) -> None:
    """Report text that could not be erased yet because another program is reading the database."""
    if store.purge_pending():
        click.echo(
            "Deleted. Remaining data is erased when the other mistral-chat closes.",
            err=True,
        )
