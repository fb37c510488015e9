"""Programs for tests of the command line: the real parts, with an engine that needs no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result
from support.echo_engine import EchoEngine, echo

from mistral_chat.cli.main import cli
from mistral_chat.cli.wiring import Program

if TYPE_CHECKING:
    from collections.abc import Callable

    from mistral_chat.engine.thread import LoadProgress
    from mistral_chat.models.library import ModelFile


def echo_program(answer: Callable[[str], str] = echo, **fields: Any) -> Program:
    """A program whose every model answers with `answer`, as `EchoEngine` does."""

    def load(program: Program, _model: ModelFile, _prompt_format: str | None, _on_progress: LoadProgress) -> EchoEngine:
        return EchoEngine(answer, window=program.settings.context.size, reserve=program.settings.context.reserve)

    return Program(load=load, **fields)


def run(*arguments: str) -> Result:
    """What `mistral-chat` says to these arguments, in this process."""
    return CliRunner().invoke(cli, list(arguments))
