"""What is tried when a model is loaded into vLLM: that what it draws is what it scores, and by which way texts can be scored."""

from __future__ import annotations

import numpy as np

from freerun.errors import BackendError
from freerun.predictors.base import Continuations
from freerun.predictors.servers.trial import WORDS, Gap
from freerun.predictors.vllm_engine.predictor import VLLMEngine

N_GIVEN, N_DRAWN = 24, 8
LARGEST_GAP_NATS = 1e-3
"""Between two ways to one log-probability in float32."""
LARGEST_MEAN_GAP_ROUNDED_NATS = 0.06
"""The same in arithmetic that rounds, on average."""


def settle(model: VLLMEngine, *, read_prompts: bool) -> str:
    """Choose how texts are scored: while vLLM reads them, or (not `read_prompts`, or not to be trusted) by having it write them.

    Returns why they are not read, where that was wanted and is not so.

    Raises:
        BackendError: the engine's vocabulary is another, or it does not score what it draws as it drew it.
    """
    ids = np.asarray(model.encode(WORDS)[:N_GIVEN], np.int64)
    _check_vocabulary(model, ids)
    _check_draws(model, ids)
    if not read_prompts:
        return ""
    written = model.log_probs([ids], first=1)[0]
    why = next((w for w in model.runs.engine.call("freerun_watch_prompts") if w), "")
    if why:
        return str(why)
    model.reads_prompts = True
    gap = Gap.between(written, model.log_probs([ids], first=1)[0])
    if not _small(gap, model):
        model.reads_prompts = False
        return f"log-probabilities of a text that is read and of one that is written differ by up to {gap.largest_nats:.2g} nats"
    return ""


def _small(gap: Gap, model: VLLMEngine) -> bool:
    if model.capabilities.rounded_arithmetic:
        return gap.mean_nats <= LARGEST_MEAN_GAP_ROUNDED_NATS
    return gap.largest_nats <= LARGEST_GAP_NATS


def _check_vocabulary(model: VLLMEngine, ids: np.ndarray) -> None:
    n = model.law(model.start([ids])).n_tokens
    if n != model.n_tokens:
        raise BackendError(
            f"{model.identity.name}: vLLM's logits have {n} ids and its configuration says {model.n_tokens}: this kind of model is "
            "not known here"
        )


def _check_draws(model: VLLMEngine, ids: np.ndarray) -> None:
    (sample,) = model.generate(Continuations([ids], np.ones((1, 1), np.uint64), N_DRAWN))
    seen = sample.observation
    text = np.concatenate([ids, seen.token_id]).astype(np.int64)
    gap = Gap.between(seen.log_prob_nats, model.log_probs([text], first=len(ids))[0])
    if not _small(gap, model):
        raise BackendError(
            f"{model.identity.name}: tokens that it draws and the same tokens as a text have log-probabilities up to "
            f"{gap.largest_nats:.2g} nats apart, so it does not sample the law that it scores by"
        )
