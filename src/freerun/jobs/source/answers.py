"""The values of each readout, and the sentences made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from freerun.counted import counted
from freerun.jobs.predict import spelled_tokens
from freerun.jobs.source.coherence import OwnPath
from freerun.jobs.source.continuation import UNREAD, LabelCounts
from freerun.jobs.source.file import OTHER
from freerun.jobs.source.question import Question
from freerun.predictors.base import Predictor
from freerun.report.pages.prediction import chance, spelled
from freerun.results.predict import SpelledToken
from freerun.results.source import (
    SURE,
    Agreement,
    ByTemplate,
    Coherence,
    ContinuationReading,
    DriftBand,
    Example,
    FittedHeader,
    HeaderScoring,
    Infilling,
    Mover,
    OwnText,
    Word,
    WordShift,
)
from freerun.stats.sources.coherence import MartingaleBand, martingale_band
from freerun.stats.sources.posterior import (
    NATS_TO_BITS,
    cumulative_likelihood,
    entropy_bits,
    information_bits,
    posterior_of,
    shifts,
    source_path,
    strongest,
    tokens_until_settled,
    tokens_until_sure,
)

N_EXAMPLES = 12
LEVEL = 0.95
_MOST_TOKENS = 12
"""A word of more tokens is cut: there are scripts without blanks."""
N_MOVERS = 5


def header_answer(
    question: Question,
    log_probs: Sequence[Float[np.ndarray, "templates tokens"]],
    words: Sequence[Word],
    *,
    beta: float | None,
) -> HeaderScoring:
    """The posterior by header scoring; with a fitted β beside it where one is known."""
    likelihood = np.stack([cumulative_likelihood(x) for x in log_probs])
    path = source_path(question.prior, likelihood)
    moved = word_shifts(words, path.posterior, question.names)
    last = path.posterior[-1]
    fitted = None
    if beta is not None and beta != 1.0:
        tempered = source_path(question.prior, likelihood, beta=beta)
        end, until = tempered.posterior[-1], tokens_until_sure(tempered.posterior, level=SURE)
        top = question.names[int(end.argmax())]
        fitted = FittedHeader(beta, end, top, until, tempered.posterior, tempered.entropy_bits)
    return HeaderScoring(
        beta=1.0,
        posterior=last,
        top=question.names[int(last.argmax())],
        log_likelihood_nats=likelihood[:, -1],
        by_template=_by_template(question, log_probs),
        path=path.posterior,
        entropy_bits=path.entropy_bits,
        information_bits=path.information_bits,
        shift=path.shift,
        words=moved,
        movers=movers(words, moved),
        tokens_to_90=tokens_until_sure(path.posterior, level=SURE),
        settled_tokens=tokens_until_settled(path.posterior, level=SURE),
        fitted=fitted,
        marginals=tuple(_marginal(question, last, i) for i in range(len(question.parts[0]))) if question.parts else (),
    )


def _by_template(question: Question, log_probs: Sequence[Float[np.ndarray, "templates tokens"]]) -> ByTemplate:
    n = max(len(x) for x in log_probs)
    sums = np.array([[x[min(j, len(x) - 1)].sum() for x in log_probs] for j in range(n)])
    alone = posterior_of(question.prior, sums)
    return ByTemplate(alone.min(axis=0), alone.max(axis=0))


def _marginal(question: Question, posterior: Float[np.ndarray, " values_1"], at: int) -> dict[str, float]:
    """A joint posterior as one over the values of its latent number `at`."""
    out: dict[str, float] = {}
    for part, p in zip(question.parts, posterior, strict=False):
        out[part[at]] = out.get(part[at], 0.0) + float(p)
    return {**out, OTHER: float(posterior[-1])}


def continuation_answer(sampled: LabelCounts) -> ContinuationReading:
    """Shares of what was named, unread last, with examples: those first in which a value was read."""
    examples = [Example(*x) for x in sorted(sampled.written, key=lambda x: x[1] == UNREAD)[:N_EXAMPLES]]
    return ContinuationReading(
        **vars(sampled.shares), classes=sampled.classes, counts=sampled.counts, examples=tuple(examples)
    )


# ---- do they agree? --------------------------------------------------------------------------------------------------


def agreement(
    names: Sequence[str], scored: HeaderScoring, infilled: Infilling | None, continued: ContinuationReading | None
) -> Agreement:
    """Which value each readout puts first, and how far they are apart (total variation; values named only, for continuations)."""
    header = scored.posterior
    tops: dict[str, str | None] = {"header": scored.top}
    apart: dict[str, float | None] = {}
    if infilled is not None:
        tops["infilling"] = names[int(infilled.posterior.argmax())]
        apart["header_infilling"] = float(0.5 * np.abs(header - infilled.posterior).sum())
    if continued is not None:
        counts, named = np.array(continued.counts[:-1], np.float64), header[:-1]
        first = np.flatnonzero(counts == counts.max())
        tops["continuation"] = names[int(first[0])] if counts.sum() and len(first) == 1 else None
        both = counts.sum() and named.sum()
        apart["header_continuation"] = (
            float(0.5 * np.abs(named / named.sum() - counts / counts.sum()).sum()) if both else None
        )
    agree = len(set(tops.values())) == 1 and None not in tops.values() if len(tops) > 1 else None
    return Agreement(tops, apart, agree, _agreement_sentence(tops, agree))


def _agreement_sentence(tops: Mapping[str, str | None], agree: bool | None) -> str:
    words = {"header": "header scoring", "infilling": "infilling", "continuation": "continuations"}
    if agree is None:
        return "One readout only, so nothing to agree with."
    if agree:
        return f"All {len(tops)} readouts put {_named(tops['header'])} first."
    parts = [f"{words[k]}: {_named(v) if v else 'no value more often than another'}" for k, v in tops.items()]
    return f"The readouts disagree on what is most probable ({'; '.join(parts)}): take no single one of them for the answer."


def _named(value: str | None) -> str:
    return "none of these" if value == OTHER else str(value)


def latent_sentence(question: Question, header: HeaderScoring, n_tokens: int) -> str:
    """The answer for a busy reader."""
    top = int(header.posterior.argmax())
    words = (
        f"After {counted(n_tokens, 'token')} the most probable {question.name}, to the model, is {_named(header.top)}: "
        f"{chance(float(header.posterior[top]))}, against {chance(float(question.prior[top]))} before reading (by header scoring)."
    )
    if header.settled_tokens is not None:
        return f"{words} It passes {SURE:.0%} at token {header.settled_tokens} and stays there."
    if header.tokens_to_90 is not None:
        return f"{words} One passed {SURE:.0%} at token {header.tokens_to_90}, and fell back."
    return f"{words} None ever reaches {SURE:.0%}."


# ---- along its own text ----------------------------------------------------------------------------------------------


def coherence_answer(paths: Sequence[Sequence[OwnPath]], question: Question, predictor: Predictor) -> Coherence:
    """The posterior along the model's own continuations, without `other` and with it."""
    without, *beside = [_own_text(some, question.names) for some in paths]
    with_other = beside[0] if beside else None
    texts = tuple(spelled_tokens(predictor, p.ids) for p in paths[0])
    return Coherence(
        len(paths[0]), texts, without, with_other, _coherence_sentence(without, with_other, question.names)
    )


