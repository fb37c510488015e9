"""Documents in the chat: attached, named under the reply, opened; and what is recalled of the conversation itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.app_harness import AppHarness, run_loaded, screen_text, send_and_wait, send_message, until
from support.documents import pdf

from mistral_chat.child_process import ChildProcess
from mistral_chat.documents.reader import DocumentReader
from mistral_chat.session.documents import DocumentIndexer
from mistral_chat.session.retriever import Retriever
from mistral_chat.store.store import ConversationStore
from mistral_chat.ui.dialogs.choice import ChoiceDialog
from mistral_chat.ui.dialogs.passage import PassageDialog
from mistral_chat.ui.widgets.turn import SourcesLine

FILLER = "This is filler about nothing. " * 12


def harness_with_documents(folder: Path, *, window: int = 4096) -> AppHarness:
    path = folder / "store.db"
    harness = AppHarness(path=path, window=window)

    def open_retriever(store: ConversationStore) -> Retriever:
        return Retriever(store.new_connection(), lambda: None)

    harness.app_options["open_retriever"] = open_retriever
    harness.app = harness.make_app()
    return harness


def harness_with_an_evicted_fact(folder: Path) -> AppHarness:
    """A conversation whose first exchange, about a sister in Lisbon, is no longer in the context."""
    harness = harness_with_documents(folder, window=512)
    exchanges = [("My sister moved to Lisbon.", "Noted."), *((f"{FILLER} {number}", "I see.") for number in range(20))]
    harness.start_with(*exchanges)
    return harness


@pytest.fixture
def lease(tmp_path: Path) -> AppHarness:
    (tmp_path / "lease.md").write_text(
        "# Repairs\n\nThe landlord repairs the \x1b[31mroof.\n\n# Pets\n\nParrots are forbidden.\n"
    )
    harness = harness_with_documents(tmp_path)
    with DocumentReader() as reader:
        list(DocumentIndexer(harness.store, reader).add([tmp_path / "lease.md"], "home"))
    return harness


async def test_an_attached_collections_passages_are_listed_and_open(lease: AppHarness) -> None:
    async with run_loaded(lease) as pilot:
        await send_message(pilot, lease, "/docs home")
        await until(pilot, lambda: "Attached: home." in screen_text(lease))
        await send_and_wait(pilot, lease, "Who repairs the roof?")
        await until(pilot, lambda: "[1] lease.md, lines 3-7" in screen_text(lease))
        await send_message(pilot, lease, "/sources")
        await until(pilot, lambda: isinstance(lease.app.screen, PassageDialog) and "Parrots are forbidden" in screen_text(lease))
        assert "\x1b" not in screen_text(lease)
        await pilot.press("escape")
        await send_and_wait(pilot, lease, "quantum chromodynamics")
        await until(pilot, lambda: "Nothing found in your documents." in screen_text(lease))
        await send_message(pilot, lease, "/docs home")
        await until(pilot, lambda: "No documents attached." in screen_text(lease))


async def test_the_dialog_lists_collections_and_attaches_one(lease: AppHarness) -> None:
    async with run_loaded(lease) as pilot:
        await send_message(pilot, lease, "/docs")
        await until(pilot, lambda: isinstance(lease.app.screen, ChoiceDialog) and "1 document," in screen_text(lease))
        await pilot.press("enter")
        await until(pilot, lambda: "Attached: home." in screen_text(lease))
        await send_message(pilot, lease, "/docs nowhere")
        await until(pilot, lambda: "No collection 'nowhere'" in screen_text(lease))
        lease.chat.composer.set_draft("")
        lease.store.documents.delete_collection("home")
        await send_message(pilot, lease, "/docs home")
        await until(pilot, lambda: "No documents attached." in screen_text(lease))


async def test_without_documents_the_notice_says_how_to_index_some(tmp_path: Path) -> None:
    harness = harness_with_documents(tmp_path)
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, "/docs")
        await until(pilot, lambda: "mistral-chat docs add" in screen_text(harness))
        harness.chat.composer.set_draft("")  # a command that is refused stays to be corrected
        await send_and_wait(pilot, harness, "Hello there")
        await send_message(pilot, harness, "/sources")
        await until(pilot, lambda: "No earlier exchanges or documents" in screen_text(harness))


async def test_a_recalled_exchange_is_listed_and_can_be_opened(tmp_path: Path) -> None:
    harness = harness_with_an_evicted_fact(tmp_path)
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Which city did my sister move to?")
        await until(pilot, lambda: "recalled 1 earlier exchange" in screen_text(harness))
        await until(pilot, lambda: "[1] Earlier in this conversation" in screen_text(harness))
        await pilot.click(SourcesLine)
        await until(pilot, lambda: "My sister moved to Lisbon." in screen_text(harness))


async def test_the_keyboard_leads_from_a_message_to_what_was_recalled_for_it(tmp_path: Path) -> None:
    harness = harness_with_an_evicted_fact(tmp_path)
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Which city did my sister move to?")
        await until(pilot, lambda: "recalled 1 earlier exchange" in screen_text(harness))
        assert not any(line.focusable for line in harness.app.screen.query(SourcesLine))
        await pilot.press("shift+tab", "tab")
        focused = harness.app.focused
        assert isinstance(focused, SourcesLine)
        assert "recalled 1 earlier exchange" in str(focused.content)
        await pilot.press("enter")
        await until(pilot, lambda: "My sister moved to Lisbon." in screen_text(harness))


async def test_another_embedding_model_is_used_from_the_next_message_on(tmp_path: Path) -> None:
    harness = harness_with_an_evicted_fact(tmp_path)
    opened: list[str] = []

    def open_retriever(store: ConversationStore) -> Retriever:
        return Retriever(store.new_connection(), lambda: opened.append(harness.chat.screen.context.settings.embedding_model))

    harness.app_options["open_retriever"] = open_retriever
    harness.app = harness.make_app()
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Which city did my sister move to?")
        harness.chat.screen.settings_sync.changed("embedding_model", "another")
        await until(pilot, lambda: len(harness.chat.screen.workers) == 0)
        await send_and_wait(pilot, harness, "So which city did my sister move to?")
        assert opened == ["all-minilm-l6-v2", "another"]


async def test_a_reply_is_regenerated_without_what_was_recalled(tmp_path: Path) -> None:
    harness = harness_with_an_evicted_fact(tmp_path)
    async with run_loaded(harness) as pilot:
        await send_and_wait(pilot, harness, "Which city did my sister move to?")
        await until(pilot, lambda: "recalled 1 earlier exchange" in screen_text(harness))
        await send_message(pilot, harness, "/norecall")
        await until(pilot, lambda: "Reply 2 of 2" in screen_text(harness))
        assert "recalled 1 earlier exchange" not in screen_text(harness)
        await send_message(pilot, harness, "/recall off")
        await until(pilot, lambda: "Recall is off in this conversation" in screen_text(harness))
        await send_and_wait(pilot, harness, "And which city did my sister move to?")
        assert not harness.chat.screen.session.turns[-1].turn.passages
        assert harness.store.conversation(harness.conversation_id or "").recall is False


async def test_a_long_file_is_attached_by_passages_and_goes_with_its_conversation(tmp_path: Path) -> None:
    harness = harness_with_documents(tmp_path)
    long = "\n\n".join(f"# Part {number}\n\n{FILLER}" for number in range(90)) + "\n\n# Roof\n\nThe landlord repairs the roof.\n"
    (tmp_path / "lease.md").write_text(long)
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {tmp_path / 'lease.md'}")
        await until(pilot, lambda: "Attached lease.md" in harness.chat.notice and "matching passages" in harness.chat.notice)
        await send_and_wait(pilot, harness, "Who repairs the roof?")
        await until(pilot, lambda: "[1] lease.md, line 363" in screen_text(harness))
        assert "The landlord repairs the roof" in harness.chat.screen.session.turns[-1].turn.passages[0].text
        await send_and_wait(pilot, harness, "Summarise the whole file")
        await until(pilot, lambda: "Passages cannot answer a question about a whole document" in harness.chat.notice)
        await send_message(pilot, harness, f"/attach {tmp_path / 'lease.md'}")
        await until(pilot, lambda: harness.chat.screen.session.attachments)
        await send_message(pilot, harness, "/docs lease.md")
        await until(pilot, lambda: "No documents attached." in harness.chat.notice)
        assert not harness.chat.screen.session.attachments, "what is not searched is not shown as attached"
        harness.store.delete(harness.chat.screen.session.conversation_id or "")
        assert not harness.store.documents.collections()


async def test_a_long_pdf_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    send = ChildProcess.send

    def noted(child: ChildProcess, request: Mapping[str, Any]) -> None:
        asked.append(request)
        send(child, request)

    monkeypatch.setattr(ChildProcess, "send", noted)
    (tmp_path / "lease.pdf").write_bytes(pdf([[FILLER] * 30] * 60))
    harness = harness_with_documents(tmp_path)
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {tmp_path / 'lease.pdf'}")
        await until(pilot, lambda: "matching passages" in harness.chat.notice)
    assert len(asked) == 1


async def test_a_file_that_cannot_be_removed_while_the_database_is_locked_stays_and_says_why(tmp_path: Path) -> None:
    harness = harness_with_documents(tmp_path)
    harness.start_with(("Question", "Answer"))
    (tmp_path / "lease.md").write_text("\n\n".join(f"# Part {number}\n\n{FILLER}" for number in range(90)))
    async with run_loaded(harness) as pilot:
        await send_message(pilot, harness, f"/attach {tmp_path / 'lease.md'}")
        await until(pilot, lambda: "matching passages" in harness.chat.notice)
        harness.chat.shorten_busy_timeout()
        harness.chat.focus_attachments()
        with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await pilot.press("d")
            await until(pilot, lambda: "another program" in harness.chat.notice.lower(), harness.chat.notice)
        assert "▪ lease.md" in screen_text(harness)
