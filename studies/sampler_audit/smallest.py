"""Is the smallest fault that an audit names seen as often as it says?"""

from __future__ import annotations

import numpy as np

from freerun.findings.own_text.standing import AUDIT_ALPHA
from freerun.predictors.law import Dense, Law
from freerun.stats.intervals import clopper_pearson
from studies.sampler_audit.samplers import Laws, Sampler, by_law, foreign, trials

RIGHT = by_law(lambda law: law)


def smallest(laws: Laws, *, runs: int, rounding: float, texts: int = 60, tokens: int = 256) -> dict[str, float]:
    """The smallest faults that right audits name (medians), and how often audits of those faults reject by the fresh pass alone."""
    size = {"texts": texts, "tokens": tokens, "rounding": rounding}
    named = [t.smallest for t in trials(laws, RIGHT, n_runs=20, seed=(8, 0), **size)]  # type: ignore[arg-type]
    out: dict[str, float] = {"rounding_nats": rounding}
    faults: dict[str, tuple[float, Sampler]] = {}
    share = float(np.median([s.share for s in named if s is not None and s.share is not None]))
    faults["share_from_elsewhere"] = (share, foreign(share))
    kept = float(np.median([s.kept_mass for s in named if s is not None and s.kept_mass is not None]))
    faults["truncation_kept_mass"] = (kept, by_law(lambda law: cut(law, 1 - kept)))
    gap = float(np.median([s.temperature for s in named if s is not None and s.temperature is not None]))
    faults["temperature_gap"] = (gap, by_law(lambda law: law.tempered(1 - gap)))
    for name, (fault, sampler) in faults.items():
        made = trials(laws, sampler, n_runs=runs, seed=(9, len(out)), **size)  # type: ignore[arg-type]
        seen = [t.p_values() for t in made]
        alpha = AUDIT_ALPHA / 6
        hits = clopper_pearson(sum(p["fresh"] <= alpha for p in seen), runs)
        out |= {
            name: fault,
            f"{name}_power": hits.value,
            f"{name}_power_low": hits.low,
            f"{name}_power_high": hits.high,
        }
        out[f"{name}_power_whole_audit"] = sum(p["all"] <= AUDIT_ALPHA for p in seen) / runs
    return out


def cut(law: Law, mass: float) -> Law:
    """The law without so much of its tail: the last word that is cut is cut in part, so that every law loses the same."""
    probs = law.probs()
    order = np.argsort(probs, axis=1, kind="stable")
    ascending = np.take_along_axis(probs, order, axis=1)
    left = np.clip(np.cumsum(ascending, axis=1) - mass, 0.0, ascending)
    out = np.empty_like(probs)
    np.put_along_axis(out, order, left, axis=1)
    with np.errstate(divide="ignore"):
        return Dense(np.log(out / out.sum(axis=1, keepdims=True)))
