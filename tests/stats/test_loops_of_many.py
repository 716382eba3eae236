"""Loops of many texts at once against their definitions, token by token and period by period."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import DataError
from freerun.stats.loops import recurrences
from freerun.stats.loops.lag_runs import LoopRule, first_loop, loop_at, loop_complete
from freerun.stats.loops.near_loops import NearRule, first_near_loops
from freerun.stats.loops.recurrences import complete_tokens, first_loops, lag_runs, least_run
from freerun.stats.loops.texts import Texts, without_numbers

RULES = st.builds(LoopRule, copies=st.integers(2, 4), min_tokens=st.integers(1, 12), max_period=st.integers(1, 9))
IDS = st.lists(st.integers(0, 2), min_size=1, max_size=40)


Rows = list[tuple[list[int], list[int]]]
ROWS = st.lists(st.tuples(st.lists(st.integers(0, 2), max_size=10), IDS), min_size=1, max_size=5)


def texts_of(rows: Rows) -> Texts:
    """A few texts of few kinds of token, with prompts."""
    return Texts.of([np.array(c) for _, c in rows], prompts=[np.array(p, np.int64) for p, _ in rows])


def runs_by_definition(ids: list[int], max_period: int, least: int) -> list[tuple[int, int, int]]:
    """Period, begin and end of every maximal stretch of tokens that equal the token a period before."""
    out = []
    for p in range(1, max_period + 1):
        same = [t >= p and ids[t] == ids[t - p] for t in range(len(ids))] + [False]
        begin = None
        for t, here in enumerate(same):
            if here and begin is None:
                begin = t
            if not here and begin is not None:
                out += [(p, begin, t)] if t - begin >= least else []
                begin = None
    return out


def near_by_definition(ids: list[int], t: int, near: NearRule) -> bool:
    """Whether some period has at most its share of changed tokens among the last that are compared."""
    for p in range(1, near.rule.max_period + 1):
        w = near.rule.threshold(p)
        if t - w + 1 >= p:
            changed = sum(ids[s] != ids[s - p] for s in range(t - w + 1, t + 1))
            if changed <= near.differ * w + 1e-9:
                return True
    return False


@given(rows=ROWS, max_period=st.integers(1, 9), least=st.integers(1, 8))
@settings(max_examples=150, deadline=None)
def test_runs_are_the_definition(rows: Rows, max_period: int, least: int) -> None:
    texts = texts_of(rows)
    found = lag_runs(texts, max_period=max_period, least=least)
    expected = [
        (k, p, int(texts.starts[k]) + begin, int(texts.starts[k]) + end)
        for k in range(texts.n)
        for p, begin, end in runs_by_definition(texts.ids_of(k).tolist(), max_period, least)
    ]
    assert list(zip(*(c.tolist() for c in (found.text, found.period, found.begin, found.end)), strict=True)) == expected


@given(rows=ROWS, rule=RULES)
@settings(max_examples=150, deadline=None)
def test_loops_are_those_of_one_text_at_a_time(rows: Rows, rule: LoopRule) -> None:
    texts = texts_of(rows)
    runs = lag_runs(texts, max_period=rule.max_period, least=least_run(rule))
    found, complete = first_loops(texts, runs, rule), complete_tokens(texts, runs, rule)
    for k in range(texts.n):
        ids, prompt = texts.ids_of(k), int(texts.prompts[k])
        alone = first_loop(ids, rule, start=prompt)
        assert found.token[k] == (-1 if alone is None else alone - prompt)
        assert complete[texts.follows[k] : texts.ends[k]].tolist() == loop_complete(ids, rule, start=prompt).tolist()
        assert not complete[texts.starts[k] : texts.follows[k]].any()
        if alone is not None:
            there = loop_at(ids[: alone + 1], rule)
            assert there is not None
            assert there.period == found.period[k]


@given(rows=ROWS, rule=RULES, differ=st.sampled_from([0.0, 0.1, 0.2, 0.34, 0.5]))
@settings(max_examples=300, deadline=None)
def test_near_loops_are_the_definition(rows: Rows, rule: LoopRule, differ: float) -> None:
    texts = texts_of(rows)
    near = NearRule(rule, differ)
    runs = lag_runs(texts, max_period=rule.max_period, least=near.least_run)
    found = first_near_loops(texts, runs, near)
    for k in range(texts.n):
        ids, prompt = texts.ids_of(k).tolist(), int(texts.prompts[k])
        expected = next((t - prompt for t in range(prompt, len(ids)) if near_by_definition(ids, t, near)), -1)
        assert found.token[k] == expected


@pytest.mark.parametrize("seed", range(4))
def test_near_loops_of_long_periods(seed: int) -> None:
    """Phrases of 5 to 60 tokens that come back with one token in twelve changed, in text of many kinds of token."""
    rng = np.random.default_rng(seed)
    texts = []
    for period in (5, 11, 23, 60):
        body = np.tile(rng.integers(0, 400, period), 5)
        changed = rng.random(body.size) < 1 / 24
        body[changed] = rng.integers(400, 800, int(changed.sum()))
        texts += [np.concatenate([rng.integers(0, 400, 50), body, rng.integers(0, 400, 50)]), rng.integers(0, 400, 300)]
    many, near = Texts.of(texts), NearRule(LoopRule(), 0.1)
    found = first_near_loops(many, lag_runs(many, max_period=512, least=near.least_run), near)
    for k, ids in enumerate(texts):
        expected = next((t for t in range(ids.size) if near_by_definition(ids.tolist(), t, near)), -1)
        assert found.token[k] == expected
    assert (found.token[::2] >= 0).any()
    assert (found.token[1::2] == -1).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = Texts.of([rng.integers(0, 3, n) for n in rng.integers(1, 60, 40)])
    whole = lag_runs(texts, max_period=20, least=4)
    monkeypatch.setattr(recurrences, "_BLOCK", 50)
    parts = lag_runs(texts, max_period=20, least=4)
    assert whole.text.size > 100
    for name in ("text", "period", "begin", "end"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def test_equal_hashes_are_no_equal_ngrams(monkeypatch: pytest.MonkeyPatch) -> None:
    """With hashes that say little, pairs that only seem equal are dropped."""
    rng = np.random.default_rng(1)
    texts = Texts.of([rng.integers(0, 5, 80), rng.integers(0, 2, 80)])
    wanted = lag_runs(texts, max_period=20, least=5)
    hashes = recurrences._ngram_hashes
    monkeypatch.setattr(recurrences, "_ngram_hashes", lambda ids, n: hashes(ids, n) % np.uint64(16))
    seen = lag_runs(texts, max_period=20, least=5)
    np.testing.assert_array_equal(wanted.begin, seen.begin)
    np.testing.assert_array_equal(wanted.end, seen.end)


def test_lists_that_only_count_are_loops_without_their_numbers() -> None:
    """“Step 1: go . Step 2: go .” with numbers of one and of two tokens; other words that differ are none."""
    counting = [t for n in range(12) for t in (1, *([90] if n < 10 else [90, 91]), 2, 3, 4)]
    other = [t for n in range(12) for t in (1, 90, 10 + n, 3, 4)]
    texts = Texts.of(
        [np.array(counting), np.array(other)],
        prompts=[np.array([90]), np.array([5])],
        numbers=np.isin(np.array([90, *counting, 5, *other]), [90, 91]),
    )
    unnumbered = without_numbers(texts)
    rule = LoopRule(copies=3, min_tokens=30, max_period=16)
    runs = lag_runs(unnumbered.texts, max_period=16, least=least_run(rule))
    found = first_loops(unnumbered.texts, runs, rule)
    # period 5 without numbers: the 30th token of the list is complete; in the text itself that is the 30th too
    assert found.token.tolist() == [29, -1]
    assert unnumbered.texts.lengths.tolist() == [60, 60]
    assert unnumbered.texts.prompts.tolist() == [1, 1]
    assert unnumbered.place[unnumbered.texts.follows[0] + 29] == texts.follows[0] + 29


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(DataError, match="no token after its prompt"):
        Texts.of([np.array([], np.int64)])
    with pytest.raises(DataError, match="0 or more"):
        Texts.of([np.array([-1])])
    with pytest.raises(DataError, match="numbers"):
        without_numbers(Texts.of([np.array([1])]))
    texts = Texts.of([np.array([1, 1])])
    with pytest.raises(DataError, match="needs lag runs"):
        first_loops(texts, lag_runs(texts, max_period=4, least=1), LoopRule())
    assert first_loops(Texts.of([]), lag_runs(Texts.of([]), max_period=512, least=1), LoopRule()).token.size == 0
