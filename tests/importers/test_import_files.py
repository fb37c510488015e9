"""Folders and ZIP archives are imported as they come, within limits, and files without conversations are named."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import sqlite3
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.stores import chat, open_store

from mistral_chat.errors import ImportFailed
from mistral_chat.export.markdown import to_markdown
from mistral_chat.importers import files
from mistral_chat.importers.files import read_import_files
from mistral_chat.importers.report import all_conversations

if TYPE_CHECKING:
    from mistral_chat.importers.report import ImportSource


def chatgpt(name: str) -> list[dict[str, Any]]:
    """A file of ChatGPT's with one conversation."""

    def node(key: str, parent: str | None, role: str, text: str) -> dict[str, Any]:
        message = {"author": {"role": role}, "content": {"content_type": "text", "parts": [text]}}
        return {"id": key, "parent": parent, "message": message}

    nodes = {"q": node("q", None, "user", f"Question {name}"), "a": node("a", "q", "assistant", f"Answer {name}")}
    return [{"title": name, "mapping": nodes, "conversation_id": name}]


EXPORT: dict[str, Any] = {
    "conversations-000.json": chatgpt("one"),
    "conversations-001.json": chatgpt("two"),
    "export_manifest.json": {"version": 1},
    "message_feedback.json": [],
    "shared_conversations.json": [{"id": "x", "title": "one"}],
    "user.json": {"id": "user-x"},
}


def as_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, value in EXPORT.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "chat.html").write_text("<html>")
    (folder / "file-abc.dat").write_bytes(b"\x00\x01")
    return folder


def as_zip(path: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in EXPORT.items():
            archive.writestr(prefix + name, json.dumps(value))
        archive.writestr(prefix + "chat.html", "<html>")
    return path


def titles(sources: list[ImportSource]) -> list[str]:
    return [conversation.title for conversation in all_conversations(sources)]


@pytest.mark.parametrize("how", ["folder", "folder in a folder", "zip", "zip with a folder", "zip without a suffix"])
def test_an_unmodified_chatgpt_export_is_imported(tmp_path: Path, how: str) -> None:
    match how:
        case "folder":
            path = as_folder(tmp_path / "export")
        case "folder in a folder":
            path = as_folder(tmp_path / "outer" / "export").parent
        case "zip":
            path = as_zip(tmp_path / "export.zip")
        case "zip with a folder":
            path = as_zip(tmp_path / "export.zip", "export/")
        case _:
            path = as_zip(tmp_path / "download")
    sources = read_import_files([path])
    assert titles(sources) == ["one", "two"]
    rest = sources[-1].left_out["files without conversations"]
    assert rest.count == 4
    assert {detail.rsplit("/")[-1] for detail in rest.details} == EXPORT.keys() - {
        "conversations-000.json",
        "conversations-001.json",
    }
    store = open_store(None)
    assert len(store.import_conversations(all_conversations(sources)).conversations) == 2
    again = store.import_conversations(all_conversations(read_import_files([path])))
    assert (again.conversations, len(again.already_here)) == ([], 2)
    store.close()


def test_several_files_are_one_import(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "export")
    sources = read_import_files([folder / "conversations-000.json", folder / "conversations-001.json"])
    assert titles(sources) == ["one", "two"]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_damaged_file_among_good_ones_is_named(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        path = as_folder(tmp_path / "export")
        (path / "conversations-002.json").write_text("[{")
    else:
        path = as_zip(tmp_path / "export.zip")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("conversations-002.json", "[{")
    sources = read_import_files([path])
    assert titles(sources) == ["one", "two"]
    (detail,) = sources[-1].left_out["damaged files"].details
    assert detail.startswith("conversations-002.json, line 1, column 3: not valid JSON")


def test_a_folder_without_conversations_is_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text("{}")
    with pytest.raises(ImportFailed, match=r"contains no conversations \(settings.json\)"):
        read_import_files([tmp_path])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ImportFailed, match="contains no conversations"):
        read_import_files([empty])


def test_an_archive_that_is_too_large_unpacked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_ARCHIVE", 3 * 1024**2)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for place in range(3):
            archive.writestr(f"{place}.json", b"[" + b" " * 1024**2 * 2 + b"]")
    with pytest.raises(ImportFailed, match="contains more than"):
        read_import_files([path])


def test_a_file_whose_header_states_a_smaller_size_is_left_out(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "liar.zip")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        stated = archive.getinfo("conversations-000.json").file_size.to_bytes(4, "little")
    for at in range(len(content) - 4):
        if content[at : at + 4] == stated:
            content[at : at + 4] = (5).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    with pytest.raises(ImportFailed, match=r"liar\.zip contains no conversations \(conversations-000\.json cannot be unpacked"):
        read_import_files([path])


def test_a_damaged_file_in_an_archive_is_skipped(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "export.zip")
    content = bytearray(path.read_bytes())
    content[content.index(b"conversations-000.json") + 60] ^= 0xFF
    path.write_bytes(bytes(content))
    sources = read_import_files([path])
    assert titles(sources) == ["two"]
    assert sources[-1].left_out["damaged files"].details[0].startswith("conversations-000.json cannot be unpacked")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_file_in_an_archive_is_named_however_it_is_compressed(tmp_path: Path, compression: int) -> None:
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("bad.json", bytes(1000))
        archive.writestr("good.json", json.dumps(chatgpt("one")))
    content = bytearray(path.read_bytes())
    start = content.index(b"bad.json") + len("bad.json")
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(bytes(content))
    sources = read_import_files([path])
    assert titles(sources) == ["one"]
    (detail,) = sources[-1].left_out["damaged files"].details
    assert detail.startswith("bad.json cannot be unpacked (")


def test_markdown_with_a_hostile_front_matter_ends_no_import(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "export")
    (folder / "deep.md").write_text(f"---\nmistral-chat: 1\ntitle: {'[' * 100_000}\n---\n")
    (folder / "early.md").write_text("---\nmistral-chat: 1\ncreated: 0001-01-01T00:00:00+14:00\n---\n")
    sources = read_import_files([folder])
    assert titles(sources) == ["one", "two"]
    (detail,) = sources[-1].left_out["damaged files"].details
    assert detail == "early.md, the front matter: 'created' must be an ISO 8601 time."


@pytest.mark.parametrize("cut", [4, 30, 200, -30])
def test_a_damaged_archive_is_refused_with_its_name(tmp_path: Path, cut: int) -> None:
    path = as_zip(tmp_path / "cut.zip")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ImportFailed, match=r"cut.zip cannot be unpacked.*Nothing was imported"):
        read_import_files([path])


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "secret.zip")
    content = bytearray(path.read_bytes())
    for header, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(header, at + 1)) >= 0:
            content[at + offset] |= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ImportFailed, match="is encrypted"):
        read_import_files([path])


