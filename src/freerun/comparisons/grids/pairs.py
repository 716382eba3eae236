"""Two runs of a grid against each other, from what is kept of them: the same differences as `freerun compare` has from records."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from freerun.comparisons.curves import JointCurves
from freerun.comparisons.differences import (
    LOSS_KEY,
    curve_differences,
    loss_difference,
    ratio_differences,
    unless_identical,
)
from freerun.comparisons.grids.summary import RunDigest, SharedTexts, same_records
from freerun.comparisons.terms import breaches, cautions
from freerun.errors import TooFewDocuments
from freerun.findings.evidence import STATISTICS_SEED
from freerun.results.compare import Breach, Difference, RunPair, SharedDraws
from freerun.stats.detection.curve import AucCurve


def breaches_of(first: RunDigest, second: RunDigest, *, run: str) -> tuple[Breach, ...]:
    """Why the two may not be compared; empty where they may."""
    return breaches(first, second, SharedTexts.of(first, second), run=run)


def cautions_of(first: RunDigest, second: RunDigest) -> tuple[str, ...]:
    """What has to be known of a comparison of the two."""
    said = cautions(first, second, SharedTexts.of(first, second))
    impossible = [d.n_impossible for d in (first, second)]
    if not any(impossible):
        return said
    return (
        *said,
        f"{impossible[0]} and {impossible[1]} real tokens have no mass in the baseline and in this run: a loss is infinite there, so losses are not "
        "compared, nor what averages over possible tokens.",
    )


def pair_of(first: RunDigest, second: RunDigest, names: tuple[str, str]) -> RunPair:
    """What differs between two runs that may be compared; p-values are not adjusted yet, and the sentence is not made."""
    shared, same = SharedTexts.of(first, second), same_records(first, second)
    refused = tuple(n for n, d in zip(names, (first, second), strict=True) if d.own_text.refused)
    differences = tuple(unless_identical(d, same) for d in _differences(first, second, shared))
    return RunPair(
        *names,
        "",
        documents_shared=shared.n_documents,
        documents_of_other_tokens=shared.n_other_tokens,
        real_tokens_paired=sum(a.n_possible for a, _ in shared.pairs),
        impossible_tokens=(first.n_impossible, second.n_impossible),
        own_text_refused=refused,
        differences=differences,
        draws=SharedDraws(0, 0, None),
        told_apart=None,
    )


def joined(digests: list[RunDigest]) -> JointCurves | None:
    """Curves by length on the lengths that all have; None where one has none."""
    curves = [d.curve for d in digests if d.curve is not None]
    if len(curves) < len(digests):
        return None
    n = min(len(c.lengths) for c in curves)
    return JointCurves(tuple(AucCurve(c.lengths[:n], c.spreads[:n], c.units, c.trained_on) for c in curves))


def _differences(first: RunDigest, second: RunDigest, shared: SharedTexts) -> Iterator[Difference]:
    if shared.pairs and not (first.n_impossible or second.n_impossible):
        yield _loss(shared)
    curves = joined([first, second])
    if curves is not None:
        rng = np.random.default_rng([STATISTICS_SEED, *b"compare/horizon"])
        yield from curve_differences(curves, 1, rng)
    try:
        yield from ratio_differences(first, second, first.values, second.values, done={LOSS_KEY})
    except TooFewDocuments:
        return


def _loss(shared: SharedTexts) -> Difference:
    """On the texts that both read as the same tokens, unit by unit."""
    units = {name: i for i, name in enumerate(sorted({a.unit for a, _ in shared.pairs}))}
    tops, bottoms = np.zeros((2, len(units))), np.zeros((2, len(units)))
    for pair in shared.pairs:
        at = units[pair[0].unit]
        for side, document in enumerate(pair):
            tops[side, at] += document.loss_nats
            bottoms[side, at] += document.n_possible
    return loss_difference(tops, bottoms)
