"""How far apart are the two laws at one token?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from freerun.errors import TooFewDocuments
from freerun.findings.drift import bin_middles
from freerun.findings.two_laws import quantities
from freerun.findings.two_laws.evidence import ARM_WORDS, FLOOR_WORDS, TwoModels
from freerun.results.finding import Cell, Chart, Estimate, Finding, Row, Series, Table, with_limits
from freerun.results.quantity import LEAST_DOCUMENTS, Quantity
from freerun.stats.intervals import Interval, cluster_ratio, has_no_width
from freerun.stats.position import log_spaced_edges
from freerun.stats.two_laws.llama_cpp import Row as LlamaCppRow
from freerun.stats.two_laws.llama_cpp import llama_cpp_table
from freerun.stats.two_laws.texts import TwoLaws
from freerun.stats.two_laws.token_means import TokenMean, TokenMeans, by_position, token_means, token_units

NAME = "tokens"
QUESTION = "How far apart are the two laws at one token?"
_HOW = "mean over tokens, document-clustered interval"


def tokens_finding(models: TwoModels) -> Finding:
    """KL both ways, total variation, agreement on the top token, and the loss, on real text; llama.cpp's table under its names."""
    arm = models.token_arm
    laws = models.laws(arm)
    assert laws is not None
    try:
        means = token_means(laws)
    except TooFewDocuments as error:
        return Finding.unknown(
            NAME, QUESTION, f"This is not known: {error}.", quantities.KL.estimate(None, text="unknown")
        )
    where = ARM_WORDS[arm]
    return Finding(
        name=NAME,
        question=QUESTION,
        sentence=_sentence(models, means, where),
        status="neutral",
        estimates=_estimates(means, laws),
        charts=(_chart(models),),
        tables=(_arms_table(models), _llama_cpp(laws, where)),
        licence=(
            f"Unit: the document; {where}, each token after all before it. 95% intervals, by position pointwise; extremes have none. "
            "On real text these are descriptions: real text visits other contexts than the models' own, so that no certificate follows. "
            f"{_small(models)}"
            "Limits of quantiles hold at any number of documents, even if a document is large throughout, and are open where there are too "
            "few to say so much of the tail."
        ),
        notes=_notes(models, laws, means),
    )


def _small(models: TwoModels) -> str:
    """What is said of means where there are few documents: a limit of Δp missed 3.8% instead of 2.5% at 24 of them."""
    return (
        ""
        if models.n_units >= LEAST_DOCUMENTS
        else f"With fewer than {LEAST_DOCUMENTS} documents intervals of means are rough. "
    )


def _sentence(models: TwoModels, means: TokenMeans, where: str) -> str:
    same = means.same_top.interval
    agree = "" if same is None else f"; both have the same most probable token {_percent(same)} of the time"
    kl = means.kl_pq
    if kl.interval is None:
        return (
            f"On {where} KL(A‖B) is infinite: at {kl.infinite_tokens:,} of {kl.n_tokens:,} tokens A gives mass to what B holds "
            f"impossible{agree}."
        )
    return f"On {where} B's law lies {_nats(kl.interval)} nats a token from A's (KL(A‖B)){agree}."


def _nats(x: Interval) -> str:
    return with_limits(replace(x, low=max(x.low, 0.0)), ".3g")  # a divergence is never negative


def _percent(x: Interval) -> str:
    return with_limits(x, ".1%")


def _estimates(means: TokenMeans, laws: TwoLaws) -> tuple[Estimate, ...]:
    pairs = (
        (quantities.KL, means.kl_pq),
        (quantities.KL_REVERSE, means.kl_qp),
        (quantities.SAME_TOP, means.same_top),
        (quantities.TOKEN_TV, means.tv),
        (quantities.LOSS_DIFFERENCE, means.loss_difference),
        (quantities.DELTA_P, means.delta_p),
    )
    return tuple(_estimate(quantity, mean) for quantity, mean in pairs)


def _estimate(quantity: Quantity, mean: TokenMean) -> Estimate:
    if mean.interval is None:
        return quantity.estimate(
            None, text=f"infinite ({mean.infinite_tokens:,} of {mean.n_tokens:,} tokens)", method=_HOW
        )
    return quantity.estimate(mean.interval, method=_HOW)


def infinite_names(models: TwoModels) -> tuple[str, ...]:
    """Names of the estimates here that are infinite."""
    laws = models.laws(models.token_arm)
    assert laws is not None
    columns = ((quantities.KL, laws.kl_pq), (quantities.KL_REVERSE, laws.kl_qp))
    return tuple(quantity.name for quantity, column in columns if np.isinf(column[laws.inside]).any())


