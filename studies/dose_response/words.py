"""The dose–response result in words: the table, and the sentences of its page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freerun.report.numbers import format_number

COMMAND = "python -m studies.dose_response.run"
BEGIN, END = f"<!-- written by: {COMMAND} -->", "<!-- end -->"


def table(result: Mapping[str, Any]) -> str:
    """Every point as a row of Markdown."""
    lines = [
        BEGIN,
        "| family | dose | excess, nats/token | H75, tokens | best detector's H75 | guaranteed tokens | AUC at the end | loss |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for p in result["points"]:
        least = "" if p["known"] == "exact" else "≥ "
        cells = (
            p["family"],
            p["amount"],
            f"{least}{_number(p['excess_nats'])}{_ends(p['excess_low'], p['excess_high'])}",
            f"{horizon(p)}{_tokens(p['h75_low'], p['h75_high'], p)}",
            "–" if p["best_excess_nats"] is None else best(p),
            "–" if p["certified_tokens"] is None else f"{int(p['certified_tokens']):,}",
            f"{p['auc_last']:.3f}",
            f"{p['loss_nats']:.4f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def block(result: Mapping[str, Any]) -> str:
    """What docs/dose-response.md says of the numbers, between its marks."""
    certificate = result["certificate"]
    exact = [p for p in result["points"] if p["known"] == "exact"]
    n_train, n_test = exact[0]["n_train"], exact[0]["n_test"]
    world, documents = result["world"], result["documents"]
    lines = [
        BEGIN,
        f"AUC {certificate['auc']:g} needs a total variation of at least {certificate['tv']:.3f}, and that needs "
        f"{certificate['nats']:.4f} nats over the whole continuation. {len(exact)} models of `{world}`, {documents} documents each "
        f"({n_train} train, {n_test} test), {result['prefix']} + {result['tokens']} tokens. {_contradictions(exact)}",
        "",
    ]
    for low, high in result["bands"]:
        lines.append(_band(exact, low, high))
    lines += ["", _ratio(exact), "", _families(exact), END]
    return "\n".join(line for line in lines) + "\n"


def with_block(page: str, result: Mapping[str, Any]) -> str:
    """The page with its block written anew.

    Raises:
        ValueError: the page has no marks.
    """
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"the page has no block between {BEGIN} and {END}")
    return before + block(result).rstrip("\n") + after


def horizon(p: Mapping[str, Any]) -> str:
    """H75 of the trained detector."""
    return _reached(p["h75"], p["beyond"], p["longest_tokens"])


def best(p: Mapping[str, Any]) -> str:
    """H75 of the likelihood ratio, with its interval."""
    ends = {"h75_low": p["best_low"], "h75_high": p["best_high"], "longest_tokens": p["longest_tokens"]}
    return f"{_reached(p['best_h75'], p['best_beyond'], p['longest_tokens'])}{_tokens(p['best_low'], p['best_high'], ends)}"


def _reached(value: float | None, beyond: bool, longest: int) -> str:
    if value is None:
        return f"> {longest}" if beyond else "< 1"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _band(points: list[Mapping[str, Any]], low: float, high: float) -> str:
    """How far apart the horizons of models lie whose excess is nearly the same."""
    inside = [p for p in points if low <= p["excess_nats"] <= high]
    if len(inside) < 2:
        return f"- Excess {low:g} to {high:g} nats a token: fewer than two models."

    def place(p: Mapping[str, Any]) -> float:
        return float(p["h75"] or (1e9 if p["beyond"] else 0.5))

    first, last = min(inside, key=place), max(inside, key=place)

    def told(p: Mapping[str, Any]) -> str:
        return f"{horizon(p)} ({p['family']}, {p['amount']}; excess {_number(p['excess_nats'])})"

    return f"- Excess {low:g} to {high:g} nats a token, {len(inside)} models: H75 from {told(first)} to {told(last)}."


def _ratio(points: list[Mapping[str, Any]]) -> str:
    """How much later than the certificate allows the best detector and the trained one see it."""
    best_ratios = [p["best_h75"] * p["best_excess_nats"] for p in points if p["best_h75"]]
    own = [p["h75"] * p["excess_nats"] for p in points if p["h75"]]
    return (
        f"Where H75 is reached, the excess over the text so far is {min(best_ratios):.2f} to {max(best_ratios):.2f} nats for the "
        f"best possible detector, and {min(own):.2f} to {max(own):.2f} for the trained one."
    )


def _families(points: list[Mapping[str, Any]]) -> str:
    """How much later the trained detector sees each family than the best one does."""
    said = []
    for family in dict.fromkeys(p["family"] for p in points):
        ratios = [p["h75"] / p["best_h75"] for p in points if p["family"] == family and p["h75"] and p["best_h75"]]
        if ratios:
            ends = f"{min(ratios):.1f}" if len(ratios) == 1 else f"{min(ratios):.1f} to {max(ratios):.1f}"
            said.append(f"{family} {ends}")
    return (
        f"H75 of the trained detector divided by that of the best one, where both are reached: {'; '.join(said)}. Ratios "
        "below 1 are chance: the best one is judged on all documents, the trained one on the test half."
    )


def _contradictions(points: list[Mapping[str, Any]]) -> str:
    wrong = [f"{p['family']}, {p['amount']}: {p['contradiction']}" for p in points if p["contradiction"]]
    return "No point lies under the certificate." if not wrong else "UNDER THE CERTIFICATE: " + "; ".join(wrong) + "."


def _number(x: float) -> str:
    return format_number(x, digits=3)


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({_number(low)} to {_number(high)})"


def _tokens(low: float | None, high: float | None, p: Mapping[str, Any]) -> str:
    if low is None and high is None:
        return ""
    said = ("< 1" if low is None else f"{low:.3g}", f"> {p['longest_tokens']}" if high is None else f"{high:.3g}")
    return f" ({said[0]} to {said[1]})"
