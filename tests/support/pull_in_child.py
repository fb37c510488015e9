"""Downloads one file as a process of its own, so that a test can kill it: ``pull_in_child.py MODELS_DIR SPEC``.

Prints stage and bytes at each value of progress, and the error at the end. With
``MISTRAL_CHAT_TEST_LARGEST_FILE`` no file may grow beyond so many bytes.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from mistral_chat.errors import MistralChatError
from mistral_chat.models.catalog import Catalog
from mistral_chat.models.library import Library
from mistral_chat.models.operations import download
from mistral_chat.models.retry import RetryPolicy


def main() -> int:
    """Download; the exit code is 0, or 1 after an error."""
    if largest := os.environ.get("MISTRAL_CHAT_TEST_LARGEST_FILE"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest), resource.RLIM_INFINITY))
    folder, spec = Path(sys.argv[1]), sys.argv[2]
    library = Library(models_dir=folder, folders=(), catalog=Catalog.load_bundled(), environ=os.environ, home=Path.home())
    try:
        for progress in download(library, spec, policy=RetryPolicy(stall=60.0, first_wait=0.05, max_wait=0.2)).follow():
            print(progress.stage, progress.bytes, flush=True)  # noqa: T201 (the script's answer)
    except MistralChatError as error:
        print(f"error {type(error).__name__}: {error}", flush=True)  # noqa: T201 (the script's answer)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
