"""vLLM's build for CPUs, sampling with the log-probability of the sampled token alone, and scoring by `prompt_logprobs`."""

from __future__ import annotations

import os
from typing import Any

# said before vLLM loads: everything in this one process, so that an idle contestant is idle
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
# it would keep a core for its own server; here it gets as many threads as everybody
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

import torch
import vllm
from vllm import LLM, SamplingParams
from worker import Task, sampled, scored, serve, timed


def load(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Task]]:
    dtype = {"fp32": "float32", "bf16": "bfloat16"}[request["dtype"]]
    engine = LLM(
        model=request["folder"],
        dtype=dtype,
        max_model_len=1024,
        max_num_seqs=64,
        seed=0,
        enable_prefix_caching=False,
        generation_config="vllm",
        disable_log_stats=True,
    )

    def ask(rows: list[list[int]], how: SamplingParams) -> Any:
        return engine.generate([{"prompt_token_ids": row} for row in rows], how, use_tqdm=False)

    def sample(request: dict[str, Any]) -> dict[str, Any]:
        how = SamplingParams(
            temperature=1.0, top_p=1.0, top_k=0, max_tokens=request["new"], ignore_eos=True, logprobs=0
        )
        seconds, made = timed(lambda: ask(request["prompts"], how))
        return sampled(seconds, [m.prompt_token_ids for m in made], [list(m.outputs[0].token_ids) for m in made])

    def score(request: dict[str, Any]) -> dict[str, Any]:
        rows = [[*request["lead"], *row] for row in request["texts"]]
        how = SamplingParams(temperature=1.0, max_tokens=1, ignore_eos=True, prompt_logprobs=0)
        seconds, made = timed(lambda: ask(rows, how))
        sums = []
        for row, m in zip(rows, made, strict=True):
            sums.append(sum(said[i].logprob for i, said in zip(row[1:], m.prompt_logprobs[1:], strict=True)))
        return scored(seconds, request["texts"], sums, sum(len(row) - 1 for row in rows))

    facts = {"vllm": vllm.__version__, "torch": torch.__version__, "threads": torch.get_num_threads(), "dtype": dtype}
    return facts, {"sample": sample, "score": score}


if __name__ == "__main__":
    serve(load)
