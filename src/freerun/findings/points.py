"""What was measured, what came out and how sure that is: three plain sentences or so each, for somebody who has never heard of an AUC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from freerun.counted import counted
from freerun.findings.detectability.comparison import Comparison
from freerun.findings.detectability.giveaways import giveaways
from freerun.findings.drift import CONTEXT
from freerun.findings.evidence import Evidence
from freerun.findings.loss import IMPOSSIBLE, LOSS
from freerun.findings.own_text.standing import audit_own_text
from freerun.records.plan import AuditPlan
from freerun.results.audit import OwnText
from freerun.results.finding import Estimate, Finding
from freerun.results.horizons import interval_words
from freerun.results.quantity import LEAST_DOCUMENTS, Quantity
from freerun.results.verdict import NextStep, Point, Strength, three_points


def points(
    evidence: Evidence, findings: Mapping[str, Finding], comparison: Comparison | None, own_text: OwnText
) -> tuple[Point, ...]:
    """The three points under a verdict. `comparison`: None where own text is refused, or there are too few documents."""
    loss = findings["loss"]
    if comparison is None or own_text.sampler_audit == "failed":
        why = findings[
            "self_recognition" if own_text.sampler_audit == "failed" or own_text.refused else "detectability"
        ].sentence
        sure = f"95% interval of the loss: {ends}. {why}" if (ends := _loss_ends(loss)) else why
        return three_points(_measured(evidence), _predicted(loss), sure)
    came_out = (*_told_apart(evidence, comparison), *_drifted(findings, comparison), _predicted(loss))
    sure_words = (_intervals(comparison, loss), *_checks(evidence, comparison, own_text))
    return three_points(_measured(evidence), " ".join(came_out), " ".join(sure_words))


def strength(evidence: Evidence, comparison: Comparison | None) -> Strength:
    """Whether there are as many documents as a gate on a mean asks for, and something was compared."""
    return "firm" if comparison is not None and evidence.n_units >= LEAST_DOCUMENTS else "slight"


def next_step(evidence: Evidence, comparison: Comparison | None, own_text: OwnText) -> NextStep | None:
    """What would answer what this run leaves open."""
    plan = evidence.plan
    if (step := own_text_step(plan, own_text)) is not None:
        return step
    if evidence.first_look is not None:
        few = f" {plan.documents}, though they are few, too" if plan.documents < LEAST_DOCUMENTS else " documents"
        return NextStep(f"Go on to all{few}: the same command without", "--quick")
    if comparison is None or evidence.n_units < LEAST_DOCUMENTS:
        return _more_documents(evidence, "Take more documents", short_too=True)
    if not comparison.detected or comparison.h75.low.where == "beyond":
        return NextStep("Look at longer texts: the same command with", f"--tokens {2 * plan.tokens}")
    if comparison.h75.high.where == "beyond":
        return _more_documents(evidence, "Narrow the interval with more documents", short_too=False)
    if evidence.own_lengths or plan.exemplars:
        return None
    return NextStep(
        "See whether it lasts longer when it has read more: the same command with", "--sweep prefix=8,32,128"
    )


def own_text_step(plan: AuditPlan, own_text: OwnText) -> NextStep | None:
    """What to do about own text that is not the model's law; None where it is."""
    if own_text.refused:
        return NextStep("See where the sampler's laws and the scorer's part", f"freerun doctor {plan.model}")
    if own_text.sampler_audit != "failed":
        return None
    if not own_text.own_law:
        return NextStep("Measure the model's own law: the same command without", "--sample-with")
    if (writer := plan.own_text_from) is not None:
        return NextStep("See what the server really does", f"freerun doctor {writer.model} --against {plan.model}")
    return NextStep("See what this model really samples from", f"freerun doctor {plan.model}")


def _more_documents(evidence: Evidence, words: str, *, short_too: bool) -> NextStep:
    """How to come by more documents; where the corpus has no others, from shorter texts (if `short_too`) or from elsewhere."""
    plan, too_short = evidence.plan, evidence.records.manifest["counts"]["too_short"]
    if not evidence.has_every_document:
        return NextStep(f"{words}: the same command with", f"--documents {max(LEAST_DOCUMENTS, 2 * plan.documents)}")
    if short_too and too_short and plan.tokens > 1:
        return NextStep(
            f"{counted(too_short, 'document is', 'documents are')} too short for {counted(plan.tokens, 'token')} after the cut, "
            "and no others are left: the same command with",
            f"--tokens {plan.tokens // 2}",
        )
    return NextStep(
        "The corpus has no other documents: put more of the kind beside them, or longer ones, and audit that",
        f"freerun audit {plan.model} MORE_TEXTS",
    )


# ---- what was measured -------------------------------------------------------------------------------------------------


def _measured(evidence: Evidence) -> str:
    plan = evidence.plan
    texts, tokens = counted(evidence.n_documents, "text"), counted(plan.tokens, "token")
    rule = "" if plan.sampling.is_model_law else f", sampled with {plan.sampling.describe()},"
    times = {1: "once", 2: "twice"}.get(plan.continuations, f"{plan.continuations} times")
    token = "(a token is a word or a part of one)"
    detector = (
        "A simple detector, trained on half of them, had to tell the model's from the real ones in the other half."
    )
    if evidence.own_lengths:
        prompts = counted(evidence.n_documents, "prompt")
        return f"The model answered {prompts} of {plan.corpus} {times}{rule} in up to {tokens} {token}. {detector}"
    if plan.prefix == 0:
        written = counted(evidence.n_documents * plan.continuations, "text")
        return f"The model wrote {written} of {tokens} {token}{rule} from nothing, to stand beside {texts} of {plan.corpus}. {detector}"
    seen = "" if plan.prefix == plan.cut else f", of which the model saw the last {plan.prefix}"
    cut = f"{texts} of {plan.corpus} were cut after {counted(plan.cut, 'token')} {token}{seen}"
    if (writer := plan.own_text_from) is not None:
        return (
            f"{cut}; {writer.describe()} continued each {times}{rule} for {tokens}, and the model read that. {detector}"
        )
    return f"{cut}; the model continued each {times}{rule} for {tokens}. {detector}"


