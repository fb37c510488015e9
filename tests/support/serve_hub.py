"""The tests' hub as a process of its own, with one file and, if wanted, one fault.

    python tests/support/serve_hub.py --serve acme/tiny-GGUF:tiny.gguf=tiny.gguf --fault cut_after=1000000 --fault times=1

It prints one line, ``ENDPOINT http://127.0.0.1:PORT``, and serves until it is interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.hub_server import Fault, HubServer


def main() -> None:
    """Serve what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="append", required=True, metavar="OWNER/NAME:FILE=PATH")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fault", action="append", default=[], metavar="FIELD=VALUE", help="fields of one Fault, as JSON")
    arguments = parser.parse_args()
    with HubServer(arguments.port) as hub:
        for served in arguments.serve:
            name, _, path = served.partition("=")
            repository, _, file = name.partition(":")
            hub.add(repository, file, Path(path))
        if arguments.fault:
            fields = dict(item.split("=", 1) for item in arguments.fault)
            hub.misbehave(Fault(**{key: value if key == "on" else json.loads(value) for key, value in fields.items()}))
        print(f"ENDPOINT {hub.endpoint}", flush=True)  # noqa: T201 (the script's one line)
        threading.Event().wait()


if __name__ == "__main__":
    main()
