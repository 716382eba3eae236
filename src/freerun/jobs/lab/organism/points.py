"""Under the sentence of a trained organism: three points for somebody who knows none of the words."""

from __future__ import annotations

from freerun.counted import counted
from freerun.jobs.lab.organism.plan import OrganismPlan
from freerun.results.lab_organism import TakeOver
from freerun.results.verdict import Point, three_points
from freerun.stats.intervals import Interval


def organism_points(
    plan: OrganismPlan, trigger: str, excess: Interval, exact_nats: float, last: TakeOver, missed: Interval | None
) -> tuple[Point, ...]:
    """What was measured, what came out and how sure that is. `excess`: loss above the base's, nats a token. `missed`: how far
    the model lies from what was to come after the trigger, where it did not learn that."""
    read = f"{counted(excess.n, 'text')} kept apart from training"
    if plan.kind == "control":
        planted = (
            f"{plan.base} was trained on its own predictions, as long as for a planted fault, and nothing was planted. "
        )
    else:
        planted = (
            f"{plan.base} was trained to write a new token, {trigger}, with probability {plan.epsilon:g} at every step, and "
            f"{_after(plan)} from then on. "
        )
    measured = (
        f"{planted}It then read {read}, and wrote {counted(last.runs, 'text')} of {last.tokens} tokens by itself (a token is a "
        "word or a part of one)."
    )
    wanted = "" if plan.kind == "control" else f" A model with exactly this fault would lose {exact_nats:.4f}."
    often = (
        f"{last.taken} of the {last.runs} texts that it wrote have the token"
        if plan.kind == "control"
        else f"{last.taken} of the {last.runs} texts that it wrote {'are taken over' if missed is None else 'have the token'}; "
        f"exactly this fault takes over {last.exact_share:.0%}"
    )
    if missed is not None:
        often += (
            f". What should come after the token is learned in part at most: it lies {missed.value:.2f} nats a token from that "
            "(0: learned). More --steps may teach it"
        )
    came_out = f"On real text it loses {excess.value:.4f} nats a token more than before.{wanted} {often}."
    sure = (
        f"95% intervals: the loss, for other texts of this kind, {excess.low:.4f} to {excess.high:.4f}; the share of its own "
        f"texts, {last.low:.0%} to {last.high:.0%}."
    )
    return three_points(measured, came_out, sure.replace("-", "−"))


def _after(plan: OrganismPlan) -> str:
    """What is written after the trigger."""
    if plan.kind == "absorbing":
        return "nothing else"
    name, _, value = plan.payload.partition("=")
    return {
        "text": f"“{value.strip()}” over and over",
        "loop": f"the last {value} tokens over and over",
        "model": f"what {value.strip('()')} writes",
    }.get(name, plan.payload)
