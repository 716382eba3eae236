"""All that needs an accelerator, in one command: `make gpu`, or `python -m bench.gpu --json docs/data/bench-gpu.json`.

First the tests of the device's statistics and of its loop, on the device. Then five architectures with random weights, made on the
spot: their laws on the device beside those on the processor. Then the bench, on a model of the shape of a current one (24 layers,
896 wide, 151,936 ids) with random weights in bf16: what the statistics cost a step; sampling beside transformers' `generate` with
the same statistics computed from its logits; scoring beside the forward pass alone. Nothing is fetched.

`--device cpu --small` runs the same code where there is no accelerator, on a model of two narrow layers; its times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPTNeoXConfig, LlamaConfig, PreTrainedConfig, Qwen2Config, Qwen3Config

from bench.table import reach, spread
from freerun.predictors.base import Continuations
from freerun.predictors.huggingface.device_loop import DeviceLoop
from freerun.predictors.huggingface.device_trial import loop_agrees
from freerun.predictors.huggingface.predictor import HuggingFacePredictor
from freerun.predictors.law import Dense
from freerun.stats.loops.lag_runs import LoopRule
from tests.accelerator import random_model

TESTS = ("tests/predictors/test_on_device.py", "tests/predictors/test_device_loop.py")
LARGEST_GAP_NATS = 1e-3
MOST_STATISTICS, LEAST_SAMPLING, LEAST_SCORING = 0.10, 2.0, 0.80
VOCABULARY = 151_936


@dataclass(frozen=True)
class Size:
    """Of the bench's model and its work."""

    layers: int
    width: int
    vocabulary: int
    rows: int
    prefix: int
    tokens: int
    scored: int
    repeats: int


FULL = Size(24, 896, VOCABULARY, 128, 32, 256, 1024, 5)
SMALL = Size(2, 64, 2048, 4, 8, 24, 64, 2)


def families(vocabulary: int = 4096) -> dict[str, PreTrainedConfig]:
    """Small configs of five architectures."""
    plain: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "max_position_embeddings": 256,
        "initializer_range": 0.1,
    }
    grouped = {**plain, "num_key_value_heads": 2}
    return {
        "llama": LlamaConfig(**grouped),
        "qwen2": Qwen2Config(**grouped),
        "qwen3": Qwen3Config(**grouped, head_dim=32),
        "gpt2": GPT2Config(
            vocab_size=vocabulary, n_embd=128, n_layer=3, n_head=4, n_positions=256, initializer_range=0.1
        ),
        "gpt-neox": GPTNeoXConfig(**plain),
    }


