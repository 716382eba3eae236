"""Ratios, reaches and slopes of the bench, and the tables of docs/bench.md, which `python bench/table.py` writes from JSON.

Prose outside the markers stays as it is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "bench.md"
SOURCES = {
    name: ROOT / "docs" / "data" / f"bench-{name}.json"
    for name in ("engine", "steps", "cost", "source", "findings", "explore")
}
NOISY_CORES = 0.1
"""A measurement beside which the rest of the machine used more than this many cores is called noisy."""

# ---- arithmetic ------------------------------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> dict[str, float | int]:
    """Median, least and greatest of some repeats.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'min': 1.0, 'max': 3.0, 'n': 3}
    """
    return {
        "median": significant(statistics.median(values)),
        "min": significant(min(values)),
        "max": significant(max(values)),
        "n": len(values),
    }


def ratios(mine: Mapping[int, float], theirs: Mapping[int, float]) -> dict[str, float | int] | None:
    """Mine over theirs, repeat by repeat (a machine that drifts takes both along); None where no repeat has both.

    >>> ratios({0: 2.0, 1: 6.0, 2: 9.0}, {0: 1.0, 1: 2.0})
    {'median': 2.5, 'min': 2.0, 'max': 3.0, 'n': 2}
    """
    both = [mine[r] / theirs[r] for r in sorted(mine) if r in theirs]
    return spread(both) if both else None


def significant(value: float, digits: int = 4) -> float:
    """Rounded to some significant digits.

    >>> significant(1234.56), significant(0.00012345)
    (1235.0, 0.0001234)
    """
    return float(f"{value:.{digits}g}")


def reach(what: str, found: Mapping[str, Any] | None, sense: str, target: float, unit: str = "") -> dict[str, Any]:
    """Whether a figure that was aimed at is met by the median, and by how much it is missed.

    >>> reach("speed", spread([1.5, 1.6, 1.8]), ">=", 1.7)["met"], reach("time", spread([2.0]), "<=", 2.5)["met"]
    (False, True)
    """
    line: dict[str, Any] = {"what": what, "sense": sense, "target": target, "unit": unit, "found": found, "met": None}
    if found is not None:
        short = target - found["median"] if sense == ">=" else found["median"] - target
        line["met"] = short <= 0
        line["missed_by"] = significant(max(0.0, short))
    return line


def slope(points: Mapping[float, Sequence[float]]) -> dict[str, float | int]:
    """Exponent of growth: the slope of log(value) on log(size), fitted to the medians by least squares.

    Its range is the least and greatest slope between neighbouring sizes, over all pairs of their repeats.

    >>> slope({1: [2.0], 10: [20.0], 100: [200.0]})
    {'exponent': 1.0, 'min': 1.0, 'max': 1.0, 'n': 3}
    """
    sizes = sorted(points)
    if len(sizes) < 2:
        raise ValueError("a slope needs two sizes")
    x = [math.log(s) for s in sizes]
    y = [math.log(statistics.median(points[s])) for s in sizes]
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    fitted = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    local = [
        math.log(high / low) / math.log(b / a)
        for a, b in itertools.pairwise(sizes)
        for low in points[a]
        for high in points[b]
    ]
    return {
        "exponent": significant(fitted, 3),
        "min": significant(min(local), 3),
        "max": significant(max(local), 3),
        "n": len(sizes),
    }


# ---- tables ----------------------------------------------------------------------------------------------------------


def number(value: float | None) -> str:
    """Three significant digits, whole above a hundred.

    >>> number(1234.5), number(0.31249), number(None)
    ('1,234', '0.312', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def span(found: Mapping[str, Any] | None, key: str = "median") -> str:
    """Median and range.

    >>> span({"median": 2.0, "min": 1.5, "max": 2.25, "n": 3}), span(None)
    ('2 (1.5–2.25)', '–')
    """
    if found is None:
        return "–"
    if found["n"] == 1 and key == "median":
        return number(found[key])
    return f"{number(found[key])} ({number(found['min'])}–{number(found['max'])})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is words, the others numbers.

    >>> print(table(["a", "b"], [["x", "1"]]))
    | a | b |
    |---|--:|
    | x | 1 |
    """
    rule = "|---|" + "--:|" * (len(head) - 1)
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [head, *rows]]
    return "\n".join([lines[0], rule, *lines[1:]])


def section_table(section: Mapping[str, Any], mine: str) -> str:
    """Contestants with tokens a second, the ratio to the first, and peak memory over what was held before."""
    rows = []
    for name, line in section["contestants"].items():
        told = f"{name} *" if line["information"] else name
        ratio = section["ratios"].get(name)
        rows.append(
            [told, span(line["tokens_per_s"]), "" if name == mine else span(ratio), number(line["peak_over_idle_mib"])]
        )
    out = table(["", "tokens/s", f"{mine} is faster by ×", "peak, MiB over idle"], rows)
    for name, reason in section["cannot_run"].items():
        out += f"\n\n{name}: not run: {reason}"
    return out + "\n\n\\* for information: another number format, or less kept."


def engine_tables(data: Mapping[str, Any]) -> str:
    machine, work = data["machine"], data["workload"]
    noise = data["noise"]["greatest_foreign_cores"]
    parts = [
        f"Measured with `{data['command']}` on {data['created'][:10]}: {machine['processor']} "
        f"(family and model {machine['family and model']}), {machine['cores']} cores, {machine['memory_gib']} GiB, instructions "
        f"{' '.join(machine['instructions'])}{'' if machine['bf16_instructions'] else ' (none for bf16)'}; "
        f"{work['threads']} threads, {work['sequences']} sequences, {work['prefix']} + {work['new']} tokens, "
        f"{work['repeats']} repeats in alternating order; median (least to greatest). Versions: {', '.join(data['versions'])}."
    ]
    if noise is not None and noise > NOISY_CORES:
        parts.append(
            f"**Noisy:** while these figures were taken, the rest of the machine used up to {noise:.2f} cores. "
            "Read the ratios, not the rates, and those with care."
        )
    if data["quick"]:
        parts.append("**A quick run:** shorter texts and few repeats, to see that everything works.")
    if data.get("reaches"):
        parts += ["### What was aimed at", reach_table(data["reaches"])]
    for name, title in (("sampling", "Sampling, full statistics"), ("scoring", "Scoring, full statistics")):
        if section := data.get(name):
            parts += [f"### {title}", section_table(section, section["mine"])]
    if gemm := data.get("gemm"):
        rows = [
            [
                f"{g['use']}, {g['rows']} rows",
                span(g["plain"]),
                span(g["best"]),
                span(g["limit_tokens_per_s"]),
                span(g["share"]),
            ]
            for g in gemm["rates"]
        ]
        head = ["matrix products", "`F.linear`, GF/s", "best way, GF/s", "limit, tokens/s", "freerun's share of it"]
        parts += ["### Matrix products", table(head, rows), gemm["note"]]
    if bf16 := data.get("bf16"):
        rows = [[name, span(line["tokens_per_s"])] for name, line in bf16["contestants"].items()]
        rows += [[name, reason] for name, reason in bf16["cannot_run"].items()]
        parts += ["### bf16", bf16["note"], table(["", "tokens/s"], rows)]
    if memory := data.get("memory"):
        rows = [
            [
                m["model"],
                f"{m['rows']} × {m['length']:,}",
                number(m["rss_mib"]),
                number(m["over_mib"]),
            ]
            if "over_mib" in m
            else [m["model"], f"{m['rows']} × {m['length']:,}", "", m["error"]]
            for m in memory
        ]
        head = [
            "scoring with",
            "texts × tokens",
            "resident before, MiB",
            "peak over that, MiB",
        ]
        parts += ["### Memory", table(head, rows)]
    if shares := data.get("statistics"):
        rows = [
            [m["model"], f"{m['vocabulary']:,}", span(m["step_seconds"]), span(m["share"])]
            for m in shares
            if "share" in m
        ]
        parts += ["### Statistics' share of a step", table(["", "vocabulary", "step, s", "share"], rows)]
    if parts_of := data.get("others"):
        rows = [
            [line["what"], span(line["seconds"]), span(line["gain"]) if "gain" in line else ""] for line in parts_of
        ]
        parts += ["### Prefixes, loops, start", table(["", "seconds", "× the line above"], rows)]
    return "\n\n".join(parts)


def reach_table(reaches: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for line in reaches:
        sign = "≥" if line["sense"] == ">=" else "≤"
        said = "not measured here" if line["met"] is None else "met"
        if line["met"] is False:
            said = f"missed by {number(line['missed_by'])}{line['unit']}"
        rows.append([line["what"], f"{sign} {number(line['target'])}{line['unit']}", span(line["found"]), said])
    return table(["", "aim", "found", ""], rows)


def cost_tables(data: Mapping[str, Any]) -> str:
    rows = []
    for line in data["growth"]:
        sizes = ", ".join(f"{float(s):,.0f}" for s in line["points"])
        rows.append([line["what"], sizes, line["of"], span(line["slope"], "exponent")])
    return "\n\n".join(
        [
            f"Measured with `{data['command']}` on {data['created'][:10]} ({data['machine']['processor']}, "
            f"{data['machine']['cores']} cores). An exponent of 1: twice the size costs twice as much.",
            table(["", "sizes", "", "exponent (range)"], rows),
        ]
    )


def steps_tables(data: Mapping[str, Any]) -> str:
    """Seconds of a step and the share of each part, a column for each kind of work."""
    steps, machine = data["steps"], data["machine"]
    rows = [["seconds", *(span(line["seconds"]) for line in steps)]]
    rows.append(["seconds with FREERUN_PLAIN=1", *map(span, data["plain"])])
    rows += [[part, *(f"{line['shares'][part]:.1%}" for line in steps)] for part in steps[0]["shares"]]
    if any("cache_mb" in line for line in steps):
        rows.append(["keys and values read by a step, MB", *(number(line.get("cache_mb")) for line in steps)])
        rows.append(
            ["read by attention at, GB/s", *(number(line.get("attention_reads_gb_per_s")) for line in steps)],
        )
    ways = [line for line in steps if "attention_ways" in line]
    tried = [
        [way["what"], *(span(line["attention_ways"][i]["milliseconds"]) for line in ways)]
        for i, way in enumerate(ways[0]["attention_ways"])
    ]
    return "\n\n".join(
        [
            f"Measured with `{data['command']}` on {data['created'][:10]} ({machine['processor']}, {machine['cores']} cores, "
            f"{data['threads']} threads, torch {data['versions']['torch']}), {data['model']}. Memory that no cache holds is read "
            f"at {number(data['memory_reads_gb_per_s'])} GB/s.",
            table(["", *(line["what"] for line in steps)], rows),
            "One step's attention by itself, all layers, milliseconds. A step uses the second way; the others were tried.",
            table(["", *(line["what"].split(":")[0] for line in ways)], tried),
        ]
    )


def source_tables(data: Mapping[str, Any]) -> str:
    work, machine = data["workload"], data["machine"]
    rows = [
        [name, f"{work['rows']} × {work['tokens']}", span(line["seconds"]), span(line["tokens_per_s"])]
        for name, line in data["contestants"].items()
    ]
    parts = [
        f"Measured with `{data['command']}` on {data['created'][:10]} ({machine['processor']}, {machine['cores']} cores): "
        f"{work['model']}, sources `{work['sources']}`, {work['header_tokens']} tokens of headers in all; {work['repeats']} "
        "repeats in alternating order; median (least to greatest).",
        reach_table(data["reaches"]),
        table(["", "rows × tokens scored", "seconds", "tokens/s"], rows),
    ]
    if data["quick"]:
        parts.insert(1, "**A quick run:** fewer tokens and repeats, to see that everything works.")
    return "\n\n".join(parts)


def findings_tables(data: Mapping[str, Any]) -> str:
    """Deriving findings from a large run's records: what was aimed at and found."""
    return "\n\n".join(
        [
            f"Measured with `{data['command']}` on {data['machine']['created'][:10]} ({data['machine']['machine']}): "
            f"{data['tokens']:,} tokens of records, {number(data['disk_gib'])} GiB on disk.",
            reach_table(data["reaches"]),
        ]
    )


def explore_tables(data: Mapping[str, Any]) -> str:
    """Waiting for the page of `freerun explore`: what was aimed at and found."""
    machine, threads = data["machine"], data["threads"]
    return "\n\n".join(
        [
            f"Measured with `{data['command']}` on {data['created'][:10]} ({machine['processor']}, {machine['cores']} "
            f"cores, {threads} threads): "
            f"{data['model']}, {data['answer']['wall_ms']['n']} answers over HTTP, {data['first_paint_ms']['n']} "
            "first paints in Chromium; median "
            "(least to greatest).",
            reach_table(data["reaches"]),
        ]
    )


def put(page: str, name: str, text: str) -> str:
    """The page with the part between `<!-- NAME:begin -->` and `<!-- NAME:end -->` replaced.

    >>> put("a\\n<!-- x:begin -->\\nold\\n<!-- x:end -->\\nb", "x", "new")
    'a\\n<!-- x:begin -->\\n\\nnew\\n\\n<!-- x:end -->\\nb'
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"the page must hold {begin} and {end} once each")
    before, rest = page.split(begin)
    after = rest.split(end)[1]
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


WRITERS = {
    "engine": engine_tables,
    "steps": steps_tables,
    "cost": cost_tables,
    "source": source_tables,
    "findings": findings_tables,
    "explore": explore_tables,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, path in SOURCES.items():
        parser.add_argument(f"--{name}", type=Path, default=path, help=f"figures (default: {path.name})")
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args()
    page = chosen.page.read_text()
    for name, writer in WRITERS.items():
        path = getattr(chosen, name)
        if path.exists():
            page = put(page, name, writer(json.loads(path.read_text())))
    chosen.page.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
