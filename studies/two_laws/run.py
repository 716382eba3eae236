"""Do the intervals and bands of two laws hold? `python -m studies.two_laws.run` draws own texts of exact chains, many times over.

About 25 minutes on one core. Writes result.json beside this file and docs/data/two_laws.md. Fails if a claim that is promised
misses significantly more often than its nominal rate. K and means over tokens promise nothing where a rare context carries them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from studies.files import json_text, write_files
from studies.two_laws.misses import Misses, quantiles, simulate
from studies.two_laws.worlds import PAIRS

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "data" / "two_laws.md"
DOCUMENTS = (24, 64)
NOT_PROMISED = {
    "rare": ("K", "reverse K", "token KL", "loss difference", "Δp", "same top"),
}
"""Estimates of means that a context carries which most samples do not hold: by world."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="simulations of each world and size (default 2000)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    chosen = parser.parse_args()
    with ProcessPoolExecutor(chosen.workers) as pool:
        places = [(world, n) for world in PAIRS for n in DOCUMENTS]
        pending = [pool.submit(partial(simulate, world, n, runs=chosen.runs)) for world, n in places]
        rows = []
        for (world, n), job in zip(places, pending, strict=True):
            rows += job.result()
            print(f"{world}, {n} documents: done", file=sys.stderr, flush=True)
        for resample in (False, True):
            for n in DOCUMENTS:
                runs = chosen.runs if not resample else min(chosen.runs, 500)
                rows += pool.submit(partial(quantiles, n, runs=runs, bootstrap=resample)).result()
    result = {
        "command": "python -m studies.two_laws.run",
        "worlds": {name: pair.meaning for name, pair in PAIRS.items()},
        "rows": [{**asdict(m), "holds": m.holds, "promised": promised(m)} for m in rows],
        "provenance": to_json(provenance()),
    }
    write_files(HERE, {"result.json": json_text(result), str(PAGE): "\n".join(_page(rows)) + "\n"})
    off = [m for m in rows if promised(m) and not m.holds]
    for m in off:
        print(f"{m.claim}, {m.documents} documents of {m.world}: {m.misses} of {m.runs}, nominal {m.nominal}")
    return int(bool(off))


def promised(m: Misses) -> bool:
    """Whether a claim is one that an interval makes, in this world."""
    return "bootstrap" not in m.world and not m.claim.startswith(NOT_PROMISED.get(m.world, ("\0",)))


def _page(rows: Sequence[Misses]) -> Iterator[str]:
    yield "<!-- written by: python -m studies.two_laws.run -->"
    n = sum(promised(m) for m in rows)
    off = [m for m in rows if promised(m) and not m.holds]
    yield f"Of {n} miss rates that are promised, {len(off)} have a one-sided 95% lower limit above the nominal rate."
    yield "Were every rate exactly the nominal one, up to one in twenty would, by chance alone."
    yield "Those are in bold. A dagger marks a rate that is too high where none is promised; an interval without a width is none."
    yield ""
    heads = " | ".join(f"{n} documents" for n in DOCUMENTS)
    yield f"| claim | nominal | world | {heads} |"
    yield "|---|---|---|" + "---|" * len(DOCUMENTS)
    by_place = {(m.claim, m.world, m.documents): m for m in rows}
    for claim, world in dict.fromkeys((m.claim, m.world) for m in rows):
        found = [by_place.get((claim, world, n)) for n in DOCUMENTS]
        nominal = next(m.nominal for m in found if m is not None)
        yield f"| {claim} | {nominal:.1%} | {world} | " + " | ".join(_cell(m) for m in found) + " |"
    yield ""
    yield "| world | what it is |"
    yield "|---|---|"
    for name, pair in PAIRS.items():
        yield f"| {name} | {pair.meaning} |"
    yield "| skewed tokens | log-normal tokens, 64 a document, a quarter of the variance of the logarithm shared in a document |"


def _cell(m: Misses | None) -> str:
    if m is None:
        return ""
    if m.silent == m.runs:
        return "no interval"
    rate = f"{m.misses / m.runs:.1%} ({m.rate.low:.1%} to {m.rate.high:.1%})"
    if not m.holds:
        rate = f"**{rate}**" if promised(m) else f"{rate} †"
    return rate + (f", no interval in {m.silent / m.runs:.0%}" if m.silent else "")


if __name__ == "__main__":
    sys.exit(main())
