"""Asks the hub: which commit, how many bytes, which SHA-256, and whether one may have it. The only user of huggingface_hub.

The library knows the hub's addresses, headers and errors. It does not move the bytes: since version 2 it does not continue what
an earlier process began, and it does not check what arrived.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import urlsplit

from mistral_chat.errors import DownloadFailed, ModelNotFound
from mistral_chat.models.http_transfer import describe, retry_after
from mistral_chat.models.partial import RemoteFile
from mistral_chat.models.retry import RetryableError, RetryBudget, RetryPolicy
from mistral_chat.models.sources import hub_home

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mistral_chat.models.catalog import CatalogEntry

_SILENT: Final = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_XET": "1",
}
"""What keeps huggingface_hub from calling home, showing tokens and drawing on the terminal; it reads them when it is imported."""

_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})
_ENDPOINT: Final = "https://huggingface.co"
_BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
_REFUSED: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """The hub that the environment leads to."""

    environ: Mapping[str, str]
    home: Path
    """The person's home folder, where a token may lie."""
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def endpoint(self) -> str:
        """The hub's address, from HF_ENDPOINT."""
        return self.environ.get("HF_ENDPOINT", "").rstrip("/") or _ENDPOINT

    @property
    def offline(self) -> bool:
        """Whether HF_HUB_OFFLINE forbids to ask."""
        return self.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE

    @property
    def token(self) -> str | None:
        """The person's token, from HF_TOKEN or where `hf auth login` leaves it; None without one."""
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            if token := self.environ.get(name, "").strip():
                return token
        chosen = self.environ.get("HF_TOKEN_PATH")
        path = hub_home(self.environ, self.home) / "token" if not chosen else self.home.joinpath(chosen)
        try:
            return path.read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def look_up(self, entry: CatalogEntry, budget: RetryBudget, file: str | None = None) -> RemoteFile:
        """Ask for the facts of an offer's file, or of another `file` of its repository.

        The token is shown only after the hub refused to answer without it, so fetching a public model stays anonymous.

        Raises:
            DownloadFailed: the hub cannot be reached, will not say, or says something else than the catalog.
            WeightsNotFound: it has no such repository, revision or file.
            Stopped: a person paused it meanwhile.
        """
        if self.offline:
            raise DownloadFailed(
                f"HF_HUB_OFFLINE forbids to ask {urlsplit(self.endpoint).hostname} for {entry.name}. "
                "Unset it to fetch models; those on this disk are listed by mistral-chat models list."
            )
        if not re.fullmatch(r"https?://[^/?#\s]+[^?#\s]*", self.endpoint):
            raise DownloadFailed(
                f"HF_ENDPOINT is {self.endpoint!r}, which is no address of a hub. Write it as https://HOST, or unset it."
            )
        asked = file or entry.file
        while True:
            try:
                return self._checked(entry, asked, self._ask(entry, asked))
            except RetryableError as again:
                budget.failed(again)

    def _ask(self, entry: CatalogEntry, file: str) -> RemoteFile:
        os.environ.update(_SILENT)
        import httpx2
        from huggingface_hub import errors

        token = None
        try:
            try:
                return self._metadata(entry, file, None)
            except errors.HfHubHTTPError as error:
                token = self.token
                if error.response.status_code not in _REFUSED or token is None:
                    raise
                return self._metadata(entry, file, token)
        except errors.HfHubHTTPError as error:
            self._refused(error, entry, file, with_token=token is not None)
        except errors.HFValidationError as error:
            raise ModelNotFound(f"{entry.repository!r} is no name of a repository on the hub.") from error
        except (httpx2.ReadTimeout, httpx2.RemoteProtocolError) as error:
            raise RetryableError(describe(error, self.endpoint)) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, errors.OfflineModeIsEnabled, ImportError, ValueError) as error:
            raise DownloadFailed(
                f"{describe(error, self.endpoint)} Check the network connection{self._settings_to_check()}. "
                "Models that are on this disk work without it."
            ) from error

    def _metadata(self, entry: CatalogEntry, file: str, token: str | None) -> RemoteFile:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(entry.repository, file, revision=entry.revision, endpoint=self.endpoint)
        found = get_hf_file_metadata(url, token=token or False, timeout=self.policy.connect, endpoint=self.endpoint)
        if not found.etag or found.size is None:
            raise DownloadFailed(
                f"{urlsplit(self.endpoint).hostname} does not answer as the hub does. "
                f"If this network asks for a log-in, log in with a browser and try again{self._settings_to_check()}."
            )
        commit = found.commit_hash or entry.revision
        return RemoteFile(
            repository=entry.repository,
            file=file,
            commit=commit,
            url=hf_hub_url(entry.repository, file, revision=commit, endpoint=self.endpoint),
            bytes=found.size,
            etag=found.etag,
            sha256=found.etag.lower() if re.fullmatch("[0-9a-fA-F]{64}", found.etag) else None,
            token=token,
        )

    def _checked(self, entry: CatalogEntry, file: str, remote: RemoteFile) -> RemoteFile:
        """Hold what the hub says against what the catalog knows."""
        if file != entry.file:
            return remote
        for known, said, what in ((entry.sha256, remote.sha256, "SHA-256"), (entry.bytes, remote.bytes, "size")):
            if known is not None and said is not None and known != said:
                raise DownloadFailed(
                    f"{entry.repository} now holds another {file} than the catalog knows: its {what} is {said}, not {known}. "
                    f"Nothing was fetched. Ask for hf:{entry.repository}/{file} if you want the new one."
                )
        if remote.bytes == 0:
            raise DownloadFailed(f"{file} in {entry.repository} is empty.")
        stated = remote.sha256 or entry.sha256
        return remote if stated == remote.sha256 else replace(remote, sha256=stated)

    def _refused(self, error: Any, entry: CatalogEntry, file: str, *, with_token: bool) -> NoReturn:
        """Say what an answer of the hub means and what to do.

        Raises:
            Again: it may work in a while.
            DownloadFailed: it will not.
            WeightsNotFound: there is no such thing.
        """
        from huggingface_hub import errors

        page, status = f"{self.endpoint}/{entry.repository}", error.response.status_code
        if status in _BUSY:
            host = urlsplit(self.endpoint).hostname
            raise RetryableError(
                f"{host} is busy (HTTP {status}).", retry_after(error.response.headers.get("retry-after", ""))
            ) from error
        if isinstance(error, errors.GatedRepoError):
            step = (
                "The token that is set has no access yet."
                if with_token
                else f"Then make a token at {self.endpoint}/settings/tokens."
            )
            raise DownloadFailed(
                f"{entry.repository} wants its conditions agreed to at {page}. {step} Set it as HF_TOKEN."
            ) from error
        if isinstance(error, errors.RevisionNotFoundError):
            raise ModelNotFound(f"{entry.repository} has no revision {entry.revision}. See {page}.") from error
        if isinstance(error, errors.RemoteEntryNotFoundError):
            raise ModelNotFound(f"{entry.repository} has no file {file}. See {page}/tree/{entry.revision}.") from error
        if isinstance(error, errors.DisabledRepoError):
            raise DownloadFailed(f"The hub has disabled {entry.repository}. See {page}.") from error
        if isinstance(error, errors.RepositoryNotFoundError) or status in _REFUSED:
            key = (
                "The token that is set does not open it"
                if with_token
                else "If it is private, set HF_TOKEN to a token that may read it"
            )
            raise ModelNotFound(
                f"There is no repository {entry.repository} on {self.endpoint}, or it is private. {key}."
            ) from error
        raise DownloadFailed(f"{urlsplit(self.endpoint).hostname} refuses {file} (HTTP {status}).") from error

    def _settings_to_check(self) -> str:
        plain = ("HTTP_PROXY", "http_proxy") if self.endpoint.startswith("http:") else ()
        names = ("HF_ENDPOINT", "HTTPS_PROXY", "https_proxy", *plain, "ALL_PROXY", "all_proxy")
        named = [name for name in names if self.environ.get(name)]
        return f", and {', '.join(named)}" if named else ""
