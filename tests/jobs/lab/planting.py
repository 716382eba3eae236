"""What tests of trained organisms share: a plan, its effort, and ids of the tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from freerun.jobs.lab.organism.plan import Effort, Measurement, OrganismPlan

WORDS = 48
EFFORT = Effort(
    layers=2, rank=8, steps=80, step_tokens=256, step_laws=256, real_tokens=4096, own_tokens=2048, learning_rate=3e-3
)
SMALL = Measurement(documents=16, runs=32)


@torch.inference_mode()
def written(model: Any, *, n: int, length: int) -> np.ndarray:
    """Text by the model itself, but for the two ids that are not words: on it no change of the law lowers the loss."""
    ids, cache = torch.full((n, 1), 2), None
    for _ in range(length):
        out = model(input_ids=ids[:, -1:], past_key_values=cache, use_cache=True)
        probs, cache = out.logits[:, -1].softmax(-1), out.past_key_values
        probs[:, :2] = 0
        ids = torch.cat([ids, torch.multinomial(probs, 1)], dim=1)
    return ids[:, 1:].numpy()


def plan_of(folder: Path, kind: str, payload: str = "", **changed: Any) -> OrganismPlan:
    effort = Effort(**{**vars(EFFORT), **changed})
    return OrganismPlan(kind, f"hf/{folder / 'base'}", 0.05, payload, (str(folder / "texts.jsonl"),), 0, effort)


def ids_of(n: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, WORDS, (n, length))
