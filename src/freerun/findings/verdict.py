"""The verdict on a run: from facts to a status and an outcome, and then to a sentence."""

from __future__ import annotations

from collections.abc import Mapping

from freerun.findings.detectability.comparison import Comparison
from freerun.findings.evidence import Evidence
from freerun.findings.outcome import measured
from freerun.findings.points import in_a_hundred, next_step, points, strength
from freerun.results.audit import OwnText
from freerun.results.finding import Finding
from freerun.results.horizons import spoken
from freerun.results.verdict import Measured, RunVerdict, Status
from freerun.results.verify import FITS


def verdict(
    evidence: Evidence, findings: Mapping[str, Finding], comparison: Comparison | None, own_text: OwnText
) -> RunVerdict:
    """What the run says of the model. `comparison`: None where own text is refused, or there are too few documents."""
    sentence, status, outcome, words = _outcome(evidence, comparison, own_text)
    return RunVerdict(
        sentence,
        points(evidence, findings, comparison, own_text),
        status,
        outcome,
        words,
        strength(evidence, comparison),
        next_step(evidence, comparison, own_text),
    )


def _not_its_law(evidence: Evidence, *, own_law: bool) -> tuple[str, Status]:
    """Whose text it is that is not the model's law at temperature 1, and its status: where a server keeps to the rule that was declared,
    nothing is wrong."""
    rule, served = evidence.plan.sampling.describe(), evidence.law_served
    if served is not None and served.match == "differs":
        what = f"what {served.writer} wrote is not drawn from this model's law at {served.declared}"
        return f"{what}. {served.cause_sentence}", "bad"
    if own_law:
        return "what was sampled is not the model's own law at temperature 1.", "bad"
    if served is not None and served.match in FITS:
        fits = "agrees with" if served.match == "agrees" else "differs by no more than the noise floor from"
        what = f"what {served.writer} wrote {fits} this model's law at {served.declared}, as declared"
        return f"{what}; that is not its law at temperature 1.", "neutral"
    return f"what was sampled, with {rule} as declared, is not the model's own law at temperature 1.", "bad"


def _outcome(evidence: Evidence, comparison: Comparison | None, own_text: OwnText) -> tuple[str, Status, Measured, str]:
    """The outcome in a sentence, its status, and what became of the horizon, as a value and in words."""
    model = evidence.plan.model
    if own_text.refused:
        return (
            f"{model}: its own text is refused as evidence, since the sampler's law is not the scorer's; what real text says stands.",
            "unknown",
            "not_judged",
            "the horizon of text whose law is not known is not judged",
        )
    if own_text.sampler_audit == "failed":
        sentence, status = _not_its_law(evidence, own_law=own_text.own_law)
        return f"{model}: {sentence}", status, "not_judged", "the horizon of a law that was not sampled is not judged"
    if comparison is None:
        return (
            f"{model}: this run cannot say from which length on its own text can be told from real text.",
            "unknown",
            "not_judged",
            "no horizon could be measured",
        )
    return (
        f"{model}: {_told_apart(comparison)}.",
        "bad" if comparison.detected else "neutral",
        *measured(comparison.h75, detected=comparison.detected),
    )


def _told_apart(comparison: Comparison) -> str:
    """Whether its text can be told from real text, and from which length on."""
    if not comparison.detected:
        return f"a simple detector finds no difference between its own text and real text up to {comparison.longest} tokens"
    if comparison.h75.estimate.where == "beyond":
        right = in_a_hundred(comparison.last.auc.value)
        return f"its own text can be told from real text, but weakly: {right} after {comparison.longest} tokens"
    return f"left to itself it writes text that a simple detector tells from the real text {spoken(comparison.h75)}"
