import numpy as np
import pytest
from scipy import stats

from freerun.errors import DataError
from freerun.stats.recognition.sampler_audit import calibration_chi_square, pit_test, sampler_audit
from freerun.stats.recognition.self_recognition import self_z

N_WORDS, N_LAWS, N_BINS = 200, 40, 20


class Source:
    """Texts whose law at every token is one of 40 Zipf-like laws over 200 words, drawn afresh at each token."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        table = rng.gamma(0.5, size=(N_LAWS, N_WORDS)) / np.arange(1, N_WORDS + 1) ** 0.8
        self.q = table / table.sum(axis=1, keepdims=True)
        self.log_q = np.log(self.q)
        self.entropy = -(self.q * self.log_q).sum(axis=1)
        self.varentropy = (self.q * self.log_q**2).sum(axis=1) - self.entropy**2
        self.bins = np.minimum((-self.log_q / 0.5).astype(int), N_BINS - 1)
        self.mass = np.stack([(self.q * (self.bins == b)).sum(axis=1) for b in range(N_BINS)], axis=1)
        self.below = np.cumsum(self.q, axis=1) - self.q

    def audit(self, used: np.ndarray, rng: np.random.Generator, *, texts: int = 20, tokens: int = 40, shift: int = 0):  # type: ignore[no-untyped-def]
        """Audit of texts drawn from `used`; a scorer that is off by `shift` reads another law than the sampler's."""
        which = rng.integers(0, N_LAWS, texts * tokens)
        cdf = np.cumsum(used, axis=1)
        ids = (cdf[which] < cdf[which, -1:] * rng.random((which.size, 1))).sum(axis=1)
        said = (which + shift) % N_LAWS
        index = np.repeat(np.arange(texts), tokens)
        observed, expected = np.zeros((texts, N_BINS)), np.zeros((texts, N_BINS))
        np.add.at(observed, (index, self.bins[said, ids]), 1.0)
        np.add.at(expected, index, self.mass[said])
        log_prob = self.log_q[said, ids]
        pit = np.clip(self.below[said, ids] + rng.random(ids.size) * np.exp(log_prob), 0, 1)
        z = self_z(log_prob, self.entropy[said], self.varentropy[said], index, texts)
        return sampler_audit(z, pit_test(pit, index), calibration_chi_square(observed, expected))


def test_by_hand() -> None:
    # 40 tokens, 20 expected in each of two bins, 10 and 30 seen: 100/20 twice on one degree of freedom
    found = calibration_chi_square(np.array([[4.0, 10.0], [6.0, 20.0]]), np.array([[8.0, 12.0], [12.0, 8.0]]))
    assert (found.statistic, found.degrees) == (10.0, 1)
    assert found.p_value == pytest.approx(stats.chi2.sf(10.0, 1))


def test_thin_bins_are_pooled_with_their_neighbours() -> None:
    # expected 2 3 | 6 | 5 | 1 -> the last one joins the bin before it: groups of 5, 6 and 6
    observed = np.array([[1.0, 4.0, 6.0, 4.0, 2.0]])
    expected = np.array([[2.0, 3.0, 6.0, 5.0, 1.0]])
    found = calibration_chi_square(observed, expected)
    assert (found.statistic, found.degrees) == (0.0, 2)
    assert calibration_chi_square(np.array([[3.0, 1.0]]), np.array([[2.0, 2.0]])).p_value == 1.0


def test_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="do not fit"):
        calibration_chi_square(np.ones((2, 3)), np.ones((2, 2)))
    with pytest.raises(DataError, match="not negative"):
        calibration_chi_square(-np.ones((2, 3)), np.ones((2, 3)))


def test_chi_square_is_pearsons_where_the_law_never_changes() -> None:
    mass = np.array([0.2, 0.3, 0.5])
    observed = np.random.default_rng(0).multinomial(400, mass)[None, :]
    golden = stats.chisquare(observed[0], 400 * mass)
    found = calibration_chi_square(observed, 400 * mass[None, :])
    assert found.statistic == pytest.approx(golden.statistic)
    assert found.p_value == pytest.approx(golden.pvalue)


def test_size_and_power() -> None:
    """400 nulls at 5%: at most 33 rejections, passed by a true size of 5% with probability .003; each test by itself likewise.

    Power: 10 audits each of 20 texts of 40 tokens, all to be rejected at 0.001; a scorer that reads a wrong law is seen by the
    bins of probability.
    """
    source, rng = Source(1), np.random.default_rng(2)
    null = [source.audit(source.q, rng) for _ in range(400)]
    for part in ("p_value", "p_z", "p_pit", "p_calibration"):
        assert sum(getattr(a, part) < 0.05 for a in null) <= 33
    assert sum(a.p_z < 0.05 for a in null) >= 8
    cold = source.q ** (1 / 0.75)
    short = np.where(source.q >= np.sort(source.q, axis=1)[:, [-50]], source.q, 0)
    for used in (cold, short):
        assert all(source.audit(used, rng).p_value < 0.001 for _ in range(10))
    wrong = [source.audit(source.q, rng, shift=1) for _ in range(10)]
    assert all(a.p_calibration < 0.001 for a in wrong)


def test_an_impossible_token_fails_the_audit_and_few_tokens_do_not() -> None:
    source, rng = Source(1), np.random.default_rng(3)
    found = source.audit(source.q, rng, texts=2, tokens=10)
    assert found.p_pit == 1.0
    z = self_z(np.array([-1.0, -np.inf]), np.ones(2), np.ones(2), np.arange(2), 2)
    counts = calibration_chi_square(np.ones((2, 2)), np.ones((2, 2)))
    broken = sampler_audit(z, pit_test(np.array([0.5, 0.5]), np.arange(2)), counts)
    assert (broken.p_value, broken.n_impossible) == (0.0, 1)
