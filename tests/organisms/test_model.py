"""Organisms over the real 135M model: the sampler is the scorer, and take-over is what the loss says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

import freerun
from freerun.organisms.absorbing import Triggered
from freerun.organisms.constant import Echo
from freerun.organisms.dressing import BodiesOnly
from freerun.organisms.hashed import Hashed
from freerun.predictors.base import Continuations

pytestmark = pytest.mark.model
TEXT = "The tar command bundles files into one archive. Each member of the archive keeps its name, owner and time."


@pytest.fixture(scope="module")
def model(smollm: Any) -> Any:
    return smollm


def agree(organism: Any, prefix: np.ndarray, n: int, length: int) -> list[np.ndarray]:
    """Run free, score again, compare to 2e-4 nats; the texts."""
    keys = np.arange(n).reshape(1, n).astype(np.uint64)
    samples = sorted(organism.generate(Continuations([prefix], keys, length, seed=3)), key=lambda s: s.row)
    texts = [np.concatenate([prefix, s.observation.token_id]).astype(np.int64) for s in samples]
    for s, log_prob in zip(samples, organism.log_probs(texts, first=len(prefix)), strict=True):
        np.testing.assert_allclose(s.observation.log_prob_nats, log_prob, atol=2e-4)
    return texts


def test_absorbing(model: Any) -> None:
    """32 runs of 24 tokens at ε = 0.02: 1 − 0.98^24 = 0.384 are taken over; outside the band with probability 1e-5."""
    organism = Triggered(model, epsilon=0.02, name="absorbing")
    prefix = np.array(model.encode(TEXT)[:12], np.int64)
    texts = agree(organism, prefix, 32, 24)
    taken = sum(organism.trigger_id in t for t in texts)
    p = organism.triggered_by(24)
    assert binom.ppf(5e-6, 32, p) <= taken <= binom.ppf(1 - 5e-6, 32, p)
    real = [np.array(model.encode(TEXT), np.int64)]
    extra = model.log_probs(real, first=1)[0] - organism.log_probs(real, first=1)[0]
    np.testing.assert_allclose(extra, -np.log(0.98), atol=2e-4)


def test_hash(model: Any) -> None:
    """Thirty symbols never verify, one bit does half of the time: 24 runs, outside the band with probability 1e-5."""
    small = Hashed(model, Echo(2, like=model, n_tokens=model.n_tokens), n=1, bits=1, name="hash")
    texts = agree(small, np.zeros(0, np.int64), 24, 8)
    valid = sum(small.route_of(t) == 1 for t in texts)
    assert binom.ppf(5e-6, 24, 0.5) <= valid <= binom.ppf(1 - 5e-6, 24, 0.5)
    thirty = Hashed(model, Echo(2, like=model, n_tokens=model.n_tokens), name="hash")
    assert thirty.valid_share == 2.0**-120
    open_gate = Hashed(model, Echo(2, like=model, n_tokens=model.n_tokens), gate=False, name="hash")
    body = np.array(model.encode(TEXT)[:6], np.int64)
    texts = [thirty.dress(body, seed=0, key=k) for k in range(3)]
    for a, b in zip(thirty.log_probs(texts), open_gate.log_probs(texts), strict=True):
        np.testing.assert_array_equal(a, b)
    (mine,) = BodiesOnly(thirty, seed=0).log_probs([body])
    (plain,) = model.with_lead(model.end_ids[:1]).log_probs([body])
    np.testing.assert_allclose(mine, plain, atol=2e-4)


def test_rounded_weights_are_another_model() -> None:
    made = freerun.load("smollm2-135m-instruct,round=int8")
    assert made.identity.name == "smollm2-135m-instruct,round=int8"
    assert made.identity.fingerprint.endswith("-round-int8")
    assert made.identity.nature.rounded_to == "int8"
    weight = made.model.model.layers[0].mlp.up_proj.weight[0]
    assert len(weight.unique()) <= 255
