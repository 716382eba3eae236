"""What is left of a result whose own text is refused as evidence: real text, and why the rest is not there.

The same is done to every finding, in one place, so that no number that rests on own text can be met anywhere in the result.
"""

from __future__ import annotations

from dataclasses import replace

from freerun.results.finding import Chart, Estimate, Finding

REFUSED = "refused"
WHY = "own text is refused as evidence, since the sampler's law is not the scorer's"
OF_REAL_TEXT: dict[str, frozenset[str]] = {
    "loss": frozenset(
        ("loss_nats_per_token", "loss_bits_per_byte", "impossible_share", "excess_at_least_nats_per_token")
    ),
    "calibration": frozenset(("rare_tokens_ratio", "top1_rms_error", "top1_overconfidence")),
    "memory": frozenset(
        (
            "prefix_worth_nats_per_token",
            "prefix_worth_nats_per_document",
            "prefix_worth_late_nats_per_token",
            "prefix_reach_tokens",
        )
    ),
    "certificates": frozenset(("tv_from_loss_at_least", "kl_at_least_nats")),
    "drift": frozenset(("temperature_gap_late_nats",)),
    "self_recognition": frozenset(
        (
            "sampler_audit_p",
            "real_z_mean",
            "real_share_e_20",
            "real_share_lr_05",
            "lr_real_mean_nats",
        )
    ),
}
"""By finding the estimates that no own text enters, and the audit's own; what is not here goes. Estimates of the second look stay."""
_WHOLE = ("memory", "certificates")
"""Findings that read no own text at all."""
_SECOND_LOOK = ("rescored_", "rescoring_")
_OWN_ROLES = ("free", "tempered", "control")
_REAL_NOTES = ("loss",)
"""Findings whose notes speak of real text alone."""
_OWN_SENTENCES = ("drift",)
"""Findings of which a number of real text stays, and whose sentence speaks of own text."""


def without_own_text(finding: Finding) -> Finding:
    """The finding without everything that rests on own text; without any estimate where all of it does."""
    if finding.name in _WHOLE or (finding.status == "unknown" and not finding.estimates):
        return finding
    stays = OF_REAL_TEXT.get(finding.name, frozenset())
    estimates = tuple(e for e in finding.estimates if e.name in stays or e.name.startswith(_SECOND_LOOK))
    if finding.name == "self_recognition":
        return replace(
            finding,
            estimates=estimates,
            charts=tuple(c for c in finding.charts if c.name == "rescoring_by_position"),
            tables=tuple(t for t in finding.tables if t.name == "rescoring"),
            notes=(f"Not shown: what rests on own text, because {WHY}.",),
            refused=True,
        )
    if not estimates or finding.name in _OWN_SENTENCES:
        return refused_finding(finding.name, finding.question, estimates)
    charts = (_of_real_text(c) for c in finding.charts)
    return replace(
        finding,
        estimates=estimates,
        charts=tuple(c for c in charts if c.series),
        tables=(),
        notes=(
            *(finding.notes if finding.name in _REAL_NOTES else ()),
            f"Not shown: what rests on own text, because {WHY}.",
        ),
        refused=True,
    )


def refused_finding(name: str, question: str, of_real_text: tuple[Estimate, ...] = ()) -> Finding:
    """A finding that is not made, with the estimates of it that no own text enters."""
    return Finding(
        name, question, f"Refused: {WHY}.", "unknown", of_real_text, licence="No inference from own text.", refused=True
    )


def _of_real_text(chart: Chart) -> Chart:
    return replace(chart, series=tuple(s for s in chart.series if s.role not in _OWN_ROLES))


REFUSED_CARDS = ("Free-run horizon H75", "Entropy drift", "Loops")


def refused_headline(loss_card: dict[str, str]) -> list[dict[str, str]]:
    """The loss stands; the cards of own text say that they are refused."""
    empty = {"unit": "", "interval": ""}
    cards = [{"label": label, "value": REFUSED, **empty, "note": ""} for label in REFUSED_CARDS]
    audit = {"label": "Sampler audit", "value": "failed", **empty, "note": "its law is not the scorer's"}
    return [loss_card, *cards, audit]
