"""The study as Markdown and as a picture of its own: what stands in docs/power.md and beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial

from freerun.errors import DataError
from freerun.jobs.power.words import null_words
from freerun.report.charts.heat import heat_map, per_cent
from freerun.report.charts.picture import framed
from freerun.report.numbers import format_number
from freerun.report.pages.power import by_organism, effects, percent, rate_rows
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.results.power import Expectation, PowerMetric, PowerResult


def rates_markdown(result: PowerResult) -> str:
    """All rates with their intervals, a table a base."""
    lines = []
    for base in result.bases:
        lines += [f"## {base.name}", "", f"{base.meaning[0].upper()}{base.meaning[1:]}.", ""]
        labels = [m.label for m in result.metrics]
        lines += [f"| organism | tokens | texts | {' | '.join(labels)} |", "|---" * (3 + len(labels)) + "|"]
        for row in rate_rows(result, base.name):
            cells = [str(row.label), str(row.tokens), str(row.texts), *row.cells]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def expectations_markdown(result: PowerResult) -> str:
    """What was expected and what was found, with the power at the lengths of the plan on every base."""
    columns = list(dict.fromkeys(e.column for e in result.expectations))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for organism, entries in by_organism(result).items():
        cells = []
        for entry in entries:
            found = entry.found or "not run"
            mark = "" if entry.confirmed in (True, None) else " **corrected**"
            cells.append(f"{found} (expected {entry.expected}){mark}{_numbers(result, entry)}")
        lines.append(f"| {organism} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _numbers(result: PowerResult, entry: Expectation) -> str:
    """Power by length, one line a base, in per cent."""
    texts = result.plan.texts[-1]
    said = []
    for base in entry.by_base:
        mine = [
            per_cent(c.rate)
            for c in result.cells
            if (c.base, c.organism, c.metric, c.texts) == (base, entry.planted, entry.metric, texts)
        ]
        said.append(f"<br>{base} {' '.join(mine)}")
    return "".join(said)


def sizes_markdown(result: PowerResult) -> str:
    """The null rates of every metric against the band."""
    null = result.null
    lines = [
        null_words(result),
        "",
        "| metric | size, as declared | cells | mean | least to most | in the band |",
        "|---|---|---|---|---|---|",
    ]
    labels = {m.name: m.label for m in result.metrics}
    controls = result.controls
    rows = [*null.by_metric, *(controls.by_metric if controls else [])]
    for m in rows:
        kind = " (control, all organisms)" if controls and m in controls.by_metric else ""
        cells = (
            f"{labels[m.metric]}{kind}",
            m.size,
            str(m.cells),
            percent(m.mean, 1),
            f"{percent(m.least, 1)} to {percent(m.most, 1)}",
            "yes" if m.inside else "no",
        )
        lines.append("| " + " | ".join(cells) + " |")
    if controls:
        band = f"{percent(controls.low, 1)} to {percent(controls.high, 1)}"
        lines += ["", f"The controls have {controls.runs:,} reruns a cell and a band of their own, {band}."]
    return "\n".join(lines)


def effects_markdown(result: PowerResult) -> str:
    """What each organism does, and what it costs on real text."""
    longest = result.plan.lengths[-1]
    found = effects(result)
    heads = [f"{b.name}, nats a text of {longest} tokens" for b in result.bases]
    lines = [f"| organism | what it does | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for o in result.organisms:
        costs = [found[b.name, o.name] for b in result.bases]
        said = [
            f"{format_number(e.excess_nats_per_text, digits=3)} ± {format_number(1.96 * e.standard_error, digits=2)}"
            for e in costs
        ]
        lines.append(f"| {o.label} | {o.meaning} | {' | '.join(said)} |")
    return "\n".join(lines)


def blocks_markdown(result: PowerResult) -> dict[str, str]:
    """The generated parts of docs/power.md, by the name of their block."""
    plan = result.plan
    made = result.provenance
    facts = (
        f"    {result.command}\n\n"
        f"{len(result.cells):,} cells: {plan.reruns:,} reruns each, {plan.null_reruns:,} of the null; lengths "
        f"{_joined(plan.lengths)} tokens; {_joined(plan.texts)} texts of each kind; {result.seconds_of_work / 60:.0f} "
        f"minutes of work on {made['machine']}, Python {made['python']}, numpy {made['numpy']}, scikit-learn "
        f"{made['scikit-learn']}. Plan {result.plan_hash}. All rates with intervals: [rates.md](../studies/power/rates.md); "
        "as data: [result.json](../studies/power/result.json)."
    )
    picture = (
        f"![Power by organism, length and metric, {plan.texts[-1]} texts a side](../studies/power/picture.svg)\n\n"
        "Per cent of reruns rejected; the first rows have nothing planted."
    )
    table = f"{result.expectation_rule} Below each sign: power in per cent at {_joined(plan.lengths)} tokens.\n\n"
    return {
        "run": facts,
        "metrics": metrics_markdown(result.metrics),
        "map": picture,
        "null": sizes_markdown(result),
        "effects": effects_markdown(result),
        "expected": table + expectations_markdown(result),
    }


def _joined(values: Sequence[int]) -> str:
    words = [str(v) for v in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def metrics_markdown(metrics: Sequence[PowerMetric]) -> str:
    """What each metric tests, as a table."""
    lines = ["| metric | null | test | size | needs P | source |", "|---|---|---|---|---|---|"]
    for m in metrics:
        label = f"{m.label} (control)" if m.control else str(m.label)
        lines.append(
            f"| {label} | {m.null} | {m.test} | {m.size} | {'yes' if m.knows_truth else 'no'} | {m.source or '–'} |"
        )
    return "\n".join(lines)


def heat_standing_alone(result: PowerResult, *, texts: int) -> str:
    """The heat map of all bases as the text of an SVG file that needs no style sheet and no network."""
    return framed(heat_map(result, texts=texts, cell=30.0), css="power.css", kind="heat")


def compact(table: PowerResult) -> str:
    """The result as JSON, each cell as a line of values under names that stand once."""
    result = to_json(table)
    columns = list(dict.fromkeys(name for cell in result["cells"] for name in cell))
    lines = ",\n".join(json.dumps([cell.get(name) for name in columns], allow_nan=False) for cell in result["cells"])
    head = json.dumps({**result, "cells": {"columns": columns, "rows": []}}, indent=1, allow_nan=False)
    return head.replace('"rows": []', f'"rows": [\n{lines}\n]', 1) + "\n"


def read_compact(text: str) -> PowerResult:
    """The result that `compact` wrote."""
    result = json.loads(text)
    columns = result["cells"]["columns"]
    cells = [dict(zip(columns, row, strict=True)) for row in result["cells"]["rows"]]
    cells = [{k: v for k, v in cell.items() if v is not None} for cell in cells]
    return from_json(PowerResult, {**result, "cells": cells})


def filled(page: str, blocks: Mapping[str, str], *, study: str = "power") -> str:
    """A page with the text between `<!-- power:NAME:begin … -->` and `<!-- power:NAME:end -->` replaced, for every block;
    `power` is the name of the study.

    Raises:
        DataError: a block that the page does not have.
    """
    for name, text in blocks.items():
        shape = re.compile(
            rf"(<!-- {study}:{re.escape(name)}:begin[^\n]*-->\n).*?(<!-- {study}:{re.escape(name)}:end -->)", re.DOTALL
        )
        if not shape.search(page):
            raise DataError(f"the page has no block {study}:{name}")
        page = shape.sub(partial(_put, text.strip()), page)
    return page


def _put(text: str, found: re.Match[str]) -> str:
    return f"{found[1]}{text}\n{found[2]}"
