import itertools

import numpy as np
import pytest
from scipy import stats

from freerun.errors import DataError
from freerun.stats.recognition.sampler_audit import pit_chi_square
from freerun.stats.recognition.self_recognition import e_process_log, monte_carlo_rank, pit_histogram, self_z

N_IDS = 12


def sampled(
    rng: np.random.Generator, n_sequences: int, length: int, *, temperature: float = 1.0, top_k: int | None = None
) -> dict[str, np.ndarray]:
    """Records of texts whose laws are Dirichlet draws, sampled from the law itself or from a distorted one."""
    q = rng.dirichlet(np.full(N_IDS, 0.5), n_sequences * length)
    used = q ** (1 / temperature)
    if top_k is not None:
        used = np.where(used >= np.sort(used, axis=1)[:, [-top_k]], used, 0)
    used = used / used.sum(axis=1, keepdims=True)
    ids = np.minimum((np.cumsum(used, axis=1) < rng.random((q.shape[0], 1))).sum(axis=1), N_IDS - 1)
    token = np.arange(q.shape[0])
    log_q = np.log(q)
    entropy = -(q * log_q).sum(axis=1)
    below = np.cumsum(q, axis=1)[token, ids] - q[token, ids]
    return {
        "log_prob": log_q[token, ids],
        "entropy": entropy,
        "varentropy": (q * log_q**2).sum(axis=1) - entropy**2,
        "pit": np.clip(below + rng.random(token.size) * q[token, ids], 0, 1),
        "power": np.stack([np.log((q ** (1 - x)).sum(axis=1)) for x in (-0.5, 0.5)], axis=1),
        "sequence": np.repeat(np.arange(n_sequences), length),
    }


def z_of(records: dict[str, np.ndarray], n: int) -> float:
    return self_z(records["log_prob"], records["entropy"], records["varentropy"], records["sequence"], n).z_total


def test_z_by_hand() -> None:
    # text 0: surprisals 2, 1 against entropies 1, 1: D = 1 + 0, V = 1 + 3, z = 1/2; text 1: D = -1, V = 1, z = -1
    # together D = 0, so z = 0 and p = 1; mean -1/4, sd of (.5, -1) = 1.5/sqrt(2)
    found = self_z(np.array([-2.0, -1.0, 0.0]), np.ones(3), np.array([1.0, 3.0, 1.0]), np.array([0, 0, 1]), 2)
    assert found.z_per_sequence.tolist() == [0.5, -1.0]
    assert (found.z_total, found.p_two_sided, found.mean, found.n) == (0.0, 1.0, -0.25, 2)
    assert found.sd == pytest.approx(1.5 / 2**0.5)


def test_certain_and_impossible_texts_are_counted_not_averaged() -> None:
    found = self_z(
        np.array([-2.0, -1.0, 0.0, -np.inf, -1.0]),
        np.array([1.0, 1.0, 0.0, 1.0, 0.0]),
        np.array([1.0, 1.0, 0.0, 1.0, 1.0]),
        np.array([0, 0, 1, 2, 3]),
        4,
    )
    assert np.isnan(found.z_per_sequence).tolist() == [False, True, True, False]
    assert (found.n, found.n_flat, found.n_impossible, found.p_two_sided) == (2, 1, 1, 0.0)
    flat = self_z(np.zeros(3), np.zeros(3), np.zeros(3), np.arange(3), 3)
    assert (flat.z_total, flat.p_two_sided, flat.mean, flat.n, flat.n_flat) == (None, 1.0, None, 0, 3)
    with pytest.raises(DataError, match="NaN"):
        self_z(np.full(3, np.nan), np.ones(3), np.ones(3), np.arange(3), 3)


def test_z_is_standard_normal_on_own_text_and_sees_other_samplers() -> None:
    # 500 own texts of 50 tokens: the sd of z has standard error .032, the mean .045; both allowed 4 of them
    # (false alarm 1e-4 together). 20 texts at temperature 0.8, or from the top 4 of 12, must be far out.
    rng = np.random.default_rng(1)
    own = sampled(rng, 500, 50)
    found = self_z(own["log_prob"], own["entropy"], own["varentropy"], own["sequence"], 500)
    assert found.n == 500
    assert abs(found.mean or 0) < 4 * 0.045
    assert abs((found.sd or 0) - 1) < 4 * 0.032
    assert abs(found.z_total) < 4
    assert z_of(sampled(rng, 20, 50, temperature=0.8), 20) < -4
    assert z_of(sampled(rng, 20, 50, top_k=4), 20) < -4


