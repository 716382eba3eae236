"""Audit many models on many corpora at many settings, as a file says, and write one page about all of them.

Each combination (a cell) is an ordinary audit in a folder of its own. What cells share is done once: a model is loaded once for all
of its cells, a corpus is read once. A finished cell leaves a small summary from which the page is made, so its records need not be
kept (keep = "summary").

If interrupted, run the same command again: it goes on where it stopped. A cell that cannot be measured is named, and the others are
measured all the same.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from freerun.commands.executor_arguments import add_executor_arguments
from freerun.commands.model_arguments import add_json_argument
from freerun.counted import counted

if TYPE_CHECKING:
    from freerun.jobs.grid.forecast import GridForecast
    from freerun.jobs.grid.grid import Grid
    from freerun.results.grid import GridCell

EXAMPLES = """\
examples:
  freerun grid quantised.toml
  freerun grid quantised.toml --dry-run                    how long it would take in all
  freerun grid quantised.toml --executor pool:4            four processes on this machine
  freerun grid quantised.toml --executor ray:10.0.0.1:6379,gpus=1
      a Ray cluster, one GPU for each worker

a plan:
  models = ["smollm2-135m-instruct", {spec = "hf/./tuned", label = "tuned", step = 1000}]
  corpora = ["builtin/python-docs", {spec = "letters.jsonl.gz", text_field = "body"}]
  baseline = "smollm2-135m-instruct"
  keep = "summary"              # default: "records"
  [settings]                    # options of `freerun audit`; a list: one cell for each
  documents = 64
  dtype = ["fp32", "bf16"]

exit codes: 0 done · 2 usage · 3 a cell was refused · 4 a cell failed · 130 interrupted
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "plan", metavar="PLAN.toml", help="the file with models, corpora and settings, as below (docs/grid.md)"
    )
    parser.add_argument(
        "-o", "--out", metavar="RUN", help="the folder of the grid (default runs/grid-<name of the plan>)"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only estimate time, memory and disk, of every cell and in all; write nothing",
    )
    add_executor_arguments(parser.add_argument_group("how it runs"))
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    import shlex

    from freerun.commands.executor_arguments import chosen_executor
    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.jobs.grid.grid import run_grid
    from freerun.jobs.grid.plan import read_grid

    plan, progress = read_grid(arguments.plan), Reporter()
    executor = chosen_executor(arguments)
    name = Path(arguments.plan).stem
    if arguments.dry_run:
        from freerun.jobs.grid.forecast import forecast_grid

        forecast = forecast_grid(plan, name=name, out=arguments.out, say=progress.say)
        if arguments.json:
            print_json(forecast.to_json())
        else:
            tell_forecast(forecast, sys.stdout)
        return 0
    words = ["freerun", "grid", arguments.plan, *(["-o", arguments.out] if arguments.out else [])]
    done = run_grid(
        plan,
        out=arguments.out,
        name=name,
        executor=executor,
        parts=arguments.parts,
        command=shlex.join(words),
        progress=progress,
    )
    return told(done, as_json=arguments.json)


def told(done: Grid, *, as_json: bool) -> int:
    """Print a grid's result and return the exit code."""
    from freerun.commands.main import print_json
    from freerun.results.finding import to_json

    if as_json:
        print_json(to_json(done.result))
    else:
        tell_grid(done, sys.stdout)
    return done.exit_code


def tell_grid(done: Grid, out: TextIO) -> None:
    """A grid for people: the sentence, a line a cell, what was not done, and where the page is."""
    from freerun.commands.terminal import columns_between, say, shown
    from freerun.commands.verdict import say_next, say_points
    from freerun.results.finding import to_json

    result, width = done.result, columns_between(1, 100)
    print(file=out)
    say(textwrap.wrap(shown(result.verdict.sentence), width), out)
    print(file=out)
    verdict = to_json(result.verdict)
    say_points(verdict, out)
    print(file=out)
    names = [", ".join([c.model, *(f"{s.key} {s.value}" for s in c.settings)]) for c in result.cells]
    corpora = [c.corpus for c in result.cells]
    widths = [min(48, max(map(len, column))) + 2 for column in (names, corpora)]
    horizons = [_horizon(c) for c in result.cells]
    widths.append(max(24, *map(len, horizons)) + 2)
    say([f"  {'model':<{widths[0]}}{'corpus':<{widths[1]}}{'H75, tokens':<{widths[2]}}loss, nats/token"], out)
    for cell, name, horizon in zip(result.cells, names, horizons, strict=True):
        numbers = f"{horizon:<{widths[2]}}{_loss(cell)}" if cell.state == "done" else cell.state
        say([shown(f"  {name[:48]:<{widths[0]}}{cell.corpus[:48]:<{widths[1]}}{numbers}")], out)
    for pair in result.pairs:
        if pair.compared is not None and any(d.found for d in pair.compared.differences if d.primary):
            say(textwrap.wrap(shown(f"{pair.corpus}: {pair.compared.sentence}"), width), out)
    for cell in result.cells:
        if cell.state != "done":
            say(textwrap.wrap(shown(f"{cell.state}: {cell.name}: {cell.why}"), width, subsequent_indent="  "), out)
    print(file=out)
    say_next(verdict, out)
    say([f"report   {done.report}", f"numbers  {done.path / 'result.json'}"], out)


def _horizon(cell: GridCell) -> str:
    h = cell.h75_tokens
    words = "–" if h is None else h.words
    return f"{words} !" if cell.own_text is not None and cell.own_text.fault else words


def _loss(cell: GridCell) -> str:
    loss = cell.loss_nats_per_token
    return "infinite" if cell.impossible_tokens else "–" if loss is None else f"{loss.value:.3f}"


def tell_forecast(forecast: GridForecast, out: TextIO) -> None:
    """A forecast for people: a line a cell, and the sum."""
    lines = [
        f"{counted(len(forecast.cells), 'cell')} to measure, {forecast.n_finished} finished",
        f"  time    {forecast.seconds.time()} one after the other, models being loaded",
        *(f"            {one.seconds.time():<22}{name}" for name, one in forecast.cells.items()),
        *(f"            refused: {name}: {why}" for name, why in forecast.refused.items()),
        f"  memory  {forecast.memory_bytes.memory()}, of the largest cell, for each worker",
        f"  disk    {forecast.disk_bytes.memory()} in {forecast.folder}",
        "nothing was written",
    ]
    print("\n".join(lines), file=out)
