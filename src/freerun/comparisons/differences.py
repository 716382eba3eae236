"""What differs between runs: every finding's difference on the same documents, the loss and the horizon first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from freerun.comparisons.curves import LEVELS, JointCurves, join_curves
from freerun.comparisons.terms import Alignment, SameRecords, SharedDraws, align, same_records, shared_draws
from freerun.comparisons.values import (
    OF_POSSIBLE_TOKENS,
    Quantity,
    has_impossible_tokens,
    quantities,
    unit_names,
)
from freerun.errors import TooFewDocuments
from freerun.findings.evidence import Evidence, statistics_rng
from freerun.findings.own_text.standing import OwnText, own_text_of
from freerun.findings.plain_text import PlainText
from freerun.findings.redacted import is_redacted
from freerun.results.horizons import outside
from freerun.stats.design.detectable import smallest_detectable_difference
from freerun.stats.detection.paired_horizon import BootstrapDifference
from freerun.stats.detection.text_features import byte_ngram_features
from freerun.stats.detection.two_sample import Detection, detect
from freerun.stats.multiplicity import benjamini_yekutieli, holm
from freerun.stats.paired import PairedDifference, contrast_of_ratios, paired_difference, slope_weights

LEVEL = 0.95
ALPHA = 0.05
CENSORED = 0.05
"""Share of resamples at an end of the lengths beyond which a horizon's spread says nothing about what would be found."""
_PAIRED = "difference of ratios of sums on the same documents, document-clustered linearised t interval"


@dataclass(frozen=True)
class Difference:
    """Second run minus first (or a slope over runs) of one quantity.

    `a`, `b`: the quantity in each run on the documents that both have. `low` or `high` None: the interval is open there, because a
    horizon lies beyond the lengths measured (or there is no interval at all). `adjusted_p`: Holm over the primary ones, Benjamini & Yekutieli over
    all others. `smallest_detectable`: the true difference that would have been found at 5% with 80% power, before that adjustment;
    None where it is not known. `text` says what a number cannot.

    `identical`: both runs hold the same records of what is compared, so that the difference is zero by identity and needs no interval.
    `degenerate`: every document, or every resample of them, gives the same difference; an interval would have no width, so there is none.
    """

    finding: str
    name: str
    label: str
    unit: str
    a: float | None
    b: float | None
    value: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    p_value: float | None
    adjusted_p: float | None
    smallest_detectable: float | None
    method: str
    primary: bool = False
    own_text: bool = False
    text: str = ""
    identical: bool = False
    degenerate: bool = False

    @property
    def found(self) -> bool:
        """Whether the difference is told from zero: after adjustment at 5%, and by its interval where it has one."""
        if self.adjusted_p is None or self.adjusted_p > ALPHA:
            return False
        return self.excludes_zero or (self.degenerate and self.value != 0.0)

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval, unadjusted, lies on one side of zero."""
        return (self.low is not None and self.low > 0.0) or (self.high is not None and self.high < 0.0)


@dataclass(frozen=True)
class Pair:
    """Two runs, the second against the first."""

    first: int
    second: int
    aligned: Alignment
    differences: tuple[Difference, ...]
    """The loss and the horizon first, then every finding's."""
    draws: SharedDraws
    direct: Detection | None
    """The second run's own text told from the first's by byte n-grams, at the last common length."""
    n_impossible: tuple[int, int]
    """Shared real tokens without mass in each run."""


@dataclass(frozen=True)
class Compared:
    """All that is concluded from the records of several runs. `curves` is None where the horizon cannot be measured."""

    pairs: tuple[Pair, ...]
    curves: JointCurves | None
    why_no_curves: str
    values: tuple[tuple[Quantity, ...], ...]
    trends: tuple[Difference, ...]
    own_text: tuple[OwnText, ...]
    """Of each run; what rests on refused own text is not compared."""


def compare_runs(evidences: Sequence[Evidence], *, x: Sequence[float] | None = None) -> Compared:
    """Compare every run with the first; with more than two, also the slope of every quantity over `x` (default 0, 1, 2, …).

    Raises:
        TooFewDocuments: fewer than two documents in a run.
    """
    own_text = tuple(own_text_of(e) for e in evidences)
    values = tuple(
        tuple(q for q in quantities(e) if not (own.refused and q.own_text))
        for e, own in zip(evidences, own_text, strict=True)
    )
    if any(own.refused for own in own_text):
        curves, why = None, "the own text of a run is refused as evidence"
    else:
        curves, why = _curves(list(evidences))
    pairs = [
        _pair(evidences, values, curves, k, refused=own_text[0].refused or own_text[k].refused)
        for k in range(1, len(evidences))
    ]
    trends = _trends(evidences, values, x) if len(evidences) > 2 else []
    adjusted = _adjusted([*(p.differences for p in pairs), tuple(trends)])
    done = tuple(replace(p, differences=d) for p, d in zip(pairs, adjusted, strict=False))
    return Compared(done, curves, why, values, adjusted[-1], own_text)


