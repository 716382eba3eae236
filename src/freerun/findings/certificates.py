"""What does its loss prove, and what can it not? Certificates and measurements stand in tables of their own."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.counted import counted
from freerun.errors import TooFewDocuments
from freerun.findings.evidence import Evidence, lengths_up_to
from freerun.findings.question import Question
from freerun.findings.references import gains_of, reference_table
from freerun.results.finding import Cell, Chart, Estimate, Finding, Series, Table
from freerun.results.quantity import Quantity
from freerun.stats.bounds.certificates import horizon_tokens, largest_tv
from freerun.stats.bounds.tv_from_loss import TvFromLossBand, tv_from_loss_band
from freerun.stats.intervals import Interval, clopper_pearson, ratio_of_group_sums

QUESTION = "What does its loss prove, and what can it not?"
TV = Quantity("certificates", "tv_from_loss_at_least", "Total variation, at least", "")
KL = Quantity("certificates", "kl_at_least_nats", "Saved by the reference; KL is at least the lower end", "nats")
QUANTITIES = (TV, KL)
ASSUMED_EXCESS = (0.0001, 0.001, 0.01, 0.1)
"""Excess losses to assume for the conditional table, nats per token."""


def certificates(evidence: Evidence) -> Finding:
    """The total variation that the losses prove, the KL that the reference proves, and what stays conditional."""
    lengths = lengths_up_to(evidence.length)
    chosen = _whole_real(evidence)
    train = evidence.records.sequences["split"][chosen] == "train"
    gains = gains_of(evidence, chosen, evidence.reference_log_prob)[:, lengths - 1]
    losses = gains_of(evidence, chosen, np.zeros_like(evidence.reference_log_prob))[:, lengths - 1]  # Σ(ln 1 − ln q)
    try:
        band = tv_from_loss_band(gains[train], gains[~train], lengths)
    except TooFewDocuments as error:
        return Finding.unknown("certificates", QUESTION, f"Nothing is proven: {error}.")
    proven = [_mean(column) for column in gains[~train].T]
    loss = _mean(losses[:, -1] / lengths[-1])
    return Finding(
        name="certificates",
        question=QUESTION,
        sentence=_sentence(band, proven[-1]),
        status="neutral",
        estimates=_estimates(band, proven[-1]),
        charts=(_chart(band),),
        tables=(
            _measured(band, proven),
            *(() if evidence.own_lengths else _conditional(int(lengths[-1]), loss, proven[-1])),
            reference_table(evidence, chosen, train),
        ),
        licence=(
            f"Unit: the document. The total variation is a one-sided bound at {band.level:.0%} for all {lengths.size} lengths at once, exact for "
            f"any sample size: {band.n_train} training documents fix the threshold, {band.n_test} test documents are counted. It assumes that "
            "test documents are drawn independently from one source, and that model and reference were fixed before they were seen. "
            "The KL is a mean with a 95% t interval over test documents, approximate where a few documents carry it; the conditional table "
            "starts from the upper end of the loss's interval."
        ),
        notes=(*_meanings(evidence, int(lengths[-1]), proven[-1]), *_caveats(evidence, band, gains, ~train)),
    )


# ---- from records to one row a document --------------------------------------------------------------------------------


def _whole_real(evidence: Evidence) -> Int[np.ndarray, " documents"]:
    """The first whole real continuation of every independent unit."""
    records = evidence.records
    real = records.chosen(arm="real", replicate=0)
    if evidence.own_lengths:
        return np.asarray(real[np.sort(np.unique(evidence.units[real], return_index=True)[1])])
    whole = (np.diff(records.starts)[real] == evidence.length) & (records.sequences["end_reason"][real] == "length")
    real = real[whole]
    first = np.sort(np.unique(evidence.units[real], return_index=True)[1])
    return np.asarray(real[first])


def _mean(values: Float[np.ndarray, " documents"]) -> Interval | None:
    """Mean with its interval over documents; None where some document is infinite."""
    return ratio_of_group_sums(values, np.ones_like(values)) if np.isfinite(values).all() else None


# ---- what is said ------------------------------------------------------------------------------------------------------


def _sentence(band: TvFromLossBand, proven: Interval | None) -> str:
    longest, tv = int(band.lengths[-1]), float(band.tv_low[-1])
    if tv > 0:
        first = int(band.lengths[np.flatnonzero(band.tv_low > 0)[0]])
        since = "" if first == longest else f" (something is proven from {first} tokens on)"
        said = f"Without a word generated, its losses prove a total variation of at least {tv:.2f} from this source over {longest} tokens{since}."
    else:
        said = f"Its losses on real text prove no difference from this source up to {longest} tokens."
    if proven is not None and proven.low > 0:
        said += f" The reference shows an excess of at least {proven.low:.2g} nats over {longest} tokens."
    return f"{said} That it is close no loss can prove: nothing here knows the entropy of the text, so there is no bound from above."


def _estimates(band: TvFromLossBand, proven: Interval | None) -> tuple[Estimate, ...]:
    longest, low = int(band.lengths[-1]), float(band.tv_low[-1])
    tv = TV.estimate(
        Interval(low, low, 1.0, band.level, band.n_test),
        method=f"teacher-forced; {band.method}",
        label=f"Total variation over {longest} tokens, at least",
    )
    if proven is None:
        label, text = f"KL over {longest} tokens, at least", "not finite on some document"
        return tv, KL.estimate(None, label=label, text=text)
    label = f"Saved by the reference over {longest} tokens; KL is at least the lower end"
    how = "mean over test documents (t); cross-entropy of the model minus that of the reference"
    return tv, KL.estimate(proven, label=label, method=how)


def _meanings(evidence: Evidence, longest: int, proven: Interval | None) -> tuple[str, ...]:
    notes = []
    if proven is not None and proven.low > 0:
        notes.append(
            f"KL ≥ {proven.low:.2g} nats is not a lower bound on the total variation: a few texts that the model finds nearly impossible can make "
            "KL large. It bounds certificates: even with the entropy known, no promise made from the loss alone could go below a total "
            f"variation of {largest_tv(proven.low):.3f} at {longest} tokens."
        )
    elif proven is not None:
        notes.append(
            "That the reference saves nothing that can be told from zero does not make the model good: a better reference may save more."
        )
    return (
        *notes,
        "No upper certificate is given: it would need the entropy of this text, and samples bound that from above only."
        + (
            " A response that ends carries its loss on from there, its end counted."
            if evidence.own_lengths
            else " The second table says what one would promise if the entropy were at least so much."
        ),
    )


def _caveats(
    evidence: Evidence,
    band: TvFromLossBand,
    gains: Float[np.ndarray, "documents lengths"],
    test: Bool[np.ndarray, " documents"],
) -> tuple[str, ...]:
    longest = int(band.lengths[-1])
    notes = [
        "The source is the corpus: part of what is proven may be that a prefix does not say which source goes on, which a perfect predictor "
        "of all text would not know either. A total variation near 1 is to be expected of long texts; it is not a grade."
    ]
    ended = evidence.records.sequences["end_reason"][evidence.records.chosen(arm="free", replicate=0)] == "end_of_text"
    if ended.any() and band.tv_low[-1] > 0 and not evidence.own_lengths:
        share = clopper_pearson(int(ended.sum()), ended.size)
        notes.append(
            f"The real documents were chosen to be long enough, the model may end: {share.value:.1%} of its own texts do within {longest} tokens "
            f"(95% interval {share.low:.1%} to {share.high:.1%}). Against the model's texts that go on, at least "
            f"{max(0.0, float(band.tv_low[-1]) - share.high):.2f} of the total variation is left."
        )
    n_beyond = int(np.isposinf(gains[test, -1]).sum())
    if n_beyond:
        notes.append(
            f"{counted(n_beyond, 'test document holds', 'test documents hold')} a token that the model makes impossible: counted as told apart, and its loss is infinite."
        )
    if np.isneginf(gains[test, -1]).any():
        notes.append("The reference gives some test documents no mass, so it proves no KL at all.")
    return tuple(notes)


# ---- pictures and tables -----------------------------------------------------------------------------------------------


def _chart(band: TvFromLossBand) -> Chart:
    low = tuple(band.tv_low.tolist())
    return Chart(
        name="tv_from_loss_by_length",
        title="Total variation that the losses prove, by length",
        x_label="tokens after the cut",
        y_label="total variation from real text",
        x=tuple(float(n) for n in band.lengths),
        x_scale="log2",
        y_range=(0.0, 1.0),
        series=(Series("at least, teacher-forced", "reference", low, low, (1.0,) * len(low)),),
        caption=f"The truth lies anywhere between the line and 1, at {band.level:.0%} for all lengths at once. Where the line is at 0, nothing is proven.",
    )


def _measured(band: TvFromLossBand, proven: list[Interval | None]) -> Table:
    rows = []
    for j, n in enumerate(band.lengths.tolist()):
        tested = not np.isnan(band.threshold_nats[j])
        rows.append(
            (
                Cell.number(n, ",", "tokens"),
                Cell.number(float(band.tv_low[j]), ".3f", "TV"),
                Cell.number(float(band.tv_low_alone[j]), ".3f", "TV"),
                Cell.number(float(band.threshold_nats[j]) if tested else None, ".2f", "nats"),
                Cell.number(int(band.count[j]) if tested else None, ","),
                Cell.of(proven[j], 3, "nats"),
            )
        )
    return Table(
        "tv_from_loss",
        "Measured: what the losses prove at each length",
        (
            "tokens",
            "TV ≥",
            "TV ≥, this length alone",
            "ln c",
            f"test documents beyond, of {band.n_test}",
            "saved by the reference, nats (95%)",
        ),
        tuple(rows),
    )


def _conditional(longest: int, loss: Interval | None, proven: Interval | None) -> tuple[Table, ...]:
    """What the loss would guarantee; nothing where it is infinite."""
    if loss is None:
        return ()
    least = 0.0 if proven is None else max(0.0, proven.low / longest)
    rows = [
        (
            Cell.number(loss.high - excess, ".4f", "nats/token"),
            Cell.number(excess, ".2g", "nats/token"),
            Cell.number(excess * longest, ".2g", "nats"),
            Cell.number(largest_tv(excess * longest), ".3f", "TV"),
            Cell.number(horizon_tokens(excess, 0.5).guaranteed_tokens, ",", "tokens"),
            f"no: it shows at least {least:.2g}" if excess < least else "yes",
        )
        for excess in sorted({*ASSUMED_EXCESS, *([least] if least > 0 else [])})
    ]
    return (
        Table(
            "conditional_certificates",
            "Conditional: what the loss would guarantee if the entropy of these tokens were at least h",
            (
                "if h is at least, nats/token",
                "the excess is at most",
                f"KL over {longest} tokens ≤",
                f"TV at {longest} tokens ≤",
                "tokens with TV ≤ 0.5",
                "left open by the reference",
            ),
            tuple(rows),
        ),
    )


ENTRY = Question("certificates", QUESTION, certificates, QUANTITIES, place=100)
