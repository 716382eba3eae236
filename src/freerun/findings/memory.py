"""What is the prefix worth to the model, and how far does it reach?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float

from freerun.counted import counted
from freerun.findings.evidence import Evidence
from freerun.findings.question import Question
from freerun.results.finding import Chart, Finding, Series
from freerun.results.quantity import Quantity, Sums
from freerun.stats.intervals import Interval
from freerun.stats.position import PositionCurve, curve_by_position, log_spaced_edges

QUESTION = "What is the prefix worth, and how far does it reach?"
WORTH = Quantity(
    "memory",
    "prefix_worth_nats_per_token",
    "Loss without the prefix minus loss with it",
    "nats/token",
    possible_tokens=True,
    gates=("prefix_worth",),
)
WORTH_LATE = Quantity(
    "memory", "prefix_worth_late_nats_per_token", "the same, second half", "nats/token", possible_tokens=True
)
WORTH_OF_DOCUMENT = Quantity(
    "memory", "prefix_worth_nats_per_document", "the same, summed over a continuation", "nats", paired=False
)
REACH = Quantity(
    "memory", "prefix_reach_tokens", "Tokens after the cut up to which the prefix is seen to help", "tokens"
)
QUANTITIES = (WORTH, WORTH_OF_DOCUMENT, WORTH_LATE, REACH)
MIN_DOCUMENTS = 4
ROUNDING_NATS = 1e-9
"""A law without memory differs by rounding alone: smaller gains are none."""


def _gains(evidence: Evidence) -> tuple[Float[np.ndarray, " tokens"], Bool[np.ndarray, " tokens"]]:
    """What the prefix saves at each token, nats, and at which real tokens that is known."""
    tokens = evidence.records.tokens
    log_prob, alone = tokens["log_prob_nats"], tokens.get("without_prefix_log_prob_nats")
    if alone is None:
        return np.zeros(log_prob.size), np.zeros(log_prob.size, bool)
    usable = evidence.tokens_of("real") & np.isfinite(alone) & np.isfinite(log_prob)
    gain = np.where(usable, log_prob, 0.0) - np.where(usable, alone, 0.0)
    return np.where(np.abs(gain) < ROUNDING_NATS, 0.0, gain), usable


def memory_sums(evidence: Evidence) -> Iterator[Sums]:
    """What the prefix is worth document by document."""
    gain, usable = evidence.once(_gains)
    late = usable & (evidence.records.tokens["position"] >= evidence.length // 2)
    for quantity, chosen in ((WORTH, usable), (WORTH_LATE, late)):
        yield Sums(quantity, evidence.token_sums(gain, chosen), evidence.token_sums(1.0, chosen))
    continuations = np.unique(evidence.token_sequence[usable])
    yield Sums(WORTH_OF_DOCUMENT, evidence.token_sums(gain, usable), evidence.sequence_sums(continuations, 1.0))


def memory(evidence: Evidence) -> Finding:
    """Loss on the real continuations with the context cut off where they begin, minus the loss with the prefix, by position."""
    tokens, plan = evidence.records.tokens, evidence.plan
    alone = tokens.get("without_prefix_log_prob_nats")
    real = evidence.tokens_of("real")
    measured = np.zeros(len(real), bool) if alone is None else real & ~np.isnan(alone)
    if alone is None or not measured.any():
        why = (
            "There is no prefix in this run, so there is nothing that it could be worth: take --prefix 32 or more."
            if plan.prefix == 0
            else "These records do not say what the continuations cost without their prefix: an older version made them. Run the audit "
            "again in another folder."
        )
        return Finding.unknown("memory", QUESTION, why)
    gain, usable = evidence.once(_gains)
    n_impossible = int(np.count_nonzero(measured & ~np.isfinite(alone)))
    groups, position = evidence.units[evidence.token_sequence], tokens["position"]
    n_documents = len(np.unique(groups[usable]))
    if n_documents < MIN_DOCUMENTS:
        documents = counted(n_documents, "document has", "documents have")
        why = f"Only {documents} a token scored both ways; at least {MIN_DOCUMENTS} are needed."
        return Finding.unknown("memory", QUESTION, why)
    curve = curve_by_position(gain[usable], position[usable], groups[usable], edges=log_spaced_edges(evidence.length))
    sums = {s.quantity: s for s in memory_sums(evidence)}
    known_late = np.count_nonzero(sums[WORTH_LATE].bottoms) >= MIN_DOCUMENTS
    late = sums[WORTH_LATE].interval() if known_late else None
    reach, open_end = _reach(curve)
    notes = [
        "Without the prefix the text starts in the middle of a sentence, perhaps of a word: the first tokens pay for that too.",
        "It is the model's use of the prefix, on this model's tokens: no statement about how much the prefix tells a better reader.",
    ]
    if not measured[real & (position == 0)].any():
        notes.append("The first token has no law without a prefix (nothing is put first), so it is not compared.")
    if n_impossible:
        impossible = counted(n_impossible, "token has", "tokens have")
        notes.append(f"{impossible} no mass without the prefix at all: left out of every mean, and counted here.")
    return Finding(
        name="memory",
        question=QUESTION,
        sentence=_sentence(plan.prefix, sums[WORTH].interval(), reach, open_end, late, evidence.length),
        status="neutral",
        estimates=(
            sums[WORTH].estimate(),
            sums[WORTH_OF_DOCUMENT].estimate(),
            *([sums[WORTH_LATE].estimate()] if known_late else []),
            REACH.number(
                float(reach) if reach else None,
                n=n_documents,
                method="bins of positions tested in order, each at one-sided 2.5%, up to the first that is not above zero",
                text=("" if not open_end else f"≥ {reach}") if reach else "none shown",
            ),
        ),
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
            Series.curve(
                "loss without the prefix minus with it", "real", curve.mean[known], curve.low[known], curve.high[known]
            ),
        ),
        x_scale="log2",
        levels=((0.0, "nothing"),),
        caption="Real continuations, teacher-forced twice. Shaded: pointwise 95% interval over documents.",
    )


ENTRY = Question("memory", QUESTION, memory, QUANTITIES, memory_sums, needs_text=True, place=70)
