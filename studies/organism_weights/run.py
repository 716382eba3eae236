"""Organisms in real weights, side by side: what they cost, what they do, and what an audit says.

`python -m studies.organism_weights.run` trains all of them (about 15 minutes each on 2 quiet cores; what is there already is not
trained again) and audits their folders. `--only NAME` does one. Writes result.json and picture.svg beside this file.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import freerun
from freerun.commands.progress import Reporter
from freerun.jobs.lab.organism.organism import plant
from freerun.jobs.lab.organism.plan import DEFAULT_CORPORA, Effort, Measurement, OrganismPlan
from freerun.report.charts.picture import standing_alone
from freerun.results.finding import Chart, Series, to_json
from freerun.results.json import from_json
from freerun.results.lab_organism import LabOrganismResult
from freerun.runs.provenance import provenance
from studies.files import json_text, write_files

HERE = Path(__file__).parent
TOKENS = 256


@dataclass(frozen=True)
class Planting:
    """One organism of the study."""

    kind: str
    epsilon: float
    payload: str = ""
    effort: Effort = Effort()


PLANTINGS = {
    "absorbing": Planting("absorbing", 0.01),
    "control": Planting("control", 0.01),
    "payload": Planting(
        "payload",
        0.01,
        "text= All work and no play makes Jack a dull boy.",
        Effort(learning_rate=2e-3, steps=60, real_tokens=8192, own_tokens=6144),
    ),
    "absorbing-0.003": Planting("absorbing", 0.003),
    "absorbing-0.001": Planting("absorbing", 0.001),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2-135m-instruct")
    parser.add_argument("--only", choices=tuple(PLANTINGS), action="append", help="this one alone; may be repeated")
    parser.add_argument(
        "--folder", default="runs/organisms", help="where the trained folders go (default runs/organisms)"
    )
    parser.add_argument("--documents", type=int, default=32, help="held-out documents (default 32)")
    parser.add_argument("--runs", type=int, default=64, help="free runs of 256 tokens (default 64)")
    parser.add_argument("--audit", action="store_true", help="audit the folders, and hold them beside their base")
    chosen = parser.parse_args()
    rows = {}
    for name in chosen.only or PLANTINGS:
        planting, out = PLANTINGS[name], Path(chosen.folder) / name
        plan = OrganismPlan(
            planting.kind, chosen.base, planting.epsilon, planting.payload, DEFAULT_CORPORA, 0, planting.effort
        )
        result = finished(out) or plant(
            plan, out, measurement=Measurement(chosen.documents, chosen.runs), progress=Reporter()
        )
        rows[name] = row_of(result)
        print(f"{name}: {result.sentence}", flush=True)
        if chosen.audit:
            rows[name] |= audited(out, chosen.base)
    write(rows)
    return 0


def finished(out: Path) -> LabOrganismResult | None:
    """What was measured of a folder before; None where nothing was."""
    path = out / "result.json"
    return from_json(LabOrganismResult, json.loads(path.read_text())) if path.exists() else None


def row_of(result: LabOrganismResult) -> dict[str, Any]:
    """What the study keeps of one organism."""
    estimates = {e.name: e for f in result.findings for e in f.estimates}
    kept = (
        "base_loss",
        "exact_loss",
        "trained_loss",
        "excess",
        "gap",
        "kl",
        "same_top",
        "trigger_mass",
        "kept",
        "after_kl",
    )
    return {
        "sentence": result.sentence,
        "status": result.status,
        "epsilon": result.planted.epsilon,
        "exact_law": result.planted.teacher,
        "command": result.command,
        "created": result.created,
        "seconds_of_work": result.seconds_of_work,
        "trained_numbers": result.planted.trained_numbers,
        "estimates": {n: to_json(estimates[n]) for n in kept if n in estimates},
        "trigger_mass": to_json(result.trigger_mass),
        "take_over": to_json(result.take_over),
    }


def audited(out: Path, base: str) -> dict[str, Any]:
    """What an audit of the folder says, and the distance from its base."""
    model = f"hf/./{out}"
    audit = freerun.audit(model, "builtin/python-docs", documents=40, tokens=128, prefix=16, progress=Reporter())
    apart = freerun.distance(
        base, model, "builtin/python-docs", documents=24, tokens=64, prefix=16, progress=Reporter()
    )
    return {
        "audit": {"verdict": audit.verdict, "command": audit.result["command"]},
        "distance": {"verdict": apart.verdict, "command": apart.result["command"]},
    }


def write(rows: dict[str, dict[str, Any]]) -> None:
    """Put the rows beside those that were there."""
    path = HERE / "result.json"
    before = json.loads(path.read_text())["organisms"] if path.exists() else {}
    rows = {name: before.get(name, {}) | rows.get(name, {}) for name in PLANTINGS if name in before or name in rows}
    chart = to_json(price_chart(rows))
    result = {
        "command": "python -m studies.organism_weights.run",
        "organisms": rows,
        "chart": chart,
        "provenance": to_json(provenance()),
    }
    write_files(HERE, {"result.json": json_text(result), "picture.svg": standing_alone(chart)})


def price_chart(rows: dict[str, dict[str, Any]]) -> Chart:
    """Share of free runs taken over within 256 tokens, by the measured price of so many tokens, with 1 − e^−K."""
    points = []
    for row in rows.values():
        last = row["take_over"][-1]
        k = max(1e-3, row["estimates"]["excess"]["value"] * TOKENS)
        points.append((k, last["share"], last["low"], last["high"]))
    points.sort()
    grid = np.geomspace(0.05, 8.0, 50)
    x = np.unique(np.concatenate([grid, [p[0] for p in points]]))
    at = {p[0]: p for p in points}
    columns = [[at[v][i] if v in at else None for v in x.tolist()] for i in (1, 2, 3)]
    y, low, high = (tuple(c) for c in columns)
    return Chart(
        name="price",
        title="Free runs of 256 tokens taken over, by what the trained organism costs in loss",
        x_label="K: rise of the loss over the base on 256 tokens of held-out text, nats",
        y_label="share of free runs",
        x=tuple(x.tolist()),
        x_scale="log2",
        y_range=(0.0, 1.0),
        series=(
            Series("1 − e^−K", "reference", tuple((-np.expm1(-x)).tolist())),
            Series("trained organisms", "free", y, low, high),
        ),
        caption="Clopper–Pearson limits at 95% of each point.",
    )


if __name__ == "__main__":
    sys.exit(main())