def _curves(evidences: list[Evidence]) -> tuple[JointCurves | None, str]:
    try:
        return join_curves(evidences), ""
    except TooFewDocuments as error:
        return None, str(error)


def _pair(
    evidences: Sequence[Evidence],
    values: Sequence[Sequence[Quantity]],
    curves: JointCurves | None,
    k: int,
    *,
    refused: bool,
) -> Pair:
    """`refused`: own text of one of the two is no evidence, so texts are not held against each other."""
    first, second = evidences[0], evidences[k]
    aligned = align(first, second)
    loss, n_impossible = _loss(first, second, aligned)
    differences = [loss, _horizon(curves, k)]
    differences += _rest(first, second, values[0], values[k], aligned, curves, k)
    same = same_records(first, second)
    found = [_without_empty_interval(d, same) for d in differences if d is not None]
    draws = SharedDraws(0, 0, np.zeros(0)) if refused else shared_draws(first, second)
    direct = None if refused else _direct(first, second)
    return Pair(0, k, aligned, tuple(found), draws, direct, n_impossible)


# ---- the loss ----------------------------------------------------------------------------------------------------------


def _loss(first: Evidence, second: Evidence, aligned: Alignment) -> tuple[Difference | None, tuple[int, int]]:
    """Paired token by token, on tokens that both runs hold possible; infinite where one alone does not."""
    if not aligned.first.size:
        return None, (0, 0)
    one = first.records.tokens["log_prob_nats"][aligned.first]
    two = second.records.tokens["log_prob_nats"][aligned.second]
    possible = np.isfinite(one) & np.isfinite(two)
    n_impossible = int((~np.isfinite(one)).sum()), int((~np.isfinite(two)).sum())
    units, n = aligned.units[possible], int(aligned.units.max()) + 1
    counts = np.bincount(units, minlength=n).astype(np.float64)
    sums = [np.bincount(units, -values[possible], n) for values in (one, two)]
    held = counts > 0
    d = paired_difference(sums[0][held], counts[held], sums[1][held], counts[held], level=LEVEL)
    text = ""
    if n_impossible[0] != n_impossible[1]:
        side = "second" if n_impossible[1] > n_impossible[0] else "first"
        text = (
            f"infinite: {n_impossible[0]} and {n_impossible[1]} of {one.size} real tokens have no mass in the first and in the second run, most in the "
            f"{side}; the number is over tokens possible in both"
        )
    total = counts.sum()
    return (
        _of_paired(
            Quantity("loss", "loss_nats_per_token", "Loss on real text", "nats/token", False, sums[1], counts),
            float(sums[0].sum() / total),
            float(sums[1].sum() / total),
            d,
            method="token by token on the same documents, document-clustered t interval",
            primary=True,
            text=text,
        ),
        n_impossible,
    )


def loss_by_position(
    first: Evidence, second: Evidence, aligned: Alignment
) -> tuple[Float[np.ndarray, " tokens"], Alignment]:
    """Loss of the second minus the first at every token possible in both, with the alignment of those tokens."""
    one = first.records.tokens["log_prob_nats"][aligned.first]
    two = second.records.tokens["log_prob_nats"][aligned.second]
    kept = np.isfinite(one) & np.isfinite(two)
    at = (aligned.first[kept], aligned.second[kept], aligned.units[kept], aligned.position[kept])
    return np.asarray(one[kept] - two[kept]), Alignment(*at, aligned.n_documents, aligned.n_other_tokens)


def _without_empty_interval(d: Difference, same: SameRecords) -> Difference:
    """No interval and no test where nothing can vary: the same records, or one value in every resample."""
    identical = same.of(own_text=d.own_text, detectors=d.finding == "detectability")
    if d.value == 0.0 and identical:
        nothing = dict.fromkeys(("low", "high", "p_value", "smallest_detectable"))
        said = "the same records in both runs: zero by identity"
        return replace(d, **nothing, text=said, identical=True, degenerate=False)  # type: ignore[arg-type]
    if d.degenerate:
        # that all documents agree on a sign is a test (2^(1-n)); that all resamples agree is none
        p_value = d.p_value if d.value and d.finding != "detectability" else None
        said = (
            d.text
            or f"the same in every {'resample of the documents' if d.finding == 'detectability' else 'document'}: no interval"
        )
        return replace(d, low=None, high=None, p_value=p_value, smallest_detectable=None, text=said)
    return d


