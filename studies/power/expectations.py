"""What was expected of every metric before anything was measured, and how that compares with what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from freerun.results.power import Expectation, PowerCell, PowerResult, PowerSettings
from freerun.stats.design.table import STRONG, visibility

SYMBOLS = {"strong": "●", "weak": "○", "blind": "–"}
COLUMNS = {
    "data loss": "loss",
    "z on declared t=1": "z_declared",
    "loops": "loops",
    "classifier": "classifier",
    "LR against Q_0": "likelihood_ratio",
    "source drift": "sources",
}
"""The columns of the table, each with its metric."""
EXPECTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "absorbing": ("absorbing", ("○", "●", "●", "●", "●", "–")),
    "payload": ("payload", ("○", "depends", "–", "●", "●", "○")),
    "hash": ("hash", ("–", "depends", "–", "● on bodies", "●", "○")),
    "self_detector": ("self-detector", ("–", "○", "–", "● long T", "●", "○")),
    "temperature": ("temperature", ("●", "●", "○", "○", "●", "○")),
    "collapse": ("collapse", ("○", "○", "–", "●", "●", "●")),
    "ngram": ("n-gram, short window", ("●", "○", "○", "●", "●", "●")),
    "int8": ("int8 / bf16", ("○", "○", "–", "–", "○", "–")),
}
"""The label of an organism's row and its signs: ● strong, ○ weak or length-dependent, – blind."""
RULE = (
    "With {texts} texts a side: ● power of at least {strong} at {middle} tokens (where “long T” was expected: at {longest}); ○ "
    "less there, yet at some length shown to exceed the level (one-sided limits at {level} for the whole table together); – at no "
    "length, so that a power a little above the level is not excluded. Where bases differ, ○."
)


def with_expectations(result: PowerResult) -> PowerResult:
    """The result with what was expected beside what was found."""
    plan = result.plan
    middle, longest = plan.lengths[min(1, len(plan.lengths) - 1)], plan.lengths[-1]
    curves = {
        (organism, metric): _by_base(result, organism, metric)
        for organism in plan.organisms
        if organism in EXPECTED
        for metric in COLUMNS.values()
        if metric in plan.metrics
    }
    family = max(1, sum(map(len, curves.values())))
    rows = []
    for organism in (o for o in plan.organisms if o in EXPECTED):
        label, signs = EXPECTED[organism]
        for (column, metric), expected in zip(COLUMNS.items(), signs, strict=True):
            at = longest if "long T" in expected else middle
            by_base = {
                base: SYMBOLS[_visibility(plan, cells, at, family)]
                for base, cells in curves.get((organism, metric), {}).items()
            }
            signs_found = set(by_base.values())
            found = None if not by_base else signs_found.pop() if len(signs_found) == 1 else "○"
            rows.append(
                Expectation(
                    label,
                    organism,
                    column,
                    metric if metric in plan.metrics else None,
                    expected,
                    found,
                    by_base,
                    None if found is None else expected == "depends" or expected.startswith(found),
                )
            )
    rule = RULE.format(
        strong=f"{STRONG:.0%}", middle=middle, longest=longest, level=f"{plan.level:.0%}", texts=plan.texts[-1]
    )
    return replace(result, expectations=tuple(rows), expectation_rule=rule)


def _by_base(result: PowerResult, organism: str, metric: str) -> dict[str, list[PowerCell]]:
    """The cells of a metric with most texts, by base, in order of length."""
    curves: dict[str, list[PowerCell]] = {}
    for c in result.cells:
        if (c.organism, c.metric, c.texts) == (organism, metric, result.plan.texts[-1]):
            curves.setdefault(c.base, []).append(c)
    return curves


def _visibility(plan: PowerSettings, cells: Sequence[PowerCell], tokens: int, family: int) -> str:
    lengths = [c.tokens for c in cells]
    return visibility(
        [c.rejected for c in cells],
        [c.runs for c in cells],
        at=lengths.index(tokens) if tokens in lengths else 0,
        alpha=plan.alpha,
        level=plan.level,
        family=family,
    )
