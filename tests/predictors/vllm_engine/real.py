"""The same texts written and scored by the real vLLM under several schedules, each in a process of its own, and by transformers.

    python -m tests.predictors.vllm_engine.real --json docs/data/vllm-checks.json

with the Python of an environment that has vLLM, freerun, and the catalogue's small model in the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.observation import Observation
from freerun.predictors.rules import MODEL_LAW, Identity, SamplingRule
from freerun.stats.loops.lag_runs import LoopRule

MODULE = "tests.predictors.vllm_engine.real"
MODEL = "smollm2-135m-instruct"
NEW = 32
COLUMNS = ("token_id", "log_prob_nats", "entropy_nats", "cdf_below", "rank", "loop_mass")
SCHEDULES: dict[str, dict[str, Any]] = {
    "plain": {},
    "prompts in pieces": {"max_num_batched_tokens": 48, "max_num_seqs": 16},
    "preemption": {"num_gpu_blocks_override": 14},
    "no cache of prefixes": {"enable_prefix_caching": False},
    "another process": {},
}


def prompts(model: Predictor) -> list[np.ndarray]:
    """Beginnings of one text, from a few tokens to some hundred: later ones begin with what earlier ones are."""
    text = " ".join(f"On day {i} the ship went {i * 7 % 40} miles and saw {i * 3 % 11} birds." for i in range(1, 60))
    ids = np.asarray(model.encode(text), np.int64)
    return [ids[:n] for n in (5, 17, 60, 120, 130, 200, 251, 300)]


def records(model: Predictor) -> dict[str, np.ndarray]:
    """Own texts at temperature 1 and 0.9, and given texts, every column of each."""
    starts = prompts(model)
    keys = np.arange(2 * len(starts), dtype=np.uint64).reshape(-1, 2)
    out: dict[str, np.ndarray] = {}
    for name, rule in {"drawn": MODEL_LAW, "cooled": SamplingRule.of(temperature=0.9)}.items():
        todo = Continuations(starts, keys, NEW, seed=11, sampling=rule, loop_rule=LoopRule())
        samples = sorted(model.generate(todo), key=lambda s: s.row)
        _put(out, name, Observation.concatenate([s.observation for s in samples]))
        out[f"{name}/n_tokens"] = np.array([len(s.observation.token_id) for s in samples])
        if name == "drawn":
            texts = [np.concatenate([starts[s.row // 2], s.observation.token_id]) for s in samples[::2]]
            out["texts"] = np.concatenate(texts)
            out["texts/n_tokens"] = np.array([len(t) for t in texts])
    chunks = [c for t in _texts(out) for c in model.score([t], first=1)]
    _put(out, "scored", Observation.concatenate([c.observation for c in chunks]))
    return out


def _texts(out: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [t.astype(np.int64) for t in np.split(out["texts"], np.cumsum(out["texts/n_tokens"])[:-1])]


def _put(out: dict[str, np.ndarray], name: str, seen: Observation) -> None:
    out |= {f"{name}/{column}": getattr(seen, column) for column in COLUMNS}


def one(schedule: str, path: Path, *, reads: bool = True) -> None:
    """The records of one schedule, into a file; in this process."""
    if schedule == "another process":
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
    from freerun.predictors.vllm_engine.loading import load_engine
    from freerun.predictors.vllm_engine.options import read_typed

    typed = read_typed(f"{MODEL},window=1024,cache-gib=1,compile=no{'' if reads else ',read=no'}")
    more = tuple(SCHEDULES[schedule].items())
    model = load_engine(replace(typed, options=replace(typed.options, more=more)), tell=print)
    n_preempted = _count_preemptions(model) if schedule == "preemption" else [0]
    out = records(model)
    warm = records(model) if schedule == "plain" else {}
    out |= {f"warm/{k}": v for k, v in warm.items()}
    np.savez(path, n_preempted=np.array(n_preempted), **out)
    print(json.dumps(model.identity.facts))
    model.runs.engine.close()  # type: ignore[attr-defined]


def _count_preemptions(model: Any) -> list[int]:
    scheduler = model.runs.engine._engine.engine_core.engine_core.scheduler
    original, count = scheduler._preempt_request, [0]

    def counted(*arguments: Any, **options: Any) -> Any:
        count[0] += 1
        return original(*arguments, **options)

    scheduler._preempt_request = counted
    return count


def by_transformers(out: dict[str, np.ndarray]) -> np.ndarray:
    """Log-probabilities of the scored texts, teacher-forced in float32."""
    from freerun.predictors.huggingface import load_pretrained
    from freerun.predictors.weights.catalogue import CATALOGUE, catalogue_weights

    folder = catalogue_weights(CATALOGUE[MODEL], tell=print)
    return np.concatenate(load_pretrained(str(folder), identity=Identity(MODEL, MODEL)).log_probs(_texts(out), first=1))


def apart(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> dict[str, Any]:
    """How far two runs' records are apart."""
    same = np.array_equal(a["drawn/token_id"], b["drawn/token_id"])
    out: dict[str, Any] = {
        "same_tokens": same and np.array_equal(a["cooled/token_id"], b["cooled/token_id"]),
        "same_bits": all(np.array_equal(a[k], b[k]) for k in a if "/" in k),
    }
    n = min(len(a["drawn/token_id"]), len(b["drawn/token_id"]))
    out["share_of_equal_tokens"] = float((a["drawn/token_id"][:n] == b["drawn/token_id"][:n]).mean())
    if a["drawn/token_id"].shape == b["drawn/token_id"].shape:
        names = [f"{what}/log_prob_nats" for what in ("drawn", "scored")]
        out["largest_nats"] = float(max(np.abs(a[k] - b[k]).max() for k in names))
        out["log_probs_that_differ"] = int(sum(np.count_nonzero(a[k] != b[k]) for k in names))
    return out


def compared(folder: Path, schedules: list[str]) -> dict[str, Any]:
    """All schedules beside the plain one, and the plain one beside transformers; each is run if its file is not there."""
    runs: dict[str, dict[str, np.ndarray]] = {}
    for schedule in schedules:
        path = folder / f"{schedule.replace(' ', '-')}.npz"
        if not path.exists():
            command = [sys.executable, "-m", MODULE, "--one", schedule, str(path)]
            # of two threads each takes a part of a sum, and which part goes by how many rows there are
            subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        runs[schedule] = dict(np.load(path))
    plain = runs["plain"]
    warm = {k.removeprefix("warm/"): v for k, v in plain.items() if k.startswith("warm/")}
    cold = {k: v for k, v in plain.items() if not k.startswith("warm/")}
    gap = np.abs(by_transformers(plain) - plain["scored/log_prob_nats"])
    return {
        "model": MODEL,
        "tokens_drawn": len(plain["drawn/token_id"]),
        "beside the plain run": {
            "warm cache of prefixes": apart(cold, warm),
            **{s: apart(cold, r) for s, r in runs.items() if s != "plain"},
        },
        "preemptions": int(runs["preemption"]["n_preempted"][0]) if "preemption" in runs else None,
        "beside transformers": {
            "tokens": len(gap),
            "largest_nats": float(gap.max()),
            "mean_nats": float(gap.mean()),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("SCHEDULE", "FILE"))
    parser.add_argument("--folder", type=Path, default=Path("runs/vllm-checks"))
    parser.add_argument("--schedules", nargs="*", default=list(SCHEDULES))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    if chosen.one:
        one(chosen.one[0], Path(chosen.one[1]))
        return
    chosen.folder.mkdir(parents=True, exist_ok=True)
    result = compared(chosen.folder, chosen.schedules)
    print(json.dumps(result, indent=1))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
