"""Which texts are scored again, and that what is recorded is a fresh pass's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freerun.records.redact import RedactedFolder
from freerun.records.rescoring import (
    FLOOR_TOKENS,
    LEAST_TEXTS,
    MOST_SHARE,
    RESCORED_TOKENS,
    floor_tokens,
    n_rescored_texts,
    rescored_texts,
)
from freerun.records.store import load_records

FRESH = ("fresh_log_prob_nats", "fresh_cdf_below", "fresh_cdf_upto")
REPEATS = ("fresh_repeat_mass", "fresh_repeats")


@given(n_pairs=st.integers(1, 400), continuations=st.integers(1, 4), tokens=st.integers(1, 5000))
def test_the_choice_is_bounded_and_spread(n_pairs: int, continuations: int, tokens: int) -> None:
    n_texts = n_pairs * continuations
    chosen = rescored_texts(n_pairs, continuations, tokens)
    n = len(chosen)
    assert n == n_rescored_texts(n_texts, tokens)
    assert min(n_texts, LEAST_TEXTS) <= n <= n_texts
    if n > LEAST_TEXTS:
        assert n * tokens <= RESCORED_TOKENS
        assert n <= n_texts * MOST_SHARE
    assert all(0 <= pair < n_pairs and 0 <= j < continuations for pair, j in chosen)
    pairs = sorted(pair for pair, _ in chosen)
    assert max(np.diff([-1, *pairs, n_pairs]), default=0) <= 2 * (
        n_pairs / n + 1
    )  # no stretch of documents is left out
    counts = np.bincount([j for _, j in chosen], minlength=continuations)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("every", [2, 4, 8])
@pytest.mark.parametrize("n_pairs", [64, 128, 256])
def test_a_fault_in_some_rows_of_a_batch_cannot_hide(n_pairs: int, every: int) -> None:
    """Rows are pair by pair, continuations side by side: every residue is met, so none of their faults is missed by design."""
    rows = {pair * 2 + j for pair, j in rescored_texts(n_pairs, 2, 64)}
    assert {row % every for row in rows} == set(range(every))


@given(n_pairs=st.integers(1, 400), tokens=st.integers(1, 2000))
def test_real_tokens_for_the_floor_come_from_all_places(n_pairs: int, tokens: int) -> None:
    places = floor_tokens(n_pairs, tokens)
    flat = [t for some in places.values() for t in some]
    assert all(0 <= pair < n_pairs for pair in places)
    assert all(0 <= t < tokens for t in flat)
    assert all(len(set(some)) == len(some) for some in places.values())
    assert len(flat) <= 2 * FLOOR_TOKENS
    if n_pairs * tokens >= FLOOR_TOKENS and tokens >= 4:
        assert len(flat) >= FLOOR_TOKENS
    if n_pairs >= 32 and tokens >= 64:
        assert min(flat) < tokens / 8
        assert max(flat) >= 7 * tokens / 8


def test_what_is_recorded_is_the_fresh_law(job: Any, tmp_path: Path) -> None:
    """Number by number, from laws read afresh; tokens of other texts have none."""
    records = load_records(job.run(job.folder(tmp_path / "run")))
    chosen = rescored_texts(len(job.pairs), 2, job.plan.continuation_tokens)
    assert 0 < len(chosen) < 2 * len(job.pairs)
    for i in range(records.n_sequences):
        token = {k: v[records.rows(i)] for k, v in records.tokens.items()}
        pair = i // job.plan.stride
        again = records.sequences["arm"][i] == "free" and (pair, int(records.sequences["replicate"][i])) in chosen
        if not again:
            assert all(np.isnan(token[name]).all() for name in (*FRESH, *REPEATS))
            continue
        ids = token["token_id"].astype(np.int64)
        for t in range(len(ids)):
            law = job.predictor.law(
                job.predictor.start([np.concatenate([job.pairs[pair].context, ids[:t]]).astype(np.int64)])
            )
            table = law.probs()[0]
            seen = law.observe(ids[t : t + 1])
            assert token["fresh_log_prob_nats"][t] == pytest.approx(seen.log_prob_nats[0], abs=1e-12)
            assert token["fresh_cdf_below"][t] == pytest.approx(seen.cdf_below[0], abs=1e-12)
            upto = seen.cdf_below[0] + np.exp(seen.log_prob_nats[0])
            assert token["fresh_cdf_upto"][t] == pytest.approx(min(1.0, upto), abs=1e-12)
            assert token["fresh_cdf_upto"][t] <= 1.0
            known = sorted({*job.pairs[pair].context.tolist(), *ids[:t].tolist()})
            assert token["fresh_repeat_mass"][t] == pytest.approx(table[known].sum(), abs=1e-6)
            assert token["fresh_repeats"][t] == (ids[t] in known)


def test_rounded_arithmetic_has_real_tokens_scored_again(job: Any, tmp_path: Path) -> None:
    rounded = replace(job, plan=replace(job.plan, rounded=True))
    records = load_records(rounded.run(rounded.folder(tmp_path / "run")))
    places = floor_tokens(len(job.pairs), job.plan.continuation_tokens)
    seen = 0
    for i in records.chosen(arm="real"):
        fresh = records.tokens["fresh_log_prob_nats"][records.rows(int(i))]
        assert tuple(np.flatnonzero(~np.isnan(fresh)).tolist()) == places.get(int(i) // job.plan.stride, ())
        known = ~np.isnan(fresh)
        recorded = records.tokens["log_prob_nats"][records.rows(int(i))]
        np.testing.assert_allclose(fresh[known], recorded[known], atol=1e-12)
        seen += int(known.sum())
    assert seen >= FLOOR_TOKENS


def test_redacted_records_keep_what_the_second_look_needs(job: Any, tmp_path: Path) -> None:
    """They are numbers of the same kind as those beside them, at the same tokens; no more can be read from them."""
    whole = load_records(job.run(job.folder(tmp_path / "whole")))
    folder = RedactedFolder(tmp_path / "run")
    folder.open(job.manifest)
    redacted = load_records(job.run(folder))
    for name in (*FRESH, *REPEATS):
        np.testing.assert_array_equal(redacted.tokens[name], whole.tokens[name])
