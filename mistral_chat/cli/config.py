"""`mistral-chat config`: the settings, their sources, and their documentation."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mistral_chat.paths import Paths
from mistral_chat.text import one_line

if TYPE_CHECKING:
    from mistral_chat.cli.wiring import Program


@click.group(short_help="Show the settings and where each comes from.")
def config() -> None:
    """Show the settings and where each comes from.

    An option overrides the environment, which overrides the file, which overrides the default.
    """


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: each key with its value and source.")
@click.pass_obj
def show(program: Program, *, as_json: bool) -> None:
    """Print every setting with its value and its source."""
    rows = program.configuration.rows()
    if as_json:
        found = {key: {"value": value, "source": source} for key, value, source in rows}
        click.echo(json.dumps(found, ensure_ascii=False, indent=2, default=asdict))
        return
    shown = [(key, json.dumps(value, ensure_ascii=False, default=asdict), source) for key, value, source in rows]
    width = max(len(key) for key, _, _ in shown)
    for key, value, source in shown:
        click.echo(f"{key:{width}}  {one_line(value, 60)}" + ("" if source == "default" else f"  [{one_line(source)}]"))


@config.command()
@click.pass_obj
def path(program: Program) -> None:
    """Print the path of the settings file."""
    click.echo(str(Paths.from_environment(program.environ).config_file))


@config.command(short_help="Print a settings file with every default.")
def default() -> None:
    """Print a settings file with every default and the meaning of each key."""
    from mistral_chat.config.docs import default_file

    click.echo(default_file(), nl=False)
