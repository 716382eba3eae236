"""Gates for machines and for a summary: JUnit XML and a Markdown table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from freerun.comparisons.gates import Judged
from freerun.report.visible import visible

_SIGNS = {"pass": "✅ pass", "fail": "❌ fail", "undecided": "⚠️ undecided"}


def junit_xml(judged: Sequence[Judged], *, title: str, verb: str, created: str, properties: dict[str, Any]) -> str:
    """Return one test suite with one case a gate: failed gates are failures, undecided ones errors.

    An undecided gate fails a build (exit 3), so it is no `skipped`, which most servers show as harmless. Valid under the
    schema of Ant's JUnit task (windyroad/JUnit-Schema), the strictest in common use.
    """
    counts = {d: str(sum(j.decision == d for j in judged)) for d in ("fail", "undecided")}
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        {
            "name": _token(f"freerun {verb}: {title}"),
            "package": "freerun",
            "id": "0",
            "timestamp": _timestamp(created),
            "hostname": "localhost",
            "tests": str(len(judged)),
            "failures": counts["fail"],
            "errors": counts["undecided"],
            "time": "0",
        },
    )
    table = ElementTree.SubElement(suite, "properties")
    for name, value in properties.items():
        ElementTree.SubElement(table, "property", {"name": _token(name), "value": visible(str(value))})
    for j in judged:
        case = ElementTree.SubElement(
            suite, "testcase", {"name": _token(j.gate), "classname": f"freerun.{verb}", "time": "0"}
        )
        kind = {"fail": "failure", "undecided": "error"}.get(j.decision)
        if kind is not None:
            why = ElementTree.SubElement(case, kind, {"type": f"gate.{j.decision}", "message": visible(j.words)})
            why.text = visible(". ".join(part for part in (j.words, j.needed) if part))
    ElementTree.SubElement(suite, "system-out").text = visible(
        "\n".join(f"{j.gate}: {j.decision}: {j.words}" for j in judged)
    )
    ElementTree.SubElement(suite, "system-err")
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def markdown_table(judged: Sequence[Judged], *, title: str, sentence: str) -> str:
    """Return a heading, the verdict's sentence and a table, one row a gate."""
    rows = ["| gate | | why | what would decide it |", "|---|---|---|---|"]
    rows += [f"| `{_code(j.gate)}` | {_SIGNS[j.decision]} | {_cell(j.words)} | {_cell(j.needed)} |" for j in judged]
    return "\n".join([f"### freerun: {_cell(title)}", "", _cell(sentence), "", *rows, ""])


def _cell(text: str) -> str:
    """One line that cannot leave its cell: no markup of its own."""
    plain = visible(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|`*\[\]#~])", r"\\\1", plain)


def _code(text: str) -> str:
    """What can stand between two backticks in a cell."""
    return re.sub(r"[|`]", "", visible(" ".join(text.split())))


def _token(text: str) -> str:
    """One line that XML can hold: unseen characters as signs."""
    return " ".join(visible(text).split()) or "–"


def _timestamp(created: str) -> str:
    """ISO time without a zone, as the schema has it."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        when = datetime(1970, 1, 1)
    return when.strftime("%Y-%m-%dT%H:%M:%S")
