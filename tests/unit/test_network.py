"""No code in the program can connect to another machine unless a download was asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.hub_server import HubServer
from support.tiny_files import FILE, REPOSITORY, SPEC, gguf_bytes

FORBIDDEN = "from mistral_chat import network; network.forbid(); import socket, threading, urllib.request\n"
REFUSAL = "uses the network only for downloads"

ATTEMPTS = {
    "connect": "socket.create_connection(('192.0.2.1', 80), timeout=1)",
    "connect over IPv6": "socket.socket(socket.AF_INET6).connect(('2001:db8::1', 80))",
    "send a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
    "send a message": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('192.0.2.1', 53))",
    "ask for an address": "socket.getaddrinfo('example.com', 80)",
    "ask for an address the old way": "socket.gethostbyname('example.com')",
    "ask for a name": "socket.gethostbyaddr('192.0.2.1')",
    "open a page": "urllib.request.urlopen('http://192.0.2.1/')",
    "use a library": "import httpx2; httpx2.get('http://example.com/')",
    "from another thread while a download runs": (
        "done = []\n"
        "def other():\n"
        "    try: socket.create_connection(('192.0.2.1', 80), timeout=1)\n"
        "    except OSError as error: done.append(error)\n"
        "with network.allowed():\n"
        "    thread = threading.Thread(target=other); thread.start(); thread.join()\n"
        "raise done[0]"
    ),
}


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", FORBIDDEN + code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", ATTEMPTS.values(), ids=ATTEMPTS.keys())
def test_every_connection_to_another_machine_is_refused(code: str) -> None:
    done = run(code)
    assert done.returncode == 1
    assert REFUSAL in done.stderr


def test_this_machine_can_be_reached() -> None:
    code = (
        "server = socket.create_server(('127.0.0.1', 0)); port = server.getsockname()[1]\n"
        "socket.create_connection(('localhost', port)); socket.create_connection(('127.0.0.1', port))\n"
        "first, second = socket.socketpair(); first.sendmsg([b'x'])\n"
        "import asyncio; asyncio.run(asyncio.sleep(0)); print('reached')"
    )
    assert run(code).stdout == "reached\n"


def test_a_download_may_connect_to_another_machine() -> None:
    code = (
        "with network.allowed():\n"
        "    try: socket.getaddrinfo('no-such-host.invalid', 80)\n"
        "    except socket.gaierror: print('asked')"
    )
    assert run(code).stdout == "asked\n"


def test_the_program_forbids_the_network_before_anything_else() -> None:
    code = (
        "import sys, click\n"
        "from mistral_chat.cli import main\n"
        "def attempt(): import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)\n"
        "main.cli.get_command = lambda *_: click.Command('paths', callback=attempt)\n"
        "sys.argv = ['mistral-chat', 'paths']; main.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert REFUSAL in done.stderr


def test_a_download_still_works_under_the_guard(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub of this test is called by a name that is not this machine's own, as the real one is."""
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    hub.add(REPOSITORY, FILE, gguf_bytes(500_000))
    code = (
        "import socket\n"
        "real = socket.getaddrinfo\n"
        "socket.getaddrinfo = lambda host, *a, **k: (real('192.0.2.1', *a, **k), real('127.0.0.1', *a, **k))[1]\n"
        "from mistral_chat.cli import main; import sys\n"
        f"sys.argv = ['mistral-chat', 'models', 'pull', {SPEC!r}]; main.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
