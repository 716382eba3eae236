"""Ladders of texts that become less and less probable, rung by rung."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Int

from freerun.jobs.lab.disagreement.blocks import Network
from freerun.jobs.lab.disagreement.plan import stream
from freerun.jobs.lab.disagreement.training import sampled

Ids = Int[np.ndarray, "texts tokens"]
NOBODY = -1
TEMPERATURES = (1.1, 1.3, 1.6, 2.0, 3.0)
RATES = (0.05, 0.1, 0.2, 0.5, 1.0)
PERIOD = 8


@dataclass(frozen=True)
class Rung:
    """Texts of which the tokens from `start` to `stop` count. `writer`: the member that wrote a text, which then does not
    score it."""

    ladder: str
    name: str
    ids: Ids
    start: int
    stop: int
    units: Int[np.ndarray, " texts"]
    writer: Int[np.ndarray, " texts"]


LADDERS: dict[str, str] = {
    "real": "test texts, all tokens",
    "real by position": "test texts, by the token's place in the text",
    "splices": "pieces of different test texts put together, shorter and shorter",
    "permutation": "test texts in which a share ρ of the tokens change places",
    "temperature": "texts that the models wrote at a temperature, each model as many; its writer does not score a text",
    "own samples": "texts that the models wrote at temperature 1, by position; its writer does not score a text",
    "loops": f"a phrase of {PERIOD} tokens of a test text again and again, by the number of its copy",
    "payload": "half a test text, then one token without end (what an absorbing organism writes), by distance",
}


def text_rungs(test: Ids, units: Int[np.ndarray, " texts"], n: int, n_tokens: int, *, seed: int) -> Iterator[Rung]:
    """The rungs that need no model."""
    length = test.shape[1]
    chosen = spread_over_units(units, n)
    real, own_units = test[chosen], units[chosen]
    nobody = np.full(len(real), NOBODY)

    def rung(ladder: str, name: str, ids: Ids, start: int = 0, stop: int = length) -> Rung:
        return Rung(ladder, name, ids, start, stop, own_units, nobody)

    yield rung("real", "real text", real)
    for start, stop in position_bands(length):
        yield rung("real by position", band_name(start, stop), real, start, stop)
    for piece in _pieces(length):
        yield rung("splices", f"pieces of {piece}", _spliced(test, real, piece, stream(seed, "splice", piece)))
    for rate in RATES:
        yield rung("permutation", f"ρ = {rate:g}", _permuted(real, rate, stream(seed, "permutation", rate)))
    uniform = stream(seed, "uniform").integers(0, n_tokens, real.shape)
    yield rung("temperature", "t = ∞", uniform)
    yield from _loop_rungs(rung, real)
    half = length // 2
    token = stream(seed, "payload").integers(0, n_tokens, (len(real), 1))
    payload = np.concatenate([real[:, :half], np.repeat(token, length - half, 1)], 1)
    for start, stop in position_bands(length - half):
        yield rung("payload", f"after {band_name(start, stop)}", payload, half + start, half + stop)


def _loop_rungs(rung: Callable[..., Rung], real: Ids) -> Iterator[Rung]:
    length = real.shape[1]
    looping = np.tile(real[:, :PERIOD], (1, -(-length // PERIOD)))[:, :length]
    copies = length // PERIOD
    edges = [c for c in (0, 1, 2, 4, 8, 16, 32, 64) if c < copies] + [copies]
    for a, b in pairwise(edges):
        name = f"copy {a + 1}" if b == a + 1 else f"copies {a + 1} to {b}"
        yield rung("loops", name, looping, a * PERIOD, b * PERIOD)


def written_tokens(n_networks: int, n: int, length: int) -> int:
    """Tokens of all rungs that so many members write."""
    rungs = len(position_bands(length)) + 1 + len(TEMPERATURES)
    return rungs * _texts_each(n, n_networks) * n_networks * length


def _texts_each(n: int, n_networks: int) -> int:
    return max(1, math.ceil(n / max(1, n_networks)))


def written_rungs(networks: Sequence[Network], n: int, length: int, *, seed: int) -> Iterator[Rung]:
    """The rungs that members write, each as many texts as any other."""
    each = _texts_each(n, len(networks))
    writer = np.repeat(np.arange(len(networks)), each)
    for temperature in (1.0, *TEMPERATURES):
        uniforms = [stream(seed, "own", temperature, i).random((each, length)) for i in range(len(networks))]
        ids = np.concatenate(
            [sampled(net, u, temperature=temperature) for net, u in zip(networks, uniforms, strict=True)]
        )
        units = np.arange(len(ids))
        if temperature == 1.0:
            for start, stop in position_bands(length):
                yield Rung("own samples", band_name(start, stop), ids, start, stop, units, writer)
        yield Rung("temperature", f"t = {temperature:g}", ids, 0, length, units, writer)


def spread_over_units(units: Int[np.ndarray, " texts"], n: int) -> Int[np.ndarray, " chosen"]:
    """Indices of at most n texts, from as many units as possible."""
    turn = np.array([int((units[:i] == u).sum()) for i, u in enumerate(units)])
    return np.argsort(turn, kind="stable")[:n]


def position_bands(length: int) -> list[tuple[int, int]]:
    """Bands of positions whose length doubles.

    >>> position_bands(64)
    [(0, 4), (4, 8), (8, 16), (16, 32), (32, 64)]
    """
    edges = [0, *[2**k for k in range(2, 30) if 2**k < length], length]
    return list(pairwise(edges))


def band_name(start: int, stop: int) -> str:
    return f"tokens {start + 1} to {stop}"


def _pieces(length: int) -> list[int]:
    return [p for p in (32, 16, 8, 4, 2) if p < length]


def _spliced(test: Ids, real: Ids, piece: int, rng: np.random.Generator) -> Ids:
    """Texts whose pieces come from different test texts, each from its own place there."""
    out = real.copy()
    for start in range(piece, real.shape[1], piece):
        donors = rng.integers(0, len(test), len(real))
        out[:, start : start + piece] = test[donors, start : start + piece]
    return out


def _permuted(real: Ids, rate: float, rng: np.random.Generator) -> Ids:
    out = real.copy()
    length = real.shape[1]
    for row in out:
        places = np.flatnonzero(rng.random(length) < rate)
        row[places] = row[rng.permutation(places)]
    return out
