"""What the hub says of a file: its revision and hash, its new name, who may have it, and that it is not there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psutil
import pytest
from support.hub_downloads import QUICK, SIZE, failure, ranges, run_download, target, with_environ
from support.hub_server import Fault, HubServer
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes

from mistral_chat.errors import DownloadFailed, ModelNotFound
from mistral_chat.models.catalog import Catalog
from mistral_chat.models.library import Library
from mistral_chat.models.operations import download
from mistral_chat.models.partial import PartialFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = "hf_right"


def test_a_revision_that_changes_between_two_runs_starts_over(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(cut_after=1_000_000, times=1))
    hub.misbehave(Fault(status=500))
    failure(library)
    assert PartialFile(target(library)).size() == 1_000_000
    hub.behave()
    fresh = gguf_bytes(SIZE + 1000, seed=1)
    hub.add(REPOSITORY, FILE, fresh)
    run_download(library)
    assert target(library).read_bytes() == fresh
    assert ranges(hub) == [0]


def test_a_new_commit_with_the_same_file_resumes(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(cut_after=1_000_000, times=1))
    hub.misbehave(Fault(status=500))
    failure(library)
    hub.behave()
    hub.add(REPOSITORY, "README.gguf", b"another file")
    run_download(library)
    assert target(library).read_bytes() == content
    assert ranges(hub) == [1_000_000]


def test_a_revision_that_changes_mid_download_is_detected(library: Library, hub: HubServer, content: bytes) -> None:
    """The commit that was asked for is gone and the mirror serves another file under its name."""
    hub.misbehave(Fault(cut_after=1_000_000, rate=1_500_000, times=1))
    fresh = gguf_bytes(SIZE, seed=2)
    values = download(library, SPEC, policy=QUICK).follow()
    while not hub.requests("GET", "hub"):
        next(values)
    known = hub.repositories[REPOSITORY]
    hub.add(REPOSITORY, FILE, fresh)
    known.commits = dict.fromkeys(known.commits, known.commits[known.main])
    assert list(values)[-1].stage == "done"
    assert target(library).read_bytes() == fresh


def test_a_renamed_repository_is_followed(library: Library, hub: HubServer, content: bytes) -> None:
    hub.renamed["acme/old-GGUF"] = REPOSITORY
    run_download(library, f"hf:acme/old-GGUF/{FILE}")
    assert (library.models_dir / "acme/old-GGUF" / FILE).read_bytes() == content


def test_a_missing_file_repository_or_revision_is_named(library: Library, hub: HubServer, content: bytes) -> None:
    assert "no file none.gguf" in str(failure(library, f"hf:{REPOSITORY}/none.gguf"))
    assert "acme/none does not exist" in str(failure(library, "hf:acme/none/x.gguf"))
    assert "no revision v9" in str(failure(library, f"hf:{REPOSITORY}@v9/{FILE}"))
    assert isinstance(failure(library, "hf:acme/none/x.gguf"), ModelNotFound)


def test_gated_files_need_accepted_terms_and_a_token(library: Library, hub: HubServer, content: bytes) -> None:
    hub.repositories[REPOSITORY].token, hub.repositories[REPOSITORY].gated = KEY, True
    assert "accept its terms" in str(failure(library))
    assert "no access yet" in str(failure(with_environ(library, {"HF_TOKEN": "hf_wrong"})))
    run_download(with_environ(library, {"HF_TOKEN": KEY}))
    assert target(library).read_bytes() == content
    shown = {(seen.origin, seen.headers.get("authorization")) for seen in hub.seen}
    assert ("hub", f"Bearer {KEY}") in shown
    assert all(value is None for origin, value in shown if origin == "store"), "the token went to a second origin"


def test_private_files_need_a_token_and_use_the_stored_one(library: Library, hub: HubServer, content: bytes) -> None:
    hub.repositories[REPOSITORY].token = KEY
    assert "or it is private" in str(failure(library))
    token = library.home / "hf" / "token"
    token.parent.mkdir()
    token.write_text(f"{KEY}\n")
    run_download(with_environ(library, {"HF_HOME": str(token.parent)}))
    assert target(library).read_bytes() == content


def test_a_public_file_is_downloaded_without_the_token(library: Library, hub: HubServer, content: bytes) -> None:
    run_download(with_environ(library, {"HF_TOKEN": "hf_mine"}))
    assert not [seen for seen in hub.seen if "authorization" in seen.headers]


def test_the_catalogs_hash_wins_over_the_hubs(hub: HubServer, models_dir: Path, own_folders: Path, content: bytes) -> None:
    from mistral_chat.config import CatalogSource

    sources: Mapping[str, CatalogSource] = {
        "wrong": CatalogSource(repository=REPOSITORY, file=FILE, sha256="0" * 64),
        "small": CatalogSource(repository=REPOSITORY, file=FILE, bytes=5),
        "right": CatalogSource(repository=REPOSITORY, file=FILE, bytes=SIZE),
    }
    library = Library(
        models_dir=models_dir,
        folders=(),
        catalog=Catalog.load_bundled(sources),
        environ={"HF_ENDPOINT": hub.endpoint},
        home=own_folders,
    )
    assert "its SHA-256 is" in str(failure(library, "wrong"))
    assert "its size is 3000000, not 5" in str(failure(library, "small"))
    assert hub.bytes_sent() == 0
    run_download(library, "right")
    assert library.find("right").verified


def test_a_mirror_cannot_choose_the_path_of_a_file(library: Library, hub: HubServer, content: bytes, tmp_path: Path) -> None:
    hub.misbehave(Fault(on="HEAD", claim_etag="../../../../evil"))
    assert isinstance(failure(library), DownloadFailed)
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]


def test_a_file_without_a_stated_hash_is_not_called_verified(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(on="HEAD", claim_etag="not-a-hash"))
    hub.misbehave(Fault(claim_etag="not-a-hash"))
    hub.silent_about_hashes = True
    run_download(library)
    assert target(library).read_bytes() == content
    assert library.find(SPEC).verified is None


@pytest.mark.parametrize(
    ("fault", "spec"),
    [
        (Fault(on="HEAD", web_page=True), SPEC),
        (Fault(on="HEAD", status=403), SPEC),
        (Fault(on="HEAD", status=404), SPEC),
        (Fault(on="HEAD", status=418), SPEC),
        (Fault(on="HEAD", status=503), SPEC),
        (Fault(on="HEAD", status=429, retry_after=3600), SPEC),
        (Fault(web_page=True), SPEC),
        (Fault(status=403), SPEC),
        (Fault(status=503), SPEC),
        (Fault(cut_after=10), SPEC),
        (Fault(flip=100), SPEC),
        (None, "hf:acme/none/x.gguf"),
        (None, f"hf:{REPOSITORY}/none.gguf"),
    ],
    ids=str,
)
def test_hub_errors_are_whole_sentences(library: Library, hub: HubServer, content: bytes, fault: Fault | None, spec: str) -> None:
    """Parts of a sentence that are put together depend on what is set; a list of variables must not end up as a clause."""
    if fault is not None:
        hub.misbehave(fault)
    for names in ({}, {"HTTPS_PROXY": "http://127.0.0.1:9", "ALL_PROXY": ""}):
        text = str(failure(with_environ(library, names), spec))
        assert re.match(r"[A-Za-z0-9]", text), text
        assert text.endswith((".", ".gguf", f"/tree/{'main'}.")), text
        assert not re.search(r"[.,;:] ?[.,;]|, and [A-Z_]+\.|  ", text.replace("...", "")), text


def test_the_reason_for_a_retry_fits_the_progress_line(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(status=429, retry_after=1, times=1))
    notes = {value.note for value in run_download(library) if value.note}
    assert notes
    assert not [note for note in notes if note.endswith((".", ",")) or ".," in note], "it is followed by amounts"


def test_no_connection_to_the_hub_is_left_open(library: Library, hub: HubServer, content: bytes) -> None:
    run_download(library)
    connections = [each.raddr for each in psutil.Process().net_connections("tcp") if each.status != "LISTEN"]
    assert [each for each in connections if hub.endpoint.endswith(f":{each.port}")] == []
