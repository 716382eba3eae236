"""From which length on can its text be told from real text?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.detectability import quantities
from freerun.findings.detectability.comparison import ALPHA, KINDS, N_SPLITS, Comparison, compared
from freerun.findings.detectability.giveaways import giveaway_table
from freerun.findings.detectability.leaks import leaks
from freerun.findings.evidence import MIN_PAIRS, Evidence
from freerun.findings.own_text.refusal import refused_finding
from freerun.findings.own_text.standing import own_text_of
from freerun.findings.question import Question
from freerun.records.redact import UNAVAILABLE
from freerun.results.finding import Cell, Chart, Estimate, Finding, Series, Table
from freerun.results.horizons import ends_of, outside, spoken
from freerun.results.quantity import Quantity
from freerun.stats.detection.horizon import HorizonResult
from freerun.stats.detection.two_sample import Detection, NullBand
from freerun.stats.intervals import Interval

QUESTION = "From which length on can its text be told from real text?"
HOW = (
    "log odds of two ridge logistic regressions added, one on likelihood features and one on byte n-grams, penalties by left-out documents "
    "of the training half; AUC on the test half"
)
REDACTED = (
    f"Detectors see likelihood features alone: byte n-grams are {UNAVAILABLE}; their place in the correction for many tests is kept, which "
    "errs on the safe side. The compressed size is that of ids numbered in the order in which they appear."
)


def detectability(evidence: Evidence, comparison: Comparison) -> Finding:
    """The finding of a comparison: AUC by length with its controls, and the free-run horizon."""
    last, longest, panel = comparison.last, comparison.longest, evidence.panel
    auc = f"AUC {last.auc.value:.2f} ({last.auc.low:.2f} to {last.auc.high:.2f})"
    if comparison.detected:
        sentence = f"A detector tells its text from real text with {auc} at {longest} tokens; it reaches 0.75 {spoken(comparison.h75)}."
    else:
        sentence = (
            f"No difference was found up to {longest} tokens at this n ({auc}); an AUC of {comparison.smallest_auc:.2f} would have been "
            "found in at least 80% of such audits."
        )
    notes = [
        _stopping(evidence, comparison),
        *_shorter(evidence),
        _rejections(comparison),
        "A longer text is never harder to tell apart: the horizon is read off an isotonic fit in length, linear in log length.",
    ]
    if panel.n_beyond:
        further = counted(panel.n_beyond, "further pair was", "further pairs were")
        notes.insert(-2, f"{further} not needed: detectors read at most {panel.n_pairs}.")
    if not evidence.has_text:
        notes.append(REDACTED)
    return Finding(
        name="detectability",
        question=QUESTION,
        sentence=sentence,
        status="bad" if comparison.detected else "neutral",
        estimates=_estimates(comparison),
        charts=(_auc_chart(evidence, comparison), _tv_chart(comparison), _wealth_chart(comparison)),
        tables=(
            _controls(evidence, comparison),
            _battery(comparison, has_text=evidence.has_text),
            giveaway_table(evidence, comparison),
            leaks(evidence, comparison),
        ),
        licence=(
            f"Unit: the document, one pair each; {last.n_train} train, {last.n_test} test, split by document. Everything is chosen on the training "
            "half. Intervals: pointwise 95%, for detectors trained on so many documents: the luck of training and test documents is in them. Null of the p-values: real and "
            f"generated may change places given the prefix. Detected: some detector at some length, Holm at {ALPHA:g} over all."
        ),
        notes=tuple(notes),
    )


def _stopping(evidence: Evidence, comparison: Comparison) -> str:
    """What is done about texts that end."""
    longest = comparison.longest
    if not evidence.own_lengths:
        return f"{counted(comparison.n_dropped, 'pair was', 'pairs were')} left out because a free continuation ended before token {longest}; both sides are whole in all others."
    auc = comparison.kinds["length"][-1].auc
    return (
        f"Responses have lengths of their own: at a length T every text, real or own, is stopped at token T or at its end, whichever comes first, "
        f"and none is left out. How long it is, and whether it has ended, is part of what the detector sees; the length alone reaches AUC "
        f"{auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f}) at {longest} tokens.{_ends_written(evidence)}"
    )


def _ends_written(evidence: Evidence) -> str:
    """With which ids own texts end, where one of them is another than that of real text: the id alone gives those away."""
    prompts = evidence.plan.prompts
    if prompts is None or not evidence.has_text:
        return ""
    records = evidence.records
    rows = records.chosen(arm="free")
    ended = rows[records.sequences["end_reason"][rows] == "end_of_text"]
    ids, counts = np.unique(records.tokens["token_id"][records.starts[ended + 1] - 1], return_counts=True)
    if not (ids != prompts.end_id).any():
        return ""
    written = ", ".join(f"{n} with id {i}" for i, n in zip(ids.tolist(), counts.tolist(), strict=True))
    return f" Real responses are closed with id {prompts.end_id}, own texts end by themselves {written}: another id than that of real text gives a text away."


def _shorter(evidence: Evidence) -> tuple[str, ...]:
    """Why the curve ends before the texts do."""
    whole, panel = evidence.whole_panel, evidence.panel
    if panel.length == evidence.length:
        return ()
    return (
        f"The curve ends at token {panel.length}: only {whole.n_pairs} of {whole.n_pairs + whole.n_dropped} pairs reach token {evidence.length}, and "
        f"a detector needs {MIN_PAIRS}. {panel.length} is the longest measured length that enough of them reach; more --documents take it on.",
    )


# ---- estimates ---------------------------------------------------------------------------------------------------------


def _estimates(comparison: Comparison) -> tuple[Estimate, ...]:
    last, longest, wealth = comparison.last, comparison.longest, comparison.wealth
    n, tv = last.n_test, float(comparison.tv_low[-1])
    horizons = comparison.main.horizons.items()
    return (
        *(_horizon(quantities.HORIZONS[level], h, comparison, n) for level, h in horizons),
        _tokens(
            quantities.H75_HALF_TRAIN,
            comparison.half_train,
            f"later than {longest}" if comparison.half_train == math.inf else "",
            n=last.n_train // 2,
            method="mean over 4 random halves; more documents train a better detector",
        ),
        _tokens(
            quantities.FIRST_REJECTED,
            comparison.first_rejected,
            "" if comparison.first_rejected else "none",
            n=n,
            level=0.95,
            method="swaps within documents; Holm over detectors × lengths at 5%",
        ),
        quantities.AUC.estimate(
            last.auc,
            label=f"AUC at {longest} tokens",
            method=f"{HOW}; score limits at the number of documents that has its variance over test and training documents",
        ),
        *_length_estimate(comparison),
        quantities.SMALLEST_AUC.number(
            comparison.smallest_auc,
            n=n,
            method=f"by the last length alone, all {comparison.adjusted_p.size} tests counted (Holm at {ALPHA:g}): exact null spread under swaps, normal law",
        ),
        quantities.TV.estimate(
            Interval(tv, tv, 1.0, 0.95, n),
            method="CP_low(TPR) − CP_up(FPR), threshold from training; running maximum over lengths, simultaneous (Bonferroni)",
        ),
        _tokens(
            quantities.BETS,
            wealth.rejected_after,
            "" if wealth.rejected_after else "not reached",
            n=n,
            level=1 - wealth.alpha,
            method=f"betting on pairs at {longest} tokens, wealth ≥ {1 / wealth.alpha:g}; valid at any stopping time",
        ),
    )


def _length_estimate(comparison: Comparison) -> tuple[Estimate, ...]:
    """The detector that sees the length alone, where texts have lengths of their own."""
    if "length" not in comparison.kinds:
        return ()
    how = "ridge logistic regression on ln of the tokens read and on whether the text has ended; limits as for the AUC"
    label = f"AUC of the length alone at {comparison.longest} tokens"
    return (quantities.LENGTH_AUC.estimate(comparison.kinds["length"][-1].auc, label=label, method=how),)


def _tokens(
    quantity: Quantity, value: float | None, text: str, *, n: int, method: str, level: float | None = None
) -> Estimate:
    """A count that may not be reached; `text` says so then."""
    return quantity.number(None if text or value is None else float(value), n=n, method=method, text=text, level=level)


def _horizon(quantity: Quantity, h: HorizonResult, comparison: Comparison, n: int) -> Estimate:
    """A horizon as an estimate; `text` where it lies outside the lengths."""
    return Estimate(
        quantity.name,
        quantity.label,
        h.value,
        quantity.unit,
        low=None if h.low.where == "beyond" else h.low_tokens,  # beyond the lengths: no number, see `ends`
        high=h.high_tokens,
        level=h.level,
        n=n,
        method=f"{HOW}; isotonic in length, interval where the limits of the AUC cross",
        text=outside(h.estimate),
        ends=ends_of(h, comparison.lengths),
    )


# ---- charts ------------------------------------------------------------------------------------------------------------


def _auc_chart(evidence: Evidence, comparison: Comparison) -> Chart:
    series = [
        Series.of("own text against real text", "free", [d.auc for d in comparison.main.detections]),
        *(
            Series.of("by their length alone", "other", [d.auc for d in comparison.kinds[kind]])
            for kind in comparison.kinds
            if KINDS[kind].own_lengths
        ),
        _band("real against real (95% of random halves)", "real", comparison.real_bands),
        _band("own against own (95% of random halves)", "control", comparison.own_bands),
    ]
    if comparison.tempered is not None:
        name = f"own at t = {evidence.plan.control_temperature:g} against own at t = 1"
        series.append(Series.curve(name, "tempered", [d.auc.value for d in comparison.tempered.detections]))
    return Chart(
        name="auc_by_length",
        title="How well its text is told from real text, by length",
        x_label="tokens after the cut",
        y_label="AUC on test documents",
        x=tuple(comparison.lengths.astype(float).tolist()),
        x_scale="log2",
        y_range=(0.2, 1.0),
        levels=((0.5, "chance"), (0.75, "H75")),
        series=tuple(series),
        caption="The shaded bands are the controls: text of one kind against itself, 200 random halves. Inside them nothing is seen. "
        "The control temperature shows what a small known defect looks like at this n.",
    )


def _band(name: str, role: str, bands: Sequence[NullBand]) -> Series:
    y, low, high = (tuple(getattr(b, end) for b in bands) for end in ("mean", "low", "high"))
    return Series(name, role, y, low, high, band_only=True)


def _tv_chart(comparison: Comparison) -> Chart:
    return Chart(
        name="tv_by_length",
        title="Total variation proven by the detector, by length",
        x_label="tokens after the cut",
        y_label="total variation, at least",
        x=tuple(comparison.lengths.astype(float).tolist()),
        x_scale="log2",
        y_range=(0.0, 1.0),
        series=(Series.curve("own text against real text", "free", comparison.tv_low),),
        caption="A lower band, valid at all lengths at once with 95% confidence: Clopper–Pearson at 5%/lengths each, then the running "
        "maximum, since a longer text is never harder to tell apart.",
    )


def _wealth_chart(comparison: Comparison) -> Chart:
    paths = (
        ("own text against real text", "free", comparison.wealth),
        ("its own text against its own", "control", comparison.own_wealth),
    )
    return Chart(
        name="wealth",
        title=f"Evidence as test documents come in, at {comparison.longest} tokens",
        x_label="test documents seen",
        y_label="log₁₀ of the bettor's wealth",
        x=tuple(float(i) for i in range(len(comparison.wealth.log_wealth) + 1)),
        series=tuple(
            Series.curve(name, role, (0.0, *(w.log_wealth / math.log(10)).tolist())) for name, role, w in paths
        ),
        levels=((math.log10(1 / comparison.wealth.alpha), "reject at 5%, whenever reached"),),
        caption="A bet on which of two continuations the detector scores higher, at even odds. If there is no difference the wealth ever "
        "reaches 20 with probability at most 5%, however often one looks.",
    )


# ---- tables ------------------------------------------------------------------------------------------------------------


def _controls(evidence: Evidence, comparison: Comparison) -> Table:
    cold = [None] * len(comparison.lengths) if comparison.tempered is None else comparison.tempered.detections
    columns = (comparison.lengths, comparison.main.detections, comparison.own_pair)
    bands = (comparison.real_bands, comparison.own_bands)
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
            f"own t = {evidence.plan.control_temperature:g} against t = 1",
        ),
        tuple(
            (
                Cell.number(int(n), unit="tokens"),
                Cell.of(d.auc, 3),
                Cell(_p(d.p_value), d.p_value),
                Cell.number(d.tv_low, ".2f"),
                _auc_and_p(twice),
                _halves(real),
                _halves(own),
                Cell.number(None) if control is None else _auc_and_p(control),
            )
            for n, d, twice, real, own, control in zip(*columns, *bands, cold, strict=True)
        ),
    )


def _auc_and_p(d: Detection) -> Cell:
    return Cell(f"{d.auc.value:.3f} (p {_p(d.p_value)})", d.auc.value, "AUC", d.auc.low, d.auc.high)


def _halves(band: NullBand) -> Cell:
    words = f"{band.low:.2f} to {band.high:.2f}; {band.rejection_share:.1%}"
    return Cell(words, band.mean, "AUC", band.low, band.high)


def _battery(comparison: Comparison, *, has_text: bool) -> Table:
    """Every kind of detector that has something to read; without text `both` reads what the first one does."""
    shown = {name: KINDS[name] for name in comparison.kinds if has_text or not KINDS[name].needs_text}
    p_values = dict(zip(comparison.kinds, comparison.adjusted_p, strict=True))
    rows = []
    for i, n in enumerate(comparison.lengths):
        row: list[str | Cell] = [Cell.number(int(n), unit="tokens")]
        for name in shown:
            p = float(p_values[name][i])
            row += [Cell.number(comparison.kinds[name][i].auc.value, ".3f", "AUC"), Cell(_p(p), p)]
        rows.append(tuple(row))
    columns = [c for kind in shown.values() for c in (f"AUC, {kind.label}", "p (Holm)")]
    return Table("battery", "Every detector at every length", ("tokens", *columns), tuple(rows))


# ---- notes -------------------------------------------------------------------------------------------------------------


def _rejections(comparison: Comparison) -> str:
    shares = [b.rejection_share for b in (*comparison.real_bands, *comparison.own_bands)]
    twice = min(d.p_value for d in comparison.own_pair)
    n = len(comparison.own_pair)
    verdict = "as it must be" if comparison.controls_hold else "which should not happen: mistrust the detector"
    return (
        f"Controls: halves of one kind of text are rejected at 5% in {min(shares):.1%} to {max(shares):.1%} of {N_SPLITS} splits; two "
        f"continuations of the same prefixes differ with smallest p {_p(twice)} over {n} lengths, {verdict}."
    )


def _p(p: float) -> str:
    return "< 0.001" if p < 1e-3 else f"{p:.3f}"


def _answer(evidence: Evidence) -> Finding:
    if evidence.once(own_text_of).refused:
        return refused_finding("detectability", QUESTION)
    comparison = evidence.once(compared)
    if isinstance(comparison, TooFewDocuments):
        why = str(comparison)
        return Finding.unknown("detectability", QUESTION, why[0].upper() + why[1:] + ".")
    return detectability(evidence, comparison)


ENTRY = Question("detectability", QUESTION, _answer, quantities.QUANTITIES, place=20)
