"""How often does `freerun verify` reject? `python -m studies.verify.run` (about 30 minutes on 2 cores).

Tokens are drawn again from the laws along ten texts of the 135M model, so that thousands of files cost little. What is done is kept
in `runs/verify` and not done again. Writes result.json beside this file. Which rule is named of a file: `studies.verify.confusion`;
of files of engines: `studies.verify.engines`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from freerun.results.finding import to_json
from freerun.runs.provenance import provenance
from freerun.stats.verification.battery import rejects
from studies.files import json_text, write_files
from studies.verify.rates import Files, Rate, p_values, pool_at

HERE = Path(__file__).parent
KEPT = Path("runs/verify")
NULLS = 2000
TRIALS = 200
DETECTED = (
    ("t=0.9", 5000),
    ("top_k=50", 5000),
    ("top_p=0.95", 5000),
    ("top_p=0.99", 1500),
    ("t=1.02", 10_000),
    ("min_p=0.05", 1500),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--nulls", type=int, default=NULLS)
    arguments = parser.parse_args()
    pool = pool_at(KEPT / "pool.npz")
    files = Files(pool, np.random.default_rng(1))
    found: dict[str, Any] = {"nulls": arguments.nulls, "trials": arguments.trials, "laws": pool.profile.n_rows}
    found["size"] = _kept(f"size-{arguments.nulls}", lambda: _size(files, arguments.nulls))
    for rule, tokens in DETECTED:
        key = f"power-{rule}-{tokens}-{arguments.trials}"
        found.setdefault("power", []).append(
            _kept(key, lambda r=rule, n=tokens: _power(files, r, n, arguments.trials))  # type: ignore[misc]
        )
    found["provenance"] = provenance()
    write_files(HERE, {"result.json": json_text(found)})


def _kept(name: str, make: Callable[[], Any]) -> Any:
    path = KEPT / f"{name}.json"
    if not path.exists():
        value = to_json(make())
        path.write_text(json.dumps(value) + "\n")
        print(name, value, flush=True)
    return json.loads(path.read_text())


def _size(files: Files, n: int) -> list[Rate]:
    p = p_values(files, "t=1", 1500, n)
    return [Rate.of(f"rejected at {alpha}", 1500, [x < alpha for x in p]) for alpha in (0.05, 0.01, 0.001)]


def _power(files: Files, rule: str, tokens: int, trials: int) -> Rate:
    return Rate.of(rule, tokens, [rejects(*files.drawn(rule, tokens), seed=i) for i in range(trials)])


if __name__ == "__main__":
    main()
