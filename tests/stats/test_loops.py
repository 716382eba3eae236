import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError
from freerun.stats.loops.lag_runs import (
    LoopRule,
    Repetition,
    completing_ids,
    first_loop,
    holtzman_repetition,
    loop_at,
    loop_complete,
    may_loop,
    rep_n,
)
from freerun.stats.loops.tracker import LoopTracker
from freerun.stats.ngrams import ngram_codes

RULES = st.builds(
    LoopRule,
    copies=st.integers(2, 4),
    min_tokens=st.integers(1, 12),
    max_period=st.integers(1, 9),
)
TEXTS = st.lists(st.integers(0, 2), max_size=40).map(lambda x: np.array(x, dtype=np.int64))


def complete_by_definition(ids: list[int], rule: LoopRule) -> bool:
    """Whether some suffix of the text is `copies` copies of a phrase and has `min_tokens` tokens."""
    n = len(ids)
    for p in range(1, rule.max_period + 1):
        size = max(rule.copies * p, rule.min_tokens)
        if size <= n and all(ids[t] == ids[t - p] for t in range(n - size + p, n)):
            return True
    return False


def test_threshold_by_hand() -> None:
    rule = LoopRule()
    assert [rule.threshold(p) for p in (1, 7, 8, 9, 512)] == [23, 17, 16, 18, 1024]
    assert rule.threshold(np.array([1, 7, 8, 9, 512])).tolist() == [23, 17, 16, 18, 1024]


def test_first_loop_by_hand() -> None:
    # history 0..9, then "3 4 5" over and over: period 3 needs a run of max(6, 24-3) = 21 matches. The phrase stands at
    # 3 4 5 (no run, 6 follows), then from index 10 on; the first match at lag 3 is index 13, the 21st is index 33.
    ids = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9] + [3, 4, 5] * 10)
    assert first_loop(ids, LoopRule()) == 33
    assert first_loop(ids[:33], LoopRule()) is None
    assert first_loop(ids, LoopRule(), start=36) == 36
    assert first_loop(ids, LoopRule(), start=40) is None
    assert first_loop(ids, LoopRule(max_period=2)) is None


def test_a_loop_that_ended_before_start_does_not_count() -> None:
    ids = np.array([1] * 30 + [2, 3, 4, 5])
    assert first_loop(ids, LoopRule()) == 23
    assert first_loop(ids, LoopRule(), start=29) == 29
    assert first_loop(ids, LoopRule(), start=30) is None


@given(ids=TEXTS, rule=RULES, start=st.integers(0, 45))
@settings(max_examples=150, deadline=None)
def test_first_loop_is_the_definition(ids: np.ndarray, rule: LoopRule, start: int) -> None:
    expected = next((t for t in range(start, ids.size) if complete_by_definition(ids[: t + 1].tolist(), rule)), None)
    assert first_loop(ids, rule, start=start) == expected


@given(ids=TEXTS, rule=RULES, start=st.integers(0, 45))
@settings(max_examples=150, deadline=None)
def test_every_token_of_a_loop_is_the_definition(ids: np.ndarray, rule: LoopRule, start: int) -> None:
    expected = [complete_by_definition(ids[: t + 1].tolist(), rule) for t in range(start, ids.size)]
    assert loop_complete(ids, rule, start=start).tolist() == expected


@given(ids=TEXTS, rule=RULES)
@settings(max_examples=150, deadline=None)
def test_the_loop_at_the_end_is_there_and_is_the_shortest(ids: np.ndarray, rule: LoopRule) -> None:
    found = loop_at(ids, rule)
    assert (found is not None) == (ids.size > 0 and complete_by_definition(ids.tolist(), rule))
    if found is not None:
        tail = ids[ids.size - found.period * found.copies :]
        assert np.array_equal(tail, np.tile(ids[ids.size - found.period :], found.copies))
        shorter = [p for p in range(1, found.period) if LoopRule(rule.copies, rule.min_tokens, p).max_period == p]
        assert not any(complete_by_definition(ids.tolist(), LoopRule(rule.copies, rule.min_tokens, p)) for p in shorter)


