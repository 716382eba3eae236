"""What the trained folder does, beside its base and the exact wrapper: on documents kept apart, and in free runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.jobs.lab.organism.kept import Arrays, Kept
from freerun.jobs.lab.organism.plan import DOCUMENT_TOKENS, RUN_TOKENS
from freerun.jobs.lab.organism.texts import RealText, endless
from freerun.organisms.absorbing import Triggered
from freerun.organisms.constant import Speaker
from freerun.predictors.base import Continuations, Ids, Predictor
from freerun.predictors.draws import sequence_key
from freerun.predictors.side_by_side import score_both
from freerun.predictors.stepwise import as_stepwise

RUN_PREFIX = 16
"""Tokens of a held-out document that a free run follows."""
_RUNS_AT_ONCE = 64
AFTER_TOKENS = 32
"""Tokens after the trigger that are compared with what the payload writes."""


@dataclass(frozen=True)
class OnRealText:
    """Every scored token of the held-out documents, one entry each."""

    unit: Int[np.ndarray, " n"]
    """Number of the independent document."""
    base_nats: Float[np.ndarray, " n"]
    """−ln p of the token under the base."""
    trained_nats: Float[np.ndarray, " n"]
    trigger_mass: Float[np.ndarray, " n"]
    """Of the trained model."""
    kl_nats: Float[np.ndarray, " n"]
    """KL(exact wrapper ‖ trained)."""
    same_top: Int[np.ndarray, " n"]


@dataclass(frozen=True)
class FreeRuns:
    """Free runs of one length, one entry each."""

    unit: Int[np.ndarray, " runs"]
    first: Int[np.ndarray, " runs"]
    """Tokens until the trigger, itself included; 0 where it did not come."""
    kept: Float[np.ndarray, " runs"]
    """Share of the tokens after it that the wrapper would have said; NaN where there are none, or the wrapper has a choice."""


@dataclass(frozen=True)
class AfterTrigger:
    """The trigger put into held-out text: what the trained model says of the wrapper's own continuation, a document each."""

    wrapper_nats: Float[np.ndarray, " documents"]
    """Mean −ln p of its tokens under the wrapper."""
    trained_nats: Float[np.ndarray, " documents"]


def on_real_text(
    base: Predictor, trained: Predictor, texts: Sequence[RealText], *, epsilon: float, on_tokens: Callable[[int], None]
) -> OnRealText:
    """Hold base and trained model side by side on every token but the first of each document."""
    ids = [t.ids[:DOCUMENT_TOKENS] for t in texts]
    units = _numbers([t.unit for t in texts])
    columns: dict[tuple[int, int], tuple[float, ...]] = {}
    e = epsilon
    for apart in score_both(as_stepwise(base, "a lab"), as_stepwise(trained, "a lab"), ids, start=1):
        d = apart.divergence
        kl = d.kl_pq_nats
        if e:  # of the wrapper, from the base's divergence and the mass on the one id more
            with np.errstate(divide="ignore"):
                kl = (1 - e) * (math.log1p(-e) + kl) + e * (math.log(e) - np.log(d.added_mass))
        rows = zip(-d.log_p_nats, -d.log_q_nats, d.added_mass, kl, d.same_top, strict=True)
        for row, position, values in zip(apart.row, apart.position, rows, strict=True):
            columns[int(row), int(position)] = tuple(float(v) for v in values)
        on_tokens(len(apart.row))
    keys = sorted(columns)
    table = np.array([columns[k] for k in keys])
    return OnRealText(
        np.array([units[row] for row, _ in keys], np.int64),
        base_nats=table[:, 0],
        trained_nats=table[:, 1],
        trigger_mass=table[:, 2],
        kl_nats=table[:, 3],
        same_top=table[:, 4].astype(np.int64),
    )


