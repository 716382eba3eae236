"""Show what differs between finished audits of the same documents, with intervals; no model is loaded.

Documents and random draws are paired, so that what is hard for every model cancels. The loss and the horizon (the length from which
a detector tells a model's text from real text) come first, then every other number. Beside each difference stand its interval,
whether it differs from zero once the number of comparisons is allowed for, and the smallest difference that would be found four
times in five. With more than two runs, each is compared with the first, and a trend is fitted.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from freerun.commands.gating import add_gate_arguments
from freerun.commands.model_arguments import add_json_argument
from freerun.counted import counted

EXAMPLES = """\
examples:
  freerun compare runs/fp32 runs/int8
  freerun compare runs/base runs/tuned -o difference.html --fail-on 'loss_nats>+0.02' --fail-on 'horizon<-16'
      a page, and a gate: fail if the loss is up by more than 0.02 nats or text is told apart 16 tokens sooner
  freerun compare runs/step-1000 runs/step-4000 runs/step-16000 --x 1000,4000,16000 --x-label steps
  freerun compare runs/model-a runs/model-b --anyway   other tokenizers or corpora
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="the folders of two or more finished audits; each of the others is compared with the first",
    )
    parser.add_argument(
        "--anyway",
        action="store_true",
        help="compare runs even if they differ in backend, tokenisation, corpus, context or window, and list what is then "
        "no longer valid",
    )
    parser.add_argument(
        "--x",
        metavar="NUMBERS",
        help="a number for each run (training steps, size, dose), separated by commas, to fit a trend over",
    )
    parser.add_argument(
        "--x-label", default="run", metavar="WORDS", help="what these numbers are, for the picture (default run)"
    )
    parser.add_argument("-o", "--out", metavar="FILE", help="also write a page (one HTML file that needs no network)")
    add_json_argument(parser)
    add_gate_arguments(parser, example="'loss_nats>+0.02' (a difference, with its sign)")


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.gating import exit_code, gates_json, judge_gates, read_gates, tell_gates
    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.errors import UsageError
    from freerun.jobs.compare import compare
    from freerun.results.finding import to_json

    if len(arguments.runs) < 2:
        raise UsageError(f"compare takes two or more runs, {arguments.runs[0]!r} is one")
    gates = read_gates(arguments, relative=True)
    x = _numbers(arguments.x)
    result = to_json(
        compare(*arguments.runs, anyway=arguments.anyway, x=x, x_label=arguments.x_label, say=Reporter().say)
    )
    judged = judge_gates(arguments, gates, result, verb="compare")
    if arguments.out:
        from freerun.files import write_atomically
        from freerun.report.pages.compare import render_compare

        write_atomically(Path(arguments.out), render_compare(result))
    if arguments.json:
        print_json({**result, **gates_json(judged)})
    else:
        tell_comparison(result, sys.stdout)
        tell_gates(judged, sys.stdout)
        if arguments.out:
            print(f"\npage     {arguments.out}")
    return exit_code(judged, unknown=False)


def _numbers(text: str | None) -> list[float] | None:
    from freerun.errors import UsageError

    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--x {text!r}: numbers joined by commas, one a run, for example 1000,4000,16000") from error


def tell_comparison(result: Mapping[str, Any], out: TextIO) -> None:
    """A comparison for people: the verdict, what no longer holds, and what differs."""
    from freerun.commands.terminal import say, shown
    from freerun.commands.verdict import say_next, say_points

    def paragraph(text: str, indent: str = "") -> None:
        say(textwrap.wrap(shown(text), 100, initial_indent=indent, subsequent_indent=indent), out)

    print(file=out)
    paragraph(result["verdict"]["sentence"])
    print(file=out)
    say_points(result["verdict"], out)
    for broken in result["broken"]:
        paragraph(
            f"no longer holds, {broken['what']} ({broken['first']} against {broken['second']}): {broken['lost']}", "  "
        )
    for caution in result["cautions"]:
        paragraph(f"note: {caution}", "  ")
    for pair in result["pairs"]:
        print(file=out)
        say([f"{pair['second']} minus {pair['first']}, {counted(pair['documents_shared'], 'document')}:"], out)
        say(
            [f"  {'':<2}{'quantity':<52}{'difference':>12}  {'95% interval':<22}{'q or p':>8}  {'would find':>10}"], out
        )
        for d in pair["differences"]:
            say([_line(d)], out)
    print(file=out)
    say_next(result["verdict"], out)
    paragraph("* more than luck explains: loss and horizon by Holm, the rest with the false-discovery rate held at 5%.")


def _line(d: Mapping[str, Any]) -> str:
    def number(v: float | None, sign: str = "+") -> str:
        return "open" if v is None else format(v, f"{sign}.3g").replace("-", "−")

    ends = "–" if d["low"] is None and d["high"] is None else f"{number(d['low'])} to {number(d['high'])}"
    p = "–" if d["adjusted_p"] is None else "<0.001" if d["adjusted_p"] < 1e-3 else f"{d['adjusted_p']:.3f}"
    least = "–" if d["smallest_detectable"] is None else number(d["smallest_detectable"], "")
    label = f"{d['label']}, {d['unit']}" if d["unit"] else d["label"]
    label = label if len(label) <= 50 else label[:49] + "…"
    return f"  {'* ' if d['found'] else '  '}{label:<52}{number(d['value']):>12}  {ends:<22}{p:>8}  {least:>10}"
