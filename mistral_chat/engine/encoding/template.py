"""Renders a chat template in a process of its own.

A template is code out of a downloaded file. It runs in jinja2's immutable sandbox, which keeps it from the machine but not from
running for ever or filling the memory. So it also runs apart from the app, under limits: `mistral_chat.engine.encoding.renderer`
starts this module, ends it when it takes too long, and reads what it makes.

The process reads one JSON object a line and answers each with one. The first gives the template and what stays the same; every
later one gives messages to render.
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
"""The address space the process may take, in bytes, where the system can bound it."""


class GenerationBlocks(Extension):
    """Lets ``{% generation %}`` blocks, which mark replies for training, stand for what they hold."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: Any) -> Any:
        """Keep the block's content and drop its tags."""
        parser.stream.skip(1)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class RefusedError(Exception):
    """The template said no, with ``raise_exception``."""


class Template:
    """One compiled template with its clock and its marks."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        """Compile the template in `setup`.

        Raises:
            jinja2.TemplateError: it is no valid template.
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
        """Render `messages`, and the beginning of a reply if `generation`.

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
    """JSON as templates expect it: without the escapes for HTML that jinja2 adds."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(reason: object) -> NoReturn:
    raise RefusedError(str(reason))


def _answer(template: Template, request: Mapping[str, Any]) -> dict[str, str]:
    """Render one request, or say why not."""
    try:
        return {"text": template.render(request["messages"], request["limit"], generation=request["generation"])}
    except RefusedError as refusal:
        return {"refusal": str(refusal)[:300]}
    except OverflowError:
        return {"problem": "it makes far more text than it was given"}
    except MemoryError:
        return {"problem": "it takes too much memory"}
    except RecursionError:
        return {"problem": "it calls itself without end"}
    except Exception as error:  # noqa: BLE001 (a template can raise anything that Python can)
        return {"failure": f"{type(error).__name__}: {error}"[:300]}


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer `requests` until they end."""

    def send(answer: Mapping[str, str]) -> None:
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()

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
        limit_time(setup["seconds"] * 2)  # if the parent is not there to do it
        answer = _answer(template, json.loads(line))
        limit_time(0)
        send(answer)


if __name__ == "__main__":
    network.forbid()
    limit_process(memory=MEMORY)
    limit_time(10)
    serve(sys.stdin.buffer, sys.stdout.buffer)