def published(tokens: list[int]) -> Repetition | None:
    """The rule of the published code of Holtzman et al. (metrics/repetition.py), block by block from the end."""
    back = tokens[::-1]
    times = []
    for n in range(1, 91):
        blocks = [back[k : k + n] for k in range(0, len(back) - n + 1, n)]
        same = next((k for k, block in enumerate(blocks) if block != blocks[0]), len(blocks))
        times.append(max(same, 1))
    n = max(range(90), key=lambda i: times[i]) + 1
    counted = times[n - 1] > 1 and (n >= 3 or times[n - 1] > 50)
    return Repetition(n, times[n - 1]) if counted else None


@given(head=TEXTS, phrase=st.lists(st.integers(0, 2), min_size=1, max_size=6), copies=st.integers(1, 60))
@settings(max_examples=150, deadline=None)
def test_holtzman_is_the_published_rule(head: np.ndarray, phrase: list[int], copies: int) -> None:
    ids = np.concatenate([head, np.tile(phrase, copies)])
    assert holtzman_repetition(ids) == published(ids.tolist())


def test_holtzman_by_hand() -> None:
    assert holtzman_repetition(np.arange(10)) is None
    assert holtzman_repetition(np.zeros(0, int)) is None
    assert holtzman_repetition(np.array([7] * 51)) == Repetition(1, 51)
    assert holtzman_repetition(np.array([7] * 50)) is None  # three tokens stand 16 times, but one stands 50 times
    assert holtzman_repetition(np.tile(np.arange(90), 2)) == Repetition(90, 2)
    assert holtzman_repetition(np.tile(np.arange(91), 2)) is None


@given(rows=st.lists(TEXTS, min_size=1, max_size=4), rule=RULES, data=st.data())
@settings(max_examples=100, deadline=None)
def test_tracker_is_the_definition(rows: list[np.ndarray], rule: LoopRule, data: st.DataObject) -> None:
    tracker = LoopTracker(rows, rule)
    texts = [row.tolist() for row in rows]
    for _ in range(6):
        expected = [[v for v in range(3) if complete_by_definition([*text, v], rule)] for text in texts]
        assert [found.tolist() for found in tracker.completing()] == expected
        ids = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(texts), max_size=len(texts))))
        for text, token in zip(texts, ids.tolist(), strict=True):
            text.append(token)
        assert tracker.push(ids).tolist() == [complete_by_definition(text, rule) for text in texts]


@given(ids=TEXTS, rule=RULES, start=st.integers(0, 45))
@settings(max_examples=150, deadline=None)
def test_teacher_forced_candidates_equal_the_tracker(ids: np.ndarray, rule: LoopRule, start: int) -> None:
    start = min(start, ids.size)
    tracker = LoopTracker([ids[:start]], rule)
    expected = []
    for token in ids[start:]:
        expected.append(tracker.completing()[0].tolist())
        tracker.push(np.array([token]))
    assert [found.tolist() for found in completing_ids(ids, start=start, rule=rule)] == expected


def test_tracker_over_long_histories_and_buffer_turns() -> None:
    rng = np.random.default_rng(5)
    rule = LoopRule(copies=2, min_tokens=6, max_period=20)
    ids = np.concatenate([rng.integers(0, 3, 300), np.tile(rng.integers(0, 3, 17), 6), rng.integers(0, 3, 100)])
    for cut in (0, 7, 250, 330):
        tracker = LoopTracker([ids[:cut]], rule)
        seen = [bool(tracker.push(ids[t : t + 1])[0]) for t in range(cut, ids.size)]
        assert seen == [first_loop(ids[: t + 1], rule, start=t) == t for t in range(cut, ids.size)]


def test_select_takes_rows_in_order_and_leaves_the_old_tracker_alone() -> None:
    rule = LoopRule(copies=2, min_tokens=4, max_period=4)
    tracker = LoopTracker([np.array([1, 2, 1]), np.array([], dtype=np.int64), np.array([5, 5, 5])], rule)
    chosen = tracker.select(np.array([2, 0]))
    assert [found.tolist() for found in chosen.completing()] == [[5], [2]]
    assert chosen.push(np.array([5, 2])).tolist() == [True, True]
    assert [found.tolist() for found in tracker.completing()] == [[2], [], [5]]


