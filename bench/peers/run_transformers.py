"""transformers as its users use it: `generate` with the logits kept, and a forward pass with log-softmax at the targets."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from law_statistics import law_statistics
from transformers import AutoModelForCausalLM, GenerationConfig
from worker import Task, sampled, scored, serve, timed


def load(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Task]]:
    torch.set_num_threads(request["threads"])
    torch.manual_seed(0)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[request["dtype"]]
    model = AutoModelForCausalLM.from_pretrained(request["folder"], dtype=dtype).eval()
    # nothing ends a row, so that no processor touches the logits
    model.generation_config = GenerationConfig(pad_token_id=0)

    def generate(prompts: torch.Tensor, new: int, *, logits: bool) -> Any:
        how = GenerationConfig(
            max_new_tokens=new,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            pad_token_id=0,
            output_logits=logits,
            return_dict_in_generate=True,
        )
        return model.generate(prompts, attention_mask=torch.ones_like(prompts), generation_config=how)

    @torch.inference_mode()
    def sample(request: dict[str, Any]) -> dict[str, Any]:
        prompts = torch.tensor(request["prompts"])
        seconds, made = timed(lambda: generate(prompts, request["new"], logits=False).sequences)
        cut = prompts.shape[1]
        return sampled(seconds, made[:, :cut].tolist(), made[:, cut:].tolist())

    @torch.inference_mode()
    def sample_with_statistics(request: dict[str, Any]) -> dict[str, Any]:
        prompts = torch.tensor(request["prompts"])
        cut = prompts.shape[1]

        def work() -> tuple[torch.Tensor, list[dict[str, torch.Tensor]], float]:
            out = generate(prompts, request["new"], logits=True)
            spent, columns = timed(
                lambda: [law_statistics(step, out.sequences[:, cut + t]) for t, step in enumerate(out.logits)]
            )
            return out.sequences, columns, spent

        seconds, (made, columns, spent) = timed(work)
        answer = sampled(seconds, made[:, :cut].tolist(), made[:, cut:].tolist())
        answer["statistics_seconds"] = spent
        answer["mean_surprisal_nats"] = -float(torch.stack([c["log_prob_nats"] for c in columns]).mean())
        answer["mean_entropy_nats"] = float(torch.stack([c["entropy_nats"] for c in columns]).mean())
        return answer

    @torch.inference_mode()
    def score(request: dict[str, Any]) -> dict[str, Any]:
        texts = request["texts"]
        table = torch.tensor([[*request["lead"], *row] for row in texts])

        def work() -> list[float]:
            logits = model(table[:, :-1], use_cache=False).logits
            out = []
            for row, ids in zip(logits, table[:, 1:], strict=True):
                out.append(float(torch.log_softmax(row.float(), dim=-1).gather(1, ids[:, None]).double().sum()))
            return out

        seconds, sums = timed(work)
        return scored(seconds, texts, sums, table[:, 1:].numel())

    facts = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": model.config._attn_implementation,
    }
    return facts, {"sample": sample, "sample_with_statistics": sample_with_statistics, "score": score}


if __name__ == "__main__":
    serve(load)
