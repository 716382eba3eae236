"""Count loops in any texts, and say what a stop rule would cost and save; no model.

TEXTS is a file of samples from an engine or a trainer, texts of any kind, or the folder of a finished audit. A loop is a phrase
that stands at least 3 times in a row, over at least 24 tokens. Near-loops (a tenth of the tokens may differ) and lists in which
only a number changes are counted apart. A stop rule ends a text as soon as a phrase has come back often enough: freerun counts
the tokens that it saves and, with --real, how often it would stop real text by mistake.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from freerun.commands.model_arguments import add_json_argument
from freerun.samples.catalogue import FORMATS

if TYPE_CHECKING:
    from freerun.results.finding import Table
    from freerun.results.loops import LoopsResult, TextsRead

EXAMPLES = """\
examples:
  freerun loops rollouts.jsonl --real builtin/python-docs --tokenizer smollm2-135m-instruct
  freerun loops runs/NAME                    a finished audit: the model's text beside the real text
  freerun loops answers.txt --real essays/   no tokenizer: counted in words
  freerun loops rollouts.jsonl --stop-rule period=64,copies=4,tokens=64 --stop-rule period=512,copies=8,tokens=256
      two stop rules of your own
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "texts", metavar="TEXTS", help="a file or folder of samples or texts, or the folder of a finished audit"
    )
    parser.add_argument(
        "--real",
        metavar="CORPUS",
        help="real text to compare with, and to count false stops in: a file, a folder, builtin/NAME",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="MODEL",
        help="count in the tokens of this model, whose weights are not loaded (default: the token ids in the file, or else words)",
    )
    parser.add_argument("--words", action="store_true", help="count in words, even where there are token ids")
    parser.add_argument(
        "--stop-rule",
        metavar="RULE",
        action="append",
        default=[],
        help="a stop rule to try: period=128,copies=3,tokens=48 ends a text where a phrase of at most 128 tokens has come at "
        "least 3 times in a row, over at least 48 tokens; may be repeated (default: three rules)",
    )
    parser.add_argument(
        "--without-prompts",
        action="store_true",
        help="do not count repetitions of the prompt: what repeats must begin after it",
    )
    parser.add_argument(
        "--format",
        choices=tuple(known.name for known in FORMATS),
        metavar="FORMAT",
        help=f"the format of the samples (default: recognised): {', '.join(known.name for known in FORMATS)}",
    )
    parser.add_argument(
        "--requests",
        metavar="FILE",
        help="for the output of a batch: the file of its requests, which holds the prompts",
    )
    parser.add_argument("-o", "--out", metavar="DIR", help="also write a page, loops.html, into this folder")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.main import print_json
    from freerun.commands.progress import Reporter
    from freerun.jobs.loops.loops import PAGE, loops
    from freerun.results.finding import to_json

    result = loops(
        arguments.texts,
        real=arguments.real,
        tokenizer=arguments.tokenizer,
        stop_rules=arguments.stop_rule,
        words=arguments.words,
        prompts_count=not arguments.without_prompts,
        format=arguments.format,
        requests=arguments.requests,
        out=arguments.out,
        say=Reporter().say,
    )
    if arguments.json:
        print_json(to_json(result))
    else:
        tell_loops(result, sys.stdout)
        if arguments.out:
            print(f"\npage     {arguments.out}/{PAGE}")
    return 3 if result.finding.status == "unknown" else 0


def tell_loops(result: LoopsResult, out: TextIO) -> None:
    """The result for people: the answer, the tables, what was read and left out."""
    from freerun.commands.terminal import columns_between, say
    from freerun.commands.verdict import say_next, say_points
    from freerun.results.finding import to_json

    width = columns_between(60, 120)
    print(file=out)
    say(textwrap.wrap(result.finding.sentence, width), out)
    print(file=out)
    plain = {"points": to_json(result.points), "next_step": to_json(result.next_step)}
    say_points(plain, out)
    for table in result.finding.tables:
        print(file=out)
        say([table.title, *_table_lines(table, width)], out)
    print(file=out)
    for side in (result.own, result.real):
        if side is not None:
            for line in _read_lines(side, result.unit):
                say(textwrap.wrap(line, width, subsequent_indent="  "), out)
    for note in result.finding.notes:
        say(textwrap.wrap(f"note: {note}", width, subsequent_indent="  "), out)
    say_next(plain, out)


def _table_lines(table: Table, width: int) -> Iterator[str]:
    """Each row as its name and then one line a column: tables of this width are not read on a terminal otherwise."""
    for row in table.rows:
        first, *others = (cell if isinstance(cell, str) else cell.text for cell in row)
        yield f"  {first}"
        for name, cell in zip(table.columns[1:], others, strict=True):
            yield from textwrap.wrap(f"{name}: {cell}", width, initial_indent="    ", subsequent_indent="      ")


def _read_lines(side: TextsRead, unit: str) -> Iterator[str]:
    ends = f"{side.ended:,} ended, {side.cut_off:,} cut off" + (
        f", {side.end_unknown:,} not known" if side.end_unknown else ""
    )
    yield f"{side.name} ({side.format}): {side.texts:,} texts, {side.independent:,} independent, {side.tokens:,} {unit}; {ends}"
    for left in side.left_out:
        yield f"left out: {left.rows:,} × {left.reason} ({'; '.join(left.first)})"