def _own_text(paths: Sequence[OwnPath], names: Sequence[str]) -> OwnText:
    steps = [s for p in paths for s in p.steps]
    n_steps = max(len(p.ids) for p in paths)
    posterior = np.stack([_extended(p.posterior, n_steps + 1, mode="edge") for p in paths])
    drift, variance = (
        np.stack([_extended(np.stack([getattr(s, name) for s in p.steps]), n_steps, mode="constant") for p in paths])
        for name in ("drift", "variance")
    )
    sure = tuple(tokens_until_settled(p.posterior, level=SURE) for p in paths)
    bands = [martingale_band(posterior[:, :, s], variance[:, :, s], level=LEVEL) for s in range(len(names))]
    return OwnText(
        n_tokens=n_steps,
        start=posterior[0, 0],
        mean=posterior.mean(axis=0),
        end=posterior.mean(axis=0)[-1],
        paths=posterior,
        entropy_bits=entropy_bits(posterior).mean(axis=0),
        tv_mean=float(np.mean([s.tv for s in steps])),
        tv_by_step=tuple(float(np.mean([p.steps[t].tv for p in paths if t < len(p.steps)])) for t in range(n_steps)),
        kl_mean_nats=float(np.mean([s.kl_nats for s in steps])),
        drift_rms=float(np.sqrt(np.mean(np.square([s.drift for s in steps])))),
        drift_largest=float(np.abs(drift).max()),
        drift_over_bound=max(float(np.abs(s.drift).max() - s.tv) for s in steps),
        accumulated=np.vstack([np.zeros(len(names)), np.cumsum(drift, axis=1).mean(axis=0)]),
        lost_mass=float(np.mean([s.lost for s in steps])),
        expected_information_bits=float(np.mean([s.expected_information_nats for s in steps]) * NATS_TO_BITS),
        sure_paths=sum(x is not None for x in sure),
        sure_tokens=sure,
        sure_of=tuple(
            names[int(p.posterior[-1].argmax())] if x is not None else None for p, x in zip(paths, sure, strict=True)
        ),
        bands=tuple(_band(b) for b in bands),
        smallest_p=min(1.0, 2 * len(names) * min(min(b.rise_p, b.fall_p) for b in bands)),
    )


