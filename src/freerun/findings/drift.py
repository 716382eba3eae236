"""Does the text that it writes drift away, in either direction?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import TooFewDocuments
from freerun.findings.common_length import EARLY as EARLY_TOKENS
from freerun.findings.common_length import LATE, Side, Stretch, mean_in_common
from freerun.findings.evidence import Evidence
from freerun.findings.question import Question
from freerun.records.schema import ArmName
from freerun.results.finding import Cell, Chart, Estimate, Finding, Row, Series, Table
from freerun.results.quantity import Quantity, Sums
from freerun.stats.intervals import Interval, cluster_ratio, has_no_width
from freerun.stats.position import SlopeDifference, curve_by_position, log_spaced_edges, slope_difference

QUESTION = "Does its own text drift away from real text?"
CONTEXT = Quantity(
    "drift",
    "entropy_gap_late_nats",
    "Entropy, own minus real, second half (context drift)",
    "nats",
    own_text=True,
    gates=("entropy_drift", "drift"),
    card=True,
)
EARLY = Quantity("drift", "entropy_gap_early_nats", "Entropy, own minus real, first eighth", "nats", own_text=True)
SURPRISAL = Quantity(
    "drift",
    "surprisal_gap_late_nats",
    "Surprisal, own minus real, second half",
    "nats",
    own_text=True,
    possible_tokens=True,
)
TEMPERATURE = Quantity(
    "drift",
    "temperature_gap_late_nats",
    "Entropy on real text minus loss, second half (temperature miscalibration)",
    "nats",
    possible_tokens=True,
    gates=("temperature_gap",),
)
TOTAL = Quantity(
    "drift",
    "total_gap_late_nats",
    "Entropy on own text minus loss on real text, second half (sum of the two)",
    "nats",
    own_text=True,
    possible_tokens=True,
    gates=("total_gap",),
)
SLOPE = Quantity(
    "drift",
    "entropy_slope_gap_nats_per_doubling",
    "Slope of entropy in position, own minus real",
    "nats per doubling",
    own_text=True,
)
SLOPE_OWN = Quantity(
    "drift", "entropy_slope_own_nats_per_doubling", "the same, own text alone", "nats per doubling", own_text=True
)
CONTROL = Quantity(
    "drift",
    "entropy_gap_control_nats",
    "Control: entropy, one own continuation minus the other, second half",
    "nats",
    own_text=True,
    paired=False,
)
QUANTITIES = (CONTEXT, EARLY, SURPRISAL, TEMPERATURE, TOTAL, SLOPE, SLOPE_OWN, CONTROL)
OWN, REAL = Side("free"), Side("real")
_HOW = "mean over documents of the difference of its means, t interval"


def drift(evidence: Evidence) -> Finding:
    """Loss, entropy on real text and entropy on its own text by position, on the same documents; the gap split in two."""
    try:
        if not evidence.whole_laws:
            raise TooFewDocuments("the model tells no whole laws, so they have no entropy")
        split = _split(evidence)
        slopes = _slopes(evidence)
    except TooFewDocuments as error:
        return Finding.unknown(
            "drift", QUESTION, f"Drift is not known: {error}.", CONTEXT.estimate(None, text="unknown")
        )
    late = split.context
    moves = late.side != 0
    return Finding(
        name="drift",
        question=QUESTION,
        sentence=_sentence(evidence, split),
        status="bad" if moves else "neutral",
        estimates=_estimates(evidence, slopes),
        charts=(_chart(evidence),),
        tables=(_split_table(split), _swap_table(evidence)),
        licence=(
            "Unit: the document; both sides of one document share its prefix, and its two own continuations are averaged. 95% intervals, by "
            "position pointwise. Null: the same law wrote both sides. Either sign is reported."
        ),
        notes=_notes(evidence, split, slopes),
    )


# ---- from records to one number a document -----------------------------------------------------------------------------


def drift_sums(evidence: Evidence) -> Iterator[Sums]:
    """The gaps document by document."""
    for quantity, values in evidence.once(_gaps).items():
        known = np.isfinite(values)
        yield Sums(quantity, np.where(known, values, 0.0), known.astype(np.float64))


def _gaps(evidence: Evidence) -> dict[Quantity, Float[np.ndarray, " documents"]]:
    """Nats a token, one number a document; NaN where it has none."""
    entropy, surprisal = evidence.records.tokens["entropy_nats"], _surprisal(evidence)
    loss, real, own = _second_half(evidence)
    gaps = {
        CONTEXT: own - real,
        EARLY: _over(evidence, entropy, OWN, REAL, EARLY_TOKENS) - _over(evidence, entropy, REAL, OWN, EARLY_TOKENS),
        SURPRISAL: _over(evidence, surprisal, OWN, REAL, LATE) - _over(evidence, surprisal, REAL, OWN, LATE),
        TEMPERATURE: real - loss,
        TOTAL: own - loss,
    }
    if evidence.plan.continuations >= 2:
        first, second = Side("free", 0), Side("free", 1)
        gaps[CONTROL] = _over(evidence, entropy, first, second, LATE) - _over(evidence, entropy, second, first, LATE)
    return gaps


def _second_half(evidence: Evidence) -> list[Float[np.ndarray, " documents"]]:
    """Loss, entropy on real and entropy on own text; NaN in all three where a document lacks one."""
    entropy = evidence.records.tokens["entropy_nats"]
    columns = [
        _over(evidence, values, side, against, LATE)
        for values, side, against in ((_surprisal(evidence), REAL, OWN), (entropy, REAL, OWN), (entropy, OWN, REAL))
    ]
    whole = np.isfinite(columns).all(axis=0)
    return [np.where(whole, column, np.nan) for column in columns]


@dataclass(frozen=True)
class _Split:
    """Means over the documents that have both sides in the second half, nats a token; context + temperature = total."""

    loss: Interval
    real_entropy: Interval
    own_entropy: Interval
    context: Interval
    temperature: Interval
    total: Interval


def _split(evidence: Evidence) -> _Split:
    loss, real, own = _second_half(evidence)
    return _Split(_mean(loss), _mean(real), _mean(own), _mean(own - real), _mean(real - loss), _mean(own - loss))


def _slopes(evidence: Evidence) -> SlopeDifference:
    tokens = evidence.records.tokens
    own, real = evidence.tokens_of("free"), evidence.tokens_of("real")
    used = own | real
    sequence = evidence.token_sequence[used]
    return slope_difference(
        tokens["entropy_nats"][used],
        tokens["position"][used],
        sequence,
        evidence.units[sequence],
        own[used],
    )


def _surprisal(evidence: Evidence) -> Float[np.ndarray, " tokens"]:
    """−ln q of the token that came; NaN where q gave it no mass."""
    log_prob = evidence.records.tokens["log_prob_nats"]
    return np.where(np.isfinite(log_prob), -log_prob, np.nan)


def _over(
    evidence: Evidence, values: Float[np.ndarray, " tokens"], side: Side, against: Side, stretch: Stretch
) -> Float[np.ndarray, " documents"]:
    """Mean over a stretch of the window; of texts of their own length, over that of the tokens which both of a pair have."""
    if evidence.own_lengths:
        return mean_in_common(evidence, values, side, against, stretch)
    start, stop = (int(end[0]) for end in stretch.of(np.array([evidence.length])))
    return _by_document(evidence, values, side.arm, start, stop, replicate=side.replicate)


def _by_document(
    evidence: Evidence,
    values: Float[np.ndarray, " tokens"],
    arm: ArmName,
    start: int,
    stop: int,
    *,
    replicate: int | None = None,
) -> Float[np.ndarray, " documents"]:
    """Mean over a document's tokens of an arm in a range of positions; NaN where it has none."""
    position = evidence.records.tokens["position"]
    mine = evidence.tokens_of(arm) & (position >= start) & (position < stop) & np.isfinite(values)
    if replicate is not None:
        mine &= (evidence.records.sequences["replicate"] == replicate)[evidence.token_sequence]
    groups, n = evidence.units[evidence.token_sequence][mine], int(evidence.units.max()) + 1
    count = np.bincount(groups, minlength=n)
    mean = np.full(n, np.nan)
    np.divide(np.bincount(groups, values[mine], n), count, out=mean, where=count > 0)
    return mean


