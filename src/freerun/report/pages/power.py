"""The single-file page of `freerun power`, drawn from its plain dict and from nothing else; and its tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from markupsafe import Markup

from freerun.report.charts.heat import heat_map, per_cent
from freerun.report.numbers import format_number
from freerun.report.pages.audit import STATUSES
from freerun.report.pages.template import asset, environment, stylesheet

Result = Mapping[str, Any]


def render_power(result: Result) -> str:
    """Return the page of a power table as one HTML document that needs no network and no other file; all text is escaped."""
    made = environment(
        {
            "badge": _badge,
            "heat": lambda base, n: heat_map(result, texts=n, bases=[base], key=f"heat-{base}-{n}"),
            "number": format_number,
            "percent": percent,
            "rates": partial(_rate_rows, result),
        }
    )
    return made.get_template("power.html.j2").render(
        result=result,
        style=Markup(stylesheet() + asset("power.css")),
        labels={m["name"]: m["label"] for m in result["metrics"]},
        most=result["plan"]["texts"][-1],
        longest=result["plan"]["lengths"][-1],
        columns=list(dict.fromkeys(e["column"] for e in result["expectations"])),
        expected=list(_by_organism(result).items()),
        effects=_effects(result),
    )


def percent(share: float, decimals: int = 0) -> str:
    """Print a share.

    >>> percent(0.05), percent(0.0341, 1)
    ('5%', '3.4%')
    """
    return f"{share:.{decimals}%}"


def _badge(status: str) -> dict[str, str]:
    sign, words = {
        **STATUSES,
        "good": ("✓", "Every null rate in its band"),
        "bad": ("!", "A null rate outside its band"),
    }[status]
    return {"name": status, "sign": sign, "words": words}


def _by_organism(result: Result) -> dict[str, list[Mapping[str, Any]]]:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for entry in result["expectations"]:
        rows.setdefault(entry["organism"], []).append(entry)
    return rows


def _effects(result: Result) -> dict[tuple[str, str], Mapping[str, Any]]:
    longest = result["plan"]["lengths"][-1]
    return {(e["base"], e["organism"]): e for e in result["effects"] if e["tokens"] == longest}


def _rate_rows(result: Result, base: str) -> Iterator[dict[str, Any]]:
    """Rows of the table of all rates: one an organism, length and number of texts."""
    found = {(c["organism"], c["tokens"], c["texts"], c["metric"]): c for c in result["cells"] if c["base"] == base}
    for organism in result["organisms"]:
        for tokens in result["plan"]["lengths"]:
            for texts in result["plan"]["texts"]:
                cells = [found.get((organism["name"], tokens, texts, m["name"])) for m in result["metrics"]]
                yield {
                    "label": organism["label"],
                    "tokens": tokens,
                    "texts": texts,
                    "cells": ["" if c is None else with_interval(c) for c in cells],
                }


def with_interval(cell: Mapping[str, Any]) -> str:
    """A rate in per cent with its limits.

    >>> with_interval({"rate": 0.83, "low": 0.771, "high": 0.8795, "runs": 200})
    '83 (77–88)'
    """
    digits = 1 if cell["runs"] >= 1000 else 0
    value, low, high = (f"{100 * cell[name]:.{digits}f}" for name in ("rate", "low", "high"))
    return f"{value} ({low}–{high})"


# ---- Markdown --------------------------------------------------------------------------------------------------------


def rates_markdown(result: Result) -> str:
    """All rates with their intervals, a table a base."""
    lines = []
    for base in result["bases"]:
        lines += [f"## {base['name']}", "", f"{base['meaning'][0].upper()}{base['meaning'][1:]}.", ""]
        labels = [m["label"] for m in result["metrics"]]
        lines += [f"| organism | tokens | texts | {' | '.join(labels)} |", "|---" * (3 + len(labels)) + "|"]
        for row in _rate_rows(result, base["name"]):
            cells = [str(row["label"]), str(row["tokens"]), str(row["texts"]), *row["cells"]]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def expectations_markdown(result: Result) -> str:
    """What was expected and what was found, with the power at the lengths of the plan on every base."""
    columns = list(dict.fromkeys(e["column"] for e in result["expectations"]))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for organism, entries in _by_organism(result).items():
        cells = []
        for entry in entries:
            found = entry["found"] or "not run"
            mark = "" if entry["confirmed"] in (True, None) else " **corrected**"
            cells.append(f"{found} (expected {entry['expected']}){mark}{_numbers(result, entry)}")
        lines.append(f"| {organism} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _numbers(result: Result, entry: Mapping[str, Any]) -> str:
    """Power by length, one line a base, in per cent."""
    texts = result["plan"]["texts"][-1]
    said = []
    for base in entry["by_base"]:
        mine = [
            per_cent(c["rate"])
            for c in result["cells"]
            if (c["base"], c["organism"], c["metric"], c["texts"]) == (base, entry["planted"], entry["metric"], texts)
        ]
        said.append(f"<br>{base} {' '.join(mine)}")
    return "".join(said)


def sizes_markdown(result: Result) -> str:
    """The null rates of every metric against the band."""
    null = result["null"]
    lines = [
        f"{result['sentence']}",
        "",
        "| metric | size, as declared | cells | mean | least to most | in the band |",
        "|---|---|---|---|---|---|",
    ]
    labels = {m["name"]: m["label"] for m in result["metrics"]}
    controls = result["controls"]
    rows = [*null["by_metric"], *(controls["by_metric"] if controls else [])]
    for m in rows:
        kind = " (control, all organisms)" if controls and m in controls["by_metric"] else ""
        cells = (
            f"{labels[m['metric']]}{kind}",
            m["size"],
            str(m["cells"]),
            percent(m["mean"], 1),
            f"{percent(m['least'], 1)} to {percent(m['most'], 1)}",
            "yes" if m["inside"] else "no",
        )
        lines.append("| " + " | ".join(cells) + " |")
    if controls:
        band = f"{percent(controls['low'], 1)} to {percent(controls['high'], 1)}"
        lines += ["", f"The controls have {controls['runs']:,} reruns a cell and a band of their own, {band}."]
    return "\n".join(lines)


def effects_markdown(result: Result) -> str:
    """What each organism does, and what it costs on real text."""
    longest = result["plan"]["lengths"][-1]
    found = _effects(result)
    heads = [f"{b['name']}, nats a text of {longest} tokens" for b in result["bases"]]
    lines = [f"| organism | what it does | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|"]
    for o in result["organisms"]:
        costs = [found[b["name"], o["name"]] for b in result["bases"]]
        said = [
            f"{format_number(e['excess_nats_per_text'], digits=3)} ± {format_number(1.96 * e['standard_error'], digits=2)}"
            for e in costs
        ]
        lines.append(f"| {o['label']} | {o['meaning']} | {' | '.join(said)} |")
    return "\n".join(lines)


def blocks_markdown(result: Result) -> dict[str, str]:
    """The generated parts of docs/power.md, by the name of their block."""
    plan = result["plan"]
    made = result["provenance"]
    facts = (
        f"    {result['command']}\n\n"
        f"{len(result['cells']):,} cells: {plan['reruns']:,} reruns each, {plan['null_reruns']:,} of the null; lengths "
        f"{_joined(plan['lengths'])} tokens; {_joined(plan['texts'])} texts of each kind; {result['seconds_of_work'] / 60:.0f} "
        f"minutes of work on {made['machine']}, Python {made['python']}, numpy {made['numpy']}, scikit-learn "
        f"{made['scikit-learn']}. Plan {result['plan_hash']}. All rates with intervals: [data/power.md](data/power.md); as data: "
        "[data/power.json](data/power.json)."
    )
    picture = (
        f"![Power by organism, length and metric, {plan['texts'][-1]} texts a side](images/power.svg)\n\n"
        "Per cent of reruns rejected; the first rows have nothing planted."
    )
    table = f"{result['expectation_rule']} Below each sign: power in per cent at {_joined(plan['lengths'])} tokens.\n\n"
    return {
        "run": facts,
        "metrics": metrics_markdown(result["metrics"]),
        "map": picture,
        "null": sizes_markdown(result),
        "effects": effects_markdown(result),
        "expected": table + expectations_markdown(result),
    }


def _joined(values: list[int]) -> str:
    words = [str(v) for v in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def metrics_markdown(metrics: list[Mapping[str, Any]]) -> str:
    """What each metric tests, as a table."""
    lines = ["| metric | null | test | size | source |", "|---|---|---|---|---|"]
    for m in metrics:
        label = f"{m['label']} (control)" if m["control"] else str(m["label"])
        lines.append(f"| {label} | {m['null']} | {m['test']} | {m['size']} | {m['source'] or '–'} |")
    return "\n".join(lines)
