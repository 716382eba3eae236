"""A run's answer on the terminal: the verdict, the numbers behind it, and where the report is."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from freerun.experiments.audit import Run


def tell(run: Run, out: TextIO) -> None:
    """Print what a person wants to know first."""
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    result = run.result

    def paragraph(text: str) -> None:
        print(textwrap.fill(text, width), file=out)

    print(file=out)
    paragraph(result["verdict"]["sentence"])
    if result["verdict"].get("outcome"):
        paragraph(
            f"Up to the longest length measured: {result['verdict']['outcome']} ({result['verdict']['outcome_words']})."
        )
    print(file=out)
    for card in result["headline"]:
        value = f"{card['value']} {card['unit']}".strip()
        interval = f"  (95%: {card['interval']})" if card["interval"] else ""
        note = f"  {card['note']}" if card["note"] else ""
        print(f"  {card['label']:<24}{value}{interval}{note}", file=out)
    print(file=out)
    paragraph(result["verdict"]["detail"])
    print(file=out)
    print(f"report   {run.report}", file=out)
    print(f"numbers  {run.path / 'result.json'}", file=out)
