"""A run's answer on the terminal: the verdict, the numbers behind it, and where the report is."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, TextIO

from freerun.commands.terminal import columns_between, say, shown
from freerun.results.verdict import horizon_beside

if TYPE_CHECKING:
    from freerun.runs.run import Run


def tell(run: Run, out: TextIO) -> None:
    """Print what a person wants to know first: the outcome, three points under it, the numbers, and what to type next."""
    width = columns_between(1, 100)
    result = run.result
    verdict = result["verdict"]

    def paragraph(text: str, indent: str = "") -> None:
        say(textwrap.wrap(shown(text), width, initial_indent=indent, subsequent_indent=" " * len(indent)), out)

    print(file=out)
    paragraph(verdict["sentence"])
    if beside := horizon_beside(verdict):
        paragraph(beside)
    if verdict.get("strength") == "slight":
        paragraph("This rests on few texts: read it as a first look.")
    print(file=out)
    if detail := verdict.get("detail"):
        paragraph(detail)
    for point in verdict.get("points") or ():
        paragraph(point["text"], f"  {shown(point['label']):<19}")
    print(file=out)
    for card in result["headline"]:
        value = f"{card['value']} {card['unit']}".strip()
        interval = f"  (95%: {card['interval']})" if card["interval"] else ""
        note = f"  {card['note']}" if card["note"] else ""
        say([f"  {card['label']:<24}{value}{interval}{note}"], out)
    print(file=out)
    if step := verdict.get("next_step"):
        say([f"next     {shown(step['words'])}", f"         {shown(step['type'])}"], out)
    say([f"report   {run.report}", f"numbers  {run.path / 'result.json'}"], out)
