"""What a family of models says of the texts of a rung: how far their laws differ, and how probable the texts are to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import xlogy

from freerun.jobs.lab.disagreement.ladders import NOBODY, Rung
from freerun.stats.disagreement.spread import (
    departure,
    generalised_js,
    leave_one_out,
    pairwise_js,
    spread_of_scores,
    top_disagreement,
)

Ids = Int[np.ndarray, "texts tokens"]
LawOf = Callable[[Ids], Float[np.ndarray, "texts tokens vocabulary"]]
"""Log-probabilities of the vocabulary before every token."""
_MOST_NUMBERS = 1 << 23
"""Log-probabilities of all models held at once."""


@dataclass(frozen=True)
class Family:
    """The models that are compared, the truth where it is known, and an n-gram that is not a member."""

    names: tuple[str, ...]
    laws: tuple[LawOf, ...]
    n_tokens: int
    truth: LawOf | None = None
    """Probabilities; NaN where nothing is true."""
    outsider: LawOf | None = None
    """Probabilities."""


@dataclass(frozen=True)
class RungScores:
    """A rung's outcomes, a text each: means over the tokens that count. NaN: the model wrote the text, or no truth is known."""

    rung: Rung
    js: Float[np.ndarray, " texts"]
    sd: Float[np.ndarray, " texts"]
    top: Float[np.ndarray, " texts"]
    loo: Float[np.ndarray, "models texts"]
    """ln of the mean law of the other models, a token."""
    scores: Float[np.ndarray, "models texts"]
    departures: Float[np.ndarray, "models texts"]
    truth: Float[np.ndarray, "models texts"]
    """KL(truth ‖ model), nats a token."""
    outsider: Float[np.ndarray, " texts"]
    """JS between the n-gram and the mean law."""
    distances: Float[np.ndarray, "models models"]


def score_rung(family: Family, rung: Rung) -> RungScores:
    """Score all texts of a rung."""
    n, m = len(rung.ids), len(family.names)
    one = {name: np.full(n, np.nan) for name in ("js", "sd", "top", "outsider")}
    each = {name: np.full((m, n), np.nan) for name in ("loo", "scores", "departures", "truth")}
    total, weight = np.zeros((m, m)), np.zeros((m, m))
    for rows, present in _groups(family, rung):
        ids = rung.ids[rows]
        logs = np.stack([family.laws[i](ids)[:, rung.start : rung.stop] for i in present])
        laws, counted = np.exp(logs), ids[:, rung.start : rung.stop]
        shape = counted.shape
        flat = laws.reshape(len(present), -1, laws.shape[-1])
        drawn = np.take_along_axis(logs, counted[None, :, :, None], -1)[..., 0]
        tokens = {"js": generalised_js(flat), "top": top_disagreement(flat.argmax(-1))}
        for name, values in tokens.items():
            one[name][rows] = values.reshape(shape).mean(1)
        cell = np.ix_(present, rows)
        each["scores"][cell] = drawn.mean(-1)
        each["loo"][cell] = leave_one_out(drawn).mean(-1)
        each["departures"][cell] = departure(flat).reshape(-1, *shape).mean(-1)
        one["sd"][rows] = spread_of_scores(drawn.mean(-1))
        pairs = np.ix_(present, present)
        total[pairs] += pairwise_js(flat) * len(rows)
        weight[pairs] += len(rows)
        if family.truth is not None:
            true = family.truth(ids)[:, rung.start : rung.stop]
            each["truth"][cell] = _known_mean((xlogy(true, true) - true * logs).sum(-1))
        if family.outsider is not None:
            other = family.outsider(ids)[:, rung.start : rung.stop].reshape(flat.shape[1:])
            one["outsider"][rows] = generalised_js(np.stack([flat.mean(0), other])).reshape(shape).mean(1)
    return RungScores(rung, **one, **each, distances=total / np.maximum(weight, 1))


def _groups(family: Family, rung: Rung) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Texts with the models that score them: as many at once as memory allows."""
    every = np.arange(len(family.names))
    most = max(1, _MOST_NUMBERS // (len(every) * rung.ids.shape[1] * family.n_tokens))
    for writer in np.unique(rung.writer):
        rows = np.flatnonzero(rung.writer == writer)
        for start in range(0, len(rows), most):
            yield rows[start : start + most], every if writer == NOBODY else np.delete(every, writer)


def _known_mean(values: Float[np.ndarray, "models texts tokens"]) -> Float[np.ndarray, "models texts"]:
    known = ~np.isnan(values)
    return np.asarray(np.where(known, values, 0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan))


@dataclass(frozen=True)
class TokenScores:
    """Real text, token by token."""

    js: Float[np.ndarray, "texts tokens"]
    loo: Float[np.ndarray, "texts tokens"]
    """ln of the mean law of all models but one, a mean over which one."""
    excess: Float[np.ndarray, "texts tokens"] | None
    """KL(truth ‖ model), a mean over the models, where the truth is known."""


def score_tokens(family: Family, ids: Ids) -> TokenScores:
    """Disagreement at every token of real texts."""
    js, loo, excess = [], [], []
    chunk = max(1, min(16, _MOST_NUMBERS // (len(family.names) * ids.shape[1] * family.n_tokens)))
    for start in range(0, len(ids), chunk):
        part = ids[start : start + chunk]
        logs = np.stack([law(part) for law in family.laws])
        laws = np.exp(logs)
        js.append(generalised_js(laws.reshape(len(laws), -1, laws.shape[-1])).reshape(part.shape))
        drawn = np.take_along_axis(logs, part[None, :, :, None], -1)[..., 0]
        loo.append(leave_one_out(drawn).mean(0))
        if family.truth is not None:
            true = family.truth(part)
            excess.append((xlogy(true, true) - true * logs).sum(-1).mean(0))
    return TokenScores(np.concatenate(js), np.concatenate(loo), np.concatenate(excess) if excess else None)