def _notes(models: TwoModels, laws: TwoLaws, means: TokenMeans) -> tuple[str, ...]:
    notes = [
        "KL(A‖B) asks what B would pay for A's expectations; llama.cpp prints it as KLD with A as its base. Δp is B's probability less "
        "A's, llama.cpp's sign.",
    ]
    texts = models.texts(models.token_arm)
    assert texts is not None
    added = texts.added_mass[texts.inside]
    if np.nanmax(added, initial=0.0) > 0:
        notes.append(
            f"B gives ids that A lacks {_mass(added, laws)} of its mass on average (at most {np.nanmax(added):.3g}): A holds them "
            "impossible, so that KL(B‖A) is infinite."
        )
    padded = texts.padding_mass[texts.inside]
    if np.nanmax(padded, initial=0.0) > 0:
        notes.append(
            f"Rows of padding that one output layer has beyond the other's hold {_mass(padded, laws)} of its mass on average (at most "
            f"{np.nanmax(padded):.3g}); they were left out, and the rest was made to sum to 1."
        )
    if means.loss_difference.interval is None:
        impossible = int((~np.isfinite(laws.log_p[laws.inside]) | ~np.isfinite(laws.log_q[laws.inside])).sum())
        notes.append(f"{impossible:,} tokens have no mass under one of the laws: its loss is infinite.")
    return tuple(notes)


def _mass(values: Float[np.ndarray, " tokens"], laws: TwoLaws) -> str:
    """A mean over tokens with its interval; tokens of which it is not known are left out."""
    known = np.isfinite(values)
    found = cluster_ratio(values[known].astype(np.float64), np.ones(int(known.sum())), token_units(laws)[known])
    return _nats(found)


# ---- pictures and tables -----------------------------------------------------------------------------------------------


def _chart(models: TwoModels) -> Chart:
    edges = log_spaced_edges(models.plan.tokens)
    rows = (
        (models.token_arm, "kl_pq", "KL(A‖B)", "real"),
        (models.token_arm, "kl_qp", "KL(B‖A)", "free"),
        ("floor_real", "kl_pq", "floor: A against itself at another batch width", "control"),
        ("floor_real_b", "kl_pq", "floor: B against itself at another batch width", "tempered"),
    )
    series = []
    for arm, column, label, role in rows:
        laws = models.laws(arm)
        if laws is None:
            continue
        curve, infinite = by_position(laws, "kl_pq" if column == "kl_pq" else "kl_qp", edges)
        if infinite:
            label += f", {infinite:,} infinite tokens left out"
        series.append(Series.curve(label, role, curve.mean, curve.low, curve.high))
    return Chart(
        name="kl_by_position",
        title=f"Divergence of the next token by position, {ARM_WORDS[models.token_arm]}",
        x_label="tokens after the cut",
        y_label="nats a token",
        x=bin_middles(edges),
        x_scale="log2",
        series=tuple(series),
        caption="Bands: pointwise 95%, by document. What lies on a floor cannot be told from computing that model's law again.",
    )


def _arms_table(models: TwoModels) -> Table:
    """The same numbers on every kind of text."""
    rows: list[Row] = []
    for arm, words in {
        **ARM_WORDS,
        **FLOOR_WORDS,
    }.items():
        laws = models.laws(arm)
        if laws is None:
            continue
        means = token_means(laws)
        cells = (means.kl_pq, means.kl_qp, means.tv, means.same_top)
        rows.append((words, *(_cell(m) for m in cells), Cell.number(means.kl_pq.n_tokens, ",")))
    return Table(
        "two_laws_by_arm",
        "Means over tokens, by kind of text (95%)",
        ("text", "KL(A‖B), nats", "KL(B‖A), nats", "TV", "same top token", "tokens"),
        tuple(rows),
    )


def _cell(mean: TokenMean) -> Cell:
    if mean.interval is None:
        return Cell(f"∞ ({mean.infinite_tokens:,} tokens)", None)
    x = mean.interval
    if has_no_width(x.low, x.high):
        return Cell.number(x.value, ".3g")
    return Cell(_nats(x), x.value, "", max(x.low, 0.0), x.high)


def _llama_cpp(laws: TwoLaws, where: str) -> Table:
    found = llama_cpp_table(laws)
    return Table(
        "llama_cpp",
        f"llama.cpp's table (llama-perplexity --kl-divergence), {where}; A is the base",
        ("under its name", "value", "95% by document", "its own ± (tokens independent)"),
        tuple(_llama_cpp_row(row) for row in found.rows),
    )


def _llama_cpp_row(row: LlamaCppRow) -> Row:
    form = ".3f" if row.unit == "%" else ".6f"
    unit = f" {row.unit}" if row.unit else ""
    value = (
        Cell(f"{row.value:{form}}{unit}".replace("-", "−"), row.value, row.unit)
        if row.value is not None
        else Cell("∞", None)
    )
    known = row.low is not None or row.high is not None
    low, high = ("open" if end is None else f"{end:{form}}" for end in (row.low, row.high))
    interval = Cell(f"{low} to {high}".replace("-", "−") if known else "–", None, row.unit, row.low, row.high)
    error = row.independent_tokens_error
    return row.name, value, interval, Cell.number(error, form) if error is not None else Cell.number(None)
