"""Who does the text seem to be by, along real text and along its own? The posterior over sources from the cut on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freerun.counted import counted
from freerun.findings.evidence import Evidence
from freerun.findings.question import Question
from freerun.findings.sources.evidence import MIN_DOCUMENTS, SourceEvidence, source_evidence
from freerun.findings.sources.pictures import (
    SIDES,
    belief_charts,
    drift_table,
    entropy_chart,
    group_name,
    named,
    p_value,
    percent,
    position_table,
    signed,
)
from freerun.records.source_likelihoods import SourceRecords
from freerun.results.finding import Estimate, Finding
from freerun.stats.sources.drift import LEAST_EXPECTED, DriftTest

QUESTION = "Who does the text seem to be by, along real text and along its own?"
ALPHA = 0.05
_HOW = "mean over documents, t interval"


def source(evidence: Evidence, recorded: Sequence[SourceRecords]) -> Finding:
    """Belief about each latent by position, its entropy on both sides, and whether it drifts along the model's own text."""
    if not recorded:
        return Finding.unknown(
            "source",
            QUESTION,
            "Not asked in this run. `--sources news` (or genre, decade, era, code, or a file of your own) with the same command scores "
            "every source's headers above both texts and shows how belief about the source moves along each; `--dry-run` says what it costs.",
        )
    latents, short = [], []
    for records in recorded:
        latent = source_evidence(evidence, records) if _whole(records) else None
        if latent is None:
            short.append(_short(records))
        else:
            latents.append(latent)
    if not latents:
        return Finding.unknown("source", QUESTION, " ".join(short))
    return Finding(
        name="source",
        question=QUESTION,
        sentence=" ".join([*(_sentence(e, evidence) for e in latents), *short]),
        status="neutral",
        estimates=tuple(x for e in latents for x in _estimates(e)),
        charts=tuple(x for e in latents for x in (entropy_chart(e), *belief_charts(e))),
        tables=tuple(x for e in latents for x in (drift_table(e), position_table(e))),
        licence=(
            "Unit: the document, one text of each side after the same prefix; 95% t intervals, by position pointwise. Null of the drift: own "
            "text is drawn from the mixture of what the model says when told each source, with the beliefs at the cut as weights; then mean "
            "belief stays where it was at the cut (a martingale), whatever the prefixes and lengths and wherever texts end. A drift says "
            "“not this mixture”, never “irrational”: another list of sources may fit. No drift shown is not proof of the mixture. Real "
            "text has no such null: belief may rightly move towards its true source."
        ),
        notes=tuple(x for e in latents for x in _notes(e, evidence)),
    )


def _whole(records: SourceRecords) -> bool:
    return len(records.texts) >= 2 * records.asked.documents


def _short(records: SourceRecords) -> str:
    name, n = records.asked.latent, len(records.texts) // 2
    if not _whole(records):
        return f"Belief about {name} is recorded for {n} of {records.asked.documents} documents: the same command with --sources goes on."
    return f"Belief about {name}: only {counted(n, 'document')}; at least {MIN_DOCUMENTS} are needed (`--source-documents`)."


# ---- words -------------------------------------------------------------------------------------------------------------


def _sentence(e: SourceEvidence, evidence: Evidence) -> str:
    gap, name = e.entropy["gap"], e.asked.latent
    range_ = f"95% interval {signed(gap.low)} to {signed(gap.high)}"
    if gap.side:
        side = "less sure" if gap.side > 0 else "surer"
        sentence = f"Along its own text it is {side} of the {name} than along the real text of the same prefixes: {signed(gap.value)} bits ({range_})."
    else:
        sentence = f"How unsure it is of the {name} cannot be told apart between its own and the real text of the same prefixes (own minus real {signed(gap.value)} bits, {range_})."
    own, real = e.switches["own"], e.switches["real"]
    sentence += f" Its leading {name} changes after the cut in {percent(own.value)} of its own and {percent(real.value)} of the real texts."
    return f"{sentence} {_drift_sentence(e, evidence)}"


def _drift_sentence(e: SourceEvidence, evidence: Evidence) -> str:
    if e.drift is None:
        return f"{e.n} documents can judge no drift of belief: every source would be that of fewer than {LEAST_EXPECTED:g} of them, or of all but so few."
    k, p = _largest(e.drift), float(e.drift.p_holm.min())
    if p >= ALPHA:
        return f"No drift of mean belief along its own text is shown (smallest p {p_value(p)}, Holm over {_groups(e.drift)}; {e.n} documents)."
    who, change = group_name(e, e.drift.groups[k]), e.drift.change
    moved = f"mean belief in {who} goes from {percent(change.start[k])} to {percent(change.end[k])} along its own text (p {p_value(p)}, Holm over {_groups(e.drift)})"
    if not evidence.plan.sampling.is_model_law:
        return f"The {moved}: what was sampled, which is not its own law, is not this mixture of sources."
    return f"The {moved}: told nothing, it is not this mixture of sources."


def _groups(test: DriftTest) -> str:
    return counted(len(test.groups), "test")


def _largest(test: DriftTest) -> int:
    """The group with the smallest p; among equal ones the one that moved most."""
    return int(np.lexsort((-np.abs(test.change.change), test.p_holm))[0])


