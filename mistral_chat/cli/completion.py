"""`mistral-chat completion`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click

VARIABLE = "_MISTRAL_CHAT_COMPLETE"
"""Set by the script when it asks the program what fits."""


HELP = """Print the completion script for a shell.

\b
bash:  mistral-chat completion bash > ~/.local/share/bash-completion/completions/mistral-chat
zsh:   mistral-chat completion zsh > "${fpath[1]}/_mistral-chat"
fish:  mistral-chat completion fish > ~/.config/fish/completions/mistral-chat.fish
"""


@click.command(help=HELP, short_help="Print the completion script for a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print click's script for `shell`."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "mistral-chat", VARIABLE).source())
