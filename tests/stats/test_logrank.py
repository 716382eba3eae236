import numpy as np
import pytest

from freerun.errors import DataError
from freerun.stats.loops.logrank import stratified_log_rank

# Thirty texts: time in fours of tokens (ties), cause 0 cap, 1 loop, 2 end of text; every third is of the second kind.
# Made by np.random.default_rng(7): (permutation(arange(1, 61))[:30] + 3) // 4 and choice([0, 1, 2], 30, p=[.3, .4, .3]).
TIME = np.array([5, 5, 14, 1, 14, 10, 4, 10, 3, 15, 7, 8, 2, 9, 12, 2, 7, 6, 6, 15, 12, 11, 15, 1, 13, 3, 9, 4, 13, 13])
CAUSE = np.array([0, 0, 2, 1, 2, 1, 2, 0, 1, 1, 2, 1, 1, 0, 1, 1, 0, 2, 1, 2, 1, 1, 1, 1, 0, 1, 0, 1, 0, 2])
FIRST = np.arange(30) % 3 != 0


def test_one_stratum_is_the_log_rank_test_of_lifelines() -> None:
    """lifelines 0.30.3: logrank_test(TIME[FIRST], TIME[~FIRST], CAUSE[FIRST] == 1, CAUSE[~FIRST] == 1)."""
    found = stratified_log_rank(TIME, CAUSE, FIRST, np.zeros(30, int))
    assert found.chi_square == pytest.approx(3.20558289061518, rel=1e-12)
    assert found.p_value == pytest.approx(0.07338735444165552, rel=1e-10)


@pytest.mark.parametrize(
    ("size", "chi_square", "p"),
    [(3, 2.3902439024390225, 0.12209457811740776), (10, 3.6401625072547876, 0.05640142881233967)],
)
def test_strata_are_those_of_statsmodels(size: int, chi_square: float, p: float) -> None:
    """statsmodels 0.15.0: survdiff(TIME, CAUSE == 1, FIRST, strata=arange(30) // size), as integers."""
    found = stratified_log_rank(TIME, CAUSE, FIRST, np.arange(30) // size)
    assert found.chi_square == pytest.approx(chi_square, rel=1e-12)
    assert found.p_value == pytest.approx(p, rel=1e-10)


def test_by_hand() -> None:
    # document 0: own loops at 2, own ends at 3, real goes on to 5: at 2 three at risk, two own: E = 2/3, V = 2/9
    # document 1: own loops at 4 and at 4, real goes on: E = 2 * 2/3, V = 2 * 2/3 * 1/3 * (3 - 2)/(3 - 1) = 2/9
    # document 2: the real one loops at 5 after both own ones ended: nothing to compare with, E = 0, V = 0
    time, cause = np.array([2, 3, 5, 4, 4, 5, 1, 2, 5]), np.array([1, 2, 0, 1, 1, 0, 2, 2, 1])
    found = stratified_log_rank(time, cause, np.arange(9) % 3 < 2, np.arange(9) // 3)
    assert (found.observed, found.n_events, found.n_strata, found.n_informative) == (3, 4, 3, 2)
    assert found.expected == pytest.approx(2.0)
    assert found.variance == pytest.approx(4 / 9)
    assert found.chi_square == pytest.approx(9 / 4)
    # own counts 1 + 2 of (0, 1) with law (1/3, 2/3) and (1, 2) with law (2/3, 1/3): 3 has 2/9, 2 has 5/9, 1 has 2/9
    assert found.p_exact == pytest.approx(4 / 9)


def test_no_event_tells_nothing() -> None:
    found = stratified_log_rank(np.array([5, 5]), np.zeros(2, int), np.array([True, False]), np.zeros(2, int))
    assert (found.chi_square, found.p_value, found.p_exact, found.n_informative) == (None, 1.0, 1.0, 0)


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="one each"):
        stratified_log_rank(np.array([5, 5]), np.zeros(2, int), np.array([True]), np.zeros(2, int))


def test_size_with_unequal_ends_and_very_unequal_documents() -> None:
    """1,000 trials of 40 documents, two own texts that may end and a real one that cannot, the same loop hazard in a document
    and a thousandfold range between documents. Nominal 5%: chi-square may reject in 3.1% to 7.3% (left with probability .002),
    the exact one in at most 7.3%."""
    rng = np.random.default_rng(11)
    strata, own = np.repeat(np.arange(40), 3), np.arange(120) % 3 < 2
    rejected = np.zeros(2)
    for _ in range(1000):
        hazard = (10.0 ** rng.uniform(-3, -0.5, 40))[strata]
        loop, end = rng.geometric(hazard), np.where(own, rng.geometric(0.03, 120), 1000)
        time = np.minimum(np.minimum(loop, end), 50)
        cause = np.where(loop == time, 1, np.where(end == time, 2, 0))
        found = stratified_log_rank(time, cause, own, strata)
        rejected += (found.p_value < 0.05, found.p_exact < 0.05)
    assert 0.031 <= rejected[0] / 1000 <= 0.073
    assert rejected[1] / 1000 <= 0.073


def test_power_against_twice_the_hazard() -> None:
    """200 trials of 100 documents, hazards 0.02 and 0.04 over 64 tokens: about 0.93 are rejected; below 0.85 with probability
    under .0001."""
    rng = np.random.default_rng(12)
    strata, own = np.repeat(np.arange(100), 3), np.arange(300) % 3 < 2
    rejected = 0
    for _ in range(200):
        loop = rng.geometric(np.where(own, 0.04, 0.02))
        found = stratified_log_rank(np.minimum(loop, 64), (loop <= 64).astype(int), own, strata)
        rejected += found.p_exact < 0.05
    assert rejected / 200 > 0.85
