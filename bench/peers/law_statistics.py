"""The statistics that freerun's records keep of a law, in plain PyTorch, as somebody who knows it would write them in an afternoon.

float32 throughout and one chunk of rows at a time; the same columns as freerun.predictors.observation.Observation, which sums in
float64. This is what users of `generate(output_logits=True)` write by hand today.
"""

from __future__ import annotations

import torch

POWERS = (-0.25, -0.125, 0.125, 0.25, 0.5)
BIN_WIDTH_NATS, N_BINS = 0.5, 33


@torch.inference_mode()
def law_statistics(logits: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """All statistics of rows × vocabulary logits and one id a row."""
    log_probs = torch.log_softmax(logits.float(), dim=-1)
    probs = log_probs.exp()
    column = ids[:, None]
    said = log_probs.gather(1, column)
    weighted = probs * log_probs.clamp(min=-1e4)
    entropy = -weighted.sum(1)
    top = log_probs.max(dim=1)
    below = probs.cumsum(1).gather(1, column) - said.exp()
    bins = (log_probs * (-1 / BIN_WIDTH_NATS)).clamp(0, N_BINS - 1).long()
    expected = torch.zeros(len(ids), N_BINS).scatter_add_(1, bins, probs)
    return {
        "log_prob_nats": said[:, 0],
        "entropy_nats": entropy,
        "varentropy_nats2": (weighted * log_probs.clamp(min=-1e4)).sum(1) - entropy.square(),
        "rank": (log_probs > said).sum(1) + 1,
        "top_id": top.indices,
        "top_log_prob_nats": top.values,
        "cdf_below": below[:, 0].clamp(min=0),
        "log_power_sum": torch.stack([torch.logsumexp(log_probs * (1 - x), dim=1) for x in POWERS], dim=1),
        "observed_bin": (said[:, 0] * (-1 / BIN_WIDTH_NATS)).clamp(0, N_BINS - 1).long(),
        "expected_counts": expected,
    }
