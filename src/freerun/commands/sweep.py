"""`freerun audit --sweep …` on the command line: the settings one after the other, then what context does to the gap."""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import TYPE_CHECKING, Any, TextIO

from freerun.counted import counted

if TYPE_CHECKING:
    from freerun.jobs.sweep.forecast import SweepForecast
    from freerun.jobs.sweep.sweep import Sweep
    from freerun.runs.executors.job import Executor


def run_swept_audit(
    arguments: argparse.Namespace, model: str, corpus: str, options: dict[str, Any], executor: Executor | None = None
) -> int:
    """An audit with `--sweep`; the exit code."""
    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.errors import UsageError
    from freerun.jobs.audit.options import AuditOptions
    from freerun.jobs.sweep.sweep import parse_axes, run_sweep

    axes = parse_axes(arguments.sweep)
    if arguments.fail_on or arguments.junit or arguments.markdown:
        raise UsageError(
            "--fail-on judges one run, --sweep makes several: leave it out, or give it to the audit of one setting "
            "(its command stands in its report; what is measured is not measured again)"
        )
    progress = Reporter()
    if arguments.dry_run:
        from freerun.jobs.sweep.forecast import forecast_sweep

        forecast = forecast_sweep(model, corpus, axes, AuditOptions(**options), out=arguments.out, say=progress.say)
        if arguments.json:
            print_json(forecast.to_json())
        else:
            tell_sweep_forecast(forecast, sys.stdout)
        return 0
    if arguments.parts:
        raise UsageError(f"--parts {arguments.parts} goes with one audit or a grid, not with --sweep")
    done = run_sweep(model, corpus, axes, out=arguments.out, executor=executor, progress=progress, **options)
    return told(done, as_json=arguments.json)


def told(done: Sweep, *, as_json: bool) -> int:
    """Print a sweep's result and return the exit code: 3 where nothing can be said."""
    from freerun.commands.main import print_json

    if as_json:
        print_json(done.result)
    else:
        tell_sweep(done, sys.stdout)
    return 3 if done.result["verdict"]["status"] == "unknown" else 0


def tell_sweep(done: Sweep, out: TextIO) -> None:
    """A sweep for people: the sentence, a line a setting, and where the page is."""
    from freerun.commands.terminal import columns_between, say, shown
    from freerun.commands.verdict import say_next, say_points

    width = columns_between(1, 100)
    result = done.result

    def paragraph(text: str) -> None:
        say(textwrap.wrap(shown(text), width), out)

    print(file=out)
    paragraph(result["verdict"]["sentence"])
    print(file=out)
    say_points(result["verdict"], out)
    if result["axes"]:
        tokens = result["design"]["tokens"]
        print(file=out)
        say([f"  {'setting':<16}{'mean AUC':<24}{f'AUC at {tokens} tokens':<24}{'H75, tokens':<40}loss"], out)
        say([_line(s) for s in result["settings"]], out)
    for caution in result["cautions"]:
        paragraph(f"note: {caution}")
    print(file=out)
    say_next(result["verdict"], out)
    say([f"report   {done.report}", f"numbers  {done.path / 'result.json'}"], out)


def _line(s: dict[str, Any]) -> str:
    def ends(e: dict[str, Any]) -> str:
        return f"({e['low']:.3f} to {e['high']:.3f})"

    mean, last, h, loss = s["mean_auc"], s["auc_last"], s["h75_tokens"], s["loss_nats_per_token"]
    cells = (
        f"{mean['value']:.3f} {ends(mean)}",
        f"{last['value']:.3f} {ends(last)}",
        h["words"],
    )
    told_loss = "infinite" if loss["impossible_tokens"] else f"{loss['value']:.3f}"
    return f"  {s['name']:<16}{cells[0]:<24}{cells[1]:<24}{cells[2]:<40}{told_loss}"


def tell_sweep_forecast(forecast: SweepForecast, stream: TextIO) -> None:
    """A forecast for people: a line a setting, and the sum."""
    first = next(iter(forecast.settings.values()))
    lines = [
        f"{first.model} on {first.corpus}: {first.documents} documents, {counted(len(forecast.settings), 'setting')}, "
        f"{first.tokens} tokens after the cut, on {first.device}",
        f"  time    {forecast.seconds.time()}, the model being loaded",
        *(f"            {one.seconds.time():<22}{name}" for name, one in forecast.settings.items()),
        f"            {forecast.comparing_seconds.time():<22}comparing them",
        f"  memory  {forecast.memory_bytes.memory()}, of the largest setting",
        f"  disk    {forecast.disk_bytes.memory()} in {forecast.folder}",
        "nothing was written",
    ]
    print("\n".join(lines), file=stream)
