"""Turns messages into a prompt's text: by a file's chat template, in a process of its own, or by ChatML's rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any, Protocol

from mistral_chat.errors import PromptFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

SECONDS = 5.0
"""How long a template may take, its process's start included. Real ones take a few milliseconds."""

SPARE_CHARACTERS = 1_000_000
"""How much text a template may make, besides eight times what it was given."""

_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class TemplateRefusedError(PromptFormatError):
    """The template refuses these messages, or fails on them: on their roles or their order, mostly."""


class Renderer(Protocol):
    """Writes messages as one text. May be used from any thread."""

    @property
    def source(self) -> str:
        """The template's text, or what would be; which special texts it mentions can be seen from it."""

    def render(self, messages: Sequence[Mapping[str, str]], *, generation: bool) -> str:
        """The text of `messages`, and the beginning of a reply if `generation`.

        Raises:
            TemplateRefusedError: the template does not take these messages.
            PromptFormatError: the template does not work.
        """


class ChatmlRenderer:
    """ChatML: ``<|im_start|>role``, the content, ``<|im_end|>``."""

    source = "<|im_start|><|im_end|>"

    def render(self, messages: Sequence[Mapping[str, str]], *, generation: bool) -> str:
        """The text of `messages` in ChatML."""
        text = "".join(f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in messages)
        return text + "<|im_start|>assistant\n" if generation else text


class TemplateRenderer:
    """A chat template, rendered by a process that is started when it is first needed and ended with this object."""

    def __init__(self, source: str, *, bos: str, eos: str, now: datetime, seconds: float = SECONDS) -> None:
        """Render `source` with the clock stopped at `now`, so that the same messages always make the same prompt."""
        self.source = source
        self._setup = {"template": source, "bos": bos, "eos": eos, "now": now.isoformat(), "seconds": seconds}
        self._seconds = seconds
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: Callable[[], object] = _nothing_to_end

    def render(self, messages: Sequence[Mapping[str, str]], *, generation: bool) -> str:
        """The text that the template makes of `messages`; see `Renderer.render`."""
        limit = SPARE_CHARACTERS + 8 * sum(len(each.get("content", "")) for each in messages)
        request = {"messages": list(messages), "generation": generation, "limit": limit}
        with self._lock:
            answer = self._ask(request, limit)
        if "text" in answer:
            return answer["text"]
        said = [each["content"] for each in messages if each.get("content")]
        if "refusal" in answer:
            raise TemplateRefusedError(
                f"The model's chat template refuses these messages: {_without(answer['refusal'], said)}. {ESCAPE}"
            )
        if "failure" in answer:
            raise TemplateRefusedError(f"The model's chat template fails: {_without(answer['failure'], said)}. {ESCAPE}")
        raise PromptFormatError(f"The model's chat template cannot be used: {_without(answer['problem'], said)}. {ESCAPE}")

    def close(self) -> None:
        """End the process. The next call starts another."""
        with self._lock:
            self._stop()

    def _ask(self, request: Mapping[str, Any], limit: int) -> dict[str, str]:
        """Send one request; start the process first where there is none."""
        late: list[bool] = []
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()

        def end() -> None:
            late.append(True)
            process.kill()

        timer = Timer(self._seconds, end)
        timer.daemon = True
        timer.start()
        try:
            answer = {"text": ""} if self._process is process else _exchange(process, self._setup, 10_000)
            self._process = process
            if "text" in answer:
                # JSON writes a character in 12 bytes at most.
                answer = _exchange(process, request, 12 * limit + 10_000)
        except (OSError, ValueError, KeyError):
            self._stop()
            answer = {
                "problem": f"it takes longer than {self._seconds:g} seconds" if late else "the process that renders it ended"
            }
        finally:
            timer.cancel()
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        self._stop()
        process = subprocess.Popen(
            # -P keeps the working directory off the path, where a file might pose as a library.
            [sys.executable, "-P", "-m", "mistral_chat.engine.encoding.template"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end_process, process)
        return process

    def _stop(self) -> None:
        self._process = None
        self._end()


def _exchange(process: subprocess.Popen[bytes], request: Mapping[str, Any], limit: int) -> dict[str, str]:
    """Send one line and read one.

    Raises:
        OSError: the process is gone.
        ValueError: what came back is no answer.
    """
    if process.stdin is None or process.stdout is None:
        raise OSError
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    answer = json.loads(process.stdout.readline(limit))
    if not isinstance(answer, dict) or not all(isinstance(each, str) for each in answer.values()) or len(answer) != 1:
        raise ValueError
    return answer


def _nothing_to_end() -> None:
    """No process was started yet."""


def _end_process(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                continue
    process.wait()


def _without(reason: str, said: Sequence[str]) -> str:
    """A template's own words, without text of the conversation."""
    for content in sorted(said, key=len, reverse=True):
        if len(content) > 2:  # noqa: PLR2004 (one or two letters give nothing away and would tear the sentence)
            reason = reason.replace(content, "…")
    return " ".join(reason.split()).rstrip(".") or "it gives no reason"


ESCAPE = "Choose a format with --prompt-format chatml or mistral-v1, or load other weights."
"""What to do about a template that does not work."""