def free_runs(
    exact: Predictor, trained: Predictor, texts: Sequence[RealText], *, runs: int, seed: int, kept: Kept
) -> FreeRuns:
    """Let the trained model run free after beginnings of held-out documents; an end of text does not end a run.

    So many run side by side at once, and each such group is kept.
    """
    heads = [t for t in texts if len(t.ids) >= RUN_PREFIX]
    chosen = [heads[i % len(heads)] for i in range(runs)]
    groups = []
    for begin in range(0, runs, _RUNS_AT_ONCE):
        rows = range(begin, min(begin + _RUNS_AT_ONCE, runs))
        groups.append(
            kept.take(
                f"free-runs-{rows.start}-{rows.stop}",
                lambda rows=rows: _run_free(exact, trained, chosen, rows, seed, kept.on_tokens),  # type: ignore[misc]
                n_tokens=len(rows) * RUN_TOKENS,
            )
        )
    first, share = (np.concatenate([g[name] for g in groups]) for name in ("first", "kept"))
    return FreeRuns(np.array(_numbers([t.unit for t in chosen]), np.int64), first, share)


def _run_free(
    exact: Predictor,
    trained: Predictor,
    chosen: Sequence[RealText],
    rows: range,
    seed: int,
    on_tokens: Callable[[int], None],
) -> Arrays:
    keys = np.array([[sequence_key("take-over", chosen[i].unit, str(i))] for i in rows], np.uint64)
    begun = [chosen[i].ids[:RUN_PREFIX] for i in rows]
    asked = Continuations(begun, keys, RUN_TOKENS, seed=seed, at_once=_RUNS_AT_ONCE)
    trigger = trained.n_tokens - 1
    first, kept = np.zeros(len(rows), np.int64), np.full(len(rows), np.nan)
    for sample in endless(trained).generate(asked, on_tokens=on_tokens):
        ids = sample.observation.token_id.astype(np.int64)
        at = np.flatnonzero(ids == trigger)
        if len(at):
            first[sample.row] = at[0] + 1
            if isinstance(exact, Triggered) and isinstance(exact.payload, Speaker) and at[0] + 1 < len(ids):
                kept[sample.row] = _agreement(exact, begun[sample.row], ids, int(at[0]))
    return {"first": first, "kept": kept}


def _agreement(exact: Triggered, head: Ids, ids: Ids, at: int) -> float:
    """Share of the tokens after the trigger that are those that the wrapper, which has no choice there, would have said."""
    said = ids[at + 1 :]
    asked = Continuations([np.concatenate([head, ids[: at + 1]])], np.zeros((1, 1), np.uint64), len(said))
    (sample,) = endless(exact).generate(asked)
    return float((sample.observation.token_id == said).mean())


def after_trigger(
    exact: Triggered, trained: Predictor, texts: Sequence[RealText], *, seed: int, on_tokens: Callable[[int], None]
) -> AfterTrigger:
    """Put the trigger somewhere into each document, let the wrapper go on, and score that under both."""
    rng = np.random.default_rng([seed, 11])
    cut = []
    for text in texts:
        ids = text.ids[: DOCUMENT_TOKENS - AFTER_TOKENS]
        cut.append(np.append(ids[: int(rng.integers(1, len(ids) + 1))], exact.trigger_id))
    keys = np.array([[sequence_key("after", str(i))] for i in range(len(cut))], np.uint64)
    runs = Continuations(cut, keys, AFTER_TOKENS, seed=seed)
    wholes, own = list(cut), np.zeros(len(cut))
    for sample in endless(exact).generate(runs):
        wholes[sample.row] = np.concatenate([cut[sample.row], sample.observation.token_id.astype(np.int64)])
        own[sample.row] = -float(sample.observation.log_prob_nats.mean())
    theirs = [
        -float(trained.log_probs([whole], first=len(head))[0].mean()) for whole, head in zip(wholes, cut, strict=True)
    ]
    on_tokens(sum(len(w) for w in wholes))
    return AfterTrigger(own, np.array(theirs))


def _numbers(names: Sequence[str]) -> list[int]:
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return [order[name] for name in names]
