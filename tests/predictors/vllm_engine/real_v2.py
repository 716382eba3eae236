"""Model Runner V2 of the real vLLM on a CPU, with Triton's interpreter in the place of a GPU, beside transformers.

    python -m tests.predictors.vllm_engine.real_v2 --json docs/data/vllm-v2.json

with the Python of an environment that has vLLM, freerun, and the catalogue's small model in the cache. It takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

TEXT = "The quick brown fox jumps over the lazy dog. Then it rains, and the dog goes home."
MODEL = "smollm2-135m-instruct"
NEW = 8


def interpret() -> None:
    """Have Triton interpret its kernels, and let vLLM see a driver that is active. Before vLLM is imported."""
    os.environ |= {"TRITON_INTERPRET": "1", "VLLM_USE_V2_MODEL_RUNNER": "1"}
    import torch
    import triton.backends

    class Driver:
        @staticmethod
        def is_active() -> bool:
            return True

        def get_current_device(self) -> int:
            return 0

        def get_active_torch_device(self) -> torch.device:
            return torch.device("cpu")

    triton.backends.backends["cpu"] = SimpleNamespace(driver=Driver, compiler=None)


def compared() -> dict[str, Any]:
    interpret()
    from freerun.predictors.base import Continuations
    from freerun.predictors.huggingface import load_pretrained
    from freerun.predictors.rules import Identity
    from freerun.predictors.vllm_engine.loading import load_engine
    from freerun.predictors.vllm_engine.options import read_typed
    from freerun.predictors.weights.catalogue import CATALOGUE, catalogue_weights
    from freerun.stats.loops.lag_runs import LoopRule

    model = load_engine(read_typed(f"{MODEL},window=512,cache-gib=1,compile=no,rows=4"), tell=print)
    other = load_pretrained(str(catalogue_weights(CATALOGUE[MODEL], tell=print)), identity=Identity(MODEL, MODEL))
    text = np.asarray(model.encode(TEXT), np.int64)
    todo = Continuations([text[:8], text[:5]], np.array([[1], [3]], np.uint64), NEW, seed=3, loop_rule=LoopRule())
    drawn = [sorted(m.generate(todo), key=lambda s: s.row) for m in (model, other)]
    read, wanted = (m.log_probs([text], first=1)[0] for m in (model, other))
    model.reads_prompts = False
    (written,) = model.log_probs([text], first=1)
    return {
        "model": MODEL,
        **model.identity.facts,
        "tokens_drawn": sum(len(s.observation.token_id) for s in drawn[0]),
        "same_tokens_as_the_local_engine": all(
            np.array_equal(a.observation.token_id, b.observation.token_id) for a, b in zip(*drawn, strict=True)
        ),
        "drawn_beside_transformers_largest_nats": max(
            float(np.abs(a.observation.log_prob_nats - b.observation.log_prob_nats).max())
            for a, b in zip(*drawn, strict=True)
        ),
        "read_beside_transformers_largest_nats": float(np.abs(read - wanted).max()),
        "read_beside_written_largest_nats": float(np.abs(read - written).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    result = compared()
    print(json.dumps(result, indent=1))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
