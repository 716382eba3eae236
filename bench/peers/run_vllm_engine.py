"""freerun inside vLLM beside vLLM's own sampling and scoring, in one engine and in turns.

Run it with the Python of vLLM's environment, in which freerun is installed, too (docs/vllm.md):

    python bench/peers/run_vllm_engine.py --json docs/data/bench-vllm-engine.json

vLLM samples with the log-probability of each token (`logprobs=0`) and scores by `prompt_logprobs=0`; freerun records the whole law
of each token, with and without the watch for loops. Nothing is detokenised in either. Processor seconds are those of all threads.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from freerun.predictors.base import Continuations
from freerun.predictors.vllm_engine.loading import load_engine
from freerun.predictors.vllm_engine.options import read_typed
from freerun.predictors.vllm_engine.predictor import VLLMEngine
from freerun.stats.loops.lag_runs import LoopRule

PROMPT_TOKENS = 32


def measured(work: Callable[[], int]) -> dict[str, float]:
    """Tokens, seconds on the clock, and seconds of processor."""
    clock, processor = time.perf_counter(), time.process_time()
    tokens = work()
    return {
        "tokens": tokens,
        "seconds": time.perf_counter() - clock,
        "processor_seconds": time.process_time() - processor,
    }


def contestants(model: VLLMEngine, rows: int, new: int, length: int) -> dict[str, dict[str, Callable[[], int]]]:
    from vllm import SamplingParams

    llm = model.runs.engine._llm  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    spoken = [i for i in range(model.n_tokens) if model.token_bytes(i).isalpha()]
    prompts = [rng.choice(spoken, PROMPT_TOKENS) for _ in range(rows)]
    texts = [rng.choice(spoken, length) for _ in range(max(1, rows // 4))]
    keys = np.arange(rows, dtype=np.uint64)[:, None]

    def ask(ids: list[np.ndarray], **how: Any) -> list[Any]:
        params = SamplingParams(temperature=1.0, ignore_eos=True, detokenize=False, **how)
        return list(llm.generate([{"prompt_token_ids": i.tolist()} for i in ids], params, use_tqdm=False))

    def own() -> int:
        return sum(len(m.outputs[0].token_ids) for m in ask(prompts, max_tokens=new, logprobs=0))

    def ours(rule: LoopRule | None) -> int:
        todo = Continuations(prompts, keys, new, loop_rule=rule)
        return sum(len(s.observation.token_id) for s in model.generate(todo))

    def own_scores() -> int:
        return sum(len(m.prompt_logprobs) - 1 for m in ask(texts, max_tokens=1, prompt_logprobs=0))

    def scores(rule: LoopRule | None) -> int:
        return sum(len(c.row) for c in model.score(texts, first=1, loop_rule=rule))

    return {
        "sampling": {"vLLM": own, "freerun": lambda: ours(None), "freerun, loops watched": lambda: ours(LoopRule())},
        "scoring": {
            "vLLM": own_scores,
            "freerun": lambda: scores(None),
            "freerun, loops watched": lambda: scores(LoopRule()),
        },
    }


def compared(work: dict[str, Callable[[], int]], rounds: int) -> dict[str, Any]:
    """Everybody once to warm up, then in turns, the order reversed from round to round."""
    names = list(work)
    for name in names:
        work[name]()
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for i in range(rounds):
        for name in names if i % 2 == 0 else names[::-1]:
            seen[name].append(measured(work[name]))
    out: dict[str, Any] = {"rounds": seen}
    for what in ("seconds", "processor_seconds"):
        speed = {n: [r["tokens"] / r[what] for r in rs] for n, rs in seen.items()}
        out[f"tokens_per_{what.removesuffix('s')}"] = {n: statistics.median(s) for n, s in speed.items()}
        out[f"speed_by_{what}"] = {
            n: statistics.median(a / b for a, b in zip(speed[n], speed["vLLM"], strict=True)) for n in names[1:]
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct,window=1024,cache-gib=1", help="after vllm-engine/")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--new", type=int, default=64, help="tokens that each row writes")
    parser.add_argument("--length", type=int, default=256, help="tokens of each text that is scored")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    began = time.perf_counter()
    model = load_engine(read_typed(chosen.model), dtype=chosen.dtype, tell=print)
    result: dict[str, Any] = {
        "model": model.identity.name,
        "dtype": chosen.dtype,
        **model.identity.facts,
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "load_seconds": time.perf_counter() - began,
        "rows": chosen.rows,
        "new_tokens": chosen.new,
        "text_tokens": chosen.length,
    }
    for name, work in contestants(model, chosen.rows, chosen.new, chosen.length).items():
        result[name] = compared(work, chosen.rounds)
        print(name, json.dumps({k: v for k, v in result[name].items() if k != "rounds"}, indent=1))
        result["load_average"] = os.getloadavg()[0]
        if chosen.json:
            chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
