"""Whether a model's laws in the loop that stays on a device are those of passes over whole texts; tried when it is loaded there."""

from __future__ import annotations

import numpy as np
import torch

from freerun.predictors.arithmetic import is_rounded
from freerun.predictors.base import Continuations
from freerun.predictors.huggingface.checking import LARGEST_GAP_NATS
from freerun.predictors.huggingface.device_loop import is_plain, loop_fits, run_free
from freerun.predictors.huggingface.predictor import HuggingFacePredictor
from freerun.predictors.huggingface.reading import LADDER

LARGEST_MEAN_GAP_ROUNDED_NATS = 0.1
"""Where weights are rounded (bf16), two computations of one law differ visibly at single tokens."""
_TOKENS, _PREFIXES = 6, (9, 4, 1)


def loop_agrees(predictor: HuggingFacePredictor) -> bool:
    """Whether the loop can be used: texts of different lengths are read side by side by plain attention, and laws agree."""
    plain = predictor.reading == LADDER[0] and not predictor.passes.switches and is_plain(predictor.model.config)
    if not plain:
        return False
    rng = np.random.default_rng(20261128)
    prefixes = [rng.integers(0, predictor.n_tokens, n) for n in _PREFIXES]
    wanted = Continuations(prefixes, np.arange(len(prefixes))[:, None], _TOKENS)
    if not loop_fits(wanted, predictor.context):
        return True  # no text fits its window, so that nothing will be written by it
    try:
        samples = list(run_free(predictor.passes, (), predictor.context.lead, wanted))
    except (RuntimeError, TypeError, ValueError, IndexError):  # a model that takes no such mask or cache
        torch.cuda.empty_cache()
        return False
    gaps = []
    for sample in samples:
        ids = np.concatenate([prefixes[sample.row], sample.observation.token_id])
        said = predictor.log_probs([ids], first=len(prefixes[sample.row]))[0]
        gaps.append(np.abs(said - sample.observation.log_prob_nats))
    if is_rounded(predictor):
        return bool(np.mean(gaps) <= LARGEST_MEAN_GAP_ROUNDED_NATS)
    return bool(np.max(gaps) <= LARGEST_GAP_NATS)
