"""How far are the log-probabilities that an engine reported from those of the law, under the names that trainers print?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from freerun.counted import counted
from freerun.findings.verification import quantities
from freerun.findings.verification.evidence import VerifyEvidence
from freerun.results.finding import Cell, Chart, Estimate, Finding, Row, Series, Table
from freerun.stats.intervals import Interval, cluster_ratio
from freerun.stats.position import curve_by_position, log_spaced_edges
from freerun.stats.quantiles import Quantile
from freerun.stats.verification.reported import (
    AGREES_NATS,
    Explanation,
    Meaning,
    Ratios,
    explanations,
    meaning_of,
    quantiles_of,
    ratios_of,
)

Reader = Callable[[Ratios], Cell]
NAME, QUESTION = "rollout_against_trainer", "How far are the reported log-probabilities from the law's?"
_BIN_EDGES_NATS = (0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, np.inf)
_MEANINGS: dict[Meaning, str] = {
    "raw": "of the model's own law (raw: temperature 1, nothing cut)",
    "heated": "of the law at the declared temperature, nothing cut",
    "processed": "of the law that was declared, truncations and all (processed)",
    "shifted_left": "shifted by one: each stands with the token before its own",
    "shifted_right": "shifted by one: each stands with the token after its own",
    "base_2": "logarithms to base 2",
    "base_10": "logarithms to base 10",
    "sign_turned": "of the wrong sign",
    "none": "of nothing that was tried",
}
_LICENCE = (
    "d = log q(x) − reported, r = e^d, over drawn tokens with both. Intervals: 95%, clustered by completion, for these prompts as they are. "
    "k1 = −d and k3 = r − 1 − d estimate KL(engine‖trainer); under a truncation k3 is off by the mass lost. "
    "What has no interval is of these very tokens: extremes, effective sample sizes, chi-square by sequence, which one sequence can decide."
)


def rollout_finding(evidence: VerifyEvidence) -> Finding:
    known = np.isfinite(evidence.engine)
    if not known.any():
        return Finding.unknown(NAME, QUESTION, _nothing(evidence))
    t = evidence.tokens
    ratios = _ratios(evidence, t.heated_log_prob_nats)
    found = _explanations(evidence)
    meaning = meaning_of(found, evidence.floor_nats)
    assert ratios is not None
    return Finding(
        NAME,
        QUESTION,
        _sentence(evidence, ratios, meaning),
        "neutral" if not evidence.n_impossible and _is_good(evidence, meaning) else "bad",
        estimates=_estimates(evidence, ratios),
        charts=(_gap_chart(evidence),),
        tables=(_table(evidence, ratios), _by_probability(evidence), _meanings(found)),
        licence=_LICENCE,
        notes=tuple(_notes(evidence, known)),
    )


def _nothing(evidence: VerifyEvidence) -> str:
    if evidence.n_zeros or evidence.n_impossible:
        return (
            "The file reports no log-probabilities that can be used: those of the tokens drawn are exactly 0 where the law gives less, "
            "minus infinity, or missing."
        )
    return "The file reports no log-probabilities of the tokens drawn."


def _is_good(evidence: VerifyEvidence, meaning: Meaning) -> bool:
    return meaning in ("raw", "heated", "processed") or _are_of_the_cause(evidence)


def _estimates(evidence: VerifyEvidence, ratios: Ratios) -> tuple[Estimate, ...]:
    """Means are infinite where the engine says that it drew what it held impossible."""
    means = (
        (quantities.LOGPROB_GAP, ratios.gaps.mean),
        (quantities.K1, ratios.k1_nats),
        (quantities.K3, ratios.k3_nats),
        (quantities.MEAN_RATIO, ratios.mean_ratio),
    )
    n = evidence.n_impossible
    words = f"infinite ({counted(n, 'token')})" if n else ""
    return (
        *(q.estimate(None if n else mean, text=words, independent_unit="completion") for q, mean in means),
        quantities.OUTSIDE_BAND.estimate(ratios.outside_band, independent_unit="completion"),
        quantities.ESS.number(None if n else ratios.ess_token, independent_unit="completion"),
    )


def _ratios(evidence: VerifyEvidence, log_prob: Float[np.ndarray, " tokens"]) -> Ratios | None:
    return ratios_of(log_prob, evidence.engine, evidence.tokens.sequence, evidence.tokens.sequence)


def _explanations(evidence: VerifyEvidence) -> tuple[Explanation, ...]:
    t = evidence.tokens
    columns: dict[Meaning, np.ndarray] = {
        "raw": t.model_log_prob_nats,
        "heated": t.heated_log_prob_nats,
        "processed": np.where(t.is_tested, t.log_prob_nats, np.nan),
    }
    return explanations(evidence.engine, columns, t.sequence, t.position)


def _sentence(evidence: VerifyEvidence, ratios: Ratios, meaning: Meaning) -> str:
    gaps = ratios.gaps
    size = (
        f"They differ from the law's by {gaps.median.value:.2g} nats in the median and {gaps.q99.value:.2g} at the 99th percentile "
        f"(noise floor {evidence.floor_nats:.1g} root mean square)"
    )
    if meaning == "none" and _are_of_the_cause(evidence):
        return f"{size}; they are of the law that was found instead, truncations and all (processed)."
    return f"{size}; they are {_MEANINGS[meaning]}."


def _are_of_the_cause(evidence: VerifyEvidence) -> bool:
    gap = None if evidence.cause is None else evidence.cause.reported_gap_nats
    return gap is not None and gap <= max(AGREES_NATS, 10.0 * evidence.floor_nats)


def _notes(evidence: VerifyEvidence, known: np.ndarray) -> Iterator[str]:
    yield f"{int(known.sum()):,} of {evidence.tokens.n_tokens:,} drawn tokens have a reported log-probability."
    if evidence.n_zeros:
        yield (
            f"{counted(evidence.n_zeros, 'reported log-probability is', 'reported log-probabilities are')} exactly 0 where the law gives "
            "less: taken as missing."
        )
    if evidence.n_impossible:
        yield (
            f"Of {counted(evidence.n_impossible, 'drawn token')} the engine reports minus infinity (−9999 is read as that, though some "
            "services write it for what is merely very unlikely): it says that it drew what it held impossible. They count as outside "
            "0.9 to 1.1 and are left out of the other numbers in the table."
        )
    yield (
        "verl and OpenRLHF pool tokens as here; TRL prints the difference and the ratio after its mask and clip, here they are raw. The law "
        "at the declared temperature over the full vocabulary is what trainers compute."
    )


# ---- tables ----------------------------------------------------------------------------------------------------------


def _table(evidence: VerifyEvidence, heated: Ratios) -> Table:
    """Names of trainers, and a column for each law that may stand for the trainer's."""
    t = evidence.tokens
    floor = ratios_of(evidence.floor.alone, evidence.floor.batch, evidence.floor.sequence, evidence.floor.sequence)
    columns: list[tuple[str, Ratios]] = [("this model, full vocabulary", heated)]
    same = _ratios(evidence, np.where(t.is_tested, t.log_prob_nats, np.nan))
    if same is not None and not evidence.is_model_law:
        columns.append(("same, on the declared support", same))
    trainer = _ratios(evidence, evidence.trainer)
    if trainer is not None:
        columns.append(("the trainer's own column", trainer))
    if floor is not None:
        columns.append(("noise floor: this model alone against in the batch", floor))
    rows: list[Row] = []
    for label, read in _LINES:
        rows.append((label, *(read(ratios) for _, ratios in columns)))
    return Table(
        "trainers",
        "Engine against trainer, by the names that trainers print",
        ("number", *(name for name, _ in columns)),
        tuple(rows),
    )


