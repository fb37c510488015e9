"""How fast a download is, hashing and the move to its name included, against a plain curl of the same file.

    python tests/benchmarks/download_speed.py [--megabytes 1000] [--runs 5]

The hub is the tests' own, in a process of its own. Prints both speeds and their ratio, as JSON; exits with 1 below 0.8.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.small_gguf import small_model
from support.tiny_files import FILE, REPOSITORY, SPEC

from mistral_chat.weights.catalog import Catalog
from mistral_chat.weights.keeping import pull
from mistral_chat.weights.library import Library

WANTED = 0.8


def with_curl(endpoint: str, folder: Path) -> float:
    """Seconds that curl takes."""
    began = time.perf_counter()
    url = f"{endpoint}/{REPOSITORY}/resolve/main/{FILE}"
    subprocess.run(["curl", "--silent", "--fail", "--location", "--output", str(folder / "curl.gguf"), url], check=True)  # noqa: S607 (whichever curl there is)
    return time.perf_counter() - began


def with_ours(endpoint: str, folder: Path) -> float:
    """Seconds that `pull` takes until the verified file has its name."""
    models = folder / "models"
    library = Library(models_dir=models, folders=(), catalog=Catalog.shipped(), environ={"HF_ENDPOINT": endpoint}, home=folder)
    began = time.perf_counter()
    stages = [progress.stage for progress in pull(library, SPEC)]
    seconds = time.perf_counter() - began
    if stages[-1] != "done" or not library.find(SPEC).verified:
        raise SystemExit(f"the download ended as {stages[-1]}")
    shutil.rmtree(models)
    return seconds


def main() -> int:
    """Measure in turns, so that both see the same machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = folder / "served.gguf"
        block = random.Random(0).randbytes(1_000_000)
        with served.open("wb") as file:
            file.write(small_model().encoded())
            for _ in range(asked.megabytes):
                file.write(block)
        script = Path(__file__).parents[1] / "support" / "hub_server.py"
        command = [sys.executable, str(script), "--serve", f"{REPOSITORY}:{FILE}={served}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                endpoint = (server.stdout.readline() if server.stdout else "").split()[1]
                times = [(with_curl(endpoint, folder), with_ours(endpoint, folder)) for _ in range(asked.runs + 1)][1:]
            finally:
                server.terminate()
    curl, ours = (asked.megabytes / statistics.median(each) for each in zip(*times, strict=True))
    report = {"curl_megabytes_per_second": round(curl), "ours_megabytes_per_second": round(ours), "ratio": round(ours / curl, 2)}
    print(json.dumps(report))  # noqa: T201 (the script's answer)
    return 0 if ours / curl >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