def _mean(values: Float[np.ndarray, " documents"]) -> Interval:
    values = values[np.isfinite(values)]
    if values.size < 2:
        raise TooFewDocuments(f"{values.size} documents have both sides in the second half of the window; it takes 2")
    return cluster_ratio(values, np.ones(values.size), np.arange(values.size))


def _n_impossible(evidence: Evidence) -> int:
    log_prob = evidence.records.tokens["log_prob_nats"]
    return int((~np.isfinite(log_prob) & evidence.tokens_of("real")).sum())


# ---- what is said ------------------------------------------------------------------------------------------------------


def _sentence(evidence: Evidence, split: _Split) -> str:
    half = f"tokens {evidence.length // 2 + 1} to {evidence.length}"
    if evidence.own_lengths:
        half = "of the tokens that own and real text both have"
    late = split.context
    alike = has_no_width(late.low, late.high)
    range_ = "the same in every document" if alike else f"95% interval {_nats(late.low)} to {_nats(late.high)}"
    start = f"Running free, the entropy of its law in the second half ({half})"
    if late.side:
        side = "above" if late.side > 0 else "below"
        return f"{start} lies {abs(late.value):.2f} nats a token {side} that on real text ({range_})."
    return f"{start} cannot be told from that on real text (difference {_nats(late.value)} nats a token, {range_})."


