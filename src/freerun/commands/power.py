"""Find out by simulation which metric notices which planted defect; no model is loaded.

For every metric, defect, length and number of texts: in what share of repetitions does the test reject? Where nothing is
planted, that is its rate of false alarms (size); elsewhere it is its power. Texts come from an exact world, from an n-gram of
characters and from one of words, and are sampled afresh each time. The quick version has shorter texts and fewer repetitions;
--full makes the table of docs/power.md.

If interrupted, run the same command again: it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from typing import TYPE_CHECKING, TextIO

from freerun.commands.model_arguments import add_json_argument

if TYPE_CHECKING:
    from freerun.results.power import PowerResult

EXAMPLES = """\
examples:
  freerun power                                                the quick version, about 3 minutes on 2 cores
  freerun power --full -o runs/power-full                      the full version, well over half an hour
  freerun power --metrics classifier,perplexity --organisms absorbing,hash     a part of the table
  freerun power --json > power.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--full",
        action="store_true",
        help="the full version: texts of up to 256 tokens, 200 repetitions, and 2,000 where nothing is planted",
    )
    parser.add_argument("-o", "--out", metavar="RUN", help="the folder of the run (default runs/power-<plan hash>)")
    parser.add_argument(
        "--metrics", metavar="LIST", help="these metrics only, separated by commas (a wrong name lists them all)"
    )
    parser.add_argument(
        "--organisms",
        metavar="LIST",
        help="these planted defects (organisms) only, separated by commas; the control without one is always there",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=2,
        metavar="N",
        help="how many processes (default 2); the result does not depend on it",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of every random draw (default 0)")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    import shlex

    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.errors import UsageError
    from freerun.jobs.power.cells import chosen_plan
    from freerun.jobs.power.power import power
    from freerun.results.finding import to_json

    if arguments.seed < 0:
        raise UsageError(f"--seed must be a whole number ≥ 0, not {arguments.seed}")
    metrics, organisms = _listed(arguments.metrics), _listed(arguments.organisms)
    plan = chosen_plan(full=arguments.full, metrics=metrics, organisms=organisms, seed=arguments.seed)
    words = ["freerun", "power", *(["--full"] if arguments.full else [])]
    for flag, chosen in (("--metrics", arguments.metrics), ("--organisms", arguments.organisms)):
        words += [flag, chosen] if chosen is not None else []
    words += ["--seed", str(arguments.seed)] if arguments.seed else []
    folder, result = power(
        plan, out=arguments.out, workers=arguments.workers, progress=Reporter(), command=shlex.join(words)
    )
    if arguments.json:
        print_json(to_json(result))
    else:
        tell_power(result, sys.stdout)
        print(f"\npage     {folder / 'report.html'}")
    return 0


def _listed(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(word.strip() for word in text.split(",") if word.strip())


def tell_power(result: PowerResult, out: TextIO) -> None:
    """A power table for people: the null, then the power with most texts at every length, in per cent."""
    from freerun.commands.terminal import say
    from freerun.commands.verdict import say_next, say_points
    from freerun.report.charts.heat import per_cent
    from freerun.results.finding import to_json

    print(file=out)
    say(textwrap.wrap(result.sentence, 100), out)
    print(file=out)
    plain = {"points": to_json(result.points), "next_step": to_json(result.next_step)}
    say_points(plain, out)
    say_next(plain, out)
    say([f"  also outside: {where}" for where in result.null.outside[1:]], out)
    texts = result.plan.texts[-1]
    metrics = {m.name: _SHORT.get(m.label, m.label) for m in result.metrics if not m.control}
    cells = {(c.base, c.organism, c.tokens, c.metric): c for c in result.cells if c.texts == texts}
    for base in result.bases:
        print(file=out)
        say([f"{base.name}, {texts} texts a side: per cent of reruns rejected at {result.plan.alpha:.0%}"], out)
        say([f"  {'':<20} {'tokens':>6}  {'  '.join(f'{label:>4}' for label in metrics.values())}"], out)
        for organism in result.organisms:
            for i, tokens in enumerate(result.plan.lengths):
                shown = []
                for metric, label in metrics.items():
                    cell = cells.get((base.name, organism.name, tokens, metric))
                    rate = "·" if cell is None else per_cent(cell.rate, null=organism.name == "null")
                    shown.append(f"{rate:>{max(len(label), 4)}}")
                say([f"  {organism.label if i == 0 else '':<20} {tokens:>6}  {'  '.join(shown)}"], out)
    corrected = [e for e in result.expectations if e.confirmed is False]
    if corrected:
        print(file=out)
        listed = "; ".join(f"{e.organism}, {e.column}: {e.found} (expected {e.expected})" for e in corrected)
        say(textwrap.wrap(f"Not as expected: {listed}.", 100), out)


_SHORT = {
    "loss, paired": "paired",
    "perplexity": "perplex.",
    "z, declared": "z",
    "z, real text": "z, real",
    "classifier": "classif.",
    "likelihood ratio": "LR",
    "source drift": "sources",
    "MAUVE-style": "MAUVE",
}
"""Headings of at most 10 characters."""
