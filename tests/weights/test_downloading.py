"""Downloads against a hub that misbehaves: each ends with the exact file or with a sentence, and keeps what had arrived."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx2
import pytest
from support.hub_server import Fault, HubServer
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes

from mistral_chat.errors import DownloadFailed, NotEnoughDisk, WeightsError, WeightsNotFound
from mistral_chat.weights.catalog import Catalog
from mistral_chat.weights.download import Hub
from mistral_chat.weights.fetch import Fetch
from mistral_chat.weights.keeping import offer_for, pull
from mistral_chat.weights.library import Library
from mistral_chat.weights.part import Part
from mistral_chat.weights.patience import Patience
from mistral_chat.weights.transfer import describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mistral_chat.weights.part import Remote
    from mistral_chat.weights.progress import Progress

SIZE = 3_000_000
KEY = "hf_right"
QUICK = Patience(stall=1.5, connect=2.0, first_wait=0.01, longest_wait=0.05, attempts=4, progress=50_000)


def fetch(library: Library, spec: str = SPEC, patience: Patience = QUICK) -> list[Progress]:
    return list(pull(library, spec, patience=patience))


def failure(library: Library, spec: str = SPEC, patience: Patience = QUICK) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        fetch(library, spec, patience)
    return caught.value


def target(library: Library) -> Path:
    return library.models_dir / REPOSITORY / FILE


def ranges(hub: HubServer) -> list[int]:
    """Where each request for bytes began."""
    return [int(seen.headers.get("range", "bytes=0-")[6:-1]) for seen in hub.requests("GET", "store")]


@pytest.fixture
def content(hub: HubServer) -> bytes:
    whole = gguf_bytes(SIZE)
    hub.add(REPOSITORY, FILE, whole)
    return whole


def test_a_file_arrives_whole_verified_and_read_only(library: Library, hub: HubServer, content: bytes) -> None:
    values = fetch(library)
    assert target(library).read_bytes() == content
    assert (values[-1].stage, values[-1].bytes, values[-1].total) == ("done", SIZE, SIZE)
    weights = library.find(SPEC)
    assert (weights.verified, weights.source, weights.bytes) == (True, "ours", SIZE)
    assert target(library).stat().st_mode & 0o777 == 0o400
    left = {path.name for path in library.models_dir.rglob("*") if path.is_file()}
    assert left <= {FILE, f".{FILE}.lock", "checked.json"}
    assert hub.bytes_sent() == SIZE


def test_what_nobody_foresaw_is_raised_and_never_taken_for_an_end(library: Library, hub: HubServer, content: bytes) -> None:
    """A download that only ended would leave a person without a model and without a word."""
    offer = offer_for(library, SPEC)

    def finished(path: Path, remote: Remote, digest: str) -> None:
        raise ZeroDivisionError

    places = Hub(environ=library.environ, home=library.home, patience=QUICK)
    download = Fetch(
        offer, [library.target(offer)], folder=library.models_dir, hub=places, stop=threading.Event(), finished=finished
    )
    with pytest.raises(ZeroDivisionError):
        list(download.progress())
    assert target(library).read_bytes() == content


def test_every_folder_that_a_first_download_makes_is_the_persons_own(
    hub: HubServer, tmp_path: Path, own_folders: Path, content: bytes
) -> None:
    """Where nothing is saved, no other part of the program has made the data folder before."""
    data = tmp_path / "share" / "mistral-chat"
    library = Library(
        models_dir=data / "models", folders=(), catalog=Catalog.shipped(), environ={"HF_ENDPOINT": hub.endpoint}, home=own_folders
    )
    before = os.umask(0o022)
    try:
        fetch(library)
    finally:
        os.umask(before)
    assert target(library).read_bytes() == content
    made = [data.parent, data, *(path for path in data.rglob("*") if path.is_dir())]
    assert {path: oct(path.stat().st_mode & 0o777) for path in made} == dict.fromkeys(made, oct(0o700))
    shared = [path for path in data.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert not shared, "others can read what was fetched"


def test_what_is_here_is_not_fetched_again(library: Library, hub: HubServer, content: bytes) -> None:
    fetch(library)
    hub.behave()
    assert fetch(library)[-1].stage == "done"
    assert hub.seen == []


def test_twenty_cuts_at_random_places_lose_nothing(library: Library, hub: HubServer, content: bytes) -> None:
    draw = random.Random(5)
    for _ in range(20):
        hub.misbehave(Fault(cut_after=draw.randrange(1, SIZE // 12), times=1))
    fetch(library, patience=Patience(first_wait=0.0, attempts=30))
    assert target(library).read_bytes() == content
    assert hub.bytes_sent() <= SIZE * 1.01
    assert ranges(hub) == sorted(ranges(hub))


def test_a_stalled_connection_is_left_and_taken_up_again(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(stall_after=1_000_000, times=1))
    values = fetch(library, patience=Patience(stall=0.6, first_wait=0.5))
    assert target(library).read_bytes() == content
    assert ranges(hub) == [0, 1_000_000]
    assert any(value.stage == "retrying" and "stopped answering" in value.note for value in values)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again(library: Library, hub: HubServer, content: bytes, status: int) -> None:
    hub.misbehave(Fault(status=status, times=2))
    hub.misbehave(Fault(on="HEAD", status=status, times=2))
    fetch(library)
    assert target(library).read_bytes() == content


def test_a_wait_that_the_hub_asks_for_is_kept(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(status=429, retry_after=1, times=1))
    began = time.monotonic()
    values = fetch(library)
    assert time.monotonic() - began >= 1
    assert any("Trying again in 1 s" in value.note for value in values)


def test_a_wait_that_is_too_long_is_told(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(on="HEAD", status=429, retry_after=3600))
    assert "come back in 60 minutes" in str(failure(library))


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(cut_after=1000), Fault(stall_after=10), Fault(on="HEAD", status=503)])
def test_faults_without_end_end_in_a_sentence(library: Library, hub: HubServer, content: bytes, fault: Fault) -> None:
    hub.misbehave(fault)
    error = failure(library)
    assert "What has arrived is kept" in str(error)
    assert not target(library).exists()


def test_a_server_that_ignores_ranges_and_cuts_does_not_go_on_for_ever(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(ignore_range=True, cut_after=200_000))
    assert isinstance(failure(library), DownloadFailed)
    assert len(ranges(hub)) <= 2 * QUICK.attempts


def test_a_server_that_ignores_ranges_is_read_from_the_start(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(cut_after=1_000_000, times=1))
    hub.misbehave(Fault(ignore_range=True))
    fetch(library)
    assert target(library).read_bytes() == content


def test_spoiled_bytes_never_get_the_files_name(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(flip=2_000_000))
    error = failure(library)
    assert "SHA-256" in str(error)
    assert not target(library).exists()
    assert Part(target(library)).size() == 0
    hub.behave()
    fetch(library)
    assert target(library).read_bytes() == content


@pytest.mark.parametrize(
    "fault", [Fault(shorter=1000), Fault(on="HEAD", claim_size=SIZE + 5), Fault(on="HEAD", claim_size=SIZE - 5)]
)
def test_a_wrong_size_is_an_error(library: Library, hub: HubServer, content: bytes, fault: Fault) -> None:
    hub.misbehave(fault)
    assert "do not agree" in str(failure(library))
    assert not target(library).exists()


@pytest.mark.parametrize("on", ["GET", "HEAD"])
def test_a_log_in_page_is_not_taken_for_weights(library: Library, hub: HubServer, content: bytes, on: str) -> None:
    hub.misbehave(Fault(on=on, web_page=True))
    assert "log in with a browser" in str(failure(library))
    assert not target(library).exists()


def test_a_log_in_page_in_between_leaves_what_had_arrived(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(cut_after=1_000_000, times=1))
    hub.misbehave(Fault(web_page=True, times=1))
    failure(library)
    assert Part(target(library)).size() == 1_000_000
    hub.behave()
    fetch(library)
    assert ranges(hub) == [1_000_000]


def test_a_revision_that_changes_between_two_runs_starts_over(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(cut_after=1_000_000, times=1))
    hub.misbehave(Fault(status=500))
    failure(library)
    assert Part(target(library)).size() == 1_000_000
    hub.behave()
    fresh = gguf_bytes(SIZE + 1000, seed=1)
    hub.add(REPOSITORY, FILE, fresh)
    fetch(library)
    assert target(library).read_bytes() == fresh
    assert ranges(hub) == [0]


def test_a_new_commit_with_the_same_file_goes_on(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(cut_after=1_000_000, times=1))
    hub.misbehave(Fault(status=500))
    failure(library)
    hub.behave()
    hub.add(REPOSITORY, "README.gguf", b"another file")
    fetch(library)
    assert target(library).read_bytes() == content
    assert ranges(hub) == [1_000_000]


def test_a_revision_that_changes_in_mid_download_is_noticed(library: Library, hub: HubServer, content: bytes) -> None:
    """The commit that was asked for is gone and the mirror serves another file under its name."""
    hub.misbehave(Fault(cut_after=1_000_000, rate=1_500_000, times=1))
    fresh = gguf_bytes(SIZE, seed=2)
    values = iter(pull(library, SPEC, patience=QUICK))
    while not hub.requests("GET", "hub"):
        next(values)
    known = hub.repositories[REPOSITORY]
    hub.add(REPOSITORY, FILE, fresh)
    known.commits = dict.fromkeys(known.commits, known.commits[known.main])
    assert list(values)[-1].stage == "done"
    assert target(library).read_bytes() == fresh


def test_a_renamed_repository_is_followed(library: Library, hub: HubServer, content: bytes) -> None:
    hub.renamed["acme/old-GGUF"] = REPOSITORY
    fetch(library, f"hf:acme/old-GGUF/{FILE}")
    assert (library.models_dir / "acme/old-GGUF" / FILE).read_bytes() == content


def test_missing_things_are_told_apart(library: Library, hub: HubServer, content: bytes) -> None:
    assert "no file none.gguf" in str(failure(library, f"hf:{REPOSITORY}/none.gguf"))
    assert "There is no repository acme/none" in str(failure(library, "hf:acme/none/x.gguf"))
    assert "no revision v9" in str(failure(library, f"hf:{REPOSITORY}@v9/{FILE}"))
    assert isinstance(failure(library, "hf:acme/none/x.gguf"), WeightsNotFound)


def with_environ(library: Library, names: Mapping[str, str]) -> Library:
    return Library(
        models_dir=library.models_dir,
        folders=(),
        catalog=library.catalog,
        environ={**library.environ, **names},
        home=library.home,
    )


def test_gated_files_say_what_to_do_and_open_with_a_token(library: Library, hub: HubServer, content: bytes) -> None:
    hub.repositories[REPOSITORY].token, hub.repositories[REPOSITORY].gated = KEY, True
    assert "conditions agreed to" in str(failure(library))
    assert "no access yet" in str(failure(with_environ(library, {"HF_TOKEN": "hf_wrong"})))
    fetch(with_environ(library, {"HF_TOKEN": KEY}))
    assert target(library).read_bytes() == content
    shown = {(seen.origin, seen.headers.get("authorization")) for seen in hub.seen}
    assert ("hub", f"Bearer {KEY}") in shown
    assert all(value is None for origin, value in shown if origin == "store"), "the token went to a second origin"


def test_private_files_are_told_apart_and_open_with_the_token_on_disk(library: Library, hub: HubServer, content: bytes) -> None:
    hub.repositories[REPOSITORY].token = KEY
    assert "or it is private" in str(failure(library))
    token = library.home / "hf" / "token"
    token.parent.mkdir()
    token.write_text(f"{KEY}\n")
    fetch(with_environ(library, {"HF_HOME": str(token.parent)}))
    assert target(library).read_bytes() == content


def test_a_public_file_is_fetched_without_showing_the_token(library: Library, hub: HubServer, content: bytes) -> None:
    fetch(with_environ(library, {"HF_TOKEN": "hf_mine"}))
    assert not [seen for seen in hub.seen if "authorization" in seen.headers]


def test_offline_is_told_at_once(library: Library, hub: HubServer, content: bytes) -> None:
    began = time.monotonic()
    assert "HF_HUB_OFFLINE" in str(failure(with_environ(library, {"HF_HUB_OFFLINE": "1"})))
    assert "cannot be reached" in str(failure(with_environ(library, {"HF_ENDPOINT": "http://127.0.0.1:9"})))
    assert time.monotonic() - began < 5
    assert hub.seen == []


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
        catalog=Catalog.shipped(sources),
        environ={"HF_ENDPOINT": hub.endpoint},
        home=own_folders,
    )
    assert "its SHA-256 is" in str(failure(library, "wrong"))
    assert "its size is 3000000, not 5" in str(failure(library, "small"))
    assert hub.bytes_sent() == 0
    fetch(library, "right")
    assert library.find("right").verified


def test_a_mirror_cannot_choose_where_a_file_goes(library: Library, hub: HubServer, content: bytes, tmp_path: Path) -> None:
    hub.misbehave(Fault(on="HEAD", claim_etag="../../../../evil"))
    assert isinstance(failure(library), DownloadFailed)
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]


def test_a_file_without_a_stated_hash_is_not_called_verified(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(on="HEAD", claim_etag="not-a-hash"))
    hub.misbehave(Fault(claim_etag="not-a-hash"))
    hub.silent_about_hashes = True
    fetch(library)
    assert target(library).read_bytes() == content
    assert library.find(SPEC).verified is None


def test_a_full_disk_is_told_before_the_first_byte(
    library: Library, hub: HubServer, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    almost_full = shutil._ntuple_diskusage(SIZE, 1, SIZE - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: almost_full)
    error = failure(library)
    assert isinstance(error, NotEnoughDisk)
    assert (error.needed, error.free) == (SIZE, SIZE - 1)
    assert hub.bytes_sent() == 0


def test_progress_comes_often_and_a_pause_is_quick(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(rate=1_500_000, times=1))
    stop, moments = threading.Event(), []
    last: Progress | None = None
    for last in pull(library, SPEC, stop=stop, patience=QUICK):
        moments.append(time.monotonic())
        if last.bytes > 1_000_000 and not stop.is_set():
            assert last.speed > 0
            assert last.seconds_left is not None
            stop.set()
    assert last is not None
    assert last.stage == "paused"
    assert max(after - before for before, after in itertools.pairwise(moments)) < 0.5
    kept = Part(target(library)).size()
    assert kept >= 1_000_000
    assert library.partials()[0].bytes == kept
    assert {path.stat().st_mode & 0o077 for path in target(library).parent.iterdir()} == {0}, "others can read it meanwhile"
    hub.behave()
    fetch(library)
    assert ranges(hub) == [kept]


def test_a_pause_wakes_a_stalled_connection(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(stall_after=1_000_000))
    stop = threading.Event()
    for progress in pull(library, SPEC, stop=stop, patience=Patience(stall=30)):
        if progress.bytes >= 1_000_000 and not stop.is_set():
            stop.set()
            asked = time.monotonic()
    assert time.monotonic() - asked < 1
    assert progress.stage == "paused"


def test_leaving_the_progress_pauses_the_download(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(rate=1_000_000))
    values = pull(library, SPEC, patience=QUICK)
    next(values)
    values.close()  # type: ignore[attr-defined]  # what is annotated as an iterator is a generator
    hub.behave()
    fetch(library)
    assert target(library).read_bytes() == content


def test_two_downloads_at_once_fetch_the_file_once(library: Library, hub: HubServer, content: bytes) -> None:
    hub.misbehave(Fault(rate=2_000_000))
    seen: list[list[Progress]] = [[], []]
    threads = [threading.Thread(target=lambda place=place: seen[place].extend(fetch(library))) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [values[-1].stage for values in seen] == ["done", "done"]
    assert ranges(hub) == [0]
    assert "waiting" in {value.stage for values in seen for value in values}
    assert target(library).read_bytes() == content


def test_all_parts_of_a_split_file_are_fetched(library: Library, hub: HubServer) -> None:
    parts = {f"q/tiny-0000{number}-of-00002.gguf": gguf_bytes(500_000 * number, seed=number) for number in (1, 2)}
    for name, part in parts.items():
        hub.add(REPOSITORY, name, part)
    values = fetch(library, f"hf:{REPOSITORY}/q/tiny-00001-of-00002.gguf")
    assert (values[-1].bytes, values[-1].total) == (1_500_000, 1_500_000)
    for name, part in parts.items():
        assert (library.models_dir / REPOSITORY / name).read_bytes() == part


def test_old_remains_are_cleaned_and_fresh_ones_left(library: Library, hub: HubServer, content: bytes) -> None:
    folder = library.models_dir / "other" / "repo"
    folder.mkdir(parents=True)
    old = [folder / "whole.gguf.part", folder / "gone.gguf.part.json"]
    kept = [folder / "begun.gguf.part", folder / "begun.gguf.part.json", folder / "fresh.gguf.part.json", folder / "whole.gguf"]
    for path in (*old, *kept):
        path.write_bytes(b"x")
    for path in (*old, *kept[:2]):
        os.utime(path, (1, 1))
    fetch(library)
    assert [path.exists() for path in old] == [False, False]
    assert all(path.exists() for path in kept)


class Wayward(BaseHTTPRequestHandler):
    """A place that files are fetched from which does not behave as the hub's own does."""

    content = b""
    way = ""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        """Say nothing."""

    def do_GET(self) -> None:
        self.send_response(302 if self.way in {"/round", "ftp://127.0.0.1/x"} else 200)
        if self.way in {"/round", "ftp://127.0.0.1/x"}:
            self.send_header("Location", self.way)
        self.end_headers()
        if self.way in {"without length", "too long"}:
            self.wfile.write(self.content + (b"more" if self.way == "too long" else b""))


