"""The command line: its commands, imported when called, and error reporting.

`mistral-chat --help` must be quick: this module imports click and nothing heavier.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from dataclasses import replace
from typing import Any, Never

import click

from mistral_chat import __version__, network
from mistral_chat.cli import options
from mistral_chat.cli.wiring import Program
from mistral_chat.errors import MistralChatError
from mistral_chat.system import enable_escape_sequences

COMMANDS = {
    "ask": "Ask a question and print the reply.",
    "bench": "Benchmark a multi-turn conversation.",
    "chats": "List, search, export and delete conversations.",
    "completion": "Print the completion script for a shell.",
    "config": "Show the settings and where each comes from.",
    "docs": "Index and search your own documents.",
    "doctor": "Check this machine, the models and the conversations.",
    "models": "List, download, verify and remove models.",
    "paths": "List every file and folder of the program.",
    "prompt": "Show the tokenized prompt for messages.",
}
"""Each command's short help, word for word. The command `x` is `mistral_chat.cli.x:x`."""

TOLERANT = frozenset({"chats", "completion", "docs", "models", "paths"})
"""Commands that tolerate unknown keys in the settings file, because they generate nothing."""

INTERRUPTED = 130
"""The exit code after Ctrl+C: 128 and the signal's number."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names, without an import."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Import the command `name`; None if it does not exist."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"mistral_chat.cli.{name}"), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` start with.

        Raises:
            click.UsageError: there is none; the sentence suggests a similar one.
        """
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, 1)
            hint = f"Did you mean {close[0]!r}?" if close else 'To ask a question, run: mistral-chat ask "…"'
            raise click.UsageError(f"No such command {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help of all commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *arguments: Any, **extra: Any) -> Any:
        """Run the program and exit with its code: 0, 1 after an error, 2 after wrong usage, 130 after Ctrl+C."""
        extra["standalone_mode"] = False
        try:
            sys.exit(super().main(*arguments, **extra) or 0)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)  # the help of a group that needs a command
            sys.exit(error.exit_code)
        except click.UsageError as error:
            if error.ctx is not None:
                click.echo(error.ctx.get_usage(), err=True)
            _leave_with(error.format_message(), error.exit_code)
        except click.ClickException as error:
            _leave_with(error.format_message(), error.exit_code)
        except MistralChatError as error:
            _leave_with(str(error), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            _leave_with("stopped", INTERRUPTED)
        except BrokenPipeError:
            _leave_without_output()
        except OSError as error:
            _leave_with_os_error(error)


def _leave_with(message: str, code: int) -> Never:
    """Write `message`, which may quote untrusted names, to standard error and exit with `code`."""
    from mistral_chat.text import clean

    click.echo(f"mistral-chat: {clean(message)}", err=True)
    sys.exit(code)


def _leave_with_os_error(error: OSError) -> Never:
    """Report an operating system error: about a file, or, if it names none, about the output."""
    import errno

    if error.filename is not None:
        _leave_with(f"{error.filename}: {error.strerror}", 1)
    if error.errno in {errno.ENOSPC, errno.EIO, errno.EBADF}:
        _leave_without_output(f"cannot write to standard output: {error.strerror}")
    _leave_with(f"system error: {error.strerror or error}", 1)


def _leave_without_output(message: str = "") -> Never:
    """Exit when standard output cannot be written, without a second error from Python when it flushes."""
    null = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(null, sys.stdout.fileno())
    if message:
        with contextlib.suppress(OSError):
            _leave_with(message, 1)
        os.dup2(null, sys.stderr.fileno())
    sys.exit(1)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="mistral-chat %(version)s")
@options.engine_options
@options.conversation_options
@click.pass_context
def cli(ctx: click.Context, /, **given: Any) -> None:
    """Chat with a language model on this machine; nothing leaves it.

    Without a command, the chat opens in the terminal.
    """
    if ctx.obj is None:
        ctx.obj = Program()
    if ctx.invoked_subcommand is not None:
        _refuse_misplaced(ctx)
        if ctx.invoked_subcommand in TOLERANT:
            ctx.obj = replace(ctx.obj, warn=_warn)
        return
    from mistral_chat.cli.tui import run_tui

    run_tui(ctx.obj, **given)


def _warn(message: str) -> None:
    from mistral_chat.text import clean

    click.echo(f"mistral-chat: warning: {clean(message)}", err=True)


def _refuse_misplaced(ctx: click.Context) -> None:
    """Refuse options before a command, where they have no effect.

    Raises:
        click.UsageError: there are some.
    """
    for parameter in ctx.command.params:
        if parameter.name and ctx.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} belongs after the command: mistral-chat {ctx.invoked_subcommand} …")


def main() -> None:
    """Run the program on this process's arguments, and exit."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a reply may contain characters that the terminal's encoding does not have
            stream.reconfigure(errors="backslashreplace")
            if sys.platform == "win32" and not stream.isatty():  # files would be in an old code page
                stream.reconfigure(encoding="utf-8")
    enable_escape_sequences()
    network.forbid()
    cli.main(prog_name="mistral-chat")


def _open_closed_streams() -> None:
    """Put the null device in the place of standard streams that are closed.

    A file opened later would get the number of the closed stream, and what llama.cpp prints would be written into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 (for the life of the process)
