"""`mistral-chat models tune`: finds the fastest way to run a model on this computer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mistral_chat.cli.options import as_json_option, complete_models
from mistral_chat.cli.printing import print_json
from mistral_chat.errors import EngineLoadFailed
from mistral_chat.formatting import counted
from mistral_chat.generation import CancelToken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mistral_chat.cli.wiring import Program
    from mistral_chat.engine.hardware import Tuning


@click.command(short_help="Find the fastest way to run a model on this computer.")
@click.argument("name", required=False, shell_complete=complete_models)
@as_json_option
@click.pass_obj
def tune(program: Program, name: str | None, *, as_json: bool) -> None:
    """Benchmark the default model, or NAME, and run it in the fastest way from the next load on.

    Takes at most 30 seconds. Batch size, threads, flash attention and repacked weights are tried, unless the settings fix them.
    The chat does this automatically when idle, once for each model.
    """
    from mistral_chat.cli.logs import start_log
    from mistral_chat.engine.llama.engine import tuning_key
    from mistral_chat.engine.tuning import TuningFile, TuningJob, choose, is_quiet, measure

    start_log(program.paths.log_file)
    model, settings = program.library().find(name or program.settings.model), program.settings.engine
    job = TuningJob(
        path=model.path, settings=settings, key=tuning_key(model.path, settings), file=TuningFile(program.paths.tuning_file)
    )
    if not is_quiet(CancelToken()):
        click.echo("mistral-chat: other programs are using the CPU, so the result may be wrong", err=True)
    trials: list[Tuning] = []
    for trial in measure(model.path, settings, CancelToken(), background=False):
        trials.append(trial)
        if not as_json:
            click.echo(describe(trial))
    best = choose(trials)
    if best is None:
        raise EngineLoadFailed(model.path, "no measurement was completed; try again when the computer is less busy")
    if as_json:
        print_json({"model": model.name, "best": best, "trials": trials})
    else:
        click.echo(f"\nFastest: {describe(best)}")
    job.file.put(job.key, best)


def describe(tuning: Tuning) -> str:
    """Format one way of running a model, and its speed, on one line."""
    attention = "on" if tuning.flash_attention else "off"
    weights = "repacked" if tuning.repack else "as in the file"
    return (
        f"prompt {tuning.prompt_speed:,.1f} tokens/s, reply {tuning.decode_speed:,.1f} tokens/s: "
        f"batches of {tuning.batch}, {counted(tuning.threads, 'thread')}, "
        f"flash attention {attention}, weights {weights}{describe_costs(tuning.batch_costs)}"
    )


def describe_costs(costs: Sequence[tuple[int, float]]) -> str:
    """The cost of verifying guessed tokens, and whether tokens are guessed; empty if it was not measured."""
    from mistral_chat.engine.prompt_lookup import PromptLookup

    if not costs:
        return ""
    sizes, times = (", ".join(map(str, each)) for each in zip(*costs, strict=True))
    guessed = "" if PromptLookup(costs, ()).pays else "not "
    return f"; batches of {sizes} cost {times} single tokens: repeated text is {guessed}guessed"
