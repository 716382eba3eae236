"""How loops are shown: incidence and hazard by position, counts, traps, tests and the first loops themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from freerun.counted import counted
from freerun.findings.drift import bin_middles
from freerun.findings.evidence import Evidence
from freerun.findings.loops.evidence import Arm, Onset
from freerun.records.redact import UNAVAILABLE
from freerun.records.schema import ArmName
from freerun.results.finding import Cell, Chart, Row, Series, Table
from freerun.stats.intervals import Interval
from freerun.stats.loops.logrank import LogRank
from freerun.stats.loops.survival import CumulativeIncidence, HazardCurve
from freerun.stats.loops.traps import time_in_trap

PHRASE_CHARACTERS, PHRASE_IDS = 48, 6


@dataclass(frozen=True)
class Comparison:
    """A log-rank test and what it compares."""

    label: str
    test: LogRank


def arm_label(evidence: Evidence, arm: ArmName) -> str:
    """What a text is called in the tables."""
    cold = f"control, t = {evidence.plan.control_temperature:g}"
    return {"real": "real text", "free": "own text", "tempered": cold}[arm]


def incidence_chart(evidence: Evidence, arms: dict[ArmName, Arm]) -> Chart:
    """Share of texts with a loop, by token; own text's end of text beside it."""
    free = arms["free"]
    x = tuple(float(t) for t in free.loop.times)
    series = [
        _incidence_series(f"{arm_label(evidence, name)}, loop", name, arm.loop, len(x)) for name, arm in arms.items()
    ]
    series.append(Series.curve("own text, end of text", "other", free.end.incidence))
    top = float(max(*free.loop.high, *free.end.incidence))
    return Chart(
        name="loop_incidence",
        title="Share of texts with a loop, by token",
        x_label="tokens after the cut",
        y_label="cumulative incidence",
        x=x,
        series=tuple(series),
        y_range=(0.0, max(0.05, min(1.0, 1.2 * top))),
    )


def hazard_chart(arms: dict[ArmName, Arm], edges: Int[np.ndarray, " edges"]) -> Chart:
    """Loops per token at risk, by position: counted, and by mass where the mass is the sampled law's."""
    free, real = arms["free"], arms["real"]
    curves = [("real text, counted", "real", real.curve), ("own text, counted", "free", free.curve)]
    if free.curve_by_mass is not None:
        curves[1:] = [("own text, counted", "other", free.curve), ("own text, by mass", "free", free.curve_by_mass)]
    highest = max(float(np.nanmax(curve.hazard)) for _, _, curve in curves)
    top = max(1.6 * highest, 1.2 * free.hazard.high)
    return Chart(
        name="loop_hazard",
        title="Loop hazard by position",
        x_label="tokens after the cut",
        y_label="per token while no loop is complete",
        x=bin_middles(edges),
        series=tuple(_hazard_series(*curve) for curve in curves),
        x_scale="log2",
        y_range=(0.0, top),
        caption="Bands: pointwise 95%, by document; they are cut where few tokens are at risk. By mass: the mean mass on tokens that would "
        "complete a loop, which is the same hazard with less noise.",
    )


def counts_table(evidence: Evidence, arms: dict[ArmName, Arm]) -> Table:
    """Loops by this rule and by that of Holtzman et al., of every kind of text."""
    rows: tuple[Row, ...] = tuple(
        (
            arm_label(evidence, name),
            *(Cell.number(n, ",") for n in (arm.loop.n_sequences, arm.loop.n_events, arm.loop.n_competing)),
            Cell.of(arm.loop.at_end, 3, "share"),
            _small(arm.hazard),
            _small(arm.hazard_by_mass),
            Cell.number(arm.n_holtzman, ","),
            Cell.of(arm.holtzman, 3, "share"),
        )
        for name, arm in arms.items()
    )
    columns = (
        "text",
        "texts",
        "loops",
        "end first",
        "incidence (95%)",
        "hazard per token, counted (95%)",
        "hazard by mass (95%)",
        "repeats at the end, by Holtzman et al. 2020",
        "their share (95%)",
    )
    return Table("loop_counts", "Counts, with the repetition of Holtzman et al. 2020 beside them", columns, rows)


