"""What the pieces of a grid cost, measured in CPU seconds, so that a busy machine matters less."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from freerun.jobs.audit.audit import conclude
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.grid.running import ROWS_A_DOCUMENT
from freerun.jobs.grid.workshop import CellJob, Measuring, Planning, Task, Workshop
from freerun.records.store import RunFolder
from freerun.runs.executors.job import Calls, Executor


@dataclass(frozen=True)
class Costs:
    """Seconds and bytes of one worker's pieces of work, and of what the driver does for each unit."""

    plan_seconds: float
    """Read, load, cut, and count the references, of a cell whose model is loaded already."""
    load_seconds: float
    """Load a model."""
    tokens_per_second: float
    """Recorded by one worker."""
    place_seconds_a_token: float
    """Encode and write a part, flushed to disk."""
    bytes_a_token: float
    conclude_seconds: float
    """Derive the findings of a cell: fixed, and for each token."""
    conclude_seconds_a_token: float
    memory_bytes_a_token: float
    """While findings are derived."""
    driver_seconds_a_unit: float
    """Hand out a unit and take in what comes back."""


def cpu_of(work: Callable[[], object]) -> float:
    """CPU seconds of this process, which computes with one thread as a worker of a full machine does."""
    with threadpool_limits(1):
        began = time.process_time()
        work()
        return time.process_time() - began


def nothing(unit: int) -> int:
    """A unit that costs nothing."""
    return unit


def driver_seconds_a_unit(executor: Executor, n: int = 2000) -> float:
    """CPU seconds of the driver for each of many units that cost nothing; starting the workers is left out."""
    outcomes = iter(executor.map(Calls(nothing), range(n + 200)))
    for _ in range(200):
        next(outcomes)
    return cpu_of(lambda: list(outcomes)) / n


def measured_costs(executor: Executor, *, documents: tuple[int, int] = (128, 512)) -> Costs:
    """Of a world (its passes cost next to nothing, so what is left is the machinery), at two numbers of documents of 128 tokens."""
    seconds, held = [], []
    with tempfile.TemporaryDirectory() as place:
        for n in documents:
            options = AuditOptions(documents=n, tokens=128)
            task = Task(f"n{n}", "world/markov", "world/markov", options, "", str(Path(place) / f"n{n}"))
            shop = Workshop()
            planning = cpu_of(lambda shop=shop, task=task: shop(Planning(task)))  # type: ignore[misc]
            ready = shop.ready(task)
            ready.folder.open(ready.manifest)
            plan = shop(Planning(task))
            units = plan.units  # type: ignore[union-attr]
            measure = cpu_of(
                lambda shop=shop, task=task, units=units, ready=ready: [  # type: ignore[misc]
                    shop(Measuring(task, u, ready.plan_hash, str(ready.folder.path))) for u in units
                ]
            )
            folder = RunFolder(ready.folder.path)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            concluding = cpu_of(lambda folder=folder: conclude(folder))  # type: ignore[misc]
            grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
            size = sum(p.stat().st_size for p in folder.path.rglob("*.parquet"))
            tokens = ROWS_A_DOCUMENT * 128 * n
            seconds.append((tokens, planning, measure, concluding, size))
            held.append(max(grown, 0) / tokens)
    (few, _, _, early, _), (many, planning, measure, late, size) = seconds
    slope = max((late - early) / (many - few), 0.0)
    return Costs(
        plan_seconds=planning,
        load_seconds=0.0,
        tokens_per_second=many / measure,
        place_seconds_a_token=0.0,
        bytes_a_token=size / many,
        conclude_seconds=max(early - slope * few, 0.0),
        conclude_seconds_a_token=slope,
        memory_bytes_a_token=max(held),
        driver_seconds_a_unit=driver_seconds_a_unit(executor),
    )


__all__ = ["CellJob", "Costs", "measured_costs"]
