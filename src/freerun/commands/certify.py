"""Work out what a loss guarantees about generated text, and what it does not: exact bounds, no model.

The excess loss is the loss minus the entropy of the text, in nats per token: what the model loses beyond what nobody can predict.
For real text nobody knows the entropy, so a measured loss by itself guarantees nothing; every line holds if the entropy rate is at
least h = loss − excess. The bounds are on total variation: take any property that a text can have, and compare the share of real
texts that have it with the share of generated texts of the same length; total variation is the largest such difference.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from freerun.commands.model_arguments import add_json_argument
from freerun.commands.terminal import columns_between, say
from freerun.errors import UsageError

if TYPE_CHECKING:
    from freerun.results.certify import CertifyResult
    from freerun.stats.bounds.certificates import Horizon

EXAMPLES = """\
examples:
  freerun certify --excess 0.01005 --tokens 1000   one token too many, which gets 1% of the mass
  freerun certify --excess 0.001 --tokens 256 --delta 0.05 --svg bound.svg
  freerun certify --excess 0.0035 --tokens 100 --event-rate 0.001 --observed-rate 0.3
      loops in 30% of generated texts against 0.1% of real ones: what this proves
  freerun certify --excess 0.01 --tokens 64 --event-rate 1/1000 --observed-rate 30/100 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--excess", metavar="E", type=float, required=True, help="the excess loss, in nats per token")
    parser.add_argument("--tokens", metavar="T", type=int, required=True, help="the length of the texts, in tokens")
    parser.add_argument(
        "--delta",
        metavar="D",
        type=float,
        action="append",
        help="say up to which length total variation is sure to stay below D; may be repeated (default .1 .25 .5 .9 .99)",
    )
    parser.add_argument(
        "--event-rate",
        metavar="A",
        help="the share of real texts with some property, or counts such as 1/1000, which get 95%% limits",
    )
    parser.add_argument(
        "--observed-rate",
        metavar="B",
        help="the share of generated texts with it, or counts such as 30/100; says how large an excess loss that proves",
    )
    add_json_argument(parser)
    parser.add_argument("--svg", metavar="FILE", help="also draw the bound by length, as one SVG file")


def run(arguments: argparse.Namespace) -> int:
    from freerun.commands.main import print_json
    from freerun.jobs.certify import DELTAS, certify, draw_certificate
    from freerun.results.finding import to_json

    if arguments.svg is not None and (not arguments.svg or Path(arguments.svg).is_dir()):
        raise UsageError(f"--svg {arguments.svg!r} is a folder: name a file, for example bound.svg")
    result = certify(
        arguments.excess,
        arguments.tokens,
        deltas=arguments.delta or DELTAS,
        event_rate=read_rate("--event-rate", arguments.event_rate),
        observed=read_rate("--observed-rate", arguments.observed_rate),
    )
    if arguments.svg is not None:
        from freerun.files import write_atomically

        write_atomically(Path(arguments.svg), draw_certificate(result))
    if arguments.json:
        print_json(to_json(result))
        return 0
    say(certificate_lines(result, width=columns_between(40, 100)), sys.stdout)
    if arguments.svg is not None:
        say(["", f"picture  {arguments.svg}"], sys.stdout)
    return 0


def read_rate(name: str, word: str | None) -> float | tuple[int, int] | None:
    """The rate that `0.3` or `30/100` says; None stays None.

    Raises:
        UsageError: neither.
    """
    if word is None:
        return None
    if counts := re.fullmatch(r"\s*(\d{1,15})\s*/\s*(\d{1,15})\s*", word, flags=re.ASCII):
        return int(counts[1]), int(counts[2])
    try:
        return float(word)
    except ValueError:
        raise UsageError(f"{name} {word!r} is not a rate: give a share such as 0.3, or counts such as 30/100") from None


# ---- what is printed -------------------------------------------------------------------------------------------------


