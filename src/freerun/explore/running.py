"""Statistics along a branch: is it more surprising than its own laws expect, and does it loop?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freerun.explore.answers import Running
from freerun.explore.reader import LOOP_RULE
from freerun.predictors.observation import POWERS, Observation
from freerun.results.finding import known
from freerun.stats.loops.lag_runs import first_loop, loop_complete
from freerun.stats.recognition.running import running_excess
from freerun.stats.recognition.self_recognition import e_process_log

LEVEL = 0.95


def running(ids: Sequence[int], seen: Sequence[Observation | None], first: int) -> Running:
    """Statistics over the tokens from `first` on; those that no law stands before are left out. Loops may begin before `first`."""
    text = np.array(ids, np.int64)
    whole = [s for s in seen[first:] if s is not None]
    first = len(ids) - len(whole)
    loop_at = first_loop(text, LOOP_RULE, start=first) if len(ids) else None
    loops_now = bool(len(ids)) and bool(loop_complete(text, LOOP_RULE)[-1])
    nothing = Running(first, None, None, None, LEVEL, None, loop_at, loops_now)
    if not whole:
        return nothing
    column = Observation.concatenate(whole)
    unknown = (column.log_prob_nats, column.entropy_nats, column.varentropy_nats2, column.log_power_sum)
    if any(np.isnan(x).any() for x in unknown):
        return nothing
    path = running_excess(column.log_prob_nats, column.entropy_nats, column.varentropy_nats2, level=LEVEL)
    wealth = e_process_log(
        column.log_prob_nats, column.log_power_sum, np.array(POWERS), np.zeros(len(whole), np.int64), 1
    )
    return Running(
        first=first,
        excess_nats=path.sum_nats,
        half_width_nats=path.half_width_nats,
        z=known(float(path.z[-1])),
        level=LEVEL,
        p_any_time=float(np.exp(-wealth.log_e_max[0])),
        loop_at=loop_at,
        loops_now=loops_now,
    )
