"""Every comparison of an audit at every length: detectors of three kinds, their controls, and what else tells how far they can be believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.detectability.copying import Copying, copying
from freerun.findings.detectability.quantities import HORIZONS
from freerun.findings.evidence import MIN_PAIRS, Evidence, lengths_up_to, statistics_rng
from freerun.findings.plain_text import PlainText
from freerun.stats.detection.betting import Wealth, betting_wealth
from freerun.stats.detection.growth import DetectionLaw, fit_detection_law
from freerun.stats.detection.horizon import HorizonResult, auc_draws, horizon, horizon_bootstrap
from freerun.stats.detection.likelihood_features import likelihood_features
from freerun.stats.detection.text_features import byte_ngram_features
from freerun.stats.detection.two_sample import Detection, NullBand, detect, null_band, smallest_detectable_auc
from freerun.stats.multiplicity import holm

N_SPLITS = 200
LEVELS = tuple(HORIZONS)
ALPHA = 0.01
"""Level of `detected`: Holm over detectors and lengths."""


@dataclass(frozen=True)
class DetectorKind:
    """What a detector reads."""

    label: str
    needs_text: bool = False


KINDS = {
    "laws": DetectorKind("likelihood features"),
    "text": DetectorKind("byte n-grams", needs_text=True),
    "both": DetectorKind("both", needs_text=True),
}


@dataclass(frozen=True)
class Features:
    """Features of one kind at one length: real text, its generated continuations, and the control where there is one."""

    real: Float[np.ndarray, "pairs d"]
    free: Float[np.ndarray, "pairs reps d"]
    control: Float[np.ndarray, "controlled d"] | None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """One comparison at every length, and where it crosses the levels."""

    detections: tuple[Detection, ...]
    horizons: dict[float, HorizonResult]
    draws: Float[np.ndarray, "resamples lengths"]


@dataclass(frozen=True)
class Comparison:
    """Everything that the detectability finding, the verdict and the yardsticks read."""

    lengths: Int[np.ndarray, " lengths"]
    main: Curve
    """At each length by the detector that was picked there, on training documents alone."""
    picked: tuple[str, ...]
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
    law: DetectionLaw | None
    smallest_auc: float
    """AUC at the last length that would be detected with 80% power."""
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
        """The picked detector at the last length."""
        return self.main.detections[-1]

    @property
    def h75(self) -> HorizonResult:
        return self.main.horizons[0.75]

    @property
    def detected(self) -> bool:
        """Whether any detector at any length sees a difference, at level 0.01 of all of them together."""
        return bool(self.adjusted_p.min() < ALPHA)

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
            f"only {counted(panel.n_pairs, 'pair reaches', 'pairs reach')} the last token on both sides ({panel.n_dropped} ended before), and no other measured length "
            f"has the {MIN_PAIRS} that are needed: take more --documents"
        )
    lengths, train = lengths_up_to(panel.length), panel.train
    controlled = panel.tempered >= 0
    with_control = bool(controlled.sum() >= MIN_PAIRS)
    kinds: dict[str, list[Detection]] = {kind: [] for kind in KINDS}
    picked, pairs = [], []
    cold, warm = list[Detection](), list[Detection]()
    real_bands, own_bands = list[NullBand](), list[NullBand]()
    for n in lengths:
        rng = statistics_rng(evidence, f"detect/{n}")
        features = features_at(evidence, int(n), controlled if with_control else None)
        for kind, x in features.items():
            kinds[kind].append(detect(x.real, x.free, train=train, rng=rng, tv_level=1 - 0.05 / len(lengths)))
        best = best_kind({kind: detections[-1] for kind, detections in kinds.items()})
        picked.append(best)
        x, penalty = features[best], kinds[best][-1].penalty
        pairs.append(detect(x.free[:, 0], x.free[:, -1:], train=train, rng=rng))
        for bands, side in ((real_bands, x.real), (own_bands, x.free[:, 0])):
            bands.append(null_band(side, train=train, n_splits=N_SPLITS, penalty=penalty, rng=rng))
        if x.control is not None:
            for detections, side in ((cold, x.free[controlled, 0]), (warm, x.real[controlled])):
                detections.append(detect(side, x.control[:, None], train=train[controlled], rng=rng))
    rng = statistics_rng(evidence, "horizon")
    main = [kinds[kind][i] for i, kind in enumerate(picked)]
    curve, last = _curve(lengths, main, rng), main[-1]
    return Comparison(
        lengths=lengths,
        main=curve,
        picked=tuple(picked),
        kinds={kind: tuple(by_length) for kind, by_length in kinds.items()},
        half_train=_half_train(lengths, main),
        tempered=_curve(lengths, cold, rng) if cold else None,
        real_tempered=_curve(lengths, warm, rng) if warm else None,
        own_pair=tuple(pairs),
        real_bands=tuple(real_bands),
        own_bands=tuple(own_bands),
        adjusted_p=holm(np.array([[d.p_value for d in by_length] for by_length in kinds.values()])),
        wealth=betting_wealth(last.scores_real, last.scores_free),
        own_wealth=betting_wealth(last.scores_free[:, 0], last.scores_free[:, -1:]),
        law=fit_detection_law(lengths, np.array([d.auc.value for d in main]), curve.draws, n_units=last.n_test),
        smallest_auc=smallest_detectable_auc(last.scores_real, last.scores_free, alpha=ALPHA, power=0.8),
        test_pairs=np.flatnonzero(~train),
        n_pairs=panel.n_pairs,
        n_dropped=panel.n_dropped,
        copied=copying(evidence),
    )


def best_kind(detections: Mapping[str, Detection]) -> str:
    """The kind that tells most on training documents, likelihood features where several do."""
    return max(detections, key=lambda kind: (detections[kind].auc_train, kind == "laws"))


def features_at(
    evidence: Evidence, n: int, controlled: Bool[np.ndarray, " pairs"] | None = None
) -> dict[str, Features]:
    """Features of every kind of the first `n` tokens; `controlled`: the pairs whose control is whole.

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

    both = [np.hstack(pair) for pair in zip(laws, text, strict=True)]
    return {"laws": bundle(list(laws), names[0]), "text": bundle(text), "both": bundle(both)}


def _curve(lengths: Int[np.ndarray, " lengths"], detections: list[Detection], rng: np.random.Generator) -> Curve:
    aucs = np.array([d.auc.value for d in detections])
    draws = auc_draws([d.scores_real for d in detections], [d.scores_free for d in detections], rng=rng)
    horizons = {
        level: horizon_bootstrap(lengths, draws, aucs, level_auc=level, n_units=detections[0].n_test)
        for level in LEVELS
    }
    return Curve(tuple(detections), horizons, draws)


def _half_train(lengths: Int[np.ndarray, " lengths"], detections: list[Detection]) -> float | None:
    halves = [d.auc_half_train for d in detections]
    if any(h is None for h in halves):
        return None
    place = horizon(lengths, np.array(halves, np.float64), level_auc=0.75)
    return float("inf") if place.where == "beyond" else place.tokens
