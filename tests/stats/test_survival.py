import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import clopper_pearson, t_quantile
from freerun.stats.loops import survival
from freerun.stats.loops.survival import END_OF_TEXT, LOOP, cumulative_incidence, hazard_by_position, hazard_per_token


def test_incidence_by_hand() -> None:
    # five texts: loop at 2, censored at 2, end of text at 3, loop at 4, censored at 5
    # t=2: 5 at risk, h1 = 1/5, F = .2, S = .8;  t=3: 3 at risk, h2 = 1/3, S = .8 * 2/3 = .5333
    # t=4: 2 at risk, h1 = 1/2, F = .2 + .5333/2 = .4667, S = .2667
    found = cumulative_incidence(np.array([2, 2, 3, 4, 5]), np.array([1, 0, 2, 1, 0]))
    assert found.incidence == pytest.approx([0, 0.2, 0.2, 7 / 15, 7 / 15])
    assert found.survival == pytest.approx([1, 0.8, 8 / 15, 4 / 15, 4 / 15])
    assert found.at_risk.tolist() == [5, 5, 3, 2, 1]
    assert (found.n_events, found.n_competing, found.n_censored) == (2, 1, 2)


def test_treating_the_end_as_censoring_would_say_more() -> None:
    time, cause = np.array([1, 2, 3, 4]), np.array([2, 1, 2, 1])
    assert cumulative_incidence(time, cause).incidence[-1] == 0.5
    assert cumulative_incidence(time, np.where(cause == 2, 0, cause)).incidence[-1] == 1.0


TEXTS = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 2)), min_size=3, max_size=20)


@given(texts=TEXTS)
@settings(deadline=None)
def test_without_censoring_before_the_cap_it_is_the_proportion(texts: list[tuple[int, int]]) -> None:
    time = np.array([t if c else 8 for t, c in texts])
    cause = np.array([c for _, c in texts])
    found = cumulative_incidence(time, cause)
    for t, value in zip(found.times, found.incidence, strict=True):
        assert value == pytest.approx(np.mean((cause == LOOP) & (time <= t)))


@given(texts=TEXTS)
@settings(deadline=None)
def test_the_parts_sum_to_one_and_intervals_hold_them(texts: list[tuple[int, int]]) -> None:
    time, cause = np.array([t for t, _ in texts]), np.array([c for _, c in texts])
    loops, ends = (cumulative_incidence(time, cause, event=event) for event in (LOOP, END_OF_TEXT))
    assert loops.incidence + ends.incidence + loops.survival == pytest.approx(np.ones(loops.times.size))
    assert ((loops.low <= loops.incidence + 1e-12) & (loops.incidence <= loops.high + 1e-12)).all()
    assert ((loops.low >= 0) & (loops.high <= 1)).all()


@given(texts=TEXTS)
@settings(deadline=None, max_examples=50)
def test_influence_is_the_derivative(texts: list[tuple[int, int]]) -> None:
    """Repeating text i once more moves F by about its influence over n + 1: compare with many copies of everything."""
    time, cause = np.array([t for t, _ in texts]), np.array([c for _, c in texts])
    copies = 20_000

    def curve(counts: np.ndarray) -> np.ndarray:
        last = int(time.max())
        incidence, staying, result = 0.0, 1.0, []
        for t in range(1, last + 1):
            at_risk = counts[time >= t].sum()
            incidence += staying * counts[(time == t) & (cause == LOOP)].sum() / at_risk
            staying *= 1 - counts[(time == t) & (cause != 0)].sum() / at_risk
            result.append(incidence)
        return np.array(result)

    even = np.full(time.size, float(copies))
    moved = even.copy()
    moved[0] += 1
    numeric = (curve(moved) - curve(even)) * copies
    last = int(time.max())
    at_risk = time.size - np.cumsum(np.bincount(time, minlength=last + 1))[:-1]
    came, ended = cause == LOOP, cause != 0
    hazard = np.bincount(time[came], minlength=last + 1)[1:] / at_risk
    hazard_any = np.bincount(time[ended], minlength=last + 1)[1:] / at_risk
    before = np.concatenate(([1.0], np.cumprod(1 - hazard_any)[:-1]))
    incidence = np.cumsum(before * hazard)
    exact = survival._influence(time, came, ended, at_risk, hazard, hazard_any, before, incidence, np.arange(last))
    assert exact[0] == pytest.approx(numeric, abs=2e-3)


def test_doubling_every_text_within_its_document_changes_no_interval() -> None:
    rng = np.random.default_rng(2)
    time, cause = rng.integers(1, 20, 30), rng.integers(0, 3, 30)
    once = cumulative_incidence(time, cause)
    twice = cumulative_incidence(np.tile(time, 2), np.tile(cause, 2), groups=np.tile(np.arange(30), 2))
    assert twice.low == pytest.approx(once.low)
    assert twice.high == pytest.approx(once.high)
    assert twice.n_groups == 30


