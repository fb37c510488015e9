"""`mistral-chat chats export`, `import`, `backup` and `repair`: conversations and files."""

from __future__ import annotations

import re
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mistral_chat import system
from mistral_chat.cli.chats_arguments import CONVERSATION, as_json_option, print_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mistral_chat.cli.wiring import Program
    from mistral_chat.export.exported_conversation import ExportedConversation
    from mistral_chat.store.store import ConversationStore


@click.command("export", short_help="Write conversations to a file or to standard output.")
@click.argument("conversations", nargs=-1, type=CONVERSATION)
@click.option("--all", "everything", is_flag=True, help="All of them, the archive included, the trash not.")
@click.option(
    "-f",
    "--format",
    "kind",
    type=click.Choice(["markdown", "json"]),
    help="json keeps everything, branches too; markdown is for reading. By default what --output's name ends with, or json.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A new file; with markdown and several conversations, a folder. Without it, standard output.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def export(
    program: Program, /, conversations: tuple[str, ...], *, everything: bool, kind: str | None, output: Path | None, force: bool
) -> None:
    """Write CONVERSATIONS, or with --all all of them, to a file or to standard output.

    `chats import` reads both formats. Files are made for your eyes alone.
    """
    if everything == bool(conversations):
        raise click.UsageError("Name conversations, or give --all.")
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
    """Yield the conversations one at a time, all of them when none is named. Unknown ids are refused before the first is read."""
    ids = [store.resolve(conversation) for conversation in conversations]
    return (store.export_conversation(conversation_id) for conversation_id in ids) if ids else store.export_conversations()


def _write(pieces: Iterable[str], output: Path | None, *, force: bool) -> None:
    """Write the pieces to a file, which appears whole or not at all, or to standard output.

    Raises:
        UsageError: the file is there already, or may not be written.
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
        raise UsageError(f"{output} already exists. Choose another name, or give --force.")
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
        UsageError: no folder is given, or one of the files is there already.
    """
    from mistral_chat.errors import UsageError
    from mistral_chat.export.markdown import to_markdown
    from mistral_chat.paths import private_folder

    if folder is None or folder.is_file():
        raise UsageError("Several conversations in Markdown need a folder: give --output FOLDER.")
    private_folder(folder)
    for tree in trees:
        _write([to_markdown(tree)], folder / file_name(tree.title, tree.key), force=force)


def file_name(title: str, key: str) -> str:
    """A file's name that tells the title and is safe everywhere: letters, digits and dashes, and part of the id."""
    words = re.sub(r"\W+", "-", title, flags=re.UNICODE).strip("-_")[:50].rstrip("-_")
    return f"{words or 'conversation'}-{key[:8]}.md"


@click.command("import", short_help="Read conversations from files.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would be imported.")
@as_json_option
@click.pass_obj
def import_(program: Program, /, files: tuple[Path, ...], *, dry_run: bool, as_json: bool) -> None:
    """Read conversations from FILES.

    They may be exports of mistral-chat (JSON, Markdown, or a folder of them), ChatGPT's conversations.json, and the stores of
    oterm (store.db) and llm (logs.db).

    All are imported or, when anything is wrong with one of them, none. What is here already is left alone.
    """
    from mistral_chat.store.importing import read_import_files

    trees = read_import_files(files, now=program.now())
    with closing(program.open_store()) as store:
        imported = store.import_conversations(trees, dry_run=dry_run)
    if as_json:
        print_json(
            {
                "conversations": imported.conversations,
                "turns": imported.turns,
                "already_here": imported.already_here,
                "dry_run": dry_run,
            }
        )
        return
    verb = "Would import" if dry_run else "ImportResult"
    click.echo(f"{verb} {len(imported.conversations):,} conversations with {imported.turns:,} turns.")
    if imported.already_here:
        click.echo(f"{len(imported.already_here):,} were here already and were left alone.")


@click.command("backup", short_help="Copy the whole database to a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def backup(program: Program, /, file: Path, *, force: bool) -> None:
    """Copy the whole database to FILE, consistent while mistral-chat runs.

    To go back to it, put it in the database's place (`mistral-chat paths` shows it) while no mistral-chat runs.
    """
    with closing(program.open_store()) as store:
        store.backup(file, replace=force)


@click.command("repair", short_help="Save what can be read from a damaged database.")
@as_json_option
@click.pass_obj
def repair(program: Program, /, *, as_json: bool) -> None:
    """Save what can be read from a damaged database into a new one. The damaged file is kept beside it."""
    from mistral_chat.store.repair import repair as repair_database

    done = repair_database(program.paths.database, now=program.now)
    if as_json:
        print_json(
            {
                "kept": None if done.kept is None else str(done.kept),
                "conversations": done.conversations,
                "turns": done.turns,
                "lost_conversations": done.lost_conversations,
                "lost_turns": done.lost_turns,
            }
        )
        return
    if done.kept is None:
        click.echo("The database is sound. Nothing was done.")
        return
    click.echo(f"Saved {done.conversations:,} conversations with {done.turns:,} turns.")
    if done.lost_turns or done.lost_conversations:
        click.echo(
            f"Lost: {done.lost_turns:,} turns, and the titles and settings of {done.lost_conversations:,} conversations. "
            "There may have been more that left no trace."
        )
    click.echo(f"The damaged file is kept as {done.kept}. It holds what was said; remove it when you no longer need it.")


COMMANDS = (export, import_, backup, repair)
"""The commands of this module."""
