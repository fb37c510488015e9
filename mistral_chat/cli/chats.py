"""`mistral-chat chats`: the stored conversations, from the shell."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mistral_chat import system
from mistral_chat.cli import options
from mistral_chat.cli.chats_format import (
    conversation_json,
    conversation_lines,
    hit_lines,
    recalled_json,
    recalled_lines,
    repair_lines,
    source_json,
    source_lines,
    summary_lines,
    tree_lines,
)
from mistral_chat.cli.printing import confirm, print_json, print_rows, report_pending_purge, shown
from mistral_chat.errors import UsageError
from mistral_chat.formatting import counted
from mistral_chat.paths import output_path, private_folder
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program
    from mistral_chat.export.exported_conversation import ExportedConversation
    from mistral_chat.store.store import ConversationStore

_EMPTY = {
    "active": 'No conversations yet. Start one with `mistral-chat` or `mistral-chat ask "…"`.',
    "archived": "The archive is empty.",
    "trash": "The trash is empty.",
}


@click.group(
    short_help="List, search, export and delete conversations.", context_settings={"help_option_names": ["-h", "--help"]}
)
def chats() -> None:
    """List, search, export and delete conversations.

    CONVERSATION is a conversation's id, or a unique prefix of it.
    """


@chats.command("list", short_help="List conversations, last used first.")
@click.option("--archived", "where", flag_value="archived", help="List archived conversations.")
@click.option("--trash", "where", flag_value="trash", help="List deleted conversations.")
@click.option("--active", "where", flag_value="active", default=True, hidden=True)
@click.option("--tag", default="", help="Only with this tag.")
@click.option("--contains", default="", help="Only titles containing this text.")
@click.option("-n", "--limit", type=click.IntRange(1), help="Maximum number of conversations.")
@options.as_json_option
@click.pass_obj
def list_conversations(program: Program, /, *, as_json: bool, limit: int | None, **asked: Any) -> None:
    """List conversations: pinned ones first, then by last use."""
    with closing(program.open_store()) as store:
        summaries = store.summaries(limit=limit or -1, **asked)
    empty = "No matches." if asked["tag"] or asked["contains"] else _EMPTY[asked["where"]]
    print_rows(summaries, summary_lines(summaries), as_json=as_json, empty=empty)


@chats.command("show", short_help="Print a conversation.")
@options.conversation_argument
@click.option("--tree", is_flag=True, help="Show every branch, one line per turn; * marks the current one.")
@options.as_json_option
@click.pass_obj
def show(program: Program, /, conversation: str, *, tree: bool, as_json: bool) -> None:
    """Print the current branch of a conversation.

    Text is unchanged in files and pipes; on a terminal, control characters are made visible.
    """
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
@options.as_json_option
@click.pass_obj
def search(program: Program, /, words: tuple[str, ...], *, limit: int, as_json: bool) -> None:
    """Search titles and messages for WORDS, best matches first.

    All words must occur in the same message or title. "Quoted words" must be adjacent; word* matches words that start with it,
    as does the last word. Case and accents are ignored.
    """
    with closing(program.open_store()) as store:
        hits = store.search(" ".join(words), limit=limit)
    rows = [{key: value for key, value in asdict(hit).items() if key != "marks"} for hit in hits]
    print_rows(rows, hit_lines(hits), as_json=as_json, empty="No matches.")


@chats.command("rename", short_help="Rename a conversation.")
@options.conversation_argument
@click.argument("title")
@click.pass_obj
def rename(program: Program, /, conversation: str, title: str) -> None:
    """Rename a conversation to TITLE. An empty TITLE restores the automatic one."""
    with closing(program.open_store()) as store:
        store.rename(store.resolve(conversation), title, by="person")


@chats.command("pin", short_help="Pin a conversation to the top of the list.")
@options.conversation_argument
@click.option("--off", is_flag=True, help="Unpin the conversation.")
@click.pass_obj
def pin(program: Program, /, conversation: str, *, off: bool) -> None:
    """Pin a conversation to the top of the list."""
    with closing(program.open_store()) as store:
        store.pin(store.resolve(conversation), not off)


@chats.command("archive", short_help="Archive a conversation.")
@options.conversation_argument
@click.option("--off", is_flag=True, help="Unarchive the conversation.")
@click.pass_obj
def archive(program: Program, /, conversation: str, *, off: bool) -> None:
    """Move a conversation from the list to the archive. Search still finds it."""
    with closing(program.open_store()) as store:
        store.archive(store.resolve(conversation), not off)


@chats.command("tag", short_help="Tag a conversation.")
@options.conversation_argument
@click.argument("tags", nargs=-1, required=True)
@click.option("--off", is_flag=True, help="Remove the tags instead.")
@click.pass_obj
def tag(program: Program, /, conversation: str, tags: tuple[str, ...], *, off: bool) -> None:
    """Add TAGS to a conversation. `chats list --tag TAG` lists the conversations with a tag."""
    with closing(program.open_store()) as store:
        (store.untag if off else store.tag)(store.resolve(conversation), *tags)


@chats.command("rm", short_help="Move conversations to the trash, or delete them permanently.")
@click.argument("conversations", nargs=-1, required=True, shell_complete=options.complete_ids)
@click.option("--now", is_flag=True, help="Delete permanently; this cannot be undone.")
@options.yes_option
@click.pass_obj
def remove(program: Program, /, conversations: tuple[str, ...], *, now: bool, yes: bool) -> None:
    """Move conversations to the trash. `chats restore` moves them back. `chats rm` and `chats delete` are the same command.

    With --now they are deleted permanently: no trace of their text remains in the database, its log, the search index or the
    snapshots.
    """
    with closing(program.open_store()) as store:
        ids = list(dict.fromkeys(map(store.resolve, conversations)))
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
@click.argument("conversations", nargs=-1, required=True, shell_complete=options.complete_trashed_ids)
@click.pass_obj
def restore(program: Program, /, conversations: tuple[str, ...]) -> None:
    """Restore conversations from the trash, unchanged."""
    with closing(program.open_store()) as store:
        for conversation_id in [store.resolve(conversation) for conversation in conversations]:
            store.restore(conversation_id)


@chats.command("trash", short_help="List the trash, or empty it.")
@click.option("--empty", is_flag=True, help="Delete everything in the trash permanently.")
@options.yes_option
@options.as_json_option
@click.pass_obj
def trash(program: Program, /, *, empty: bool, yes: bool, as_json: bool) -> None:
    """List the trash, or empty it. With --json, --empty prints the ids of the deleted conversations."""
    with closing(program.open_store()) as store:
        summaries = store.summaries(where="trash", limit=-1)
        if empty:
            if summaries:
                confirm(f"Delete {counted(len(summaries), 'conversation')} permanently?", yes=yes)
            gone = store.empty_trash(forget=program.forget_snapshots)
            report_pending_purge(store)
            if as_json:
                print_json(gone)
            elif not summaries:
                click.echo(_EMPTY["trash"], err=True)
            return
    print_rows(summaries, summary_lines(summaries), as_json=as_json, empty=_EMPTY["trash"])


@chats.command("export", short_help="Export conversations to a file or standard output.")
@click.argument("conversations", nargs=-1, shell_complete=options.complete_ids)
@click.option("--all", "everything", is_flag=True, help="Export all conversations, including the archive but not the trash.")
@click.option(
    "-f",
    "--format",
    "kind",
    type=click.Choice(["markdown", "json"]),
    help="json keeps everything, including branches; markdown is for reading. Default: the suffix of --output, or json.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Output file, or a folder for several Markdown conversations. Default: standard output.",
)
@options.force_option
@click.pass_obj
def export(
    program: Program, /, conversations: tuple[str, ...], *, everything: bool, kind: str | None, output: Path | None, force: bool
) -> None:
    """Export CONVERSATIONS, or all of them with --all, to a file or standard output.

    `chats import` reads both formats. Files are created readable only by you.
    """
    if everything == bool(conversations):
        raise click.UsageError("Pass conversation ids, or --all.")
    kind = kind or ("markdown" if output is not None and output.suffix == ".md" else "json")
    with closing(program.open_store()) as store:
        trees = _chosen(store, conversations)
        if kind == "json":
            from mistral_chat.export.json_file import json_lines

            _write(json_lines(trees, exported=program.now()), output, force=force)
        elif len(conversations) == 1 and not (output is not None and output.is_dir()):
            from mistral_chat.export.markdown import to_markdown

            _write(map(to_markdown, trees), output, force=force)
        else:
            _write_folder(trees, output, force=force)


def _chosen(store: ConversationStore, conversations: tuple[str, ...]) -> Iterator[ExportedConversation]:
    """Yield the conversations one by one, all of them if none is named. Unknown ids are refused before the first is read."""
    ids = [store.resolve(conversation) for conversation in conversations]
    return (store.export_conversation(conversation_id) for conversation_id in ids) if ids else store.export_conversations()


def _write(pieces: Iterable[str], output: Path | None, *, force: bool) -> None:
    """Write the pieces to a file, complete or not at all, or to standard output.

    Raises:
        UsageError: the file already exists or cannot be written.
    """
    if output is None:
        sys.stdout.writelines(map(shown, pieces))
        sys.stdout.flush()
        return
    output = output_path(str(output))
    if output.exists() and not force:
        raise UsageError(f"{output} already exists. Choose another name, or pass --force.")
    import secrets  # loads OpenSSL

    part = output.with_name(f".{secrets.token_hex(8)}")
    try:
        with os.fdopen(system.create_private(part), "w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
        system.replace(part, output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written ({error.strerror}). Nothing was exported.") from error
    finally:
        with suppress(OSError):
            system.delete(part)


def _write_folder(trees: Iterable[ExportedConversation], folder: Path | None, *, force: bool) -> None:
    """Write each conversation to a Markdown file of its own.

    Raises:
        UsageError: no folder is given, it cannot be created, or one of the files already exists.
    """
    from mistral_chat.export.markdown import to_markdown

    if folder is None or folder.is_file():
        raise UsageError("Several Markdown conversations need a folder: pass --output FOLDER.")
    try:
        private_folder(folder)
    except OSError as error:
        raise UsageError(f"{folder} cannot be created ({error.strerror}). Nothing was exported.") from error
    for tree in trees:
        _write([to_markdown(tree)], folder / file_name(tree.title, tree.key), force=force)


def file_name(title: str, key: str) -> str:
    """Make a file name of the title and part of the id: letters, digits and dashes, valid on every system."""
    words = re.sub(r"\W+", "-", title, flags=re.UNICODE).strip("-_")[:50].rstrip("-_")
    return f"{words or 'conversation'}-{key[:8]}.md"


@chats.command("import", short_help="Import conversations from files.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only report what would be imported.")
@options.as_json_option
@click.pass_obj
def import_(program: Program, /, files: tuple[Path, ...], *, dry_run: bool, as_json: bool) -> None:
    """Import conversations from FILES.

    Supported are exports of mistral-chat (JSON or Markdown), ChatGPT's export (the ZIP, the unpacked folder, or
    conversations.json), and the databases of oterm (store.db) and llm (logs.db). All such files in a folder are read.

    Damaged conversations of ChatGPT and llm, and damaged files in a folder or archive, are skipped and listed; other damage
    cancels the whole import. Conversations that already exist are skipped, so an interrupted import can be repeated.
    """
    from mistral_chat.cli.stdin import waiting_told
    from mistral_chat.importers.files import read_import_files
    from mistral_chat.importers.report import all_conversations

    pipes = [one_line(str(file)) for file in files if file.is_fifo()]
    with waiting_told(f"waiting for {', '.join(pipes)} to end") if pipes else nullcontext():
        sources = read_import_files(files)
    with closing(program.open_store()) as store:
        result = store.import_conversations(all_conversations(sources), dry_run=dry_run)
    if as_json:
        print_json(
            {
                "conversations": result.conversations,
                "turns": result.turns,
                "already_here": result.already_here,
                "missing_collections": sorted(result.missing_collections),
                "dry_run": dry_run,
                "sources": [source_json(source) for source in sources],
            }
        )
        return
    for line in source_lines(sources):
        click.echo(line)
    verb = "Would import" if dry_run else "Imported"
    click.echo(f"{verb} {counted(len(result.conversations), 'conversation')} with {counted(result.turns, 'turn')}.")
    if result.already_here:
        click.echo(f"Skipped {counted(len(result.already_here), 'conversation')} already present, perhaps in the trash.")
    if result.missing_collections:
        names = ", ".join(map(one_line, sorted(result.missing_collections)))
        click.echo(
            f"Document collections that do not exist here were not attached: {names}. Create them with: mistral-chat docs add"
        )


@chats.command("backup", short_help="Copy the whole database to a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@options.force_option
@click.pass_obj
def backup(program: Program, /, file: Path, *, force: bool) -> None:
    """Copy the database to FILE, even while mistral-chat is running.

    To restore the copy, close mistral-chat, delete conversations.db-wal and conversations.db-shm if they exist, and replace
    conversations.db with the copy. `mistral-chat paths` shows where they are.
    """
    with closing(program.open_store()) as store:
        store.backup(file, replace=force)


@chats.command("repair", short_help="Recover conversations from a damaged database.")
@options.as_json_option
@click.pass_obj
def repair(program: Program, /, *, as_json: bool) -> None:
    """Copy everything readable from a damaged database into a new one. The damaged file is kept next to it."""
    from mistral_chat.store.repair import repair as repair_database

    result = repair_database(program.paths.database, now=program.now)
    if as_json:
        print_json(result)
        return
    for line in repair_lines(result):
        click.echo(line)


@chats.command("recall", short_help="Show what would be recalled for a message.")
@options.conversation_argument
@click.argument("query")
@click.option(
    "--tokens",
    type=click.IntRange(1),
    metavar="N",
    help="Show as many exchanges as fit in this many tokens. Default: what the chat would recall.",
)
@options.embedding_option
@options.as_json_option
@click.pass_obj
def recall(program: Program, /, conversation: str, query: str, *, tokens: int | None, as_json: bool) -> None:
    """Show the exchanges that would be recalled for QUERY if the whole conversation had left the context.

    Exchanges on other branches and excluded ones are never recalled. No chat model is loaded.
    """
    from mistral_chat.cli.terminal import Progress
    from mistral_chat.session.recall import BUDGET, MOST_EXCHANGES, ConversationRecall
    from mistral_chat.session.relevance import Relevance

    with closing(program.open_store()) as store, program.embedding_model() as embedder:
        conversation_id = store.resolve(conversation)
        with closing(ConversationRecall(store, conversation_id, Relevance(embedder))) as recalling:
            progress = Progress(sys.stderr)
            while left := recalling.add_vectors(turns := store.turns(conversation_id), most=64):
                progress.show(f"embedding {left:,} exchanges")
            progress.clear()
            most = None if tokens else MOST_EXCHANGES
            found = recalling.find(query, turns, budget=tokens or BUDGET, most=most)
    created = {turn.turn_id: turn.created for turn in turns}
    rows = [recalled_json(each, created[each.key]) for each in found]
    print_rows(rows, recalled_lines(found), as_json=as_json, empty="Nothing would be recalled.")
