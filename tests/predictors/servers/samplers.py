"""What each kind of server does with the sampling settings that it is sent, in its own order and way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def sampled_law(logits: np.ndarray, body: dict[str, Any], prompt: list[int], written: list[int]) -> np.ndarray:
    """Log-probabilities of the next token; `body`: the request, in whose spelling one sees the kind of server."""
    logits = logits.copy()
    if "samplers" in body:  # llama.cpp: the order that it is told; penalties over the last tokens, whoever wrote them
        for name in body["samplers"]:
            if name == "penalties":
                n = body["repeat_last_n"]
                logits = _penalised(logits, body.get("repeat_penalty", 1.0), [*prompt, *written][-n:])
            else:
                logits = _CUTS[name](logits, body.get(name))
        return _normal(logits)
    repeats = body.get("repetition_penalty", 1.0)
    of_sglang = "max_new_tokens" in body
    logits = _penalised(logits, repeats, written if of_sglang else [*prompt, *written])
    times = np.bincount(written, minlength=len(logits))
    logits = logits - body.get("frequency_penalty", 0.0) * times - body.get("presence_penalty", 0.0) * (times > 0)
    logits = _CUTS["temperature"](logits, body.get("temperature", 1.0))
    if of_sglang:  # top-k and top-p both of the law before either
        kept = [_CUTS[name](logits, body.get(name)) for name in ("top_k", "top_p", "min_p")]
        return _normal(np.min(kept, axis=0))
    for name in ("min_p", "top_k", "top_p"):
        logits = _CUTS[name](logits, body.get(name))
    return _normal(logits)


def _normal(logits: np.ndarray) -> np.ndarray:
    return np.asarray(logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max())


def _penalised(logits: np.ndarray, penalty: float, tokens: list[int]) -> np.ndarray:
    seen = np.isin(np.arange(len(logits)), tokens)
    return np.where(seen, np.where(logits > 0, logits / penalty, logits * penalty), logits)


def _top_k(logits: np.ndarray, k: int | None) -> np.ndarray:
    if not k or k < 0:
        return logits
    return np.where(logits >= np.sort(logits)[-k], logits, -np.inf)


def _top_p(logits: np.ndarray, p: float | None) -> np.ndarray:
    if p is None or p >= 1:
        return logits
    order = np.argsort(-logits)
    before = np.cumsum(np.exp(_normal(logits))[order]) - np.exp(_normal(logits))[order]
    kept = np.zeros(len(logits), bool)
    kept[order[before < p]] = True
    return np.where(kept, logits, -np.inf)


_CUTS: dict[str, Callable[[np.ndarray, Any], np.ndarray]] = {
    "temperature": lambda logits, t: logits / (1.0 if t is None else t),
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": lambda logits, share: (
        np.where(logits >= logits.max() + np.log(share), logits, -np.inf) if share else logits
    ),
}
