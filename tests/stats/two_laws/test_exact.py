"""Statistics of two laws against enumeration of every text."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.stats.two_laws.best_detector import auc_range, best_detector, mixed_auc
from freerun.stats.two_laws.certificate import mixed_terms, tv_terms
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


@pytest.mark.parametrize("name", PAIRS)
def test_what_a_text_of_either_says_has_the_mean_tv(name: str) -> None:
    """½ Σ (P + Q) |tanh(L/2)| = ½ Σ |P − Q|, with half the texts of each; where a law gives a text no mass, L is infinite."""
    laws, p, q = every_text(PAIRS[name])
    truths = np.array([PAIRS[name].truth(int(n))[1] for n in LENGTHS])
    found = 0.5 * (p @ mixed_terms(laws, LENGTHS) + q @ mixed_terms(laws.swapped, LENGTHS))
    assert found == pytest.approx(truths, abs=1e-10)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("n_tokens", [1, 2, 4])
def test_the_auc_is_the_mean_over_all_pairs_of_texts(name: str, n_tokens: int) -> None:
    """Σ P(x) Q(y) / (1 + e^(−|L(x) − L(y)|)) = AUC, over every pair of texts after every pair of prompts."""
    _, _, p, q = PAIRS[name].strings(n_tokens)
    with np.errstate(divide="ignore", invalid="ignore"):
        gaps = np.log(p) - np.log(q)
        mixed = mixed_auc(gaps[p > 0][:, None] - gaps[q > 0])
    assert p[p > 0] @ mixed @ q[q > 0] == pytest.approx(PAIRS[name].truth(n_tokens)[2], abs=1e-10)


def test_no_pair_says_more_by_its_order_than_by_its_size() -> None:
    """Of a pair of texts told by its two terms alone: the sign of S is 1 with chance 1/(1 + e^(−|S|)) given |S|."""
    _, _, p, q = PAIRS["tempered"].strings(3)
    gaps = np.log(p) - np.log(q)
    mass, size = np.outer(p, q).ravel(), np.round(gaps[:, None] - gaps, 9).ravel()
    for value in np.unique(np.abs(size))[1:]:
        up, down = mass[size == value].sum(), mass[size == -value].sum()
        assert up / (up + down) == pytest.approx(mixed_auc(np.array([value]))[0], abs=1e-8)


def test_one_prompt_counts_once_however_many_texts_it_has() -> None:
    """Two texts a unit on either side: averaged first, and never compared within the unit. By hand."""
    p_gaps = {0: [3.0, 1.0], 1: [0.0, 2.0], 2: [1.0], 3: [0.5]}
    q_gaps = {0: [2.0], 1: [-1.0, 0.0], 2: [-2.0], 3: [0.0]}

    def laws(gaps: dict[int, list[float]], writer: str) -> TwoLaws:
        unit = np.repeat(list(gaps), [len(v) for v in gaps.values()])
        return _of_gaps(np.concatenate(list(gaps.values())), unit=unit, writer=writer)

    found = best_detector(laws(p_gaps, "p"), laws(q_gaps, "q"), np.array([1]))
    pairs = [(u, v) for u in range(4) for v in range(4) if u != v]
    mixed = [np.mean([1 / (1 + np.exp(-abs(x - y))) for x in p_gaps[u] for y in q_gaps[v]]) for u, v in pairs]
    wins = [np.mean([(x > y) + 0.5 * (x == y) for x in p_gaps[u] for y in q_gaps[v]]) for u, v in pairs]
    assert found.auc[0].value == pytest.approx(np.mean(mixed), abs=1e-12)
    assert found.counted[0].value == pytest.approx(np.mean(wins), abs=1e-12)


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
    ours = _of_gaps(np.array([np.inf, 0.0, np.inf, 0.0]), unit=np.arange(4))
    theirs = _of_gaps(np.array([-np.inf, 0.0, -np.inf, 0.0]), unit=np.arange(4), writer="q")
    found = best_detector(ours, theirs, np.array([1]))
    # only units 1 and 3 have pairs that say nothing: two of twelve
    assert found.auc[0].value == pytest.approx((10 + 2 * 0.5) / 12)
    assert found.counted[0].value == pytest.approx((10 + 2 * 0.5) / 12)
    assert tv_terms(ours, np.array([1]))[:, 0].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert mixed_terms(theirs.swapped, np.array([1]))[:, 0].tolist() == [1.0, 0.0, 1.0, 0.0]
