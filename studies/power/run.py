"""Size and power of every metric against every organism, and the pages that show them: `python -m studies.power.run`.

Runs `freerun power --full` (resumable: runs/power-full), then writes result.json, rates.md and picture.svg beside this file,
and the generated parts of docs/power.md. Fails if a null rate lies outside the simultaneous band.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from freerun.commands.power import tell_power
from freerun.commands.progress import Reporter
from freerun.jobs.power.cells import FULL, QUICK
from freerun.jobs.power.power import power
from studies.files import write_files
from studies.power.expectations import with_expectations
from studies.power.pages import blocks_markdown, compact, filled, heat_standing_alone, rates_markdown

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "power.md"
COMMAND = "freerun power --full"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--run", default=str(ROOT / "runs" / "power-full"), help="the run's folder, gone on with")
    parser.add_argument("--quick", action="store_true", help="the quick table, to try the pages")
    chosen = parser.parse_args()
    plan, command = (QUICK, "freerun power") if chosen.quick else (FULL, COMMAND)
    _, simulated = power(plan, out=chosen.run, workers=chosen.workers, progress=Reporter(), command=command)
    table = with_expectations(simulated)
    files = {
        "result.json": compact(table),
        "rates.md": f"<!-- written by: python -m studies.power.run -->\n{rates_markdown(table)}",
        "picture.svg": heat_standing_alone(table, texts=plan.texts[-1]),
        str(PAGE): filled(PAGE.read_text(encoding="utf-8"), blocks_markdown(table)),
    }
    write_files(HERE, files)
    tell_power(table, sys.stdout)
    return int(not table.null.all_inside)


if __name__ == "__main__":
    sys.exit(main())
