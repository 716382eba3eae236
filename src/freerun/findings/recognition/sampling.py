"""What the sampler's audit says beside its p-value: its tests, the draws against a fresh pass, and the smallest faults it would have seen."""

from __future__ import annotations

import numpy as np

from freerun.findings.own_text.standing import AUDIT_ALPHA, AUDIT_POWER, SampledText
from freerun.findings.recognition import quantities
from freerun.results.finding import Chart, Estimate, Series
from freerun.stats.recognition.sampler_audit import PIT_BINS
from freerun.stats.recognition.self_recognition import PitHistogram


def parts_of_audit(sampled: SampledText) -> tuple[tuple[str, float], ...]:
    """Every test of the sampler that was made, with its p-value."""
    audit = sampled.audit
    parts = (
        ("z of surprisal", audit.p_z),
        ("mass on smaller ids", audit.p_pit),
        ("mass by bin of probability", audit.p_calibration),
        ("mass on more probable ids", audit.p_rank_order),
        ("tokens that stand in the context", audit.p_repeats),
        ("draws against a fresh pass", None if audit.seeded is None else audit.seeded.p_value),
    )
    return tuple((name, p) for name, p in parts if p is not None)


def audit_notes(sampled: SampledText) -> list[str]:
    """Every test, and how many draws are off."""
    notes = [f"Audit: p by test: {'; '.join(f'{name} {p_words(p)}' for name, p in parts_of_audit(sampled))}."]
    if (seeded := sampled.audit.seeded) is not None:
        notes.append(
            f"Draws: of {seeded.n_recorded:,} uniforms {seeded.n_outside_record:,} lie outside the cell recorded with their token; of the "
            f"{seeded.all.n:,} whose token was scored again {seeded.all.n_missed:,} lie outside the cell of the fresh pass ({seeded.all.expected:.2g} "
            f"are expected by rounding), {seeded.far.n_missed:,} by more than rounding can explain."
        )
    return notes


def down_to(sampled: SampledText) -> str:
    """The smallest faults that the audit would have seen."""
    smallest = sampled.smallest
    faults = []
    if smallest is not None and smallest.share is not None:
        faults.append(f"one token in {max(1, round(1 / smallest.share)):,} from elsewhere")
    if smallest is not None and smallest.kept_mass is not None:
        faults.append(f"a truncation that keeps {share_words(smallest.kept_mass)} of the mass")
    if smallest is not None and smallest.temperature is not None:
        faults.append(f"a temperature off by {smallest.temperature:.2g}")
    if not faults:
        return "though how small a fault would have been seen is not known"
    return f"down to {', '.join(faults[:-1])}{', or ' if len(faults) > 1 else ''}{faults[-1]}"


def seeded_estimates(sampled: SampledText) -> tuple[Estimate, ...]:
    """How often the uniform that drew a token lies outside the cell of a fresh pass, and the smallest faults seen by that."""
    seeded, smallest = sampled.audit.seeded, sampled.smallest
    if seeded is None or smallest is None:
        return ()
    how = (
        f"at least, with {AUDIT_POWER:.0%} power at one false alarm in {1 / AUDIT_ALPHA:,.0f} audits, by the draws held against a fresh pass; "
        "from total variation, to first order"
    )
    missed, n = seeded.all, seeded.all.n
    return (
        quantities.SEEDED_MISSES.estimate(
            seeded.share,
            independent_unit="token",
            method="u outside [F(<x), F(≤x)) of the fresh pass (Clopper–Pearson); its mean is at least the total variation of the law that "
            "was sampled from the fresh one",
        ),
        quantities.SEEDED_FLOOR.number(
            missed.expected / n,
            n=n,
            independent_unit="token",
            method="share of each recorded cell outside the fresh one: of draws from the recorded laws",
        ),
        quantities.SMALLEST_SHARE.number(smallest.share, n=n, independent_unit="token", method=how),
        quantities.SMALLEST_CUT.number(smallest.kept_mass, n=n, independent_unit="token", method=how),
        quantities.SMALLEST_TEMPERATURE.number(smallest.temperature, n=n, independent_unit="token", method=how),
    )


def pit_chart(pit: PitHistogram | None) -> Chart:
    """Shares of PIT values by bin."""
    n = PIT_BINS if pit is None else len(pit.share)
    edges = np.linspace(0, 1, n + 1)
    series, y_range = Series("own text", "free", (None,) * n), (0.0, 2.0)
    if pit is not None:
        series = Series.curve("own text", "free", pit.share * n, pit.low * n, pit.high * n)
        narrow = pit.low.min() * n > 0.8 and pit.high.max() * n < 1.2
        y_range = (0.8, 1.2) if narrow else (0.0, float(max(2.0, pit.high.max() * n * 1.1)))
    return Chart(
        name="pit",
        title="PIT of its own text: flat if the samples are its law",
        x_label="mass below the token, plus a uniform share of its own",
        y_label=f"share of tokens × {n}",
        x=tuple(((edges[:-1] + edges[1:]) / 2).tolist()),
        series=(series,),
        levels=((1.0, "flat"),),
        y_range=y_range,
    )


def p_words(p: float) -> str:
    """Two digits of a p-value."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def share_words(share: float) -> str:
    """A share with as many digits as keep one that is not everything from looking like 1.

    >>> share_words(0.99), share_words(0.999971), share_words(1.0)
    ('0.99', '0.99997', '1')
    """
    digits = 4
    while share < 1 and float(f"{share:.{digits}g}") >= 1:
        digits += 1
    return f"{share:.{digits}g}"
