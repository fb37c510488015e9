"""`mistral-chat docs` and `chats recall`, as used by users and scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support import documents
from support.effort import cases
from support.embedding_models import HOW, minilm_file, tiny_bert
from support.privileges import without_privileges
from support.stores import Clock, chat

from mistral_chat.cli.main import cli
from mistral_chat.cli.printing import print_json
from mistral_chat.cli.wiring import Program
from mistral_chat.documents.folders import documents_in
from mistral_chat.documents.reader import DocumentReader
from mistral_chat.engine.llama.embedding import EmbeddingModel
from mistral_chat.session.documents import DocumentIndexer

LEASE = (
    "# Lease\n\n## Repairs\n\nThe landlord repairs the roof within two weeks.\n\n## Rent\n\nThe rent is due on the first day.\n"
)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    environ = {"MISTRAL_CHAT_DATA_DIR": str(tmp_path / "data"), "MISTRAL_CHAT_MODELS_DIR": str(tmp_path / "models")}
    return Program(environ=environ, now=Clock())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    (folder / "sub").mkdir(parents=True)
    (folder / "lease.md").write_text(LEASE)
    (folder / "scan.pdf").write_bytes(documents.pdf([[], []]))
    (folder / "book.pdf").write_bytes(documents.pdf([["Herons eat fish."], [], ["Bees need water."]]))
    (folder / "sub" / "bad.docx").write_bytes(b"PK\3\4 nothing")
    (folder / "secret.log").write_text("hidden by the rules")
    (folder / ".gitignore").write_text("*.log\n")
    return folder


def run(program: Program, *arguments: str, **more: Any) -> Result:
    return CliRunner().invoke(cli, arguments, obj=program, **more)


def as_json(program: Program, *arguments: str, code: int = 0) -> Any:
    result = run(program, *arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def words_only(*arguments: str) -> tuple[str, ...]:
    return (*arguments, "--embedding-model", "")


def test_indexing_lets_other_programs_go_first(program: Program, folder: Path, own_priority: list[int]) -> None:
    as_json(program, *words_only("docs", "add", str(folder / "lease.md"), "-C", "home"))
    assert sum(own_priority) > 0


def test_a_folder_is_indexed_and_each_file_that_fails_is_named(program: Program, folder: Path) -> None:
    rows = as_json(program, *words_only("docs", "add", str(folder), "-C", "home"), code=1)
    assert {Path(row["document"]).name: row["status"] for row in rows} == {
        "book.pdf": "indexed",
        "lease.md": "indexed",
        "scan.pdf": "failed",
        "bad.docx": "failed",
    }
    messages = {Path(row["document"]).name: row["message"] for row in rows}
    assert messages["scan.pdf"] == "its pages contain no text; scanned pages are not supported"
    assert messages["book.pdf"] == "page 2 contains no text; scanned pages are not supported"
    assert "ZIP archive" in messages["bad.docx"]
    again = as_json(program, *words_only("docs", "add", str(folder), "-C", "home"), code=1)
    assert sorted(row["status"] for row in again) == ["failed", "failed", "unchanged", "unchanged"]


def test_a_subfolder_that_cannot_be_opened_is_named(program: Program, folder: Path) -> None:
    (folder / "sub" / "bad.docx").unlink()
    (folder / "scan.pdf").unlink()
    (folder / "sub").chmod(0)
    rows = without_privileges(lambda: as_json(program, *words_only("docs", "add", str(folder)), code=1))
    (folder / "sub").chmod(0o700)
    failed = [(row["document"], row["message"]) for row in rows if row["status"] == "failed"]
    assert failed == [(str(folder / "sub"), "this folder cannot be opened")]
    assert {row["status"] for row in as_json(program, *words_only("docs", "update"))} == {"unchanged"}


def test_a_question_finds_the_passage_with_its_page_and_lines(program: Program, folder: Path) -> None:
    run(program, *words_only("docs", "add", str(folder)))
    (found,) = as_json(program, *words_only("docs", "search", "Who repairs the roof?"))
    assert Path(found["document"]).name == "lease.md"
    assert (found["page"], found["lines"], found["headings"]) == (None, [5, 9], ["Lease", "Repairs"])
    assert found["text"].startswith("Lease \u203a Repairs\n\nThe landlord repairs the roof")
    assert found["tokens"] == 28
    (page,) = as_json(program, *words_only("docs", "search", "What do bees need?"))
    assert (page["page"], page["text"]) == (3, "Bees need water.")


def test_an_empty_result_is_reported(program: Program, folder: Path) -> None:
    run(program, *words_only("docs", "add", str(folder)))
    result = run(program, *words_only("docs", "search", "quantum chromodynamics"))
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "Nothing found.\n")
    assert as_json(program, *words_only("docs", "search", "thanks!")) == []


def test_a_search_can_be_limited_to_collections(program: Program, folder: Path) -> None:
    run(program, *words_only("docs", "add", str(folder / "lease.md"), "-C", "home"))
    run(program, *words_only("docs", "add", str(folder / "book.pdf"), "-C", "nature"))
    assert len(as_json(program, *words_only("docs", "search", "roof", "-C", "home"))) == 1
    assert as_json(program, *words_only("docs", "search", "roof", "-C", "nature")) == []
    nowhere = run(program, *words_only("docs", "search", "roof", "-C", "nowhere"))
    assert (nowhere.exit_code, "No collection 'nowhere'" in nowhere.stderr) == (1, True)


def test_documents_are_listed_shown_updated_and_removed(program: Program, folder: Path) -> None:
    run(program, *words_only("docs", "add", str(folder), "-C", "home"))
    (listed,) = as_json(program, "docs", "list")
    assert (listed["collection"], listed["documents"], listed["failed"]) == ("home", 4, 2)
    rows = as_json(program, "docs", "list", "-C", "home")
    assert len([row for row in rows if row["sha256"]]) == 2
    shown = run(program, "docs", "show", "lease.md")
    assert "The landlord repairs the roof" in shown.stdout
    (folder / "lease.md").write_text(LEASE.replace("roof", "chimney"))
    (folder / "book.pdf").unlink()
    updated = as_json(program, *words_only("docs", "update"), code=1)
    assert {Path(row["document"]).name: row["status"] for row in updated if row["status"] != "failed"} == {
        "lease.md": "indexed",
        "book.pdf": "removed",
    }
    assert as_json(program, *words_only("docs", "search", "chimney"))
    assert run(program, "docs", "rm", "lease.md", str(folder / "lease.md"), "--yes").exit_code == 0
    assert as_json(program, *words_only("docs", "search", "chimney")) == []
    assert run(program, "docs", "rm", "-C", "home", "-y").exit_code == 0
    assert as_json(program, "docs", "list") == []


def test_an_update_finds_new_files_of_a_folder_and_keeps_those_of_a_missing_one(program: Program, folder: Path) -> None:
    run(program, *words_only("docs", "add", str(folder), "-C", "home"))
    (folder / "sub" / "new.md").write_text("Owls hunt at night.\n")
    (folder / "new.log").write_text("hidden by the rules\n")
    rows = as_json(program, *words_only("docs", "update"), code=1)
    assert [Path(row["document"]).name for row in rows if row["status"] == "indexed"] == ["new.md"]
    folder.rename(folder.with_name("elsewhere"))
    gone = as_json(program, *words_only("docs", "update"))
    assert {row["status"] for row in gone} == {"missing"}
    assert as_json(program, *words_only("docs", "search", "owls"))
    folder.with_name("elsewhere").rename(folder)
    (folder / "sub" / "new.md").unlink()
    run(program, *words_only("docs", "update"))
    assert as_json(program, *words_only("docs", "search", "owls")) == []


def test_an_update_keeps_the_documents_of_an_unmounted_disk(program: Program, folder: Path) -> None:
    run(program, *words_only("docs", "add", str(folder), "-C", "home"))
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()
    assert {row["status"] for row in as_json(program, *words_only("docs", "update"))} == {"missing"}


def test_an_update_keeps_the_documents_of_a_disk_that_was_mounted_in_the_folder(program: Program, folder: Path) -> None:
    for name in ("mounted/a.md", "mounted/deeper/b.md", "deleted/c.md", "replaced/d.md"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    run(program, *words_only("docs", "add", str(folder), "-C", "home"))
    for name in ("mounted", "deleted", "replaced"):
        (folder / name).rename(folder.with_name(name))
    (folder / "mounted").mkdir()
    (folder / "replaced").write_text("")
    found = {Path(row["document"]).name: row["status"] for row in as_json(program, *words_only("docs", "update"), code=1)}
    assert [found[name] for name in ("a.md", "b.md", "c.md", "d.md")] == ["missing", "missing", "removed", "removed"]


def test_an_update_leaves_the_files_attached_to_conversations(program: Program, folder: Path) -> None:
    with closing(program.open_store()) as store, DocumentReader() as reader:
        DocumentIndexer(store, reader).add_file(folder / "lease.md")
    (folder / "lease.md").unlink()
    assert as_json(program, *words_only("docs", "update")) == []
    assert as_json(program, *words_only("docs", "search", "roof"))


def test_an_update_indexes_an_attached_file_that_a_repair_left_pending(program: Program, folder: Path) -> None:
    with closing(program.open_store()) as store, DocumentReader() as reader:
        for name in ("lease.md", "garden.md"):
            (folder / name).write_text(LEASE)
            DocumentIndexer(store, reader).add_file(folder / name)
        with store.database.write() as connection:
            connection.execute("UPDATE documents SET status = 'pending'")
    (folder / "garden.md").unlink()
    assert [row["status"] for row in as_json(program, *words_only("docs", "update"))] == ["indexed"]
    with closing(program.open_store()) as store:
        assert sorted(each.status for each in store.documents.documents()) == ["indexed", "pending"]


def test_an_update_of_a_collection_without_a_name_updates_no_other(program: Program, folder: Path) -> None:
    run(program, *words_only("docs", "add", str(folder / "lease.md")))
    (folder / "lease.md").unlink()
    assert run(program, *words_only("docs", "update", "-C", "")).exit_code == 1
    assert as_json(program, *words_only("docs", "search", "roof"))


def test_a_path_that_cannot_be_looked_at_does_not_end_an_update(program: Program, folder: Path) -> None:
    run(program, *words_only("docs", "add", str(folder / "lease.md"), "-C", "home"))
    with closing(program.open_store()) as store:
        store.documents.add_document("home", str(folder / ("a" * 300)), kind="text", size=1, mtime=1)
    rows = as_json(program, *words_only("docs", "update"))
    assert sorted(row["status"] for row in rows) == ["missing", "unchanged"]


def test_a_file_is_indexed_once_by_whatever_path(program: Program, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(program, *words_only("docs", "add", str(folder / "lease.md"), "-C", "home"))
    monkeypatch.chdir(folder / "sub")
    (row,) = as_json(program, *words_only("docs", "add", "../lease.md", "-C", "home"))
    assert (row["document"], row["status"]) == (str(folder / "lease.md"), "unchanged")
    assert run(program, "docs", "show", "../lease.md").exit_code == 0


def test_a_name_that_is_not_text_is_refused(program: Program, folder: Path) -> None:
    Path(os.fsdecode(bytes(folder) + b"/\xff.md")).write_text("Owls hunt at night.\n")
    result = run(program, *words_only("docs", "add", str(folder), "-C", "home"))
    assert "its name is not valid text; rename it." in result.stderr
    assert len(as_json(program, "docs", "list", "-C", "home")) == 4
    assert run(program, *words_only("docs", "update", "--json")).exit_code == 1


def test_a_collection_is_looked_up_before_its_removal_is_confirmed(program: Program) -> None:
    result = run(program, "docs", "rm", "-C", "nowhere")
    assert "No collection 'nowhere'" in result.stderr


def test_the_only_document_is_not_removed_by_an_empty_name(program: Program, folder: Path) -> None:
    run(program, *words_only("docs", "add", str(folder / "lease.md")))
    refused = run(program, "docs", "rm", "", "-y")
    assert (refused.exit_code, "No document named ''" in refused.stderr) == (1, True)
    assert as_json(program, *words_only("docs", "search", "roof"))


def test_the_document_to_be_removed_is_named(program: Program, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(program, *words_only("docs", "add", str(folder / "lease.md")))
    (document,) = as_json(program, "docs", "list", "-C", "documents")
    monkeypatch.setattr("mistral_chat.cli.printing.interactive", lambda: True)
    asked = run(program, "docs", "rm", document["document_id"][:6], input="n\n")
    assert f"Remove {folder / 'lease.md'} from the index?" in asked.stderr


def test_docs_remove_says_that_a_document_of_an_added_folder_returns(program: Program, folder: Path) -> None:
    run(program, *words_only("docs", "add", str(folder)))
    run(program, *words_only("docs", "add", str(folder / "lease.md"), "-C", "alone"))
    (alone,) = as_json(program, "docs", "list", "-C", "alone")
    assert not run(program, "docs", "rm", alone["document_id"], "-y").stderr
    assert "docs update` will index again" in run(program, "docs", "rm", "lease.md", "-y").stderr


def test_docs_remove_leaves_no_byte_of_the_collection(program: Program, folder: Path, tmp_path: Path) -> None:
    (folder / "lease.md").write_text("The zygomorphic heron wears a monocle.\n")
    run(program, *words_only("docs", "add", str(folder / "lease.md")))
    assert not run(program, "docs", "rm", "-C", "documents", "-y").stderr
    left = [path.name for path in (tmp_path / "data").rglob("*") if path.is_file() and b"zygomorph" in path.read_bytes()]
    assert not left


def test_docs_update_leaves_no_byte_of_what_was_changed(program: Program, folder: Path, tmp_path: Path) -> None:
    (folder / "lease.md").write_text("The zygomorphic heron wears a monocle.\n")
    run(program, *words_only("docs", "add", str(folder / "lease.md")))
    (folder / "lease.md").write_text("The heron flew away.\n")
    run(program, *words_only("docs", "update"))
    left = [path.name for path in (tmp_path / "data").rglob("*") if path.is_file() and b"zygomorph" in path.read_bytes()]
    assert not left


def test_docs_remove_says_when_a_reader_delays_the_erasing(
    program: Program, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mistral_chat.store.trash._WAL_SECONDS", 0.1)
    run(program, *words_only("docs", "add", str(folder / "lease.md")))
    with closing(program.open_store()) as reader, reader.database.read() as connection:
        connection.execute("SELECT count(*) FROM passages").fetchone()
        assert "Some deleted text has not been erased yet because" in run(program, "docs", "rm", "lease.md", "-y").stderr


def test_a_hostile_file_name_and_text_reach_no_terminal(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "\x1b]0;owned\x07.md"
    path.write_text("Herons \x1b[2J are \u202e birds.")
    shown = run(program, *words_only("docs", "add", str(path))).output
    shown += run(program, *words_only("docs", "search", "herons")).output + run(program, "docs", "list", "-C", "documents").output
    assert "\x1b" not in shown


def test_a_hostile_name_in_a_book_reaches_no_terminal(program: Program, tmp_path: Path) -> None:
    book = {
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="book.opf"/></rootfiles></container>',
        "book.opf": '<package><manifest><item id="c" href="%1B%5D0;owned%07" media-type="html"/></manifest>'
        '<spine><itemref idref="c"/></spine></package>',
    }
    (tmp_path / "book.epub").write_bytes(documents.archive(book))
    result = run(program, *words_only("docs", "add", str(tmp_path / "book.epub")))
    assert "owned" in result.stderr
    assert "\x1b" not in result.stderr


def test_json_on_a_terminal_has_nothing_that_acts_on_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_json(value := {"text": "\x9b2J \u202e"})
    assert json.loads(capsys.readouterr().out) == value
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_json(value)
    assert not {"\x9b", "\u202e"} & set(capsys.readouterr().out)


def test_an_embedding_model_finds_paraphrases(program: Program, tmp_path: Path) -> None:
    model = minilm_file()
    if model is None:
        pytest.skip(HOW)
    (tmp_path / "house.md").write_text("# Roof\n\nWater comes in above the stairs.\n\n# Pets\n\nGrandma keeps bees.\n")
    with_model = ("--embedding-model", str(model))
    run(program, "docs", "add", str(tmp_path / "house.md"), *with_model)
    question = "Which insects does the old lady look after?"
    assert as_json(program, *words_only("docs", "search", question)) == []
    assert as_json(program, "docs", "search", question, *with_model)


def test_a_missing_embedding_model_fails_only_if_it_was_named(program: Program, folder: Path) -> None:
    wrong = run(program, "docs", "search", "roof", "--embedding-model", str(tiny_bert(folder / "a.gguf", pooling=0)))
    assert (wrong.exit_code, "not an embedding model" in wrong.stderr) == (1, True)
    assert run(program, "docs", "search", "roof", "--embedding-model", "no-such-model").exit_code == 1
    added = run(program, "docs", "add", str(folder / "lease.md"))
    assert added.exit_code == 0
    assert "models pull all-minilm-l6-v2" in added.stderr


def test_indexing_resumes_after_kill_9(program: Program, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(300):
        (many / f"{number:03}.md").write_text(f"# File {number}\n\nHeron number {number} stands in the water.\n")
    arguments = [sys.executable, "-m", "mistral_chat", *words_only("docs", "add", str(many), "--json")]
    environ = {**os.environ, **program.environ}
    killed, attempts = 0, cases(6, 20)
    for attempt in range(attempts):
        child = subprocess.Popen(arguments, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.25 + 0.8 * attempt / attempts)  # the moment to kill it at, not a wait for anything
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
    rows = as_json(program, *words_only("docs", "add", str(many)))
    assert {row["status"] for row in rows} <= {"indexed", "unchanged"}
    assert killed
    (collection,) = as_json(program, "docs", "list")
    assert (collection["documents"], collection["passages"], collection["pending"]) == (300, 300, 0)
    assert len(list(documents_in(many))) == 300
    assert as_json(program, *words_only("docs", "search", "Heron number 299"))


# chats recall


def conversation(program: Program) -> str:
    exchanges = [("My sister moved to Lisbon.", "Noted."), ("Grandma keeps bees.", "Nice."), *filler()]
    with closing(program.open_store()) as store:
        return chat(store, *exchanges)[0]


def filler() -> list[tuple[str, str]]:
    return [(f"What about item {number}?", f"Item {number} is fine.") for number in range(30)]


def test_chats_recall_prints_what_would_be_recalled(program: Program) -> None:
    made = conversation(program)
    (found,) = as_json(program, *words_only("chats", "recall", made, "Where did my sister move?"))
    assert set(found) == {"turn_id", "text", "tokens", "score", "created"}
    assert found["text"] == "User: My sister moved to Lisbon.\nAssistant: Noted."
    assert as_json(program, *words_only("chats", "recall", made, "Thank you!", "--tokens", "512")) == []
    every = as_json(program, *words_only("chats", "recall", made[:8], "What about the item again?", "--tokens", "100"))
    assert sum(each["tokens"] for each in every) <= 100
    plain = run(program, *words_only("chats", "recall", made, "Where did my sister move?"))
    assert "Earlier in this conversation" in plain.stdout


def test_chats_recall_ends_although_a_reply_is_continued_while_it_is_embedded(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, embeds, calls = conversation(program), EmbeddingModel.embed_passages, list[int]()

    def interrupted(model: EmbeddingModel, texts: Sequence[str]) -> Any:
        calls.append(len(texts))
        assert len(calls) < 10, "it never ends"
        if len(calls) == 1:
            with closing(program.open_store()) as store:
                store.finish_reply(store.turns(made)[-1].turn_id, "Item 29 is broken.", finish_reason="stop")
        return embeds(model, texts)

    monkeypatch.setattr(EmbeddingModel, "embed_passages", interrupted)
    model = tiny_bert(tmp_path / "a.gguf")
    assert run(program, "chats", "recall", made, "Which item?", "--embedding-model", str(model)).exit_code == 0
    assert calls[:3] == [48, 48, 3], "three texts of each exchange, and those of the new one"


def test_chats_recall_finds_paraphrases_with_an_embedding_model(program: Program) -> None:
    model = minilm_file()
    if model is None:
        pytest.skip(HOW)
    made = conversation(program)
    found = as_json(program, "chats", "recall", made, "Where does my sibling live?", "--embedding-model", str(model))
    assert "Lisbon" in found[0]["text"]
