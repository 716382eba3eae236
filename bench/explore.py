"""How long the page of `freerun explore` waits: `python bench/explore.py --json docs/data/bench-explore.json` (a minute).

The page is served in this process and asked over HTTP, as a browser asks it: one more token on a text that was read before, and the
law after it. With Chromium and Playwright at hand the first paint is measured too, on tabs that have nothing cached.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from peers.machine import describe
from table import reach, reach_table, significant

sys.path.insert(0, str(Path(__file__).parents[1]))

MODEL, TOKENS, WARM = "smollm2-135m-instruct", 120, 20
MEDIAN_MS, P95_MS, PAINT_MS = 120.0, 250.0, 1000.0


def quantiles(milliseconds: list[float]) -> dict[str, float | int]:
    """Median, 95th percentile and greatest of some waits.

    >>> quantiles([float(i) for i in range(1, 101)])
    {'median': 50.5, 'p95': 95.95, 'min': 1.0, 'max': 100.0, 'n': 100}
    """
    cut = statistics.quantiles(milliseconds, n=20)[-1] if len(milliseconds) > 1 else milliseconds[0]
    return {
        "median": significant(statistics.median(milliseconds)),
        "p95": significant(cut),
        "min": significant(min(milliseconds)),
        "max": significant(max(milliseconds)),
        "n": len(milliseconds),
    }


@contextmanager
def page() -> Iterator[Any]:
    """The page of the 135M model, up in this process."""
    import freerun
    from tests.explore.site import desk_of, served

    with served(desk_of(freerun.load(MODEL), sources=())) as site:
        yield site


def answers(site: Any) -> dict[str, list[float]]:
    """Walk along the most probable tokens: wall-clock and processor milliseconds of every answer, warm-up left out."""
    from freerun.explore.examples import EXAMPLES

    _, lines = site.ask("read", {"text": EXAMPLES[0].text})
    found: dict[str, list[float]] = {"wall_ms": [], "processor_ms": []}
    for n in range(WARM + TOKENS):
        reading = lines[-1]["answer"]
        ids = [*reading["ids"], reading["next"]["bars"][n % 3]["id"]]
        began, worked = time.perf_counter(), time.process_time()
        _, lines = site.ask("read", {"ids": ids, "first": len(ids) - 1, "branch": 19, "top": 40})
        if n >= WARM:
            found["wall_ms"].append(1e3 * (time.perf_counter() - began))
            found["processor_ms"].append(1e3 * (time.process_time() - worked))
    return found


def paints(site: Any, times: int) -> list[float] | None:
    """First contentful paint of new tabs, milliseconds; None where there is no browser."""
    chromium = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(times):
            context = browser.new_context()
            tab = context.new_page()
            tab.goto(site.address)
            tab.wait_for_selector(".bars li")
            found.append(tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            context.close()
        browser.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads (default: 2)")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(chosen.threads)

    def tell(what: str) -> None:
        print(time.strftime("%H:%M:%S"), what, file=sys.stderr, flush=True)

    tell(f"loading {MODEL}")
    with page() as site:
        tell("one more token")
        each = answers(site)
        tell("first paint")
        painted = paints(site, 10)
    waits = quantiles(each["wall_ms"])
    reaches = [
        reach("next-token answer", waits, "<=", MEDIAN_MS, " ms"),
        reach("next-token answer, 95th percentile", {**waits, "median": waits["p95"]}, "<=", P95_MS, " ms"),
        reach("first paint", quantiles(painted) if painted else None, "<=", PAINT_MS, " ms"),
    ]
    data = {
        "command": "python bench/explore.py",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        "threads": chosen.threads,
        "model": MODEL,
        "answer": {name: quantiles(values) for name, values in each.items()},
        "first_paint_ms": None if painted is None else quantiles(painted),
        "reaches": reaches,
    }
    if chosen.json:
        chosen.json.write_text(json.dumps(data, indent=1) + "\n")
    print(reach_table(reaches))
    return 0


if __name__ == "__main__":
    sys.exit(main())