def test_size_of_z() -> None:
    # 1000 own texts of 60 tokens, one test each at 5%: allowed 26 .. 78 rejections, which a true size between 4.5%
    # and 5.5% leaves with probability below .004.
    own = sampled(np.random.default_rng(2), 1000, 60)
    found = self_z(own["log_prob"], own["entropy"], own["varentropy"], own["sequence"], 1000)
    assert 26 <= int((2 * stats.norm.sf(np.abs(found.z_per_sequence)) < 0.05).sum()) <= 78


def test_order_of_tokens_does_not_matter_for_z() -> None:
    own = sampled(np.random.default_rng(3), 5, 20)
    order = np.random.default_rng(4).permutation(100)
    assert z_of({k: v[order] for k, v in own.items()}, 5) == pytest.approx(z_of(own, 5))


def test_pit_is_uniform_on_own_text_only() -> None:
    rng = np.random.default_rng(5)
    own, other = sampled(rng, 60, 50), sampled(rng, 60, 50, temperature=0.6)
    fair = pit_histogram(own["pit"], own["sequence"])
    assert fair is not None
    p_fair = pit_chi_square(own["pit"], rng).p_value
    assert p_fair > 0.001
    assert fair.share.sum() == pytest.approx(1)
    assert ((fair.low <= 0.05) & (fair.high >= 0.05)).sum() >= 16
    # laws have no common order of ids, so distortion shows at the ends: rare ids below and above are missing
    assert pit_chi_square(other["pit"], rng).p_value < p_fair


def test_the_pit_test_counts_values_that_a_text_repeats() -> None:
    """200 trials: every text repeats each of its values four times. The test takes tokens for trials and rejects far too often."""
    rng = np.random.default_rng(6)
    rejected = 0
    for _ in range(200):
        pit = np.repeat(rng.random((40, 10)), 4, axis=1).ravel()
        rejected += pit_chi_square(pit, rng).p_value < 0.05
    assert rejected > 60


def test_pit_by_hand() -> None:
    # ten values in each of two bins, but all of the first text's in the first: equal shares, clustered width is not 0
    pit = np.repeat([0.25, 0.75], 10)
    found = pit_histogram(pit, np.repeat([0, 1], 10), n_bins=2)
    assert found is not None
    assert found.share.tolist() == [0.5, 0.5]
    assert found.low.tolist() == [0.0, 0.0]
    assert pit_histogram(pit, np.zeros(20, int), n_bins=2) is None
    assert pit_histogram(pit, np.repeat([0, 1], 10)) is None
    with pytest.raises(DataError, match="lie in"):
        pit_histogram(np.full(200, 1.5), np.arange(200))


def test_e_process_by_hand() -> None:
    # law (3/4, 1/4) at both tokens, lambda 1/2 and -1: sums s(1/2) = sqrt(3)/2 + 1/2 and s(-1) = 9/16 + 1/16 = 5/8.
    # factors for the rare id: 2/s(1/2) and (1/4)/(5/8) = .4; for the common: (2/sqrt(3))/s(1/2) and (3/4)/(5/8) = 1.2
    half = 3**0.5 / 2 + 0.5
    power = np.log(np.array([[half, 5 / 8]] * 2))
    found = e_process_log(np.log(np.array([0.25, 0.75])), power, np.array([0.5, -1.0]), np.array([1, 1]), 2)
    first = (2 / half + 0.4) / 2
    second = (2 / half * (2 / 3**0.5) / half + 0.4 * 1.2) / 2
    assert found.log_e_end == pytest.approx([0.0, np.log(second)])
    assert found.log_e_max == pytest.approx([0.0, np.log(max(first, second, 1.0))])


