"""The options that several commands share, and the settings that they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from mistral_chat.config.configuration import CommandLineOverride

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click.shell_completion import CompletionItem

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")


class SettingOption(click.Option):
    """An option that sets the setting `key` for this run."""

    def __init__(self, *args: Any, key: str, **attributes: Any) -> None:
        """Make the option; `key` is dotted, as in ``sampling.seed``."""
        super().__init__(*args, **attributes)
        self.key = key


def _setting(*flags: str, key: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    return click.option(*flags, cls=SettingOption, key=key, **attributes)


def _all(*decorators: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    def decorate(command: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _later(name: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """The function `name` of `shell_completion`, which is imported when a shell asks."""

    def complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from mistral_chat.cli import shell_completion

        found: list[CompletionItem] = getattr(shell_completion, name)(ctx, parameter, incomplete)
        return found

    return complete


def model_option(command: Decorated) -> Decorated:
    """Add ``-m``."""
    return _setting(
        "-m",
        "--model",
        key="model",
        metavar="MODEL",
        shell_complete=_later("models"),
        help="A catalog name, `demo`, a path to a .gguf file, or hf:OWNER/REPOSITORY/FILE.gguf.",
    )(command)


def engine_options(command: Decorated) -> Decorated:
    """Add ``-m`` and how llama.cpp runs."""
    return _all(
        model_option,
        _setting("--ctx-size", key="context.size", type=int, metavar="TOKENS", help="How many tokens the model may see."),
        _setting(
            "--n-gpu-layers",
            key="engine.n_gpu_layers",
            type=int,
            metavar="N",
            help="Layers on the GPU.",
        ),
        _setting("--threads", key="engine.threads", type=int, metavar="N", help="CPU threads."),
        _setting("--kv-type", key="engine.kv_type", type=click.Choice(["f16", "q8_0"]), help="How the KV cache is stored."),
        _setting("--lora", key="engine.lora", multiple=True, metavar="FILE[:SCALE]", help="A LoRA adapter; repeatable."),
        click.option("--prompt-format", metavar="NAME", help="How messages become tokens, instead of what the file says."),
    )(command)


def sampling_options(command: Decorated) -> Decorated:
    """Add how tokens are drawn."""
    return _all(
        _setting(
            "--temperature", key="sampling.temperature", type=float, metavar="T", help="0 always takes the likeliest token."
        ),
        _setting(
            "--top-p", key="sampling.top_p", type=float, metavar="P", help="Draw from the likeliest tokens that add up to this."
        ),
        _setting("--top-k", key="sampling.top_k", type=int, metavar="K", help="Draw from this many tokens; 0 is all."),
        _setting("--min-p", key="sampling.min_p", type=float, metavar="P", help="Leave out tokens below this share of the best."),
        _setting("--seed", key="sampling.seed", type=int, metavar="N", help="The same seed gives the same reply."),
        _setting("--max-tokens", key="sampling.max_tokens", type=int, metavar="N", help="The longest reply, in tokens."),
    )(command)


def conversation_options(command: Decorated) -> Decorated:
    """Add which conversation is meant and how it begins."""
    return _all(
        click.option("-s", "--system", metavar="TEXT", help="The system prompt."),
        click.option(
            "-p", "--persona", default="", metavar="NAME", shell_complete=_later("personas"), help="A persona of the settings."
        ),
        click.option("-c", "--continue", "resume", is_flag=True, help="Go on with the latest conversation."),
        click.option(
            "--chat",
            metavar="ID",
            shell_complete=_later("conversations"),
            help="Go on with this conversation; the id may be shortened.",
        ),
        click.option("--no-save", is_flag=True, help="Keep nothing: nothing of this run is written to the disk."),
    )(command)


def typed_settings(context: click.Context) -> Mapping[str, CommandLineOverride]:
    """The settings whose options were typed, by dotted key."""
    typed = {}
    for parameter in context.command.params:
        if isinstance(parameter, SettingOption) and parameter.name is not None:
            value = context.params.get(parameter.name)
            if value is not None and value != ():
                typed[parameter.key] = CommandLineOverride(parameter.opts[-1], value)
    return typed


def refuse_both(first: tuple[str, object], second: tuple[str, object]) -> None:
    """Refuse two options, each a name with its value, when both were typed.

    Raises:
        click.UsageError: both were.
    """
    if first[1] and second[1]:
        raise click.UsageError(f"{first[0]} and {second[0]} do not go together.")
