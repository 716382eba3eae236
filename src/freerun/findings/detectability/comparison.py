"""Every comparison of an audit at every length: detectors of three kinds, their controls, and what else tells how far they can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.detectability.copying import Copying, copying
from freerun.findings.detectability.quantities import HORIZONS
from freerun.findings.evidence import MIN_PAIRS, Evidence, lengths_up_to, statistics_rng
from freerun.findings.plain_text import PlainText
from freerun.stats.detection.betting import Wealth, betting_wealth
from freerun.stats.detection.curve import AucCurve
from freerun.stats.detection.horizon import HorizonResult, horizon
from freerun.stats.detection.likelihood_features import length_features, likelihood_features
from freerun.stats.detection.text_features import byte_ngram_features
from freerun.stats.detection.two_sample import (
    Detection,
    NullBand,
    Scores,
    judge,
    null_band,
    score,
    smallest_detectable_auc,
)
from freerun.stats.multiplicity import holm

N_SPLITS = 200
ALPHA = 0.01
"""Level of `detected`: Holm over detectors and lengths."""


@dataclass(frozen=True)
class DetectorKind:
    """What a detector reads."""

    label: str
    needs_text: bool = False
    own_lengths: bool = False
    """Has something to read only where texts are of their own length."""


KINDS = {
    "laws": DetectorKind("likelihood features"),
    "text": DetectorKind("byte n-grams", needs_text=True),
    "both": DetectorKind("both", needs_text=True),
    "length": DetectorKind("length alone", own_lengths=True),
}
"""`both` adds the log odds of the two others: it is the detector of every headline, at all lengths."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one kind at one length: real text, its generated continuations, and the control where there is one."""

    real: Float[np.ndarray, "pairs d"]
    free: Float[np.ndarray, "pairs reps d"]
    control: Float[np.ndarray, "controlled d"] | None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Curve:
    """One comparison at every length, and where it crosses the levels."""

    detections: tuple[Detection, ...]
    aucs: AucCurve

    @cached_property
    def horizons(self) -> dict[float, HorizonResult]:
        """Where it reaches each level of the AUC."""
        return {level: self.aucs.horizon(level) for level in HORIZONS}


@dataclass(frozen=True)
class Comparison:
    """Everything that the detectability finding, the verdict and the yardsticks read."""

    lengths: Int[np.ndarray, " lengths"]
    main: Curve
    """By the detector that reads laws and text."""
    kinds: dict[str, tuple[Detection, ...]]
    half_train: float | None
    """H75 when the detector is fitted on half the training documents; inf: not reached."""
    tempered: Curve | None
    """Own text at t=1 against own text at the control temperature."""
    real_tempered: Curve | None
    own_pair: tuple[Detection, ...]
    """Continuation 0 against continuation 1 of the same prefixes."""
    real_bands: tuple[NullBand, ...]
    own_bands: tuple[NullBand, ...]
    adjusted_p: Float[np.ndarray, "kinds lengths"]
    """Holm over detectors and lengths."""
    wealth: Wealth
    own_wealth: Wealth
    smallest_auc: float
    """AUC at the last length that is detected with at least 80% power, all tests counted."""
    test_pairs: Int[np.ndarray, " test"]
    n_pairs: int
    n_dropped: int
    copied: Copying | None

    @property
    def longest(self) -> int:
        """The last length, tokens."""
        return int(self.lengths[-1])

    @property
    def last(self) -> Detection:
        """The main detector at the last length."""
        return self.main.detections[-1]

    @property
    def h75(self) -> HorizonResult:
        return self.main.horizons[0.75]

    @property
    def detected(self) -> bool:
        """Whether any detector at any length sees a difference, at level 0.01 of all of them together."""
        return bool(self.adjusted_p.min() < ALPHA)

    @property
    def controls_hold(self) -> bool:
        """Whether two continuations of the same prefixes are not told apart, all lengths counted at 5%."""
        return min(d.p_value for d in self.own_pair) > 0.05 / len(self.own_pair)

    @property
    def first_rejected(self) -> int | None:
        """The first length at which a test rejects at 5% (Holm over all)."""
        rejected = (self.adjusted_p < 0.05).any(axis=0)
        return int(self.lengths[rejected.argmax()]) if rejected.any() else None

    @property
    def tv_low(self) -> Float[np.ndarray, " lengths"]:
        """Lower band of the total variation: every length at 5%/lengths, then a running maximum. Valid at all lengths at once."""
        return np.maximum.accumulate([d.tv_low for d in self.main.detections])