def test_an_archive_is_not_unpacked_to_disk(tmp_path: Path) -> None:
    path = tmp_path / "only" / "slip.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil.json", json.dumps(chatgpt("evil")))
    assert titles(read_import_files([path])) == ["evil"]
    assert [each.name for each in path.parent.iterdir()] == ["slip.zip"]
    assert not (tmp_path / "evil.json").exists()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_in_any_unicode_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "conversations.json"
    path.write_bytes(json.dumps(chatgpt("größer"), ensure_ascii=False).encode(encoding))
    assert titles(read_import_files([path])) == ["größer"]


def test_markdown_of_another_program_is_left_out_and_named(tmp_path: Path) -> None:
    store = open_store(None)
    conversation, _ = chat(store, ("What?", "That."))
    text = to_markdown(store.export_conversation(conversation))
    store.close()
    (tmp_path / "ours.md").write_bytes(text.encode())
    (tmp_path / "README.md").write_text("# Notes\n")
    sources = read_import_files([tmp_path])
    assert titles(sources) == ["What?"]
    assert sources[-1].left_out["damaged files"].details[0].startswith("README.md, line 1")


def test_an_export_packed_by_gzip_is_read_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "conversations.json.gz"
    path.write_bytes(gzip.compress(json.dumps(chatgpt("one")).encode()))
    assert titles(read_import_files([path])) == ["one"]
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ImportFailed, match=r"conversations\.json\.gz cannot be unpacked"):
        read_import_files([path])
    with contextlib.closing(sqlite3.connect(tmp_path / "logs.db")) as database:
        database.execute("CREATE TABLE logs (model, prompt, system, response)")
    path.write_bytes(gzip.compress((tmp_path / "logs.db").read_bytes()))
    with pytest.raises(ImportFailed, match=r"conversations\.json\.gz is a compressed database\. Unpack it first"):
        read_import_files([path])


def test_everything_in_nested_folders_is_found(tmp_path: Path) -> None:
    deep = tmp_path / "export" / "ChatGPT" / "2024" / "May"
    deep.mkdir(parents=True)
    (tmp_path / "export" / "user.json").write_text("{}")
    (deep / "conversations.json").write_text(json.dumps(chatgpt("deep")))
    as_zip(tmp_path / "export" / "again.zip", "inner/")
    (tmp_path / "export" / "packed.json.gz").write_bytes(gzip.compress(json.dumps(chatgpt("packed")).encode()))
    (tmp_path / "export" / "loop").symlink_to(tmp_path / "export")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "linked.json").write_text(json.dumps(chatgpt("linked")))
    (tmp_path / "export" / "link").symlink_to(elsewhere)
    with contextlib.closing(sqlite3.connect(tmp_path / "export" / "notes.db")) as other:
        other.execute("CREATE TABLE notes (text)")
    sources = read_import_files([tmp_path / "export"])
    assert sorted(titles(sources)) == ["deep", "linked", "one", "packed", "two"]
    assert "notes.db" in sources[-1].left_out["files without conversations"].details


def test_a_damaged_archive_in_a_folder_is_named(tmp_path: Path) -> None:
    folder = as_folder(tmp_path / "export")
    (folder / "more.zip").write_bytes(b"PK\x03\x04" + bytes(30))
    sources = read_import_files([folder])
    assert titles(sources) == ["one", "two"]
    (detail,) = sources[-1].left_out["damaged files"].details
    assert "more.zip cannot be unpacked" in detail


def test_what_macos_adds_to_archives_is_passed_over(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "export.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("__MACOSX/._conversations-000.json", b"\x00\x05\x16\x07")
        archive.writestr("._conversations-001.json", b"\x00\x05\x16\x07")
    assert "damaged files" not in read_import_files([path])[-1].left_out


def test_a_pipe_is_read_and_a_device_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as executor:
        writing = executor.submit(lambda: pipe.write_bytes(json.dumps(chatgpt("piped")).encode()))
        assert titles(read_import_files([pipe])) == ["piped"]
        writing.result()
    with pytest.raises(ImportFailed, match="is not a file"):
        read_import_files([Path("/dev/zero")])
