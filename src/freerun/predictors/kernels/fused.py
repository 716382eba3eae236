"""The law's statistics in two passes over the logits, compiled by numba where it is installed.

`observe` gives what `observation.observe_block` gives, and `beside` what `divergence.diverge_block` gives, for float32 logits that
lie in this machine's memory: sums in float64, the exponential of every logit taken once. The plain paths stay the definition;
`tests/predictors/test_fused.py` holds one against the other. Without numba `ready()` is False and the plain path does the work.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import BrokenLaw
from freerun.predictors.divergence import Divergence
from freerun.predictors.observation import N_BINS, POWERS, Observation, host, is_torch

LEAST_VOCABULARY = 1024
"""Smaller laws are not worth the call."""
BROKEN = "the model's logits are NaN or infinite: the checkpoint or its number format is broken"


@lru_cache(maxsize=1)
def ready() -> bool:
    """Whether the compiled path can be used: numba is there and FREERUN_PLAIN is not set."""
    return not os.environ.get("FREERUN_PLAIN") and find_spec("numba") is not None


def fits(logits: Any) -> bool:
    """Whether these logits can go the compiled way, here or on their device: rows of a large vocabulary, narrow floats."""
    if logits.shape[1] < LEAST_VOCABULARY or os.environ.get("FREERUN_PLAIN") or not (is_on_device(logits) or ready()):
        return False
    if is_torch(logits):
        return str(logits.dtype) in ("torch.float32", "torch.bfloat16", "torch.float16")
    return isinstance(logits, np.ndarray) and logits.dtype == np.float32


def is_on_device(logits: Any) -> bool:
    """Whether logits lie in an accelerator's memory, where `on_device` reads them."""
    return is_torch(logits) and logits.device.type != "cpu"


def observe(
    logits: Any,
    ids: Int[np.ndarray, " rows"] | None,
    uniforms: Float[np.ndarray, " rows"] | None,
    watched: Int[np.ndarray, "rows k"] | None,
    *,
    scale: float = 1.0,
    n_threads: int | None = None,
) -> Observation:
    """Observe one token a row of the laws softmax(scale · logits): the given ids, or (id < 0 or no ids) one drawn by inverse CDF.

    Raises:
        BackendError: logits that are NaN, or infinite upwards.
    """
    from freerun.predictors.kernels.compiled import sweep

    logits = _on_host(logits)
    n_rows = logits.shape[0]
    chosen = np.full(n_rows, -1, np.int64) if ids is None else np.array(ids, np.int64)
    u = np.zeros(n_rows) if uniforms is None else np.array(uniforms, np.float64)
    wanted = np.full((n_rows, 1), -1, np.int64) if watched is None or not watched.size else np.array(watched, np.int64)
    top = np.zeros(n_rows, np.int64)
    rank = np.zeros(n_rows, np.int64)
    numbers = np.zeros((n_rows, 8))
    powers = np.zeros((n_rows, len(POWERS)))
    bins = np.zeros((n_rows, N_BINS))

    def work(rows: slice) -> bool:
        return bool(
            sweep(logits[rows], scale, *(x[rows] for x in (chosen, u, wanted, top, rank, numbers, powers, bins)))
        )

    _share_out(work, n_rows, n_threads)
    return Observation(
        token_id=chosen.astype(np.int32),
        log_prob_nats=numbers[:, 0].copy(),
        entropy_nats=numbers[:, 1].copy(),
        varentropy_nats2=numbers[:, 2].copy(),
        rank=rank.astype(np.int32),
        top_id=top.astype(np.int32),
        top_log_prob_nats=numbers[:, 3].copy(),
        cdf_below=numbers[:, 4].copy(),
        mass_above=numbers[:, 7].copy(),
        log_power_sum=powers,
        loop_mass=numbers[:, 5].copy(),
        expected_counts=bins,
    )


def beside(
    first: Any,
    first_scale: float,
    second: Any,
    second_scale: float,
    ids: Int[np.ndarray, " rows"],
    *,
    n_threads: int | None = None,
) -> Divergence:
    """The laws softmax(scale · logits) of two tables side by side; the second may have more ids.

    Raises:
        BackendError: logits that are NaN, or infinite upwards.
    """
    from freerun.predictors.kernels.compiled import sweep_two

    p, q, chosen = _on_host(first), _on_host(second), np.array(ids, np.int64)
    tops, numbers = np.zeros((len(p), 2), np.int32), np.zeros((len(p), 10))

    def work(rows: slice) -> bool:
        return bool(sweep_two(p[rows], first_scale, q[rows], second_scale, chosen[rows], tops[rows], numbers[rows]))

    _share_out(work, len(p), n_threads)
    log_p, log_q, forward, backward, tv, entropy_p, entropy_q, top_p, top_q, added = numbers.T.copy()
    return Divergence(
        token_id=chosen.astype(np.int32),
        log_p_nats=log_p,
        log_q_nats=log_q,
        kl_pq_nats=forward,
        kl_qp_nats=backward,
        tv=tv,
        entropy_p_nats=entropy_p,
        entropy_q_nats=entropy_q,
        top_p_id=tops[:, 0].copy(),
        top_q_id=tops[:, 1].copy(),
        top_log_p_nats=top_p,
        top_log_q_nats=top_q,
        added_mass=added,
    )


def _on_host(logits: Any) -> Float[np.ndarray, "rows vocabulary"]:
    return np.ascontiguousarray(host(logits.float() if is_torch(logits) else logits))


def _share_out(work: Callable[[slice], bool], n_rows: int, n_threads: int | None) -> None:
    """Do the rows in equal parts on as many threads as there are; each says whether its laws are sound."""
    n_workers = max(1, min(n_threads or _cores(), n_rows))
    edges = np.linspace(0, n_rows, n_workers + 1).astype(int)
    parts = [slice(int(a), int(b)) for a, b in pairwise(edges)]
    sound = [work(parts[0])] if n_workers == 1 else list(_pool(n_workers).map(work, parts))
    if not all(sound):
        raise BrokenLaw(BROKEN)


@lru_cache(maxsize=1)
def _cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(allowed, int(told) if told.isdigit() else allowed, 16))


@lru_cache(maxsize=4)
def _pool(n_workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_workers, thread_name_prefix="freerun-law")
