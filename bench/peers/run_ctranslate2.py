"""CTranslate2: the model is converted into a temporary folder, then samples from its full law and scores texts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ctranslate2
from ctranslate2.converters import TransformersConverter
from transformers import AutoTokenizer
from worker import Task, sampled, scored, serve, timed


def load(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Task]]:
    ctranslate2.set_random_seed(1)
    kind = {"fp32": "float32"}.get(request["dtype"], request["dtype"])
    tokenizer = AutoTokenizer.from_pretrained(request["folder"])
    with tempfile.TemporaryDirectory() as where:
        made = TransformersConverter(request["folder"]).convert(str(Path(where) / "model"), quantization=kind)
        generator = ctranslate2.Generator(
            made, device="cpu", compute_type=kind, inter_threads=1, intra_threads=request["threads"]
        )

    def words(rows: list[list[int]]) -> list[list[str]]:
        return [tokenizer.convert_ids_to_tokens(row) for row in rows]

    def sample(request: dict[str, Any]) -> dict[str, Any]:
        prompts = words(request["prompts"])
        new = request["new"]

        def work() -> Any:
            return generator.generate_batch(
                prompts,
                sampling_topk=0,
                sampling_topp=1,
                sampling_temperature=1,
                min_length=new,
                max_length=new,
                include_prompt_in_result=False,
                max_batch_size=0,
            )

        seconds, results = timed(work)
        read = [tokenizer.convert_tokens_to_ids(row) for row in prompts]
        return sampled(seconds, read, [r.sequences_ids[0] for r in results])

    def score(request: dict[str, Any]) -> dict[str, Any]:
        rows = [[*request["lead"], *row] for row in request["texts"]]
        texts = words(rows)
        seconds, results = timed(lambda: generator.score_batch(texts, max_batch_size=0))
        sums = [sum(r.log_probs) for r in results]
        return scored(seconds, request["texts"], sums, sum(len(r.log_probs) for r in results))

    facts = {
        "ctranslate2": ctranslate2.__version__,
        "threads": request["threads"],
        "dtype": generator.compute_type,
        "compute types of this CPU": sorted(ctranslate2.get_supported_compute_types("cpu")),
    }
    return facts, {"sample": sample, "score": score}


if __name__ == "__main__":
    serve(load)
