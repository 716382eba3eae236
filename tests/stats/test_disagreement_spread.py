"""Divergences between models against plain loops, leave-one-out scores, and where disagreement sits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from freerun.errors import DataError
from freerun.stats.disagreement.budget import concentration, context_scores
from freerun.stats.disagreement.spread import (
    departure,
    generalised_js,
    leave_one_out,
    pairwise_js,
    spread_of_scores,
    top_disagreement,
)
from freerun.stats.intervals import percentile_tail

RNG = np.random.default_rng(0)
LAWS = RNG.dirichlet(np.full(5, 0.3), size=(4, 7))


def _entropy(law: np.ndarray) -> float:
    return -sum(p * math.log(p) for p in law if p > 0)


def test_generalised_js_by_loops() -> None:
    for t in range(7):
        mean = sum(LAWS[i, t] for i in range(4)) / 4
        js = _entropy(mean) - sum(_entropy(LAWS[i, t]) for i in range(4)) / 4
        assert generalised_js(LAWS)[t] == pytest.approx(js, abs=1e-12)


def test_pairs_and_departures_by_scipy() -> None:
    pairs, out = pairwise_js(LAWS), departure(LAWS)
    for i in range(4):
        rest = np.delete(LAWS, i, 0).mean(0)
        for j in range(4):
            expected = np.mean([jensenshannon(LAWS[i, t], LAWS[j, t]) ** 2 for t in range(7)])
            assert pairs[i, j] == pytest.approx(expected, abs=1e-12)
        assert out[i] == pytest.approx([jensenshannon(LAWS[i, t], rest[t]) ** 2 for t in range(7)], abs=1e-12)


def test_disjoint_laws_are_ln_models_apart() -> None:
    assert generalised_js(np.eye(3)[:, None]) == pytest.approx(np.log(3))


def test_equal_models_disagree_by_exactly_nothing() -> None:
    twice = np.stack([LAWS[0]] * 3)
    scores = np.log(LAWS[0, :, 0])
    assert generalised_js(twice).max() == pairwise_js(twice).max() == 0.0
    assert spread_of_scores(np.stack([scores] * 3)).max() == 0.0
    assert top_disagreement(twice.argmax(-1)).max() == 0.0


def test_leave_one_out_by_loops() -> None:
    logs = np.log(LAWS[:, :, 0] + 1e-9)
    for i in range(4):
        for t in range(7):
            others = [math.exp(logs[j, t]) for j in range(4) if j != i]
            assert leave_one_out(logs)[i, t] == pytest.approx(math.log(sum(others) / 3), abs=1e-12)


def test_a_model_has_no_part_in_its_own_leave_one_out_score() -> None:
    logs = np.log(LAWS[:, :, 0] + 1e-9)
    changed = logs.copy()
    changed[2] -= 5.0
    assert leave_one_out(changed)[2] == pytest.approx(leave_one_out(logs)[2], abs=1e-12)


def test_one_model_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 models"):
        generalised_js(LAWS[:1])


@pytest.mark.parametrize(("spent", "low", "high"), [(True, 0.85, 1.01), (False, -0.05, 0.05)])
def test_exponent_of_a_budget(spent: bool, low: float, high: float) -> None:
    """All of it in the rarest contexts goes as 1/m; the same everywhere does not grow."""
    rng = np.random.default_rng(1)
    log_probs = rng.normal(size=(60, 72))
    context = context_scores(log_probs, 8)
    rare = context <= np.nanquantile(context, 1 / 32)
    values = np.where(rare, 1.0, 0.0) if spent else np.ones(context.shape) + 0.01 * rng.random(context.shape)
    found = concentration(context, values, np.arange(60), masses=[2.0**-k for k in range(6)], rng=rng)
    assert low <= found.exponent.value <= high
    assert found.exponent.low <= found.exponent.value <= found.exponent.high


def test_spread_of_scores_by_hand() -> None:
    """Two models, 1 and 3: deviations 1 and 1, over n − 1 = 1."""
    assert spread_of_scores(np.array([[1.0], [3.0]])).tolist() == [math.sqrt(2.0)]


def test_a_context_is_the_tokens_before_and_never_the_token_itself() -> None:
    log_probs = RNG.normal(size=(3, 12))
    found = context_scores(log_probs, 4)
    assert np.isnan(found[:, :4]).all()
    for text in range(3):
        for t in range(4, 12):
            assert found[text, t] == pytest.approx(log_probs[text, t - 4 : t].mean(), abs=1e-12)


def test_concentration_by_loops() -> None:
    """Means of the least probable shares by sorting; limits from resampled documents whose every token comes along."""
    rng = np.random.default_rng(2)
    context, values = rng.normal(size=(12, 8)), rng.gamma(1.0, size=(12, 8))
    context[:, 0] = np.nan
    groups, masses = np.repeat(np.arange(6), 2), [1.0, 0.5, 0.25]
    found = concentration(context, values, groups, masses=masses, rng=np.random.default_rng(3))

    def read(documents: np.ndarray) -> np.ndarray:
        pairs = sorted(
            (context[i, t], values[i, t]) for d in documents for i in np.flatnonzero(groups == d) for t in range(1, 8)
        )
        means = [np.mean([v for _, v in pairs[: math.ceil(m * len(pairs))]]) for m in masses]
        return np.array([*means, -np.polyfit(np.log(masses), np.log(means), 1)[0]])

    assert [*(i.value for i in found.mean), found.exponent.value] == pytest.approx(read(np.arange(6)), abs=1e-12)
    draws = np.array([read(rng.integers(0, 6, 6)) for _ in range(2000)])
    tail = percentile_tail(6, 0.95)
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    width = high - low
    for k, interval in enumerate((*found.mean, found.exponent)):
        assert interval.n == 6
        assert interval.low == pytest.approx(low[k], abs=0.15 * width[k])
        assert interval.high == pytest.approx(high[k], abs=0.15 * width[k])
