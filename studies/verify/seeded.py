"""How many tokens does the seeded audit need to find rounded weights? `python -m studies.verify.seeded` (about a minute).

The uniform that drew a token is known, and must lie in the token's cell of cumulative mass under the model. Tokens are drawn by
laws of rounded weights: the chance that the uniform falls outside is computed exactly from whole laws, context by context. One such
token rejects, where the pass that is held against is of the model in the same arithmetic. Writes seeded.json beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy import stats

from freerun.predictors.law import Dense
from freerun.runs.provenance import provenance
from studies.files import json_text, write_files
from studies.verify.laws import TOKENS, Name

HERE = Path(__file__).parent
KEPT = Path("runs/verify/laws")
MOST_TOKENS = 64
FOUND = 0.95
RESAMPLED = 1000


@dataclass(frozen=True)
class Rounded:
    """A sampler of other weights. `miss_share`: of its tokens, those whose uniform lies outside the model's cell, with a t interval
    over texts; `tv`, `kl_nats`: between the laws, a token; `tokens`: after so many at least one is missed with probability 0.95,
    the files' texts beginning anywhere in the kept ones; `tokens_low`, `tokens_high`: 95% of bootstrap samples of texts."""

    sampler: str
    texts: int
    laws: int
    miss_share: float
    miss_low: float
    miss_high: float
    tv: float
    kl_nats: float
    tokens: int
    tokens_low: int
    tokens_high: int


def laws_of(name: Name) -> Iterator[Float[np.ndarray, " vocabulary"]]:
    """Log-probabilities of every kept law, one after another from disk."""
    with (KEPT / f"{name}.npy").open("rb") as file:
        np.lib.format.read_magic(file)
        (n_laws, n_ids), _, _ = np.lib.format.read_array_header_1_0(file)
        for _ in range(n_laws):
            yield Dense(np.fromfile(file, np.float32, n_ids)[None]).log_probs()[0]


def miss(own: Float[np.ndarray, " vocabulary"], other: Float[np.ndarray, " vocabulary"]) -> float:
    """P(a uniform that draws x from the other law lies outside the cell of x in the own one): what cells do not share.

    >>> round(miss(np.array([0.5, 0.5]), np.array([0.25, 0.75])), 9)
    0.25
    """
    first, second = np.cumsum(own), np.cumsum(other)
    overlap = np.minimum(first, second) - np.maximum(first - own, second - other)
    return float(1.0 - np.clip(overlap, 0.0, None).sum())


def measured(sampler: str, name: Name) -> Rounded:
    found = []
    for own, other in zip(laws_of("model"), laws_of(name), strict=True):
        p, q = np.exp(own), np.exp(other)
        found.append((miss(p, q), 0.5 * float(np.abs(p - q).sum()), float((q * (other - own)).sum())))
    missed, tv, kl = np.array(found).T
    by_text = missed.reshape(-1, TOKENS)
    of_text = by_text.mean(axis=1)
    half = float(stats.t.ppf(0.975, len(of_text) - 1) * of_text.std(ddof=1) / np.sqrt(len(of_text)))
    share = float(of_text.mean())
    rng = np.random.default_rng(15)
    again = [tokens_needed(by_text[rng.integers(0, len(by_text), len(by_text))]) for _ in range(RESAMPLED)]
    needed = [int(np.quantile(again, q, method="higher")) for q in (0.025, 0.975)]
    return Rounded(
        sampler,
        len(by_text),
        missed.size,
        share,
        share - half,
        share + half,
        float(tv.mean()),
        float(kl.mean()),
        tokens_needed(by_text),
        *needed,
    )


def tokens_needed(missed: Float[np.ndarray, "texts tokens"]) -> int:
    """The fewest tokens in a row, from anywhere in a text, of which at least one is missed with probability `FOUND` on average."""
    kept = np.cumsum(np.log1p(-np.minimum(missed, 1 - 1e-12)), axis=1)
    before = np.concatenate([np.zeros((len(kept), 1)), kept], axis=1)
    for n in range(1, MOST_TOKENS + 1):
        if np.exp(before[:, n:] - before[:, :-n]).mean() <= 1 - FOUND:
            return n
    raise ValueError(f"more than {MOST_TOKENS} tokens are needed")


def main() -> None:
    rows = [measured("weights in int8", "int8"), measured("weights in int4", "int4")]
    print(*rows, sep="\n")
    write_files(HERE, {"seeded.json": json_text({"rows": [asdict(r) for r in rows], "provenance": provenance()})})


if __name__ == "__main__":
    main()
