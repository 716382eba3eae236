"""The rules that samples are tried on when they are not draws from the declared one, and what each gives the tokens written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Float, Int

from freerun.predictors.law import Law
from freerun.predictors.profiles import shaped
from freerun.predictors.reshaped import Penalties, Said, logits_of
from freerun.predictors.rules import (
    FrequencyPenalty,
    MinP,
    Penalty,
    PresencePenalty,
    RepetitionPenalty,
    SamplingRule,
    Step,
    Temperature,
    TopK,
    TopP,
)
from freerun.stats.verification.profile import Profile

_TEMPERATURES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0)
_CUTS: tuple[Step, ...] = (
    *(TopK(k) for k in (5, 10, 20, 30, 40, 50, 64, 100, 200, 500, 1000)),
    *(TopP(p) for p in (0.5, 0.7, 0.8, 0.85, 0.9, 0.92, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)),
    *(MinP(share) for share in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)),
)
_BEFORE_HEAT: tuple[Step, ...] = (TopP(0.8), TopP(0.9), TopP(0.95), TopP(0.99), MinP(0.02), MinP(0.05), MinP(0.1))
_DEFAULTS: tuple[tuple[Step, ...], ...] = (
    (TopK(40), TopP(0.95), MinP(0.05), Temperature(0.8)),  # llama.cpp's server
    (Temperature(0.7), TopK(50), TopP(0.95)),
    (Temperature(0.6), TopK(20), TopP(0.95)),
    (Temperature(0.7), TopK(20), TopP(0.8)),
    (TopK(50), TopP(0.95)),
    (TopK(64), TopP(0.95)),
    (Temperature(0.7), TopK(50)),
)
RULES: tuple[SamplingRule, ...] = (
    SamplingRule(),
    *(SamplingRule((Temperature(t),)) for t in _TEMPERATURES),
    *(SamplingRule((cut,)) for cut in _CUTS),
    *(SamplingRule((Temperature(t), cut)) for t, cut in product(_TEMPERATURES, _CUTS)),
    *(SamplingRule((cut, Temperature(t))) for t, cut in product(_TEMPERATURES, _BEFORE_HEAT)),
    *(SamplingRule(steps) for steps in dict.fromkeys(_DEFAULTS)),
)
PENALTIES: tuple[Penalty, ...] = (
    *(RepetitionPenalty(r) for r in (1.02, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5)),
    *(PresencePenalty(p) for p in (0.5, 1.0, 1.5)),
    *(FrequencyPenalty(f) for f in (0.2, 0.5, 1.0)),
)


def log_probs_under(
    profile: Profile, rules: Sequence[SamplingRule] = RULES, *, without_ends: bool = False
) -> Float[np.ndarray, "rows rules"]:
    """Log-probability (nats) of the tokens written under every rule; −inf outside what it keeps, of equals all.

    Logits in bf16 tie: of a thousand tokens there are two or three at every place. transformers and vLLM keep all that are as
    probable as the k-th, and a rule that gives some of them nothing would lose to a wider one, which nobody asked for.
    """
    out = np.empty((profile.n_rows, len(rules)), np.float32)
    for j, rule in enumerate(rules):
        law = shaped(rule, profile, without_ends=without_ends, keep_ties=True)
        out[:, j] = law.log_prob(profile.token)
    profile.forget()
    return out


def log_probs_penalised(
    law: Law,
    ids: Int[np.ndarray, " rows"],
    contexts: Sequence[Said],
    end_ids: tuple[int, ...],
    *,
    temperature: float = 1.0,
    without_ends: bool = False,
) -> Float[np.ndarray, "rows penalties"]:
    """Log-probability (nats) of the tokens under each of `PENALTIES` at one temperature over the full vocabulary."""
    out = np.empty((law.n_rows, len(PENALTIES)), np.float32)
    for row, said in enumerate(contexts):
        logits = logits_of(law, row, row + 1)[0]
        touched = np.unique(np.concatenate([said.seen, ids[row : row + 1], np.array(end_ids, np.int64)]))
        highest = logits.max()
        total = np.exp((logits - highest) / temperature).sum()
        others = total - np.exp((logits[touched] - highest) / temperature).sum()
        changed = logits.copy()
        for j, penalty in enumerate(PENALTIES):
            changed[touched] = logits[touched]
            _penalties(penalty).apply(changed, said)
            raised = np.exp((changed[touched] - highest) / temperature)
            ends = raised[np.isin(touched, end_ids)].sum() if without_ends else 0.0
            out[row, j] = (changed[ids[row]] - highest) / temperature - np.log(others + raised.sum() - ends)
    return out


def _penalties(step: Penalty) -> Penalties:
    match step:
        case RepetitionPenalty(size):
            return Penalties(repetition=size)
        case PresencePenalty(size):
            return Penalties(presence=size)
        case FrequencyPenalty(size):
            return Penalties(frequency=size)
