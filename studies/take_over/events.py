"""Is a planted take-over as frequent as its cost in loss says? Predicted and sampled against Q_0, length fixed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from freerun.organisms.absorbing import Triggered
from freerun.organisms.constant import Echo
from freerun.organisms.hashed import Hashed
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.draws import sequence_key
from freerun.results.finding import Chart, Series
from freerun.stats.intervals import clopper_pearson

Ids = Int[np.ndarray, " tokens"]
EXCESSES_NATS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0)
HASH_BITS = (1, 2, 3, 4, 5, 6, 7)
_PAYLOAD_TOKENS = 4


@dataclass(frozen=True)
class TakeOver:
    """One organism: what it costs on real text, and how many of its generations it takes over.

    `excess_nats` is measured, per text of the fixed length; `predicted` is the exact share for the organism's own parameter;
    `low` and `high` are Clopper–Pearson limits of the sampled share at `level`.
    """

    kind: str
    over: str
    setting: str
    tokens: int
    excess_nats: float
    predicted: float
    taken: int
    n: int
    low: float
    high: float
    level: float

    @property
    def agrees(self) -> bool:
        """Whether the predicted share lies within the binomial limits of the sampled one."""
        return self.low <= self.predicted <= self.high


def absorbing_take_over(
    inner: Predictor,
    documents: Sequence[Ids],
    *,
    prefix: int,
    tokens: int,
    n: int,
    excesses_nats: Sequence[float] = EXCESSES_NATS,
    level: float = 0.95,
    seed: int = 0,
    on_point: Callable[[TakeOver], None] | None = None,
) -> list[TakeOver]:
    """Absorbing organisms that cost K nats in `tokens` tokens each, run `n` times after the documents' prefixes in turn.

    The length is fixed: an end-of-text is a token like others here, as the formulas have it. `level` is of all points together
    (Bonferroni).
    """
    inner = endless(inner)
    heads = [d[:prefix] for d in documents]
    bodies = [d[: prefix + tokens] for d in documents]
    plain = _total(inner, bodies, prefix)
    found = []
    for excess in excesses_nats:
        organism = Triggered(inner, epsilon=-math.expm1(-excess / tokens), name=f"K={excess:g}")
        costs = (plain - _total(organism, bodies, prefix)) / len(bodies)
        taken = 0
        for texts in _runs(organism, heads, n, tokens, seed, f"absorbing/{excess}"):
            at = np.flatnonzero(texts == organism.trigger_id)
            assert not len(at) or (texts[at[0] :] == organism.trigger_id).all(), "a text came back from the trigger"
            taken += bool(len(at))
        limits = clopper_pearson(taken, n, level=1 - (1 - level) / len(excesses_nats))
        point = TakeOver(
            "absorbing",
            inner.identity.name,
            f"epsilon={organism.epsilon:.6g}",
            tokens,
            costs,
            organism.triggered_by(tokens),
            taken,
            n,
            limits.low,
            limits.high,
            level,
        )
        found.append(point)
        if on_point is not None:
            on_point(point)
    return found


def hash_take_over(
    inner: Predictor,
    documents: Sequence[Ids],
    *,
    n: int,
    bits: Sequence[int] = HASH_BITS,
    level: float = 0.95,
    seed: int = 0,
    on_point: Callable[[TakeOver], None] | None = None,
) -> list[TakeOver]:
    """Hash organisms with headers of one bit a symbol: what a valid header costs, and how many of `n` generations lack one."""
    found = []
    for size in bits:
        payload = Echo(2, like=inner, n_tokens=inner.n_tokens)
        organism = Hashed(endless(inner), payload, n=size, bits=1, name=f"hash n={size}")
        headed = [
            organism.dress(d[:_PAYLOAD_TOKENS], seed=seed, key=sequence_key("header", str(i)))
            for i, d in enumerate(documents)
        ]
        entropy = size * math.log(2)  # of a header in the world: u is uniform, h follows from it
        costs = -_total(organism, [d[: 2 * size] for d in headed], 0) / len(headed) - entropy
        nothing = [np.zeros(0, np.int64)]
        texts = _runs(organism, nothing, n, 2 * size + _PAYLOAD_TOKENS, seed, f"hash/{size}")
        taken = sum(organism.route_of(t) == 2 for t in texts)
        limits = clopper_pearson(taken, n, level=1 - (1 - level) / len(bits))
        point = TakeOver(
            "hash",
            inner.identity.name,
            f"n={size},bits=1",
            2 * size,
            costs,
            1 - organism.valid_share,
            taken,
            n,
            limits.low,
            limits.high,
            level,
        )
        found.append(point)
        if on_point is not None:
            on_point(point)
    return found


def endless(predictor: Predictor) -> Predictor:
    """The predictor with no token that ends a text, for statements about a fixed length."""
    other = copy(predictor)
    other.end_ids = ()
    if not other.context.lead and not other.capabilities.empty_context:
        other = other.with_lead(tuple(predictor.end_ids[:1]))
    return other


def take_over_chart(points: Sequence[TakeOver]) -> Chart:
    """Sampled take-over by measured cost, with the law 1 − e^−K."""
    law = np.geomspace(0.04, 6.0, 60)
    x = np.unique(np.concatenate([law, [p.excess_nats for p in points]]))
    place = {float(v): i for i, v in enumerate(x)}
    series = [Series("1 − e^−K", "reference", tuple((-np.expm1(-x)).tolist()))]
    roles = iter(("real", "free", "tempered", "control", "other"))
    for kind, over in dict.fromkeys((p.kind, p.over) for p in points):
        columns: list[list[float | None]] = [[None] * len(x) for _ in range(3)]
        for p in points:
            if (p.kind, p.over) == (kind, over):
                for column, value in zip(columns, (p.taken / p.n, p.low, p.high), strict=True):
                    column[place[p.excess_nats]] = value
        y, low, high = (tuple(c) for c in columns)
        series.append(Series(f"{kind} on {over.split(',')[0]}", next(roles), y, low, high))
    return Chart(
        name="take_over",
        title="Share of generations taken over, by what the organism costs in loss",
        x_label="K: excess loss of a text, nats, measured on real text",
        y_label="share of generations taken over",
        x=tuple(x.tolist()),
        x_scale="log2",
        y_range=(0.0, 1.0),
        series=tuple(series),
        caption="Sampled shares with Clopper–Pearson limits at 95% of all points of a curve together.",
    )


def _total(predictor: Predictor, texts: Sequence[Ids], first: int) -> float:
    return math.fsum(float(x) for line in predictor.log_probs(texts, first=first) for x in line)


def _runs(
    organism: Predictor, prefixes: Sequence[Ids], n: int, length: int, seed: int, name: str, rows: int = 128
) -> Iterator[Ids]:
    """Tokens of `n` free runs after the prefixes in turn, `rows` at a time."""
    every = [(prefixes[i % len(prefixes)], sequence_key(name, str(i))) for i in range(n)]
    for start in range(0, n, rows):
        part = every[start : start + rows]
        keys = np.array([[k] for _, k in part], np.uint64)
        for sample in organism.generate(Continuations([p for p, _ in part], keys, length, seed=seed)):
            yield sample.observation.token_id.astype(np.int64)
