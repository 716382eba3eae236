"""Statistics of two laws against enumeration of every text."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.stats.two_laws.best_detector import auc_range, best_detector
from freerun.stats.two_laws.certificate import tv_terms
from freerun.stats.two_laws.texts import TwoLaws, gap_sums, sums_to
from studies.two_laws.worlds import LENGTHS, PAIRS, Pair

TOKENS = int(LENGTHS[-1])


def every_text(pair: Pair) -> tuple[TwoLaws, np.ndarray, np.ndarray]:
    """All texts of a pair, and how probable they are under p and under q."""
    symbols, kind, p, q = pair.strings(TOKENS)
    return pair.along(symbols, kind, np.arange(kind.size)), p, q


@pytest.mark.parametrize("name", PAIRS)
def test_both_means_are_k(name: str) -> None:
    """Σ kl and L_T have the mean Σ P ln P/Q, at every length and in both directions."""
    pair = PAIRS[name]
    laws, p, q = every_text(pair)
    turned = Pair(pair.q, pair.p, pair.kinds, pair.ends, "")
    for mass, side, truths in (
        (p, laws, [pair.truth(int(n))[0] for n in LENGTHS]),
        (q, laws.swapped, [turned.truth(int(n))[0] for n in LENGTHS]),
    ):
        assert mass.sum() == pytest.approx(1.0, abs=1e-12)
        assert mass @ sums_to(side.kl_pq, side, LENGTHS) == pytest.approx(np.array(truths), abs=1e-10)
        assert mass @ gap_sums(side, LENGTHS) == pytest.approx(np.array(truths), abs=1e-10)


@pytest.mark.parametrize("name", PAIRS)
def test_both_sides_have_the_mean_tv(name: str) -> None:
    pair = PAIRS[name]
    laws, p, q = every_text(pair)
    truths = np.array([pair.truth(int(n))[1] for n in LENGTHS])
    assert p @ tv_terms(laws, LENGTHS) == pytest.approx(truths, abs=1e-10)
    assert q @ tv_terms(laws.swapped, LENGTHS) == pytest.approx(truths, abs=1e-10)


@pytest.mark.parametrize("name", PAIRS)
def test_tv_and_auc_rise_and_bound_each_other(name: str) -> None:
    truths = np.array([PAIRS[name].truth(n) for n in range(1, TOKENS + 1)])
    assert (np.diff(truths, axis=0) >= -1e-12).all()
    for _, tv, auc in truths:
        low, high = auc_range(float(min(tv, 1.0)))
        assert low - 1e-12 <= auc <= high + 1e-12


def test_the_auc_is_that_of_the_pair_of_texts() -> None:
    """AUC = ½(1 + TV(P⊗Q, Q⊗P)), over all pairs of 27 texts."""
    _, _, p, q = PAIRS["apart"].strings(3)
    joint = np.outer(p, q)
    assert PAIRS["apart"].truth(3)[2] == pytest.approx(0.5 * (1 + 0.5 * np.abs(joint - joint.T).sum()), abs=1e-12)


DYADIC = Pair(
    np.full((1, 2, 2), 0.5),
    np.array([[[0.25, 0.75], [0.75, 0.25]]]),
    np.ones(1),
    False,
    "every text so often as it is probable",
)


def multiples(law: str, n_tokens: int) -> TwoLaws:
    """Texts of up to n tokens, each as often as 4^n times its probability, each of a unit of its own."""
    symbols, kind, p, q = DYADIC.strings(n_tokens)
    times = np.round((p if law == "p" else q) * 4**n_tokens).astype(int)
    rows = np.repeat(np.arange(kind.size), times)
    unit = np.arange(rows.size) + (0 if law == "p" else 10**6)
    return DYADIC.along(symbols[rows], kind[rows], unit)


def test_the_auc_equals_enumeration() -> None:
    """64 texts of each law, in their exact proportions, all after different prompts."""
    lengths = np.array([1, 2, 3])
    found = best_detector(multiples("p", 3), multiples("q", 3), lengths)
    truths = [DYADIC.truth(int(n))[2] for n in lengths]
    assert [a.value for a in found.auc] == pytest.approx(truths, abs=1e-10)
    assert found.influence.sum(axis=1) == pytest.approx(np.zeros(3), abs=1e-12)
    assert found.falls == ()


def test_one_prompt_counts_once_however_many_texts_it_has() -> None:
    """Two texts a unit on either side: averaged first, and never compared within the unit. By hand."""
    values = np.array([3.0, 1.0, 0.0, 2.0])
    laws = _of_gaps(values, unit=np.array([0, 0, 1, 1]))
    other = _of_gaps(np.array([2.0, -1.0, 0.0]), unit=np.array([0, 1, 1]), writer="q")
    # unit 0 of p (3, 1) against unit 1 of q (−1, 0): all four above. Unit 1 of p (0, 2) against unit 0 of q (2): ½ of one, of two
    found = best_detector(laws, other, np.array([1]))
    assert found.auc[0].value == pytest.approx((1.0 + 0.25) / 2)


def _of_gaps(gaps: np.ndarray, *, unit: np.ndarray, writer: str = "p") -> TwoLaws:
    """Texts of one token whose L is given."""
    zero = np.zeros((gaps.size, 1))
    small = np.full((gaps.size, 1), -5.0)
    return TwoLaws(
        unit=unit,
        n_tokens=np.ones(gaps.size, dtype=int),
        ended=np.zeros(gaps.size, dtype=bool),
        log_p=small + gaps[:, None] if writer == "q" else small,
        log_q=small if writer == "q" else small - gaps[:, None],
        kl_pq=zero,
        kl_qp=zero,
        tv=zero,
        same_top=np.ones((gaps.size, 1), dtype=bool),
    )


def test_infinite_ratios_are_above_all_others() -> None:
    """A text that q cannot write is told for sure; TV and AUC stay finite."""
    ours = _of_gaps(np.array([np.inf, 0.0]), unit=np.array([0, 1]))
    theirs = _of_gaps(np.array([-np.inf, 0.0]), unit=np.array([0, 1]), writer="q")
    found = best_detector(ours, theirs, np.array([1]))
    assert found.auc[0].value == 1.0  # +inf against 0, and 0 against −inf
    assert tv_terms(ours, np.array([1]))[:, 0].tolist() == [1.0, 0.0]
    assert tv_terms(theirs.swapped, np.array([1]))[:, 0].tolist() == [1.0, 0.0]
