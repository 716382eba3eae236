"""What two right computations of one law do at the edges of a cut: `python -m studies.verify.edges` (some minutes).

Laws are softmaxes of random logits. Tokens are drawn by a rule from laws whose logits are off by random noise, afresh in every
file, and held against the laws without it; the noise floor is what the noise does to log-probabilities (root mean square).
Counted: how often the verdict is "differs", which the floor should excuse (at most one in a thousand), and how often it would be
without the excuse; and how often another rule than the declared one is found through the noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from freerun.predictors.law import Dense
from freerun.predictors.profiles import profile_of
from freerun.predictors.rules import SamplingRule
from freerun.runs.provenance import provenance
from freerun.stats.intervals import clopper_pearson
from freerun.stats.verification.battery import ALPHA, held_against_laws
from freerun.stats.verification.tokens import Alternatives, Bets
from studies.files import json_text, write_files
from studies.verify.redraw import Held, Pool

HERE = Path(__file__).parent
N_CONTEXTS, N_IDS, A_TEXT = 1200, 1000, 60
RULES = ("t=1", "top_p=0.95", "top_p=0.99", "top_k=50", "min_p=0.05", "t=0.8,top_k=40,top_p=0.95,min_p=0.05")
NOISE = {"normal": 1e9, "Student's t, 3 degrees of freedom": 3.0}
PLANTED = (("top_k=50", "top_k=100"), ("top_k=50", "t=1"), ("top_p=0.95", "top_p=0.99"), ("min_p=0.05", "t=1"))
"""Declared, and what draws: with the noise, and seen all the same."""
FLOORS = (0.003, 0.01, 0.05, 0.15)


def base(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(N_CONTEXTS, N_IDS)) * rng.uniform(0.5, 3.5, size=(N_CONTEXTS, 1))


def pool_of(logits: np.ndarray) -> Pool:
    profile = profile_of(Dense(logits).log_probs(), np.zeros(N_CONTEXTS, np.int64), (0, 1))
    return Pool(profile, np.arange(N_CONTEXTS) // A_TEXT, np.arange(N_CONTEXTS) % A_TEXT)


def files(rule: str, drawn: str, degrees: float, floor: float, n: int) -> Iterator[tuple[bool, bool]]:
    """Of each file: differs beyond the floor; differs."""
    rng = np.random.default_rng([17, RULES.index(rule), int(degrees) % 97, round(floor * 1e4)])
    logits = base(rng)
    held = Held(pool_of(logits), SamplingRule.declared(rule))
    clean = Dense(logits).log_probs()
    for i in range(n):
        noise = rng.standard_t(degrees, logits.shape) if degrees < 1e6 else rng.normal(size=logits.shape)
        noisy = Dense(logits + floor * noise / noise.std())
        ids, _ = SamplingRule.declared(drawn).apply(noisy).draw(rng.random(N_CONTEXTS))
        choice = profile_of(clean, ids, (0, 1)).token
        tokens, other = held.token_laws(choice)
        tested = tokens.is_tested
        kept = Alternatives(*(getattr(other, f.name)[tested] for f in fields(Alternatives)))
        bets = Bets.of(kept, tokens.position[tested])
        battery = held_against_laws(tokens, bets, seed=i, floor_nats=floor)
        yield battery.p_beyond_floor < ALPHA, battery.p_value < ALPHA


def row(rule: str, drawn: str, noise: str, floor: float, n: int) -> dict[str, Any]:
    seen = np.array(list(files(rule, drawn, NOISE[noise], floor, n)))
    beyond, plain = seen.sum(axis=0).tolist()
    rate = clopper_pearson(beyond, n)
    return {
        "declared": rule,
        "drawn": drawn,
        "noise": noise,
        "floor_nats": floor,
        "files": n,
        "differs": beyond,
        "differs_low": rate.low,
        "differs_high": rate.high,
        "without_floor": plain,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200, help="of each row (default 200)")
    n = parser.parse_args().files
    rows = []
    for rule, drawn in (*((r, r) for r in RULES), *PLANTED):
        for noise in NOISE:
            for floor in FLOORS:
                rows.append(row(rule, drawn, noise, floor, n))
                print(rows[-1], flush=True)
    write_files(
        HERE,
        {
            "edges.json": json_text(
                {"command": "python -m studies.verify.edges", "rows": rows, "provenance": provenance()}
            )
        },
    )


if __name__ == "__main__":
    main()
