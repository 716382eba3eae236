"""Do the intervals and bands of two laws hold? `python -m studies.two_laws.run` draws own texts of exact chains, many times over.

About five minutes of one core. Simulations are kept in studies/two_laws/simulated (ignored) and gone on with, all worlds in turn;
the result is result.json beside this file and docs/data/two_laws.md. Fails if a claim that is promised misses significantly more
often than its nominal rate. K and means over tokens promise nothing where a rare context carries them; means over tokens promise
nothing below `LEAST_FOR_MEANS` documents.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from studies.files import json_text, write_files
from studies.two_laws.misses import SPREADS, Misses, quantiles, simulate
from studies.two_laws.worlds import PAIRS

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "data" / "two_laws.md"
DOCUMENTS = (24, 64)
MEANS = ("token KL", "loss difference", "Δp", "same top")
LEAST_FOR_MEANS = 64
"""Documents from which on intervals of means over tokens are promised, and judged by gates."""
RARE = ("K", "reverse K", *MEANS)
"""What promises nothing where a context carries it which most samples do not hold."""


SIMULATED = HERE / "simulated"
AT_ONCE = 100
"""Simulations of one seed."""
BOOTSTRAPS = 200
"""Simulations of the bootstrap, which is slow and only stands beside."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="simulations of each world and size (default 2000)")
    chosen = parser.parse_args()
    rows = _simulated(chosen.runs)
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


def _simulated(runs: int) -> list[Misses]:
    """All simulations up to so many, those of earlier calls first."""
    SIMULATED.mkdir(exist_ok=True)
    cells: dict[str, tuple[int, Callable[..., list[Misses]]]] = {}
    for n in DOCUMENTS:
        cells |= {f"{world}-{n}": (runs, partial(simulate, world, n)) for world in PAIRS}
        for world in SPREADS:
            cells[f"quantiles of {world}-{n}"] = runs, partial(quantiles, world, n)
            cells[f"bootstrap of {world}-{n}"] = min(runs, BOOTSTRAPS), partial(quantiles, world, n, bootstrap=True)
    done: dict[str, dict[int, list[Misses]]] = {name: _kept(SIMULATED / f"{name}.jsonl") for name in cells}
    left = [
        (seed, name)
        for name, (wanted, _) in cells.items()
        for seed in range(-(-wanted // AT_ONCE))
        if seed not in done[name]
    ]
    for i, (seed, name) in enumerate(sorted(left)):
        done[name][seed] = cells[name][1](runs=AT_ONCE, seed=seed)
        with (SIMULATED / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"seed": seed, "rows": [asdict(m) for m in done[name][seed]]}) + "\n")
        print(f"{i + 1} of {len(left)}: {name}, seed {seed}", file=sys.stderr, flush=True)
    return [
        row
        for name, (wanted, _) in cells.items()
        for row in _added([done[name][s] for s in sorted(done[name]) if s * AT_ONCE < wanted])
    ]


def _kept(path: Path) -> dict[int, list[Misses]]:
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {line["seed"]: [Misses(**row) for row in line["rows"]] for line in lines}


def _added(parts: Sequence[Sequence[Misses]]) -> Iterator[Misses]:
    """Counts of the same claim in several simulations, together."""
    for same in zip(*parts, strict=True):
        yield replace(
            same[0],
            runs=sum(m.runs for m in same),
            misses=sum(m.misses for m in same),
            silent=sum(m.silent for m in same),
        )


def promised(m: Misses) -> bool:
    """Whether a claim is one that an interval makes, in this world."""
    if "bootstrap" in m.world or (m.world == "rare" and m.claim.startswith(RARE)):
        return False
    return m.documents >= LEAST_FOR_MEANS or not m.claim.startswith(MEANS)


def _page(rows: Sequence[Misses]) -> Iterator[str]:
    yield "<!-- written by: python -m studies.two_laws.run -->"
    n = sum(promised(m) for m in rows)
    off = [m for m in rows if promised(m) and not m.holds]
    yield f"Up to {max(m.runs for m in rows)} simulations of each world and number of documents."
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
    for name, (between, within) in SPREADS.items():
        shared = between**2 / (between**2 + within**2)
        yield f"| {name} | log-normal tokens, 64 a document, which share {shared:.0%} of the variance of the logarithm |"


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
