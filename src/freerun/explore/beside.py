"""A second law beside the first on the same text: KL token by token, or the gap of log-probabilities where laws are not whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from freerun.errors import UsageError
from freerun.explore.answers import Beside
from freerun.explore.reader import Reader
from freerun.explore.worker import Turn
from freerun.jobs.distance.fitting import Description, check_fit
from freerun.predictors.base import Predictor
from freerun.predictors.side_by_side import score_both
from freerun.predictors.stepwise import Stepwise
from freerun.results.finding import known
from freerun.runs.provenance import device_of

TRIED = (
    "It was the best of times, it was the worst of times.\n",
    "def f(x):\n    return x + 1\n",
    "naïve café, 日本語 🙂",
)
"""Texts that both tokenizers must take apart alike."""


def check_beside(first: Predictor, second: Predictor) -> None:
    """Refuse a second model whose tokens are not those of the first.

    Raises:
        UsageError: with what differs.
    """
    texts = [text for text in TRIED if _can_read(first, text) and _can_read(second, text)]
    if isinstance(first, Stepwise) and isinstance(second, Stepwise):
        check_fit(*(Description.of(p, texts, device=device_of(p)) for p in (first, second)))
    elif any(list(first.encode(text)) != list(second.encode(text)) for text in texts):
        raise UsageError(
            f"{first.identity.name} and {second.identity.name} take the same text apart differently: two laws can only be held "
            "side by side on the same tokens"
        )


def _can_read(predictor: Predictor, text: str) -> bool:
    try:
        predictor.encode(text)
    except UsageError:  # worlds know a few letters
        return False
    return True


def beside(first: Reader, second: Reader, ids: Sequence[int], *, top: int, turn: Turn) -> Beside:
    """Both laws of every token and of the next one."""
    n_given = max(first.n_given, second.n_given)
    following = second.next_tokens(ids, top=top, temperature=1.0, turn=turn)
    if first.stepwise is None or second.stepwise is None or not _whole(first, second):
        return replace(_gaps(first, second, ids, n_given, turn), next=following)
    n = len(ids)
    ended = first.ended(ids)
    text = np.array(ids if ended else [*ids, 0], np.int64)  # what stands last is not looked at: the law before it is
    kl, gap, same = np.full((3, len(text)), np.nan)
    turn.expect(max(0, len(text) - n_given))
    if len(text) > n_given:
        for part in score_both(first.stepwise, second.stepwise, [text], start=n_given):
            kl[part.position] = part.divergence.kl_pq_nats
            gap[part.position] = part.divergence.gap_nats
            same[part.position] = part.divergence.same_top
            turn.advance(len(part.position))
    return Beside(
        name=second.predictor.identity.name,
        kl_nats=tuple(map(known, kl[:n].tolist())),
        gap_nats=tuple(map(known, gap[:n].tolist())),
        same_top=tuple(None if np.isnan(x) else bool(x) for x in same[:n]),
        total_kl_nats=known(float(kl[n_given:n].sum())),
        total_gap_nats=known(float(gap[n_given:n].sum())),
        next_kl_nats=None if ended else known(float(kl[n])),
        next=following,
    )


def _whole(first: Reader, second: Reader) -> bool:
    return first.predictor.capabilities.full_law and second.predictor.capabilities.full_law


def _gaps(first: Reader, second: Reader, ids: Sequence[int], n_given: int, turn: Turn) -> Beside:
    """What two backends say of the tokens themselves, where one of them gives no whole laws."""
    gaps: list[float | None] = []
    same: list[bool | None] = []
    for t, (p, q) in enumerate(zip(first.observations(ids, turn), second.observations(ids, turn), strict=True)):
        if t < n_given or p is None or q is None:
            gaps.append(None)
            same.append(None)
            continue
        gaps.append(known(float(p.log_prob_nats[0]) - float(q.log_prob_nats[0])))
        tops = int(p.top_id[0]), int(q.top_id[0])
        same.append(None if min(tops) < 0 else tops[0] == tops[1])
    told = [g for g in gaps if g is not None]
    return Beside(
        name=second.predictor.identity.name,
        kl_nats=(None,) * len(ids),
        gap_nats=tuple(gaps),
        same_top=tuple(same),
        total_kl_nats=None,
        total_gap_nats=float(sum(told)) if told else None,
        next_kl_nats=None,
        next=None,
    )
