"""What the scoring pass recorded, read back in bounded memory.

Statistics over single tokens hold their columns, at most `MOST_TOKENS` of them: those of whole completions, evenly spread over the
file, chosen by number alone. What adds up is taken over all: the bets, and tokens that the declared law cannot draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.jobs.verify.scoring import UNIT_TEXTS, rows_of, spread, unit_name
from freerun.records.sample_scores import ScoreFolder
from freerun.stats.verification.battery import Elsewhere
from freerun.stats.verification.tokens import Bets, TokenLaws

MOST_TOKENS = 2_000_000
"""Their columns take about 200 MB."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """A whole file's pass.

    `tokens`, `reported`, `trainer`: of the completions that are held. `elsewhere`: counts of the others. `bets` and
    `n_tokens`: of all completions. `n_copies`: left out of all.
    """

    tokens: TokenLaws
    reported: Float[np.ndarray, " tokens"]
    trainer: Float[np.ndarray, " tokens"]
    elsewhere: Elsewhere
    bets: Bets
    n_tokens: Int[np.ndarray, " completions"]
    n_copies: int


def read_recorded(folder: ScoreFolder, lengths: Sequence[int], floor_nats: float) -> Recorded:
    """All units of completions of these lengths (tokens). Raises DataError for a damaged part."""
    held = set(range(len(lengths)) if sum(lengths) <= MOST_TOKENS else spread(lengths, MOST_TOKENS))
    parts: dict[str, list[np.ndarray]] = {}
    bets, elsewhere, n_copies = Bets.none(), Elsewhere(), 0
    n_tokens = np.zeros(len(lengths), np.int64)
    for number, (columns, notes) in enumerate(_units(folder, len(lengths))):
        here = slice(number * UNIT_TEXTS, (number + 1) * UNIT_TEXTS)
        n_tokens[here] = notes["n_tokens"]
        n_copies += len(notes["copies"])
        bets = bets.plus(Bets(**{name: np.array(values) for name, values in notes["bets"].items()}))
        tokens = _laws(columns)
        mine = [i for i in range(len(lengths))[here] if i in held]
        rows = rows_of(tokens, mine)
        if not rows.all():
            elsewhere = elsewhere.plus(Elsewhere.of(tokens.take(~rows), floor_nats))
        for name, values in columns.items():
            parts.setdefault(name, []).append(values[rows])
    joined = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    reported, trainer = joined["reported_nats"], joined["trainer_nats"]
    return Recorded(_laws(joined), reported, trainer, elsewhere, bets, n_tokens, n_copies)


def read_texts(folder: ScoreFolder, numbers: Sequence[int]) -> TokenLaws:
    """The drawn tokens of some texts, in order."""
    parts = []
    for unit in sorted({i // UNIT_TEXTS for i in numbers}):
        tokens = _laws(folder.read(unit_name(unit))[0])
        parts.append(tokens.take(rows_of(tokens, numbers)))
    return TokenLaws.concatenate(parts)


def _units(folder: ScoreFolder, n_texts: int) -> Iterator[tuple[dict[str, np.ndarray], dict[str, Any]]]:
    return (folder.read(unit_name(number)) for number in range(-(-n_texts // UNIT_TEXTS)))


def _laws(columns: dict[str, np.ndarray]) -> TokenLaws:
    return TokenLaws(**{f.name: columns[f.name] for f in fields(TokenLaws)})
