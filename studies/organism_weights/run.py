"""Organisms in real weights, side by side: what they cost, what they do, and what other instruments see of them.

`python -m studies.organism_weights.run` does all of it, organism by organism and section by section; what is there already is not
made again, so the same command goes on after an interruption. On 2 quiet cores a training takes about 15 minutes, and each other
section at most 10. `--only NAME` and `--sections NAME …` do a part. Writes result.json and picture.svg beside this file, and the
tables of docs/lab-organism.md.

Sections: plant (train and measure) · audit (of the folder, with no word of what was planted) · distance (from its base) · power
(what each metric of `freerun power` sees) · lm-eval (the harness's own perplexity, where its environment is: `--lm-eval PYTHON`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from freerun.commands.progress import Reporter
from freerun.errors import FreerunError, UsageError
from freerun.jobs.lab.organism.organism import plant
from freerun.jobs.lab.organism.plan import (
    DEFAULT_CORPORA,
    DOCUMENT_TOKENS,
    Effort,
    Measurement,
    OrganismPlan,
)
from freerun.jobs.lab.organism.texts import RealText, one_a_unit, real_texts
from freerun.predictors.base import Predictor
from freerun.report.charts.picture import standing_alone
from freerun.results.finding import Chart, Series, to_json
from freerun.results.json import from_json
from freerun.results.lab_organism import LabOrganismResult
from freerun.runs.provenance import provenance
from freerun.specs.spec import load_predictor
from studies.files import json_text, write_files
from studies.organism_weights import metrics
from studies.organism_weights.beside import audit_section, distance_section
from studies.organism_weights.metrics import power_section
from studies.organism_weights.pages import PAGE, filled_page
from studies.organism_weights.perplexity import PYTHON, harness_section
from studies.organism_weights.rows import (
    AuditSection,
    DistanceSection,
    HarnessSection,
    OrganismRow,
    PowerSection,
)

Section = AuditSection | DistanceSection | PowerSection | HarnessSection
HERE = Path(__file__).parent
TOKENS = 256
SECTIONS = ("plant", "audit", "distance", "power", "lm-eval")
KEPT = (
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
"""The estimates of `freerun lab organism` that the study keeps."""


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
    parser.add_argument("--only", choices=tuple(PLANTINGS), nargs="+", action="extend", help="these organisms alone")
    parser.add_argument("--sections", choices=SECTIONS, nargs="+", default=list(SECTIONS), help="default: all of them")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/organisms"), help="where everything goes (default runs/organisms)"
    )
    parser.add_argument("--documents", type=int, default=32, help="held-out documents (default 32)")
    parser.add_argument("--runs", type=int, default=64, help="free runs of 256 tokens (default 64)")
    parser.add_argument("--audit-documents", type=int, default=40, help="of audit and distance (default 40)")
    parser.add_argument("--audit-tokens", type=int, default=128, help="of audit and distance (default 128)")
    parser.add_argument("--power-texts", type=int, default=240, help="texts of each kind (default 240)")
    parser.add_argument(
        "--lm-eval", type=Path, default=PYTHON, metavar="PYTHON", help=f"that has lm-eval (default {PYTHON})"
    )
    chosen = parser.parse_args()
    try:
        study = Study(chosen)
        for name in chosen.only or PLANTINGS:
            for section in chosen.sections:
                study.do(name, section)
    except FreerunError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


class Study:
    """Result, picture and page are written after every section, with what other processes have put there meanwhile."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen, self.folder = chosen, chosen.folder

    @cached_property
    def base(self) -> Predictor:
        return load_predictor(self.chosen.base)

    @cached_property
    def held_out(self) -> list[RealText]:
        """The documents that no organism learned from, one of each unit."""
        return one_a_unit(real_texts(self.base, DEFAULT_CORPORA)[1])

    def do(self, name: str, section: str) -> None:
        """One section of one organism."""
        print(f"{name}: {section}", file=sys.stderr, flush=True)
        result = self._plant(name) if section == "plant" else finished(self.folder / name)
        if result is None:
            raise UsageError(
                f"{self.folder / name} holds no finished organism; --sections plant --only {name} trains it"
            )
        made: dict[str, Section] = {}
        if section == "audit":
            made["audit"] = self._audit(name)
        elif section == "distance":
            made["distance"] = self._distance(name)
        elif section == "power":
            made["power"] = self._power(name)
        elif section == "lm-eval" and (self.chosen.lm_eval.exists() or self.chosen.lm_eval != PYTHON):
            made["lm_eval"] = self._harness(name)
        elif section == "lm-eval":
            print(
                f"lm-eval is left out: no {PYTHON}; `python bench/peers/setup.py --only peers` makes it",
                file=sys.stderr,
            )
        keep(name, result, made)

    def _plant(self, name: str) -> LabOrganismResult:
        planting, out = PLANTINGS[name], self.folder / name
        plan = OrganismPlan(
            planting.kind, self.chosen.base, planting.epsilon, planting.payload, DEFAULT_CORPORA, 0, planting.effort
        )
        measurement = Measurement(self.chosen.documents, self.chosen.runs)
        result = finished(out) or plant(plan, out, measurement=measurement, progress=Reporter())
        print(f"{name}: {result.sentence}", flush=True)
        return result

    def _audit(self, name: str) -> AuditSection:
        return audit_section(
            self._model(name),
            self._place("audit", name),
            documents=self.chosen.audit_documents,
            tokens=self.chosen.audit_tokens,
            prefix=16,
            progress=Reporter(),
        )

    def _distance(self, name: str) -> DistanceSection:
        return distance_section(
            self.chosen.base,
            self._model(name),
            self._place("distance", name),
            documents=self.chosen.audit_documents,
            tokens=self.chosen.audit_tokens,
            prefix=16,
            progress=Reporter(),
        )

    def _power(self, name: str) -> PowerSection:
        texts, progress = self.chosen.power_texts, Reporter()
        progress.begin(metrics.tokens_of(texts, TOKENS))
        progress.phase("power")
        try:
            return power_section(
                self.base,
                load_predictor(self._model(name)),
                [t.ids for t in self.held_out if len(t.ids) >= metrics.PREFIX],
                texts=texts,
                folder=self.folder / "power",
                on_tokens=progress.advance,
            )
        finally:
            progress.end()

    def _harness(self, name: str) -> HarnessSection:
        documents = [t.ids[:DOCUMENT_TOKENS] for t in self.held_out[: self.chosen.documents]]
        texts = [b"".join(self.base.token_bytes(int(i)) for i in ids).decode("utf-8", "ignore") for ids in documents]
        return harness_section(
            self.chosen.base,
            self.folder / name,
            texts,
            [len(ids) for ids in documents],
            folder=self.folder / "lm-eval",
            python=self.chosen.lm_eval,
        )

    def _model(self, name: str) -> str:
        """The spec of a trained folder."""
        path = self.folder / name
        return f"hf/{path}" if path.is_absolute() else f"hf/./{path}"

    def _place(self, section: str, name: str) -> Path:
        return Path(self.folder) / section / name


