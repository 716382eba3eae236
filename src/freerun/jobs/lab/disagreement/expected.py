"""What was expected before anything was trained, and the rule by which each expectation is decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from freerun.jobs.lab.disagreement.causes import ALPHA
from freerun.results.disagreement import FactorEffect, Prediction
from freerun.results.finding import Estimate, Finding

Outcome = Literal["confirmed", "in part", "not confirmed", "not tested"]
GROWS = "Disagreement grows as the leave-one-out log-probability of a text falls."
BUDGET = "It grows roughly like a budget: in the least probable share m of real contexts divergence goes as 1/m."
CAUSES = "Architecture and optimizer move the law where the loss, which is matched, does not."
GROWS_RULE = "confirmed where the interval of the slope over texts and models lies above 0"
BUDGET_RULE = "confirmed where the interval of the exponent holds 1"
CAUSES_RULE = (
    f"confirmed where both have a Holm-adjusted p of at most {ALPHA:g} on random tokens; in part where one has"
)
FAR = "random tokens"


def decided(findings: Sequence[Finding], effects: Sequence[FactorEffect]) -> tuple[Prediction, ...]:
    """Each expectation with its outcome."""
    by_name = {e.name: e for f in findings for e in f.estimates}
    return (_grows(by_name.get("slope")), _budget(by_name.get("exponent")), _causes(effects))


def _grows(e: Estimate | None) -> Prediction:
    if e is None or e.low is None or e.high is None:
        return Prediction(GROWS, GROWS_RULE, "not tested", "no interval")
    outcome: Outcome = "confirmed" if e.low > 0 else "not confirmed"
    return Prediction(GROWS, GROWS_RULE, outcome, f"slope {_limits(e, 4)} nats a nat")


def _budget(e: Estimate | None) -> Prediction:
    if e is None or e.low is None or e.high is None:
        return Prediction(BUDGET, BUDGET_RULE, "not tested", "no interval")
    outcome: Outcome = "confirmed" if e.low <= 1 <= e.high else "not confirmed"
    return Prediction(BUDGET, BUDGET_RULE, outcome, f"exponent {_limits(e, 2)}")


def _causes(effects: Sequence[FactorEffect]) -> Prediction:
    p = {e.factor: e.p_holm for e in effects if e.region == FAR and e.p_holm is not None}
    named = [p[f] for f in ("architecture", "optimizer") if f in p]
    if len(named) < 2:
        return Prediction(CAUSES, CAUSES_RULE, "not tested", "the models do not differ in both")
    strong = sum(value <= ALPHA for value in named)
    outcome: Outcome = "confirmed" if strong == 2 else "in part" if strong else "not confirmed"
    return Prediction(CAUSES, CAUSES_RULE, outcome, f"architecture p = {named[0]:.4f}, optimizer p = {named[1]:.4f}")


def _limits(e: Estimate, digits: int) -> str:
    return f"{e.value:.{digits}f} ({e.low:.{digits}f} to {e.high:.{digits}f})".replace("-", "−")
