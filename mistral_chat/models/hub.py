"""Asks the hub about a file: its commit, size and SHA-256, and whether the user has access.

The only user of huggingface_hub. The library knows the hub's addresses, headers and errors. It does not transfer the content:
since version 2 it neither resumes what an earlier process started nor verifies what was downloaded.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

import httpx2

from mistral_chat import network
from mistral_chat.errors import DownloadFailed, ModelNotFound
from mistral_chat.models.http_transfer import BUSY, describe, retry_after
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
"""Prevents huggingface_hub from sending telemetry and tokens and from printing to the terminal. It reads these when imported.
"""

_TRUE: Final = frozenset({"1", "ON", "YES", "TRUE"})
_ENDPOINT: Final = "https://huggingface.co"
_FORBIDDEN: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """The hub that the environment configures."""

    environ: Mapping[str, str]
    home: Path
    """The user's home folder, which may contain a token."""
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def endpoint(self) -> str:
        """The hub's address, from HF_ENDPOINT."""
        return self.environ.get("HF_ENDPOINT", "").rstrip("/") or _ENDPOINT

    @property
    def host(self) -> str:
        """The host of the hub's address, or all of an invalid one."""
        try:
            return httpx2.URL(self.endpoint).host or self.endpoint
        except httpx2.InvalidURL:
            return self.endpoint

    @property
    def offline(self) -> bool:
        """Whether HF_HUB_OFFLINE forbids requests."""
        return self.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE

    @property
    def token(self) -> str | None:
        """The user's token, from HF_TOKEN or from where `hf auth login` stores it; None without one."""
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            if token := self.environ.get(name, "").strip():
                return token
        chosen = self.environ.get("HF_TOKEN_PATH")
        path = hub_home(self.environ, self.home) / "token" if not chosen else self.home.joinpath(chosen)
        try:
            return path.read_text("utf-8").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    def look_up(self, entry: CatalogEntry, budget: RetryBudget, file: str) -> RemoteFile:
        """Ask about the `file` of `entry`, or another part of it.

        The token is sent only after the hub refused to answer without it, so that public models are downloaded anonymously.

        Raises:
            DownloadFailed: the hub cannot be reached, refuses, or contradicts the catalog.
            ModelNotFound: it has no such repository, revision or file.
            DownloadPaused: the user paused the download during a wait.
        """
        if self.offline:
            raise DownloadFailed(
                f"HF_HUB_OFFLINE is set, so {self.host} was not asked for {entry.name}. "
                "Unset it to download models. Installed models: mistral-chat models list."
            )
        if self.host == self.endpoint or not re.fullmatch(r"https?://[^?#\s]+", self.endpoint):
            raise DownloadFailed(f"HF_ENDPOINT is not a valid address: {self.endpoint!r}. Write https://HOST, or unset it.")
        while True:
            try:
                return self._checked(entry, file, self._ask(entry, file))
            except RetryableError as error:
                budget.spend(error)

    def _ask(self, entry: CatalogEntry, file: str) -> RemoteFile:
        os.environ.update(_SILENT)
        from huggingface_hub import errors

        token = None
        try:
            try:
                return self._metadata(entry, file, None)
            except errors.HfHubHTTPError as error:
                token = self.token
                if error.response.status_code not in _FORBIDDEN or token is None:
                    raise
                return self._metadata(entry, file, token)
        except errors.HfHubHTTPError as error:
            self._raise_refusal(error, entry, file, with_token=token is not None)
        except errors.HFValidationError as error:
            raise ModelNotFound(f"{entry.repository!r} is not a valid repository name. Write OWNER/NAME.") from error
        except (httpx2.ReadTimeout, httpx2.RemoteProtocolError) as error:
            raise RetryableError(describe(error, self.endpoint)) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, errors.OfflineModeIsEnabled, ImportError, ValueError) as error:
            raise DownloadFailed(
                f"{describe(error, self.endpoint)}. Check the network connection{self._settings_to_check()}. "
                "Installed models work without it."
            ) from error

    def _metadata(self, entry: CatalogEntry, file: str, token: str | None) -> RemoteFile:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(entry.repository, file, revision=entry.revision, endpoint=self.endpoint)
        with network.allowed():
            found = get_hf_file_metadata(
                url,
                token=token or False,
                timeout=self.policy.connect,
                headers={"Connection": "close"},  # the library's client, which lives as long as the program, would keep it
                endpoint=self.endpoint,
            )
        if not found.etag or found.size is None:
            raise DownloadFailed(
                f"{self.host} did not answer like the hub. If this network has a login page, log in with a browser and try "
                f"again; otherwise check the network connection{self._settings_to_check()}."
            )
        commit = found.commit_hash or entry.revision
        return RemoteFile(
            name=entry.name,
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
        """Compare the hub's answer with the catalog."""
        if file != entry.file:
            return remote
        for known, stated, what in ((entry.sha256, remote.sha256, "SHA-256"), (entry.bytes, remote.bytes, "size")):
            if known is not None and stated is not None and known != stated:
                raise DownloadFailed(
                    f"{file} in {entry.repository} is not the file in the catalog: its {what} is {stated}, not {known}. "
                    f"Nothing was downloaded. To download the new file, use hf:{entry.repository}/{file}."
                )
        if remote.bytes == 0:
            raise DownloadFailed(f"{file} in {entry.repository} is empty.")
        return remote if remote.sha256 else replace(remote, sha256=entry.sha256)

    def _raise_refusal(self, error: Any, entry: CatalogEntry, file: str, *, with_token: bool) -> NoReturn:
        """Explain an error response of the hub.

        Raises:
            RetryableError: the hub is busy.
            DownloadFailed: the user may not have the file, or not now.
            ModelNotFound: there is no such repository, revision or file.
        """
        from huggingface_hub import errors

        page, status = f"{self.endpoint}/{entry.repository}", error.response.status_code
        if status in BUSY:
            wait = retry_after(error.response.headers.get("retry-after", ""))
            raise RetryableError(f"{self.host} is busy (HTTP {status})", wait) from error
        if isinstance(error, errors.GatedRepoError):
            step = (
                "The token in HF_TOKEN has no access yet."
                if with_token
                else f"Then create a token at {self.endpoint}/settings/tokens and set it as HF_TOKEN."
            )
            raise DownloadFailed(f"{entry.repository} asks you to accept its terms at {page}. {step}") from error
        if isinstance(error, errors.RevisionNotFoundError):
            raise ModelNotFound(f"{entry.repository} has no revision {entry.revision}. See {page}.") from error
        if isinstance(error, errors.RemoteEntryNotFoundError):
            raise ModelNotFound(f"{entry.repository} has no file {file}. See {page}/tree/{entry.revision}.") from error
        if isinstance(error, errors.DisabledRepoError):
            raise DownloadFailed(f"The hub has disabled {entry.repository}. See {page}.") from error
        if isinstance(error, errors.RepositoryNotFoundError) or status in _FORBIDDEN:
            step = (
                "The token in HF_TOKEN gives no access to it."
                if with_token
                else "If it is private, set HF_TOKEN to a token that may read it."
            )
            raise ModelNotFound(f"{entry.repository} does not exist on {self.host}, or it is private. {step}") from error
        raise DownloadFailed(f"{self.host} refused {file} (HTTP {status}).") from error

    def _settings_to_check(self) -> str:
        """The variables that change how the hub is reached, as the end of a sentence that says to check something."""
        plain = ("HTTP_PROXY", "http_proxy") if self.endpoint.startswith("http:") else ()
        names = ("HF_ENDPOINT", "HTTPS_PROXY", "https_proxy", *plain, "ALL_PROXY", "all_proxy")
        found = [name for name in names if self.environ.get(name)]
        return f" and the value of {', '.join(found)}" if found else ""
