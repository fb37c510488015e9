"""Options and arguments shared by several commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mistral_chat.cli.wiring import Program

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _setting(*flags: str, key: str, **attributes: Any) -> Callable[[Decorated], Decorated]:
    """An option that overrides the setting `key`, dotted as in ``sampling.seed``, in the `Program` of the command."""

    def override(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is None or value == () or ctx.resilient_parsing:
            return
        from mistral_chat.config.configuration import CommandLineOverride

        ctx.obj = (ctx.obj or Program()).with_options({key: CommandLineOverride(parameter.opts[-1], value)})

    return click.option(*flags, callback=override, expose_value=False, **attributes)


def _all(*decorators: Callable[[Any], Any]) -> Callable[[Decorated], Decorated]:
    def decorate(command: Decorated) -> Decorated:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _completer(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Completes values of a `kind` that `completion` knows; imports it when the shell asks."""

    def complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from mistral_chat.cli.completion import completed

        return completed(kind, ctx, incomplete)

    return complete


complete_models = _completer("models")
complete_ids = _completer("ids")
complete_trashed_ids = _completer("trashed ids")

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON only.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
force_option = click.option("--force", is_flag=True, help="Replace an existing file.")

conversation_argument = click.argument("conversation", shell_complete=complete_ids)

model_option = _setting(
    "-m",
    "--model",
    key="model",
    metavar="MODEL",
    shell_complete=complete_models,
    help="Model: a catalog name, `demo`, a path to a .gguf file, or hf:OWNER/REPOSITORY/FILE.gguf.",
)

embedding_option = _setting(
    "--embedding-model",
    key="embedding_model",
    metavar="MODEL",
    help="Embedding model: a catalog name or a path to a .gguf file; '' searches by words only.",
)

prompt_format_option = click.option(
    "--prompt-format",
    metavar="NAME",
    shell_complete=_completer("prompt formats"),
    help="Use this prompt format instead of the model file's own.",
)

engine_options = _all(
    model_option,
    _setting("--ctx-size", key="context.size", type=int, metavar="TOKENS", help="Context size in tokens."),
    _setting("--n-gpu-layers", key="engine.n_gpu_layers", type=int, metavar="N", help="Layers to run on the GPU."),
    _setting("--threads", key="engine.threads", type=int, metavar="N", help="CPU threads."),
    _setting("--kv-type", key="engine.kv_type", type=click.Choice(["f16", "q8_0"]), help="KV cache type."),
    _setting("--lora", key="engine.lora", multiple=True, metavar="FILE[:SCALE]", help="LoRA adapter; repeatable."),
    prompt_format_option,
)
"""``-m`` and the options of llama.cpp."""

sampling_options = _all(
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
)

conversation_options = _all(
    click.option("-s", "--system", metavar="TEXT", help="System prompt."),
    click.option(
        "-p",
        "--persona",
        default="",
        metavar="NAME",
        shell_complete=_completer("personas"),
        help="Persona from the settings.",
    ),
    click.option("-c", "--continue", "resume", is_flag=True, help="Continue the most recent conversation."),
    click.option(
        "--chat",
        metavar="ID",
        shell_complete=_completer("conversations"),
        help="Continue this conversation; a unique prefix of its id is enough.",
    ),
    click.option("--no-save", is_flag=True, help="Do not save anything to disk."),
)
"""The options that choose and start a conversation."""


def refuse_conflicts(given: Mapping[str, Any]) -> None:
    """Refuse `conversation_options` that contradict each other.

    Raises:
        click.UsageError: two of them do.
    """
    flags = {"--no-save": given["no_save"], "--continue": given["resume"], "--chat": given["chat"]}
    first, second = [*(flag for flag, value in flags.items() if value), "", ""][:2]
    if second:
        raise click.UsageError(f"{first} and {second} cannot be used together.")
