"""Pairs of audits of one model on the same documents: how often a comparison finds a difference where there is none.

The runs differ by their seed: own texts are drawn anew, and so are the split, the reference and the detectors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from freerun.comparisons.differences import compare_runs
from freerun.jobs.audit.options import read_any_corpus
from freerun.stats.intervals import clopper_pearson
from studies.coverage.audits import WORLDS, options_of
from studies.measured import measured

ALPHA = 0.05


def simulate_pair(world: str, documents: int, seed: int) -> dict[str, Any]:
    """The p-values of every difference between two runs, and what was found after adjustment."""
    corpus, model, _ = WORLDS[world]
    text = read_any_corpus(corpus, options_of(documents, seed))
    first, second = (measured(model, text, options_of(documents, 2 * seed + i)) for i in (0, 1))
    with first as one, second as other:
        (pair,) = compare_runs([one, other], ["first", "second"]).pairs
    tested = {f"{d.finding}.{d.name}": d.p_value for d in pair.differences if d.p_value is not None}
    found = [d for d in pair.differences if d.found]
    return {
        "p": tested,
        "primary": any(d.primary for d in found),
        "further": any(not d.primary for d in found),
        "without_test": sorted(d.name for d in pair.differences if d.p_value is None),
    }


def rejections(pairs: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """What was tested, how often it was rejected at 5%, and in how many pairs; whole comparisons last."""
    tested, rejected = Counter[str](), Counter[str]()
    for pair in pairs:
        for name, p in pair["p"].items():
            tested[name] += 1
            rejected[name] += p <= ALPHA
    rows = [(name, rejected[name], n) for name, n in tested.items()]
    n = len(pairs)
    return [
        *rows,
        ("a primary difference found (Holm)", sum(p["primary"] for p in pairs), n),
        ("any further difference found (Benjamini & Yekutieli)", sum(p["further"] for p in pairs), n),
    ]


def rate_words(k: int, n: int) -> str:
    """A rate with its interval."""
    i = clopper_pearson(k, n)
    return f"{i.value:.1%} ({i.low:.1%} to {i.high:.1%}) of {n}"
