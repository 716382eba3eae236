"""What do the two models write? Loops and drift of both own texts, side by side."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.two_laws.evidence import ARM_WORDS, TwoModels
from freerun.records.distance import Texts
from freerun.records.redact import UNAVAILABLE
from freerun.results.finding import Cell, Finding, Row, Table
from freerun.stats.intervals import Interval, cluster_ratio
from freerun.stats.loops.lag_runs import loop_complete
from freerun.stats.loops.survival import CENSORED, END_OF_TEXT, LOOP, CumulativeIncidence, cumulative_incidence

NAME = "writing"
QUESTION = "Do their own texts loop or drift?"


def writing_finding(models: TwoModels) -> Finding | None:
    """Loops with end of text competing, ends, and the entropy of each model's law on its own text; None where neither wrote."""
    arms = [arm for arm in ("a", "b") if models.texts(arm) is not None]
    if not arms:
        return None
    try:
        drift = _drift_rows(models, arms)
        loops = {arm: _loops(models, arm) for arm in (*arms, "real") if models.texts(arm) is not None}
    except TooFewDocuments as error:
        return Finding.unknown(NAME, QUESTION, f"This is not known: {error}.")
    rows: list[Row] = [_loop_row(ARM_WORDS[arm], found) for arm, found in loops.items()]
    notes = [
        "Entropies are those of each model's own law; the second half of the texts is taken, since drift builds up.",
        "Real texts were chosen long enough not to end."
        if models.plan.prompts is None
        else "Own minus real: over prompts of which both texts reach their second half of the window.",
    ]
    if models.plan.redacted:
        notes.append(f"Loops are {UNAVAILABLE}.")
    return Finding(
        name=NAME,
        question=QUESTION,
        sentence=_sentence(models, loops),
        status="neutral",
        tables=(
            Table(
                "loops_of_both",
                "Loops and ends within the texts (95%)",
                ("text", "looped", "ended by itself", "texts"),
                tuple(rows),
            ),
            Table(
                "drift_of_both",
                "Entropy in the second half of the texts, nats a token (95%)",
                ("model", "on its own text", "on real text", "own minus real", "documents"),
                tuple(drift),
            ),
        ),
        licence=(
            f"Unit: the document. A loop: {models.plan.loop_rule.copies} copies of a phrase of at most {models.plan.loop_rule.max_period} tokens, "
            f"{models.plan.loop_rule.min_tokens} tokens in all, the prefix counted in; end of text competes (Aalen–Johansen). 95% intervals over "
            "documents; no test between the two models."
        ),
        notes=tuple(notes),
    )


def _loops(models: TwoModels, arm: str) -> tuple[CumulativeIncidence, CumulativeIncidence] | None:
    """Loops and ends; None where ids are not recorded."""
    texts = models.texts(arm)
    assert texts is not None
    if texts.prefix_ids is None:
        return None
    time, cause = np.zeros(texts.n, np.int64), np.full(texts.n, CENSORED)
    for i in range(texts.n):
        hit = loop_complete(texts.ids(i), models.plan.loop_rule, start=len(texts.prefix_ids[i]))
        looped = np.flatnonzero(hit)
        time[i] = looped[0] + 1 if looped.size else texts.laws.n_tokens[i]
        cause[i] = LOOP if looped.size else END_OF_TEXT if texts.laws.ended[i] else CENSORED
    groups = texts.laws.unit
    return (
        cumulative_incidence(time, cause, groups=groups, event=LOOP),
        cumulative_incidence(time, cause, groups=groups, event=END_OF_TEXT),
    )


def _loop_row(label: str, found: tuple[CumulativeIncidence, CumulativeIncidence] | None) -> Row:
    if found is None:
        return label, Cell("–", None), Cell("–", None), Cell("–", None)
    loop, end = found
    return label, _share(loop.at_end), _share(end.at_end), Cell.number(loop.n_sequences, ",")


def _share(x: Interval) -> Cell:
    return Cell(f"{x.value:.1%} ({x.low:.1%} to {x.high:.1%})", x.value, "share", x.low, x.high)


def _drift_rows(models: TwoModels, arms: list[str]) -> list[Row]:
    real = models.texts("real")
    rows: list[Row] = []
    for arm in arms:
        texts = models.texts(arm)
        assert texts is not None
        column = "entropy_p_nats" if arm == "a" else "entropy_q_nats"
        own = _second_half(texts, getattr(texts, column))
        there = np.full(own.size, np.nan) if real is None else _second_half(real, getattr(real, column))
        both = np.isfinite(own) & np.isfinite(there)
        means: list[Interval | None] = [_mean(own[np.isfinite(own)]), None, None]
        if both.sum() >= 2:
            means[1:] = [_mean(there[both]), _mean((own - there)[both])]
        rows.append(
            (arm.upper(), *(Cell.of(m, 3, "nats/token") for m in means), Cell.number(int(np.isfinite(own).sum()), ","))
        )
    return rows


def _second_half(texts: Texts, values: Float[np.ndarray, "texts tokens"]) -> Float[np.ndarray, " units"]:
    """Mean over the second half of each unit's texts; NaN where no text of it goes so far."""
    half = values.shape[1] // 2
    late = np.where(texts.inside[:, half:], values[:, half:], np.nan)
    known = np.isfinite(late)
    n = len(texts.unit_names)
    sums = np.bincount(texts.laws.unit, np.where(known, late, 0.0).sum(axis=1), n)
    counts = np.bincount(texts.laws.unit, known.sum(axis=1).astype(float), n)
    out = np.full(n, np.nan)
    return np.asarray(np.divide(sums, counts, out=out, where=counts > 0))


def _mean(values: Float[np.ndarray, " units"]) -> Interval:
    return cluster_ratio(values, np.ones(values.size), np.arange(values.size))


def _sentence(models: TwoModels, loops: dict[str, tuple[CumulativeIncidence, CumulativeIncidence] | None]) -> str:
    said = []
    for arm in ("a", "b"):
        found = loops.get(arm)
        if found is not None:
            loop = found[0]
            said.append(f"{loop.n_events} of {counted(loop.n_sequences, 'text')} of {arm.upper()}'s")
    return f"Loops: {'; '.join(said)}." if said else "What their texts do is in the table."
