"""What the gap of a mixture contains: the identity, the bounds, and what an optimal detector measures."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.errors import UsageError
from freerun.predictors.base import Continuations
from freerun.stats.detection.auc import auc
from freerun.worlds.authors import authors
from freerun.worlds.base import run
from freerun.worlds.markov import random_chain
from freerun.worlds.mixture import MixtureWorld
from studies.source_gap.gap import SourceGap, predictor_gap, source_gap

ONION = {"publication": "onion"}
ADA = {"publication": "onion", "author": "ada", "date": "friday"}


def documents_of(world: MixtureWorld, n: int, length: int, seed: int) -> list[np.ndarray]:
    return [np.array(d.ids) for d in world.corpus(n, length, seed=seed).documents]


@pytest.mark.parametrize("source", [ONION, ADA], ids=["some", "one"])
@pytest.mark.parametrize("first", [0, 5])
def test_the_ratio_is_the_rise_of_the_log_posterior(source: dict[str, str], first: int) -> None:
    """ln P_S/M from both laws, token by token, = ln π_t(S) − ln π_0(S)."""
    world = authors()
    part = world.given(source)
    documents = documents_of(part, 12, 45, 1)
    gap = source_gap(world, source, documents, first=first)
    laws = zip(part.log_probs(documents, first=first), world.log_probs(documents, first=first), strict=True)
    for row, (ids, (p, m)) in enumerate(zip(documents, laws, strict=True)):
        np.testing.assert_allclose(gap.log_ratio_nats[row], [0, *np.cumsum(p - m)], atol=1e-10)
        before = world.posterior(ids[:first])[-1, world.matching(source)].sum()
        np.testing.assert_allclose(gap.log_prior_nats[row], np.log(before), atol=1e-10)
    assert gap.log_ratio_nats.shape == (12, 46 - first)


def test_bounds_hold_and_are_reached() -> None:
    """From the start π_0 = ½: K → ln 2, TV → ½ and neither ever above (each document's ratio is at most −ln π_0)."""
    world = authors()
    gap = source_gap(world, ONION, documents_of(world.given(ONION), 200, 96, 2))
    assert gap.kl_at_most_nats == pytest.approx(np.log(2))
    assert gap.tv_at_most == pytest.approx(0.5)
    assert gap.auc_at_most == pytest.approx(0.75)
    assert (gap.log_ratio_nats <= np.log(2) + 1e-12).all()
    assert gap.kl_nats[-1] > np.log(2) - 0.01
    assert 0.48 < gap.total_variation[-1] <= 0.5 + 1e-12
    assert gap.kl_nats[0] == gap.total_variation[0] == 0
    assert (np.diff(gap.kl_nats[[0, 4, 16, 64]]) > 0).all()


def free_texts(world: MixtureWorld, prefixes: list[np.ndarray], length: int) -> list[np.ndarray]:
    keys = np.arange(len(prefixes), dtype=np.uint64)[:, None]
    samples = sorted(world.generate(Continuations(prefixes, keys, length, seed=3)), key=lambda s: s.row)
    return [
        np.concatenate([p, s.observation.token_id]).astype(np.int64) for p, s in zip(prefixes, samples, strict=True)
    ]


@pytest.mark.parametrize(("first", "n"), [(0, 400), (4, 400)])
def test_the_best_detector_levels_off_where_the_posterior_says(first: int, n: int) -> None:
    """AUC of the likelihood ratio itself on 400 real and 400 free texts. Below the bound at every length but for 4 Hanley–McNeil
    standard errors (false alarms 3e-5 a length, 7 lengths); from the start it comes within 0.02 + 4 errors of it."""
    world = authors()
    real = documents_of(world.given(ONION), n, first + 64, 4)
    free = free_texts(world, [d[:first] for d in real], 64)
    gap, other = (source_gap(world, ONION, texts, first=first) for texts in (real, free))
    np.testing.assert_allclose(gap.log_prior_nats, other.log_prior_nats, atol=1e-10)
    curve = [auc(gap.log_ratio_nats[:, t], other.log_ratio_nats[:, t]) for t in (1, 2, 4, 8, 16, 32, 64)]
    error = np.sqrt(0.75 * 0.25 / n)
    assert max(curve) <= gap.auc_at_most + 4 * error
    assert curve[-1] > curve[0]
    # TV from the real side alone agrees with P_real(π up) − P_free(π up), the best test's gain
    best = np.mean(gap.log_ratio_nats[:, -1] > 0) - np.mean(other.log_ratio_nats[:, -1] > 0)
    assert abs(best - gap.total_variation[-1]) < 5 / np.sqrt(n)
    if first == 0:
        assert abs(curve[-1] - gap.auc_at_most) <= 0.02 + 4 * error


def test_the_auc_bound_by_hand() -> None:
    """Two prefixes, half the documents each, π_0 = 0.2 and 0.8; the other sources write what P never does. The ratio 1/π_0 (0 on
    what P never writes) has AUC 1 − ½·E min(π, π′) = 0.825, above 1 − ½·E π = 0.75, which only holds for one prefix."""
    n = 40
    prior = np.array([0.2, 0.8] * n)
    real = 1 / prior
    weight = np.concatenate([prior, 1 - prior])  # free texts: P's part, the others' part
    free = np.concatenate([1 / prior, np.zeros(2 * n)])
    wins = (real[:, None] > free) + 0.5 * (real[:, None] == free)
    reached = float((wins * weight).sum() / wins.shape[0] / weight.sum())
    assert reached == pytest.approx(0.825)
    bound = SourceGap(np.log(prior), np.zeros((2 * n, 1))).auc_at_most
    assert bound == pytest.approx(0.825, abs=0.005)  # pairs of two different documents
    assert SourceGap(np.log([0.2, 0.8]), np.zeros((2, 1))).auc_at_most == pytest.approx(0.9)
    assert SourceGap(np.log([0.5]), np.zeros((1, 1))).auc_at_most == pytest.approx(0.75)


def test_a_longer_prefix_leaves_less_of_it_and_the_predictors_own_error_grows() -> None:
    world = authors()
    documents = documents_of(world.given(ONION), 40, 160, 6)
    left = [source_gap(world, ONION, documents, first=first).kl_at_most_nats for first in (0, 8, 32, 64)]
    assert (np.diff(left) < 0).all()
    assert left[-1] < 0.01
    other = random_chain(8, seed=9, concentration=3.0)
    own = predictor_gap(world, other, documents, first=32).mean(0)
    assert own[0] == 0
    assert own[128] > 1.5 * own[64] > 3
    parts = source_gap(world, ONION, documents, first=32).log_ratio_nats + predictor_gap(
        world, other, documents, first=32
    )
    p, q = (m.log_probs(documents, first=32) for m in (world.given(ONION), other))
    np.testing.assert_allclose(parts[:, -1], [(a - b).sum() for a, b in zip(p, q, strict=True)], atol=1e-9)


def test_what_has_no_gap_is_refused() -> None:
    world = authors()
    with pytest.raises(UsageError, match="no document"):
        source_gap(world, ONION, [])
    with pytest.raises(UsageError, match="3 tokens has no prefix of 5"):
        source_gap(world, ONION, [np.array([0, 1, 2])], first=5)
    with pytest.raises(UsageError, match="no latent"):
        source_gap(world, {"paper": "onion"}, [np.array([0])])


def test_run_draws_from_uniforms() -> None:
    world = authors()
    assert [len(x) for x in run(world, np.zeros((0, 5)))] == []
    assert [len(x) for x in run(world, np.zeros((2, 0)))] == [0, 0]
