"""The verdict on a run: from facts to a status and an outcome, and then to a sentence."""

from __future__ import annotations

from collections.abc import Mapping

from freerun.findings.detectability.comparison import Comparison
from freerun.findings.evidence import Evidence
from freerun.findings.loss import IMPOSSIBLE, LOSS
from freerun.findings.outcome import measured
from freerun.results.audit import OwnText
from freerun.results.finding import Finding
from freerun.results.horizons import spoken
from freerun.results.verdict import RunVerdict


def verdict(
    evidence: Evidence, findings: Mapping[str, Finding], comparison: Comparison | None, own_text: OwnText
) -> RunVerdict:
    """What the run says of the model. `comparison`: None where own text is refused, or there are too few documents."""
    model, at_loss = evidence.plan.model, _at_loss(findings["loss"])
    recognition = findings["self_recognition"].sentence
    if own_text.refused:
        return RunVerdict(
            f"{model}: its own text is refused as evidence, since the sampler's law is not the scorer's; what real text says stands, "
            f"{at_loss}.",
            recognition,
            "unknown",
            "not_judged",
            "the horizon of text whose law is not known is not judged",
        )
    if own_text.sampler_audit == "failed":
        if (found := evidence.law_served) is not None:
            return RunVerdict(
                f"{model}: what {found.writer} wrote is not drawn from this model's law at {found.declared}. {found.cause_sentence}",
                recognition,
                "bad",
                "not_judged",
                "the horizon of a law that was not sampled is not judged",
            )
        return RunVerdict(
            f"{model}: what was sampled is not the model's own law at temperature 1.",
            recognition,
            "bad",
            "not_judged",
            "the horizon of a law that was not sampled is not judged",
        )
    if comparison is None:
        return RunVerdict(
            f"{model}: this run cannot say from which length on its own text can be told from real text.",
            findings["detectability"].sentence,
            "unknown",
            "not_judged",
            "no horizon could be measured",
        )
    return RunVerdict(
        f"{model}: {_told_apart(comparison)}, {at_loss}.",
        f"{findings['drift'].sentence} {findings['loops'].sentence} {recognition}",
        "bad" if comparison.detected else "neutral",
        *measured(comparison.h75, detected=comparison.detected),
    )


def _told_apart(comparison: Comparison) -> str:
    """Whether its text can be told from real text, and from which length on."""
    if not comparison.detected:
        return f"no difference found between its own text and real text up to {comparison.longest} tokens"
    if comparison.h75.estimate.where == "beyond":
        auc = comparison.last.auc.value
        return f"its own text can be told from real text, but weakly up to {comparison.longest} tokens (AUC {auc:.2f})"
    return f"left to itself it writes text that a simple detector tells from the real text {spoken(comparison.h75)}"


def _at_loss(loss: Finding) -> str:
    """The loss as part of the verdict."""
    values = {e.name: e.value for e in loss.estimates}
    if IMPOSSIBLE.name in values:
        return f"at an infinite loss ({values[IMPOSSIBLE.name]:.1%} of real tokens are impossible)"
    return f"at a loss of {values[LOSS.name]:.2f} nats a token"
