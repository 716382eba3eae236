"""The tests of a sampler: by hand, their size on small and unlike laws, and what they see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from freerun.errors import DataError
from freerun.stats.intervals import clopper_pearson
from freerun.stats.recognition.monte_carlo_chi_square import chi_square
from freerun.stats.recognition.sampler_audit import (
    SamplerAudit,
    calibration_chi_square,
    pit_chi_square,
    rank_order_chi_square,
)
from freerun.stats.recognition.tilting import events_p, log_moment_bound, surprisal_p
from studies.sampler_audit.samplers import BF16, FLOAT32, SAMPLERS, Laws, by_law, gamma_chain, trials

RIGHT = by_law(lambda law: law)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- chi-square by simulation ------------------------------------------------------------------------------------------


def test_by_hand() -> None:
    # 40 tokens, 20 expected in each of two bins, 10 and 30 seen: 100/20 twice on one degree of freedom.
    # of Binomial(40, 1/2), P(at most 10 or at least 30) = .00221
    seen = calibration_chi_square(np.array([[4.0, 10.0], [6.0, 20.0]]), np.array([[8.0, 12.0], [12.0, 8.0]]), rng())
    assert (seen.statistic, seen.degrees) == (10.0, 1)
    assert seen.p_value == pytest.approx(2 * stats.binom.cdf(10, 40, 0.5), rel=0.7)


def test_the_simulated_tail_is_the_exact_one() -> None:
    """One cell expects 5 of 512 tokens and 14 come: chi-square's tail is four times too small. 40 seeds, the mean within 15%."""
    observed, expected = np.array([14.0, 498.0]), np.array([5.0, 507.0])
    statistic = float((np.square(observed - expected) / expected).sum())
    n = np.arange(513)
    extreme = (np.square(n - 5) / 5 + np.square(n - 5) / 507) >= statistic * (1 - 1e-12)
    exact = float(stats.binom.pmf(n[extreme], 512, 5 / 512).sum())
    assert exact > 4 * stats.chi2.sf(statistic, 1)
    assert chi_square(np.array([200.0, 312.0]), expected, rng()).p_value == 1 / 100_001
    assert np.mean([chi_square(observed, expected, rng(s)).p_value for s in range(40)]) == pytest.approx(
        exact, rel=0.15
    )


def test_thin_bins_are_pooled_with_their_neighbours() -> None:
    # expected 2 3 | 6 | 5 | 1 -> the last one joins the bin before it: groups of 5, 6 and 6
    observed = np.array([[1.0, 4.0, 6.0, 4.0, 2.0]])
    expected = np.array([[2.0, 3.0, 6.0, 5.0, 1.0]])
    seen = calibration_chi_square(observed, expected, rng())
    assert (seen.statistic, seen.degrees, seen.p_value) == (0.0, 2, pytest.approx(1, abs=0.01))
    assert calibration_chi_square(np.array([[3.0, 1.0]]), np.array([[2.0, 2.0]]), rng()).p_value == 1.0


def test_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        calibration_chi_square(np.ones((2, 3)), np.ones((2, 2)), rng())
    with pytest.raises(DataError, match="not negative"):
        calibration_chi_square(np.ones((2, 3)), -np.ones((2, 3)), rng())
    with pytest.raises(DataError, match="above 0"):
        chi_square(np.array([1.0, 1.0]), np.array([2.0, 0.0]), rng())
    with pytest.raises(DataError, match="lie in"):
        pit_chi_square(np.array([0.5, 1.5]), rng())


def test_the_last_cells_of_rank_order_see_a_truncation() -> None:
    """6,000 tokens of a law without its last hundredth: 20 equal cells do not see it at .001, narrow ones at the end do."""
    values = rng(3).random(6_000) * 0.99
    assert pit_chi_square(values, rng()).p_value > 0.001
    assert rank_order_chi_square(values, rng()).p_value < 1e-4


# ---- tilted supermartingales ---------------------------------------------------------------------------------------------


