"""Executors by the names that people type: `local`, `pool:4`, `ray`, `ray:ADDRESS,workers=8,cpus=2,gpus=1`."""

from __future__ import annotations

import re

from freerun.errors import UsageError, nearest
from freerun.runs.executors.job import Executor
from freerun.runs.executors.local import Local
from freerun.runs.executors.pool import Pool
from freerun.runs.executors.ray import OnRay
from freerun.runs.provenance import cores

MOST_WORKERS = 256
KINDS = ("local", "pool", "ray")


def executor_named(spec: str) -> Executor:
    """The executor of a name.

    Raises:
        UsageError: no such executor, or a number that cannot be.
    """
    kind, _, rest = spec.partition(":")
    kind, *settings = kind.split(",")
    if kind == "local" and not rest and not settings:
        return Local()
    if kind == "pool":
        if not re.fullmatch(r"\d{1,3}", rest) or not 1 <= int(rest) <= MOST_WORKERS or settings:
            raise UsageError(f"--executor {spec!r}: a pool has a number of processes from 1 to {MOST_WORKERS}: pool:4")
        return Pool(int(rest), threads=max(1, cores() // int(rest)))
    if kind == "ray":
        address, *more = rest.split(",") if rest else [""]
        return _on_ray(spec, address, [*settings, *more])
    raise UsageError(
        f"--executor {spec!r}: there are local, pool:N and ray[:ADDRESS][,workers=N,cpus=N,gpus=N]{nearest(kind, KINDS)}"
    )


def pool_of(workers: int, n_units: int) -> Executor:
    """Whoever suits so many units: this process for one worker or one unit."""
    return Local() if workers == 1 or n_units == 1 else Pool(min(workers, n_units))


def _on_ray(spec: str, address: str, settings: list[str]) -> OnRay:
    numbers: dict[str, float] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not re.fullmatch(r"\w+", name) or not re.fullmatch(r"\d{1,6}(\.\d+)?", value):
            raise UsageError(
                f"--executor {spec!r}: {setting!r} is not a NAME=NUMBER, as in workers=4, cpus=2 or gpus=0.5"
            )
        if name in numbers:
            raise UsageError(f"--executor {spec!r}: {name} is given twice")
        numbers[name] = float(value)
    workers, cpus, gpus = numbers.pop("workers", 0.0), numbers.pop("cpus", 1.0), numbers.pop("gpus", 0.0)
    if workers != int(workers) or workers > MOST_WORKERS:
        raise UsageError(f"--executor {spec!r}: workers is a whole number up to {MOST_WORKERS}")
    return OnRay(address, int(workers), cpus, gpus, numbers)
