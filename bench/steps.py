"""Where the time of a step goes: `python bench/steps.py --json docs/data/bench-steps.json` (about 5 minutes).

PyTorch's profiler over steps of sampling and over scoring, in the number formats of the bench. Every operation's own time is put
to the part of the engine that called it. A profiler costs time itself, so seconds are measured without it and shares with it.
Beside them stands what memory can give: the attention of a step reads all keys and values once and does little else.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from peers.machine import describe
from table import significant, spread, steps_tables

MODEL, CORPUS = "smollm2-135m-instruct", "builtin/python-docs"
SEQUENCES, PREFIX, AT, SCORED = 64, 32, 160, 256
"""A step is profiled where a text of 32 + 256 tokens is half made."""
STATISTICS, ATTENTION, CACHE, PRODUCTS, REST, OUTSIDE = (
    "the law's statistics",
    "attention",
    "keys and values put by",
    "matrix products",
    "norms, rotations, gates, sums and copies",
    "Python between operations",
)
PARTS = (PRODUCTS, ATTENTION, CACHE, REST, STATISTICS, OUTSIDE)
_PRODUCTS = ("linear", "addmm", "aten::mm", "aten::matmul", "aten::bmm")


def part_of(names: list[str]) -> str:
    """The part that an operation belongs to, from its own name and those of what called it, innermost first.

    >>> part_of(["aten::bmm", "aten::matmul", "attention"]), part_of(["mkl::_mkl_linear"]), part_of(["aten::mul"])
    ('attention', 'matrix products', 'norms, rotations, gates, sums and copies')
    """
    for name in names:
        if name in (STATISTICS, ATTENTION, CACHE):
            return name
    return PRODUCTS if any(p in name for p in _PRODUCTS for name in names) else REST


def shares(events: Any, seconds: float) -> dict[str, float]:
    """Each part's share of `seconds`, from the profiler's events; what no operation accounts for is Python's."""
    micros = dict.fromkeys(PARTS, 0.0)
    for event in events:
        names, caller = [event.name], event.cpu_parent
        while caller is not None:
            names.append(caller.name)
            caller = caller.cpu_parent
        micros[part_of(names)] += event.self_cpu_time_total
    micros[OUTSIDE] = max(0.0, seconds * 1e6 - sum(micros.values()))
    return {name: significant(value / (seconds * 1e6)) for name, value in micros.items()}


