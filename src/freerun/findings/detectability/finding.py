"""From which length on can its text be told from real text?"""

from __future__ import annotations

import math

from freerun.counted import counted
from freerun.findings.detectability.comparison import ALPHA, KINDS, N_SPLITS, Comparison
from freerun.findings.detectability.giveaways import giveaways
from freerun.findings.detectability.leaks import leaks
from freerun.findings.evidence import MIN_PAIRS, Evidence
from freerun.results.finding import Chart, Estimate, Finding, Series, Table
from freerun.results.horizons import Ends, ends_of, outside, spoken
from freerun.stats.detection.horizon import HorizonResult
from freerun.stats.detection.two_sample import Detection

QUESTION = "From which length on can its text be told from real text?"


def detectability(evidence: Evidence, found: Comparison) -> Finding:
    """The finding of a comparison: AUC by length with its controls, and the free-run horizon."""
    h75 = found.main.horizons[0.75]
    last = found.main.detections[-1]
    longest = int(found.lengths[-1])
    n_train, n_test = last.n_train, last.n_test
    measured = f"AUC {last.auc.value:.2f} ({last.auc.low:.2f} to {last.auc.high:.2f})"
    if found.detected:
        told = f"A detector tells its text from real text with {measured} at {longest} tokens; it reaches 0.75 {spoken(h75)}."
    else:
        told = (
            f"No difference was found up to {longest} tokens at this n ({measured}); an AUC of {found.smallest_auc:.2f} would have been "
            "found with 80% power."
        )
    return Finding(
        name="detectability",
        question=QUESTION,
        sentence=told,
        status="bad" if found.detected else "neutral",
        estimates=_estimates(found, longest),
        charts=(_chart(evidence, found), _tv_chart(found), _wealth_chart(found)),
        tables=(_controls(evidence, found), _battery(found), giveaways(evidence, found), leaks(evidence, found)),
        licence=(
            f"Unit: the document, one pair each; {n_train} train, {n_test} test, split by document. Everything is chosen on the training "
            "half. Intervals: bootstrap over test documents with the detector as fitted, pointwise 95%. Null of the p-values: real and "
            f"generated may change places given the prefix. Detected: some detector at some length, Holm at {ALPHA:g} over all."
        ),
        notes=(
            f"{counted(found.n_dropped, 'pair was', 'pairs were')} left out because a free continuation ended before token {longest}; both sides are whole in all others.",
            *_shorter(evidence),
            _rejections(found),
            *(
                [
                    f"{counted(evidence.panel.n_beyond, 'further pair was', 'further pairs were')} not needed: detectors read at most {evidence.panel.n_pairs}."
                ]
                if evidence.panel.n_beyond
                else []
            ),
            _law_note(found),
            "A longer text is never harder to tell apart: the horizon is read off an isotonic fit in length, linear in log length.",
        ),
    )


def _shorter(evidence: Evidence) -> tuple[str, ...]:
    """Why the curve ends before the texts do."""
    whole, panel = evidence.whole_panel, evidence.panel
    if panel.length == evidence.length:
        return ()
    return (
        f"The curve ends at token {panel.length}: only {whole.n_pairs} of {whole.n_pairs + whole.n_dropped} pairs reach token {evidence.length}, and "
        f"a detector needs {MIN_PAIRS}. {panel.length} is the longest measured length that enough of them reach; more --documents take it on.",
    )


