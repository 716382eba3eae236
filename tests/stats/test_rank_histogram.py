import numpy as np
import pytest

from freerun.errors import DataError
from freerun.stats.intervals import cluster_ratio
from freerun.stats.recognition.rank_histogram import rank_buckets, rank_histogram, rank_share_difference


def test_buckets_fit_the_vocabulary() -> None:
    assert [label for label, _ in rank_buckets(50_000)] == ["1", "2–10", "11–100", "101–1000", "> 1000"]
    assert rank_buckets(100) == (("1", 1), ("2–10", 10), ("11–100", None))
    assert rank_buckets(1) == (("1–1", None),)


def test_by_hand() -> None:
    rank = np.array([1, 2, 10, 11, 1, 1])
    groups = np.array([0, 0, 0, 0, 1, 1])
    found = rank_histogram(rank, groups, n_vocabulary=20_000)
    assert [s.value for s in found.share] == pytest.approx([3 / 6, 2 / 6, 1 / 6, 0, 0])
    golden = cluster_ratio((rank == 1).astype(float), np.ones(6), groups)
    assert found.share[0].low == max(golden.low, 0)
    assert found.share[0].high == min(golden.high, 1)
    # never seen in 2 documents: a document could still hold one with probability 1 - sqrt(.025)
    assert found.share[4].high == pytest.approx(1 - 0.025**0.5)
    with pytest.raises(DataError, match="from 1"):
        rank_histogram(np.array([0]), np.array([0]), n_vocabulary=9)


def test_difference_is_paired_by_document() -> None:
    # document 0: 1/2 against 1; document 1: 1 against 1/2; document 7 stands on one side only
    found = rank_share_difference(
        np.array([1, 2, 1, 1]), np.array([0, 0, 1, 7]), np.array([1, 1, 3]), np.array([0, 1, 1]), n_vocabulary=8
    )
    assert [d.value for d in found] == pytest.approx([0.0, 0.0])
    assert found[0].n == 2
    assert found[0].high == pytest.approx(12.706 * 0.5, rel=1e-3)  # t(1) times sd .7071 / sqrt 2

    # first minus second: one of two tokens of rank 1 against none, in both documents
    ranks, groups = np.array([1, 2, 1, 2]), np.array([0, 0, 1, 1])
    more = rank_share_difference(ranks, groups, np.full(4, 2), groups, n_vocabulary=8)
    assert [d.value for d in more] == pytest.approx([0.5, -0.5])


def test_shares_are_covered() -> None:
    """300 trials of 30 documents of 20 tokens whose own rates vary: 95% intervals of 3 buckets.

    Trials are independent but buckets are not; each bucket alone may miss at most 28 times, which a true coverage of 95% does with
    probability .001 (of 93.5%: .05).
    """
    rng = np.random.default_rng(4)
    missed = np.zeros(3, int)
    groups = np.repeat(np.arange(30), 20)
    for _ in range(300):
        rates = rng.dirichlet([4.0, 3.0, 2.0], 30)
        u = rng.random(600)
        first, second = np.repeat(rates[:, 0], 20), np.repeat(rates[:, :2].sum(axis=1), 20)
        rank = np.where(u < first, 1, np.where(u < second, 5, 50))
        for k, share in enumerate(rank_histogram(rank, groups, n_vocabulary=90).share):
            missed[k] += not share.low <= (4, 3, 2)[k] / 9 <= share.high
    assert (missed <= 28).all()
