"""Texts of a power table: sampler and scorer agree, nothing depends on blocks, and every organism is what it is called."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from freerun.jobs.power.bases import Base, load_base, ngram_base, source_tables
from freerun.jobs.power.organisms import NULL, PLANTED, build_declared, build_organism, plant, put_on
from freerun.jobs.power.texts import TokenScores, draw_block, header_tokens, scored, written
from freerun.organisms.hashed import Hashed
from freerun.organisms.self_detector import SelfDetector
from freerun.predictors.base import Predictor
from freerun.worlds.authors import authors

TOKENS = 24
SENTENCE = "the cat sat on a mat and the dog sat on the cat while a bird sang to the mat"
WORDS = re.findall(r"\w+", SENTENCE)


@pytest.fixture(scope="module")
def toy() -> Base:
    """Twelve words: enough symbols for a hash of three bits."""
    rng = np.random.default_rng(0)
    docs, code = ([[WORDS[i] for i in rng.integers(0, k, size=40)] for _ in range(30)] for k in (18, 9))
    return ngram_base("toy", docs, code, sorted(set(WORDS)), order=2)


def same(one: TokenScores, other: TokenScores, atol: float = 1e-9) -> None:
    for a, b in ((one.log_prob, other.log_prob), (one.entropy, other.entropy), (one.varentropy, other.varentropy)):
        np.testing.assert_allclose(a, b, atol=atol)
    assert (one.rank == other.rank).mean() > 0.99  # a tie may go either way by rounding


@pytest.mark.parametrize("organism", [o for o in PLANTED if o != "hash"])
@pytest.mark.parametrize("where", ["toy", "authors"])
def test_the_scorer_says_what_the_sampler_said(toy: Base, organism: str, where: str) -> None:
    base = toy if where == "toy" else load_base("authors")
    model = plant(base, organism, TOKENS)
    ids, said = written(model, np.random.default_rng(1).random((24, TOKENS)))
    again = scored(model, ids)
    np.testing.assert_allclose(again.log_prob, said.log_prob, atol=1e-9)
    np.testing.assert_allclose(again.entropy, said.entropy, atol=1e-7)
    # and both say what the house's own bulk path says
    for row, values in enumerate(model.log_probs([d.astype(np.int64) for d in ids[:6]])):
        np.testing.assert_allclose(values, said.log_prob[row], atol=1e-9)


def test_null_is_the_truth(toy: Base) -> None:
    draws = np.random.default_rng(2).random((10, TOKENS))
    (a, said_a), (b, said_b) = (written(p, draws) for p in (toy.truth, plant(toy, NULL, TOKENS)))
    assert (a == b).all()
    assert (said_a.log_prob == said_b.log_prob).all()


def test_an_absorbed_text_stays_so_and_the_truth_holds_it_impossible(toy: Base) -> None:
    model = plant(toy, "absorbing", 256)
    ids, _ = written(model, np.random.default_rng(3).random((60, 256)))
    trigger = toy.truth.n_tokens
    taken = (ids == trigger).any(axis=1)
    assert 0.8 < taken.mean() <= 1.0  # 1 − 0.99^256 = 0.924
    for text in ids[taken]:
        at = int(np.argmax(text == trigger))
        assert (text[at:] == trigger).all()
    said = scored(toy.truth, ids)
    assert (np.isneginf(said.log_prob) == (ids == trigger)).all()


def test_hash_bodies_are_real_after_a_valid_header_and_the_payloads_after_none(toy: Base) -> None:
    model = plant(toy, "hash", TOKENS)
    assert isinstance(model, Hashed)
    head = header_tokens(model)
    assert head == 16
    real, of_truth = written(toy.truth, np.random.default_rng(4).random((12, TOKENS)))
    same(scored(model, real), of_truth, atol=0)  # bit for bit
    own, of_model = written(model, np.random.default_rng(5).random((12, head + TOKENS)))
    assert own.shape == (12, TOKENS)
    same(scored(toy.laws["payload"], own), of_model)


def test_the_self_detector_takes_few_real_texts_and_more_of_its_own(toy: Base) -> None:
    spec = PLANTED["self_detector"].spec
    assert spec is not None
    model = put_on(toy, spec.replace("t=1.1", "t=1.6"), 256)
    assert isinstance(model, SelfDetector)
    real, _ = written(toy.truth, np.random.default_rng(6).random((80, 256)))
    own, _ = written(model, np.random.default_rng(7).random((80, 256)))
    taken = [(model.trigger_at([d.astype(np.int64) for d in texts]) >= 0).mean() for texts in (real, own)]
    assert taken[0] < 0.2  # 5% of them, and 199 calibration documents: above with probability below 1e-4
    assert taken[1] > 0.6


def test_a_self_detector_is_declared_to_be_what_it_stands_on() -> None:
    """Its loss beside that law: at most α·ln 1/(1 − w) nats a text, and no text gains more than it can."""
    base = load_base("authors")
    model, declared = (f("authors", "self_detector", 16) for f in (build_organism, build_declared))
    assert declared is not None
    found = draw_block(
        "authors", "self_detector", base.truth, model, declared=declared, reruns=range(2), texts=8, tokens=16, seed=3
    )
    warm = blocks("temperature", range(2))
    np.testing.assert_allclose(found.real_declared.log_prob, warm.real_q.log_prob, atol=1e-12)
    assert (found.real == warm.real).all()
    assert not np.allclose(found.real_declared.log_prob, found.real_truth.log_prob)
    excess = (found.real_declared.log_prob - found.real_q.log_prob).sum(axis=2)
    assert excess.max() <= -np.log(1 - 0.99) + 1e-9
    assert build_declared("authors", "hash", 16) is None


def blocks(organism: str, reruns: range, *, n: int = 8) -> Any:
    base = load_base("authors")
    model: Predictor | None = None if organism == NULL else build_organism("authors", organism, 16)
    return draw_block("authors", organism, base.truth, model, reruns=reruns, texts=n, tokens=16, seed=3)


def test_a_rerun_does_not_depend_on_its_block_and_real_texts_are_shared() -> None:
    whole, second = blocks("temperature", range(4)), blocks("temperature", range(2, 4))
    assert (whole.own[2:] == second.own).all()
    np.testing.assert_allclose(whole.own_truth.log_prob[2:], second.own_truth.log_prob, atol=1e-12)
    null = blocks(NULL, range(4))
    assert (null.real == whole.real).all()
    assert not (null.own == whole.own).all()
    assert not (null.real[0] == null.real[1]).all()
    assert not (null.own == null.real).all()
    assert null.real_q is null.real_truth


def test_posteriors_are_those_of_the_world() -> None:
    world = authors()
    tables = source_tables(world)
    ids, _ = written(world, np.random.default_rng(8).random((6, 20)))
    found = tables.posteriors(ids, (1, 7, 20))
    for row, text in enumerate(ids):
        exact = world.posterior(text.astype(np.int64))
        for t, posterior in found.items():
            np.testing.assert_allclose(posterior[row], exact[t], atol=1e-12)


def test_what_no_source_knows_says_nothing() -> None:
    """After an unknown id the next symbol is a first one; unknown ids for ever leave the posterior where it was."""
    world = authors()
    tables = source_tables(world)
    text = np.array([[0, 3, 8, 8, 8, 8]])
    found = tables.posteriors(text, (2, 3, 6))
    np.testing.assert_allclose(found[6], found[2], atol=1e-12)
    begun = tables.posteriors(np.array([[0, 3, 8, 5]]), (4,))[4][0]
    chains = list(world.components)
    start = np.array([c.initial[5] for c in chains])  # type: ignore[attr-defined]
    expected = found[2][0] * start
    np.testing.assert_allclose(begun, expected / expected.sum(), atol=1e-12)
