"""Worlds by name: `world/NAME[,param=value…]`."""

from __future__ import annotations

from collections.abc import Callable

from freerun.errors import UsageError, nearest
from freerun.worlds.markov import MarkovWorld, random_chain


def _markov(values: dict[str, str]) -> MarkovWorld:
    return random_chain(
        _number(values, "symbols", 8),
        seed=_number(values, "seed", 0),
        concentration=_real(values, "concentration", 0.3),
    )


WORLDS: dict[str, tuple[Callable[[dict[str, str]], MarkovWorld], tuple[str, ...], str]] = {
    "markov": (_markov, ("symbols", "seed", "concentration"), "first-order chain with Dirichlet rows"),
}


def load_world(spec: str) -> MarkovWorld:
    """Build `NAME[,param=value…]`.

    Raises:
        UsageError: no such world or parameter, or a value that is no number.
    """
    name, *settings = spec.split(",")
    if name not in WORLDS:
        raise UsageError(f"unknown world {name!r}{nearest(name, WORLDS)}; known: {', '.join(WORLDS)}")
    make, allowed, _ = WORLDS[name]
    values = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in allowed:
            raise UsageError(
                f"world/{name} has no parameter {key!r}{nearest(key, allowed)}; it has {', '.join(allowed)}"
            )
        values[key] = value
    return make(values)


def _number(values: dict[str, str], key: str, default: int) -> int:
    try:
        return int(values.get(key, default))
    except ValueError:
        raise UsageError(f"{key}={values[key]!r} is not a whole number") from None


def _real(values: dict[str, str], key: str, default: float) -> float:
    try:
        return float(values.get(key, default))
    except ValueError:
        raise UsageError(f"{key}={values[key]!r} is not a number") from None