def _quantile(q: Quantile) -> Cell:
    return Cell.between(q.value, q.low, q.high, ".2g", "nats")


def _interval(name: str, digits: int, unit: str) -> Reader:
    return lambda r: Cell.of(getattr(r, name), digits, unit)


def _plain(name: str, form: str, unit: str) -> Reader:
    return lambda r: Cell.number(getattr(r, name), form, unit)


_LINES: tuple[tuple[str, Reader], ...] = (
    ("tokens", lambda r: Cell.number(r.gaps.n, ",", "tokens")),
    (
        "mean |d| (TRL sampling_logp_difference/mean, before its mask)",
        lambda r: Cell.of(r.gaps.mean, 4, "nats"),
    ),
    ("|d|, median", lambda r: _quantile(r.gaps.median)),
    ("|d|, 95%", lambda r: _quantile(r.gaps.q95)),
    ("|d|, 99%", lambda r: _quantile(r.gaps.q99)),
    ("|d|, largest (TRL sampling_logp_difference/max)", lambda r: Cell.number(r.gaps.largest, ".3g", "nats")),
    ("mean d", _interval("mean_d", 4, "nats")),
    ("SD of d", _interval("sd_d", 4, "nats")),
    ("k1 (verl rollout_corr/kl, OpenRLHF vllm_kl)", _interval("k1_nats", 4, "nats")),
    ("k3 (verl rollout_corr/k3_kl)", _interval("k3_nats", 4, "nats")),
    ("mean ratio (TRL importance_sampling_ratio/mean, before its clip)", _interval("mean_ratio", 4, "ratio")),
    ("least ratio (TRL importance_sampling_ratio/min)", _plain("least_ratio", ".3g", "ratio")),
    ("largest ratio (TRL importance_sampling_ratio/max)", _plain("largest_ratio", ".3g", "ratio")),
    ("share of ratios outside 0.9 to 1.1", _interval("outside_band", 4, "share")),
    ("chi-square by token (verl rollout_corr/chi2_token)", _interval("chi2_token", 4, "")),
    ("chi-square by sequence (verl rollout_corr/chi2_seq)", _plain("chi2_sequence", ".3g", "")),
    ("ratio of perplexities (verl rollout_corr/ppl_ratio)", _interval("ppl_ratio", 4, "ratio")),
    ("effective sample size by token", _plain("ess_token", ".3g", "share")),
    ("effective sample size by sequence", _plain("ess_sequence", ".3g", "share")),
)


