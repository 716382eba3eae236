"""From which length on can its text be told from real text?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import TooFewDocuments
from freerun.findings.evidence import Evidence, lengths_up_to, statistics_rng
from freerun.findings.finding import Chart, Estimate, Finding, Series, Table
from freerun.stats.detectability import Detection, NullBand, detect, null_band, paired_control
from freerun.stats.horizon import HorizonResult, auc_draws, horizon, horizon_bootstrap
from freerun.stats.likelihood_features import likelihood_features

N_SPLITS = 200
LEVELS = (0.60, 0.75, 0.90)
MIN_PAIRS = 16


@dataclass(frozen=True)
class Curve:
    """One comparison at every length, and where it crosses the levels."""

    detections: tuple[Detection, ...]
    horizons: dict[float, HorizonResult]


@dataclass(frozen=True)
class Comparison:
    """Everything that the detectability finding, the verdict and the yardsticks read."""

    lengths: Int[np.ndarray, " lengths"]
    main: Curve
    half_train: float | None
    """H75 when the detector is fitted on half the training documents; inf: not reached."""
    tempered: Curve | None
    """Own text at t=1 against own text at the control temperature."""
    real_tempered: Curve | None
    own_pair: tuple[Detection, ...]
    """Continuation 0 against continuation 1 of the same prefixes."""
    real_bands: tuple[NullBand, ...]
    own_bands: tuple[NullBand, ...]
    test_scores: Float[np.ndarray, "test reps"]
    """Detector scores of free texts at the last length (higher: less like real text), for choosing examples."""
    test_pairs: Int[np.ndarray, " test"]
    n_pairs: int
    n_dropped: int


def compare(evidence: Evidence) -> Comparison:
    """Run every comparison of the audit.

    Raises:
        TooFewDocuments: fewer than 16 pairs reach the last length.
    """
    panel = evidence.panel
    if panel.n_pairs < MIN_PAIRS or min(panel.train.sum(), (~panel.train).sum()) < MIN_PAIRS // 4:
        raise TooFewDocuments(
            f"only {panel.n_pairs} pairs reach the last token on both sides ({panel.n_dropped} ended before); at least {MIN_PAIRS} are "
            "needed: take a smaller --tokens or more --documents"
        )
    lengths = lengths_up_to(evidence.length)
    real, free0, free1 = (panel.columns(s) for s in (panel.real, panel.free[:, 0], panel.free[:, -1]))
    held = panel.tempered >= 0
    control = panel.columns(panel.tempered[held]) if held.sum() >= MIN_PAIRS else None
    main, pairs, cold, warm, real_bands, own_bands = [], [], [], [], [], []
    for n in lengths:
        rng = statistics_rng(evidence, f"detect/{n}")
        x_real, _ = likelihood_features(real, length=int(n))
        x_free = np.stack([likelihood_features(c, length=int(n))[0] for c in (free0, free1)], axis=1)
        found = detect(x_real, x_free, train=panel.train, rng=rng, tv_level=1 - 0.05 / len(lengths))
        main.append(found)
        pairs.append(paired_control(x_free[:, 0], x_free[:, 1], train=panel.train, rng=rng))
        real_bands.append(null_band(x_real, train=panel.train, n_splits=N_SPLITS, penalty=found.penalty, rng=rng))
        own_bands.append(null_band(x_free[:, 0], train=panel.train, n_splits=N_SPLITS, penalty=found.penalty, rng=rng))
        if control is not None:
            x_cold, _ = likelihood_features(control, length=int(n))
            train = panel.train[held]
            cold.append(detect(x_free[held, 0], x_cold[:, None], train=train, rng=rng))
            warm.append(detect(x_real[held], x_cold[:, None], train=train, rng=rng))
    rng = statistics_rng(evidence, "horizon")
    return Comparison(
        lengths=lengths,
        main=_curve(lengths, main, rng),
        half_train=_half_train(lengths, main),
        tempered=_curve(lengths, cold, rng) if cold else None,
        real_tempered=_curve(lengths, warm, rng) if warm else None,
        own_pair=tuple(pairs),
        real_bands=tuple(real_bands),
        own_bands=tuple(own_bands),
        test_scores=main[-1].scores_free,
        test_pairs=np.flatnonzero(~panel.train),
        n_pairs=panel.n_pairs,
        n_dropped=panel.n_dropped,
    )


def detectability(evidence: Evidence, found: Comparison) -> Finding:
    """The finding of a comparison: AUC by length with its controls, and the free-run horizon."""
    h75 = found.main.horizons[0.75]
    last = found.main.detections[-1]
    longest = int(found.lengths[-1])
    n_train, n_test = last.n_train, last.n_test
    inside = _rejections(found)
    detected = last.p_value < 0.01
    tv = max(d.tv_low for d in found.main.detections)
    told = (
        f"A detector tells its text from real text with AUC {last.auc.value:.2f} ({last.auc.low:.2f} to {last.auc.high:.2f}) at "
        f"{longest} tokens; it reaches 0.75 {spoken(h75, longest)}."
        if detected
        else f"No difference was found up to {longest} tokens at this n (AUC {last.auc.value:.2f}, {last.auc.low:.2f} to {last.auc.high:.2f})."
    )
    how = "ridge logistic regression on likelihood features, penalty by cross-fitting inside the training half; AUC on the test half"
    estimates = [
        horizon_estimate(f"h{round(level * 100)}", f"H{round(level * 100)}", h, longest, n_test, how)
        for level, h in found.main.horizons.items()
    ]
    estimates.append(
        Estimate(
            "h75_half_train",
            "H75 with half the training documents",
            None if found.half_train in (None, float("inf")) else found.half_train,
            "tokens",
            n=n_train // 2,
            method="mean over 4 random halves; more documents train a better detector",
            text=f"> {longest}" if found.half_train == float("inf") else "",
        )
    )
    estimates.append(
        Estimate(
            "auc_last",
            f"AUC at {longest} tokens",
            last.auc.value,
            "AUC",
            last.auc.low,
            last.auc.high,
            last.auc.level,
            n_test,
            "document",
            f"{how}; bootstrap over test documents",
        )
    )
    estimates.append(
        Estimate(
            "tv_lower",
            "Total variation, proven at least",
            tv,
            "TV",
            low=tv,
            high=1.0,
            n=n_test,
            level=0.95,
            method="CP_low(TPR) − CP_up(FPR), threshold from training; largest over lengths, simultaneous (Bonferroni)",
        )
    )
    return Finding(
        name="detectability",
        question="From which length on can its text be told from real text?",
        sentence=told,
        status="bad" if detected else "neutral",
        estimates=tuple(estimates),
        charts=(_chart(evidence, found),),
        tables=(_controls(evidence, found),),
        licence=(
            f"Unit: the document, one pair each; {n_train} train, {n_test} test, split by document. Everything is chosen on the training "
            "half. Intervals: bootstrap over test documents with the detector as fitted, pointwise 95%. Null of the p-value: real and "
            "generated may change places given the prefix."
        ),
        notes=(
            f"{found.n_dropped} pairs were left out because a free continuation ended before token {longest}; both sides are whole in all others.",
            inside,
            "A longer text is never harder to tell apart: the horizon is read off an isotonic fit in length, linear in log length.",
        ),
    )


def spoken(h: HorizonResult, longest: int) -> str:
    """A horizon in words."""
    if h.side == "above":
        return f"at no length up to {longest} tokens"
    if h.side == "below":
        return "already at the first token"
    low = "1" if h.low is None else f"{h.low:.0f}"
    high = f"beyond {longest}" if h.high is None else f"{h.high:.0f}"
    return f"at about {h.value:.0f} tokens (95% interval {low} to {high})"


def horizon_estimate(name: str, label: str, h: HorizonResult, longest: int, n: int, how: str) -> Estimate:
    """A horizon as an estimate; `text` where it lies outside the lengths."""
    text = {"above": f"> {longest}", "below": "< 1", "inside": ""}[h.side]
    low = (
        None if h.low is not None and h.low >= longest else h.low
    )  # reached in no resample: the interval says nothing more
    return Estimate(
        name, label, h.value, "tokens", low, h.high, h.level, n, "document", f"{how}; isotonic in length", text
    )


def _curve(lengths: Int[np.ndarray, " lengths"], detections: list[Detection], rng: np.random.Generator) -> Curve:
    aucs = np.array([d.auc.value for d in detections])
    draws = auc_draws([d.scores_real for d in detections], [d.scores_free for d in detections], rng=rng)
    return Curve(
        tuple(detections), {level: horizon_bootstrap(lengths, draws, aucs, level_auc=level) for level in LEVELS}
    )


def _half_train(lengths: Int[np.ndarray, " lengths"], detections: list[Detection]) -> float | None:
    halves = [d.auc_half_train for d in detections]
    if any(h is None for h in halves):
        return None
    found = horizon(lengths, np.array(halves, np.float64), level_auc=0.75)
    return {"above": float("inf"), "below": 1.0}.get(found.side, found.value)


def _chart(evidence: Evidence, found: Comparison) -> Chart:
    temperature = f"{evidence.plan['control_temperature']:g}"
    series = [
        _line("own text against real text", "free", found.main.detections),
        Series(
            "real against real (95% of random halves)",
            "real",
            tuple(b.mean for b in found.real_bands),
            tuple(b.low for b in found.real_bands),
            tuple(b.high for b in found.real_bands),
            band_only=True,
        ),
        Series(
            "own against own (95% of random halves)",
            "control",
            tuple(b.mean for b in found.own_bands),
            tuple(b.low for b in found.own_bands),
            tuple(b.high for b in found.own_bands),
            band_only=True,
        ),
    ]
    if found.tempered is not None:
        series.append(
            _line(f"own at t = {temperature} against own at t = 1", "tempered", found.tempered.detections, band=False)
        )
    return Chart(
        name="auc_by_length",
        title="How well its text is told from real text, by length",
        x_label="tokens after the cut",
        y_label="AUC on test documents",
        x=tuple(float(n) for n in found.lengths),
        x_scale="log2",
        y_range=(0.2, 1.0),
        levels=((0.5, "chance"), (0.75, "H75")),
        series=tuple(series),
        caption="The shaded bands are the controls: text of one kind against itself, 200 random halves. Inside them nothing is seen. "
        "The control temperature shows what a small known defect looks like at this n.",
    )


def _line(name: str, role: str, detections: tuple[Detection, ...], *, band: bool = True) -> Series:
    values = tuple(d.auc.value for d in detections)
    if not band:
        return Series(name, role, values)
    return Series(name, role, values, tuple(d.auc.low for d in detections), tuple(d.auc.high for d in detections))


def _controls(evidence: Evidence, found: Comparison) -> Table:
    rows = []
    for i, n in enumerate(found.lengths):
        d, r, o, p = found.main.detections[i], found.real_bands[i], found.own_bands[i], found.own_pair[i]
        cold = found.tempered.detections[i] if found.tempered is not None else None
        rows.append(
            (
                str(int(n)),
                f"{d.auc.value:.3f} ({d.auc.low:.3f} to {d.auc.high:.3f})",
                _p(d.p_value),
                f"{d.tv_low:.2f}",
                f"{p.auc.value:.3f} (p {_p(p.p_value)})",
                f"{r.low:.2f} to {r.high:.2f}; {r.rejection_share:.1%}",
                f"{o.low:.2f} to {o.high:.2f}; {o.rejection_share:.1%}",
                "–" if cold is None else f"{cold.auc.value:.3f} (p {_p(cold.p_value)})",
            )
        )
    return Table(
        "controls",
        "Every length, with its controls",
        (
            "tokens",
            "AUC (95%)",
            "p",
            "TV ≥",
            "own twice, same prefixes",
            "real halves: band; rejected at 5%",
            "own halves: band; rejected at 5%",
            f"own t = {evidence.plan['control_temperature']:g} against t = 1",
        ),
        tuple(rows),
    )


def _rejections(found: Comparison) -> str:
    shares = [b.rejection_share for b in (*found.real_bands, *found.own_bands)]
    twice = min(p.p_value for p in found.own_pair)
    n = len(found.own_pair)
    verdict = "as it must be" if twice > 0.05 / n else "which should not happen: mistrust the detector"
    return (
        f"Controls: halves of one kind of text are rejected at 5% in {min(shares):.1%} to {max(shares):.1%} of {N_SPLITS} splits; two "
        f"continuations of the same prefixes differ with smallest p {_p(twice)} over {n} lengths, {verdict}."
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 1e-3 else f"{p:.3f}"
