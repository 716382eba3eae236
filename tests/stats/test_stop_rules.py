"""Stop rules: what they end, what that costs, and the intervals of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from freerun.errors import TooFewDocuments, UsageError
from freerun.stats.loops.lag_runs import LoopRule, loop_at
from freerun.stats.loops.near_loops import NearRule
from freerun.stats.loops.recurrences import lag_runs, least_run
from freerun.stats.loops.repetitions import find_repetitions, incidence, read_traps
from freerun.stats.loops.stop_rules import (
    StopRule,
    Stops,
    apply_stop_rule,
    read_stop_rule,
    share_left,
    share_saved,
    share_stopped,
    stops_per_token,
)
from freerun.stats.loops.texts import Texts
from freerun.stats.loops.traps import count_traps


def test_rules_are_read_and_said() -> None:
    assert read_stop_rule("period=64, copies=4,tokens=100") == StopRule(64, 4, 100)
    assert read_stop_rule("tokens=48") == StopRule(512, 3, 48)
    rule = StopRule(7, 8, 9)
    assert read_stop_rule(str(rule)) == rule
    assert rule.loop_rule == LoopRule(copies=8, min_tokens=9, max_period=7)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "'' is not part"),
        ("perod=3", "did you mean 'period'"),
        ("period=0", "from 1 to a million, not '0'"),
        ("copies=1", "from 2"),
        ("tokens=-3", "not '-3'"),
        ("tokens=1e3", "not '1e3'"),
        ("period=99999999", "to a million"),
        ("period", "not ''"),
        ("copies=3,copies=4", "copies is given twice"),
    ],
)
def test_other_words_are_refused(words: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_stop_rule(words)


@given(
    rows=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=30), min_size=1, max_size=4),
    rule=st.builds(StopRule, st.integers(1, 6), st.integers(2, 4), st.integers(1, 12)),
)
@settings(max_examples=150, deadline=None)
def test_a_text_is_ended_where_one_who_reads_along_would_end_it(rows: list[list[int]], rule: StopRule) -> None:
    texts = Texts.of([np.array(row) for row in rows])
    loop = rule.loop_rule
    found = apply_stop_rule(texts, lag_runs(texts, max_period=rule.period, least=least_run(loop)), loop)
    for k, row in enumerate(rows):
        ids = np.array(row)
        seen = [t for t in range(1, len(row) + 1) if loop_at(ids[:t], loop) is not None]
        assert found.stopped[k] == bool(seen)
        assert found.written[k] == (seen[0] if seen else len(row))
        assert found.left[k] == (bool(seen) and seen[-1] != len(row))
    assert found.n_saved == int((found.lengths - found.written).sum())


def test_rates_by_hand() -> None:
    """Four texts of 100 tokens; one is ended after 40, one after 60: 2 stops in 300 tokens read, 100 of 400 tokens saved."""
    stopped = np.array([True, True, False, False])
    stops = Stops(stopped, np.array([40, 60, 100, 100]), stopped, np.full(4, 100), np.arange(4))
    assert stops_per_token(stops).value == pytest.approx(2 / 300)
    assert share_stopped(stops).value == 0.5
    saved = share_saved(stops)
    assert saved.value == 0.25
    assert 0.0 < saved.low < 0.1
    assert 0.6 < saved.high < 1.0
    with pytest.raises(TooFewDocuments):
        share_saved(Stops(stopped, stops.written, stopped, stops.lengths, np.zeros(4, int)))


def test_nothing_saved_has_the_upper_limit_of_texts() -> None:
    """No text of n is ended: at most 1 − .025^(1/n) of others would be, and no more of their tokens is saved."""
    none = np.zeros(40, bool)
    found = share_saved(Stops(none, np.full(40, 500), none, np.full(40, 500), np.arange(40)))
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 40))


def test_no_stop_in_groups_of_several_sizes() -> None:
    """Nine texts of one group and 91 alone: the mean group that a text is in has (81 + 91)/100 texts, and 100/1.72 count."""
    none, groups = np.zeros(100, bool), np.concatenate([np.zeros(9, int), np.arange(1, 92)])
    stops = Stops(none, np.full(100, 1000), none, np.full(100, 1000), groups)
    assert share_stopped(stops).high == pytest.approx(1 - 0.025 ** (1 / 58))
    assert stops_per_token(stops).high == pytest.approx(1 - 0.025 ** (1 / 58139), rel=1e-4)


@pytest.mark.parametrize(("n", "copies", "share"), [(30, 1, 0.1), (64, 1, 0.05), (32, 4, 0.2)])
def test_limits_miss_seldom(n: int, copies: int, share: float) -> None:
    """400 simulated files of texts of ragged length that are ended at a uniform place, by groups with a share of their own.

    Each limit may miss 2.5%: 10 of 400 are expected, more than 22 have probability 0.0003 (binomial), so that this test
    of 18 counts cries falsely with probability 0.005 at most. (Larger runs of this design: 2,000 files each, every limit at 2.5% or
    below; those of tokens saved at 0.8% or below.)
    """
    rng = np.random.default_rng(11)

    def draw(n: int) -> Stops:
        own = rng.beta(5 * share, 5 * (1 - share), n) if copies > 1 else np.full(n, share)
        groups = np.repeat(np.arange(n), copies)
        lengths = rng.integers(20, 492, n * copies)
        stopped = rng.random(n * copies) < np.repeat(own, copies)
        written = np.where(stopped, np.maximum(19, (rng.random(n * copies) * lengths).astype(int)), lengths)
        return Stops(stopped, written, stopped, lengths, groups)

    large = draw(200_000)
    truth = [f(large).value for f in (share_saved, share_stopped, stops_per_token)]
    misses = np.zeros((3, 2), int)
    for _ in range(400):
        stops = draw(n)
        for i, f in enumerate((share_saved, share_stopped, stops_per_token)):
            found = f(stops)
            misses[i] += found.low > truth[i], found.high < truth[i]
    assert misses.max() <= 22, misses


def test_one_pass_gives_what_each_question_gives_alone() -> None:
    rng = np.random.default_rng(4)
    rows = [rng.integers(0, 50, 120) for _ in range(30)]
    for i in range(0, 30, 3):
        rows[i][40:100] = np.resize(rows[i][40:47], 60)
    texts = Texts.of(rows, ended=[i % 2 == 0 for i in range(30)], numbers=np.concatenate(rows) < 5)
    rule = LoopRule()
    found = find_repetitions(texts, NearRule(rule, 0.1), (StopRule(8, 3, 24), StopRule(512, 6, 30)))
    looped = found.loop.token >= 0
    assert looped.sum() >= 10
    assert (found.near.token[looped] <= found.loop.token[looped]).all()
    assert found.counting is not None
    assert (found.counting.token[looped] <= found.loop.token[looped]).all()
    np.testing.assert_array_equal(found.stops[0].stopped, looped)
    curve = incidence(texts, found.loop)
    assert curve is not None
    assert curve.n_events == looped.sum()
    traps = read_traps(found)
    owner = np.repeat(np.arange(30), 120)
    assert traps.traps == count_traps(found.complete, owner, owner)
    assert traps.traps.n_traps == looped.sum()
    assert traps.begun is not None
    inside = traps.traps.n_tokens
    assert traps.begun.value == pytest.approx(looped.sum() / (30 * 120 - inside))


def test_one_group_has_no_interval() -> None:
    texts = Texts.of([np.zeros(50, int), np.arange(50)], groups=[0, 0])
    found = find_repetitions(texts, NearRule(LoopRule(), 0.1))
    assert incidence(texts, found.loop) is None
    assert read_traps(found).begun is None


def test_the_share_that_would_have_left_is_of_the_stopped_texts() -> None:
    """Ten texts of five prompts, six stopped, two of those left; limits are those of clustered proportions of the six."""
    groups = np.repeat(np.arange(5), 2)
    stopped = np.array([1, 1, 1, 0, 1, 0, 1, 0, 1, 0], bool)
    left = np.array([1, 0, 0, 0, 1, 0, 0, 0, 0, 0], bool)
    lengths = np.full(10, 20)
    found = share_left(Stops(stopped, np.where(stopped, 5, 20), left, lengths, groups))
    assert found.value == pytest.approx(2 / 6)
    assert found.n == 5
    assert found.low < 2 / 6 < found.high
    nobody = Stops(np.zeros(10, bool), lengths, np.zeros(10, bool), lengths, groups)
    with pytest.raises(TooFewDocuments):
        share_left(nobody)


def test_the_limits_of_that_share_miss_seldom() -> None:
    """40 prompts of two texts each, stopped with chance ½; a prompt's loops are left with a chance of its own, 0.2 on average. 300
    draws; either side may miss as often as a rate of 3.5% does in all but 1 of 10^4 runs."""
    rng = np.random.default_rng(5)
    groups, lengths = np.repeat(np.arange(40), 2), np.full(80, 20)
    low = high = 0
    for _ in range(300):
        stopped = rng.random(80) < 0.5
        left = stopped & (rng.random(80) < rng.beta(1.0, 4.0, 40)[groups])
        found = share_left(Stops(stopped, np.where(stopped, 5, 20), left, lengths, groups))
        low, high = low + (found.low > 0.2), high + (found.high < 0.2)
    assert max(low, high) <= binom.ppf(1 - 1e-4, 300, 0.035)