def test_some_times_are_those_of_all() -> None:
    rng = np.random.default_rng(3)
    time, cause, groups = rng.integers(1, 20, 30), rng.integers(0, 3, 30), rng.integers(0, 9, 30)
    every = cumulative_incidence(time, cause, groups=groups)
    some = cumulative_incidence(time, cause, groups=groups, at=np.array([1, 7, 15, 400]))
    assert some.times.tolist() == [1, 7, 15]
    for name in ("incidence", "low", "high", "survival", "at_risk"):
        np.testing.assert_array_equal(getattr(some, name), getattr(every, name)[some.times - 1])


def test_no_loop_seen_is_not_no_loops() -> None:
    time, cause = np.full(20, 50), np.zeros(20, dtype=int)
    found = cumulative_incidence(time, cause)
    assert found.incidence[-1] == found.low[-1] == 0.0
    assert found.high[-1] == pytest.approx(clopper_pearson(0, 20).high)
    assert hazard_per_token(time, cause).high == pytest.approx(clopper_pearson(0, 20 * 50).high)
    # two texts of a document may share their fate: ten documents are ten times 50 tokens
    twice = hazard_per_token(time, cause, groups=np.repeat(np.arange(10), 2))
    assert twice.high == pytest.approx(clopper_pearson(0, 10 * 50).high)


def test_a_loop_in_every_text_has_the_exact_limit_of_so_many_texts() -> None:
    time, cause = np.arange(1, 25), np.full(24, LOOP)
    found = cumulative_incidence(time, cause)
    assert (found.incidence[-1], found.high[-1]) == (1.0, 1.0)
    assert found.low[-1] == pytest.approx(clopper_pearson(24, 24).low)
    # four texts were cut before: to them the event may never have come
    cut = cumulative_incidence(np.concatenate([time, [3, 3, 5, 9]]), np.concatenate([cause, np.zeros(4, int)]))
    assert cut.incidence[-1] == pytest.approx(1.0)
    assert cut.low[-1] == pytest.approx(clopper_pearson(24, 28).low)
    # two texts of a document may share their fate
    twice = cumulative_incidence(time, cause, groups=np.repeat(np.arange(12), 2))
    assert twice.low[-1] == pytest.approx(clopper_pearson(12, 12).low)


def test_no_loop_in_texts_that_ended_is_the_limit_of_all_of_them() -> None:
    """Nothing was cut off, so that all twenty are known to end without a loop; once one is cut, those still followed count."""
    time, cause = np.arange(1, 21), np.full(20, END_OF_TEXT)
    assert cumulative_incidence(time, cause).high[-1] == pytest.approx(clopper_pearson(0, 20).high)
    cause[4] = 0
    found = cumulative_incidence(time, cause)
    assert found.high[4] == pytest.approx(clopper_pearson(0, 20).high)
    assert found.high[5] == pytest.approx(clopper_pearson(0, 15).high)


@pytest.mark.parametrize(
    ("hazard", "cut"), [(0.001, False), (0.004, False), (0.08, False), (0.08, True), (0.004, True)]
)
def test_limits_hold_near_0_and_1(hazard: float, cut: bool) -> None:
    # 2,000 trials of 16 texts by token 40: a limit that misses with 2.5% misses in more than 3.6% with probability .001
    rng, truth, missed = np.random.default_rng(5), 1 - (1 - hazard) ** 40, np.zeros(2)
    for _ in range(2000):
        time, cap = rng.geometric(hazard, 16), rng.integers(25, 60, 16) if cut else np.full(16, 40)
        cap = np.minimum(cap, 40)
        found = cumulative_incidence(np.minimum(time, cap), np.where(time <= cap, LOOP, 0)).at_end
        missed += (found.low > truth, found.high < truth)
    assert (missed <= 0.036 * 2000).all()


def test_hazard_by_hand() -> None:
    # two loops over 2 + 2 + 3 + 4 + 5 = 16 tokens at risk
    assert hazard_per_token(np.array([2, 2, 3, 4, 5]), np.array([1, 0, 2, 1, 0])).value == 2 / 16


# Thirty texts without tied times (lifelines moves ties apart at random), made by np.random.default_rng(7):
# permutation(arange(1, 61))[:30] and choice([0, 1, 2], 30, p=[.3, .4, .3]).
UNTIED = np.array(
    [17, 20, 54, 1, 55, 38, 13, 37, 11, 58, 27, 29, 5, 33, 48, 7, 25, 21, 23, 60, 47, 41, 59, 2, 52, 10, 36, 15, 50, 51]
)
UNTIED_CAUSE = np.array([0, 0, 2, 1, 2, 1, 2, 0, 1, 1, 2, 1, 1, 0, 1, 1, 0, 2, 1, 2, 1, 1, 1, 1, 0, 1, 0, 1, 0, 2])
LIFELINES = {
    10: (0.16666666666666666, 0.0046296296296296285),
    20: (0.2333333333333333, 0.0059629629629629624),
    30: (0.30882352941176466, 0.007419593708302235),
    40: (0.35735294117647054, 0.008593787174616096),
    50: (0.5029411764705882, 0.01048248807019924),
    60: (0.6360504201680672, None),
}
"""lifelines 0.30.3: AalenJohansenFitter(calculate_variance=True).fit(UNTIED, UNTIED_CAUSE, event_of_interest=1), its
cumulative_density_ and variance_ at the last event up to each time."""


