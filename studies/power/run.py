"""Size and power of every metric against every organism, and the pages that show them: `python -m studies.power.run`.

Runs `freerun power --full` (resumable: runs/power-full), then writes docs/data/power.json, docs/data/power.md,
docs/images/power.svg and the generated parts of docs/power.md. Fails if a null rate lies outside the simultaneous band.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from freerun.commands.power import tell_power
from freerun.commands.progress import Reporter
from freerun.jobs.power.cells import FULL, QUICK
from freerun.jobs.power.power import power
from freerun.results.finding import to_json
from studies.power.expectations import with_expectations
from studies.power.pages import blocks_markdown, filled, heat_standing_alone, rates_markdown

ROOT = Path(__file__).parents[2]
COMMAND = "freerun power --full"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--run", default=str(ROOT / "runs" / "power-full"), help="the run's folder, gone on with")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where pages and data go (default docs)")
    parser.add_argument("--quick", action="store_true", help="the quick table, to try the pages")
    chosen = parser.parse_args()
    plan, command = (QUICK, "freerun power") if chosen.quick else (FULL, COMMAND)
    _, simulated = power(plan, out=chosen.run, workers=chosen.workers, progress=Reporter(), command=command)
    table = with_expectations(simulated)
    result = to_json(table)
    page = chosen.docs / "power.md"
    written = {
        chosen.docs / "data" / "power.json": json.dumps(result, indent=1, allow_nan=False) + "\n",
        chosen.docs
        / "data"
        / "power.md": f"<!-- written by: python -m studies.power.run -->\n{rates_markdown(result)}",
        chosen.docs / "images" / "power.svg": heat_standing_alone(result, texts=plan.texts[-1]),
        page: filled(page.read_text(encoding="utf-8"), blocks_markdown(result)),
    }
    for path, text in written.items():
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
        print(path)
    tell_power(table, sys.stdout)
    return int(not table.null.all_inside)


if __name__ == "__main__":
    sys.exit(main())
