"""Dose and response: the free-run horizon of models that are worse than a known process by a known amount.

On a world the excess loss is exact. With p_t the world's own law and q_t the model's, both given the real text so far, the chain
rule gives K(T) = Σ_t E KL(p_t‖q_t), and each term is computed from the two laws, not from the token that happened to come. Beside
the trained detector stands the best there is, the likelihood ratio ln q/p of the whole continuation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from freerun.comparisons.curves import run_curve
from freerun.errors import DataError
from freerun.findings.evidence import Evidence, lengths_up_to
from freerun.jobs.audit.options import AuditOptions
from freerun.predictors.base import Predictor
from freerun.predictors.reference import Alone
from freerun.stats.bounds.certificates import smallest_kl
from freerun.stats.detection.auc import auc_interval, unit_aucs
from freerun.stats.detection.horizon import HorizonResult, horizon_interval
from freerun.stats.intervals import t_quantile
from freerun.text.documents import Corpus
from freerun.worlds.base import World
from freerun.worlds.catalogue import load_world
from studies.dose_response.models import Dose, build
from studies.measured import measured

LEVEL_AUC = 0.75
Known = Literal["exact", "at least"]


@dataclass(frozen=True)
class Response:
    """One point. Tokens and nats a token.

    `excess_nats`: mean over the first `at_tokens` after the cut (the horizon itself, or the longest length where that is not
    reached), with `excess_low` and `excess_high`; `known` says whether it is the excess itself or a lower bound. `h75`, `h75_low`,
    `h75_high`: None where it lies beyond `longest_tokens` (`beyond`) or before the first token. `best_…`: the same by the
    likelihood ratio, where both laws are known. `certified_tokens`: how long an exact excess guarantees an AUC below 0.75.
    """

    family: str
    amount: str
    model: str
    corpus: str
    known: Known
    excess_nats: float
    excess_low: float | None
    excess_high: float | None
    at_tokens: float
    h75: float | None
    h75_low: float | None
    h75_high: float | None
    beyond: bool
    longest_tokens: int
    auc_last: float
    loss_nats: float
    n_train: int
    n_test: int
    best_h75: float | None = None
    best_low: float | None = None
    best_high: float | None = None
    best_beyond: bool = False
    best_excess_nats: float | None = None
    certified_tokens: float | None = None
    contradiction: str = ""
    """Why this point cannot be, if it lies under the certificate with its whole interval."""


# ---- the certificate ---------------------------------------------------------------------------------------------------


def tv_needed(auc: float) -> float:
    """Least total variation at which any detector can have this AUC.

    With total variation δ the ROC curve lies below min(1, fpr + δ), whose area is 1 − (1 − δ)²/2: so δ ≥ 1 − √(2(1 − AUC)).

    >>> round(tv_needed(0.75), 4), tv_needed(0.5)
    (0.2929, 0.0)
    """
    if not 0.5 <= auc <= 1.0:
        raise DataError(f"auc is {auc}; it must lie between 0.5 and 1")
    return 1.0 - math.sqrt(2.0 * (1.0 - auc))


def certified_nats(auc: float = LEVEL_AUC) -> float:
    """K_min(δ): below so many nats of excess over the whole continuation, no detector reaches this AUC."""
    return smallest_kl(tv_needed(auc))


# ---- measuring ---------------------------------------------------------------------------------------------------------


def exact_excess(
    truth: World[Any], model: Predictor, documents: Sequence[Int[np.ndarray, " tokens"]], *, first: int
) -> Float[np.ndarray, "documents tokens"]:
    """KL(p_t‖q_t) in nats at every token from `first` on, each law given the document before it. All documents are equally long."""
    length = len(documents[0])
    ids = np.stack([np.asarray(d, np.int64) for d in documents])
    states = truth.start([row[:first] for row in ids]), model.start([row[:first] for row in ids])
    out = np.zeros((len(ids), length - first))
    for t in range(first, length):
        p, q = truth.law(states[0]).probs(), model.law(states[1]).probs()[:, : truth.n_tokens]
        out[:, t - first] = special.rel_entr(p, q).sum(axis=1)
        if t < length - 1:
            states = truth.advance(states[0], ids[:, t]), model.advance(states[1], ids[:, t])
    return out


def respond(dose: Dose, world: str, options: AuditOptions, *, corpus: Corpus | None = None) -> Response:
    """Measure one dose on samples of the world, as an audit would, with its exact excess and the best possible detector.

    `corpus`: those samples, where they were drawn before.

    Raises:
        FreerunError: see `freerun.errors`.
    """
    truth = load_world(world.removeprefix("world/"))
    model = build(dose)
    with measured(model, world if corpus is None else corpus, options) as evidence:
        real = _whole(evidence, "real")
        prefix = int(evidence.plan.prefix)
        excess = np.cumsum(exact_excess(truth, model, real, first=prefix), axis=1)
        point = detected(dose, evidence, world)
        best = best_horizon(evidence, truth)
    longest = float(point.longest_tokens)
    at = point.h75 or (longest if point.beyond else 1.0)
    mean, low, high = _excess_at(excess, at)
    needed = certified_nats()
    best_at = best.estimate.tokens
    point = replace(
        point,
        known="exact",
        excess_nats=mean,
        excess_low=low,
        excess_high=high,
        at_tokens=at,
        best_h75=best.value,
        best_low=best.low_tokens,
        best_high=best.high_tokens,
        best_beyond=best.estimate.where == "beyond",
        best_excess_nats=_excess_at(excess, best_at)[0],
        certified_tokens=needed / mean if mean > 0 else None,
    )
    ends = (
        ("the detector's", point.h75_high, point.beyond),
        ("the likelihood ratio's", point.best_high, point.best_beyond),
    )
    said = [
        f"{whose} interval of H75 ends at {end:.1f} tokens, where K is at most {_excess_at(excess, end)[2] * end:.3f} nats"
        for whose, end, beyond in ends
        if end is not None and not beyond and _excess_at(excess, end)[2] * end < needed
    ]
    return replace(point, contradiction="; ".join(said))


def detected(dose: Dose, evidence: Evidence, corpus: str) -> Response:
    """The detector's side of a point, its excess still to be filled in."""
    curve = run_curve(evidence, lengths_up_to(evidence.panel.length)).aucs
    h = curve.horizon(LEVEL_AUC)
    real = evidence.tokens_of("real")
    return Response(
        dose.family,
        dose.amount,
        dose.model,
        corpus,
        "at least",
        math.nan,
        None,
        None,
        math.nan,
        h.value,
        h.low_tokens,
        h.high_tokens,
        h.estimate.where == "beyond",
        int(curve.lengths[-1]),
        float(curve.aucs[-1]),
        float(-evidence.records.tokens["log_prob_nats"][real].mean()),
        len(curve.trained_on),
        len(curve.units),
    )