def test_events_by_hand() -> None:
    """One token, probability 1/4, variance 3/16: the tilt is sqrt(2 ln(20000) / (3/16)) = 10.3, cut to 2. It happens:
    the mean of e^2/(3/4 + e^2/4) = 2.845 and e^-2/(3/4 + e^-2/4) = 0.173 is 1.509."""
    up, down = np.exp(2) / (0.75 + np.exp(2) / 4), np.exp(-2) / (0.75 + np.exp(-2) / 4)
    p = events_p(np.array([True]), np.array([0.25]), n_tokens=1)
    assert p == pytest.approx(2 / (up + down))
    assert events_p(np.zeros(0, bool), np.zeros(0), n_tokens=0) == 1.0
    with pytest.raises(DataError, match="lie in"):
        events_p(np.array([True]), np.array([1.5]), n_tokens=1)


@pytest.mark.parametrize("shape", [0.03, 0.3, 5.0])
def test_the_bound_holds_for_every_law_and_is_close(shape: float) -> None:
    """E exp(tilt X) summed over each law: never above the bound, which is at most a tenth too high."""
    laws = Laws.of(gamma_chain(shape))
    excess = -laws.log_probs - laws.entropy[:, None]
    for tilt in (-0.25, -0.2, -0.125, -0.06, -0.003, 0.003, 0.03, 0.125, 0.2, 0.4, 0.5):
        bound = log_moment_bound(
            np.full(65, tilt), laws.entropy, laws.varentropy, laws.power_sums, (-0.25, -0.125, 0.125, 0.25, 0.5)
        )
        exact = np.log((laws.probs * np.exp(tilt * excess)).sum(axis=1))
        assert (exact <= bound + 1e-12).all()
        assert (bound <= 1.1 * exact + 3e-5 * tilt**2).all(), tilt


def test_an_impossible_token_fails_the_audit() -> None:
    one = np.ones(2)
    assert surprisal_p(np.array([-1.0, -np.inf]), one, one, np.ones((2, 1)), (0.5,), n_tokens=2) == 0.0
    assert SamplerAudit(p_z=0.0, p_pit=1.0, p_calibration=1.0, n_impossible=1).p_value == 0.0
    with pytest.raises(DataError, match="NaN"):
        surprisal_p(one, one * np.nan, one, np.ones((2, 1)), (0.5,), n_tokens=2)


# ---- all together ----------------------------------------------------------------------------------------------------------


def test_tests_without_columns_are_not_counted() -> None:
    assert SamplerAudit(0.1, 0.2, 0.3).p_value == pytest.approx(0.3)
    assert SamplerAudit(0.1, 0.2, 0.3, p_rank_order=0.01).p_value == pytest.approx(0.04)
    assert SamplerAudit(0.5, 0.6, 0.7).p_value == 1.0


@pytest.mark.parametrize(("shape", "rounding"), [(0.03, FLOAT32), (5.0, BF16)])
def test_size(shape: float, rounding: float) -> None:
    """300 audits of a right sampler at 512 tokens. No test rejects so often that its lower limit (one-sided 99.95%) is above the
    level: of 16 exact tests one does with probability .008. The study has 20,000."""
    laws = Laws.of(gamma_chain(shape))
    made = [t.p_values() for t in trials(laws, RIGHT, n_runs=300, texts=16, tokens=32, seed=(3, 1), rounding=rounding)]
    for test in made[0]:
        for alpha in (0.05, 0.01):
            hits = sum(p[test] <= alpha for p in made)
            assert clopper_pearson(hits, len(made), level=0.999).low <= alpha, (test, hits)
    assert sum(p["all"] <= 0.001 for p in made) <= 3


POWERFUL = {
    "temperature 0.9": ("z", "without_uniforms"),
    "top-p 0.9": ("rank_order", "calibration"),
    "repetition penalty 1.05": ("repeats",),
    "laws rounded to bf16": ("fresh",),
    "1 token in 100 from elsewhere": ("fresh",),
    "temperature 0.98": ("fresh",),
}


@pytest.mark.parametrize("name", POWERFUL)
def test_power(name: str) -> None:
    """Five audits of 60 texts of 128 tokens, all rejected at .001, by the tests that see such a fault too."""
    laws = Laws.of(gamma_chain(0.1))
    for trial in trials(laws, SAMPLERS[name], n_runs=5, texts=60, tokens=128, seed=(4, 1)):
        p = trial.p_values()
        assert p["all"] < 0.001
        assert all(p[test] < 0.001 for test in POWERFUL[name]), p
