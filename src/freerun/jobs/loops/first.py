"""The first loops of texts, with what repeats in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from freerun.jobs.loops.spelling import Spelling
from freerun.results.loops import FirstLoop
from freerun.stats.loops.lag_runs import LoopRule, loop_at
from freerun.stats.loops.recurrences import FirstLoops
from freerun.stats.loops.repetitions import Repetitions

N_LOOPS, N_OTHERS = 5, 2
CHARACTERS = 80


def first_of(
    found: Repetitions, names: Sequence[str], spelling: Spelling, rule: LoopRule, *, side: str
) -> tuple[FirstLoop, ...]:
    """The earliest loops, then the earliest of the other kinds in texts without a loop."""
    looped = found.loop.token >= 0
    kinds: list[tuple[str, FirstLoops, Bool[np.ndarray, " texts"], int]] = [
        ("loop", found.loop, looped, N_LOOPS),
        ("near", found.near, (found.near.token >= 0) & ~looped, N_OTHERS),
    ]
    if found.counting is not None:
        kinds.append(("counting", found.counting, (found.counting.token >= 0) & ~looped, N_OTHERS))
    out = []
    for kind, first, chosen, n in kinds:
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(first.token[rows], kind="stable")][:n]
        out += [_first(found, first, int(i), names[int(i)], spelling, rule, side=side, kind=kind) for i in rows]
    return tuple(out)


def _first(
    found: Repetitions,
    first: FirstLoops,
    text: int,
    name: str,
    spelling: Spelling,
    rule: LoopRule,
    *,
    side: str,
    kind: str,
) -> FirstLoop:
    texts = found.texts
    token, period = int(first.token[text]), int(first.period[text])
    place = int(texts.follows[text]) + token
    copies = lasted = left = None
    if kind == "loop":
        copies, lasted, left = _how_it_went_on(found, text, place, rule, period)
    begin = max(place + 1 - period, int(texts.starts[text]))
    return FirstLoop(
        side=side,
        kind=kind,
        name=name,
        token=token + 1,
        period=period,
        copies=copies,
        lasted_tokens=lasted,
        left=left,
        phrase=_shown(texts.ids[begin : place + 1], spelling),
    )


def _how_it_went_on(found: Repetitions, text: int, place: int, rule: LoopRule, period: int) -> tuple[int, int, bool]:
    """Copies at its last token, tokens at which it was complete, and whether the text left it."""
    start, end = int(found.texts.starts[text]), int(found.texts.ends[text])
    stops = np.flatnonzero(~found.complete[place:end])
    last = place + int(stops[0]) if stops.size else end
    there = loop_at(found.texts.ids[start : place + 1], rule)
    after = loop_at(found.texts.ids[start:last], rule)
    assert there is not None
    assert after is not None
    copies = after.copies if after.period == period else there.copies
    return copies, last - place, bool(stops.size)


def _shown(ids: Int[np.ndarray, " _tokens"], spelling: Spelling) -> str:
    words = spelling.phrase(ids).replace("\n", "⏎").replace("\t", "⇥")
    return words if len(words) <= CHARACTERS else words[: CHARACTERS - 1] + "…"
