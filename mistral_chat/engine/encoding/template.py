"""Renders a chat template in a process of its own.

A template is code from a downloaded file. It runs in jinja2's immutable sandbox, which keeps it away from the machine but does
not stop it from running forever or exhausting the memory. So it also runs outside the app, under limits:
`mistral_chat.engine.encoding.renderer` starts this module, kills it when it takes too long, and reads its output.

The process reads one JSON object per line and answers each with one. The first contains the template and what does not change;
each later one contains messages to render.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mistral_chat import network
from mistral_chat.system import limit_process, limit_time

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY = 1 << 30
"""Maximum address space of the process in bytes, if the system can limit it."""


class GenerationBlocks(Extension):
    """Treats ``{% generation %}`` blocks, which mark replies for training, as their content."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: Any) -> Any:
        """Keep the block's content and drop its tags."""
        parser.stream.skip(1)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class RefusedError(Exception):
    """The template rejected the messages with ``raise_exception``."""


class Template:
    """A compiled template with its clock and special tokens."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        """Compile the template in `setup`.

        Raises:
            jinja2.TemplateError: it is not a valid template.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlocks, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        now = datetime.fromisoformat(setup["now"])
        environment.globals.update(
            bos_token=setup["bos"],
            eos_token=setup["eos"],
            raise_exception=_refuse,
            strftime_now=now.strftime,
            tools=None,
            documents=None,
        )
        self._template = environment.from_string(setup["template"])

    def render(self, messages: list[dict[str, str]], limit: int, *, generation: bool) -> str:
        """Render `messages`, and the start of a reply if `generation`.

        Raises:
            OverflowError: the result is longer than `limit` characters.
        """
        pieces = []
        for piece in self._template.generate(messages=messages, add_generation_prompt=generation):
            pieces.append(piece)
            limit -= len(piece)
            if limit < 0:
                raise OverflowError
        return "".join(pieces)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:  # noqa: FBT001, FBT002 (templates pass it so)
    """Format JSON as templates expect it: without jinja2's HTML escapes."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(reason: object) -> NoReturn:
    raise RefusedError(str(reason))


def _answer(template: Template, request: Mapping[str, Any]) -> dict[str, str]:
    """Render one request, or explain why that failed."""
    try:
        return {"text": template.render(request["messages"], request["limit"], generation=request["generation"])}
    except RefusedError as refusal:
        return {"refusal": str(refusal)[:300]}
    except OverflowError:
        return {"problem": "its output is far longer than its input"}
    except MemoryError:
        return {"problem": "it uses too much memory"}
    except RecursionError:
        return {"problem": "it calls itself endlessly"}
    except Exception as error:  # noqa: BLE001 (a template can raise anything that Python can)
        return {"failure": f"{type(error).__name__}: {error}"[:300]}


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Say that the process has started, then answer `requests` until they end."""

    def send(answer: Mapping[str, str]) -> None:
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()

    send({"text": ""})  # it has started: from now on the time is the template's
    setup = json.loads(requests.readline() or b"null")
    if setup is None:
        return
    try:
        template = Template(setup)
    except jinja2.TemplateSyntaxError as error:
        send({"problem": f"line {error.lineno}: {error.message}"[:300]})
        return
    except Exception as error:  # noqa: BLE001 (compiling is code of the file, too)
        send({"problem": f"{type(error).__name__}: {error}"[:300]})
        return
    send({"text": ""})
    for line in requests:
        limit_time(setup["seconds"] * 2)  # in case the parent no longer does
        answer = _answer(template, json.loads(line))
        limit_time(0)
        send(answer)


if __name__ == "__main__":
    network.forbid()
    limit_process(memory=MEMORY)
    limit_time(10)
    serve(sys.stdin.buffer, sys.stdout.buffer)
