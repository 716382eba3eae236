"""Belief states: does a transformer carry the exact posterior over what is hidden, on real text and while it runs free?

Shai et al. 2024 (arXiv:2405.15943) read beliefs off the residual stream by one affine map. Here the map is fitted on real
text, and read on other real text and on texts that the same model wrote. Controls: posteriors of other texts, and the network
before its training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from freerun.jobs.lab.disagreement.blocks import Network
from freerun.jobs.lab.disagreement.ladders import position_bands
from freerun.jobs.lab.disagreement.plan import DisagreementPlan, stream
from freerun.jobs.lab.disagreement.texts import Texts
from freerun.jobs.lab.disagreement.training import new_network, sampled
from freerun.results.disagreement import Member
from freerun.stats.disagreement.probe import Probe, divergence_nats, explained, fit_probe
from freerun.worlds.base import World

Ids = Int[np.ndarray, "texts tokens"]
States = Float[np.ndarray, "texts tokens width"]
Posteriors = Float[np.ndarray, "texts tokens sources"]
_FIT_TEXTS = 400
_FREE_TEXTS = 200
KINDS = ("real text", "own text", "shuffled posteriors", "untrained network")


@dataclass(frozen=True)
class Beliefs:
    """R² and KL by kind, model and band of positions; `own_minus_real` pairs them by model. `certainty`: mean posterior
    entropy, nats."""

    models: tuple[str, ...]
    bands: tuple[tuple[int, int], ...]
    r2: dict[str, Float[np.ndarray, "models bands"]]
    kl: dict[str, Float[np.ndarray, "models bands"]]
    prior_kl: dict[str, Float[np.ndarray, "models bands"]]
    """KL of the posterior from its mean in the band: what a probe that reads nothing scores."""
    certainty: dict[str, Float[np.ndarray, "models bands"]]


def has_posterior(world: World[Any] | None) -> bool:
    """Whether something is hidden in a world."""
    return world is not None and len(world.sources) > 1


def read_beliefs(
    plan: DisagreementPlan, texts: Texts, members: Sequence[Member], networks: Sequence[Network]
) -> Beliefs:
    """Probe each of some trained networks."""
    world = texts.world
    assert world is not None
    fit, bands = texts.train[:_FIT_TEXTS], position_bands(plan.tokens)
    fitted, real = posteriors_of(world, fit), posteriors_of(world, texts.test)
    shuffled = fitted[stream(plan.seed, "shuffle").permutation(len(fitted))]
    tables: dict[str, dict[str, list[np.ndarray]]] = {
        what: {kind: [] for kind in KINDS} for what in ("r2", "kl", "prior_kl", "certainty")
    }
    for i, (member, network) in enumerate(zip(members, networks, strict=True)):
        uniforms = stream(plan.seed, "free", i).random((_FREE_TEXTS, plan.tokens))
        own = sampled(network, uniforms)
        blank = new_network(plan, member, texts.n_tokens)
        states = states_of(network, fit)
        probe = _fit(states, fitted)
        cases = {
            "real text": (probe, states_of(network, texts.test), real),
            "own text": (probe, states_of(network, own), posteriors_of(world, own)),
            "shuffled posteriors": (_fit(states, shuffled), states_of(network, texts.test), real),
            "untrained network": (_fit(states_of(blank, fit), fitted), states_of(blank, texts.test), real),
        }
        for kind, (probe, seen, true) in cases.items():
            for what, row in _read(probe, seen, true, bands).items():
                tables[what][kind].append(row)
    made = {what: {kind: np.array(rows) for kind, rows in by_kind.items()} for what, by_kind in tables.items()}
    return Beliefs(tuple(m.name for m in members), tuple(bands), **made)


def posteriors_of(world: World[Any], ids: Ids) -> Posteriors:
    """The exact posterior before every token."""
    return np.array([world.posterior(row)[:-1] for row in ids])


@torch.no_grad()
def states_of(network: Network, ids: Ids) -> States:
    """What all blocks leave, side by side, at the place from which a token is predicted."""
    return np.concatenate([s.double().numpy() for s in network.states(torch.as_tensor(ids))], -1)


def _fit(states: States, posteriors: Posteriors) -> Probe:
    return fit_probe(states.reshape(-1, states.shape[-1]), posteriors.reshape(-1, posteriors.shape[-1]))


def _read(
    probe: Probe, states: States, posteriors: Posteriors, bands: Sequence[tuple[int, int]]
) -> dict[str, Float[np.ndarray, " bands"]]:
    out: dict[str, list[float]] = {"r2": [], "kl": [], "prior_kl": [], "certainty": []}
    for start, stop in bands:
        true = posteriors[:, start:stop].reshape(-1, posteriors.shape[-1])
        said = probe.read(states[:, start:stop].reshape(-1, states.shape[-1]))
        out["r2"].append(explained(said, true))
        out["kl"].append(divergence_nats(said, true))
        out["prior_kl"].append(divergence_nats(np.tile(true.mean(0), (len(true), 1)), true))
        out["certainty"].append(float(-(true * np.log(np.maximum(true, 1e-300))).sum(1).mean()))
    return {what: np.array(values) for what, values in out.items()}
