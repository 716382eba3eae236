"""Miss rates of every interval and bound on data of known truth: `python -m studies.coverage.run` (about 8 minutes on 2 cores).

Writes docs/data/coverage.json and docs/data/coverage.md. Fails if a miss rate is not shown to be at most its nominal one + 0.01.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from studies.coverage.intervals import STATISTICS, coverage, rate

DATA = Path(__file__).parents[2] / "docs" / "data"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="simulations each (default 2000)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    chosen = parser.parse_args()
    with ProcessPoolExecutor(chosen.workers) as pool:
        found = list(pool.map(partial(coverage, runs=chosen.runs), STATISTICS))
    lines = [
        "<!-- written by: python -m studies.coverage.run -->",
        "| statistic | nominal | missed in | upper limit | median bound/truth or half width/truth | data |",
        "|---|---|---|---|---|---|",
    ]
    for c in found:
        cells = (
            c.name,
            f"{c.nominal:.0%}",
            f"{rate(c)} of {c.runs}",
            f"{c.upper:.1%}",
            f"{c.median_ratio:.2f}",
            c.meaning,
        )
        lines.append("| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |")
        print(lines[-1], flush=True)
    result = {
        "command": "python -m studies.coverage.run",
        "rows": [{**asdict(c), "holds": c.holds} for c in found],
        "provenance": to_json(provenance()),
    }
    (DATA / "coverage.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (DATA / "coverage.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    missed = [c.name for c in found if not c.holds]
    print("not shown to hold: " + ", ".join(missed) if missed else "all hold")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