def trap_table(evidence: Evidence, arms: dict[ArmName, Arm]) -> Table:
    """How loops are left; a dash where fewer than two documents have one."""
    rows: list[Row] = []
    for name, arm in arms.items():
        for how, escape in (("counted", arm.escape), ("by mass", arm.escape_by_mass)):
            if how == "by mass" and escape is None:
                continue
            counts = (arm.traps.n_traps, arm.traps.n_open, arm.traps.n_tokens, arm.traps.n_escapes)
            rows.append(
                (
                    f"{arm_label(evidence, name)}, {how}",
                    *(Cell.number(n, ",") for n in counts),
                    _small(escape),
                    _time(escape),
                    Cell.number(arm.traps.n_groups, ","),
                )
            )
    columns = (
        "text",
        "traps",
        "not left in the window",
        "tokens inside",
        "escapes",
        "chance of leaving, per token (95%)",
        "expected time, tokens (95%)",
        "documents",
    )
    return Table("loop_traps", "Traps: how loops are left", columns, tuple(rows))


def comparison_table(comparisons: list[Comparison]) -> Table:
    """Log-rank tests within documents."""
    rows: tuple[Row, ...] = tuple(
        (
            c.label,
            Cell.number(c.test.n_events, ","),
            Cell.number(c.test.observed, ","),
            Cell.number(c.test.expected, ".1f"),
            Cell.number(c.test.n_informative, ","),
            Cell.number(c.test.chi_square, ".2f"),
            *(Cell(_p(p), p, "p-value") for p in (c.test.p_value, c.test.p_exact)),
        )
        for c in comparisons
    )
    columns = (
        "first against second",
        "loops",
        "in the first",
        "expected there",
        "documents that can tell",
        "χ²",
        "p, χ²",
        "p, exact",
    )
    return Table("loop_log_rank", "Log-rank tests within documents", columns, rows)


def onset_table(onsets: list[Onset]) -> tuple[Table, ...]:
    """The first loops; nothing where there is none."""
    if not onsets:
        return ()
    names = {"real": "real", "free": "own", "tempered": "control"}
    rows = tuple(
        (
            names[o.arm],
            o.document,
            Cell.number(o.token, ",", "tokens"),
            _phrase(o),
            _phrase_ids(o),
            Cell.number(o.period, ",", "tokens"),
            Cell.number(o.copies, ","),
            f"{counted(o.lasted_tokens, 'token')}, " + ("then left" if o.left else "not left"),
        )
        for o in onsets
    )
    columns = ("text", "document", "complete at token", "phrase", "its ids", "period, tokens", "copies", "goes on for")
    return (Table("loop_onsets", "The earliest loops", columns, rows),)


# ---- printing ----------------------------------------------------------------------------------------------------------


def _hazard_series(name: str, role: str, curve: HazardCurve) -> Series:
    return Series.curve(name, role, curve.hazard, curve.low, curve.high)


def _phrase_ids(o: Onset) -> str:
    more = " …" if len(o.phrase_ids) > PHRASE_IDS else ""
    return "–" if o.phrase is None else " ".join(map(str, o.phrase_ids[:PHRASE_IDS])) + more


def _phrase(o: Onset) -> str:
    if o.phrase is None:
        return UNAVAILABLE
    shown = o.phrase.replace("\n", "⏎").replace("\t", "⇥")
    if len(shown) > PHRASE_CHARACTERS:
        shown = shown[: PHRASE_CHARACTERS - 1] + "…"
    return f"“{shown}”" if shown else "(no text)"


def _small(x: Interval | None) -> Cell:
    if x is None:
        return Cell.of(None, 3)
    return Cell(f"{_number(x.value)} ({_number(x.low)} to {_number(x.high)})", x.value, "per token", x.low, x.high)


def _number(x: float) -> str:
    return "0" if x == 0 else f"{x:.3f}" if x >= 0.01 else f"{x:.1e}".replace("-", "−")


def _time(escape: Interval | None) -> Cell:
    if escape is None:
        return Cell.of(None, 0)
    time = time_in_trap(escape)
    low = "0" if time.low is None else tokens(time.low)
    high = "no bound" if time.high is None else tokens(time.high)
    text = f"none left; at least {low}" if time.tokens is None else f"{tokens(time.tokens)} ({low} to {high})"
    return Cell(text, time.tokens, "tokens", time.low, time.high)


def tokens(n: float) -> str:
    """Tokens as printed.

    >>> tokens(1.25), tokens(58082.9)
    ('1.2', '58,083')
    """
    return f"{n:.1f}" if n < 10 else f"{n:,.0f}"


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _incidence_series(name: str, role: str, curve: CumulativeIncidence, n: int) -> Series:
    """The curve over n tokens: after the last event it stays where it is."""
    columns = (np.pad(v[:n], (0, max(0, n - len(v))), mode="edge") for v in (curve.incidence, curve.low, curve.high))
    return Series.curve(name, role, *columns)
