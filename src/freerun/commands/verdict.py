"""A run's answer on the terminal: the verdict, the numbers behind it, and where the report is."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, TextIO

from freerun.commands.terminal import columns_between, say, shown

if TYPE_CHECKING:
    from freerun.runs.run import Run


def tell(run: Run, out: TextIO) -> None:
    """Print what a person wants to know first."""
    width = columns_between(1, 100)
    result = run.result

    def paragraph(text: str) -> None:
        say(textwrap.wrap(shown(text), width), out)

    print(file=out)
    paragraph(result["verdict"]["sentence"])
    words = result["verdict"].get("outcome_words")
    if words and result["verdict"].get("outcome") != "told_apart":  # the sentence has said it
        paragraph(f"{words[:1].upper()}{words[1:]}.")
    print(file=out)
    for card in result["headline"]:
        value = f"{card['value']} {card['unit']}".strip()
        interval = f"  (95%: {card['interval']})" if card["interval"] else ""
        note = f"  {card['note']}" if card["note"] else ""
        say([f"  {card['label']:<24}{value}{interval}{note}"], out)
    print(file=out)
    paragraph(result["verdict"]["detail"])
    print(file=out)
    say([f"report   {run.report}", f"numbers  {run.path / 'result.json'}"], out)
