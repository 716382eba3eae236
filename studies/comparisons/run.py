"""What `freerun compare` says of the 135M model, for real: `python -m studies.comparisons.run` (about 20 minutes on 2 cores).

Six audits of the same 48 documents: the model in float32, in bf16, with weights rounded to int8 and to int4, with a planted defect,
and sampled from its 50 likeliest tokens. Then three comparisons. Goes on where it stopped; writes result.json and
pictures beside this file, the tables of docs/compare.md, and the three pages into runs/examples (not committed).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from freerun.commands.progress import Reporter
from freerun.jobs.audit.audit import audit
from freerun.jobs.compare import compare
from freerun.report.charts.picture import standing_alone
from freerun.report.pages.compare import render_compare
from freerun.results.finding import to_json
from studies.files import json_text, write_files

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "compare.md"
MODEL, CORPUS = "smollm2-135m-instruct", "builtin/python-docs"
DOCUMENTS, TOKENS = 48, 128


@dataclass(frozen=True)
class Variant:
    """One audit: its folder's name, what is appended to the model, and what else is set."""

    name: str
    suffix: str = ""
    option: str = ""
    value: str = ""

    @property
    def command(self) -> str:
        words = ["freerun audit", f"{MODEL}{self.suffix}", CORPUS, f"--documents {DOCUMENTS} --tokens {TOKENS}"]
        words += [f"--{self.option.replace('_', '-')} {self.value}"] if self.option else []
        return " ".join([*words, f"-o runs/{self.name}"])


VARIANTS = (
    Variant("fp32"),
    Variant("bf16", option="dtype", value="bf16"),
    Variant("int8", ",round=int8"),
    Variant("int4", ",round=int4"),
    Variant("absorbing", "+absorbing,epsilon=0.01"),
    Variant("top-50", option="sample_with", value="top_k=50"),
)


@dataclass(frozen=True)
class Comparison:
    """Runs held against the first, and what is said above the table."""

    name: str
    title: str
    runs: tuple[str, ...]
    charts: tuple[str, ...]
    x: tuple[float, ...] | None = None

    @property
    def command(self) -> str:
        words = ["freerun compare", *(f"runs/{r}" for r in self.runs)]
        if self.x is not None:
            words += [f"--x {','.join(f'{v:g}' for v in self.x)} --x-label 'bits a weight'"]
        return " ".join([*words, f"-o compare-{self.name}.html"])


CHARTS = {
    "loss_by_run": "Loss on real text, by run",
    "h75_by_run": "Free-run horizon H75, by run",
    "auc_by_length": "How well each run's own text is told from real text, by length",
}
COMPARISONS = (
    Comparison(
        "precision",
        "float32 against bf16, int8 and int4",
        ("fp32", "bf16", "int8", "int4"),
        ("loss_by_run", "h75_by_run", "auc_by_length"),
        (32.0, 16.0, 8.0, 4.0),
    ),
    Comparison("organism", "the model against itself with a planted defect", ("fp32", "absorbing"), ("auc_by_length",)),
    Comparison("deployed", "the model's own law against top-k 50", ("fp32", "top-50"), ("auc_by_length",)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of the runs")
    chosen = parser.parse_args()
    for v in VARIANTS:
        print(v.command, flush=True)
        words: dict[str, Any] = {v.option: v.value} if v.option else {}
        run = audit(
            f"{MODEL}{v.suffix}",
            CORPUS,
            out=chosen.runs / v.name,
            progress=Reporter(),
            documents=DOCUMENTS,
            tokens=TOKENS,
            **words,
        )
        print(run.verdict, flush=True)
    results, files = {}, {}
    for c in COMPARISONS:
        paths = [chosen.runs / name for name in c.runs]
        result = to_json(replace(compare(*paths, x=c.x, x_label="bits a weight" if c.x else "run"), command=c.command))
        results[c.name] = result
        files[str(chosen.runs.absolute() / "examples" / f"compare-{c.name}.html")] = render_compare(result)
        files |= {picture(c, k["name"]): standing_alone(k) for k in result["charts"] if k["name"] in c.charts}
        print(result["verdict"]["sentence"], flush=True)
    kept = {name: {k: r[k] for k in ("command", "verdict", "runs", "pairs", "trends")} for name, r in results.items()}
    data = {"audits": {v.name: v.command for v in VARIANTS}, "comparisons": kept}
    page = put(PAGE.read_text(), "\n\n".join(section(c, results[c.name]) for c in COMPARISONS))
    write_files(HERE, {"result.json": json_text(data), **files, str(PAGE): page})


def picture(c: Comparison, chart: str) -> str:
    return f"{c.name}-{chart.replace('_', '-')}.svg"


def section(c: Comparison, result: Mapping[str, Any]) -> str:
    """One comparison as Markdown: command, loss and horizon of every pair, sentence and pictures."""
    lines = [f"### {c.title[0].upper()}{c.title[1:]}", "", f"    {c.command}", ""]
    lines += ["| | loss, nats a token | H75, tokens | own texts the same |", "|---|---|---|---|"]
    for pair in result["pairs"]:
        of = {d["name"]: d for d in pair["differences"] if d["primary"]}
        cells = [_cell(of.get("loss_nats_per_token"), 4), _cell(of.get("h75"), 0)]
        draws = pair["draws"]
        same = f"{draws['texts_the_same']} of {draws['texts_with_same_key']}"
        lines.append(f"| {pair['second']} | {cells[0]} | {cells[1]} | {same} |")
    lines += ["", *(f"- {pair['sentence']}" for pair in result["pairs"]), ""]
    for name in c.charts:
        lines.append(f"![{CHARTS[name]}](../studies/comparisons/{picture(c, name)})")
    return "\n".join(lines)


def _cell(d: Mapping[str, Any] | None, digits: int) -> str:
    if d is None or d["value"] is None:
        return "–"

    def said(v: float | None) -> str:
        return "open" if v is None else f"{v:+.{digits}f}".replace("-", "−")

    told = "told from zero" if d["found"] else "not told from zero"
    least = "" if not d["smallest_detectable"] else f", would find {d['smallest_detectable']:.2g}"
    return f"{said(d['value'])} ({said(d['low'])} to {said(d['high'])}), {told}{least}"


def put(page: str, text: str) -> str:
    """The page with its generated part replaced.

    >>> put("a <!-- comparisons:begin -->old<!-- comparisons:end --> b", "new")
    'a <!-- comparisons:begin -->\\n\\nnew\\n\\n<!-- comparisons:end --> b'
    """
    marks = "<!-- comparisons:begin -->", "<!-- comparisons:end -->"
    return re.sub(f"{marks[0]}.*{marks[1]}", lambda _: f"{marks[0]}\n\n{text}\n\n{marks[1]}", page, flags=re.DOTALL)


if __name__ == "__main__":
    main()
