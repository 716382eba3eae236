"""What each reference proves by itself: the loss that it saves, the total variation that follows, and how much of it comes from openings."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.findings.evidence import Evidence
from freerun.results.finding import Cell, Table
from freerun.stats.bounds.tv_from_loss import tv_from_loss, tv_from_loss_band
from freerun.stats.intervals import ratio_of_group_sums

OPENING_TOKENS = 16
"""Tokens after the cut that count as an opening."""


def reference_table(
    evidence: Evidence, documents: Int[np.ndarray, " documents"], train: Bool[np.ndarray, " documents"]
) -> Table:
    """One row a reference: gain a token, TV by both forms at the last length, and TV without the first tokens after the cut.

    Every mixture has its weights from the training documents; a model that is named is also taken as it is.
    """
    rows = []
    for name, log_prob in evidence.references.items():
        gains = gains_of(evidence, documents, log_prob)
        test, fitted = gains[~train], gains[train]
        longest = gains.shape[1]
        finite = np.isfinite(test[:, -1]).all()
        saved = ratio_of_group_sums(test[:, -1] / longest, np.ones(len(test))) if finite else None
        at = np.array([longest])
        sharp = tv_from_loss_band(fitted[:, -1:], test[:, -1:], at).tv_low[-1]
        uniform = tv_from_loss(test[:, -1]).tv_low
        rows.append(
            (
                name,
                Cell.of(saved, 3, "nats/token", sign=True),
                Cell.number(float(sharp), ".3f", "TV"),
                Cell.number(float(uniform), ".3f", "TV"),
                Cell.number(_without_opening(fitted, test, at) if longest > 2 * OPENING_TOKENS else None, ".3f", "TV"),
            )
        )
    return Table(
        "references",
        f"Measured: what each reference proves over {evidence.length} tokens",
        (
            "reference",
            "saves, nats/token (95%)",
            "TV ≥, threshold from training",
            "TV ≥, all thresholds at once",
            f"TV ≥ without the first {OPENING_TOKENS} tokens",
        ),
        tuple(rows),
    )


def gains_of(
    evidence: Evidence, documents: Int[np.ndarray, " documents"], reference: Float[np.ndarray, " tokens"]
) -> Float[np.ndarray, "documents tokens"]:
    """Running sums of ln r − ln q; plus infinity from a token on that q makes impossible: q never writes such a text."""
    columns = evidence.records.tokens["log_prob_nats"], reference
    # 0 beyond the end of a text: what it has gained is carried on
    own, other = (evidence.take(column, documents, evidence.length) for column in columns)
    impossible = np.logical_or.accumulate(np.isneginf(own), axis=1)
    steps = np.where(np.isneginf(own), 0.0, other) - np.where(np.isneginf(own), 0.0, own)
    return np.where(impossible, np.inf, np.cumsum(steps, axis=1))


def _without_opening(
    train: Float[np.ndarray, "train tokens"], test: Float[np.ndarray, "test tokens"], at: Int[np.ndarray, " one"]
) -> float:
    """The bound from the tokens after the opening alone: what each side writes given the same real opening."""
    with np.errstate(invalid="ignore"):
        rest = [
            np.nan_to_num(g[:, -1] - g[:, OPENING_TOKENS - 1], nan=0.0, posinf=np.inf, neginf=-np.inf)
            for g in (train, test)
        ]
    return float(tv_from_loss_band(rest[0][:, None], rest[1][:, None], at).tv_low[-1])