@contextmanager
def named_parts() -> Iterator[None]:
    """Statistics, attention and the cache under their names in the profile."""
    from torch.profiler import record_function
    from transformers import AttentionInterface
    from transformers.cache_utils import DynamicCache

    from freerun.predictors.law import Law

    def under(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def named(*args: Any, **words: Any) -> Any:
            with record_function(name):
                return call(*args, **words)

        return named

    interface = AttentionInterface()
    before = {name: interface[name] for name in interface if "sdpa" in name}
    observe, update = Law.observe, DynamicCache.update
    for name, call in before.items():
        AttentionInterface.register(name, under(ATTENTION, call))
    Law.observe, DynamicCache.update = under(STATISTICS, observe), under(CACHE, update)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for name, call in before.items():
            AttentionInterface.register(name, call)
        Law.observe, DynamicCache.update = observe, update  # type: ignore[method-assign]


def profiled(work: Callable[[], Any], times: int) -> dict[str, Any]:
    """Seconds of `work` without the profiler, shares with it."""
    from torch.profiler import ProfilerActivity, profile

    plain = [_seconds(work) for _ in range(times)]
    with named_parts(), profile(activities=[ProfilerActivity.CPU]) as seen:
        watched = sum(_seconds(work) for _ in range(times))
    found = shares(seen.events(), watched)
    return {"seconds": spread(plain), "seconds_profiled": significant(watched / times), "shares": found}


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def read_rate_gb_per_s() -> float:
    """How fast all cores together read memory that no cache holds: half a GiB of numbers, summed; the best of five."""
    import torch

    numbers = torch.ones(1 << 27)
    best = min(_seconds(lambda: numbers.sum()) for _ in range(5))
    return significant(numbers.numel() * 4 / best / 1e9)


def attention_ways(predictor: Any, times: int) -> list[dict[str, Any]]:
    """Milliseconds of one step's attention, all layers, by ways of the same sums, on caches with room to grow and without."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    config, dtype = predictor.model.config, predictor.model.dtype
    groups, width = config.num_key_value_heads, _head_width(config)
    shared = config.num_attention_heads // groups
    query = torch.randn(SEQUENCES, groups, shared, width).to(dtype)
    single = query.reshape(SEQUENCES, groups * shared, 1, width)
    roomy = [
        [torch.randn(SEQUENCES, groups, 2 * AT, width).to(dtype)[:, :, :AT] for _ in range(2)]
        for _ in range(config.num_hidden_layers)
    ]

    def products(keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return torch.matmul((torch.matmul(query, keys) * width**-0.5).softmax(-1), values)

    ways: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
        "PyTorch's kernel, a query head at a time": lambda k, v: scaled_dot_product_attention(
            single, k, v, enable_gqa=True
        ),
        "PyTorch's kernel, heads of a group together": lambda k, v: scaled_dot_product_attention(query, k, v),
        "two products": lambda k, v: products(k.transpose(-1, -2), v),
    }
    out = []
    with torch.inference_mode():
        for room in ("with room to grow", "without"):
            cache = roomy if room != "without" else [[x.contiguous() for x in layer] for layer in roomy]
            for name, way in ways.items():
                out.append({"what": f"{name}; cache {room}", "milliseconds": _milliseconds(way, cache, times)})
        turned = [[k.transpose(-1, -2).contiguous(), v] for k, v in cache]
        out.append(
            {
                "what": "two products; keys stored transposed, cache without",
                "milliseconds": _milliseconds(products, turned, times),
            }
        )
    return out


def _milliseconds(way: Callable[..., Any], cache: list[list[Any]], times: int) -> dict[str, float | int]:
    def step() -> None:
        for keys, values in cache:
            way(keys, values)

    step()
    return spread([1e3 * _seconds(step) for _ in range(times)])


def _head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def measured(dtype: str, times: int, tell: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    import freerun
    from freerun.specs.providers import LoadOptions
    from freerun.stats.loops.lag_runs import LoopRule
    from freerun.text.corpora import read_corpus

    predictor: Any = freerun.load(MODEL, LoadOptions(dtype=dtype))
    rng = np.random.default_rng(0)
    ids = [np.asarray(predictor.encode(d.text), np.int64) for d in read_corpus(CORPUS).documents]
    texts = [x[:SCORED] for x in ids if len(x) >= SCORED][:SEQUENCES]
    if len(texts) < SEQUENCES:
        raise ValueError(f"{CORPUS} has {len(texts)} texts of {SCORED} tokens, not {SEQUENCES}")
    state = predictor.start([x[:PREFIX] for x in texts])

    def step() -> None:
        nonlocal state
        seen = predictor.law(state).observe(uniforms=rng.random(SEQUENCES))
        state = predictor.advance(state, seen.token_id.astype(np.int64))

    while len(state.ids[0]) < AT - times:
        step()
    tell(f"{dtype}: sampling")
    found = profiled(step, times)
    config = predictor.model.config
    held = 2 * config.num_hidden_layers * SEQUENCES * AT * config.num_key_value_heads * _head_width(config)
    cache_bytes = held * (2 if dtype == "bf16" else 4)
    seconds = found["seconds"]["median"] * found["shares"][ATTENTION]
    yield {
        "what": f"sampling, {dtype}: a step of {SEQUENCES} rows that hold {AT} tokens",
        **found,
        "cache_mb": significant(cache_bytes / 1e6),
        "attention_reads_gb_per_s": significant(cache_bytes / seconds / 1e9),
        "attention_ways": attention_ways(predictor, times),
    }
    del state
    gc.collect()
    tell(f"{dtype}: scoring")

    def score() -> None:
        for _ in predictor.score(texts[: SEQUENCES // 4], first=1, loop_rule=LoopRule()):
            pass

    score()
    yield {
        "what": f"scoring, {dtype}: {SEQUENCES // 4} texts of {SCORED} tokens",
        **profiled(score, max(2, times // 5)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="steps to profile (default: 20)")
    parser.add_argument("--threads", type=int, default=2, help="threads (default: 2)")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    chosen = parser.parse_args()
    import torch

    from freerun.predictors.kernels import fused

    torch.set_num_threads(chosen.threads)

    def tell(what: str) -> None:
        print(time.strftime("%H:%M:%S"), what, file=sys.stderr, flush=True)

    machine = describe()
    formats = ["fp32", *(["bf16"] if machine["bf16_instructions"] else [])]
    rates = [read_rate_gb_per_s()]
    steps = [line for dtype in formats for line in measured(dtype, chosen.times, tell)]
    os.environ["FREERUN_PLAIN"] = "1"  # layers, attention and statistics as PyTorch has them
    fused.ready.cache_clear()
    plain = [line["seconds"] for dtype in formats for line in measured(dtype, max(2, chosen.times // 4), tell)]
    rates.append(read_rate_gb_per_s())
    data = {
        "command": "python bench/steps.py",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "threads": chosen.threads,
        "model": MODEL,
        "versions": {"torch": torch.__version__},
        "memory_reads_gb_per_s": statistics.median(rates),
        "steps": steps,
        "plain": plain,
    }
    if chosen.json:
        chosen.json.write_text(json.dumps(data, indent=1) + "\n")
    print(steps_tables(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
