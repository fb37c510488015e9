"""`mistral-chat chats export`, `import`, `backup` and `repair`."""

from __future__ import annotations

import re
import shlex
import sys
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mistral_chat import system
from mistral_chat.cli.chats_arguments import CONVERSATION, as_json_option, print_json
from mistral_chat.cli.chats_format import source_json, source_lines
from mistral_chat.formatting import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mistral_chat.cli.wiring import Program
    from mistral_chat.export.exported_conversation import ExportedConversation
    from mistral_chat.store.store import ConversationStore


@click.command("export", short_help="Export conversations to a file or standard output.")
@click.argument("conversations", nargs=-1, type=CONVERSATION)
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
@click.option("--force", is_flag=True, help="Replace an existing file.")
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
    from mistral_chat.cli.chats_format import shown
    from mistral_chat.errors import UsageError
    from mistral_chat.paths import output_path, private_opener

    if output is None:
        for piece in pieces:
            sys.stdout.write(shown(piece))
        sys.stdout.flush()
        return
    output = output_path(str(output))
    if output.exists() and not force:
        raise UsageError(f"{output} already exists. Choose another name, or pass --force.")
    part = output.with_name(f"{output.name}.part")
    try:
        with open(part, "w", encoding="utf-8", newline="", opener=private_opener) as file:
            file.writelines(pieces)
        system.replace(part, output)
    except OSError as error:
        raise UsageError(f"{output} cannot be written ({error.strerror}). Nothing was exported.") from error
    finally:
        system.delete(part)


def _write_folder(trees: Iterable[ExportedConversation], folder: Path | None, *, force: bool) -> None:
    """Write each conversation to a Markdown file of its own.

    Raises:
        UsageError: no folder is given, it cannot be created, or one of the files already exists.
    """
    from mistral_chat.errors import UsageError
    from mistral_chat.export.markdown import to_markdown
    from mistral_chat.paths import private_folder

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


@click.command("import", short_help="Import conversations from files.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only report what would be imported.")
@as_json_option
@click.pass_obj
def import_(program: Program, /, files: tuple[Path, ...], *, dry_run: bool, as_json: bool) -> None:
    """Import conversations from FILES.

    Supported are exports of mistral-chat (JSON or Markdown), ChatGPT's export (the ZIP, the unpacked folder, or
    conversations.json), and the databases of oterm (store.db) and llm (logs.db). All such files in a folder are read.

    Damaged ChatGPT conversations are skipped and listed; any other damage cancels the whole import. Conversations that already
    exist are skipped, so an interrupted import can be repeated.
    """
    from mistral_chat.cli.stdin import waiting_told
    from mistral_chat.importers.files import read_import_files
    from mistral_chat.importers.report import all_conversations
    from mistral_chat.text import one_line

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
        click.echo(f"Skipped {counted(len(result.already_here), 'conversation')} already present.")
    if result.missing_collections:
        names = ", ".join(map(one_line, sorted(result.missing_collections)))
        click.echo(
            f"Document collections that do not exist here were not attached: {names}. Create them with: mistral-chat docs add"
        )


@click.command("backup", short_help="Copy the whole database to a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.pass_obj
def backup(program: Program, /, file: Path, *, force: bool) -> None:
    """Copy the database to FILE, even while mistral-chat is running.

    To restore the copy, close mistral-chat and replace the database with it; `mistral-chat paths` shows where it is.
    """
    with closing(program.open_store()) as store:
        store.backup(file, replace=force)


@click.command("repair", short_help="Recover conversations from a damaged database.")
@as_json_option
@click.pass_obj
def repair(program: Program, /, *, as_json: bool) -> None:
    """Copy everything readable from a damaged database into a new one. The damaged file is kept next to it."""
    from mistral_chat.store.repair import repair as repair_database

    result = repair_database(program.paths.database, now=program.now)
    if as_json:
        print_json(
            {
                "kept": None if result.kept is None else str(result.kept),
                "conversations": result.conversations,
                "turns": result.turns,
                "lost_conversations": result.lost_conversations,
                "lost_turns": result.lost_turns,
            }
        )
        return
    if result.kept is None:
        click.echo("The database is not damaged. Nothing was changed.")
        return
    click.echo(f"Saved {counted(result.conversations, 'conversation')} with {counted(result.turns, 'turn')}.")
    if result.lost_turns or result.lost_conversations:
        click.echo(
            f"Lost {counted(result.lost_turns, 'turn')}, and the titles and settings of "
            f"{counted(result.lost_conversations, 'conversation')}. There may be more. "
            f"`sqlite3 {shlex.quote(str(result.kept))} .recover`, with sqlite3 from sqlite.org, may recover more."
        )
    click.echo(
        f"The damaged file is kept as {result.kept}. It still contains your conversations; delete it when you no longer need it."
    )


COMMANDS = (export, import_, backup, repair)
"""The commands of this module."""
