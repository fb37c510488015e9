"""Options shared by several commands, and the settings that they override."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from click.shell_completion import CompletionItem

    from mistral_chat.config.configuration import CommandLineOverride

Decorated = TypeVar("Decorated", bound="Callable[..., Any]")


class SettingOption(click.Option):
    """An option that overrides the setting `key` for this run."""

    def __init__(self, *args: Any, key: str, **attributes: Any) -> None:
        """Create the option; `key` is dotted, as in ``sampling.seed``."""
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


def _completer(name: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """One of `completion.COMPLETERS`, imported when the shell asks for completions."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from mistral_chat.cli.completion import COMPLETERS

        return COMPLETERS[name](ctx, incomplete)

    return complete


complete_models = _completer("models")
complete_formats = _completer("prompt formats")
complete_conversations = _completer("conversations")
complete_personas = _completer("personas")


def model_option(command: Decorated) -> Decorated:
    """Add ``-m``."""
    return _setting(
        "-m",
        "--model",
        key="model",
        metavar="MODEL",
        shell_complete=complete_models,
        help="Model: a catalog name, `demo`, a path to a .gguf file, or hf:OWNER/REPOSITORY/FILE.gguf.",
    )(command)


def embedding_option(command: Decorated) -> Decorated:
    """Add ``--embedding-model``."""
    return _setting(
        "--embedding-model",
        key="embedding_model",
        metavar="MODEL",
        help="Embedding model: a catalog name or a path to a .gguf file; '' searches by words only.",
    )(command)


def engine_options(command: Decorated) -> Decorated:
    """Add ``-m`` and the options of llama.cpp."""
    return _all(
        model_option,
        _setting("--ctx-size", key="context.size", type=int, metavar="TOKENS", help="Context size in tokens."),
        _setting("--n-gpu-layers", key="engine.n_gpu_layers", type=int, metavar="N", help="Layers to run on the GPU."),
        _setting("--threads", key="engine.threads", type=int, metavar="N", help="CPU threads."),
        _setting("--kv-type", key="engine.kv_type", type=click.Choice(["f16", "q8_0"]), help="KV cache type."),
        _setting("--lora", key="engine.lora", multiple=True, metavar="FILE[:SCALE]", help="LoRA adapter; repeatable."),
        click.option(
            "--prompt-format",
            metavar="NAME",
            shell_complete=complete_formats,
            help="Use this prompt format instead of the model file's own.",
        ),
    )(command)


def sampling_options(command: Decorated) -> Decorated:
    """Add the sampling options."""
    return _all(
        _setting("--temperature", key="sampling.temperature", type=float, metavar="T", help="Sampling temperature; 0 is greedy."),
        _setting("--top-p", key="sampling.top_p", type=float, metavar="P", help="Nucleus sampling."),
        _setting(
            "--top-k",
            key="sampling.top_k",
            type=int,
            metavar="K",
            help="Sample from this many of the most likely tokens; 0 means no limit.",
        ),
        _setting(
            "--min-p",
            key="sampling.min_p",
            type=float,
            metavar="P",
            help="Exclude tokens less likely than this share of the most likely one.",
        ),
        _setting("--seed", key="sampling.seed", type=int, metavar="N", help="Random seed; the same seed gives the same reply."),
        _setting("--max-tokens", key="sampling.max_tokens", type=int, metavar="N", help="Maximum reply length in tokens."),
    )(command)


def conversation_options(command: Decorated) -> Decorated:
    """Add the options that choose and start a conversation."""
    return _all(
        click.option("-s", "--system", metavar="TEXT", help="System prompt."),
        click.option(
            "-p", "--persona", default="", metavar="NAME", shell_complete=complete_personas, help="Persona from the settings."
        ),
        click.option("-c", "--continue", "resume", is_flag=True, help="Continue the most recent conversation."),
        click.option(
            "--chat",
            metavar="ID",
            shell_complete=complete_conversations,
            help="Continue this conversation; a unique prefix of its id is enough.",
        ),
        click.option("--no-save", is_flag=True, help="Do not save anything to disk."),
    )(command)


def setting_overrides(context: click.Context) -> Mapping[str, CommandLineOverride]:
    """The settings given as options, by dotted key."""
    from mistral_chat.config.configuration import CommandLineOverride

    overrides = {}
    for parameter in context.command.params:
        if isinstance(parameter, SettingOption) and parameter.name is not None:
            value = context.params.get(parameter.name)
            if value is not None and value != ():
                overrides[parameter.key] = CommandLineOverride(parameter.opts[-1], value)
    return overrides


def refuse_both(first: tuple[str, object], second: tuple[str, object]) -> None:
    """Refuse two options that were given together; each is a name with its value.

    Raises:
        click.UsageError: both have values.
    """
    if first[1] and second[1]:
        raise click.UsageError(f"{first[0]} and {second[0]} cannot be used together.")
