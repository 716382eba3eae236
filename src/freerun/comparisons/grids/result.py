"""The result of a grid from what is kept of its cells: comparisons and trends, all tests adjusted together, and sentences last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import freerun
from freerun.comparisons.differences import LOSS_KEY, adjust_together
from freerun.comparisons.grids.pairs import breaches_of, cautions_of, pair_of
from freerun.comparisons.grids.summary import RunDigest
from freerun.comparisons.grids.trends import LEAST_RUNS, charts, slopes
from freerun.comparisons.points import grid_next, grid_points
from freerun.comparisons.result import pair_sentence
from freerun.counted import counted
from freerun.results.compare import ALPHA, Bounds, Difference
from freerun.results.grid import CellState, GridCell, GridPair, GridResult, GridSetting, GridTrend
from freerun.results.horizons import HorizonSummary
from freerun.results.verdict import Verdict, found_a_difference

GRID_VERSION = 1


@dataclass(frozen=True, eq=False)
class CellOutcome:
    """A cell as it stands: where, what is kept of its run, or why there is none. `baseline`: the name of the cell to compare with."""

    name: str
    model: str
    corpus: str
    settings: tuple[GridSetting, ...]
    measures: dict[str, float]
    folder: str
    records_kept: bool
    digest: RunDigest | None
    state: CellState = "done"
    why: str = ""
    baseline: str | None = None

    @property
    def label(self) -> str:
        """The model with its settings."""
        return ", ".join([self.model, *(f"{s.key} {s.value}" for s in self.settings)])


def grid_result(
    outcomes: Sequence[CellOutcome],
    *,
    title: str,
    baseline: Sequence[GridSetting],
    command: str,
    created: str,
) -> GridResult:
    """Everything that is said of a grid."""
    pairs = [p for o in outcomes if (p := _pair(o, outcomes)) is not None]
    trends = _trends(outcomes)
    families = [p.compared.differences if p.compared else () for p in pairs] + [t.slopes for t in trends]
    done = adjust_together(families)
    pairs = [_with_differences(p, d) for p, d in zip(pairs, done, strict=False)]
    trends = [replace(t, slopes=d) for t, d in zip(trends, done[len(pairs) :], strict=True)]
    tests = sum(d.p_value is not None for family in families for d in family)
    return GridResult(
        GRID_VERSION,
        "grid",
        freerun.__version__,
        title,
        _verdict(outcomes, pairs, trends, tests),
        tuple(dict.fromkeys(o.model for o in outcomes)),
        tuple(dict.fromkeys(o.corpus for o in outcomes)),
        tuple(s.key for s in outcomes[0].settings),
        tuple(baseline),
        tuple(map(_cell, outcomes)),
        tuple(pairs),
        tuple(trends),
        tests,
        _licence(outcomes, tests),
        command,
        created,
    )


# ---- cells -------------------------------------------------------------------------------------------------------------


def _cell(o: CellOutcome) -> GridCell:
    bare = GridCell(o.name, o.model, o.corpus, o.settings, o.state, o.why, o.folder, o.records_kept)
    digest = o.digest
    if digest is None:
        return bare
    loss, curve = digest.values.get(LOSS_KEY), digest.curve
    return replace(
        bare,
        plan_hash=str(digest.manifest["plan_hash"]),
        status=digest.status,
        outcome=digest.outcome,
        sentence=digest.sentence,
        own_text=digest.own_text,
        documents=digest.n_documents,
        tokens=digest.plan.tokens,
        loss_nats_per_token=None if loss is None else Bounds.of(loss.interval()),
        impossible_tokens=digest.n_impossible,
        h75_tokens=None
        if curve is None
        else HorizonSummary.of(
            curve.horizon(), curve.lengths, detected=found_a_difference(digest.status, digest.outcome)
        ),
    )


# ---- comparisons and trends --------------------------------------------------------------------------------------------


def _pair(o: CellOutcome, outcomes: Sequence[CellOutcome]) -> GridPair | None:
    base = next((b for b in outcomes if b.name == o.baseline), None)
    if base is None or o.digest is None or base.digest is None:
        return None
    broken = breaches_of(base.digest, o.digest, run=o.label)
    compared = None if broken else pair_of(base.digest, o.digest, (base.label, o.label))
    said = () if broken else cautions_of(base.digest, o.digest)
    return GridPair(o.name, base.name, o.corpus, o.settings, compared, broken, said)


def _with_differences(pair: GridPair, differences: tuple[Difference, ...]) -> GridPair:
    if pair.compared is None:
        return pair
    made = replace(pair.compared, differences=differences)
    if any(made.impossible_tokens):
        a, b = made.impossible_tokens
        said = f"Losses are not compared: {a} and {b} real tokens have no mass in {made.first} and in {made.second}."
        horizon = [d for d in differences if d.primary]
        sentence = said if not horizon else f"{said} {pair_sentence(made).partition('). ')[2]}".strip()
        return replace(pair, compared=replace(made, sentence=sentence))
    return replace(pair, compared=replace(made, sentence=pair_sentence(made)))


def _trends(outcomes: Sequence[CellOutcome]) -> list[GridTrend]:
    """On every corpus at every setting, over the models that have a number, where they may be compared."""
    out = []
    for measure in dict.fromkeys(m for o in outcomes for m in o.measures):
        groups: dict[tuple[str, tuple[GridSetting, ...]], list[CellOutcome]] = {}
        for o in outcomes:
            if measure in o.measures and o.digest is not None:
                groups.setdefault((o.corpus, o.settings), []).append(o)
        for (corpus, settings), members in groups.items():
            members = _comparable(members)
            x = [o.measures[measure] for o in members]
            if len(members) < LEAST_RUNS or len(set(x)) < 2:
                continue
            digests = [o.digest for o in members if o.digest is not None]
            made = slopes(digests, x), charts(digests, x, measure)
            out.append(GridTrend(measure, corpus, settings, tuple(o.name for o in members), tuple(x), *made))
    return out


def _comparable(members: Sequence[CellOutcome]) -> list[CellOutcome]:
    """The first, and those that may be compared with it."""
    first = members[0].digest
    assert first is not None
    return [
        o
        for o in members
        if o.digest is not None and (o.digest is first or not breaches_of(first, o.digest, run=o.label))
    ]


# ---- sentences ---------------------------------------------------------------------------------------------------------


def _verdict(
    outcomes: Sequence[CellOutcome], pairs: Sequence[GridPair], trends: Sequence[GridTrend], tests: int
) -> Verdict:
    done = [o for o in outcomes if o.digest is not None]
    apart = sum(o.digest.outcome == "told_apart" for o in done if o.digest is not None)
    sentence = f"In {apart} of {counted(len(done), 'cell')} the model's own text is told from real text."
    primary = [d for p in pairs if p.compared for d in p.compared.differences if d.primary and d.p_value is not None]
    further = tests - len(primary)
    parts = []
    if pairs:
        found = sum(d.found for d in primary)
        parts.append(
            f"Against the baseline, {found} of {counted(len(primary), 'difference')} in loss and horizon {'is' if found == 1 else 'are'} told from zero."
        )
    if further:
        told = sum(d.found for p in pairs if p.compared for d in p.compared.differences if not d.primary)
        told += sum(d.found for t in trends for d in t.slopes)
        parts.append(
            f"Of {further} further tests {told} are, with the false-discovery rate held at {ALPHA:.0%} over the whole grid."
        )
    missing = [o for o in outcomes if o.digest is None]
    if missing:
        parts.append(f"{counted(len(missing), 'cell has', 'cells have')} no result: see why below.")
    detail = " ".join(parts)
    cells = [_cell(o) for o in outcomes]
    return Verdict(
        sentence if done else "No cell has a result.",
        detail,
        "neutral" if done else "unknown",
        points=grid_points(cells, detail, tests),
        next_step=grid_next(cells),
    )


def _licence(outcomes: Sequence[CellOutcome], tests: int) -> str:
    if not tests:
        return "No inference between cells: each is judged by itself, in its own report."
    n = max((o.digest.n_documents for o in outcomes if o.digest is not None), default=0)
    return (
        f"Unit: the document ({n} at most); what a document does in both runs stays together, tokens are never independent. Fixed n. Null of each "
        f"line: no difference. All {tests} tests of the grid count together: losses and horizons are adjusted by Holm, the others held to a "
        f"false-discovery rate of {ALPHA:.0%} under any dependence (Benjamini & Yekutieli). Intervals are not adjusted. Verdicts of cells are each by "
        "itself. Slopes are per doubling. No difference found is not no difference."
    )