def _estimates(evidence: Evidence, slopes: SlopeDifference) -> tuple[Estimate, ...]:
    """Means over documents, nothing where fewer than two have one; and the slopes."""
    gaps = {s.quantity: s for s in drift_sums(evidence) if np.count_nonzero(s.bottoms) >= 2}
    means = {q: q.estimate(s.interval(), method=_HOW) for q, s in gaps.items()}
    how = "least squares in log2 of position within texts, document-clustered interval"
    trends = {SLOPE: slopes.difference, SLOPE_OWN: slopes.first}
    means |= {q: q.estimate(slope, method=how) for q, slope in trends.items()}
    return tuple(means[q] for q in QUANTITIES if q in means)


def _notes(evidence: Evidence, split: _Split, slopes: SlopeDifference) -> tuple[str, ...]:
    records = evidence.records
    ended = records.sequences["end_reason"][records.chosen(arm="free")] == "end_of_text"
    total, context, temperature = (_nats(x.value) for x in (split.total, split.context, split.temperature))
    slope = slopes.difference
    turned = {1: "rises", -1: "falls", 0: ""}[slope.side]
    notes = [
        f"In the second half the entropy on its own text minus the loss on real text is {total} nats a token: {context} because its own text is "
        f"another context (context drift), {temperature} because on real text its law is "
        f"{_spread_word(split.temperature)} (temperature miscalibration).",
        (
            f"Over the window the entropy on its own text {turned} against that on real text by {abs(slope.value):.3f} nats with every doubling of "
            f"the position (95% interval {_nats(slope.low, 3)} to {_nats(slope.high, 3)})."
            if turned
            else f"No trend of own against real entropy is seen: {_nats(slope.value, 3)} nats with every doubling of the position (95% interval "
            f"{_nats(slope.low, 3)} to {_nats(slope.high, 3)})."
        ),
        f"Positions after an end of text do not exist and are not filled ({ended.mean():.1%} of the free continuations ended early): "
        "late positions average those that go on.",
        "Texts of their own length are compared over the tokens that both of a pair have: the second half is that of the shorter one."
        if evidence.own_lengths
        else f"Contexts swapped: in the second half the law reads at least {evidence.plan.prefix + evidence.length // 2} tokens, all real, or own "
        "after the same real prefix. No text is sampled after the long real context, so how its own writing would go on from there is not "
        "measured; only for the next token is its expected surprisal known, which is the entropy in that row.",
    ]
    n_impossible = _n_impossible(evidence)
    if n_impossible:
        notes.append(
            f"{n_impossible} real {'token is' if n_impossible == 1 else 'tokens are'} impossible under the law: its loss is infinite. Such tokens are left "
            "out of every mean of surprisals here."
        )
    if not evidence.plan.sampling.is_model_law:
        notes.append(
            f"The free text was sampled with {evidence.plan.sampling.describe()}; entropies are those of the model's own law on that text."
        )
    return tuple(notes)