def compared(evidence: Evidence) -> Comparison | TooFewDocuments:
    """Own text held against real text; ask for it by `evidence.once`."""
    try:
        return compare(evidence)
    except TooFewDocuments as error:
        return error


def compare(evidence: Evidence) -> Comparison:
    """Run every comparison of the audit.

    Raises:
        TooFewDocuments: fewer than 16 pairs reach the second token.
    """
    panel = evidence.panel
    if not panel.enough:
        raise TooFewDocuments(
            f"only {counted(panel.n_pairs, 'pair')}, and {MIN_PAIRS} are needed: take more --documents"
            if evidence.own_lengths
            else f"only {counted(panel.n_pairs, 'pair reaches', 'pairs reach')} the last token on both sides ({panel.n_dropped} ended before), and no other measured length "
            f"has the {MIN_PAIRS} that are needed: take more --documents"
        )
    lengths, train = lengths_up_to(panel.length), panel.train
    controlled = panel.tempered >= 0
    with_control = bool(controlled.sum() >= MIN_PAIRS)
    kinds: dict[str, list[Detection]] = {
        name: [] for name, kind in KINDS.items() if evidence.own_lengths or not kind.own_lengths
    }
    pairs, cold, warm = list[Detection](), list[Detection](), list[Detection]()
    real_bands, own_bands = list[NullBand](), list[NullBand]()
    for n in lengths:
        rng = statistics_rng(evidence, f"detect/{n}")
        blocks = features_at(evidence, int(n), controlled if with_control else None)
        scores = score_kinds(blocks, train, rng)
        if evidence.own_lengths:
            alone = lengths_at(evidence, int(n))
            scores["length"] = score(alone.real, alone.free, train=train, rng=rng)
        for kind, each in scores.items():
            kinds[kind].append(judge(each, rng=rng, tv_level=1 - 0.05 / len(lengths)))
        pairs.append(judge(_added([(x.free[:, 0], x.free[:, -1:]) for x in blocks.values()], train, rng), rng=rng))
        for bands, sides in (
            (real_bands, [x.real for x in blocks.values()]),
            (own_bands, [x.free[:, 0] for x in blocks.values()]),
        ):
            penalties = scores["both"].penalties
            bands.append(null_band(sides, train=train, penalties=penalties, n_splits=N_SPLITS, rng=rng))
        controls = [(x, x.control[:, None]) for x in blocks.values() if x.control is not None]
        if controls:
            for detections, against in (
                (cold, [(x.free[controlled, 0], control) for x, control in controls]),
                (warm, [(x.real[controlled], control) for x, control in controls]),
            ):
                detections.append(judge(_added(against, train[controlled], rng), rng=rng))
    units = evidence.records.sequences["unit"][panel.real].astype(str)
    main, adjusted = kinds["both"], holm(np.array([[d.p_value for d in each] for each in kinds.values()]))
    last = main[-1]
    return Comparison(
        lengths=lengths,
        main=curve_of(lengths, main, units, train),
        kinds={kind: tuple(by_length) for kind, by_length in kinds.items()},
        half_train=_half_train(lengths, main),
        tempered=curve_of(lengths, cold, units[controlled], train[controlled]) if cold else None,
        real_tempered=curve_of(lengths, warm, units[controlled], train[controlled]) if warm else None,
        own_pair=tuple(pairs),
        real_bands=tuple(real_bands),
        own_bands=tuple(own_bands),
        adjusted_p=adjusted,
        wealth=betting_wealth(last.scores_real, last.scores_free),
        own_wealth=betting_wealth(last.scores_free[:, 0], last.scores_free[:, -1:]),
        smallest_auc=smallest_detectable_auc(
            last.scores_real, last.scores_free, alpha=ALPHA / adjusted.size, power=0.8
        ),
        test_pairs=np.flatnonzero(~train),
        n_pairs=panel.n_pairs,
        n_dropped=panel.n_dropped,
        copied=copying(evidence),
    )