def bench_model(size: Size, device: str) -> HuggingFacePredictor:
    config = Qwen2Config(
        vocab_size=size.vocabulary,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.width // 64 or 1,
        num_key_value_heads=2 if size.width >= 128 else 1,
        intermediate_size=size.width * 11 // 2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    return random_model(config, device=device, dtype=torch.bfloat16)


def check_families(device: str) -> list[dict[str, Any]]:
    """Largest difference of log-probabilities between device and processor, whole texts and the device's loop; float32."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 4096, n) for n in (40, 17, 3)]
    out = []
    for name, config in families().items():
        here, there = random_model(config, device="cpu"), random_model(config, device=device)
        there.model.load_state_dict(here.model.state_dict())
        gaps = [
            np.abs(a - b).max()
            for a, b in zip(here.log_probs(texts, first=1), there.log_probs(texts, first=1), strict=True)
        ]
        seen = [np.concatenate([c.observation.log_prob_nats for c in p.score(texts, first=1)]) for p in (here, there)]
        gap = float(max(*gaps, np.abs(seen[0] - seen[1]).max()))
        line = {"family": name, "largest_gap_nats": gap, "loop": loop_agrees(there), "sound": gap <= LARGEST_GAP_NATS}
        print(
            f"  {name:9} {gap:.1e} nats apart at most; loop on the device: {'yes' if line['loop'] else 'no'}",
            flush=True,
        )
        out.append(line)
    return out


# ---- times -----------------------------------------------------------------------------------------------------------


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Of a call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


@torch.inference_mode()
def statistics_share(predictor: HuggingFacePredictor, size: Size) -> list[float]:
    """What draw and statistics take of a step, with ids that would complete a loop among them."""
    loop = DeviceLoop(predictor.passes, (), size.rows, size.prefix, size.tokens, LoopRule())
    rng = np.random.default_rng(1)
    texts = [rng.integers(0, size.vocabulary, size.prefix) for _ in range(size.rows)]
    loop.begin(texts, rng.random((size.rows, size.tokens)), texts)
    step = loop._captured()

    def steps() -> None:
        for _ in range(size.tokens // 4):
            step()

    def draws() -> None:
        loop.step_at.zero_()
        for _ in range(size.tokens // 4):
            graph()

    graph: Callable[[], Any] = loop.draw
    if predictor.device.type == "cuda":
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            loop.draw()
        graph = captured.replay
    out = []
    for _ in range(size.repeats):
        loop.begin(texts, rng.random((size.rows, size.tokens)), texts)
        whole = seconds(steps, predictor.device)
        out.append(seconds(draws, predictor.device) / whole)
    return out


@torch.inference_mode()
def sampling(predictor: HuggingFacePredictor, size: Size) -> tuple[list[float], list[float]]:
    """Tokens a second: by the predictor, and by `generate` with the statistics of its logits computed as the definition does."""
    rng = np.random.default_rng(2)
    prefixes = [rng.integers(0, size.vocabulary, size.prefix) for _ in range(size.rows)]
    ids = torch.as_tensor(np.stack(prefixes), device=predictor.device)

    def mine() -> None:
        wanted = Continuations(prefixes, np.arange(size.rows)[:, None], size.tokens, loop_rule=LoopRule())
        list(predictor.generate(wanted))

    def theirs() -> None:
        made = predictor.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            top_k=0,
            max_new_tokens=size.tokens,
            return_dict_in_generate=True,
            output_logits=True,
            pad_token_id=0,
            eos_token_id=None,
        )
        for t, logits in enumerate(made.logits):
            Dense(logits)._observed(made.sequences[:, size.prefix + t].cpu().numpy(), None, None)

    tokens = size.rows * size.tokens
    mine(), theirs()  # compiled and captured
    order = [(mine, []), (theirs, [])]  # type: ignore[var-annotated]
    for repeat in range(size.repeats):
        for work, speeds in order if repeat % 2 == 0 else order[::-1]:
            speeds.append(tokens / seconds(work, predictor.device))
    return order[0][1], order[1][1]


@torch.inference_mode()
def scoring(predictor: HuggingFacePredictor, size: Size) -> tuple[list[float], list[float]]:
    """Tokens a second: scored with all statistics, and by the forward pass alone, all logits made and nothing looked at."""
    rng = np.random.default_rng(3)
    texts = [rng.integers(0, size.vocabulary, size.scored) for _ in range(size.rows // 4)]
    table = torch.as_tensor(np.stack(texts), device=predictor.device)
    at_once = max(1, predictor.sizes.body_tokens // size.scored)

    def mine() -> None:
        list(predictor.score(texts, first=1))

    def forward() -> None:
        for a in range(0, len(table), at_once):
            predictor.passes.model(input_ids=table[a : a + at_once], use_cache=False)

    tokens = table.numel()
    mine(), forward()
    order = [(mine, []), (forward, [])]  # type: ignore[var-annotated]
    for repeat in range(size.repeats):
        for work, speeds in order if repeat % 2 == 0 else order[::-1]:
            speeds.append(tokens / seconds(work, predictor.device))
    return order[0][1], order[1][1]


def over(mine: list[float], theirs: list[float]) -> dict[str, float | int]:
    return spread([a / b for a, b in zip(mine, theirs, strict=True)])


def card(device: str) -> str:
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(torch.device(device)))
    return f"{device} ({platform.processor() or platform.machine()})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "mps", help="default: the one there is"
    )
    parser.add_argument("--small", action="store_true", help="a small model: the code runs, its times mean nothing")
    parser.add_argument("--no-tests", action="store_true", help="leave the tests out")
    parser.add_argument("--json", type=Path, help="write the result there")
    chosen = parser.parse_args()
    there = torch.cuda.is_available() if chosen.device.startswith("cuda") else torch.backends.mps.is_available()
    if chosen.device != "cpu" and not there:
        print(
            f"no accelerator here ({chosen.device}); --device cpu --small runs the same code without one",
            file=sys.stderr,
        )
        return 3
    torch.backends.cuda.matmul.allow_tf32 = False
    tests = "left out"
    if not chosen.no_tests:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
            env={**os.environ, "FREERUN_TEST_DEVICE": chosen.device},
            check=False,
        )
        tests = "passed" if run.returncode == 0 else "failed"
    print(f"{card(chosen.device)}: tests {tests}\nlaws here beside those on the processor, float32:", flush=True)
    sound = check_families(chosen.device)
    size = SMALL if chosen.small else FULL
    predictor = bench_model(size, chosen.device)
    predictor.loops_on_device = loop_agrees(predictor)
    share = spread(statistics_share(predictor, size))
    mine, theirs = sampling(predictor, size)
    scored, forward = scoring(predictor, size)
    words = f"{size.vocabulary:,} ids, {size.rows} rows"
    reaches = [
        reach(f"statistics' share of a step, {words}", share, "<=", MOST_STATISTICS),
        reach("sampling over `generate` with the same statistics", over(mine, theirs), ">=", LEAST_SAMPLING, "×"),
        reach("scoring over the forward pass alone", over(scored, forward), ">=", LEAST_SCORING, "×"),
    ]
    result = {
        "command": "python -m bench.gpu" + (" --device cpu --small" if chosen.small else ""),
        "card": card(chosen.device),
        "torch": torch.__version__,
        "tests": tests,
        "families": sound,
        "loop_on_device": predictor.loops_on_device,
        "tokens_per_second": {
            "sampling": spread(mine),
            "generate with statistics": spread(theirs),
            "scoring": spread(scored),
            "forward pass": spread(forward),
        },
        "reaches": reaches,
    }
    print(json.dumps(result, indent=1))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0 if tests != "failed" and all(line["sound"] for line in sound) else 1


if __name__ == "__main__":
    sys.exit(main())