# ---- what came out -----------------------------------------------------------------------------------------------------


def _told_apart(evidence: Evidence, comparison: Comparison) -> Iterator[str]:
    """How often the detector is right, and what helps it."""
    last, pair = comparison.last.auc.value, "Shown a real text and one of the model's, the detector"
    if not comparison.detected:
        yield f"{pair} is right {in_a_hundred(last)} after {counted(comparison.longest, 'token')} (guessing: 50); luck alone may do as well."
        return
    h = comparison.h75
    early = ""
    if h.estimate.where == "inside" and round(h.estimate.tokens) < comparison.longest:
        early = f"75 times in 100 after about {counted(round(h.estimate.tokens), 'token')} and "
    yield f"{pair} is right {early}{in_a_hundred(last)} after {comparison.longest:,}{'' if early else ' tokens'} (guessing: 50)."
    seen = [g for g in evidence.once(giveaways) if g.is_seen]
    if seen:
        yield f"What gives it away first: {seen[0].words}."


def _drifted(findings: Mapping[str, Finding], comparison: Comparison) -> Iterator[str]:
    """A drift that was seen although the detector found nothing: without it the points would contradict the number below them."""
    drift = findings["drift"]
    gap = _number(drift, CONTEXT)
    if not comparison.detected and drift.status == "bad" and gap is not None and gap.value is not None:
        yield (
            f"One other measurement does point to a difference: it is {'less sure' if gap.value > 0 else 'surer'} of the next token "
            "on its own text than on real text (entropy drift)."
        )


def in_a_hundred(share: float) -> str:
    """A chance in words; never a hundred in a hundred.

    >>> in_a_hundred(0.834), in_a_hundred(0.9963), in_a_hundred(0.5)
    ('83 times in 100', 'more than 99 times in 100', '50 times in 100')
    """
    return "more than 99 times in 100" if share > 0.99 else f"{round(100 * share)} times in 100"


def _predicted(loss: Finding) -> str:
    """The loss on real text, or what stands in its place."""
    if (impossible := _number(loss, IMPOSSIBLE)) is not None:
        return (
            f"It holds {impossible.value:.1%} of the real tokens for impossible, so its loss on real text is infinite."
        )
    e = _number(loss, LOSS)
    return "" if e is None else f"Loss on real text (how well it predicts it): {e.value:.2f} nats a token."


# ---- how sure ----------------------------------------------------------------------------------------------------------


def _intervals(comparison: Comparison, loss: Finding) -> str:
    """What other texts of this kind could make of the numbers."""
    judged = (
        f"Judged on {counted(comparison.last.n_test, 'text')} that the detector had not seen{_left_out(comparison)}."
    )
    ends = _loss_ends(loss)
    if not comparison.detected:
        missed = f"A detector that is right {in_a_hundred(comparison.smallest_auc)} would be noticed in 80 of 100 such audits; a smaller difference may be there."
        return f"{judged} {missed}{f' 95% interval of the loss: {ends}.' if ends else ''}"
    h = comparison.h75
    unit = "" if h.low.where == h.high.where != "inside" else " tokens"
    low, high = (round(100 * share) for share in (comparison.last.auc.low, comparison.last.auc.high))
    often = (
        f"right {f'at least {low}' if high == 100 else f'{low} to {high}'} times in 100 after {comparison.longest:,}"
    )
    first = comparison.first_rejected
    certain = f" A test finds the difference from token {first:,} on." if first is not None and first > 1 else ""
    return (
        f"{judged} 95% intervals, for other texts of this kind: {interval_words(h)}{unit}; {often}{f'; loss {ends}' if ends else ''}."
        f"{certain}"
    )


def _left_out(comparison: Comparison) -> str:
    """Pairs that the detector could not use."""
    n = comparison.n_dropped
    return f" ({counted(n, 'pair')} left out, whose continuation ended earlier)" if n else ""


def _loss_ends(loss: Finding) -> str:
    e = _number(loss, LOSS)
    if e is None or e.low is None or e.high is None or _number(loss, IMPOSSIBLE) is not None:
        return ""
    return f"{e.low:.2f} to {e.high:.2f}"


def _checks(evidence: Evidence, comparison: Comparison, own_text: OwnText) -> Iterator[str]:
    """What the controls and the sampler's audit say."""
    if comparison.controls_hold:
        yield "As a control, the model's text was held against more of its own, and not told apart."
    else:
        yield "The detector tells the model's text from more of its own, too, which it should not: mistrust it."
    sampled = evidence.once(audit_own_text).sampled
    if own_text.sampler_audit != "passed" or sampled is None:
        yield "Whether the texts are drawn from the model's own law was not measured."
        return
    if evidence.law_served is not None:
        yield evidence.law_served.sentence
        return
    smallest = sampled.smallest
    seen = (
        f": one token in {1 / smallest.share:,.0f} from elsewhere would have been noticed"
        if smallest and smallest.share
        else ""
    )
    yield f"The texts are the model's own{seen}."


def _number(finding: Finding, quantity: Quantity) -> Estimate | None:
    return next((e for e in finding.estimates if e.name == quantity.name and e.value is not None), None)