# ---- the horizon -------------------------------------------------------------------------------------------------------


def _horizon(curves: JointCurves | None, k: int, level_auc: float = 0.75) -> Difference | None:
    if curves is None:
        return None
    found = curves.difference(0, k)[level_auc]
    both = [curves.horizon(i, level_auc).estimate for i in (0, k)]
    text = ""
    if any(map(outside, both)):
        words = [outside(h) or f"{h.tokens:.0f}" for h in both]
        text = f"{words[0]} and {words[1]} tokens; what lies beyond the lengths measured counts as their end"
    label = f"Free-run horizon H{round(100 * level_auc)}"
    how = "detectors as fitted in each run, test documents resampled together, percentiles; held within the lengths measured"
    return _of_bootstrap(
        f"h{round(100 * level_auc)}", label, "tokens", found, how, primary=level_auc == 0.75, text=text
    )


def _of_bootstrap(
    name: str, label: str, unit: str, d: BootstrapDifference, how: str, *, primary: bool = False, text: str = ""
) -> Difference:
    beyond = max(d.beyond_a, d.beyond_b)
    tail = (1.0 - d.level) / 2.0
    return Difference(
        "detectability",
        name,
        label,
        unit,
        d.a,
        d.b,
        d.value,
        d.low if d.beyond_a <= tail else None,
        d.high if d.beyond_b <= tail else None,
        d.level,
        d.n,
        d.p_value,
        None,
        smallest_detectable_difference(d.standard_error, d.n) if beyond <= CENSORED and d.standard_error > 0 else None,
        how,
        primary,
        True,
        text,
        degenerate=d.degenerate,
    )


# ---- every other finding -----------------------------------------------------------------------------------------------


def _rest(
    first: Evidence,
    second: Evidence,
    ours: Sequence[Quantity],
    theirs: Sequence[Quantity],
    aligned: Alignment,
    curves: JointCurves | None,
    k: int,
) -> list[Difference]:
    out: list[Difference] = []
    if curves is not None:
        others = (_horizon(curves, k, level) for level in LEVELS if level != 0.75)
        out += [other for other in others if other is not None]
        longest = int(curves.lengths[-1])
        how = "detectors as fitted in each run, test documents resampled together, percentiles"
        out.append(_of_bootstrap("auc_last", f"AUC at {longest} tokens", "AUC", curves.auc_difference(0, k), how))
    named = {(q.finding, q.name): q for q in theirs}
    left_out = OF_POSSIBLE_TOKENS if any(map(has_impossible_tokens, (first, second))) else ()
    for q in ours:
        other = named.get((q.finding, q.name))
        if other is None or q.name in left_out or (q.name == "loss_nats_per_token" and aligned.first.size):
            continue
        columns = _together([(unit_names(first), q), (unit_names(second), other)])
        try:
            d = paired_difference(columns[0][0], columns[0][1], columns[1][0], columns[1][1], level=LEVEL)
        except TooFewDocuments:
            continue
        a, b = (float(tops.sum() / bottoms.sum()) for tops, bottoms in columns)
        nothing = not any(tops.any() for tops, _ in columns)
        out.append(_not_seen(q, d.n) if nothing else _of_paired(q, a, b, d))
    return out


def _together(
    sides: Sequence[tuple[list[str], Quantity]],
) -> list[tuple[Float[np.ndarray, " units"], Float[np.ndarray, " units"]]]:
    """Each run's sums on the units that all have; on all units, zeros where a run lacks one, if they share fewer than two."""
    held = [{name for name, b in zip(names, q.bottoms, strict=True) if b > 0} for names, q in sides]
    shared = set.intersection(*held)
    known = sorted(shared if len(shared) >= 2 else set.union(*held))
    out = []
    for names, q in sides:
        at = {name: i for i, name in enumerate(names)}
        index = np.array([at.get(name, -1) for name in known])
        out.append(tuple(np.where(index >= 0, column[index], 0.0) for column in (q.tops, q.bottoms)))
    return out  # type: ignore[return-value]


