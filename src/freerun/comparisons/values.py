"""What every finding measures, document by document: sums whose ratio is the finding's estimate.

This is what runs are compared on, pair by pair, and what leaves a run as a table of documents.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.findings.calibration import RARE_NATS
from freerun.findings.evidence import Evidence
from freerun.findings.loops.evidence import loop_evidence
from freerun.stats.loops.survival import END_OF_TEXT, LOOP
from freerun.stats.recognition.self_recognition import self_z

ROUNDING_NATS = 1e-9
OF_POSSIBLE_TOKENS = (
    "loss_nats_per_token",
    "loss_bits_per_byte",
    "excess_at_least_nats_per_token",
    "surprisal_gap_late_nats",
    "temperature_gap_late_nats",
    "total_gap_late_nats",
    "prefix_worth_nats_per_token",
    "prefix_worth_late_nats_per_token",
)
"""Means over the real tokens that a run itself holds possible: runs that rule out different tokens cannot be compared on them."""


@dataclass(frozen=True)
class Quantity:
    """One estimate of one finding as Σ tops / Σ bottoms over units; a unit without it has zeros in both.

    `name` is the estimate's name in its finding. `own_text`: it speaks of sampled text (or of it against real text).
    """

    finding: str
    name: str
    label: str
    unit: str
    own_text: bool
    tops: Float[np.ndarray, " units"]
    bottoms: Float[np.ndarray, " units"]

    @property
    def value(self) -> float | None:
        """The estimate; None where no document has it."""
        total = float(self.bottoms.sum())
        return float(self.tops.sum()) / total if total > 0 else None

    @property
    def by_unit(self) -> Float[np.ndarray, " units"]:
        """The same for each unit by itself; NaN where it has none."""
        out = np.full(self.tops.size, np.nan)
        return np.asarray(np.divide(self.tops, self.bottoms, out=out, where=self.bottoms > 0))


def unit_names(evidence: Evidence) -> list[str]:
    """Names of the independent units, in the order of the arrays of `Quantity`."""
    return [str(u) for u in np.unique(evidence.records.sequences["unit"].astype(str))]


def has_impossible_tokens(evidence: Evidence) -> bool:
    """Whether the run gives no mass to some real token."""
    return bool((evidence.tokens_of("real") & ~np.isfinite(evidence.records.tokens["log_prob_nats"])).any())


def quantities(evidence: Evidence) -> tuple[Quantity, ...]:
    """Every estimate that is a ratio of sums over documents; what a run has no records of is left out."""
    return tuple(q for q in _all(evidence) if q.bottoms.sum() > 0)


def _all(evidence: Evidence) -> Iterator[Quantity]:
    yield from _loss(evidence)
    yield from _drift(evidence)
    yield from _loops(evidence)
    yield from _self_recognition(evidence)
    yield from _calibration(evidence)
    yield from _memory(evidence)


# ---- sums --------------------------------------------------------------------------------------------------------------


def _n_units(evidence: Evidence) -> int:
    return int(evidence.units.max()) + 1


def _token_sums(
    evidence: Evidence, values: Float[np.ndarray, " tokens"], kept: Bool[np.ndarray, " tokens"]
) -> Float[np.ndarray, " units"]:
    groups = evidence.units[evidence.token_sequence[kept]]
    return np.bincount(groups, np.asarray(values, np.float64)[kept], _n_units(evidence))


def _token_counts(evidence: Evidence, kept: Bool[np.ndarray, " tokens"]) -> Float[np.ndarray, " units"]:
    return np.bincount(evidence.units[evidence.token_sequence[kept]], minlength=_n_units(evidence)).astype(np.float64)


def _sequence_sums(
    evidence: Evidence, rows: Int[np.ndarray, " rows"], values: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " units"]:
    return np.bincount(evidence.units[rows], np.asarray(values, np.float64), _n_units(evidence))


def _of_means(
    finding: str, name: str, label: str, unit: str, values: Float[np.ndarray, " units"], *, own_text: bool
) -> Quantity:
    """A mean over units of one number each; NaN where a unit has none."""
    held = np.isfinite(values)
    return Quantity(finding, name, label, unit, own_text, np.where(held, values, 0.0), held.astype(np.float64))


# ---- the findings ------------------------------------------------------------------------------------------------------


def _loss(evidence: Evidence) -> Iterator[Quantity]:
    log_prob = evidence.records.tokens["log_prob_nats"]
    finite = np.isfinite(log_prob)
    real, free = evidence.tokens_of("real") & finite, evidence.tokens_of("free") & finite
    nats, n_real = _token_sums(evidence, -log_prob, real), _token_counts(evidence, real)
    n_bytes = _token_sums(evidence, evidence.bytes_of_text, real)
    yield Quantity("loss", "loss_nats_per_token", "Loss on real text", "nats/token", False, nats, n_real)
    yield Quantity("loss", "loss_bits_per_byte", "The same in bits", "bits/byte", False, nats / math.log(2), n_bytes)
    own = _token_sums(evidence, -log_prob, free)
    n_own = _token_counts(evidence, free)
    yield Quantity("loss", "own_surprisal_nats_per_token", "Surprisal of its own text", "nats/token", True, own, n_own)
    gain = evidence.reference_log_prob - log_prob
    test = (evidence.records.sequences["split"] == "test")[evidence.token_sequence]
    usable = real & test & np.isfinite(gain)
    yield Quantity(
        "loss",
        "excess_at_least_nats_per_token",
        "Excess loss shown by the reference",
        "nats/token",
        False,
        _token_sums(evidence, np.where(usable, gain, 0.0), usable),
        _token_counts(evidence, usable),
    )


def _drift(evidence: Evidence) -> Iterator[Quantity]:
    tokens, length = evidence.records.tokens, evidence.length
    log_prob = tokens["log_prob_nats"]
    surprisal = np.where(np.isfinite(log_prob), -log_prob, np.nan)
    late, early = (length // 2, length), (0, max(1, length // 8))

    def mean(values: Float[np.ndarray, " tokens"], arm: str, window: tuple[int, int]) -> Float[np.ndarray, " units"]:
        at = tokens["position"]
        kept = evidence.tokens_of(arm) & (at >= window[0]) & (at < window[1]) & np.isfinite(values)
        count = _token_counts(evidence, kept)
        sums = _token_sums(evidence, np.where(kept, values, 0.0), kept)
        return np.asarray(np.divide(sums, count, out=np.full(count.size, np.nan), where=count > 0))

    entropy = tokens["entropy_nats"].astype(np.float64)
    own, real, loss = mean(entropy, "free", late), mean(entropy, "real", late), mean(surprisal, "real", late)
    both = np.isfinite(own) & np.isfinite(real) & np.isfinite(loss)
    held = np.where(both, 1.0, np.nan)
    rows = (
        ("entropy_gap_late_nats", "Entropy, own minus real text, second half", (own - real) * held),
        (
            "entropy_gap_early_nats",
            "Entropy, own minus real text, first eighth",
            mean(entropy, "free", early) - mean(entropy, "real", early),
        ),
        (
            "surprisal_gap_late_nats",
            "Surprisal, own minus real text, second half",
            mean(surprisal, "free", late) - loss,
        ),
        ("temperature_gap_late_nats", "Entropy on real text minus loss, second half", (real - loss) * held),
        ("total_gap_late_nats", "Entropy on own text minus loss, second half", (own - loss) * held),
    )
    for name, label, values in rows:
        own_text = name != "temperature_gap_late_nats"
        yield _of_means("drift", name, label, "nats", values, own_text=own_text)


def _loops(evidence: Evidence) -> Iterator[Quantity]:
    found = evidence.once(loop_evidence)
    rows = found.rows("free")
    if not rows.size:
        return
    time, cause = found.times(rows)
    texts = _sequence_sums(evidence, rows, np.ones(rows.size))
    at = f"by token {evidence.length}, own text"
    looped, ended = (_sequence_sums(evidence, rows, cause == event) for event in (LOOP, END_OF_TEXT))
    yield Quantity("loops", "loop_incidence", f"Loop {at}", "share", True, looped, texts)
    yield Quantity("loops", "end_incidence", f"End of text {at}", "share", True, ended, texts)
    risk = _sequence_sums(evidence, rows, time)
    yield Quantity("loops", "loop_hazard", "Loop hazard, own text", "per token", True, looped, risk)
    if found.own_law:
        first = evidence.records.starts[rows]
        mass = np.minimum(evidence.records.tokens["loop_mass"].astype(np.float64), 1.0)
        total = np.concatenate([[0.0], np.cumsum(mass)])
        masses = _sequence_sums(evidence, rows, total[first + time] - total[first])
        yield Quantity("loops", "loop_hazard_rao_blackwell", "The same by mass", "per token", True, masses, risk)


def _self_recognition(evidence: Evidence) -> Iterator[Quantity]:
    tokens, sequences = evidence.records.tokens, evidence.records.sequences
    for arm, name, label in (("free", "own_z_mean", "Mean z, own text"), ("real", "real_z_mean", "Mean z, real text")):
        rows, mine = evidence.records.chosen(arm=arm), evidence.tokens_of(arm)
        columns = (tokens[c][mine].astype(np.float64) for c in ("log_prob_nats", "entropy_nats", "varentropy_nats2"))
        log_prob, entropy, varentropy = columns
        if np.isnan(entropy).any() or np.isnan(varentropy).any():
            continue  # laws that are not fully known have no z
        index = np.searchsorted(rows, evidence.token_sequence[mine])
        z = self_z(log_prob, entropy, varentropy, index, len(rows)).z_per_sequence
        held = np.isfinite(z)
        tops = _sequence_sums(evidence, rows, np.where(held, z, 0.0))
        bottoms = _sequence_sums(evidence, rows, held)
        yield Quantity("self_recognition", name, label, "z", arm == "free", tops, bottoms)
    ratio = tokens["log_prob_nats"] - evidence.reference_log_prob
    for arm, name in (("free", "own"), ("real", "real")):
        rows = evidence.records.chosen(arm=arm)
        rows = rows if arm == "free" else rows[sequences["split"][rows] == "test"]
        mine = np.isin(evidence.token_sequence, rows)
        if not np.isfinite(ratio[mine]).all():
            continue  # infinite on the whole, as the finding says
        sums = _token_sums(evidence, np.where(mine, ratio, 0.0), mine)
        texts = _sequence_sums(evidence, rows, np.ones(rows.size))
        label = f"Log likelihood ratio of {name} text, model over reference"
        yield Quantity("self_recognition", f"lr_{name}_mean_nats", label, "nats a text", arm == "free", sums, texts)


def _calibration(evidence: Evidence) -> Iterator[Quantity]:
    records, tokens = evidence.records, evidence.records.tokens
    width, n_bins = float(records.manifest["bin_width_nats"]), int(records.manifest["n_bins"])
    rare = (np.arange(n_bins) + 0.5) * width >= RARE_NATS
    for arm, end, words in (("real", "", "real text"), ("free", "_own", "own text")):
        rows, mine = records.chosen(arm=arm), evidence.tokens_of(arm)
        observed = records.sequences["observed_counts"][rows][:, rare].sum(1)
        expected = records.sequences["expected_counts"][rows][:, rare].sum(1)
        yield Quantity(
            "calibration",
            f"rare_tokens_ratio{end}",
            f"Observed / expected, tokens rarer than e⁻⁷, {words}",
            "ratio",
            arm == "free",
            _sequence_sums(evidence, rows, observed),
            _sequence_sums(evidence, rows, expected),
        )
        confidence = np.minimum(np.exp(tokens["top_log_prob_nats"].astype(np.float64)), 1.0)
        over = confidence - (evidence.local_ids("token_id") == evidence.local_ids("top_id"))
        yield Quantity(
            "calibration",
            f"top1_overconfidence{end}",
            f"Confidence minus accuracy of the top token, {words}",
            "probability",
            arm == "free",
            _token_sums(evidence, over, mine),
            _token_counts(evidence, mine),
        )


def _memory(evidence: Evidence) -> Iterator[Quantity]:
    if not evidence.has_text:
        return
    tokens = evidence.records.tokens
    log_prob, alone = tokens["log_prob_nats"], tokens["without_prefix_log_prob_nats"]
    usable = evidence.tokens_of("real") & np.isfinite(alone) & np.isfinite(log_prob)
    gain = np.where(usable, log_prob, 0.0) - np.where(usable, alone, 0.0)
    gain = np.where(np.abs(gain) < ROUNDING_NATS, 0.0, gain)  # a law without memory differs by rounding alone
    late = usable & (tokens["position"] >= evidence.length // 2)
    for name, label, kept in (
        ("prefix_worth_nats_per_token", "Loss without the prefix minus loss with it", usable),
        ("prefix_worth_late_nats_per_token", "The same, second half", late),
    ):
        sums, counts = _token_sums(evidence, gain, kept), _token_counts(evidence, kept)
        yield Quantity("memory", name, label, "nats/token", False, sums, counts)
