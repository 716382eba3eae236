"""What an excess loss does and does not guarantee, as a value for the terminal, JSON and one picture. No model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from freerun.errors import UsageError
from freerun.report.charts.picture import standing_alone
from freerun.results.certify import (
    AbsorbingModel,
    CertifyResult,
    EventRate,
    LargestTv,
    ObservedRate,
    PrintedExample,
)
from freerun.results.finding import Chart, Series, to_json
from freerun.results.verdict import NextStep, Point, three_points
from freerun.stats.bounds.certificates import (
    absorbing_tv,
    bretagnolle_huber_tv,
    corrupted_tokens,
    event_ceiling,
    event_ceiling_of_counts,
    excess_of_mass,
    gilardoni_tv,
    horizon_tokens,
    kl_proven,
    kl_proven_of_counts,
    largest_tv,
    pinsker_tv,
)

SCHEMA_VERSION = 1
DELTAS = (0.1, 0.25, 0.5, 0.9, 0.99)
SOURCE_TEXT_MASS, SOURCE_TEXT_TOKENS = 0.01, 1000
SOURCE_TEXT_PRINTS = {"nats_per_token": 0.101, "probability": 0.99996}
"""What the text that freerun is built on prints; the first is wrong by a factor of ten."""
LEVEL = 0.95

Rate = float | tuple[int, int]
"""A rate that is known exactly, or how many of how many independent texts."""


def certify(
    excess_nats: float,
    tokens: int,
    *,
    deltas: Sequence[float] = DELTAS,
    event_rate: Rate | None = None,
    observed: Rate | None = None,
) -> CertifyResult:
    """What a mean excess loss of `excess_nats` per token guarantees over texts of `tokens` tokens.

    `deltas` are total variations to give horizons for; `event_rate` is how many real texts have some property, `observed` how
    many generations have it.

    Raises:
        UsageError: a value out of range; an observed rate without a base rate, or one as a rate and the other as counts.
    """
    _check_numbers(excess_nats, tokens, deltas)
    event = _checked_rate("--event-rate", event_rate)
    seen = _checked_rate("--observed-rate", observed)
    if seen is not None and (event is None or isinstance(seen, tuple) != isinstance(event, tuple)):
        raise UsageError(
            "--observed-rate needs --event-rate beside it, both as rates (0.3) or both as counts (30/100): a rate in generations "
            "proves something only against a base rate in text"
        )
    k = excess_nats * tokens
    mass = -math.expm1(-excess_nats)
    bounds = LargestTv(largest_tv(k), gilardoni_tv(k), bretagnolle_huber_tv(k), pinsker_tv(k))
    return CertifyResult(
        schema_version=SCHEMA_VERSION,
        kind="certify",
        excess_nats_per_token=float(excess_nats),
        excess_bits_per_token=excess_nats / math.log(2),
        tokens=int(tokens),
        kl_nats=k,
        largest_tv=bounds,
        absorbing=AbsorbingModel(mass, absorbing_tv(k), corrupted_tokens(mass, tokens)),
        horizons=tuple(horizon_tokens(excess_nats, delta) for delta in sorted(set(deltas))),
        event=None if event is None else _event(event, seen, k, tokens),
        source_text=_printed_example(),
        guaranteed=_guaranteed(bounds.exact, tokens),
        not_guaranteed=NOT_GUARANTEED,
        chart=_chart(excess_nats, tokens),
        points=_points(float(excess_nats), int(tokens), k, bounds.exact),
        next_step=NextStep("See what a model really writes", "freerun audit MODEL CORPUS"),
    )


def _points(excess_nats: float, tokens: int, k: float, tv: float) -> tuple[Point, ...]:
    """What was computed, what came out and how sure that is."""
    return three_points(
        f"Nothing was measured: these are bounds. If a model's loss lies {excess_nats:.6g} nats a token above the "
        "entropy of the text (its "
        f"excess), then over {tokens:,} tokens its texts are K = {k:.4g} nats from real ones.",
        "Whatever one looks for in a text, its rate in the model's texts differs from that in real ones by at most "
        f"{spoken_share(tv)} (the total "
        "variation). One model of this excess reaches it, and how it does so is said below.",
        "The bounds are exact. But nobody knows the entropy of real text, so a measured loss alone says nothing of the excess.",
    )


def draw_certificate(result: CertifyResult) -> str:
    """The chart of `certify` as an SVG file that works by itself."""
    return standing_alone(to_json(result.chart))


# ---- what the numbers mean -------------------------------------------------------------------------------------------

NOT_GUARANTEED = (
    "A measured loss certifies nothing by itself: the excess is the loss minus the entropy of the text, and the entropy of real "
    "text is unknown. Read every line as: if the entropy rate is at least h = loss − excess. A better predictor shows that the "
    "excess is at least so much; nothing shows that it is at most so much.",
    "The reverse direction has no bound: KL(generations‖text) is infinite as soon as the model writes what the source cannot, "
    "whatever its loss.",
    "The excess is the mean over the first tokens of a text, end-of-text counted as one, for every length that is spoken of. "
    "A mean over long texts does not bound their beginnings.",
    "A total variation near 1 does not say that the text is bad, only that the loss no longer excludes it.",
)


def _guaranteed(tv: float, tokens: int) -> tuple[str, ...]:
    return (
        f"If the excess is right: whatever model it is, no reader, test or event tells its texts of {tokens:,} tokens from real "
        f"ones by more than the exact total variation, {spoken_share(tv)}: no event has a rate in generations that is further "
        "from its rate in text.",
        "No smaller bound is true of all texts and models with this loss: some reach it. The absorbing model (one extra "
        "token that never lets go) is an actual model with this very loss.",
    )


def spoken_share(x: float) -> str:
    """Print a share of 1 with enough digits to show how far it is from 0 and from 1.

    >>> [spoken_share(x) for x in (0.0, 0.222431, 0.9999568, 1.0, 1e-7)]
    ['0', '0.2224', '0.999957', '1', '1e-07']
    """
    if x in (0.0, 1.0):
        return f"{x:.0f}"
    if x <= 0.5:
        return f"{x:.4g}"
    digits = max(4, 1 - math.floor(math.log10(1.0 - x)))
    return f"{x:.{digits}f}"


# ---- parts -----------------------------------------------------------------------------------------------------------


def _event(base: Rate, observed: Rate | None, k: float, tokens: int) -> EventRate:
    if isinstance(base, tuple):
        limits = event_ceiling_of_counts(*base, k, level=LEVEL)
        counts, ceiling, base_high, level = base, limits.ceiling, limits.base_high, LEVEL
    else:
        counts, ceiling, base_high, level = None, event_ceiling(base, k), base, None
    seen = None if observed is None else _observed(base, observed, k, tokens)
    return EventRate(_share(base), counts, base_high, level, ceiling, seen)


def _observed(base: Rate, observed: Rate, k: float, tokens: int) -> ObservedRate:
    """What the rate of an event in generations proves, where `base` is its rate in text."""
    if isinstance(base, tuple) and isinstance(observed, tuple):
        proof = kl_proven_of_counts(*base, *observed, level=LEVEL)
        counts, proven, high, low = observed, proof.kl_nats, proof.base_high, proof.observed_low
    else:
        counts, high, low = None, _share(base), _share(observed)
        proven = kl_proven(high, low)
    infinite = math.isinf(proven)
    return ObservedRate(
        rate=_share(observed),
        counts=counts,
        base_high=high,
        low=low,
        infinite=infinite,
        kl_proven_nats=None if infinite else proven,
        excess_proven_nats_per_token=None if infinite else proven / tokens,
        within_the_given_loss=proven <= k * (1.0 + 1e-9),
    )


def _printed_example() -> PrintedExample:
    nats = excess_of_mass(SOURCE_TEXT_MASS)
    probability = absorbing_tv(nats * SOURCE_TEXT_TOKENS)
    return PrintedExample(
        mass=SOURCE_TEXT_MASS,
        nats_per_token=nats,
        bits_per_token=nats / math.log(2),
        tokens=SOURCE_TEXT_TOKENS,
        probability=probability,
        prints=SOURCE_TEXT_PRINTS,
        sentence=(
            f"The example of Greenblatt (2023): an extra token with 1% of the mass costs −ln 0.99 = {nats:.5f} nats "
            f"({nats / math.log(2):.4f} bits) a token; the text prints {SOURCE_TEXT_PRINTS['nats_per_token']}, ten times too much. "
            f"Its other number is right: within {SOURCE_TEXT_TOKENS:,} tokens it comes up with probability {probability:.6f} "
            f"({SOURCE_TEXT_PRINTS['probability']} in the text)."
        ),
    )


def _chart(excess_nats: float, tokens: int) -> Chart:
    lengths = np.unique(np.round(np.geomspace(1, tokens, 49)))
    k = excess_nats * lengths
    curves = (
        ("exact: the largest that the loss allows", "reference", largest_tv),
        ("absorbing model of this loss", "free", absorbing_tv),
        ("Gilardoni", "other", gilardoni_tv),
        ("Bretagnolle–Huber", "control", bretagnolle_huber_tv),
        ("Pinsker", "control", pinsker_tv),
    )
    return Chart(
        name="largest_tv_by_tokens",
        title=f"What an excess of {excess_nats:g} nats a token allows",
        x_label="tokens",
        y_label="total variation between text and generations",
        x=tuple(lengths.tolist()),
        x_scale="log2",
        y_range=(0.0, 1.0),
        series=tuple(Series(name, role, tuple(f(k).tolist())) for name, role, f in curves),
        caption="Certificates, not measurements: true if the excess is right. The closed forms are upper bounds of the exact "
        "curve; the absorbing model is one model that has this loss.",
    )


# ---- checks ----------------------------------------------------------------------------------------------------------


def _check_numbers(excess_nats: float, tokens: int, deltas: Sequence[float]) -> None:
    if not 1e-12 <= excess_nats <= 1e3:
        raise UsageError(
            f"--excess {excess_nats:g} is not an excess loss: it must be in nats per token, from 1e-12 to 1000, for example 0.01"
        )
    if not 1 <= tokens <= 10**12 or tokens != int(tokens):
        raise UsageError(f"--tokens must be a whole number from 1 to 10^12, not {tokens}")
    if not deltas:
        raise UsageError("--delta: give at least one total variation, for example 0.5")
    for delta in deltas:
        if not 0.0 < delta < 1.0:
            raise UsageError(
                f"--delta {delta:g} is not a total variation to stay below: it lies strictly between 0 and 1"
            )


def _checked_rate(name: str, rate: Rate | None) -> Rate | None:
    if isinstance(rate, tuple):
        successes, n = rate
        if n < 1 or not 0 <= successes <= n:
            raise UsageError(
                f"{name} {successes}/{n} is not a count: give how many of how many texts, for example 30/100"
            )
    elif rate is not None and not 0.0 <= rate <= 1.0:
        raise UsageError(f"{name} {rate:g} is not a rate: it lies between 0 and 1; counts go in as 30/100")
    return rate


def _share(rate: Rate) -> float:
    return rate[0] / rate[1] if isinstance(rate, tuple) else float(rate)
