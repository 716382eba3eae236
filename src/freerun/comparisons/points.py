"""What a comparison, a sweep and a grid measured, what came out and how sure that is, for somebody who knows none of the words."""

from __future__ import annotations

from collections.abc import Sequence

from freerun.counted import counted
from freerun.findings.detectability.comparison import ALPHA as DETECTED_ALPHA
from freerun.results.compare import ALPHA, Difference, RunPair, RunSummary
from freerun.results.grid import GridCell
from freerun.results.sweep import AxisResult, Design
from freerun.results.verdict import NextStep, Point, found_a_difference, three_points

LOSS_WORDS = "its loss (how well it predicts real text, in nats a token; lower is better)"
HORIZON_WORDS = "its horizon H75 (after how many tokens a simple detector tells its text from real text 75 times in 100; longer is better)"
TOKEN_WORDS = "A token is a word or a part of one."
MOST_NAMED = 3


def compare_points(
    runs: Sequence[RunSummary], pairs: Sequence[RunPair], trends: Sequence[Difference], limits: str
) -> tuple[Point, ...]:
    """Under the verdict of a comparison; `limits`: what could not be compared, or only under protest."""
    n = max(pair.documents_shared for pair in pairs)
    measured = (
        f"{counted(len(runs), 'audit')} of the same {counted(n, 'document')}. Of each model: {LOSS_WORDS}, {HORIZON_WORDS}, and what else "
        f"its audit says. Every document is held against itself, so what is hard for all of them cancels. {TOKEN_WORDS}"
    )
    differences = [d for pair in pairs for d in pair.differences]
    primary = [d for d in differences if d.primary and d.p_value is not None]
    further = [d for d in (*differences, *trends) if not d.primary and d.p_value is not None]
    came_out = " ".join(filter(None, (_told("loss and horizon", primary), _told("further numbers", further))))
    sure = (
        f"Intervals are 95%, for other documents of this kind. Loss and horizon are asked together (a chance of {ALPHA:.0%} that either "
        f"is called a difference by luck); of what is called one among the further numbers, {ALPHA:.0%} may be luck. A difference that was not found may still be there: “would find” says "
        f"how large one has to be. {limits}"
    )
    return three_points(measured, came_out, sure.strip())


def compare_next(runs: Sequence[RunSummary], pairs: Sequence[RunPair], refused: Sequence[str]) -> NextStep | None:
    """What would answer what a comparison leaves open."""
    if refused:
        model = next(r.model for r in runs if r.name in refused)
        return NextStep("See where the sampler's laws and the scorer's part", f"freerun doctor {model}")
    if any(r.first_look for r in runs):
        return NextStep("Go on to all documents of the first look: its audit without", "--quick")
    primary = [d for pair in pairs for d in pair.differences if d.primary]
    if all(d.found or d.identical for d in primary):
        return None
    documents = 2 * max(r.documents for r in runs)
    return NextStep("See smaller differences: make the audits again, both with", f"--documents {documents}")


def _told(what: str, differences: Sequence[Difference]) -> str:
    """How many of some differences are more than luck, and which are the clearest."""
    if not differences:
        return ""
    seen = [d for d in differences if d.found]
    if not seen:
        return f"None of the {counted(len(differences), 'difference')} in {what} is more than luck may explain."
    clearest = sorted(seen, key=lambda d: 1.0 if d.adjusted_p is None else d.adjusted_p)[:MOST_NAMED]
    names = list(dict.fromkeys(f"{d.label[:1].lower()}{d.label[1:]}" for d in clearest))
    first = "" if len(seen) == len(names) else "most clearly "
    many = f"{len(seen)} of {counted(len(differences), 'difference')} in {what} {'is' if len(seen) == 1 else 'are'}"
    return f"{many} more than luck explains: {first}{'; '.join(names)}."


def sweep_points(design: Design, settings: int, axes: Sequence[AxisResult], detail: str) -> tuple[Point, ...]:
    """Under the verdict of a sweep; `detail`: what may not be concluded, or why nothing can be."""
    measured = (
        f"{counted(design.documents, 'text')} of {design.corpus}, cut after {counted(design.tokens_before_cut, 'token')} and continued by "
        f"the model for {design.tokens}, in {counted(settings, 'setting')} that differ in how much it saw before the cut. A simple detector "
        f"had to tell its texts from the real ones: AUC is how often it is right when shown one of each (0.5 is guessing). {TOKEN_WORDS}"
    )
    came_out = " ".join(f"By {axis.label}: {axis.words[:1].lower()}{axis.words[1:]}." for axis in axes)
    return three_points(measured, came_out, detail)


def sweep_next(design: Design, axes: Sequence[AxisResult], *, refused: bool) -> NextStep | None:
    """What would answer what a sweep leaves open."""
    if refused:
        return NextStep("See where the sampler's laws and the scorer's part", f"freerun doctor {design.model}")
    if not axes or any(axis.outcome == "none" and not axis.trend.degenerate for axis in axes):
        return NextStep("See a smaller change: the same command with", f"--documents {2 * design.documents}")
    return None


def grid_points(cells: Sequence[GridCell], came_out: str, tests: int) -> tuple[Point, ...]:
    """Under the verdict of a grid."""
    models, corpora = (len(dict.fromkeys(names)) for names in ([c.model for c in cells], [c.corpus for c in cells]))
    measured = (
        f"{counted(len(cells), 'audit')}, of {counted(models, 'model')} on {counted(corpora, 'corpus', 'corpora')}. In each the model "
        f"continues real texts, and a simple detector has to tell its texts from the real ones. Of each cell: {LOSS_WORDS} and {HORIZON_WORDS}. "
        f"{TOKEN_WORDS}"
    )
    together = f" The {tests} tests between cells count together." if tests else ""
    sure = (
        f"A cell is called told apart where all its detectors and lengths together show a difference at level {DETECTED_ALPHA:.0%}; only "
        f"there is a horizon stated. Each cell is judged by itself.{together} Intervals are 95%, for other documents of this kind."
    )
    return three_points(measured, came_out, sure)


def grid_next(cells: Sequence[GridCell]) -> NextStep | None:
    """What would answer what a grid leaves open."""
    if any(c.state in ("failed", "missing") for c in cells):
        return NextStep(
            "Do what is missing: the same command again. Finished cells are not measured twice.",
            "freerun grid PLAN.toml",
        )
    if any(c.state == "refused" for c in cells):
        return NextStep(
            "See why a cell was refused, below, and change the plan or leave it out", "freerun grid PLAN.toml --dry-run"
        )
    done = [c for c in cells if c.state == "done" and c.documents is not None]
    if any(found_a_difference(c.status, c.outcome) is not True for c in done):
        documents = 2 * max(c.documents or 0 for c in done)
        return NextStep("See smaller differences: in the plan, under [settings]", f"documents = {documents}")
    return None
