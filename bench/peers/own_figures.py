"""Figures that only freerun is asked for: memory, the statistics' share, shared prefixes, loops, start."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from freerun.predictors.weights.catalogue import CATALOGUE
from freerun.stats.loops.lag_runs import LoopRule, loop_complete

sys.path.insert(0, str(Path(__file__).parents[1]))
from peers.contestants import SAMPLING, ContestantError, Setting, Worker
from table import spread

FREERUN = SAMPLING[0]
MEMORY = {256: 64, 1024: 16, 2048: 8}
"""Length → texts at once."""
Tell = Callable[[str], None]


def memory(setting: Setting, tell: Tell, *, quick: bool) -> list[dict[str, Any]]:
    """Peak over weights while scoring, every length in a fresh process."""
    lines = []
    for model in CATALOGUE:
        for length, rows in MEMORY.items():
            n = max(2, rows // 8) if quick else rows
            line: dict[str, Any] = {"model": model, "length": length, "rows": n}
            try:
                worker = Worker(FREERUN, setting, model=model)
                try:
                    worker.ask("memory", rows=2, length=32)  # the weights are read into memory
                    found = worker.measure("memory", rows=n, length=length)
                finally:
                    worker.close()
                line |= {k: round(found[k], 1) for k in ("rss_mib", "peak_mib", "seconds")}
                line["over_mib"] = round(found["peak_mib"] - found["rss_mib"], 1)
                tell(f"{model} {n} × {length}: {line['over_mib']} MiB over weights")
            except (ContestantError, TypeError) as error:
                line["error"] = str(error)
            lines.append(line)
    return lines


def statistics_share(setting: Setting, tell: Tell, *, quick: bool) -> list[dict[str, Any]]:
    lines = []
    for model in CATALOGUE:
        worker = Worker(FREERUN, setting, model=model)
        try:
            found = worker.measure("statistics", rows=setting.batch, prefix=32, steps=4 if quick else 16)
        finally:
            worker.close()
        line = {"model": model, "vocabulary": found["vocabulary"], "foreign_cores": found["foreign_cores"]}
        lines.append(line | {"step_seconds": spread(found["step_seconds"]), "share": spread(found["share"])})
        tell(f"{model}: statistics take {statistics.median(found['share']):.0%} of a step")
    return lines


def prefixes(setting: Setting, repeats: int, *, quick: bool) -> list[dict[str, Any]]:
    """16 continuations of one prefix of 512 tokens against 16 prefixes, in turns."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    worker = Worker(FREERUN, setting)
    try:
        for repeat in range(repeats):
            for shared in (True, False) if repeat % 2 == 0 else (False, True):
                found = worker.measure("continuations", rows=16, prefix=512, new=8 if quick else 64, shared=shared)
                seconds[shared].append(found["seconds"])
    finally:
        worker.close()
    gain = [b / a for a, b in zip(seconds[True], seconds[False], strict=True)]
    new = 8 if quick else 64
    return [
        {"what": f"16 continuations of {new} tokens after one prefix of 512", "seconds": spread(seconds[True])},
        {
            "what": f"16 continuations of {new} tokens after 16 prefixes of 512",
            "seconds": spread(seconds[False]),
            "gain": spread(gain),
        },
    ]


LOOPS = "loops in 1 million tokens, periods to 512, one core"


def loops(repeats: int) -> list[dict[str, Any]]:
    """Where loops are complete in a million tokens; the slowest of three kinds of text counts."""
    script = f"""
import json, os, sys, time
import numpy as np
sys.path.insert(0, {str(Path(__file__).parent)!r})
from own_figures import loop_texts
from freerun.stats.loops.lag_runs import LoopRule, loop_complete
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, [sorted(os.sched_getaffinity(0))[0]])
out = {{}}
for name, ids in loop_texts(1_000_000).items():
    began = time.perf_counter()
    found = loop_complete(ids, LoopRule(max_period=512))
    out[name] = [time.perf_counter() - began, int(found.sum())]
print(json.dumps(out))
"""
    seconds: dict[str, list[float]] = {}
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=_one_thread()
        )
        for name, (taken, _n) in json.loads(done.stdout).items():
            seconds.setdefault(name, []).append(taken)
    check_loops()
    return [{"what": f"{LOOPS}: {name}", "seconds": spread(values)} for name, values in seconds.items()]


def loop_texts(n: int) -> dict[str, np.ndarray]:
    """Texts of n tokens: words by Zipf's law, the same with loops of every period planted, and an alphabet of four."""
    rng = np.random.default_rng(0)
    words = np.minimum(rng.zipf(1.2, n), 49_151).astype(np.int64)
    planted = words.copy()
    at = 0
    for period in range(1, 513):
        phrase = rng.integers(0, 49_152, period)
        length = min(4 * period + 24, n - at)
        if length <= 0:
            break
        planted[at : at + length] = np.resize(phrase, length)
        at += max(length, n // 512)
    return {"Zipf's law": words, "loops planted": planted, "four letters": rng.integers(0, 4, n)}


def check_loops(n: int = 3000, max_period: int = 64) -> None:
    """The definition, token by token: the lag run of some period has reached its threshold."""
    rule = LoopRule(max_period=max_period)
    thresholds = np.asarray(rule.threshold(np.arange(1, max_period + 1)))
    for name, ids in loop_texts(n).items():
        runs = np.zeros(max_period, int)
        slow = np.zeros(n, bool)
        for t in range(n):
            same = np.array([t >= p and ids[t] == ids[t - p] for p in range(1, max_period + 1)])
            runs = np.where(same, runs + 1, 0)
            slow[t] = bool((runs >= thresholds).any())
        if not (slow == loop_complete(ids, rule)).all():
            raise AssertionError(f"loops in text {name!r} differ from their definition")


def start(repeats: int, model: str) -> list[dict[str, Any]]:
    """Fresh processes, the bare interpreter beside them."""
    own = [sys.executable]
    commands = {
        "python alone": [*own, "-c", "pass"],
        "freerun --help": [*own, "-m", "freerun", "--help"],
        "import freerun": [*own, "-c", "import freerun"],
        "default model ready (cached)": [*own, "-c", f"import freerun; freerun.load({model!r})"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(max(repeats, 3) + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if repeat:  # the first round brings the files into memory
                seconds[name].append(time.perf_counter() - began)
    return [{"what": f"start: {name}", "seconds": spread(values)} for name, values in seconds.items()]


def audit() -> list[dict[str, Any]]:
    """The whole default audit, its model cached, page and all."""
    with tempfile.TemporaryDirectory() as where:
        command = [sys.executable, "-m", "freerun", "audit", "-o", str(Path(where) / "run")]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - began
    return [{"what": "freerun audit, defaults", "seconds": spread([seconds])}]


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
