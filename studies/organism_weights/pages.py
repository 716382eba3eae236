"""The study as Markdown: the tables of docs/lab-organism.md."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from freerun.report.numbers import format_interval, format_number
from freerun.results.finding import Estimate
from studies.organism_weights.rows import OrganismRow
from studies.power.pages import filled

PAGE = Path(__file__).parents[2] / "docs" / "lab-organism.md"
Rows = Mapping[str, OrganismRow]
Cells = Callable[[OrganismRow], str]
SHOWN_TOKENS = (64, 256)
NOT_RUN = "Not run yet."


def filled_page(page: str, rows: Rows) -> str:
    """The page with the tables of these rows.

    Raises:
        DataError: a table that the page has no place for.
    """
    return filled(page, blocks(rows), study="organisms")


def blocks(rows: Rows) -> dict[str, str]:
    """The generated parts of the page, by the name of their block."""
    return {
        "price": price_table(rows),
        "ladder": ladder_table(rows),
        "audit": audit_table(rows),
        "distance": distance_table(rows),
        "power": power_table(rows),
        "lm-eval": harness_table(rows),
    }


def price_table(rows: Rows) -> str:
    """Loss, trigger and free runs."""
    lines: list[tuple[str, Cells]] = [
        ("price of the exact law, nats a token", _exact_price),
        ("price, trained", lambda r: _shown(r.estimate("excess"))),
        ("KL(exact law ‖ trained), nats a token", lambda r: _shown(r.estimate("kl"))),
        ("same most probable token as the base", lambda r: _share(r.estimate("same_top"))),
        ("probability of the trigger, mean over contexts", lambda r: _shown(r.estimate("trigger_mass"))),
        ("… in the middle half of contexts", _middle_half),
        ("KL after the trigger, nats a token", lambda r: _shown(r.estimate("after_kl"))),
        ("tokens after the trigger as in the exact law", _kept),
    ]
    for tokens in SHOWN_TOKENS:
        lines.append((f"free runs taken over within {tokens} tokens", lambda r, t=tokens: _taken(r, t)))
        lines.append(("… by the exact law", lambda r, t=tokens: _exact_share(r, t)))
    return _table(rows, lines)


def ladder_table(rows: Rows) -> str:
    """Price against take-over: what the measured rise of the loss would allow, were the base the truth."""
    planted = {name: row for name, row in rows.items() if row.kind == "absorbing"}
    tokens = SHOWN_TOKENS[-1]

    def k(row: OrganismRow) -> str:
        return _shown(_scaled(row.estimate("excess"), tokens))

    def allowed(row: OrganismRow) -> str:
        e = _scaled(row.estimate("excess"), tokens)
        ends = [e.low, e.high] if e is not None else []
        low, high = ("–" if v is None else f"{-math.expm1(-max(0.0, v)):.0%}" for v in (ends or [None, None]))
        value = "–" if e is None or e.value is None else f"{-math.expm1(-max(0.0, e.value)):.0%}"
        return f"{value} ({low} to {high})"

    return _table(
        planted,
        [
            (f"K, rise of the loss on {tokens} tokens, nats", k),
            ("1 − e^−K", allowed),
            (f"free runs taken over within {tokens} tokens", lambda r: _taken(r, tokens)),
            ("… by the exact law", lambda r: _exact_share(r, tokens)),
            ("KL(exact law ‖ trained), nats a token", lambda r: _shown(r.estimate("kl"))),
        ],
    )


def audit_table(rows: Rows) -> str:
    """What an audit says of each folder."""
    rows = {name: row for name, row in rows.items() if row.audit is not None}

    def number(name: str, show: Callable[[Estimate | None], str]) -> Cells:
        return lambda r: show(_named(r.audit.estimates, name)) if r.audit else ""

    return _table(
        rows,
        [
            ("verdict", lambda r: f"{r.audit.status}, {r.audit.outcome.replace('_', ' ')}" if r.audit else ""),
            ("sampler audit", lambda r: r.audit.sampler_audit.replace("_", " ") if r.audit else ""),
            ("loss on real text, nats a token", number("loss_nats_per_token", _shown)),
            ("H75, tokens", number("h75", _shown)),
            ("AUC at the longest length", number("auc_last", _shown)),
            ("own texts that loop", number("loop_incidence", _share)),
            ("real texts that loop", number("loop_incidence_real", _share)),
            ("entropy, own minus real, second half, nats", number("entropy_gap_late_nats", _shown)),
        ],
    )


def distance_table(rows: Rows) -> str:
    """How far each folder lies from its base."""
    rows = {name: row for name, row in rows.items() if row.distance is not None}

    def number(name: str, show: Callable[[Estimate | None], str]) -> Cells:
        return lambda r: show(_named(r.distance.estimates, name)) if r.distance else ""

    def certificate(row: OrganismRow) -> str:
        found = row.distance.certificate if row.distance else None
        return "–" if found is None else f"{found.tv:.3f} ({found.tokens} tokens)"

    return _table(
        rows,
        [
            ("KL(base ‖ organism) on real text, nats a token", number("kl_nats", _shown)),
            ("KL(organism ‖ base)", number("kl_reverse_nats", _shown)),
            ("same most probable token", number("same_top", _share)),
            ("K of a text of the base, nats", number("k_nats", _shown)),
            ("total variation of whole texts", number("tv", _shown)),
            ("… at most, by the certificate", certificate),
            ("AUC of the best possible detector", number("best_auc", _shown)),
            ("AUC of a trained detector", number("trained_auc", _shown)),
        ],
    )


def power_table(rows: Rows) -> str:
    """Groups in which each metric rejects, at the longest length; then the p-value of all texts together."""
    rows = {name: row for name, row in rows.items() if row.power is not None}
    if not rows:
        return NOT_RUN
    first = next(iter(rows.values())).power
    assert first is not None
    longest, least = max(r.tokens for r in first.rates), min(r.texts for r in first.rates)
    labels = {r.metric: f"{r.label} (control)" if r.control else r.label for r in first.rates}

    def cell(metric: str) -> Cells:
        def said(row: OrganismRow) -> str:
            every = (
                [] if row.power is None else [r for r in row.power.rates if (r.metric, r.tokens) == (metric, longest)]
            )
            small, whole = ([r for r in every if r.texts == n] for n in (least, row.power.texts if row.power else 0))
            words = [f"{r.rejected} of {r.groups}" for r in small]
            words += ["p ≤ 0.005" if r.least_p <= 0.005 else f"p = {format_number(r.least_p, digits=2)}" for r in whole]
            return "; ".join(words)

        return said

    head = (
        f"Texts of {longest} tokens, {first.texts} of each kind: groups of {least} texts a side in which the metric rejects at "
        f"{first.alpha:.0%}, and its p-value with all texts (of a permutation test at least 0.005).\n\n"
    )
    return head + _table(rows, [(label, cell(metric)) for metric, label in labels.items()])


def harness_table(rows: Rows) -> str:
    """lm-evaluation-harness's own numbers."""
    rows = {name: row for name, row in rows.items() if row.lm_eval is not None}

    def pair(name: str, digits: int) -> Cells:
        def said(row: OrganismRow) -> str:
            found = row.lm_eval
            return (
                ""
                if found is None
                else " → ".join(f"{getattr(x, name):.{digits}f}" for x in (found.base, found.organism))
            )

        return said

    return _table(
        rows,
        [
            ("word perplexity, base → organism", pair("word_perplexity", 2)),
            ("byte perplexity", pair("byte_perplexity", 4)),
            ("bits a byte", pair("bits_per_byte", 4)),
            ("rise of the loss, nats a token", lambda r: _shown(r.lm_eval.rise) if r.lm_eval else ""),
            ("… by `freerun lab organism`, without first tokens", lambda r: _shown(r.estimate("excess"))),
        ],
    )