@pytest.fixture
def wayward(content: bytes) -> Iterator[tuple[str, type[Wayward]]]:
    handler = type("OneWayward", (Wayward,), {"content": content})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("without length", ""),
        ("too long", "sent more than"),
        ("/round", "without end"),
        ("ftp://127.0.0.1/x", "not safe (ftp://127.0.0.1)"),
    ],
)
def test_a_wayward_place_ends_in_the_file_or_in_a_sentence(
    library: Library, hub: HubServer, wayward: tuple[str, type[Wayward]], way: str, words: str
) -> None:
    hub.store, wayward[1].way = wayward[0], way
    if words:
        assert words in str(failure(library))
        assert not target(library).exists()
    else:
        fetch(library)
        assert target(library).read_bytes() == wayward[1].content


def test_a_proxy_that_does_not_answer_is_named(
    library: Library, hub: HubServer, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    from huggingface_hub import close_session

    close_session()
    try:
        error = failure(with_environ(library, {"HTTP_PROXY": "http://127.0.0.1:9"}))
    finally:
        close_session()
    assert "HTTP_PROXY" in str(error)
    assert hub.seen == []


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://hub.example", "https://", "https://hub example"])
def test_an_endpoint_that_is_no_address_is_named(library: Library, endpoint: str) -> None:
    assert "no address of a hub" in str(failure(with_environ(library, {"HF_ENDPOINT": endpoint})))


def test_faults_of_the_network_are_put_into_words() -> None:
    url = "https://hub.example/x?signature=secret"
    assert describe(httpx2.ProxyError("x"), url) == "The proxy did not connect to hub.example."
    assert describe(httpx2.ConnectError("x"), url) == "hub.example cannot be reached."
    with pytest.raises(DownloadFailed, match="SSL_CERT_FILE"):
        describe(httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] x"), url)
