"""What a verification measured, what came out and how sure that is, for somebody who knows none of the words."""

from __future__ import annotations

from freerun.counted import counted
from freerun.findings.recognition.sampling import p_words
from freerun.findings.verification.evidence import VerifyEvidence
from freerun.results.verdict import NextStep, Point, three_points
from freerun.results.verify import Cause, RuleStep
from freerun.stats.verification.battery import ALPHA


def verify_points(evidence: VerifyEvidence, *, model: str, came_out: str) -> tuple[Point, ...]:
    """Under the verdict. `came_out`: the cause, and what the reported log-probabilities say."""
    facts = evidence.facts
    drawn = f"{counted(facts.n_completions, 'completion')} of {facts.path}, {counted(facts.n_drawn_tokens, 'drawn token')} (a token is a word or a part of one)"
    how = (
        "The file has text alone, so the texts were tokenised again and held against texts that the model drew after the same prompts."
        if evidence.is_text
        else "Before every token the model says how probable each token is (its law). Draws from that law fall where it puts its mass, and "
        "every other way of drawing leaves a mark."
    )
    sure = (
        f"All tests together: p {p_words(evidence.p_value)}. They would call true draws different in 1 file of {1 / ALPHA:,.0f}. "
        "A fault smaller than these tokens can show may be there."
    )
    return three_points(
        f"{drawn}, were read by {model}. {how}", came_out, "" if evidence.match == "not_judged" else sure
    )


def verify_next(evidence: VerifyEvidence, cause: Cause, *, model: str) -> NextStep | None:
    """What would answer what a verification leaves open."""
    if evidence.match == "not_judged":
        words = "Draw each completion with a seed of its own" if evidence.one_seed else "Give it more completions"
        return NextStep(f"{words}, and verify those", f"freerun verify MORE --model {model}")
    if evidence.match == "agrees":
        return None
    asked = next((a for a in evidence.facts.asked if not a.is_declared), None)
    if asked is not None:
        return NextStep(
            "Hold them against what the file says was asked for: the same command with", f"--declared {asked.words}"
        )
    if evidence.facts.n_weight_versions > 1:
        return NextStep(
            "Verify the samples of each version of the weights by itself", f"freerun verify PART --model {model}"
        )
    if cause.kind == "rule" and cause.candidate is not None:
        rule = ",".join(map(_typed, cause.candidate.steps))
        return NextStep("Hold them against the rule that was found: the same command with", f"--declared {rule}")
    if cause.kind in ("none_of_these", "not_searched"):
        return NextStep("Try another model or checkpoint: the same command with", "--or MODEL")
    return None


def _typed(step: RuleStep) -> str:
    """A step as `--declared` takes it.

    >>> _typed(RuleStep("temperature", 0.9)), _typed(RuleStep("top_k", 50.0))
    ('t=0.9', 'top_k=50')
    """
    return f"{'t' if step.name == 'temperature' else step.name}={step.value:g}"