def best_horizon(evidence: Evidence, truth: World[Any]) -> HorizonResult:
    """H75 of the likelihood ratio ln q/p on all pairs: no detector that sees the continuation and its prefix does better."""
    panel, lengths = evidence.panel, lengths_up_to(evidence.panel.length)
    real, free = (_log_ratios(evidence, truth, rows) for rows in (panel.real, panel.free.ravel()))
    free = free.reshape(*panel.free.shape, -1)
    found, n = unit_aucs(real[:, lengths - 1].T, np.moveaxis(free[:, :, lengths - 1], 2, 0)), panel.n_pairs
    variances = np.square(found.influence).sum(axis=1) / (n * (n - 1))  # nothing is trained
    limits = [
        auc_interval(float(a), float(v), n_units=n, replicates=float(r))
        for a, v, r in zip(found.auc, variances, found.replicates, strict=True)
    ]
    ends = (np.array([getattr(i, end) for i in limits]) for end in ("low", "high"))
    return horizon_interval(lengths, found.auc, *ends, level_auc=LEVEL_AUC)


def _log_ratios(
    evidence: Evidence, truth: World[Any], rows: Int[np.ndarray, " texts"]
) -> Float[np.ndarray, "texts tokens"]:
    """ln q/p of the first 1, 2, … tokens of the panel; +∞ once a text holds what the world cannot write."""
    records, n = evidence.records, evidence.panel.length
    first = int(evidence.plan.prefix)
    texts = [_text(evidence, int(i))[: first + n] for i in rows]
    known = Alone(truth).log_probs([""] * len(texts), texts, first=first)
    own = np.stack([records.tokens["log_prob_nats"][records.rows(int(i))][:n] for i in rows])
    return np.asarray(np.cumsum(own - np.stack([k[:, 0] for k in known]), axis=1))


def _text(evidence: Evidence, i: int) -> Int[np.ndarray, " tokens"]:
    records = evidence.records
    prefix = np.asarray(records.sequences["prefix_ids"][i], np.int64)
    return np.concatenate([prefix, records.tokens["token_id"][records.rows(i)].astype(np.int64)])


def _whole(evidence: Evidence, arm: str) -> list[Int[np.ndarray, " tokens"]]:
    return [_text(evidence, int(i)) for i in evidence.records.chosen(arm=arm)]


def _excess_at(total: Float[np.ndarray, "documents tokens"], tokens: float) -> tuple[float, float, float]:
    """Mean excess a token over the first `tokens`, with its t interval over documents; `total` is cumulative."""
    grid = np.arange(total.shape[1] + 1)
    each = np.array([np.interp(tokens, grid, np.concatenate([[0.0], row])) for row in total]) / tokens
    half = float(each.std(ddof=1) / math.sqrt(len(each))) * t_quantile(len(each), 0.95)
    mean = float(each.mean())
    return mean, max(0.0, mean - half), mean + half