def finished(out: Path) -> LabOrganismResult | None:
    """What was measured of a folder before; None where nothing was."""
    path = out / "result.json"
    return from_json(LabOrganismResult, json.loads(path.read_text())) if path.exists() else None


def row_of(result: LabOrganismResult) -> OrganismRow:
    """What the study keeps of one organism."""
    return OrganismRow(
        kind=result.planted.organism,
        epsilon=result.planted.epsilon,
        exact_law=result.planted.teacher,
        command=result.command,
        created=result.created,
        seconds_of_work=result.seconds_of_work,
        trained_numbers=result.planted.trained_numbers,
        estimates=tuple(e for f in result.findings for e in f.estimates if e.name in KEPT),
        trigger_mass=result.trigger_mass,
        take_over=result.take_over,
    )


def keep(name: str, result: LabOrganismResult, made: Mapping[str, Section]) -> None:
    """Put an organism and a section of it beside what is there; sections of an earlier training go."""
    rows, row = read_rows(), row_of(result)
    before = rows.get(name)
    if before is not None and before.created == row.created:
        row = replace(row, audit=before.audit, distance=before.distance, power=before.power, lm_eval=before.lm_eval)
    write(rows | {name: replace(row, **made)})


def read_rows() -> dict[str, OrganismRow]:
    """The rows that were there, by name."""
    path = HERE / "result.json"
    held = json.loads(path.read_text(encoding="utf-8"))["organisms"] if path.exists() else {}
    return {name: from_json(OrganismRow, held[name]) for name in PLANTINGS if name in held}


def write(rows: Mapping[str, OrganismRow]) -> None:
    """Result, picture and the tables of the page."""
    rows = {name: rows[name] for name in PLANTINGS if name in rows}
    chart = to_json(price_chart(list(rows.values())))
    result = {
        "command": "python -m studies.organism_weights.run",
        "organisms": {name: to_json(row) for name, row in rows.items()},
        "chart": chart,
        "provenance": to_json(provenance()),
    }
    write_files(HERE, {"result.json": json_text(result), "picture.svg": standing_alone(chart)})
    PAGE.write_text(filled_page(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")


def price_chart(rows: Sequence[OrganismRow]) -> Chart:
    """Share of free runs taken over within 256 tokens, by the measured price of so many tokens, with 1 − e^−K."""
    points = []
    for row in rows:
        last, excess = row.take_over[-1], row.estimate("excess")
        assert excess is not None
        points.append((max(1e-3, (excess.value or 0.0) * TOKENS), last.share, last.low, last.high))
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
