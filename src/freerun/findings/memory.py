"""What is the prefix worth to the model, and how far does it reach?"""

from __future__ import annotations

import numpy as np

from freerun.counted import counted
from freerun.findings.evidence import Evidence
from freerun.results.finding import Chart, Estimate, Finding, Series
from freerun.stats.intervals import Interval, cluster_ratio
from freerun.stats.position import PositionCurve, curve_by_position, log_spaced_edges

QUESTION = "What is the prefix worth, and how far does it reach?"
MIN_DOCUMENTS = 4


def memory(evidence: Evidence) -> Finding:
    """Loss on the real continuations with the context cut off where they begin, minus the loss with the prefix, by position."""
    tokens, plan = evidence.records.tokens, evidence.plan
    alone = tokens.get("without_prefix_log_prob_nats")
    real = evidence.tokens_of("real")
    measured = np.zeros(len(real), bool) if alone is None else real & ~np.isnan(alone)
    if alone is None or not measured.any():
        return _unknown(
            "There is no prefix in this run, so there is nothing that it could be worth: take --prefix 32 or more."
            if plan.get("prefix") == 0
            else "These records do not say what the continuations cost without their prefix: an older version made them. Run the audit "
            "again in another folder."
        )
    log_prob = tokens["log_prob_nats"]
    usable = measured & np.isfinite(alone) & np.isfinite(log_prob)
    n_impossible = int(np.count_nonzero(measured & ~np.isfinite(alone)))
    groups, position = evidence.units[evidence.token_sequence], tokens["position"]
    n_documents = len(np.unique(groups[usable]))
    if n_documents < MIN_DOCUMENTS:
        return _unknown(
            f"Only {counted(n_documents, 'document has', 'documents have')} a token scored both ways; at least {MIN_DOCUMENTS} are needed."
        )

    gain = np.where(usable, log_prob, 0.0) - np.where(usable, alone, 0.0)
    edges = log_spaced_edges(evidence.length)
    curve = curve_by_position(gain[usable], position[usable], groups[usable], edges=edges)
    overall = _mean(gain[usable], groups[usable])
    half = usable & (position >= evidence.length // 2)
    late = _mean(gain[half], groups[half]) if len(np.unique(groups[half])) >= MIN_DOCUMENTS else None
    sequences, of = np.unique(evidence.token_sequence[usable], return_inverse=True)
    total = _mean(np.bincount(of, gain[usable]), evidence.units[sequences])
    reach, open_end = _reach(curve)
    how = "ratio of sums, document-clustered linearised interval (t)"
    estimates = [
        _of("prefix_worth_nats_per_token", "Loss without the prefix minus loss with it", overall, "nats/token", how),
        _of("prefix_worth_nats_per_document", "the same, summed over a continuation", total, "nats", how),
    ]
    if late is not None:
        estimates.append(_of("prefix_worth_late_nats_per_token", "the same, second half", late, "nats/token", how))
    estimates.append(
        Estimate(
            "prefix_reach_tokens",
            "Tokens after the cut up to which the prefix is seen to help",
            float(reach) if reach else None,
            "tokens",
            n=n_documents,
            method="bins of positions tested in order, each at one-sided 2.5%, up to the first that is not above zero",
            text=("" if not open_end else f"≥ {reach}") if reach else "none shown",
        )
    )
    notes = [
        "Without the prefix the text starts in the middle of a sentence, perhaps of a word: the first tokens pay for that too.",
        "It is the model's use of the prefix, on this model's tokens: no statement about how much the prefix tells a better reader.",
    ]
    if not measured[real & (position == 0)].any():
        notes.append("The first token has no law without a prefix (nothing is put first), so it is not compared.")
    if n_impossible:
        notes.append(
            f"{counted(n_impossible, 'token has', 'tokens have')} no mass without the prefix at all: left out of every mean, and counted here."
        )
    return Finding(
        name="memory",
        question=QUESTION,
        sentence=_sentence(plan.get("prefix"), overall, reach, open_end, late, evidence.length),
        status="neutral",
        estimates=tuple(estimates),
        charts=(_chart(curve),),
        licence=(
            "Null: the prefix changes the mean loss by nothing. Unit: the document. Fixed n, pointwise 95% intervals over documents. The "
            "reach is a fixed-sequence test (bins in order, stop at the first that does not reject), so its chance to reach too far is at "
            "most 2.5%; that it ends somewhere is not evidence that the prefix is forgotten there."
        ),
        notes=tuple(notes),
    )


def _reach(curve: PositionCurve) -> tuple[int, bool]:
    """Tokens up to which every bin's lower limit is above zero, and whether that is all of them; bins without a value are skipped."""
    reach, known = 0, np.isfinite(curve.low)
    for right, low in zip(curve.right[known], curve.low[known], strict=True):
        if low <= 0:
            return reach, False
        reach = int(right)
    return reach, reach > 0


def _sentence(prefix: object, overall: Interval, reach: int, open_end: bool, late: Interval | None, length: int) -> str:
    worth = (
        f"Its prefix of {prefix} tokens saves the model {overall.value:.3f} nats a token over the next {length} "
        f"({overall.low:.3f} to {overall.high:.3f})"
    )
    if not reach:
        return f"{worth}; no position shows a gain that can be told from zero at this n.".replace("-", "−")
    end = (
        f"the gain is seen up to {length} tokens, the longest measured"
        if open_end
        else f"the gain is seen up to {reach} tokens after the cut"
    )
    tail = (
        f", and is {late.value:.3f} ({late.low:.3f} to {late.high:.3f}) in the second half" if late is not None else ""
    )
    return f"{worth}; {end}{tail}.".replace("-", "−")


def _chart(curve: PositionCurve) -> Chart:
    known = np.isfinite(curve.mean)
    first, last = curve.left[known] + 1, curve.right[known]
    return Chart(
        name="memory",
        title="What the prefix saves, by position",
        x_label="tokens after the cut",
        y_label="nats/token saved",
        x=tuple(float(x) for x in np.sqrt(first * last)),
        series=(
            Series(
                "loss without the prefix minus with it",
                "real",
                _floats(curve.mean[known]),
                _floats(curve.low[known]),
                _floats(curve.high[known]),
            ),
        ),
        x_scale="log2",
        levels=((0.0, "nothing"),),
        caption="Real continuations, teacher-forced twice. Shaded: pointwise 95% interval over documents.",
    )


def _unknown(why: str) -> Finding:
    return Finding("memory", QUESTION, why, "unknown", licence="No inference.")


def _mean(values: np.ndarray, groups: np.ndarray) -> Interval:
    return cluster_ratio(values, np.ones(len(values)), groups)


def _floats(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(float(v) if np.isfinite(v) else None for v in values)


def _of(name: str, label: str, x: Interval, unit: str, method: str) -> Estimate:
    return Estimate(name, label, x.value, unit, x.low, x.high, x.level, x.n, "document", method)