def _not_seen(q: Quantity, n: int) -> Difference:
    """What no document of either run shows: an interval of no width would say too much, so there is none."""
    text = "not seen in any document of either run: no interval and no test"
    return Difference(
        q.finding, q.name, q.label, q.unit, 0.0, 0.0, 0.0, None, None, LEVEL, n, None, None, None, _PAIRED, False, q.own_text, text
    )  # fmt: skip


def _of_paired(
    q: Quantity,
    a: float | None,
    b: float | None,
    d: PairedDifference,
    *,
    method: str = _PAIRED,
    primary: bool = False,
    text: str = "",
) -> Difference:
    return Difference(
        q.finding,
        q.name,
        q.label,
        q.unit,
        a,
        b,
        d.value,
        d.low,
        d.high,
        d.level,
        d.n,
        d.p_value,
        None,
        d.smallest_detectable or None,
        method,
        primary,
        q.own_text,
        text,
        degenerate=d.degenerate,
    )


# ---- own text against own text ----------------------------------------------------------------------------------------


def _direct(first: Evidence, second: Evidence) -> Detection | None:
    """Tell the second run's own text from the first's; None where texts are not readable or pairs are too few.

    Of the first run replicate 0, of the second replicate 1 where there is one: the same draws would couple the texts.
    """
    if is_redacted(first.records) or is_redacted(second.records):
        return None
    panels = first.panel, second.panel
    length = min(p.length for p in panels)
    units = [
        {str(u): i for i, u in enumerate(e.records.sequences["unit"][p.real])}
        for e, p in zip((first, second), panels, strict=True)
    ]
    shared = [u for u in units[0] if u in units[1]]
    at = [np.array([u[name] for name in shared], np.int64) for u in units]
    if not shared:
        return None
    train = panels[0].train[at[0]]
    rows = [panels[0].free[at[0], 0], panels[1].free[at[1], min(1, panels[1].free.shape[1] - 1)]]
    texts = [text for e, side in zip((first, second), rows, strict=True) for text in PlainText(e).texts(side, length)]
    try:
        grams = byte_ngram_features(texts, np.concatenate([train, train]))
        n = len(shared)
        rng = statistics_rng(first, "compare/direct")
        return detect(grams[:n], grams[n:][:, None, :], train=train, rng=rng)
    except TooFewDocuments:
        return None


# ---- more than two -----------------------------------------------------------------------------------------------------


def _trends(
    evidences: Sequence[Evidence], values: Sequence[Sequence[Quantity]], x: Sequence[float] | None
) -> list[Difference]:
    """The least-squares slope over runs of every quantity that all have, with what a document does in all runs kept together."""
    weights = slope_weights(np.asarray(range(len(evidences)) if x is None else x, np.float64))
    named = [{(q.finding, q.name): q for q in each} for each in values]
    left_out = OF_POSSIBLE_TOKENS if any(map(has_impossible_tokens, evidences)) else ()
    pairs = [same_records(evidences[0], e) for e in evidences[1:]]
    same = SameRecords(*(all(getattr(s, part) for s in pairs) for part in ("real", "free", "all_documents")))
    out = []
    for key, q in named[0].items():
        if not all(key in each for each in named) or q.name in left_out:
            continue
        columns = _together([(unit_names(e), each[key]) for e, each in zip(evidences, named, strict=True)])
        tops, bottoms = (np.stack([c[i] for c in columns]) for i in (0, 1))
        try:
            d = contrast_of_ratios(tops, bottoms, weights, level=LEVEL)
        except TooFewDocuments:
            continue
        if not tops.any():
            continue
        first, last = (float(tops[i].sum() / bottoms[i].sum()) for i in (0, -1))
        how = "least-squares slope over runs, document-clustered linearised t interval"
        out.append(_without_empty_interval(_of_paired(q, first, last, d, method=how), same))
    return out


def _adjusted(families: list[tuple[Difference, ...]]) -> list[tuple[Difference, ...]]:
    """Holm over everything primary, Benjamini & Yekutieli over all else, across pairs and trends together."""
    flat = [d for family in families for d in family]
    adjusted: dict[int, float] = {}
    for chosen, adjust in ((True, holm), (False, benjamini_yekutieli)):
        at = [i for i, d in enumerate(flat) if d.primary is chosen and d.p_value is not None]
        if at:
            p = adjust(np.array([flat[i].p_value for i in at], np.float64))
            adjusted |= dict(zip(at, p.tolist(), strict=True))
    done = iter(replace(d, adjusted_p=adjusted.get(i)) for i, d in enumerate(flat))
    return [tuple(next(done) for _ in family) for family in families]
