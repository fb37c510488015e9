"""Renders messages as a prompt's text: by a file's chat template, in a child process, or by ChatML's rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from contextlib import contextmanager
from threading import Event, Lock, Timer
from typing import TYPE_CHECKING, Any, Protocol

from mistral_chat.errors import PromptFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

SECONDS = 5.0
"""Maximum seconds for a template. Real ones take a few milliseconds."""

START_SECONDS = 60.0
"""Maximum seconds for the start of its process, which takes long on a busy machine and is not the template's fault."""

SPARE_CHARACTERS = 1_000_000
"""Maximum length of a template's output, in addition to eight times its input."""

_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class TemplateRefusedError(PromptFormatError):
    """The template rejects these messages, or fails on them, usually because of their roles or order."""


class Renderer(Protocol):
    """Renders messages as one text. Thread-safe."""

    @property
    def source(self) -> str:
        """The template's text or an equivalent, in which special tokens can be searched."""

    def render(self, messages: Sequence[Mapping[str, str]], *, generation: bool) -> str:
        """Render `messages`, and the start of a reply if `generation`.

        Raises:
            TemplateRefusedError: the template does not take these messages.
            PromptFormatError: the template does not work.
        """


class ChatmlRenderer:
    """ChatML: ``<|im_start|>role``, the content, ``<|im_end|>``."""

    source = "<|im_start|><|im_end|>"

    def render(self, messages: Sequence[Mapping[str, str]], *, generation: bool) -> str:
        """Render `messages` as ChatML."""
        text = "".join(f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in messages)
        return text + "<|im_start|>assistant\n" if generation else text


class TemplateRenderer:
    """A chat template, rendered by a process that starts when first needed and ends with this object."""

    def __init__(self, source: str, *, bos: str, eos: str, now: datetime, seconds: float = SECONDS) -> None:
        """Render `source` with the clock fixed at `now`, so that the same messages always give the same prompt."""
        self.source = source
        self._setup = {"template": source, "bos": bos, "eos": eos, "now": now.isoformat(), "seconds": seconds}
        self._seconds = seconds
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[[subprocess.Popen[bytes]], TemplateRenderer] | None = None

    def render(self, messages: Sequence[Mapping[str, str]], *, generation: bool) -> str:
        """Render `messages`; see `Renderer.render`."""
        limit = SPARE_CHARACTERS + 8 * sum(len(each.get("content", "")) for each in messages)
        request = {"messages": list(messages), "generation": generation, "limit": limit}
        with self._lock:
            answer = self._ask(request, limit)
        if "text" in answer:
            return answer["text"]
        said = [each["content"] for each in messages if each.get("content")]
        if "refusal" in answer:
            raise TemplateRefusedError(
                f"The model's chat template rejects these messages: {_without(answer['refusal'], said)}. {ESCAPE}"
            )
        if "failure" in answer:
            raise TemplateRefusedError(f"The model's chat template fails: {_without(answer['failure'], said)}. {ESCAPE}")
        raise PromptFormatError(f"The model's chat template cannot be used: {_without(answer['problem'], said)}. {ESCAPE}")

    def close(self) -> None:
        """End the process. The next call starts another."""
        with self._lock:
            self._stop()

    def _ask(self, request: Mapping[str, Any], limit: int) -> dict[str, str]:
        """Send one request, starting the process if there is none."""
        process = self._process
        try:
            if process is None or process.poll() is not None:
                process = self._start()
                with _time_limit(process, START_SECONDS):
                    _receive(process, 10_000)
            with _time_limit(process, self._seconds):
                answer = {"text": ""} if self._process is process else _exchange(process, self._setup, 10_000)
                self._process = process
                if "text" in answer:
                    # JSON writes a character in 12 bytes at most.
                    answer = _exchange(process, request, 12 * limit + 10_000)
        except TimeoutError as late:
            self._stop()
            return {"problem": str(late)}
        except (OSError, ValueError, KeyError):
            self._stop()
            return {"problem": "the process rendering it crashed"}
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        self._stop()
        process = subprocess.Popen(
            # -P keeps the working directory off the path, where a file could shadow a library.
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
        if self._end is not None:
            self._end()


@contextmanager
def _time_limit(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    """Kill the process after `seconds`.

    Raises:
        TimeoutError: that was what ended the block.
    """
    late = Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, ValueError, KeyError):
        if late.is_set():
            raise TimeoutError(f"it takes longer than {seconds:g} seconds") from None
        raise
    finally:
        timer.cancel()


def _exchange(process: subprocess.Popen[bytes], request: Mapping[str, Any], limit: int) -> dict[str, str]:
    """Send one line and read one.

    Raises:
        OSError: the process is gone.
        ValueError: the answer is invalid.
    """
    if process.stdin is None:
        raise OSError
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    return _receive(process, limit)


def _receive(process: subprocess.Popen[bytes], limit: int) -> dict[str, str]:
    """Read one line; it raises as `_exchange` does."""
    if process.stdout is None:
        raise OSError
    answer = json.loads(process.stdout.readline(limit))
    if not isinstance(answer, dict) or not all(isinstance(each, str) for each in answer.values()) or len(answer) != 1:
        raise ValueError
    return answer


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
    """The template's own message, without text of the conversation."""
    for content in sorted(said, key=len, reverse=True):
        if len(content) > 2:  # noqa: PLR2004 (one or two letters give nothing away and would tear the sentence)
            reason = reason.replace(content, "…")
    return " ".join(reason.split()).rstrip(".") or "it gives no reason"


ESCAPE = "Choose a format with --prompt-format chatml or mistral-v1, or use another model."
"""What to do about an unusable template."""
