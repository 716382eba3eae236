"""The machine's rate for the model's own matrix products: what bounds any engine that computes in this number format.

Two figures: `plain` multiplies as transformers does (`F.linear`, every weight by itself); `best` takes for every group of
weights the fastest of the ways that PyTorch offers, with query/key/value and gate/up together or apart.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from worker import Task, serve, timed

TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Weights that read the same input and may be multiplied as one."""


def load(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Task]]:
    torch.set_num_threads(request["threads"])
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[request["dtype"]]
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(request["folder"]))
    groups = weight_groups(model)
    parameters = sum(n * inner * sum(outers) for (inner, outers), n in groups.items())

    def rate(request: dict[str, Any]) -> dict[str, Any]:
        """GF/s over a whole step of `rows` rows, every group weighted by how often the model multiplies by it."""
        rows = request["rows"]
        plain = best = 0.0
        shapes = []
        for (inner, outers), count in groups.items():
            copies = min(count, request["copies"])
            apart = [[torch.randn(o, inner, dtype=dtype) for o in outers] for _ in range(copies)]
            x = torch.randn(rows, inner, dtype=dtype)
            linear = _seconds(lambda i, a=apart, x=x: [torch.nn.functional.linear(x, w) for w in a[i]], copies)
            found = {"linear, apart": linear}
            for name, weights in (("apart", apart), ("together", [[torch.cat(ws)] for ws in apart])):
                if name == "apart" or len(outers) > 1:
                    found |= {f"{way}, {name}": s for way, s in ways(x, weights).items()}
            fastest = min(found, key=lambda k: found[k])
            plain += count * linear
            best += count * found[fastest]
            flops = 2 * rows * inner * sum(outers)
            gflops = {k: round(flops / s / 1e9, 1) for k, s in found.items()}
            shapes.append(
                {"inner": inner, "outer": list(outers), "times": count, "best": fastest, "gflops_per_s": gflops}
            )
        flops = 2 * parameters * rows
        return {
            "rows": rows,
            "plain_gflops_per_s": flops / plain / 1e9,
            "best_gflops_per_s": flops / best / 1e9,
            "shapes": shapes,
        }

    head = model.get_output_embeddings().weight.numel()
    facts = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "dtype": str(dtype).removeprefix("torch."),
        "build": [
            line.strip(" -") for line in torch.__config__.show().splitlines() if "MKL" in line or "Kernel" in line
        ][:2],
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "parameters": parameters,
        "head parameters": head,
    }
    return facts, {"rate": rate}


def weight_groups(model: Any) -> dict[tuple[int, tuple[int, ...]], int]:
    """(inputs, outputs of the weights that may go together) → how many times a step multiplies by such a group."""
    partner = {name: names for names in TOGETHER for name in names}
    seen: dict[tuple[str, ...], list[tuple[str, Any]]] = {}
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            parent, _, name = path.rpartition(".")
            seen.setdefault((parent, *partner.get(name, (name,))), []).append((name, module))
    found: Counter[tuple[int, tuple[int, ...]]] = Counter()
    for members in seen.values():
        found[members[0][1].in_features, tuple(m.out_features for _, m in members)] += 1
    return dict(found)


@torch.inference_mode()
def ways(x: torch.Tensor, weights: list[list[torch.Tensor]]) -> dict[str, float]:
    """Seconds of each way to multiply by one group; a way that this build does not have is left out."""
    n, rows = len(weights), x.shape[0]
    turned = [[w.t().contiguous() for w in ws] for ws in weights]
    found = {
        "x @ Wᵀ laid out so": _seconds(lambda i: [x @ w for w in turned[i]], n),
        "W @ xᵀ": _seconds(lambda i: [torch.mm(w, x.t()) for w in weights[i]], n),
    }
    if len(weights[0]) == 1:
        found["linear"] = _seconds(lambda i: [torch.nn.functional.linear(x, w) for w in weights[i]], n)
    for name, pack, multiply in (
        (
            "oneDNN prepacked",
            lambda w: torch.ops.mkldnn._reorder_linear_weight(w, rows),
            lambda w, p: torch.ops.mkldnn._linear_pointwise(x, p, None, "none", [], ""),
        ),
        (
            "MKL prepacked",
            lambda w: torch.ops.mkl._mkl_reorder_linear_weight(w, rows),
            lambda w, p: torch.ops.mkl._mkl_linear(x, p, w, None, rows),
        ),
    ):
        try:
            packed = [[pack(w) for w in ws] for ws in weights]
            right = torch.nn.functional.linear(x, weights[0][0])
            if not torch.allclose(multiply(weights[0][0], packed[0][0]), right, rtol=2e-2, atol=2e-1):
                continue
            found[name] = _seconds(
                lambda i, p=packed, f=multiply: [f(w, q) for w, q in zip(weights[i], p[i], strict=True)], n
            )
        except (RuntimeError, AttributeError, NotImplementedError):
            continue
    return found


@torch.inference_mode()
def _seconds(work: Callable[[int], Any], copies: int) -> float:
    """Median seconds of one call over three rounds through all copies, so that weights come from memory as in a model."""
    work(0)
    seconds_once, _first = timed(lambda: work(copies - 1))
    per_round = max(1, 4 // copies) if seconds_once < 0.05 else 1
    rounds = []
    for _ in range(3):
        seconds, _done = timed(lambda: [work(i) and None for _ in range(per_round) for i in range(copies)])
        rounds.append(seconds / (copies * per_round))
    return statistics.median(rounds)


if __name__ == "__main__":
    serve(load)
