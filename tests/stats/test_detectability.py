import numpy as np
import pytest
from scipy import stats

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.detection.two_sample import (
    Detector,
    detect,
    judge,
    null_band,
    paired_permutation_p,
    score,
    stacked,
    tv_lower_bound,
)
from freerun.stats.intervals import clopper_pearson


def halves(n: int) -> np.ndarray:
    return np.arange(n) % 2 == 0


def units(rng: np.random.Generator, n: int, shift: float, d: int = 4, reps: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Real and generated features that share a document effect; generated ones are shifted in the first feature."""
    topic = rng.normal(size=(n, 1, d))
    texts = topic + rng.normal(size=(n, 1 + reps, d))
    texts[:, 1:, 0] += shift
    return texts[:, 0], texts[:, 1:]


def test_tv_bound_by_hand() -> None:
    # 9 of 10 generated and 1 of 10 real texts hit; one-sided limits at 2.5%: CP_low(9/10) = .5550, CP_high(1/10) =
    # .4450
    real, free = np.arange(10) < 1, np.arange(10) < 9
    assert tv_lower_bound(real, free, level=0.95) == pytest.approx(0.5550 - 0.4450, abs=1e-3)
    assert tv_lower_bound(free, real, level=0.95) == 0.0


def test_permutation_p_by_enumeration() -> None:
    # two units, one replicate: rank sums of the real texts under the four swaps are 1+2, 1+4, 3+2, 3+4; the smallest is
    # the observed one, so p -> 1/4
    real, free = np.array([1.0, 2.0]), np.array([[3.0], [4.0]])
    p = paired_permutation_p(real, free, n_permutations=20_000, rng=np.random.default_rng(0))
    assert p == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 20_000) ** 0.5)
    tied = paired_permutation_p(np.ones(5), np.ones((5, 2)), rng=np.random.default_rng(0))
    assert tied == 1.0


def test_scores_do_not_depend_on_the_order_or_scale_of_features() -> None:
    real, free = units(np.random.default_rng(1), 40, 1.0)
    first = detect(real, free, train=halves(40), rng=np.random.default_rng(2))
    order = np.array([2, 0, 3, 1])
    scale = np.array([1e-3, 10.0, 1.0, 1e4])
    second = detect(
        (real * scale + 3)[:, order], (free * scale + 3)[:, :, order], train=halves(40), rng=np.random.default_rng(2)
    )
    assert second.scores_real == pytest.approx(first.scores_real, abs=1e-6)
    assert second.auc.value == pytest.approx(first.auc.value)


def test_the_test_units_choose_nothing() -> None:
    rng = np.random.default_rng(3)
    real, free = units(rng, 60, 0.7)
    train = halves(60)
    first = score(real, free, train=train, rng=np.random.default_rng(4))
    other_free = free.copy()
    other_free[~train] = 100 + rng.normal(size=other_free[~train].shape)
    second = score(real, other_free, train=train, rng=np.random.default_rng(4))
    assert second.test[:, 0].tolist() == first.test[:, 0].tolist()
    assert second.train.tolist() == first.train.tolist()
    assert second.penalties == first.penalties


def test_a_planted_shift_is_measured() -> None:
    # one feature shifted by 2 with document effects of variance 1: across documents AUC = Phi(2/2) = .841; the other
    # three features are noise, and 200 training documents leave little to lose. The test AUC has a standard error of
    # about .02.
    real, free = units(np.random.default_rng(5), 400, 2.0)
    found = detect(real, free, train=halves(400), rng=np.random.default_rng(6))
    assert found.auc.value == pytest.approx(stats.norm.cdf(1.0), abs=0.06)
    assert found.auc.low < found.auc.value < found.auc.high
    assert found.n_train == found.n_test == 200
    assert found.scores_free.shape == (200, 2)
    assert found.p_value == 1e-4
    # the total variation between the two laws is 2 Phi(sqrt(2)/2) - 1 = .52; the bound may not pass it but by bad luck
    assert 0.2 < found.tv_low < 0.52
    assert found.auc_half_train == pytest.approx(found.auc.value, abs=0.03)


def test_a_second_replicate_is_no_second_unit() -> None:
    real, free = units(np.random.default_rng(11), 60, 2.0)
    once, twice = (
        detect(real, free[:, reps], train=halves(60), rng=np.random.default_rng(0)) for reps in ([0], [0, 0])
    )
    assert once.tv_low == twice.tv_low > 0
    assert once.auc == twice.auc


def test_size_of_the_permutation_test_and_of_the_tv_bound() -> None:
    # 300 null trials with document effects. p <= .05 has chance .05 exactly; allowed 5 .. 28 of 300, left by chance
    # with probability .001. The TV bound may be positive in at most 5% of trials; allowed up to 28.
    rng = np.random.default_rng(7)
    rejected = proven = 0
    for _ in range(300):
        real, free = units(rng, 32, 0.0)
        found = detect(real, free, train=halves(32), rng=rng, penalties=[10.0], n_permutations=199)
        rejected += found.p_value <= 0.05
        proven += found.tv_low > 0
    assert 5 <= rejected <= 28
    assert proven <= 28


def test_controls_find_nothing_and_say_so() -> None:
    real, free = units(np.random.default_rng(8), 120, 0.0)
    band = null_band([real], train=halves(120), penalties=[10.0], rng=np.random.default_rng(9))
    assert band.low < 0.5 < band.high
    assert abs(band.mean - 0.5) < 0.03
    interval = clopper_pearson(round(200 * band.rejection_share), 200)
    assert interval.low <= 0.05 <= interval.high
    control = detect(free[:, 0], free[:, 1:], train=halves(120), rng=np.random.default_rng(10))
    assert control.auc.low < 0.5 < control.auc.high
    assert control.p_value > 0.05


def test_null_band_halves_are_balanced_for_odd_numbers_too() -> None:
    x = np.random.default_rng(0).normal(size=(21, 2))
    band = null_band([x], train=np.arange(21) < 10, penalties=[1.0], n_splits=50, rng=np.random.default_rng(0))
    assert 0 <= band.low <= band.high <= 1


def test_detectors_are_those_of_their_training_units_alone() -> None:
    """Each group left out, and the sum of two detectors: as fitted by hand."""
    real, free = units(np.random.default_rng(12), 40, 1.0)
    train = halves(40)
    found = score(real[:, :2], free[:, :, :2], train=train, rng=np.random.default_rng(0))
    detector = Detector.train(real[train][:, :2], free[train][:, :, :2])
    counts = (np.arange(20) % 16 != 3).astype(int)
    assert found.without[3] == pytest.approx(
        detector.scores(stacked(real[~train][:, :2], free[~train][:, :, :2]), counts[None])[0]
    )
    other = score(real[:, 2:], free[:, :, 2:], train=train, rng=np.random.default_rng(0))
    both = judge(found + other, rng=np.random.default_rng(1))
    assert both.scores_real == pytest.approx(found.test[:, 0] + other.test[:, 0])


def test_nothing_in_a_detector_is_left_to_chance() -> None:
    """Twenty seeds give one AUC and one interval: there are no folds. Only the Monte-Carlo p-value and the halves differ."""
    real, free = units(np.random.default_rng(13), 60, 1.0)
    found = [detect(real, free, train=halves(60), rng=np.random.default_rng(seed)).auc for seed in range(20)]
    assert len(set(found)) == 1


def test_the_interval_is_for_the_model_and_not_for_the_detector_that_was_fitted() -> None:
    """Fresh training and test documents each time, 16 of either with 12 features: the truth is the mean over training sets.

    400 trials; 2.5% a side. More than 20 misses on one side come by chance with probability .002.
    """
    rng = np.random.default_rng(14)
    low, high, truth = [], [], []
    for _ in range(400):
        real, free = rng.normal(size=(32, 12)), rng.normal(size=(32, 2, 12))
        free[:, :, :6] += 0.6
        train = halves(32)
        found = detect(real, free, train=train, rng=rng, n_permutations=9)
        detector = Detector.train(real[train], free[train])
        line = detector.scores(np.concatenate([np.zeros((1, 1, 12)), np.eye(12)[:, None]]), np.ones((1, 16), int))
        slopes = (line[0, 1:] - line[0, :1])[:, 0]
        truth.append(stats.norm.cdf(0.6 * slopes[:6].sum() / np.sqrt(2 * slopes @ slopes)))
        low.append(found.auc.low)
        high.append(found.auc.high)
    mean = np.mean(truth)
    assert (np.array(low) > mean).sum() <= 20
    assert (np.array(high) < mean).sum() <= 20


def test_too_few_or_unknown_is_refused() -> None:
    rng = np.random.default_rng(0)
    real, free = units(rng, 10, 0.0)
    with pytest.raises(TooFewDocuments, match="3 training documents and 7 test"):
        detect(real, free, train=np.arange(10) < 3, rng=rng)
    with pytest.raises(DataError, match="not finite"):
        detect(np.where(real > 1, np.nan, real), free, train=halves(10), rng=rng)
    with pytest.raises(DataError, match="do not fit"):
        detect(real, free[:, 0], train=halves(10), rng=rng)


def test_the_variance_holds_the_luck_of_training() -> None:
    """16 documents train a detector of 12 features and 160 test it, all fresh in 150 trials: training makes most of the spread.

    The standard error must be that seen, within 30%; without the training documents' part it is less than two thirds of it.
    """
    rng = np.random.default_rng(15)
    train = np.arange(176) < 16
    aucs, variances, of_training = [], [], []
    for _ in range(150):
        real, free = rng.normal(size=(176, 12)), rng.normal(size=(176, 2, 12))
        free[:, :, :6] += 0.4
        spread = detect(real, free, train=train, rng=rng, n_permutations=9).spread
        aucs.append(spread.auc)
        variances.append(spread.variance)
        of_training.append(spread.variance_of_training)
    seen, claimed = np.std(aucs, ddof=1), np.sqrt(np.mean(variances))
    assert claimed == pytest.approx(seen, rel=0.3)
    assert np.sqrt(np.mean(variances) - np.mean(of_training)) < 2 / 3 * seen
