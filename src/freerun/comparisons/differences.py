"""What differs between runs: every quantity's difference on the same documents, the loss and the horizon first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float

from freerun.comparisons.curves import JointCurves, join_curves
from freerun.comparisons.terms import Alignment, Planned, SameRecords, align, same_records, same_reference, shared_draws
from freerun.errors import TooFewDocuments
from freerun.findings.detectability.quantities import AUC, HORIZONS
from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.loss import LOSS
from freerun.findings.own_text.standing import own_text_of
from freerun.findings.plain_text import PlainText
from freerun.findings.registry import sums_of
from freerun.results.audit import OwnText
from freerun.results.compare import ALPHA, Difference, RunPair, SharedDraws, TextTest
from freerun.results.horizons import outside
from freerun.results.quantity import Sums
from freerun.stats.detection.text_features import byte_ngram_features
from freerun.stats.detection.two_sample import detect
from freerun.stats.multiplicity import benjamini_yekutieli, holm
from freerun.stats.paired import contrast_of_ratios, paired_difference, slope_weights

Values = Mapping[tuple[str, str], Sums]
"""The quantities of a run, document by document, by finding and name."""
LOSS_KEY = (LOSS.finding, LOSS.name)
_IDENTICAL = "the same records in both runs: zero by identity"
_OTHER_REFERENCE = "each run was held against a reference of its own: no interval and no test"
_NOT_SEEN = "not seen in any document of either run: no interval and no test"
_PAIRED = "difference of ratios of sums on the same documents, document-clustered linearised t interval"
_BY_TOKEN = "token by token on the same documents, document-clustered t interval"
_FITTED = "each run by its own detectors; covariance over test and training documents that both have, drawn from its normal law"
_AUCS = "each run by its own detectors; variance over test and training documents that both have, t interval"
_SLOPE = "least-squares slope over runs, document-clustered linearised t interval"


class Side(Planned, Protocol):
    """A run whose quantities are compared unit by unit."""

    @property
    def unit_names(self) -> Sequence[str]: ...
    @property
    def has_impossible_tokens(self) -> bool: ...


@dataclass(frozen=True)
class Compared:
    """All that is concluded from the records of several runs. `curves` is None where the horizon cannot be measured."""

    pairs: tuple[RunPair, ...]
    curves: JointCurves | None
    why_no_curves: str
    values: tuple[Values, ...]
    trends: tuple[Difference, ...]
    own_text: tuple[OwnText, ...]
    """Of each run; what rests on refused own text is not compared."""


def compare_runs(evidences: Sequence[Evidence], names: Sequence[str], *, x: Sequence[float] | None = None) -> Compared:
    """Compare every run with the first; with more than two, also the slope of every quantity over `x` (default 0, 1, 2, …).

    Raises:
        TooFewDocuments: fewer than two documents in a run.
    """
    own_text = tuple(e.once(own_text_of) for e in evidences)
    values = tuple(values_of(e, refused=own.refused) for e, own in zip(evidences, own_text, strict=True))
    curves, why = _curves(evidences, own_text)
    pairs = [
        _pair(evidences, values, curves, k, names, tuple(names[i] for i in (0, k) if own_text[i].refused))
        for k in range(1, len(evidences))
    ]
    trends = tuple(_trends(evidences, values, x)) if len(evidences) > 2 else ()
    *families, trends = adjust_together([*(p.differences for p in pairs), trends])
    done = tuple(replace(p, differences=family) for p, family in zip(pairs, families, strict=True))
    return Compared(done, curves, why, values, trends, own_text)


def values_of(evidence: Evidence, *, refused: bool) -> Values:
    """The quantities of a run; where its own text is refused as evidence, those of real text."""
    sums = (s for s in sums_of(evidence) if not (refused and s.quantity.own_text))
    return {(s.quantity.finding, s.quantity.name): s for s in sums}


def _curves(evidences: Sequence[Evidence], own_text: Sequence[OwnText]) -> tuple[JointCurves | None, str]:
    if any(own.refused for own in own_text):
        return None, "the own text of a run is refused as evidence"
    try:
        return join_curves(evidences), ""
    except TooFewDocuments as error:
        return None, str(error)


def _pair(
    evidences: Sequence[Evidence],
    values: Sequence[Values],
    curves: JointCurves | None,
    k: int,
    names: Sequence[str],
    refused: tuple[str, ...],
) -> RunPair:
    """`refused`: the runs of the two whose own text is not evidence; their texts are not compared."""
    first, second = evidences[0], evidences[k]
    aligned, same = align(first, second), same_records(first, second)
    n_impossible = tuple(int((~np.isfinite(log_prob)).sum()) for log_prob in _log_probs(first, second, aligned))
    differences = _differences(first, second, values[0], values[k], aligned, curves, k)
    return RunPair(
        names[0],
        names[k],
        "",
        documents_shared=aligned.n_documents,
        documents_of_other_tokens=aligned.n_other_tokens,
        real_tokens_paired=aligned.first.size,
        impossible_tokens=(n_impossible[0], n_impossible[1]),
        own_text_refused=refused,
        differences=tuple(unless_identical(d, same) for d in differences),
        draws=SharedDraws(0, 0, None) if refused else shared_draws(first, second),
        told_apart=None if refused else _test_of_texts(first, second),
    )


def _differences(
    first: Evidence,
    second: Evidence,
    ours: Values,
    theirs: Values,
    aligned: Alignment,
    curves: JointCurves | None,
    k: int,
) -> Iterator[Difference]:
    if aligned.first.size:
        yield _loss(first, second, aligned)
    if curves is not None:
        yield from curve_differences(curves, k, statistics_rng(first, "compare/horizon"))
    done = {LOSS_KEY} if aligned.first.size else set()
    yield from ratio_differences(first, second, ours, theirs, done=done)


def curve_differences(curves: JointCurves, k: int, rng: np.random.Generator) -> Iterator[Difference]:
    """Horizons and the AUC at the last length, of run `k` minus the first; H75 is the primary one."""
    yield _horizon(curves, k, 0.75, rng, primary=True)
    yield from (_horizon(curves, k, level, rng) for level in HORIZONS if level != 0.75)
    d = curves.contrast([0, k], np.array([-1.0, 1.0]))
    last = (float(curves.curves[i].aucs[-1]) for i in (0, k))
    yield Difference.of(AUC, d, *last, method=_AUCS, label=f"AUC at {int(curves.lengths[-1])} tokens")


def ratio_differences(
    first: Side, second: Side, ours: Values, theirs: Values, *, done: Collection[tuple[str, str]] = ()
) -> Iterator[Difference]:
    """Every quantity that both runs have, but those that are `done` already."""
    shared = same_reference(first, second)
    for key in _comparable((first, second), (ours, theirs)):
        if key in done:
            continue
        tops, bottoms = _together((first, second), (ours[key], theirs[key]))
        try:
            d_ratio = paired_difference(tops[0], bottoms[0], tops[1], bottoms[1])
        except TooFewDocuments:
            continue
        quantity = ours[key].quantity
        made = Difference.of(quantity, d_ratio, *_ratios(tops, bottoms), method=_PAIRED)
        why = _NOT_SEEN if not tops.any() else _OTHER_REFERENCE if quantity.against_reference and not shared else ""
        yield made.without_interval(why) if why else made


def unless_identical(d: Difference, same: SameRecords) -> Difference:
    """No interval and no test where both runs hold the same records of what is compared."""
    identical = same.of(own_text=d.own_text, detectors=d.finding == "detectability")
    return d.without_interval(_IDENTICAL, identical=True) if d.value == 0.0 and identical else d


# ---- the loss ----------------------------------------------------------------------------------------------------------


def _loss(first: Evidence, second: Evidence, aligned: Alignment) -> Difference:
    """Paired token by token, on tokens that both runs hold possible; infinite where only one of them does not."""
    log_probs = _log_probs(first, second, aligned)
    possible = _possible_in_both(log_probs)
    units, n = aligned.units[possible], int(aligned.units.max()) + 1
    counts = np.bincount(units, minlength=n).astype(np.float64)
    bottoms = np.stack([counts, counts])[:, counts > 0]
    tops = np.stack([np.bincount(units, -log_prob[possible], n) for log_prob in log_probs])[:, counts > 0]
    zeros = [int((~np.isfinite(log_prob)).sum()) for log_prob in log_probs]
    text = ""
    if zeros[0] != zeros[1]:
        text = (
            f"infinite: {zeros[0]} and {zeros[1]} of {possible.size} real tokens have no mass in the first and in the second run, most in the "
            f"{'second' if zeros[1] > zeros[0] else 'first'}; the number is over tokens possible in both"
        )
    return loss_difference(tops, bottoms, text=text)


def loss_difference(
    tops: Float[np.ndarray, "2 units"], bottoms: Float[np.ndarray, "2 units"], *, text: str = ""
) -> Difference:
    """Loss of the second run minus that of the first, from sums over the tokens that both hold possible; a primary one.

    Raises:
        TooFewDocuments: fewer than two units.
    """
    d = paired_difference(tops[0], bottoms[0], tops[1], bottoms[1])
    return Difference.of(LOSS, d, *_ratios(tops, bottoms), method=_BY_TOKEN, primary=True, text=text)


def _log_probs(first: Evidence, second: Evidence, aligned: Alignment) -> Float[np.ndarray, "2 tokens"]:
    sides = (first, aligned.first), (second, aligned.second)
    return np.stack([e.records.tokens["log_prob_nats"][at] for e, at in sides])


def _possible_in_both(log_probs: Float[np.ndarray, "2 tokens"]) -> Bool[np.ndarray, " tokens"]:
    return np.asarray(np.isfinite(log_probs).all(axis=0))


def loss_by_position(first: Evidence, second: Evidence) -> tuple[Float[np.ndarray, " tokens"], Alignment]:
    """Loss of the second minus the first at every token possible in both, with the alignment of those tokens."""
    aligned = align(first, second)
    log_probs = _log_probs(first, second, aligned)
    kept = _possible_in_both(log_probs)
    columns = {name: getattr(aligned, name)[kept] for name in ("first", "second", "units", "position")}
    return np.asarray(log_probs[0] - log_probs[1])[kept], replace(aligned, **columns)


# ---- the horizon -------------------------------------------------------------------------------------------------------


def _horizon(
    curves: JointCurves, k: int, level_auc: float, rng: np.random.Generator, *, primary: bool = False
) -> Difference:
    places = [curves.curves[i].horizon(level_auc).estimate for i in (0, k)]
    text = ""
    if any(map(outside, places)):
        words = [outside(place) or f"{place.tokens:.0f}" for place in places]
        text = f"{words[0]} and {words[1]} tokens; what lies beyond the lengths measured counts as their end"
    d = curves.difference(0, k, level_auc, rng)
    how = f"{_FITTED}; held within the lengths measured"
    return Difference.of(HORIZONS[level_auc], d, d.a, d.b, method=how, primary=primary, text=text)


# ---- ratios of sums ----------------------------------------------------------------------------------------------------


def _comparable(evidences: Sequence[Side], values: Sequence[Values]) -> Iterator[tuple[str, str]]:
    """What all runs have, but means over possible tokens where a run gives no mass to some real token."""
    impossible = any(e.has_impossible_tokens for e in evidences)
    for key, sums in values[0].items():
        if all(key in each for each in values) and not (impossible and sums.quantity.possible_tokens):
            yield key


def _together(
    evidences: Sequence[Side], sums: Sequence[Sums]
) -> tuple[Float[np.ndarray, "runs units"], Float[np.ndarray, "runs units"]]:
    """Tops and bottoms on the units that all runs have; on all units, zeros where a run lacks one, if they share fewer than two."""
    rows = [
        {name: i for i, name in enumerate(e.unit_names) if s.bottoms[i] > 0}
        for e, s in zip(evidences, sums, strict=True)
    ]
    shared = set.intersection(*map(set, rows))
    units = sorted(shared if len(shared) >= 2 else set.union(*map(set, rows)))
    at = np.array([[row.get(unit, -1) for unit in units] for row in rows])
    tops, bottoms = (
        np.stack([np.where(i >= 0, column[i], 0.0) for i, column in zip(at, columns, strict=True)])
        for columns in ([s.tops for s in sums], [s.bottoms for s in sums])
    )
    return tops, bottoms


def _ratios(tops: Float[np.ndarray, "runs units"], bottoms: Float[np.ndarray, "runs units"]) -> tuple[float, float]:
    """Of the first and of the last run."""
    return float(tops[0].sum() / bottoms[0].sum()), float(tops[-1].sum() / bottoms[-1].sum())


def _trends(evidences: Sequence[Evidence], values: Sequence[Values], x: Sequence[float] | None) -> Iterator[Difference]:
    pairs = [same_records(evidences[0], e) for e in evidences[1:]]
    same = SameRecords(*(all(getattr(s, part) for s in pairs) for part in ("real", "free", "all_documents")))
    made = ratio_trends(evidences, values, range(len(evidences)) if x is None else x)
    return (unless_identical(d, same) for d in made)


def ratio_trends(sides: Sequence[Side], values: Sequence[Values], x: Sequence[float]) -> Iterator[Difference]:
    """The least-squares slope over runs of every quantity that all have, with what a document does in all runs kept together."""
    weights = slope_weights(np.asarray(x, np.float64))
    shared = all(same_reference(sides[0], side) for side in sides[1:])
    for key in _comparable(sides, values):
        tops, bottoms = _together(sides, [each[key] for each in values])
        try:
            d = contrast_of_ratios(tops, bottoms, weights)
        except TooFewDocuments:
            continue
        if tops.any() and (shared or not values[0][key].quantity.against_reference):
            yield Difference.of(values[0][key].quantity, d, *_ratios(tops, bottoms), method=_SLOPE)


# ---- own text against own text ----------------------------------------------------------------------------------------


def _test_of_texts(first: Evidence, second: Evidence) -> TextTest | None:
    """Tell the second run's own text from the first's; None where texts are not readable or pairs are too few.

    Of the first run replicate 0, of the second replicate 1 where there is one: the same draws would couple the texts.
    """
    if not (first.has_text and second.has_text):
        return None
    panels = first.panel, second.panel
    length = min(p.length for p in panels)
    units = [
        {str(u): i for i, u in enumerate(e.records.sequences["unit"][p.real])}
        for e, p in zip((first, second), panels, strict=True)
    ]
    shared = [u for u in units[0] if u in units[1]]
    if not shared:
        return None
    at = [np.array([rows[name] for name in shared], np.int64) for rows in units]
    train = panels[0].train[at[0]]
    sides = (panels[0].free[at[0], 0], panels[1].free[at[1], min(1, panels[1].free.shape[1] - 1)])
    texts = [t for e, side in zip((first, second), sides, strict=True) for t in e.once(PlainText).texts(side, length)]
    try:
        grams = byte_ngram_features(texts, np.concatenate([train, train]))
        n, rng = len(shared), statistics_rng(first, "compare/direct")
        d = detect(grams[:n], grams[n:][:, None, :], train=train, rng=rng)
    except TooFewDocuments:
        return None
    how = "byte n-grams of own texts of the same prefixes, independent draws; swaps within documents"
    return TextTest(d.auc.value, d.auc.low, d.auc.high, d.p_value, d.n_test, how)


# ---- many tests --------------------------------------------------------------------------------------------------------


def adjust_together(families: Sequence[tuple[Difference, ...]]) -> list[tuple[Difference, ...]]:
    """Holm over everything primary, Benjamini & Yekutieli over all else, across pairs and trends together."""
    flat = [d for family in families for d in family]
    adjusted: dict[int, float] = {}
    alphas = {True: ALPHA, False: ALPHA}
    for primary, adjust in ((True, holm), (False, benjamini_yekutieli)):
        p_values = {i: d.p_value for i, d in enumerate(flat) if d.primary is primary and d.p_value is not None}
        if p_values:
            adjusted |= dict(zip(p_values, adjust(np.array([*p_values.values()])).tolist(), strict=True))
            n = len(p_values)  # the smallest of n p-values is significant below this, whatever the others are
            alphas[primary] = ALPHA / n if primary else ALPHA / (n * float((1.0 / np.arange(1, n + 1)).sum()))
    done = iter(d.adjusted(adjusted.get(i), alphas[d.primary]) for i, d in enumerate(flat))
    return [tuple(next(done) for _ in family) for family in families]