def _estimates(found: Comparison, longest: int) -> tuple[Estimate, ...]:
    last = found.main.detections[-1]
    n_train, n_test = last.n_train, last.n_test
    how = (
        "ridge logistic regression on likelihood features, byte n-grams or both, picked at each length by cross-fitting inside the "
        "training half; AUC on the test half"
    )
    estimates = [
        horizon_estimate(f"h{round(level * 100)}", f"H{round(level * 100)}", h, ends_of(h, found.lengths), n_test, how)
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
    first = found.first_rejected
    estimates.append(
        Estimate(
            "first_rejected",
            "First length at which a test rejects",
            None if first is None else float(first[0]),
            "tokens",
            n=n_test,
            level=0.95,
            method="swaps within documents; Holm over detectors × lengths at 5%",
            text="none" if first is None else "",
        )
    )
    auc = last.auc
    estimates += [
        Estimate(
            "auc_last",
            f"AUC at {longest} tokens",
            auc.value,
            "AUC",
            auc.low,
            auc.high,
            auc.level,
            n_test,
            "document",
            f"{how}; bootstrap over test documents",
        ),
        Estimate(
            "smallest_auc",
            "Smallest AUC that would be found with 80% power",
            found.smallest_auc,
            "AUC",
            n=n_test,
            method=f"one test at {ALPHA:g}: exact null spread under swaps, normal law",
        ),
        Estimate(
            "tv_lower",
            "Total variation, proven at least",
            float(found.tv_low[-1]),
            "TV",
            low=float(found.tv_low[-1]),
            high=1.0,
            n=n_test,
            level=0.95,
            method="CP_low(TPR) − CP_up(FPR), threshold from training; running maximum over lengths, simultaneous (Bonferroni)",
        ),
        Estimate(
            "bets_until_rejection",
            "Test documents until a bet rejects",
            None if found.wealth.rejected_after is None else float(found.wealth.rejected_after),
            "documents",
            n=n_test,
            level=1 - found.wealth.alpha,
            method=f"betting on pairs at {longest} tokens, wealth ≥ {1 / found.wealth.alpha:g}; valid at any stopping time",
            text="not reached" if found.wealth.rejected_after is None else "",
        ),
    ]
    if found.law is not None:
        law, how = found.law, "Φ⁻¹(AUC) against length, least squares weighted by the joint bootstrap of documents"
        estimates += [
            Estimate(
                "kappa",
                "κ of AUC = Φ(√(κT))",
                law.kappa.value,
                "per token",
                law.kappa.low,
                law.kappa.high,
                law.kappa.level,
                n_test,
                "document",
                f"{how}; nats a token only for a Gaussian likelihood ratio",
            ),
            Estimate(
                "exponent",
                "Exponent of growth (½ under the law)",
                law.exponent.value,
                "power of T",
                law.exponent.low,
                law.exponent.high,
                law.exponent.level,
                n_test,
                "document",
                f"{how}; bootstrap percentiles",
            ),
            Estimate("law_fit_p", "Fit of that law, p", law.p_value, "p-value", n=n_test, method="χ² of the residuals"),
        ]
    return tuple(estimates)


def horizon_estimate(name: str, label: str, h: HorizonResult, ends: Ends, n: int, how: str) -> Estimate:
    """A horizon as an estimate; `text` where it lies outside the lengths."""
    low = None if h.low.where == "beyond" else h.low_tokens  # beyond the lengths: no number, see `ends`
    high = h.high_tokens
    return Estimate(
        name,
        label,
        h.value,
        "tokens",
        low,
        high,
        h.level,
        n,
        "document",
        f"{how}; isotonic in length",
        outside(h.estimate),
        ends=ends,
    )


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
    if found.law is not None:
        series.append(Series("fitted law Φ(√(κT))", "reference", tuple(found.law.auc(found.lengths).tolist())))
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


def _tv_chart(found: Comparison) -> Chart:
    return Chart(
        name="tv_by_length",
        title="Total variation proven by the detector, by length",
        x_label="tokens after the cut",
        y_label="total variation, at least",
        x=tuple(float(n) for n in found.lengths),
        x_scale="log2",
        y_range=(0.0, 1.0),
        series=(Series("own text against real text", "free", tuple(found.tv_low.tolist())),),
        caption="A lower band, valid at all lengths at once with 95% confidence: Clopper–Pearson at 5%/lengths each, then the running "
        "maximum, since a longer text is never harder to tell apart.",
    )


def _wealth_chart(found: Comparison) -> Chart:
    n = len(found.wealth.log_wealth)
    return Chart(
        name="wealth",
        title=f"Evidence as test documents come in, at {int(found.lengths[-1])} tokens",
        x_label="test documents seen",
        y_label="log₁₀ of the bettor's wealth",
        x=tuple(float(i) for i in range(n + 1)),
        series=(
            Series("own text against real text", "free", _tens(found.wealth.log_wealth.tolist())),
            Series("its own text against its own", "control", _tens(found.own_wealth.log_wealth.tolist())),
        ),
        levels=((math.log10(1 / found.wealth.alpha), "reject at 5%, whenever reached"),),
        caption="A bet on which of two continuations the detector scores higher, at even odds. If there is no difference the wealth ever "
        "reaches 20 with probability at most 5%, however often one looks.",
    )


def _tens(nats: list[float]) -> tuple[float, ...]:
    return (0.0, *(w / math.log(10) for w in nats))


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


def _battery(found: Comparison) -> Table:
    rows = []
    for i, n in enumerate(found.lengths):
        cells = [str(int(n)), KINDS[found.picked[i]]]
        for kind, p in zip(KINDS, found.adjusted_p[:, i], strict=True):
            cells += [f"{found.kinds[kind][i].auc.value:.3f}", _p(float(p))]
        rows.append(tuple(cells))
    columns = ["tokens", "picked on training documents"]
    for kind in KINDS.values():
        columns += [f"AUC, {kind}", "p (Holm)"]
    return Table("battery", "Every detector at every length", tuple(columns), tuple(rows))


def _law_note(found: Comparison) -> str:
    law = found.law
    if law is None:
        return "The law AUC = Φ(√(κT)) was not fitted: too few lengths with an AUC between chance and certainty."
    verdict = "is not rejected" if law.p_value >= 0.05 else "does not hold"
    return (
        f"The law AUC = Φ(√(κT)) {verdict} here (p {_p(law.p_value)}; H75 by it {law.h75_tokens:.0f} tokens); Φ⁻¹(AUC) grows as T to the power "
        f"{law.exponent.value:.2f} ({law.exponent.low:.2f} to {law.exponent.high:.2f})."
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
