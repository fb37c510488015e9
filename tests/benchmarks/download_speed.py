"""How fast a download is, hashing and the move to its name included, against a plain curl of the same file.

    python tests/benchmarks/download_speed.py [--megabytes 1000] [--runs 7]

The hub is the tests' own, in a process of its own; what it serves is in the page cache, and both write to the same disk.
They run in turns, so that both see the same machine, each as often first as second, and each file is removed before the other
begins, so that neither waits for what the other left to write. Prints, as JSON, the medians of both speeds, of the ratios of the
pairs, and of the processor's seconds that each took; exits with 1 if the ratio is below 0.5.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.small_gguf import small_model
from support.tiny_files import FILE, REPOSITORY, SPEC

from mistral_chat.models.catalog import Catalog
from mistral_chat.models.library import Library
from mistral_chat.models.operations import download

if TYPE_CHECKING:
    from collections.abc import Callable

WANTED = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """One download."""

    seconds: float
    processor: float
    """Seconds that its threads ran, in the program and in the system."""


def with_curl(endpoint: str, folder: Path) -> Run:
    """What curl takes."""
    target = folder / "curl.gguf"
    url = f"{endpoint}/{REPOSITORY}/resolve/main/{FILE}"
    command = ["curl", "--silent", "--fail", "--location", "--output", str(target), url]
    run = timed(lambda: subprocess.run(command, check=True), resource.RUSAGE_CHILDREN)
    target.unlink()
    return run


def with_ours(endpoint: str, folder: Path) -> Run:
    """What `pull` takes until the verified file has its name."""
    models = folder / "models"
    library = Library(
        models_dir=models, folders=(), catalog=Catalog.load_bundled(), environ={"HF_ENDPOINT": endpoint}, home=folder
    )
    stages: list[str] = []
    run = timed(lambda: stages.extend(progress.stage for progress in download(library, SPEC).follow()), resource.RUSAGE_SELF)
    if stages[-1] != "done" or not library.find(SPEC).verified:
        raise SystemExit(f"the download ended as {stages[-1]}")
    shutil.rmtree(models)
    return run


def timed(work: Callable[[], object], whose: int) -> Run:
    """What `work` takes, in this process or in the one that it starts."""
    used = processor(whose)
    began = time.perf_counter()
    work()
    return Run(time.perf_counter() - began, processor(whose) - used)


def processor(whose: int) -> float:
    """Seconds that the processor has worked for this process, or for those that it started and that ended."""
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


def pairs(endpoint: str, folder: Path, runs: int) -> list[tuple[Run, Run]]:
    """Downloads with curl and with this program; the first pair, which loads libraries, is left out."""
    measured = []
    for turn in range(runs + 1):
        if turn % 2:
            ours = with_ours(endpoint, folder)
            measured.append((with_curl(endpoint, folder), ours))
        else:
            measured.append((with_curl(endpoint, folder), with_ours(endpoint, folder)))
    return measured[1:]


def report(measured: list[tuple[Run, Run]], megabytes: int) -> dict[str, Any]:
    """The medians."""
    curl, ours = zip(*measured, strict=True)
    ratios = sorted(round(one.seconds / other.seconds, 2) for one, other in measured)
    return {
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "curl_megabytes_per_second": round(megabytes / statistics.median(run.seconds for run in curl)),
        "ours_megabytes_per_second": round(megabytes / statistics.median(run.seconds for run in ours)),
        "curl_processor_seconds": round(statistics.median(run.processor for run in curl), 2),
        "ours_processor_seconds": round(statistics.median(run.processor for run in ours), 2),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> int:
    """Measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = folder / "served.gguf"
        block = random.Random(0).randbytes(1_000_000)
        with served.open("wb") as file:
            file.write(small_model().encoded())
            for _ in range(asked.megabytes):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        script = Path(__file__).parents[1] / "support" / "serve_hub.py"
        command = [sys.executable, str(script), "--serve", f"{REPOSITORY}:{FILE}={served}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                endpoint = (server.stdout.readline() if server.stdout else "").split()[1]
                found = report(pairs(endpoint, folder, asked.runs), asked.megabytes)
            finally:
                server.terminate()
    print(json.dumps(found))  # noqa: T201 (the script's answer)
    return 0 if found["ratio"] >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
