"""A local server for programs that have no model of their own: it speaks as OpenAI's and as Ollama's do, at a steady speed."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.paced_program import answer

MODEL = "local"
RATE = 50
"""Tokens in a second."""

_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "7B",
    "quantization_level": "Q4_K_M",
}
_SHOWN = {
    "details": _DETAILS,
    "model_info": {"general.architecture": "llama", "llama.context_length": 4096},
    "capabilities": ["completion"],
    **dict.fromkeys(("modelfile", "parameters", "template", "license"), ""),
    "modified_at": "2026-01-01T00:00:00Z",
}
_LISTED = {"name": MODEL, "model": MODEL, "modified_at": "2026-01-01T00:00:00Z", "size": 4_372_812_000, "digest": "0" * 64}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/v1/models"):
            self._send({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "me"}]})
        elif self.path.startswith("/api/tags"):
            self._send({"models": [{**_LISTED, "details": _DETAILS}]})
        elif self.path.startswith("/api/version"):
            self._send({"version": "0.12.0"})
        else:
            self._send({"models": []})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path.startswith("/api/show"):
            self._send(_SHOWN)
        elif self.path.startswith("/api/chat"):
            self._stream("application/x-ndjson", _ollama_lines(_asked(body)))
        else:
            self._stream("text/event-stream", _openai_lines(_asked(body)))

    def _send(self, answer: object) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, kind: str, lines: Iterator[str]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in lines:
            data = line.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Keep quiet."""


def _asked(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _paced(text: str) -> Iterator[str]:
    began = time.monotonic()
    for number, piece in enumerate(re.findall(r"\s*\S+\s*", answer(text))):
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))
        yield piece


def _openai_lines(text: str) -> Iterator[str]:
    shared = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    for piece in _paced(text):
        choice = {"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}
        yield f"data: {json.dumps({**shared, 'choices': [choice]})}\n\n"
    yield f"data: {json.dumps({**shared, 'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]})}\n\n"
    yield "data: [DONE]\n\n"


def _ollama_lines(text: str) -> Iterator[str]:
    shared = {"model": MODEL, "created_at": "2026-01-01T00:00:00Z"}
    for piece in _paced(text):
        yield json.dumps({**shared, "message": {"role": "assistant", "content": piece}, "done": False}) + "\n"
    counts = {"total_duration": 1, "load_duration": 1, "prompt_eval_count": 1, "prompt_eval_duration": 1}
    ended = {"done": True, "done_reason": "stop", "eval_count": 1, "eval_duration": 1, **counts}
    yield json.dumps({**shared, "message": {"role": "assistant", "content": ""}, **ended}) + "\n"


@contextmanager
def local_server() -> Iterator[str]:
    """The server's address, while the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="server", daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