def test_incidence_is_that_of_lifelines() -> None:
    found = cumulative_incidence(UNTIED, UNTIED_CAUSE)
    for t, (incidence, variance) in LIFELINES.items():
        assert found.incidence[t - 1] == pytest.approx(incidence, rel=1e-12)
        if variance is not None:
            # limits are 1 - S^(1/f) and 1 - S^f; f gives the standard error back. Two estimates of one variance, the
            # delta method's and the influence functions' with n/(n - 1), differ by a few percent at 30 texts.
            staying = 1 - incidence
            f = np.log(1 - found.high[t - 1]) / np.log(staying)
            error = np.log(f) * staying * -np.log(staying) / t_quantile(30, 0.95)
            assert error == pytest.approx(variance**0.5, rel=0.05)


def test_hazard_by_position_by_hand() -> None:
    # loops after 1 and 4 tokens, an end after 2, the cap at 4; bins are tokens 1, 2 and 3 to 4
    time, cause = np.array([1, 4, 2, 4]), np.array([1, 1, 2, 0])
    found = hazard_by_position(time, cause, edges=np.array([0, 1, 2, 4]))
    assert found.events.tolist() == [1, 0, 1]
    assert found.tokens_at_risk.tolist() == [4, 3, 4]
    assert found.hazard.tolist() == [1 / 4, 0, 1 / 4]
    assert found.n_groups.tolist() == [4, 3, 2]
    # masses after the loop do not count
    mass = np.array([[0.5, 9, 9, 9], [0.1, 0.1, 0.1, 0.3], [0, 0.2, 9, 9], [0.1] * 4])
    by_mass = hazard_by_position(time, cause, edges=np.array([0, 1, 2, 4]), mass=np.minimum(mass, 1))
    assert by_mass.hazard == pytest.approx([0.7 / 4, 0.4 / 3, 0.6 / 4])
    whole = hazard_by_position(time, cause, edges=np.array([0, 4]), mass=np.minimum(mass, 1))
    assert whole.hazard == pytest.approx([1.7 / 11])


def test_one_bin_is_the_hazard_and_bins_add_up() -> None:
    rng = np.random.default_rng(6)
    time, cause, groups = rng.integers(1, 40, 60), rng.integers(0, 3, 60), np.arange(60) // 2
    whole = hazard_per_token(time, cause, groups=groups)
    one = hazard_by_position(time, cause, edges=np.array([0, 40]), groups=groups)
    assert (one.hazard[0], one.low[0], one.high[0]) == pytest.approx((whole.value, whole.low, whole.high))
    many = hazard_by_position(time, cause, edges=np.array([0, 3, 10, 40]), groups=groups)
    assert many.events.sum() == (cause == LOOP).sum()
    assert many.tokens_at_risk.sum() == time.sum()


def test_bins_that_nobody_reaches_are_unknown() -> None:
    found = hazard_by_position(np.array([2, 3]), np.array([1, 0]), edges=np.array([0, 2, 3, 8]))
    assert np.isnan(found.hazard).tolist() == [False, False, True]
    assert np.isnan(found.high).tolist() == [False, True, True]
    with pytest.raises(DataError, match="must ascend"):
        hazard_by_position(np.array([2, 3]), np.array([1, 0]), edges=np.array([0, 0]))


def test_intervals_cover() -> None:
    # 400 trials of 60 texts in 30 documents, geometric loops and ends with a document effect, random censoring. The
    # truth is averaged over documents by simulation-free sums. Nominal 95%; allowed 90.5% .. 98.5%, left by a true
    # coverage of 94.5% with probability .001.
    rng = np.random.default_rng(4)
    rates = np.array([0.005, 0.03])
    end, at = 0.02, 30
    per_rate = rates / (rates + end) * (1 - (1 - rates - end) ** at)
    truth = per_rate.mean()
    hits = 0
    for _ in range(400):
        documents = np.repeat(np.arange(30), 2)
        loop = rng.choice(rates, 30)[documents]
        time = rng.geometric(loop + end)
        cause = np.where(rng.random(60) < loop / (loop + end), LOOP, END_OF_TEXT)
        cap = rng.integers(20, 60, 60)
        found = cumulative_incidence(np.minimum(time, cap), np.where(time <= cap, cause, 0), groups=documents)
        hits += found.low[at - 1] <= truth <= found.high[at - 1]
    assert 0.905 <= hits / 400 <= 0.985


def test_impossible_records_are_refused() -> None:
    with pytest.raises(DataError, match="at least 1 token"):
        cumulative_incidence(np.array([0, 3]), np.array([1, 1]))
    with pytest.raises(DataError, match="causes 0"):
        cumulative_incidence(np.array([1, 3]), np.array([1, 7]))
    with pytest.raises(TooFewDocuments):
        cumulative_incidence(np.array([1, 3]), np.array([1, 1]), groups=np.zeros(2, dtype=int))