def _estimates(e: SourceEvidence) -> list[Estimate]:
    name = e.asked.latent
    gap = f"Entropy of belief about {name}, own minus real, last common length"
    out = [Estimate.of(f"{name}_entropy_gap_bits", gap, e.entropy["gap"], "bits", method=_HOW), _drift_estimate(e)]
    for side, label, _ in SIDES[::-1]:
        turned, how = f"Leading {name} changes after the cut, {label}", "Clopper–Pearson over documents"
        out.append(Estimate.of(f"{name}_switch_{side}", turned, e.switches[side], "share", method=how))
    for side, label, _ in SIDES[::-1]:
        change, of_lead = e.leading[side].interval(0), f"Change of belief in the {name} that leads at the cut, {label}"
        how = "mean over documents, other left out; t interval with four pseudo-documents"
        out.append(Estimate.of(f"{name}_lead_change_{side}", of_lead, change, "probability", method=how))
    for part, label in (
        ("own", "Entropy of belief at the end, its own text"),
        ("real", "the same, real text"),
        ("cut", "the same, at the cut"),
    ):
        out.append(Estimate.of(f"{name}_entropy_{part}_bits", label, e.entropy[part], "bits", method=_HOW))
    if e.drift is not None:
        how = "Hoeffding 1963 over all sources and both directions; holds at any n, and is conservative"
        p_name, label = f"{name}_drift_p_exact", "p of no drift at all, exact"
        out.append(Estimate(p_name, label, e.drift.exact_p, "p", n=e.n, method=how))
    excess = f"{name}_mixture_excess_nats_per_token"
    cost = "What its own text costs more under the mixture of sources than under its own law"
    if e.excess is not None:
        how = "ratio of sums, document-clustered t interval; the mean is KL(own law ‖ mixture), 0 if and only if they are the same"
        out.append(Estimate.of(excess, cost, e.excess, "nats/token", method=how))
    elif e.n_impossible:
        why = f"infinite: {counted(e.n_impossible, 'text is', 'texts are')} impossible under the mixture"
        out.append(Estimate(excess, cost, None, "nats/token", n=e.n, text=why))
    return out


def _drift_estimate(e: SourceEvidence) -> Estimate:
    name = f"{e.asked.latent}_drift_own"
    if e.drift is None:
        largest = "Largest drift of mean belief along its own text"
        return Estimate(name, largest, None, "probability", n=e.n, text="too few documents")
    k = _largest(e.drift)
    label = f"Drift of mean belief in {group_name(e, e.drift.groups[k])} along its own text"
    how = (
        f"the one with the smallest p ({p_value(float(e.drift.p_holm[k]))}, Holm over {_groups(e.drift)}); other left out; "
        "t interval with four pseudo-documents"
    )
    return Estimate.of(name, label, e.drift.change.interval(k), "probability", method=how)


def _notes(e: SourceEvidence, evidence: Evidence) -> list[str]:
    name = e.asked.latent
    notes = [
        f"{e.asked.title}: {len(e.asked.values) - 1} values of {name} and other (the model without a header), {sum(e.asked.templates)} header "
        f"rows above each text. Belief starts from the file's prior, reads the prefix, and is at time 0 at the cut. β = 1: every token is taken at "
        "face value, so beliefs are usually too sure (`freerun source --evaluate`).",
    ]
    if not e.same and e.drift_all is not None:
        k = _largest(e.drift_all)
        p = float(e.drift_all.p_holm.min())
        moved = e.drift_all.change
        notes.append(
            f"With other counted as one more source the smallest p of no drift is {p_value(p)} ({named(group_name(e, e.drift_all.groups[k]))}: "
            f"{percent(moved.start[k])} to {percent(moved.end[k])}). The mixture then nearly contains the law that writes, so that little is left to drift, "
            "while belief in other itself may rise."
        )
    if not evidence.plan.sampling.is_model_law:
        notes.append(
            f"Free text was sampled with {evidence.plan.sampling.describe()}: the null speaks of that, and what it costs more under the mixture is not given."
        )
    if e.asked.begins:
        notes.append(
            f"Every header row, the one without a header too, begins with id {', '.join(map(str, e.asked.begins))} (end of text), as documents do in training. Own "
            "text was written after the bare prefix: what it costs more under the mixture holds that difference too."
        )
    if e.n_ended > 0:
        notes.append(
            f"{counted(e.n_ended, 'own text ends by itself', 'own texts end by themselves')}; belief stays as it was there, which the null allows."
        )
    if e.texts.n_cut:
        notes.append(
            f"{counted(e.texts.n_cut, 'own text is', 'own texts are')} read up to the first token that no source knows."
        )
    if e.texts.n_unwritable:
        notes.append(
            f"{counted(e.texts.n_unwritable, 'document is', 'documents are')} left out: no source with a prior can write the prefix."
        )
    notes.append(
        "Public texts are probably in the training data, with who wrote them and when: then the real side shows memory as much as judgement."
    )
    return notes


ENTRY = Question("source", QUESTION, lambda evidence: source(evidence, evidence.sources), place=80)
