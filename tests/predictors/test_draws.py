"""Draws depend on seed, key and position, and on nothing else."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from freerun.predictors.draws import sequence_key, uniforms

WORDS64 = st.integers(0, 2**63 - 1)


@settings(deadline=None)
@given(seed=WORDS64, key=WORDS64, short=st.integers(0, 20), more=st.integers(0, 20))
def test_a_longer_call_begins_with_the_same_values(seed: int, key: int, short: int, more: int) -> None:
    np.testing.assert_array_equal(uniforms(seed, key, short + more)[:short], uniforms(seed, key, short))


@settings(deadline=None)
@given(a=st.tuples(WORDS64, WORDS64), b=st.tuples(WORDS64, WORDS64))
def test_another_seed_or_key_gives_other_draws(a: tuple[int, int], b: tuple[int, int]) -> None:
    same = np.array_equal(uniforms(*a, 4), uniforms(*b, 4))
    assert same == (a == b)


def test_neighbouring_keys_do_not_overlap() -> None:
    """Counters of neighbouring keys must not run into each other: 200 keys × 500 draws of 53 bits, all different.

    A repeat by chance has probability (10^5)² / 2 / 2^53 < 1e-6.
    """
    every = np.concatenate([uniforms(0, key, 500) for key in range(200)])
    assert len(np.unique(every)) == len(every)


def test_values_are_53_bit_uniforms_below_one() -> None:
    """20,000 draws; Kolmogorov–Smirnov at level 1e-6 (the false-alarm probability), seed fixed after the level was chosen."""
    values = np.concatenate([uniforms(7, key, 100) for key in range(200)])
    assert ((values >= 0) & (values < 1)).all()
    assert (values * 2.0**53 == np.floor(values * 2.0**53)).all()
    assert stats.kstest(values, "uniform").pvalue > 1e-6
    assert (1 - 2.0**-53) < 1.0  # the largest one can be


def test_golden_values() -> None:
    """Philox 4x64-10 under key (seed, 0) and counter (1, 0, key, 0): NumPy counts up before its first block.

    Recipe: the ten rounds of Salmon et al. 2011 in Python integers, below.
    """
    mask, (m0, m1), (w0, w1) = (
        2**64 - 1,
        (0xD2E7470EE14C6C93, 0xCA5A826395121157),
        (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B),
    )

    def block(counter: list[int], key: list[int]) -> list[int]:
        for _ in range(10):
            a, b = m0 * counter[0], m1 * counter[2]
            counter = [(b >> 64) ^ counter[1] ^ key[0], b & mask, (a >> 64) ^ counter[3] ^ key[1], a & mask]
            key = [(key[0] + w0) & mask, (key[1] + w1) & mask]
        return counter

    wanted = [(x >> 11) * 2.0**-53 for n in (1, 2) for x in block([n, 0, 42, 0], [7, 0])]
    assert uniforms(7, 42, 8).tolist() == wanted


def test_keys_are_64_bit_and_parts_do_not_run_together() -> None:
    assert sequence_key("a", "bc") != sequence_key("ab", "c")
    assert sequence_key("doc", "free", 1) != sequence_key("doc", "free", 11)
    keys = {sequence_key(f"doc {i}", arm, j) for i in range(500) for arm in ("free", "tempered") for j in range(2)}
    assert len(keys) == 2000
    assert all(0 <= k < 2**64 for k in keys)


def test_every_bit_of_a_large_key_and_seed_counts() -> None:
    keys = [2**63 + i for i in (0, 1, 1024, 2048)] + [2**64 - 1, 2**64 - 2]
    assert len({uniforms(0, k, 1)[0] for k in keys}) == len(keys)
    seeds = [-1, -2, -1024, 2**63, 2**63 + 1]
    assert len({uniforms(s, 7, 1)[0] for s in seeds}) == len(seeds)
