"""Renders messages as a prompt's text: by a file's chat template, in a child process, or by ChatML's rules."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from mistral_chat.child_process import ChildProcess
from mistral_chat.errors import PromptFormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

SECONDS = 5.0
"""Maximum seconds for a template. Real ones take a few milliseconds."""

START_SECONDS = 60.0
"""Maximum seconds for the start of its process, which takes long on a busy machine and is not the template's fault."""

SPARE_CHARACTERS = 1_000_000
"""Maximum length of a template's output, in addition to eight times its input."""

_SHORT = 10_000
"""Maximum bytes of an answer that is not a prompt."""


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
        self._child = ChildProcess("mistral_chat.engine.encoding.template")

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

    def _ask(self, request: Mapping[str, Any], limit: int) -> dict[str, str]:
        """Send one request, starting the process if there is none."""
        child = self._child
        try:
            started = child.start()
            if started:
                with child.time_limit(START_SECONDS):
                    child.receive(_SHORT)
            with child.time_limit(self._seconds):
                answer = self._exchange(self._setup, _SHORT) if started else {"text": ""}
                if "text" in answer:
                    # JSON writes a character in 12 bytes at most.
                    answer = self._exchange(request, 12 * limit + _SHORT)
        except TimeoutError as late:
            child.end()
            return {"problem": str(late)}
        except (OSError, ValueError):
            child.end()
            return {"problem": "the process rendering it crashed"}
        return answer

    def _exchange(self, request: Mapping[str, Any], limit: int) -> dict[str, str]:
        """Send one line and read one; the errors are those of `ChildProcess`."""
        self._child.send(request)
        answer = self._child.receive(limit)
        if len(answer) != 1 or not all(isinstance(each, str) for each in answer.values()):
            raise ValueError
        return answer


def _without(reason: str, said: Sequence[str]) -> str:
    """The template's own message, without text of the conversation."""
    for content in sorted(said, key=len, reverse=True):
        if len(content) > 2:  # noqa: PLR2004 (one or two letters give nothing away and would tear the sentence)
            reason = reason.replace(content, "…")
    return " ".join(reason.split()).rstrip(".") or "it gives no reason"


ESCAPE = "Choose a format with --prompt-format chatml or mistral-v1, or use another model."
"""What to do about an unusable template."""
