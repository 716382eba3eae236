"""Does it fall into loops, and does it end?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from freerun.findings.evidence import Evidence
from freerun.findings.finding import Chart, Estimate, Finding, Series, Table
from freerun.stats.intervals import Interval, cluster_ratio
from freerun.stats.loops import LoopRule, first_loop
from freerun.stats.survival import (
    CENSORED,
    END_OF_TEXT,
    LOOP,
    CumulativeIncidence,
    cumulative_incidence,
    hazard_per_token,
)


def loops(evidence: Evidence) -> Finding:
    """Incidence of the first loop with end-of-text as a competing risk, real text beside it as the base rate."""
    records = evidence.records
    rule = LoopRule(**evidence.plan["loop_rule"])
    onset = loop_onsets(evidence, rule)
    arms = ["real", "free", "tempered"]
    found: dict[str, tuple[CumulativeIncidence, CumulativeIncidence, Interval]] = {}
    for arm in arms:
        rows = records.chosen(arm=arm)
        time, cause = _times(evidence, rows, onset[rows])
        groups = evidence.units[rows]
        looped = cumulative_incidence(time, cause, groups=groups, event=LOOP)
        ended = cumulative_incidence(time, cause, groups=groups, event=END_OF_TEXT)
        found[arm] = (looped, ended, _hazard(evidence, rows, time))
    free, ended, hazard = found["free"]
    own = records.chosen(arm="free")
    raw = hazard_per_token(*_times(evidence, own, onset[own]), groups=evidence.units[own])
    real = found["real"][0]
    x = tuple(float(t) for t in free.times)
    label = {"real": "real text", "free": "own text, loop", "tempered": _tempered_label(evidence)}
    series = [
        Series(label[arm], arm, _padded(c.incidence, len(x)), low=_padded(c.low, len(x)), high=_padded(c.high, len(x)))
        for arm, (c, _, _) in found.items()
    ]
    series.append(Series("own text, end of text", "other", _padded(ended.incidence, len(x))))
    at = evidence.length
    share, base = float(free.incidence[-1]), float(real.incidence[-1])
    worse = free.low[-1] > real.high[-1]
    rows_table = tuple(
        (
            label[arm],
            str(c.n_sequences),
            str(c.n_events),
            str(c.n_competing),
            f"{float(c.incidence[-1]):.3f}",
            f"{float(c.low[-1]):.3f} to {float(c.high[-1]):.3f}",
            f"{h.value:.1e}" if h.value > 0 else "0",
        )
        for arm, (c, _, h) in found.items()
    )
    n_ended, n_risk = (
        int(records.manifest["counts"][k]) for k in ("documents_ended_in_window", "documents_at_risk_of_ending")
    )
    return Finding(
        name="loops",
        question="Does it fall into loops, and does it end?",
        sentence=(
            f"Within {at} tokens {share:.1%} of its texts loop (95% interval {float(free.low[-1]):.1%} to {float(free.high[-1]):.1%}), "
            f"against {base:.1%} of the real ones; {float(ended.incidence[-1]):.1%} end by themselves."
        ),
        status="bad" if worse else "good",
        estimates=(
            Estimate(
                "loop_incidence",
                f"Loop by token {at}, own text",
                share,
                "share",
                float(free.low[-1]),
                float(free.high[-1]),
                0.95,
                free.n_groups,
                "document",
                "Aalen–Johansen, end of text competing, document-clustered",
            ),
            Estimate(
                "loop_incidence_real",
                f"Loop by token {at}, real text",
                base,
                "share",
                float(real.low[-1]),
                float(real.high[-1]),
                0.95,
                real.n_groups,
                "document",
                "the same on the matched real continuations",
            ),
            Estimate(
                "end_incidence",
                f"End of text by token {at}, own text",
                float(ended.incidence[-1]),
                "share",
                float(ended.low[-1]),
                float(ended.high[-1]),
                0.95,
                ended.n_groups,
                "document",
                "Aalen–Johansen, loops competing",
            ),
            Estimate(
                "loop_hazard",
                "Loop hazard, own text",
                raw.value,
                "per token",
                raw.low,
                raw.high,
                raw.level,
                raw.n,
                "document",
                "loops per token at risk; without any, the exact Poisson upper limit",
            ),
            *_rao_blackwell(hazard),
        ),
        charts=(
            Chart(
                name="loop_incidence",
                title="Share of texts with a loop, by token",
                x_label="tokens after the cut",
                y_label="cumulative incidence",
                x=x,
                series=tuple(series),
                y_range=(0.0, max(0.05, min(1.0, 1.2 * max([*free.high, *ended.incidence])))),
            ),
        ),
        tables=(
            Table(
                "loop_counts",
                "Counts",
                ("text", "sequences", "loops", "ends first", "incidence", "95% interval", "hazard by mass, per token"),
                rows_table,
            ),
        ),
        licence=(
            f"A loop: a suffix of period p ≤ {rule.max_period} repeated at least {rule.copies} times over at least {rule.min_tokens} tokens, "
            "the prefix counting as history. The cap censors, end of text competes. Unit: the document."
        ),
        notes=(
            f"Real documents were chosen long enough not to end inside the window; of all {n_risk} documents longer than the prefix, "
            f"{n_ended} end inside it.",
            f"A result about {at} tokens is no result about thousands: loops at temperature 1 are a matter of length.",
        ),
    )


def loop_onsets(evidence: Evidence, rule: LoopRule) -> Int[np.ndarray, " sequences"]:
    """0-based position of the first completed loop of each sequence, −1 where there is none."""
    records = evidence.records
    out = np.full(records.n_sequences, -1, np.int64)
    for i in range(records.n_sequences):
        prefix = np.asarray(records.sequences["prefix_ids"][i], np.int64)
        ids = np.concatenate([prefix, records.tokens["token_id"][records.rows(i)]])
        found = first_loop(ids, rule, start=len(prefix))
        if found is not None:
            out[i] = found - len(prefix)
    return out


def _times(
    evidence: Evidence, rows: Int[np.ndarray, " n"], onset: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    lengths = np.diff(evidence.records.starts)[rows]
    ended = evidence.records.sequences["end_reason"][rows] == "end_of_text"
    time = np.where(onset >= 0, onset + 1, lengths)
    cause = np.where(onset >= 0, LOOP, np.where(ended, END_OF_TEXT, CENSORED))
    return time.astype(np.int64), cause.astype(np.int64)


def _rao_blackwell(hazard: Interval) -> tuple[Estimate, ...]:
    """The hazard by mass; nothing where no token ever completed a loop with more than no mass."""
    if hazard.value <= 0:
        return ()
    how = "mean mass on loop-completing tokens while no loop is complete (Rao–Blackwell)"
    return (
        Estimate(
            "loop_hazard_rao_blackwell",
            "the same by mass",
            hazard.value,
            "per token",
            max(hazard.low, 0.0),
            hazard.high,
            hazard.level,
            hazard.n,
            "document",
            how,
        ),
    )


def _hazard(evidence: Evidence, rows: Int[np.ndarray, " n"], time: Int[np.ndarray, " n"]) -> Interval:
    """Mean loop-completing mass over tokens at risk."""
    records = evidence.records
    mass = records.tokens["loop_mass"].astype(np.float64)
    total = np.array([mass[records.starts[r] : records.starts[r] + t].sum() for r, t in zip(rows, time, strict=True)])
    return cluster_ratio(total, time.astype(np.float64), evidence.units[rows])


def _padded(values: np.ndarray, n: int) -> tuple[float | None, ...]:
    held = [float(v) if np.isfinite(v) else None for v in values[:n]]
    return tuple(held + [held[-1] if held else None] * (n - len(held)))


def _tempered_label(evidence: Evidence) -> str:
    return f"control, t = {evidence.plan['control_temperature']:g}"