def score_kinds(
    blocks: Mapping[str, Features],
    train: Bool[np.ndarray, " pairs"],
    rng: np.random.Generator,
    rows: Int[np.ndarray, " pairs"] | slice = slice(None),
) -> dict[str, Scores]:
    """The scores of each kind of detector, and their sum; of some `rows` of the features, with one entry of `train` each."""
    scores = {kind: score(x.real[rows], x.free[rows], train=train, rng=rng) for kind, x in blocks.items()}
    return scores | {"both": reduce(add, scores.values())}


def curve_of(
    lengths: Int[np.ndarray, " lengths"],
    detections: Sequence[Detection],
    units: Shaped[np.ndarray, " pairs"],
    train: Bool[np.ndarray, " pairs"],
) -> Curve:
    """Detections at each length as a curve; `units` name the documents."""
    named = tuple(map(str, units[~train])), tuple(map(str, units[train]))
    return Curve(tuple(detections), AucCurve(lengths, tuple(d.spread for d in detections), *named))


def _added(
    sides: Sequence[tuple[Float[np.ndarray, "pairs d"], Float[np.ndarray, "pairs reps d"]]],
    train: Bool[np.ndarray, " pairs"],
    rng: np.random.Generator,
) -> Scores:
    """The log odds of a detector for each block of features, added."""
    return reduce(add, (score(*side, train=train, rng=rng) for side in sides))


def features_at(
    evidence: Evidence, n: int, controlled: Bool[np.ndarray, " pairs"] | None = None
) -> dict[str, Features]:
    """Features of the first `n` tokens, from laws and from text; `controlled`: the pairs whose control is whole.

    Where text is redacted the byte n-grams are one constant: a detector that sees nothing keeps its place among the tests.
    """
    panel = evidence.panel
    n_free = panel.free.shape[1]
    sides = [panel.real, *panel.free.T]
    train = [panel.train] * len(sides)
    if controlled is not None:
        sides.append(panel.tempered[controlled])
        train.append(np.zeros(sides[-1].size, bool))
    laws, names = zip(*(likelihood_features(panel.columns(side), length=n) for side in sides), strict=True)
    text = [np.zeros((side.size, 1)) for side in sides]
    if evidence.has_text:
        texts = evidence.once(PlainText).texts(np.concatenate(sides), n)
        text = np.split(byte_ngram_features(texts, np.concatenate(train)), np.cumsum([s.size for s in sides])[:-1])

    def bundle(x: list[np.ndarray], names: tuple[str, ...] = ()) -> Features:
        return Features(x[0], np.stack(x[1 : 1 + n_free], axis=1), None if controlled is None else x[-1], names)

    return {"laws": bundle(list(laws), names[0]), "text": bundle(text)}


def lengths_at(evidence: Evidence, n: int) -> Features:
    """What the length alone tells who reads at most `n` tokens."""
    panel = evidence.panel
    real, *free = (length_features(panel.stops(side), length=n) for side in (panel.real, *panel.free.T))
    return Features(real, np.stack(free, axis=1), None)


def _half_train(lengths: Int[np.ndarray, " lengths"], detections: Sequence[Detection]) -> float | None:
    halves = [d.auc_half_train for d in detections]
    if any(h is None for h in halves):
        return None
    place = horizon(lengths, np.array(halves, np.float64), level_auc=0.75)
    return float("inf") if place.where == "beyond" else place.tokens