def certificate_lines(result: CertifyResult, *, width: int) -> list[str]:
    """The certificate for people, no wider than `width` columns."""
    from freerun.jobs.certify import spoken_share

    excess, tokens, k = result.excess_nats_per_token, result.tokens, result.kl_nats
    head = (
        f"If the excess loss is {excess:.6g} nats ({result.excess_bits_per_token:.3g} bits) a token over {tokens:,} tokens: "
        f"K = {k:.4g} nats."
    )
    bounds, absorbing = result.largest_tv, result.absorbing
    from freerun.commands.verdict import next_lines, point_lines

    blocks = [
        textwrap.wrap(head, width),
        [line for p in result.points for line in point_lines(p.label, p.text, width)],
        [
            "largest total variation that it allows",
            f"  exact                       {spoken_share(bounds.exact)}",
            f"  Gilardoni 2010              {spoken_share(bounds.gilardoni)}",
            f"  Bretagnolle–Huber √(1−e⁻ᴷ)  {spoken_share(bounds.bretagnolle_huber)}",
            f"  Pinsker √(K/2)              {spoken_share(bounds.pinsker)}",
            f"  absorbing model 1−e⁻ᴷ       {spoken_share(absorbing.tv)}",
        ],
        textwrap.wrap(
            f"The absorbing model puts {absorbing.mass:.4g} on one extra token that never lets go, has exactly this excess, and "
            f"spoils {absorbing.corrupted_tokens:,.4g} of {tokens:,} tokens on average.",
            width,
        ),
        _horizon_lines(result.horizons),
        *_event_blocks(result, width),
        _listed("guaranteed", result.guaranteed, width),
        _listed("not guaranteed", result.not_guaranteed, width),
        textwrap.wrap(result.source_text.sentence, width) if _is_the_example(result) else [],
        next_lines(result.next_step.words, result.next_step.type, width) if result.next_step else [],
    ]
    lines: list[str] = []
    for block in filter(None, blocks):
        lines += [*block, ""]
    return lines[:-1]


def _is_the_example(result: CertifyResult) -> bool:
    """Whether the excess is that of the printed example, to three digits."""
    return math.isclose(result.excess_nats_per_token, result.source_text.nats_per_token, rel_tol=1e-3)


def _horizon_lines(horizons: Sequence[Horizon]) -> list[str]:
    """One line a total variation; the columns are as wide as their numbers."""
    rows = [
        (f"{h.tv:g}", f"{h.smallest_kl_nats:.4g}", f"{h.guaranteed_tokens:,}", f"{h.absorbing_tokens:,}")
        for h in horizons
    ]
    heads = ("TV", "K needed", "safe up to", "absorbing at")
    wide = [max(len(row[i]) for row in (heads, *rows)) for i in range(4)]
    lines = ["  ".join(f"{cell:>{n}}" for cell, n in zip(row, wide, strict=True)) for row in (heads, *rows)]
    return ["horizon: tokens up to which no model of this loss exceeds TV", *[f"  {line}" for line in lines]]


def _event_blocks(result: CertifyResult, width: int) -> list[list[str]]:
    from freerun.jobs.certify import spoken_share

    event = result.event
    if event is None:
        return []
    limit = f" (at most {spoken_share(event.base_high)}, 95%)" if event.base_counts else ""
    blocks = [
        textwrap.wrap(
            f"An event with rate {_rate(event.base_rate, event.base_counts)}{limit} in text has at most "
            f"{spoken_share(event.ceiling)} in generations. Tight.",
            width,
        )
    ]
    seen = event.observed
    if seen is None:
        return blocks
    rate = _rate(seen.rate, seen.counts)
    if seen.kl_proven_nats is None or seen.excess_proven_nats_per_token is None:
        said = f"Generations with rate {rate} prove that K is infinite: they always do what text sometimes does not."
    elif seen.kl_proven_nats == 0:
        said = f"A rate of {rate} in generations proves nothing: it is not above the base rate."
    else:
        counted = " at 95%" if seen.counts else ""
        said = (
            f"Read backwards, a rate of {rate} in generations proves{counted} K ≥ {seen.kl_proven_nats:.2g} nats per text, "
            f"{seen.excess_proven_nats_per_token:.2g} a token over {result.tokens:,} tokens. No more than that."
        )
    if not seen.within_the_given_loss:
        said += f" That is more than the {result.kl_nats:.4g} nats given: both cannot be right of the same texts."
    return [*blocks, textwrap.wrap(said, width)]


def _rate(share: float, counts: Sequence[int] | None) -> str:
    return f"{counts[0]:,}/{counts[1]:,}" if counts else f"{share:g}"


def _listed(title: str, sentences: Sequence[str], width: int) -> list[str]:
    lines = [title]
    for sentence in sentences:
        lines += textwrap.wrap(sentence, width, initial_indent="  - ", subsequent_indent="    ")
    return lines