def test_e_process_has_mean_one_and_crosses_rarely() -> None:
    # 2000 own texts of 10 tokens: the mean of E is 1 with a standard error from the draws themselves (4 of them
    # allowed); Ville: P(max >= 20) <= .05, allowed up to 135 of 2000 (passed with probability below .001)
    rng = np.random.default_rng(7)
    own = sampled(rng, 2000, 10)
    found = e_process_log(own["log_prob"], own["power"], np.array([-0.5, 0.5]), own["sequence"], 2000)
    values = np.exp(found.log_e_end)
    assert abs(values.mean() - 1) < 4 * values.std() / 2000**0.5
    assert (found.log_e_max >= np.log(20)).sum() <= 135
    assert (found.log_e_max >= np.maximum(found.log_e_end, 0) - 1e-12).all()
    cold = sampled(rng, 20, 200, temperature=0.5)
    assert (
        e_process_log(cold["log_prob"], cold["power"], np.array([-0.5, 0.5]), cold["sequence"], 20).log_e_end > 3
    ).all()


def test_e_process_interleaved_and_impossible() -> None:
    own = sampled(np.random.default_rng(8), 3, 10)
    lambdas = np.array([-0.5, 0.5])
    whole = e_process_log(own["log_prob"], own["power"], lambdas, own["sequence"], 3)
    order = np.arange(30).reshape(3, 10).T.ravel()
    mixed = e_process_log(own["log_prob"][order], own["power"][order], lambdas, own["sequence"][order], 3)
    assert mixed.log_e_end == pytest.approx(whole.log_e_end)
    assert mixed.log_e_max == pytest.approx(whole.log_e_max)
    broken = own["log_prob"].copy()
    broken[12] = -np.inf
    refuted = e_process_log(broken, own["power"], lambdas, own["sequence"], 3)
    assert np.isposinf(refuted.log_e_end).tolist() == [False, True, False]
    assert refuted.log_e_end[[0, 2]] == pytest.approx(whole.log_e_end[[0, 2]])


def test_monte_carlo_rank_by_hand_and_by_enumeration() -> None:
    # two prefixes, two samples each, the text on top in both: 1/9 of the ways, two-sided 2/9
    found = monte_carlo_rank(np.array([3.0, 3.0]), np.array([[1.0, 2.0], [0.0, 1.0]]))
    assert (found.mean_rank, found.p_two_sided, found.n) == (1.0, pytest.approx(2 / 9), 2)
    least = monte_carlo_rank(np.array([-3.0, -3.0]), np.array([[1.0, 2.0], [0.0, 1.0]]))
    assert (least.mean_rank, least.p_two_sided) == (0.0, pytest.approx(2 / 9))
    # with ties: enumerate all 3^3 choices of which member is the text
    score, sampled_scores = np.array([1.0, 0.0, 2.0]), np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 3.0]])
    pooled = np.concatenate([score[:, None], sampled_scores], axis=1)
    ranks = stats.rankdata(pooled, axis=1)
    sums = np.array([ranks[np.arange(3), pick].sum() for pick in itertools.product(range(3), repeat=3)])
    mine = ranks[:, 0].sum()
    brute = min(1.0, 2 * min((sums <= mine + 1e-9).mean(), (sums >= mine - 1e-9).mean()))
    assert monte_carlo_rank(score, sampled_scores).p_two_sided == pytest.approx(brute)
    with pytest.raises(DataError, match="NaN"):
        monte_carlo_rank(np.array([np.nan]), np.zeros((1, 2)))


def test_size_of_the_monte_carlo_rank_inside_loops() -> None:
    # 1000 trials of 20 texts that loop: D is 0 at all but one in fifty tokens, so z means nothing; the rank's size at 5% is
    # at most 5%: allowed 72 rejections, passed with probability .001. Shifted by one more odd token in every other text it is seen.
    rng = np.random.default_rng(9)
    rejected = seen = 0
    for _ in range(1000):
        score, others = rng.poisson(0.6, 20) * 4.0, rng.poisson(0.6, (20, 2)) * 4.0
        rejected += monte_carlo_rank(score, others).p_two_sided < 0.05
        seen += monte_carlo_rank(score + 4.0 * (rng.random(20) < 0.7), others).p_two_sided < 0.05
    assert rejected <= 72
    assert seen > 400