def _extended(values: Float[np.ndarray, "steps sources"], n: int, *, mode: Literal["edge", "constant"]) -> Any:
    """A path that ended, with its last row or zeros up to n rows."""
    return np.pad(values, ((0, n - len(values)), (0, 0)), mode=mode)


def _band(band: MartingaleBand) -> DriftBand:
    outside = bool(band.mean[-1] < band.low[-1] - 1e-12 or band.mean[-1] > band.high[-1] + 1e-12)
    return DriftBand(band.low, band.high, float(band.z_score[-1]), outside, band.rise_p, band.fall_p, band.level)


def _coherence_sentence(own: OwnText, beside: OwnText | None, names: Sequence[str]) -> str:
    most = int(np.argmax(np.abs(own.end - own.start)))
    words = [
        f"Writing on by itself for {own.n_tokens} tokens, its belief in {_named(names[most])} goes from "
        f"{chance(own.start[most])} to {chance(own.end[most])} on average over {counted(len(own.paths), 'continuation')}; "
        f"{own.sure_paths} of them end {SURE:.0%} sure of one source."
    ]
    if own.tv_mean < 1e-6:
        words.append("At every step its law is the mixture of what it says when told the source: it is coherent.")
    else:
        words.append(
            f"At a step its law and the mixture of what it says when told the source differ by {chance(own.tv_mean)} of all "
            f"probability, and belief drifts by up to {chance(own.drift_largest)} without evidence: told nothing, the "
            "model is not this mixture of sources."
        )
    if beside is not None:
        words.append(
            f"With the header-free model counted as one more source (it starts with {chance(float(beside.start[-1]))}) the "
            f"difference is {chance(beside.tv_mean)}."
        )
    return " ".join(words)


# ---- tokens and words ------------------------------------------------------------------------------------------------


def words_of(tokens: Sequence[SpelledToken]) -> tuple[Word, ...]:
    """Tokens grouped into words. A text without blanks has a word a token.

    >>> [w.text for w in words_of([SpelledToken(id=0, text=piece) for piece in ("New", " Yo", "rk", "\\n", "A")])]
    ['New', ' York', '\\nA']
    """
    pieces = list(spelled(tokens))
    no_blanks = not any(c.isspace() for piece in pieces for c in piece)
    words: list[Word] = []
    for t, piece in enumerate(pieces):
        last = words[-1].text if words else ""
        begins = not words or no_blanks or (bool(last.strip()) and (piece[:1].isspace() or last[-1].isspace()))
        if begins or t - words[-1].first >= _MOST_TOKENS:
            words.append(Word(t, t, piece))
        else:
            words[-1] = Word(words[-1].first, t, last + piece)
    return tuple(words)


def word_shifts(
    words: Sequence[Word], posterior: Float[np.ndarray, "tokens_1 sources"], names: Sequence[str]
) -> tuple[WordShift, ...]:
    """What each word did to belief."""
    path = posterior[[0, *(w.last + 1 for w in words)]]
    return tuple(
        WordShift(float(moved), float(bits), names[int(d.argmax())], float(d.max()), names[int(d.argmin())])
        for moved, bits, d in zip(shifts(path), information_bits(path), np.diff(path, axis=0), strict=True)
    )


def movers(words: Sequence[Word], moved: Sequence[WordShift]) -> tuple[Mover, ...]:
    """The words that moved most, each with its number in the text."""
    order = strongest(np.array([m.shift for m in moved]), N_MOVERS)
    return tuple(Mover(**asdict(moved[i]), word=int(i), text=words[i].text) for i in order)
