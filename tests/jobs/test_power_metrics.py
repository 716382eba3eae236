"""Every metric of a power table: its statistic by hand, its size, and the planted defect that it must see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from freerun.jobs.power.bases import load_base
from freerun.jobs.power.cells import PowerPlan, Unit, run_unit
from freerun.jobs.power.lengths import (
    NEVER,
    by_length,
    gram_codes,
    loop_onsets,
    rep_share,
    token_vectors,
)
from freerun.jobs.power.metrics import METRICS, fisher_p
from freerun.jobs.power.organisms import NULL
from freerun.jobs.power.texts import draw_block
from freerun.stats.loops.lag_runs import LoopRule, first_loop, rep_n

CHEAP = tuple(m for m in METRICS if m not in ("classifier", "mauve"))
NULL_RUNS = 300


def test_rep_is_the_houses() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 4, size=(20, 30))
    for n in (1, 2, 4):
        assert rep_share(ids, n).tolist() == pytest.approx([rep_n(row, n) for row in ids])
    assert rep_share(ids[:, :3], 4).tolist() == [0.0] * 20


def test_gram_codes_are_equal_exactly_for_equal_grams() -> None:
    rng = np.random.default_rng(1)
    ids = rng.integers(0, 3, size=(2, 5, 9))
    codes = gram_codes(ids, 3)
    spelled = np.array([[["".join(map(str, row[i : i + 3])) for i in range(7)] for row in texts] for texts in ids])
    assert codes.shape == (2, 5, 7)
    assert ((codes[..., None] == codes.ravel()) == (spelled[..., None] == spelled.ravel())).all()


def test_vectors_count_tokens() -> None:
    ids = np.array([[[0, 1, 1, 2]]])
    vector = token_vectors(ids)[0, 0]
    assert vector[:3].tolist() == [0.25, 0.5, 0.25]
    assert vector[3:].sum() == 0.75


def test_onsets_are_those_of_the_exact_search() -> None:
    rng = np.random.default_rng(2)
    ids = rng.integers(0, 6, size=(3, 10, 60))
    ids[1, 4, 20:] = 5
    ids[2, 0, 10:50] = np.tile([1, 2], 20)
    found = loop_onsets(ids)
    for texts, onsets in zip(ids, found, strict=True):
        for text, onset in zip(texts, onsets, strict=True):
            exact = first_loop(text, LoopRule())
            assert onset == (NEVER if exact is None else exact)
    assert (found < 60).sum() == 2


def test_a_length_sees_its_first_tokens_only() -> None:
    """A loop that is complete at token 40 is none at 32 tokens; means, n-grams and labels are those of the first tokens."""
    truth = load_base("authors").truth
    block = draw_block("authors", NULL, truth, None, reruns=range(2), texts=8, tokens=48, seed=1)
    own = block.own.copy()
    own[1, 3, 17:] = 4
    own[1, 3, 16] = 5
    block = replace(block, own=own)
    short, whole = by_length(block, (32, 48), ("mauve",), None)
    assert loop_onsets(own)[1, 3] == 40
    assert not short.loops.own.any()
    assert np.argwhere(whole.loops.own).tolist() == [[1, 3]]
    assert not whole.loops.real.any()
    np.testing.assert_allclose(short.real_loss, -block.real_q.log_prob[:, :, :32].mean(axis=2))
    assert [side.shape for side in short.grams] == [(2, 8, 31), (2, 8, 31)]
    assert short.repetition.own[1, 3] == rep_n(own[1, 3, :32].astype(np.int64), 4)
    assert short.vectors is not None
    assert short.vectors.own[1, 3, 4] >= 15 / 32


def test_fisher_by_hand() -> None:
    """3 of 3 against 0 of 3: 2 / C(6, 3)."""
    assert fisher_p(3, 0, 3) == pytest.approx(2 / 20)
    assert fisher_p(0, 0, 20) == 1.0


@pytest.fixture(scope="module")
def null_counts() -> dict[str, dict[str, int]]:
    plan = PowerPlan(
        bases=("authors",),
        organisms=(NULL,),
        metrics=CHEAP,
        lengths=(16, 32),
        texts=(10,),
        null_reruns=NULL_RUNS,
        block=NULL_RUNS,
        permutations=19,
    )
    return run_unit(plan, Unit("authors", NULL, 0, NULL_RUNS)).rejected


@pytest.mark.parametrize("metric", CHEAP)
def test_nothing_planted_is_found_as_often_as_declared(metric: str, null_counts: dict[str, dict[str, int]]) -> None:
    """300 reruns at 5%: outside these limits with probability 1e-4 a tail and cell (24 cells), if the size is exact."""
    for cell, count in null_counts[metric].items():
        assert count <= binom.isf(1e-4, NULL_RUNS, 0.05), cell
        if not METRICS[metric].at_most:
            assert count >= binom.ppf(1e-4, NULL_RUNS, 0.05), cell


def test_what_does_not_vary_is_never_rejected(null_counts: dict[str, dict[str, int]]) -> None:
    assert set(null_counts["loss_paired"].values()) == {0}
    assert set(null_counts["likelihood_ratio"].values()) == {0}
    assert set(null_counts["loops"]) == {"32x10"}, "texts of 16 tokens hold no loop of 24"


@pytest.mark.parametrize(
    ("organism", "seen", "blind"),
    [
        (
            "absorbing",
            ("z_declared", "likelihood_ratio", "loss_paired", "perplexity"),
            ("sources", "z_own", "ratio_real"),
        ),
        ("hash", ("likelihood_ratio", "z_declared", "classifier"), ("loss", "loss_paired", "z_real", "z_own")),
        ("temperature", ("z_declared", "likelihood_ratio"), ("loops", "z_own", "ratio_real")),
        ("ngram", ("loss_paired", "likelihood_ratio"), ("loops", "z_own")),
    ],
)
def test_planted_defects_are_found_by_what_must_see_them(
    organism: str, seen: tuple[str, ...], blind: tuple[str, ...]
) -> None:
    """20 reruns of 24 + 24 texts of 64 tokens. Seen: at least 14. Blind: at most 5 (more with probability 3e-4 at 5%)."""
    plan = PowerPlan(
        bases=("authors",),
        organisms=(NULL, organism),
        metrics=tuple(METRICS),
        lengths=(64,),
        texts=(24,),
        reruns=20,
        block=20,
    )
    found = run_unit(plan, Unit("authors", organism, 0, 20))
    counts = {m: c["64x24"] for m, c in found.rejected.items()}
    assert all(counts[m] >= 14 for m in seen), counts
    assert all(counts[m] <= 5 for m in blind), counts
    n, total, _ = found.excess["64"]
    assert n == 480
    if organism == "absorbing":
        assert total / n == pytest.approx(-64 * np.log(0.99), abs=1e-9)
    if organism == "hash":
        assert total == pytest.approx(0.0, abs=1e-9)
