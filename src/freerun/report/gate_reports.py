"""Gates for machines and for a summary: JUnit XML and a Markdown table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from freerun.comparisons.gates import Judged
from freerun.report.pages.template import Page
from freerun.report.visible import visible

_SIGNS = {"pass": "✅ pass", "fail": "❌ fail", "undecided": "⚠️ undecided"}


def junit_xml(judged: Sequence[Judged], *, title: str, verb: str, created: str, properties: dict[str, Any]) -> str:
    """Return one test suite with one case a gate: failed gates are failures, undecided ones errors.

    An undecided gate fails a build (exit 3), so it is no `skipped`, which most servers show as harmless. Valid under the
    schema of Ant's JUnit task (windyroad/JUnit-Schema), the strictest in common use.
    """
    return _JUNIT.render(judged=judged, title=title, verb=verb, created=created, properties=properties) + "\n"


def markdown_table(judged: Sequence[Judged], *, title: str, sentence: str) -> str:
    """Return a heading, the verdict's sentence and a table, one row a gate."""
    rows = ["| gate | | why | what would decide it |", "|---|---|---|---|"]
    rows += [f"| `{_code(j.gate)}` | {_SIGNS[j.decision]} | {_cell(j.words)} | {_cell(j.needed)} |" for j in judged]
    return "\n".join([f"### freerun: {_cell(title)}", "", _cell(sentence), "", *rows, ""])


def _cell(text: str) -> str:
    """One line that cannot leave its cell: no markup of its own."""
    plain = _line(text, nothing="").replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|`*\[\]#~])", r"\\\1", plain)


def _code(text: str) -> str:
    """What can stand between two backticks in a cell."""
    return re.sub(r"[|`]", "", _line(text, nothing=""))


def _line(text: str, *, nothing: str = "–") -> str:
    """One line, unseen characters as signs."""
    return visible(" ".join(text.split())) or nothing


def _timestamp(created: str) -> str:
    """ISO time without a zone, as the schema has it."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        when = datetime(1970, 1, 1)
    return when.strftime("%Y-%m-%dT%H:%M:%S")


_JUNIT = Page("junit.xml.j2", {"line": _line, "timestamp": _timestamp})
