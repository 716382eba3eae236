"""What a distance measured, what came out and how sure that is, for somebody who knows none of the words."""

from __future__ import annotations

from freerun.counted import counted
from freerun.records.distance import DistancePlan
from freerun.results.verdict import NextStep, Point, three_points

KL_WORDS = "KL says how many nats a token it costs to take one model's probabilities for the other's; it is 0 where both predict the same"
WRITERS_WORDS = (
    "Each also wrote texts of its own, which the other read: how far the two are apart as writers of whole texts. Total variation is the "
    "largest difference that any test of one text can show (0: none, 1: never the same text). K is the KL of a whole text, in nats. AUC is "
    "how often the best possible detector is right when it is shown a text of each (0.5: guessing, 1: always)"
)


def distance_points(plan: DistancePlan, *, came_out: str, how_sure: str) -> tuple[Point, ...]:
    """Under the verdict of a distance."""
    texts = f"{counted(plan.documents, 'text')} of {plan.corpus}, {counted(plan.tokens, 'token')} each (a token is a word or a part of one)"
    both = f"Both models read the same tokens, {texts}. At every token their predictions are held side by side: {KL_WORDS}."
    wrote = f" {WRITERS_WORDS}." if {"a", "b"} & set(plan.arms) else ""
    sure = f"{how_sure} Intervals are 95%, over documents, for other texts of this kind."
    return three_points(f"{both}{wrote}", came_out, sure.strip())


def distance_next(plan: DistancePlan, *, known: bool) -> NextStep | None:
    """What would answer what a distance leaves open."""
    if not known:
        return NextStep("Take more documents: the same command with", f"--documents {max(16, 2 * plan.documents)}")
    if not {"a", "b"} <= set(plan.arms):
        return NextStep("See how far they are apart as writers: the same command with", "--arms real,a,b")
    return None
