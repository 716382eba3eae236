"""What part of a gap is uncertainty about the source.

M is the mixture, P_S the sources S of it that wrote the documents, π_t(S) their posterior after t tokens from the cut on. Then, for
every continuation exactly,

    ln P_S/M = ln π_t(S) − ln π_0(S),

so that KL(P_S‖M) ≤ −ln π_0(S) and, since M ≥ π_0(S)·P_S, TV ≤ 1 − π_0(S) and the AUC of any detector ≤ 1 − π_0(S)/2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.predictors.base import Predictor
from freerun.worlds.mixture import MixtureWorld


@dataclass(frozen=True)
class SourceGap:
    """Exact values for documents of the source, which are the independent units; column T is T tokens after the cut.

    Averages over documents estimate averages over P_S; the bounds average over the prefixes given.
    """

    log_prior_nats: Float[np.ndarray, " documents"]
    """ln π_0(S) at the cut of each document."""
    log_ratio_nats: Float[np.ndarray, "documents lengths"]
    """ln P_S/M of each continuation."""

    @property
    def kl_nats(self) -> Float[np.ndarray, " lengths"]:
        """Mean of ln P_S/M: unbiased for KL(P_S‖M) at each length."""
        return np.asarray(self.log_ratio_nats.mean(0))

    @property
    def total_variation(self) -> Float[np.ndarray, " lengths"]:
        """Mean of (1 − M/P_S)⁺: unbiased for the total variation distance at each length."""
        return np.asarray(np.maximum(0.0, -np.expm1(-self.log_ratio_nats)).mean(0))

    @property
    def kl_at_most_nats(self) -> float:
        """E[−ln π_0]."""
        return float(-self.log_prior_nats.mean())

    @property
    def tv_at_most(self) -> float:
        """1 − E[π_0]."""
        return float(1 - np.exp(self.log_prior_nats).mean())

    @property
    def auc_at_most(self) -> float:
        """1 − ½ E[min(π_0, π_0′)] over two independent documents; 1 − π_0/2 where all prefixes say the same.

        Prefixes differ, and a detector that compares a text with one of another prefix sees them: of the text that M writes, the
        part that is P_S's own has density π_0(prefix), and a score can put the prefixes with small π_0 on top. The ROC then stays
        below t ↦ the t for which ∫₀ᵗ of the sorted π_0 is the false positive rate, whose area this is.
        """
        prior = np.sort(np.exp(self.log_prior_nats))
        n = len(prior)
        if n == 1:
            return float(1 - prior[0] / 2)
        pairs = prior @ np.arange(n - 1, -1, -1) / (n * (n - 1) / 2)
        return float(1 - pairs / 2)


def source_gap(
    mixture: MixtureWorld,
    source: Mapping[str, str],
    documents: Sequence[Int[np.ndarray, " tokens"]],
    *,
    first: int = 0,
) -> SourceGap:
    """ln P_S/M by length for documents cut after `first` tokens, S the sources in which the latents have the values of `source`.

    Lengths run from 0 to what the shortest document has after its cut.

    Raises:
        UsageError: no such source, no document, or a document shorter than the prefix. DataError: one that M cannot write.
    """
    found = mixture.matching(source)
    length = _shortest(documents, first)
    log_posterior = np.stack([p[first : first + length + 1] for p in mixture.log_posteriors(documents)])
    log_source = np.logaddexp.reduce(log_posterior[:, :, found], axis=2)
    if np.isneginf(log_source[:, 0]).any():
        raise UsageError(
            f"a prefix of {first} tokens that {dict(source)} cannot write: it has no continuation by this source"
        )
    return SourceGap(log_source[:, 0], log_source - log_source[:, :1])


def predictor_gap(
    mixture: MixtureWorld,
    predictor: Predictor,
    documents: Sequence[Int[np.ndarray, " tokens"]],
    *,
    first: int = 0,
) -> Float[np.ndarray, "documents lengths"]:
    """ln M/Q of each continuation by length: the rest of ln P_S/Q, and the predictor's own error. It may grow for ever."""
    length = _shortest(documents, first)
    steps = [
        (m - q)[:length]
        for m, q in zip(
            mixture.log_probs(documents, first=first), predictor.log_probs(documents, first=first), strict=True
        )
    ]
    return np.hstack([np.zeros((len(steps), 1)), np.cumsum(steps, axis=1)])


def _shortest(documents: Sequence[Int[np.ndarray, " tokens"]], first: int) -> int:
    if not documents:
        raise UsageError("no document is given")
    length = min(len(d) for d in documents) - first
    if length < 0:
        raise UsageError(f"a document of {length + first} tokens has no prefix of {first}")
    return length