def _spread_word(temperature: Interval) -> str:
    return {
        1: "wider than the text is surprising",
        -1: "narrower than the text is surprising",
        0: "as wide as the text is surprising, as far as can be told",
    }[temperature.side]


# ---- pictures and tables -----------------------------------------------------------------------------------------------


def _chart(evidence: Evidence) -> Chart:
    tokens = evidence.records.tokens
    edges = log_spaced_edges(evidence.length)
    groups = evidence.units[evidence.token_sequence]
    series = []
    curves: list[tuple[str, str, ArmName, np.ndarray]] = [
        ("entropy on real text", "real", "real", tokens["entropy_nats"]),
        ("loss on real text", "reference", "real", _surprisal(evidence)),
        ("entropy on its own text", "free", "free", tokens["entropy_nats"]),
    ]
    for label, role, arm, values in curves:
        mine: Bool[np.ndarray, " tokens"] = evidence.tokens_of(arm) & np.isfinite(values)
        curve = curve_by_position(values[mine], tokens["position"][mine], groups[mine], edges=edges)
        series.append(Series.curve(label, role, curve.mean, curve.low, curve.high))
    return Chart(
        name="entropy_by_position",
        title="Loss and entropy by position after the cut, on the same documents",
        x_label="tokens after the cut",
        y_label="nats a token",
        x=bin_middles(edges),
        x_scale="log2",
        series=tuple(series),
        caption="Bands: pointwise 95%, by document. A perfect predictor has all three in one place.",
    )


def bin_middles(edges: Int[np.ndarray, " edges"]) -> tuple[float, ...]:
    """Where a bin of positions is drawn, counted from 1: the geometric middle of its first and last token."""
    return tuple(float(np.sqrt((a + 1) * b)) for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _split_table(split: _Split) -> Table:
    rows = (
        ("entropy on own text − loss on real text", "total", split.total),
        ("entropy on own text − entropy on real text", "context drift", split.context),
        ("entropy on real text − loss on real text", "temperature miscalibration", split.temperature),
    )
    return Table(
        "drift_split",
        "The gap, split in two (second half, nats a token)",
        ("difference", "what it is", "estimate (95%)", "documents"),
        tuple((a, b, Cell.of(x, 3, "nats/token", sign=True), Cell.number(x.n, ",")) for a, b, x in rows),
    )


def _swap_table(evidence: Evidence) -> Table:
    """Laws after a real and after an own context of equal length, on the documents that have both."""
    entropy, surprisal = evidence.records.tokens["entropy_nats"], _surprisal(evidence)
    cold = f"its own text at t = {evidence.plan.control_temperature:g} (control)"
    arms: dict[ArmName, str] = {"real": "real text", "free": "its own text", "tempered": cold}
    means = {
        arm: tuple(
            _over(evidence, values, Side(arm), OWN if arm == "real" else REAL, LATE) for values in (entropy, surprisal)
        )
        for arm in arms
    }
    both = np.isfinite(means["real"][0]) & np.isfinite(means["free"][0])
    rows: list[Row] = []
    for arm, label in arms.items():
        columns = [column[both] for column in means[arm]]
        n = [int(np.isfinite(column).sum()) for column in columns]
        if min(n) >= 2:
            rows.append((label, *(Cell.of(_mean(c), 3, "nats/token") for c in columns), Cell.number(n[0], ",")))
    return Table(
        "prefix_swap",
        "The law late in each text (second half of what both have, nats a token)"
        if evidence.own_lengths
        else f"The law after {evidence.plan.prefix + evidence.length // 2} tokens or more of each context (second half, nats a token)",
        ("context", "mean entropy of the law", "mean surprisal of what follows it there", "documents"),
        tuple(rows),
    )


def _nats(x: float, digits: int = 2) -> str:
    """With its sign; nothing that rounds to zero has one."""
    text = f"{x:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


ENTRY = Question("drift", QUESTION, drift, QUANTITIES, drift_sums, place=40)
