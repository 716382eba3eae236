"""Miss rates of every number that can gate, and of every bound, on data of known truth: `python -m studies.coverage.run`.

About an hour on 2 cores. Whole simulated audits first (audits.py), then statistics whose truth has a closed form (intervals.py).
Simulations are kept in studies/coverage/simulated (ignored) and gone on with; the result is docs/data/coverage.json and
coverage.md. Fails if a miss rate over all sizes is above its nominal one + 0.01: of 400 or 1,000 audits, some of so many cells are
above that by chance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from studies.coverage.audits import WORLDS, Missed, missed, simulate
from studies.coverage.intervals import STATISTICS, coverage, rate
from studies.coverage.pairs import rate_words, rejections, simulate_pair

DATA = Path(__file__).parents[2] / "docs" / "data"
SIMULATED = Path(__file__).parent / "simulated"
AUDITS = {
    "authors": {24: 1000, 48: 1000, 64: 1000, 80: 400, 96: 400, 128: 1000},
    "sentences": {24: 1000, 48: 1000, 64: 1000, 80: 400, 96: 400, 128: 400},
    "letters": {128: 400},
}
"""Audits of each world by the number of documents. Rare tokens need many documents, or many letters."""
PAIRS = {"authors": {48: 200}, "sentences": {48: 200}}
"""Pairs of audits of one model, by the number of documents."""
ALLOWED = 0.035
"""Largest one-sided miss rate that is within nominal (2.5%) + 1%."""
AT_ONCE = 10
SIDES = (
    "Share of simulated audits in which the 95% interval of a number lies wholly above its true value / wholly below it: "
    "nominally 2.5% each. In brackets: one-sided 95% upper limit of the larger share."
)


def over_sizes(rows: Sequence[Missed]) -> list[Missed]:
    """The misses of every number and world over all numbers of documents on which it gates; `documents` and `n` are the least."""
    places = dict.fromkeys((m.name, m.world) for m in rows)
    pooled = [[m for m in rows if (m.name, m.world) == place] for place in places]
    return [
        replace(
            min(same, key=lambda m: m.documents),
            **{field: sum(getattr(m, field) for m in same) for field in ("audits", "low_above", "high_below")},
        )
        for same in pooled
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000, help="simulations of each statistic (default 10000)")
    parser.add_argument("--share", type=float, default=1.0, help="share of the whole audits (default 1)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    chosen = parser.parse_args()
    with ProcessPoolExecutor(chosen.workers) as pool:
        rows = missed(_simulated(pool, "audit", simulate, AUDITS, chosen.share))
        pairs = _simulated(pool, "pair", simulate_pair, PAIRS, chosen.share)
        found = list(pool.map(partial(coverage, runs=chosen.runs), STATISTICS))
    lines = [
        "<!-- written by: python -m studies.coverage.run -->",
        SIDES,
        "",
        *_table(rows),
        "",
        *_bounds(found),
        "",
        *_pairs(pairs),
    ]
    (DATA / "coverage.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = {
        "command": "python -m studies.coverage.run",
        "worlds": {name: dict(zip(("corpus", "model", "like"), world, strict=True)) for name, world in WORLDS.items()},
        "audits": [{**asdict(m), "limits": m.limits} for m in rows],
        "all_sizes": [{**asdict(m), "limits": m.limits} for m in over_sizes(rows)],
        "pairs": {f"{w}, {n} documents": rejections(p) for (w, n), p in pairs.items()},
        "rows": [{**asdict(c), "holds": c.holds} for c in found],
        "provenance": to_json(provenance()),
    }
    (DATA / "coverage.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines))
    off = [f"{m.name} in {m.world}" for m in over_sizes(rows) if max(m.rates) > ALLOWED]
    off += [c.name for c in found if not c.holds]
    print("above nominal + 1%: " + ", ".join(off) if off else "all hold")
    return int(bool(off))


Results = dict[tuple[str, int], list[dict[str, Any]]]


def _simulated(
    pool: ProcessPoolExecutor,
    kind: str,
    run: Callable[[str, int, int], dict[str, Any]],
    sizes: Mapping[str, Mapping[int, int]],
    share: float,
) -> Results:
    """All simulations of a kind, those of earlier calls first."""
    SIMULATED.mkdir(exist_ok=True)
    results = {}
    for world, documents, wanted in ((w, n, m) for w, by_size in sizes.items() for n, m in by_size.items()):
        path = SIMULATED / f"{kind}-{world}-{documents}.jsonl"
        done = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
        known = {d["seed"] for d in done}
        seeds = [s for s in range(round(share * wanted)) if s not in known]
        for start in range(0, len(seeds), AT_ONCE):
            batch = seeds[start : start + AT_ONCE]
            fresh = pool.map(partial(run, world, documents), batch)
            more = [{"seed": seed, **result} for seed, result in zip(batch, fresh, strict=True)]
            with path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in more)
            done += more
        print(f"{kind}, {world}, {documents} documents: {len(done)}", file=sys.stderr, flush=True)
        results[world, documents] = done
    return results


def _table(rows: Sequence[Missed]) -> Iterator[str]:
    """One line a number and world; a cell has the miss rates of the lower and of the upper limit, with the upper limit of the
    worse."""
    sizes = list(AUDITS["authors"])
    heads = (f"{n} documents" for n in sizes)
    yield "| number | world | " + " | ".join(heads) + " | all sizes |"
    yield "|---|---|" + "---|" * (len(sizes) + 1)
    by_place = {(m.name, m.world, m.documents): m for m in rows}
    for m in over_sizes(rows):
        cells = (_cell(by_place.get((m.name, m.world, n))) for n in sizes)
        yield f"| {m.name} | {m.world} | " + " | ".join(cells) + f" | {_cell(m)} |"


def _cell(m: Missed | None) -> str:
    if m is None:
        return "does not gate"
    low, high = m.rates
    return f"{low:.1%} / {high:.1%} (≤ {max(m.limits):.1%})"


def _bounds(found: Sequence[Any]) -> Iterator[str]:
    yield "| statistic | nominal | missed in | upper limit | median bound/truth or half width/truth | data |"
    yield "|---|---|---|---|---|---|"
    for c in found:
        cells = (
            c.name,
            f"{100 * c.nominal:g}%",
            f"{rate(c)} of {c.runs}",
            f"{c.upper:.1%}",
            f"{c.median_ratio:.2f}",
            c.meaning,
        )
        yield "| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |"


def _pairs(pairs: Results) -> Iterator[str]:
    """One line a difference: how often it is rejected at 5% where there is none."""
    by_place = {place: {name: (k, n) for name, k, n in rejections(results)} for place, results in pairs.items()}
    yield "| difference | " + " | ".join(f"{world}, {n} documents" for world, n in by_place) + " |"
    yield "|---|" + "---|" * len(by_place)
    for name in dict.fromkeys(name for rates in by_place.values() for name in rates):
        cells = (rate_words(*rates[name]) if name in rates else "not tested" for rates in by_place.values())
        yield f"| {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
