"""Worlds by name: `world/NAME[,param=value…]`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from freerun.errors import UsageError, nearest
from freerun.worlds.authors import LATENTS, authors
from freerun.worlds.base import World
from freerun.worlds.hmm import even_process, golden_mean, mess3, rrxor, z1r
from freerun.worlds.markov import random_chain
from freerun.worlds.pcfg import small_sentences

Values = dict[str, str]


def _markov(values: Values) -> World[Any]:
    return random_chain(
        _number(values, "symbols", 8),
        seed=_number(values, "seed", 0),
        concentration=_real(values, "concentration", 0.3),
        order=_number(values, "order", 1),
    )


def _authors(values: Values) -> World[Any]:
    world = authors(_number(values, "seed", 0))
    known = {x.name: values[x.name] for x in LATENTS if x.name in values}
    return world.given(known) if known else world


WORLDS: dict[str, tuple[Callable[[Values], World[Any]], tuple[str, ...], str]] = {
    "markov": (_markov, ("symbols", "seed", "concentration", "order"), "chain of an order with Dirichlet rows"),
    "even": (lambda v: even_process(_real(v, "p", 0.5)), ("p",), "ones in blocks of even length: no finite order"),
    "golden_mean": (lambda v: golden_mean(_real(v, "p", 0.5)), ("p",), "no two ones in a row"),
    "rrxor": (
        lambda v: rrxor(_real(v, "p1", 0.5), _real(v, "p2", 0.5)),
        ("p1", "p2"),
        "random bit, random bit, their exclusive or",
    ),
    "mess3": (
        lambda v: mess3(_real(v, "x", 0.15), _real(v, "a", 0.6)),
        ("x", "a"),
        "three sticky states seen through noise: beliefs form a fractal",
    ),
    "z1r": (lambda v: z1r(_real(v, "p", 0.5)), ("p",), "zero, one, random bit"),
    "pcfg": (
        lambda v: small_sentences(_real(v, "nesting", 0.1)),
        ("nesting",),
        "sentences of a small grammar with brackets, one after another",
    ),
    "authors": (
        _authors,
        ("seed", *(x.name for x in LATENTS)),
        "2 publications × 2 authors × 2 dates of chains; fix a latent to know it (publication=onion)",
    ),
}


def load_world(spec: str) -> World[Any]:
    """Build `NAME[,param=value…]`.

    Raises:
        UsageError: no such world or parameter, or a value that it cannot have.
    """
    name, *settings = spec.split(",")
    if name not in WORLDS:
        raise UsageError(f"unknown world {name!r}{nearest(name, WORLDS)}; known: {', '.join(WORLDS)}")
    make, allowed, _ = WORLDS[name]
    values: Values = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in allowed:
            raise UsageError(
                f"world/{name} has no parameter {key!r}{nearest(key, allowed)}; it has {', '.join(allowed)}"
            )
        if key in values:
            raise UsageError(f"world/{spec} gives {key} twice")
        values[key] = value
    return make(values)


def _number(values: Values, key: str, default: int) -> int:
    try:
        return int(values.get(key, default))
    except ValueError:
        raise UsageError(f"{key}={values[key]!r} is not a whole number") from None


def _real(values: Values, key: str, default: float) -> float:
    try:
        value = float(values.get(key, default))
    except ValueError:
        raise UsageError(f"{key}={values[key]!r} is not a number") from None
    if math.isinf(value):
        raise UsageError(f"{key}={values[key]!r} is not a finite number")
    return value
