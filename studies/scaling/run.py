"""How far grids scale: executors on this machine, and 64 workers in simulation: `python -m studies.scaling.run`.

Measured: units that take a fixed time without using a core (as on a machine of their own) and units that use one, on 1, 2 and 4
workers; the CPU seconds of every piece of the machinery. Simulated with those: the same units, to see whether the simulation is
right, and 10⁹ recorded tokens on 64 workers, as one run and as a thousand cells.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from freerun.results.json import from_json
from freerun.runs.executors.job import Calls, Executor
from freerun.runs.executors.named import executor_named
from freerun.runs.provenance import cores
from studies.files import json_text, read_result, write_files
from studies.scaling.costs import Costs, measured_costs
from studies.scaling.simulate import Load, Simulated, bound_by, simulate

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "grid.md"
UNITS = 120
UNIT_SECONDS = 5.0
"""Ten minutes of work for one worker; a part of a real run takes longer than a unit here."""
WORKERS = (1, 2, 4)
TOKENS = 10**9
SPEEDS = {
    "135M model, one core": (400.0, 3.0),
    "assumed: ten times that": (4_000.0, 3.0),
    "assumed: an accelerator": (40_000.0, 60.0),
}
"""Tokens recorded in a second by one worker, and seconds to load a model. The first is docs/bench.md's, the others are guesses."""
PART_TOKENS = 32_768


def wait(seconds: float) -> float:
    """Time passes, and no core is used."""
    time.sleep(seconds)
    return seconds


def spin(seconds: float) -> float:
    """A core is used for so many seconds of CPU time."""
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass
    return seconds


def makespan(executor: Executor, work: Callable[[float], float]) -> float:
    """Seconds from the first unit handed out to the last one back; starting the workers is left out."""
    outcomes = iter(executor.map(Calls(work), [0.0] * 16 + [UNIT_SECONDS] * UNITS))
    for _ in range(16):
        next(outcomes)
    began = time.monotonic()
    list(outcomes)
    return time.monotonic() - began


def scaling(names: tuple[str, ...], kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    """Measured and ideal times of the same units."""
    out = []
    for name in names:
        for workers in WORKERS:
            spec = f"{name}:{workers}" if name == "pool" else f"{name},workers={workers},cpus=0.25"
            for work in (w for w in (wait, spin) if w.__name__ in kinds):
                seconds = makespan(executor_named(spec), work)
                shared = workers if work is wait else min(workers, cores())
                ideal = UNITS * UNIT_SECONDS / shared
                out.append(
                    {
                        "executor": name,
                        "workers": workers,
                        "units": "wait" if work is wait else "use a core",
                        "seconds": round(seconds, 2),
                        "ideal_seconds": round(ideal, 2),
                        "over": round(seconds / ideal - 1.0, 3),
                    }
                )
                print(out[-1], flush=True)
    return out


def simulated(costs: Costs) -> list[dict[str, Any]]:
    """10⁹ tokens on 64 workers."""
    out = []
    for speed, (tokens_per_second, load_seconds) in SPEEDS.items():
        for cells in (1, 1000):
            load = Load(TOKENS, cells, min(cells, 20), PART_TOKENS)
            own = replace(costs, tokens_per_second=tokens_per_second, load_seconds=load_seconds)
            made: Simulated = simulate(load, 64, own)
            out.append(
                {
                    "speed": speed,
                    "cells": cells,
                    "hours": made.seconds / 3600,
                    "efficiency": made.busy,
                    "driver": made.driver,
                    "concluding": made.concluding,
                    "gib": own.memory_bytes_a_token * load.tokens_a_cell / 2**30,
                    "disk_gib": own.bytes_a_token * TOKENS / 2**30,
                    "binds": bound_by(made),
                }
            )
    return out


def tables(result: dict[str, Any]) -> str:
    """What stands in the page."""
    lines = ["| executor | workers | units | seconds | with no overhead | over |", "|---|--:|---|--:|--:|--:|"]
    lines += [
        f"| {r['executor']} | {r['workers']} | {r['units']} | {r['seconds']:.1f} | {r['ideal_seconds']:.1f} | {r['over']:+.1%} |"
        for r in result["measured"]
    ]
    head = "| one worker | cells | hours | workers busy | driver busy | memory to derive a cell, GiB | what binds |"
    c = result["costs"]
    lines += [
        "",
        f"{result['cores']} cores, load average {result['load_average']:.1f} at the start. In CPU seconds: "
        f"{c['driver_seconds_a_unit'] * 1000:.2f} ms of the driver for each unit; {c['plan_seconds']:.2f} s to plan a cell; "
        f"{c['conclude_seconds']:.2f} s and {c['conclude_seconds_a_token'] * 1e6:.1f} µs a token to derive its findings; "
        f"{c['memory_bytes_a_token']:.0f} bytes a token in memory while they are derived.",
    ]
    lines += ["", head, "|---|--:|--:|--:|--:|--:|---|"]
    lines += [
        f"| {r['speed']} | {r['cells']:,} | {r['hours']:,.1f} | {r['efficiency']:.0%} | {r['driver']:.1%} | {r['gib']:,.1f} "
        f"| {r['binds']} |"
        for r in result["simulated"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executors", default="pool,ray", help="which to measure (default pool,ray)")
    parser.add_argument("--simulate-only", action="store_true", help="with the costs of the last time")
    parser.add_argument("--costs-only", action="store_true", help="with the times of the last time")
    parser.add_argument("--units", default="wait,spin", help="which units (default wait,spin)")
    chosen = parser.parse_args()
    if chosen.simulate_only:
        held = read_result(HERE)
        result = {**held, "simulated": simulated(from_json(Costs, held["costs"]))}
    else:
        costs = measured_costs(executor_named("pool:2"))
        held = read_result(HERE) if chosen.costs_only else None
        result = {
            "command": "python -m studies.scaling.run",
            "cores": cores(),
            "load_average": held["load_average"] if held else os.getloadavg()[0],
            "costs": asdict(costs),
            "measured": held["measured"]
            if held
            else scaling(tuple(chosen.executors.split(",")), tuple(chosen.units.split(","))),
            "simulated": simulated(costs),
        }
    write_files(HERE, {"result.json": json_text(result)})
    before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- scaling -->\n")
    after = rest.partition("<!-- end of scaling -->\n")[2]
    PAGE.write_text(f"{before}<!-- scaling -->\n{tables(result)}<!-- end of scaling -->\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
