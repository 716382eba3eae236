"""From header likelihoods to beliefs: the posterior over sources along real and own text of the same prefixes.

For every document, with x the prefix and then the continuation: q(x_≤t | s) = mean over templates of q(x_≤t | header), and
π_t(s) ∝ π_0(s) q(x_≤t | s). Time 0 is the cut: the prefix has been read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

from freerun.errors import DataError
from freerun.findings.evidence import Evidence
from freerun.records.source_likelihoods import ScoredText, SourceRecords, SourcesAsked
from freerun.stats.intervals import Interval, clopper_pearson, cluster_ratio, linearised_ratio, t_quantile
from freerun.stats.sources.drift import BeliefChange, DriftTest, belief_change, drift_test, held_posterior
from freerun.stats.sources.posterior import cumulative_likelihood, entropy_bits

MIN_DOCUMENTS = 6
"""Below this no result of a sign test could differ from chance at 5%."""
LEVEL = 0.95
Path = Float[np.ndarray, "tokens_1 sources"]


@dataclass(frozen=True)
class Texts:
    """Both texts of some documents, one a unit: ln q(x_≤t | s) with the prefix in column 0, and the sequences' places in the records."""

    real: tuple[Float[np.ndarray, "sources tokens_1"], ...]
    own: tuple[Float[np.ndarray, "sources tokens_1"], ...]
    own_rows: tuple[int, ...]
    n_unwritable: int
    """Documents left out because no source with a prior can write their prefix."""
    n_cut: int
    """Own texts that go on with tokens no source knows, and are read up to there."""


@dataclass(frozen=True)
class Beliefs:
    """Posteriors of all documents under one prior: `real[d]`, `own[d]` after 0, 1, … tokens."""

    prior: Float[np.ndarray, " sources"]
    real: tuple[Path, ...]
    own: tuple[Path, ...]

    @property
    def start(self) -> Float[np.ndarray, "documents sources"]:
        return np.stack([p[0] for p in self.own])

    def end(self, side: str) -> Float[np.ndarray, "documents sources"]:
        """The last posterior of each text."""
        return np.stack([p[-1] for p in self._of(side)])

    def at(self, side: str, t: int) -> Float[np.ndarray, "documents sources"]:
        """The posterior after t tokens; a text that has ended keeps its last one."""
        return np.stack([p[min(t, len(p) - 1)] for p in self._of(side)])

    def _of(self, side: str) -> tuple[Path, ...]:
        return self.real if side == "real" else self.own


@dataclass(frozen=True)
class SourceEvidence:
    """What is said of one latent. `all`: with other among the sources; `named`: without it (the same where it has no prior).

    Drift tests are None where n documents can judge no source. `excess`: nats a token by which own text costs more under the mixture
    than under the law that wrote it; None where another law was sampled, or where the mixture cannot write it (then `n_impossible`).
    """

    asked: SourcesAsked
    texts: Texts
    all: Beliefs
    named: Beliefs
    length: int
    entropy: dict[str, Interval]
    """Bits: `cut`; `real` and `own` at the last length that both texts of a document have; `gap`, own minus real there."""
    switches: dict[str, Interval]
    """Share of `real` and `own` texts whose leading source at their end is not the one at the cut."""
    drift: DriftTest | None
    drift_all: DriftTest | None
    changes: dict[str, BeliefChange]
    """Of every source, by side (`real`, `own`) and of `named`."""
    leading: dict[str, BeliefChange]
    """Of the source of `named` that leads at the cut, whichever it is in each document; by side."""
    excess: Interval | None
    n_impossible: int
    n_ended: int

    @property
    def n(self) -> int:
        return len(self.all.own)

    @property
    def same(self) -> bool:
        """Whether other has no prior, so that there is one mixture only."""
        return self.all is self.named

    def curve(self, side: str, source: int, times: Sequence[int]) -> list[Interval]:
        """Mean belief in a source by position with pointwise t intervals over documents, inside 0 and 1."""
        return _means(np.stack([self.all.at(side, t)[:, source] for t in times]), most=1.0)

    def entropy_curve(self, side: str, times: Sequence[int]) -> list[Interval]:
        """Mean entropy by position, bits, with pointwise t intervals over documents."""
        return _means(np.stack([entropy_bits(self.all.at(side, t)) for t in times]))


def source_evidence(evidence: Evidence, records: SourceRecords) -> SourceEvidence | None:
    """Everything about one latent; None for fewer than `MIN_DOCUMENTS` documents."""
    prior = np.asarray(records.asked.prior, np.float64)
    texts = texts_of(evidence, records, prior)
    if len(texts.own) < MIN_DOCUMENTS:
        return None
    everything = _beliefs(texts, prior)
    named = everything
    if prior[-1] > 0 and len(prior) > 2:
        without = prior.copy()
        without[-1] = 0.0
        named = _beliefs(texts, without / without.sum())
    last = [min(len(r), len(o)) - 1 for r, o in zip(everything.real, everything.own, strict=True)]
    bits = {
        side: np.array([float(entropy_bits(p[t])) for p, t in zip(paths, last, strict=True)])
        for side, paths in (("real", everything.real), ("own", everything.own))
    }
    bits["cut"] = entropy_bits(everything.start)
    bits["gap"] = bits["own"] - bits["real"]
    led = everything.start.argmax(axis=1)
    turned = {side: int((everything.end(side).argmax(axis=1) != led).sum()) for side in ("real", "own")}
    lead = named.start.argmax(axis=1)[:, None]
    excess, n_impossible = _excess(evidence, texts, named.prior)
    return SourceEvidence(
        asked=records.asked,
        texts=texts,
        all=everything,
        named=named,
        length=max(len(p) for p in (*everything.real, *everything.own)) - 1,
        entropy={k: _mean(v) for k, v in bits.items()},
        switches={side: clopper_pearson(k, len(led)) for side, k in turned.items()},
        drift=drift_test(named.start, named.end("own"), level=LEVEL),
        drift_all=None if named is everything else drift_test(everything.start, everything.end("own"), level=LEVEL),
        changes={side: belief_change(named.start, named.end(side), level=LEVEL) for side in ("real", "own")},
        leading={
            side: belief_change(*(np.take_along_axis(x, lead, 1) for x in (named.start, named.end(side))), level=LEVEL)
            for side in ("real", "own")
        },
        excess=excess,
        n_impossible=n_impossible,
        n_ended=sum(len(o) < len(r) for r, o in zip(everything.real, everything.own, strict=True)) - texts.n_cut,
    )


