"""Words that verdicts on ids and on text share."""

from __future__ import annotations

from freerun.findings.recognition.sampling import share_words
from freerun.stats.verification.battery import Smallest


def down_to(smallest: Smallest) -> str:
    """The smallest faults that would have been seen."""
    faults = []
    if smallest.temperature is not None:
        faults.append(f"a temperature off by {smallest.temperature:.2g}")
    if smallest.kept_mass is not None:
        faults.append(f"a truncation that keeps {share_words(smallest.kept_mass)} of the mass")
    if smallest.top_share is not None:
        faults.append(f"{smallest.top_share:.2g} of the tokens replaced by the most probable one")
    return (
        f"down to {', '.join(faults[:-1])} or {faults[-1]}"
        if len(faults) > 1
        else "though only large faults would show"
    )