def _by_probability(evidence: VerifyEvidence) -> Table:
    """|d| by how improbable the token is: means over all hide what happens to rare ones."""
    t = evidence.tokens
    d = t.heated_log_prob_nats - evidence.engine
    rows: list[Row] = []
    for low, high in pairwise(_BIN_EDGES_NATS):
        inside = np.isfinite(d) & (-t.model_log_prob_nats >= low) & (-t.model_log_prob_nats < high)
        if not inside.any():
            continue
        size, of = np.abs(d[inside]), t.sequence[inside]
        mean: Interval | None = None
        signed: Interval | None = None
        if len(np.unique(of)) > 1:
            mean, signed = (cluster_ratio(x, np.ones(size.size), of) for x in (size, d[inside]))
        label = f"{low:g} to {high:g} nats" if np.isfinite(high) else f"beyond {low:g} nats"
        rows.append(
            (
                label,
                Cell.number(size.size, ",", "tokens"),
                Cell.of(mean, 4, "nats"),
                _quantile(*quantiles_of(size, of, (0.99,))),
                Cell.of(signed, 4, "nats", sign=True),
            )
        )
    return Table(
        "by_probability",
        "By surprisal of the token",
        ("surprisal", "tokens", "mean |d|", "99% of |d|", "mean d"),
        tuple(rows),
    )


def _meanings(found: tuple[Explanation, ...]) -> Table:
    rows = tuple(
        (
            _MEANINGS[e.meaning],
            Cell.number(e.median_nats, ".2g", "nats"),
            Cell.number(e.q90_nats, ".2g", "nats"),
            Cell.number(e.n, ",", "tokens"),
        )
        for e in found
    )
    return Table(
        "meanings",
        "Of what the reported numbers may be the logarithm, the nearest first",
        ("meaning", "|difference|, median", "90%", "tokens"),
        rows,
    )


def _gap_chart(evidence: VerifyEvidence) -> Chart:
    t = evidence.tokens
    gap = np.abs(t.heated_log_prob_nats - evidence.engine)
    gap = np.where(np.isfinite(gap), gap, np.nan)
    edges = log_spaced_edges(int(t.position.max()) + 1)
    curve = curve_by_position(gap, t.position, t.sequence, edges=edges)
    floor = float(np.abs(evidence.floor.alone - evidence.floor.batch).mean()) if evidence.floor.alone.size else np.nan
    return Chart(
        name="gap_by_position",
        title="Absolute log-prob gap along the completions",
        x_label="tokens of the completion",
        y_label="mean |d|, nats",
        x=tuple((curve.left + 1).astype(float).tolist()),
        x_scale="log2",
        series=(Series.curve("reported against the law", "free", curve.mean, curve.low, curve.high),),
        levels=((floor, "noise floor"),) if np.isfinite(floor) else (),
        caption="Intervals: 95%, clustered by completion.",
    )