def test_tracker_is_fast_enough() -> None:
    rng = np.random.default_rng(0)
    tracker = LoopTracker([rng.integers(0, 50_000, 32) for _ in range(64)], LoopRule())
    steps = rng.integers(0, 50_000, (128, 64))
    begin = time.process_time()
    for ids in steps:
        tracker.completing()
        tracker.push(ids)
    assert time.process_time() - begin < 0.6  # 0.03 s where it was written


def test_rep_n_by_hand() -> None:
    # bigrams of 1 2 1 2 3: 12 21 12 23, three distinct of four
    assert rep_n(np.array([1, 2, 1, 2, 3]), 2) == 0.25
    assert rep_n(np.array([1, 2, 1, 2, 3]), 1) == pytest.approx(0.4)
    with pytest.raises(DataError, match="rep-4 needs at least 4"):
        rep_n(np.array([1, 2, 1]), 4)


@given(ids=TEXTS, n=st.integers(1, 7))
@settings(deadline=None)
def test_ngram_codes_are_equal_exactly_where_ngrams_are(ids: np.ndarray, n: int) -> None:
    grams = [tuple(ids[i : i + n].tolist()) for i in range(max(ids.size - n + 1, 0))]
    codes = ngram_codes(ids, n).tolist()
    assert len(codes) == len(grams)
    assert len(set(codes)) == len(set(grams)) == len(set(zip(codes, grams, strict=True)))


@pytest.mark.parametrize("ids", [np.array([1, -1]), np.array([[1, 2]]), np.array([0.5])])
def test_what_is_no_text_is_refused(ids: np.ndarray) -> None:
    with pytest.raises(DataError, match="non-negative integers"):
        first_loop(ids, LoopRule())


def test_impossible_rules_are_refused() -> None:
    with pytest.raises(DataError, match="copies is 1"):
        LoopRule(copies=1)
    with pytest.raises(DataError, match="max_period is 0"):
        LoopRule(max_period=0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=60), min_size=1, max_size=6),
    st.integers(2, 4),
    st.integers(4, 24),
)
def test_the_quick_look_misses_no_loop(texts: list[list[int]], copies: int, min_tokens: int) -> None:
    """Every text with a complete loop anywhere is among those that may loop."""
    rule = LoopRule(copies=copies, min_tokens=min_tokens, max_period=20)
    ends = np.cumsum([len(t) for t in texts])
    may = may_loop(np.concatenate([np.array(t) for t in texts]), ends, rule)
    for text, possible in zip(texts, may, strict=True):
        assert possible or not loop_complete(np.array(text), rule).any()


def test_the_quick_look_spares_most() -> None:
    """Random texts of 40 symbols: an 8-gram stands twice in one of 128 tokens with probability 1e-9."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 40, 128 * 200)
    assert not may_loop(ids, np.arange(128, 128 * 200 + 1, 128), LoopRule()).any()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_holtzmans_early_exit_changes_nothing(ids: list[int]) -> None:
    text = np.array(ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("freerun.stats.loops.lag_runs._ends_again", lambda ids, period: True)
        whole = holtzman_repetition(text)
    assert holtzman_repetition(text) == whole


@pytest.mark.parametrize("seed", range(6))
def test_following_few_tokens_misses_no_loop(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops of short and long periods planted in text of few and of many kinds of token: the same answers when all are followed."""
    rng = np.random.default_rng(seed)
    kinds = (2, 30, 5000)[seed % 3]
    parts = []
    for period in (1, 7, 40, 100, 250):
        parts += [rng.integers(0, kinds, 300), np.tile(rng.integers(0, kinds, period), 5)[: 5 * period - seed]]
    ids = np.concatenate(parts)
    rule = LoopRule()
    quick = loop_complete(ids, rule), [x.tolist() for x in completing_ids(ids, start=0, rule=rule)]
    monkeypatch.setattr("freerun.stats.loops.lag_runs._seeds", lambda *_: None)
    assert quick[0].any()
    np.testing.assert_array_equal(quick[0], loop_complete(ids, rule))
    assert quick[1] == [x.tolist() for x in completing_ids(ids, start=0, rule=rule)]
