"""Publications × authors × dates, each setting a chain: the first shows at once, the second slowly, the third hardly ever.

As in R. Greenblatt's essay (*Two problems with 'Simulators' as a frame*, 2023): a prefix says soon that this is The Onion, late
who of its authors writes, and not on which day.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from freerun.errors import UsageError
from freerun.predictors.entries import text, whole
from freerun.worlds.base import WorldEntry, spec_name
from freerun.worlds.markov import MarkovWorld
from freerun.worlds.mixture import Latent, MixtureWorld

LATENTS = (
    Latent("publication", ("onion", "gazette")),
    Latent("author", ("ada", "ben")),
    Latent("date", ("monday", "friday")),
)
STRENGTH = {"publication": 0.6, "author": 0.2, "date": 0.03}
"""Size of what each latent adds to the logits of every transition: about 0.26, 0.037 and 0.0008 nats of evidence a token."""


def authors(seed: int = 0, *, n_symbols: int = 8) -> MixtureWorld:
    """Eight chains of order 1: the logits of a row are a part common to all and ± one part a latent, all Gaussian.

    The author's part differs from publication to publication.
    """
    if seed < 0:
        raise UsageError(f"seed={seed} must be a whole number ≥ 0")
    rng = np.random.default_rng(seed)
    shape = (n_symbols, n_symbols)
    common, publication, date = rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=shape)
    author = rng.normal(size=(2, *shape))
    name = spec_name("authors", seed=seed) if seed else "world/authors"
    chains = {}
    for p, a, d in product(range(2), repeat=3):
        logits = common + STRENGTH["publication"] * (-1) ** p * publication
        logits += STRENGTH["author"] * (-1) ** a * author[p] + STRENGTH["date"] * (-1) ** d * date
        table = np.exp(logits - logits.max(1, keepdims=True))
        values = tuple(latent.values[i] for latent, i in zip(LATENTS, (p, a, d), strict=True))
        told = "".join(f",{latent.name}={v}" for latent, v in zip(LATENTS, values, strict=True))
        chains[values] = MarkovWorld(table / table.sum(1, keepdims=True), name=name + told)
    return MixtureWorld(LATENTS, chains, name=name)


def _build(seed: int, **known: str | None) -> MixtureWorld:
    setting = {name: value for name, value in known.items() if value is not None}
    return authors(seed).given(setting) if setting else authors(seed)


AUTHORS = WorldEntry(
    "authors",
    "2 publications × 2 authors × 2 dates of chains; fix a latent to know it (publication=onion)",
    _build,
    (whole("seed", 0, "draws the chains"), *(text(x.name, " or ".join(x.values)) for x in LATENTS)),
)
