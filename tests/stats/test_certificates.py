"""Certificates against known numbers, closed forms, and brute force over small laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from freerun.errors import DataError
from freerun.stats.bounds.certificates import (
    absorbing_tv,
    absorbing_tv_of_documents,
    binary_kl,
    bretagnolle_huber_tv,
    corrupted_tokens,
    event_ceiling,
    event_ceiling_of_counts,
    excess_of_mass,
    gilardoni_kl,
    gilardoni_tv,
    horizon_tokens,
    kl_proven,
    kl_proven_of_counts,
    largest_tv,
    pinsker_tv,
    smallest_kl,
)
from freerun.stats.intervals import clopper_pearson_high, clopper_pearson_low

KS = np.array([0.1, 0.5, 1, 2, 3, 5])
rates = st.floats(0, 1)


# ---- numbers that are known ------------------------------------------------------------------------------------


def test_one_percent_costs_what_methods_prints() -> None:
    nats = excess_of_mass(0.01)
    assert (f"{nats:.5f}", f"{nats / math.log(2):.4f}") == ("0.01005", "0.0145")
    assert abs(nats - 0.101) > 0.09  # as Greenblatt 2023 prints it
    assert f"{absorbing_tv(1000 * nats):.6f}" == "0.999957"
    assert f"{1 - 0.99**1000:.5f}" == "0.99996"


def test_largest_tv_as_printed() -> None:
    assert [f"{x:.3f}" for x in largest_tv(KS[:3])] == ["0.222", "0.486", "0.664"]
    assert [f"{x:.4f}" for x in largest_tv(KS[3:])] == ["0.8652", "0.9502", "0.9933"]
    assert [f"{x:.3f}" for x in absorbing_tv(KS[:3])] == ["0.095", "0.393", "0.632"]
    assert [f"{x:.4f}" for x in absorbing_tv(KS[3:])] == ["0.8647", "0.9502", "0.9933"]


def test_horizons_as_printed() -> None:
    found = [horizon_tokens(excess_of_mass(0.01), tv) for tv in (0.1, 0.25, 0.5, 0.9, 0.99)]
    assert [h.guaranteed_tokens for h in found] == [1, 12, 52, 229, 458]
    assert [h.absorbing_tokens for h in found] == [11, 29, 69, 230, 459]
    assert [h.guaranteed_tokens for h in (horizon_tokens(0.01005, 0.5), horizon_tokens(0.01005, 0.99))] == [52, 458]


def test_loops_in_thirty_percent_prove_little() -> None:
    assert f"{kl_proven(0.001, 0.3):.2f}" == "0.35"


# ---- binary KL ---------------------------------------------------------------------------------------------------------


def test_binary_kl_by_hand_and_at_the_limits() -> None:
    # kl(1/2 || 1/4) = 1/2 ln 2 + 1/2 ln(2/3) = 1/2 ln(4/3)
    assert binary_kl(0.5, 0.25) == pytest.approx(0.5 * math.log(4 / 3), abs=1e-15)
    assert [binary_kl(0.0, 0.0), binary_kl(1.0, 1.0)] == [0.0, 0.0]
    assert binary_kl(0.0, 0.3) == pytest.approx(-math.log(0.7), abs=1e-15)
    assert binary_kl(1.0, 0.3) == pytest.approx(-math.log(0.3), abs=1e-15)
    assert [binary_kl(0.2, 0.0), binary_kl(0.2, 1.0), binary_kl(0.0, 1.0), binary_kl(1.0, 0.0)] == [math.inf] * 4


@given(rates, rates)
def test_binary_kl_is_not_negative_and_blind_to_names(a: float, b: float) -> None:
    assert binary_kl(a, b) >= 0
    if min(a, b, 1 - a, 1 - b) > 1e-3:
        assert binary_kl(1 - a, 1 - b) == pytest.approx(binary_kl(a, b), abs=1e-12)


# ---- total variation and K: a second way -------------------------------------------------------------------------------


def three_point_laws(steps: int) -> np.ndarray:
    return np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps


def tv_and_kl(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 0.5 * np.abs(p - q).sum(axis=-1), special.rel_entr(p, q).sum(axis=-1)


def test_no_pair_of_three_point_laws_beats_the_certificate_and_some_reach_it() -> None:
    laws = three_point_laws(30)
    tv, kl = tv_and_kl(laws[:, None, :], laws[None, :, :])
    at = np.round(30 * tv).astype(int)
    exact = smallest_kl(np.arange(31) / 30)
    assert (kl >= exact[at] - 1e-12).all()
    least = np.array([kl[at == i].min() for i in range(30)])
    assert (least[:25] - exact[:25] < 0.006).all()
    assert least[15] == pytest.approx(exact[15], abs=1e-3)


def test_random_laws_never_violate_the_certificate() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 5, 9):
        for concentration in (0.1, 1.0, 10.0):
            p, q = rng.dirichlet(np.full(size, concentration), (2, 500))
            tv, kl = tv_and_kl(p, q)
            assert (kl >= smallest_kl(tv) - 1e-12 - 1e-14 / (1 - tv)).all()  # tv itself is rounded
            assert (tv <= largest_tv(kl) + 1e-10).all()


def test_smallest_kl_is_the_minimum_of_a_fine_grid() -> None:
    for tv in (0.02, 0.3, 0.7, 0.97):
        q = np.linspace(0, 1 - tv, 200_001)[1:]
        grid = binary_kl(np.minimum(q + tv, 1.0), q).min()
        assert smallest_kl(tv) == pytest.approx(grid, abs=1e-8)
        assert smallest_kl(tv) <= grid + 1e-15


def test_golden_smallest_kl() -> None:
    golden = {  # mpmath, 50 digits, golden-section search over q
        1e-6: 2.0000000000004442634e-12,
        0.005: 0.000050000277781481548526,
        0.0099: 0.0001960242695387810439,
        0.1: 0.020044683157952952327,
        0.5: 0.53229790889199995063,
        0.9: 2.3021828844129878682,
        0.99: 4.6051701859880904799,
    }
    for tv, kl in golden.items():
        assert smallest_kl(tv) == pytest.approx(kl, rel=1e-13)


def test_ends() -> None:
    assert smallest_kl(0.0) == 0.0
    assert smallest_kl(1.0) == math.inf
    assert [largest_tv(0.0), absorbing_tv(0.0), gilardoni_tv(0.0)] == [0.0, 0.0, 0.0]
    assert event_ceiling(0.3, 0.0) == pytest.approx(0.3, abs=1e-8)
    assert [largest_tv(math.inf), absorbing_tv(math.inf), bretagnolle_huber_tv(math.inf)] == [1.0, 1.0, 1.0]
    just = np.array([0.01 - 1e-9, 0.01, 0.01 + 1e-9])
    assert np.diff(smallest_kl(just)) == pytest.approx(np.diff(2 * just**2), rel=1e-3)  # the series meets the minimum


@given(st.floats(0, 0.999999))
@settings(max_examples=20, deadline=None)
def test_largest_tv_is_the_inverse(tv: float) -> None:
    assert largest_tv(smallest_kl(tv)) == pytest.approx(tv, abs=1e-10)


@given(st.floats(0, 30))
@settings(max_examples=20, deadline=None)
def test_bounds_stand_in_their_order(k: float) -> None:
    exact = largest_tv(k)
    assert absorbing_tv(k) - 1e-12 <= exact
    for bound in (pinsker_tv, bretagnolle_huber_tv, gilardoni_tv):
        assert exact <= bound(k) + 1e-12
        assert bound(k) <= 1


def test_closed_forms_by_hand() -> None:
    assert pinsker_tv(0.5) == 0.5
    assert pinsker_tv(8.0) == 1.0
    assert bretagnolle_huber_tv(math.log(4)) == pytest.approx(math.sqrt(0.75), abs=1e-15)
    # Gilardoni 2010 in its own variable V = 2 tv, at V = 1: ln 2 - 1/2 ln(3/2)
    assert gilardoni_kl(0.5) == pytest.approx(math.log(2) - 0.5 * math.log(1.5), abs=1e-15)
    for tv in (1e-9, 0.009, 0.011, 0.5):
        assert gilardoni_tv(gilardoni_kl(tv)) == pytest.approx(tv, rel=1e-9)
    just = np.array([0.01 - 1e-9, 0.01 + 1e-9])
    assert np.diff(gilardoni_kl(just)) == pytest.approx(2e-9 * (4 * 0.01 - 1.5 * 0.01**2), rel=1e-3)
    # and it improves Vajda's bound ln((1 + tv)/(1 - tv)) - 2 tv/(1 + tv) everywhere, as the paper says
    tv = np.linspace(0, 0.999, 500)
    assert (gilardoni_kl(tv) >= np.log((1 + tv) / (1 - tv)) - 2 * tv / (1 + tv) - 1e-12).all()


def test_arrays_are_element_by_element() -> None:
    grid = KS.reshape(2, 3)
    for f in (largest_tv, pinsker_tv, bretagnolle_huber_tv, gilardoni_tv, absorbing_tv):
        assert f(grid).shape == (2, 3)
        assert f(grid)[1, 2] == pytest.approx(f(5.0), abs=1e-14)
        assert type(f(5.0)) is float


# ---- lengths -----------------------------------------------------------------------------------------------------------


@given(st.floats(1e-6, 2), st.floats(0.001, 0.999))
@settings(max_examples=20, deadline=None)
def test_horizon_is_the_last_length_that_is_safe(excess: float, tv: float) -> None:
    found = horizon_tokens(excess, tv)
    safe = found.guaranteed_tokens
    assert largest_tv(safe * excess) <= tv + 1e-9
    assert largest_tv((safe + 1) * excess) >= tv - 1e-9
    reached = found.absorbing_tokens
    assert absorbing_tv(reached * excess) >= tv - 1e-9
    assert absorbing_tv((reached - 1) * excess) <= tv + 1e-9
    assert safe <= reached


def test_a_level_reached_exactly_is_reached() -> None:
    assert horizon_tokens(math.log(2), 0.5).absorbing_tokens == 1
    assert horizon_tokens(math.log(2) / 7, 0.5).absorbing_tokens == 7


def test_corrupted_tokens_is_the_sum_over_tokens() -> None:
    for mass in (1e-9, 0.01, 0.3, 1.0):
        for tokens in (0, 1, 2, 50):
            by_hand = math.fsum(-math.expm1(t * math.log1p(-mass)) if mass < 1 else 1.0 for t in range(1, tokens + 1))
            assert corrupted_tokens(mass, tokens) == pytest.approx(by_hand, rel=1e-6)
    assert corrupted_tokens(1e-4, 100) == pytest.approx(1e-4 * 100**2 / 2, rel=0.02)


def test_documents_that_end() -> None:
    # half of the documents have 1 token, half 3: 1 - (0.9 + 0.729)/2
    assert absorbing_tv_of_documents(0.1, np.array([1, 3])) == pytest.approx(1 - (0.9 + 0.729) / 2, abs=1e-15)
    assert absorbing_tv_of_documents(0.1, np.array([1, 3]), np.array([3.0, 1.0])) == pytest.approx(
        1 - (3 * 0.9 + 0.729) / 4, abs=1e-15
    )
    assert absorbing_tv_of_documents(0.01, np.full(5, 40)) == pytest.approx(absorbing_tv(40 * excess_of_mass(0.01)))
    assert absorbing_tv_of_documents(1.0, np.array([0, 2])) == 0.5
    # enumerated: every text of a fair binary source that ends with probability 1/2 a token, up to 40 tokens
    lengths = np.arange(1, 41)
    by_sum = math.fsum(0.5**n * (1 - 0.9**n) for n in range(1, 41))
    assert absorbing_tv_of_documents(0.1, lengths, 0.5**lengths) == pytest.approx(by_sum / (1 - 0.5**40), abs=1e-12)


# ---- events ------------------------------------------------------------------------------------------------------------


def test_event_ceiling_is_tight() -> None:
    for a in (0.0, 0.001, 0.3, 0.9):
        for k in (0.01, 0.35, 2.0):
            q = event_ceiling(a, k)
            assert q >= a
            assert binary_kl(a, q) == pytest.approx(k, abs=1e-7)  # q is a double near 1
    assert event_ceiling(0.0, KS) == pytest.approx(1 - np.exp(-KS), abs=1e-14)
    assert event_ceiling(1.0, 0.2) == 1.0


def test_no_three_point_law_has_the_event_more_often() -> None:
    laws = three_point_laws(24)
    _, kl = tv_and_kl(laws[:, None, :], laws[None, :, :])
    for i in range(len(laws)):
        finite = np.isfinite(kl[i])
        assert (laws[finite, 0] <= event_ceiling(float(laws[i, 0]), kl[i, finite]) + 1e-9).all()


@given(rates, rates)
def test_proof_and_ceiling_are_inverse(base: float, observed: float) -> None:
    k = kl_proven(base, observed)
    assert k >= 0
    if observed > base and k < 20:
        assert event_ceiling(base, k) == pytest.approx(observed, abs=1e-7)
    if observed <= base:
        assert k == 0


def test_counts_go_through_their_limits() -> None:
    found = kl_proven_of_counts(1, 1000, 30, 100, level=0.9)
    assert found.base_high == clopper_pearson_high(1, 1000, alpha=0.05)
    assert found.observed_low == clopper_pearson_low(30, 100, alpha=0.05)
    assert found.kl_nats == kl_proven(found.base_high, found.observed_low)
    assert 0 < found.kl_nats < kl_proven(0.001, 0.3)
    assert (found.level, found.n_base, found.n_observed) == (0.9, 1000, 100)
    ceiling = event_ceiling_of_counts(0, 50, 0.1, level=0.9)
    assert ceiling.base_high == clopper_pearson_high(0, 50, alpha=1 - 0.9)
    assert ceiling.ceiling == event_ceiling(ceiling.base_high, 0.1) > event_ceiling(0.0, 0.1)


# ---- out of range ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: smallest_kl(1.2), "tv is 1.2"),
        (lambda: largest_tv(-0.1), "kl_nats is -0.1"),
        (lambda: largest_tv(math.nan), "kl_nats is nan"),
        (lambda: largest_tv(np.array([1.0, -1.0])), "kl_nats"),
        (lambda: binary_kl(0.5, -0.1), "b is -0.1"),
        (lambda: event_ceiling(1.5, 1.0), "base_rate is 1.5"),
        (lambda: horizon_tokens(0.0, 0.5), "positive excess"),
        (lambda: horizon_tokens(math.inf, 0.5), "positive excess"),
        (lambda: horizon_tokens(0.1, 1.0), "strictly between"),
        (lambda: excess_of_mass(2.0), "mass is 2.0"),
        (lambda: corrupted_tokens(0.0, 3), "mass is 0.0"),
        (lambda: absorbing_tv_of_documents(0.1, np.array([])), "at least one"),
        (lambda: absorbing_tv_of_documents(2.0, np.array([1.0])), "mass is 2.0"),
        (lambda: absorbing_tv_of_documents(0.1, np.array([1.0]), np.array([0.0])), "vanish"),
        (lambda: kl_proven_of_counts(3, 2, 1, 2), "not a proportion"),
        (lambda: event_ceiling_of_counts(1, 2, 1.0, level=1.0), "level is 1.0"),
    ],
)
def test_values_out_of_range_are_refused(call, said) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=said):
        call()
