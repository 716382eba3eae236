"""lm-evaluation-harness: rolling log-likelihood of whole texts, the pass behind its perplexities."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer
from worker import Task, scored, serve, timed


def load(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Task]]:
    torch.set_num_threads(request["threads"])
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[request["dtype"]]
    model = AutoModelForCausalLM.from_pretrained(request["folder"], dtype=dtype).eval()
    tokenizer = AutoTokenizer.from_pretrained(request["folder"])
    harness = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=request["batch"], device="cpu")

    def score(request: dict[str, Any]) -> dict[str, Any]:
        texts = request["strings"]
        asked = [
            Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=i)
            for i, text in enumerate(texts)
        ]
        seconds, sums = timed(lambda: harness.loglikelihood_rolling(asked, disable_tqdm=True))
        ids = [harness.tok_encode(text) for text in texts]
        return scored(seconds, ids, [float(x) for x in sums], sum(len(row) for row in ids))

    facts = {
        "lm-eval": version("lm-eval"),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "lead": [int(harness.prefix_token_id)],
    }
    return facts, {"score": score}


if __name__ == "__main__":
    serve(load)