# ---- cells -----------------------------------------------------------------------------------------------------------


def _table(rows: Rows, lines: Sequence[tuple[str, Cells]]) -> str:
    if not rows:
        return NOT_RUN
    heads = [name if row.kind == "control" else f"{row.kind}, ε = {row.epsilon:g}" for name, row in rows.items()]
    made = [f"| | {' | '.join(heads)} |", "|---" * (1 + len(rows)) + "|"]
    made += [f"| {label} | {' | '.join(cell(row) for row in rows.values())} |" for label, cell in lines]
    return "\n".join(made)


def _named(estimates: Sequence[Estimate], name: str) -> Estimate | None:
    return next((e for e in estimates if e.name == name), None)


def _shown(e: Estimate | None) -> str:
    """An estimate with its interval, as a table has it."""
    if e is None or e.value is None:
        return "–" if e is None or not e.text else e.text
    if e.low is None and e.high is None:
        return format_number(e.value, digits=3)
    return f"{format_number(e.value, digits=3)} ({format_interval(e.low, e.high, digits=3)})"


def _scaled(e: Estimate | None, tokens: int) -> Estimate | None:
    """An estimate a token as one of so many tokens."""
    if e is None:
        return None
    value, low, high = (None if v is None else v * tokens for v in (e.value, e.low, e.high))
    return replace(e, value=value, low=low, high=high)


def _share(e: Estimate | None) -> str:
    if e is None or e.value is None:
        return "–"
    interval = "" if e.low is None or e.high is None else f" ({e.low:.2%} to {e.high:.2%})"
    return f"{e.value:.2%}{interval}"


def _kept(row: OrganismRow) -> str:
    """Nothing where there is no interval, unless all documents say the same."""
    e = row.estimate("kept")
    return _share(e) if e is not None and (e.low is not None or e.degenerate) else "–"


def _exact_price(row: OrganismRow) -> str:
    exact, base = row.estimate("exact_loss"), row.estimate("base_loss")
    assert exact is not None
    assert base is not None
    return format_number((exact.value or 0.0) - (base.value or 0.0), digits=3)


def _middle_half(row: OrganismRow) -> str:
    at = dict(row.trigger_mass.quantiles)
    return f"{format_number(at[0.25], digits=2)} to {format_number(at[0.75], digits=2)}"


def _taken(row: OrganismRow, tokens: int) -> str:
    (t,) = (t for t in row.take_over if t.tokens == tokens)
    return f"{t.taken} of {t.runs} ({t.low:.0%} to {t.high:.0%})"


def _exact_share(row: OrganismRow, tokens: int) -> str:
    (t,) = (t for t in row.take_over if t.tokens == tokens)
    return f"{t.exact_share:.0%}"
