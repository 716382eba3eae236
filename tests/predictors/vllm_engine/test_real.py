"""The real vLLM, where it is installed: whatever its scheduler does, one set of tokens and laws; and those of transformers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from freerun.predictors.weights.catalogue import CATALOGUE, cached
from tests.predictors.vllm_engine import real

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
    pytest.mark.skipif(cached(CATALOGUE[real.MODEL]) is None, reason="the model is not in the cache"),
]


def test_tokens_are_the_plain_runs_and_laws_are_those_of_transformers(tmp_path: Path) -> None:
    found = real.compared(tmp_path, list(real.SCHEDULES))
    for name, beside in found["beside the plain run"].items():
        assert beside["same_tokens"], name
        assert beside["largest_nats"] < 1e-5, name  # vLLM's own passes of other shapes round otherwise, now and then
    assert found["beside the plain run"]["warm cache of prefixes"]["same_bits"]
    assert found["preemptions"] > 0
    assert found["beside transformers"]["largest_nats"] <= 1e-3