def texts_of(evidence: Evidence, records: SourceRecords, prior: Float[np.ndarray, " sources"]) -> Texts:
    """The scored texts of each document, real and own, one document a unit.

    Raises:
        DataError: a scored sequence that the run does not have, or with more tokens than it has there.
    """
    sequences = evidence.records.sequences
    place = {int(n): i for i, n in enumerate(sequences["sequence"])}
    by_document: dict[str, dict[str, tuple[int, ScoredText]]] = {}
    for text in records.texts:
        i = place.get(text.sequence)
        rows = slice(0, 0) if i is None else evidence.records.rows(i)
        if i is None or text.token_nats[0].shape[1] > rows.stop - rows.start:
            raise DataError(
                f"sources were scored on sequence {text.sequence}, which this run does not have so: a part is damaged"
            )
        by_document.setdefault(str(sequences["document_id"][i]), {})[str(sequences["arm"][i])] = (i, text)
    real, own, own_rows = [], [], []
    units: set[int] = set()
    n_unwritable = n_cut = 0
    for sides in by_document.values():
        if not {"real", "free"} <= set(sides) or int(evidence.units[sides["real"][0]]) in units:
            continue
        (_, one), (row, other) = sides["real"], sides["free"]
        pair = [_likelihood(one), _likelihood(other)]
        named = np.flatnonzero(prior > 0)
        named = named[:-1] if named[-1] == len(prior) - 1 and len(named) > 1 else named
        if not all(np.isfinite(x[named, 0]).any() for x in pair):
            n_unwritable += 1
            continue
        units.add(int(evidence.units[sides["real"][0]]))
        real.append(pair[0])
        own.append(pair[1])
        own_rows.append(row)
        n_cut += bool(np.diff(evidence.records.starts)[row] > other.token_nats[0].shape[1])
    return Texts(tuple(real), tuple(own), tuple(own_rows), n_unwritable, n_cut)


def _likelihood(text: ScoredText) -> Float[np.ndarray, "sources tokens_1"]:
    """ln q(x_≤t | s) with the whole prefix as one step, which is column 0."""
    return np.stack(
        [
            cumulative_likelihood(np.hstack([before[:, None], after]))[1:]
            for before, after in zip(text.prefix_nats, text.token_nats, strict=True)
        ]
    )


def _beliefs(texts: Texts, prior: Float[np.ndarray, " sources"]) -> Beliefs:
    return Beliefs(
        prior,
        tuple(held_posterior(prior, x) for x in texts.real),
        tuple(held_posterior(prior, x) for x in texts.own),
    )


def _excess(evidence: Evidence, texts: Texts, prior: Float[np.ndarray, " sources"]) -> tuple[Interval | None, int]:
    """ln Q − ln M of own text a token, M the mixture with the weights of the cut; and how many texts M cannot write."""
    if not evidence.plan.sampling.is_model_law:
        return None, 0
    log_prob = evidence.records.tokens["log_prob_nats"]
    tops, bottoms = [], []
    with np.errstate(divide="ignore"):
        weights = np.log(prior)[:, None]
    for values, row in zip(texts.own, texts.own_rows, strict=True):
        n = values.shape[1] - 1
        first = evidence.records.rows(row).start
        mixed = special.logsumexp(weights + values[:, [0, -1]], axis=0)
        tops.append(float(log_prob[first : first + n].sum() - (mixed[1] - mixed[0])))
        bottoms.append(float(n))
    nats = np.array(tops)
    n_impossible = int((~np.isfinite(nats)).sum())
    if n_impossible or not sum(bottoms):
        return None, n_impossible
    return cluster_ratio(nats, np.array(bottoms), np.arange(nats.size), level=LEVEL), 0


def _mean(values: Float[np.ndarray, " documents"]) -> Interval:
    return cluster_ratio(values, np.ones(values.size), np.arange(values.size), level=LEVEL)


def _means(values: Float[np.ndarray, "times documents"], *, most: float = np.inf) -> list[Interval]:
    mean, error = linearised_ratio(values, np.ones_like(values))
    n = values.shape[1]
    half = t_quantile(n, LEVEL) * error
    low, high = np.maximum(mean - half, 0.0), np.minimum(mean + half, most)
    return [Interval(*x, LEVEL, n) for x in zip(mean.tolist(), low.tolist(), high.tolist(), strict=True)]
