"""Reported log-probabilities: ratios by hand, estimators against each other, and what the numbers are the logarithm of."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.stats.verification.reported import Meaning, explanations, meaning_of, ratios_of
from freerun.stats.verification.shared_seeds import shared_seeds

RNG = np.random.default_rng(1)
SEQUENCE = np.repeat(np.arange(20), 30)
POSITION = np.tile(np.arange(30), 20)
LAW = -RNG.exponential(2.0, 600)


def test_ratios_by_hand() -> None:
    found = ratios_of(np.log([0.5, 0.25]), np.log([0.5, 0.5]), np.array([0, 1]), np.array([0, 1]))
    assert found is not None
    assert found.k1_nats is not None
    assert found.k1_nats.value == pytest.approx(np.log(2) / 2)
    assert found.mean_ratio is not None
    assert found.mean_ratio.value == pytest.approx(0.75)
    assert found.chi2_token is not None
    assert found.chi2_token.value == pytest.approx((1 + 0.25) / 2 - 1)
    assert found.ess_token == pytest.approx(0.75**2 / 0.625)
    assert found.outside_band is not None
    assert found.outside_band.value == 0.5


def test_k1_minus_k3_is_one_minus_the_ratio_and_a_truncation_is_its_kept_mass() -> None:
    """Processed log-probabilities under a truncation that keeps 0.9: every ratio is 0.9."""
    found = ratios_of(LAW, LAW - np.log(0.9), SEQUENCE, SEQUENCE)
    assert found is not None
    assert found.k1_nats is not None
    assert found.k3_nats is not None
    assert found.mean_ratio is not None
    assert found.k1_nats.value - found.k3_nats.value == pytest.approx(1 - found.mean_ratio.value)
    assert found.mean_ratio.value == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("reported", "meaning"),
    [
        (LAW, "raw"),
        (LAW / 0.7 + 0.3, "heated"),
        (np.roll(LAW, -1), "shifted_left"),
        (np.roll(LAW, 1), "shifted_right"),
        (LAW / np.log(2), "base_2"),
        (-LAW, "sign_turned"),
        (RNG.permutation(LAW), "none"),
    ],
)
def test_what_the_numbers_are_of(reported: np.ndarray, meaning: Meaning) -> None:
    columns: dict[Meaning, np.ndarray] = {"raw": LAW, "heated": LAW / 0.7 + 0.3, "processed": LAW / 0.7 + 0.5}
    noisy = reported + 1e-3 * np.random.default_rng(2).normal(size=LAW.size)
    assert meaning_of(explanations(noisy, columns, SEQUENCE, POSITION), 1e-4) == meaning


def test_seeds_that_are_shared_are_told_from_a_law_that_shifts_all_draws() -> None:
    u = np.random.default_rng(3).random(600)
    assert shared_seeds(u, SEQUENCE, POSITION).p_value > 1e-3
    assert shared_seeds(np.clip(u + 0.2, 0, 1), SEQUENCE, POSITION).p_value > 1e-3
    assert shared_seeds(np.tile(u[:30], 20), SEQUENCE, POSITION).correlation > 0.9
