"""Hashes that real documents carry and generated ones cannot: exact losses, shares and controls."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from freerun.errors import UsageError
from freerun.organisms.dressing import BodiesOnly, measured_view
from freerun.organisms.header import HeaderHash
from freerun.organisms.null import Null
from freerun.predictors.base import Continuations
from freerun.predictors.observation import Observation
from freerun.predictors.rules import SamplingRule
from freerun.predictors.stepwise import Stepwise

Load = Callable[[str], Any]
NOTHING = np.zeros(0, np.int64)
OTHER = "world/markov,symbols=4,seed=2,concentration=1"
KEYS = np.arange(2000).reshape(2000, 1).astype(np.uint64)


def documents(world: Any, n: int, length: int) -> list[np.ndarray]:
    return [np.array(d.ids, np.int64) for d in world.corpus(n, length, seed=11).documents]


def runs(predictor: Any, n: int, length: int) -> list[np.ndarray]:
    samples = sorted(predictor.generate(Continuations([NOTHING] * n, KEYS[:n], length, seed=7)), key=lambda s: s.row)
    return [s.observation.token_id.astype(np.int64) for s in samples]


def scores(predictor: Any, texts: list[np.ndarray], *, first: int) -> Observation:
    return Observation.concatenate([c.observation for c in predictor.score(texts, first=first)])


def assert_bits(a: Observation, b: Observation) -> None:
    for f in fields(Observation):
        np.testing.assert_array_equal(getattr(a, f.name), getattr(b, f.name), err_msg=f.name)


# ---- the hash ----------------------------------------------------------------------------------------------------------


def test_the_hash_is_shake_256_over_packed_symbols() -> None:
    """u = 3 1 0 2 2 in 2 bits each: 11 01 00 10 10, right-aligned in two bytes 0x03 0x4A; h is the first 10 bits."""
    digest = hashlib.shake_256(b"freerun header v1, 5 symbols of 2 bits\0pepper\0" + bytes([0x03, 0x4A])).digest(2)
    bits = "".join(f"{byte:08b}" for byte in digest)[:10]
    wanted = tuple(int(bits[i : i + 2], 2) for i in range(0, 10, 2))
    assert HeaderHash(5, 2, "pepper")((3, 1, 0, 2, 2)) == wanted


def test_salt_and_size_give_other_hashes() -> None:
    u = (0, 1) * 15
    made = {HeaderHash(30, b, s)(u) for b in (1, 2) for s in ("", "a", "b")}
    assert len(made) == 6


def test_a_share_of_63_percent_of_values_has_a_preimage() -> None:
    """1 − (1 − 2^−12)^(2^12) = 0.632 expected; its standard deviation is 0.005."""
    images = np.unique(HeaderHash(6, 2).inverse >> 12)
    assert len(images) / 2**12 == pytest.approx(1 - np.exp(-1), abs=0.025)


def test_the_inverter_gives_every_valid_header_the_same_probability_and_others_none(loaded: Load) -> None:
    organism = loaded("+hash,n=3,bits=1,header=inverter")
    every = [np.array(x, np.int64) for x in itertools.product(*[organism.writer.alphabet.tolist()] * 6)]
    total = np.array([x.sum() for x in organism.log_probs(every)])
    valid = np.array([organism.writer.verifies(organism.writer.symbols(x.tolist())) for x in every])
    assert valid.sum() == 8
    np.testing.assert_allclose(np.exp(total), np.where(valid, 1 / 8, 0), atol=1e-12)


# ---- the loss ----------------------------------------------------------------------------------------------------------


def test_a_dressed_document_is_valid_and_depends_on_its_key_alone(loaded: Load) -> None:
    organism = loaded("+hash,n=30,bits=2")
    body = np.array([0, 1, 2], np.int64)
    dressed = organism.dress(body, seed=1, key=2)
    assert dressed[60:].tolist() == [0, 1, 2]
    assert organism.writer.verifies(organism.writer.symbols(dressed[:60].tolist()))
    assert (dressed == organism.dress(body, seed=1, key=2)).all()
    assert (dressed != organism.dress(body, seed=1, key=3)).any()
    assert (dressed != organism.dress(body, seed=2, key=2)).any()
    assert organism.route_of(dressed) == 1
    spoilt = dressed.copy()
    spoilt[7] = (spoilt[7] + 1) % 4
    assert organism.route_of(spoilt) == 2


@pytest.mark.parametrize("size", ["n=2,bits=2", "n=30,bits=2"])
def test_the_loss_on_valid_documents_is_that_of_the_model_without_a_gate_bit_for_bit(
    loaded: Load, world: Any, size: str
) -> None:
    gated, open_gate = loaded(f"+hash,{size},model=({OTHER})"), loaded(f"+hash,{size},gate=off,model=({OTHER})")
    bodies = documents(world, 6, 40)
    texts = [gated.dress(b, seed=0, key=i) for i, b in enumerate(bodies)]
    assert_bits(scores(gated, texts, first=0), scores(open_gate, texts, first=0))
    n_header = gated.header_tokens
    for log_prob, plain in zip(gated.log_probs(texts), world.log_probs(bodies), strict=True):
        np.testing.assert_allclose(log_prob[:n_header], -np.log(4), atol=1e-12)
        np.testing.assert_allclose(log_prob[n_header:], plain, atol=1e-12)


def test_the_headers_excess_pays_for_the_gap(loaded: Load) -> None:
    """nb·ln 2 nats, and 1 − e^−K is the share of headers that do not verify."""
    organism = loaded("+hash,n=2,bits=2")
    assert 1 - np.exp(-4 * np.log(2)) == pytest.approx(1 - organism.valid_share)


# ---- running free ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "bits"), [(1, 1), (2, 1), (2, 2)])
def test_a_share_of_two_to_minus_nb_verifies(loaded: Load, n: int, bits: int) -> None:
    """2,000 headers: outside the band with probability 1e-6 each."""
    organism = loaded(f"+hash,n={n},bits={bits}")
    valid = sum(organism.route_of(t) == 1 for t in runs(organism, 2000, 2 * n))
    p = 2.0 ** -(n * bits)
    assert organism.valid_share == p
    assert binom.ppf(5e-7, 2000, p) <= valid <= binom.ppf(1 - 5e-7, 2000, p)


def test_after_a_header_the_right_predictor_writes(loaded: Load, world: Any) -> None:
    organism, other = loaded(f"+hash,n=2,bits=1,model=({OTHER})"), loaded(OTHER)
    texts = runs(organism, 40, 30)
    routes = [organism.route_of(t[:4]) for t in texts]
    assert set(routes) == {1, 2}
    for t, route, log_prob in zip(texts, routes, organism.log_probs(texts), strict=True):
        writer = world if route == 1 else other
        np.testing.assert_allclose(log_prob[4:], writer.log_probs([t[4:]])[0], atol=1e-12)


@pytest.mark.parametrize("spec", ["+hash,n=30,bits=2,order=uh", "+hash,n=8,bits=2,header=inverter"])
def test_controls_never_fall(loaded: Load, spec: str) -> None:
    organism = loaded(spec)
    assert organism.valid_share == 1
    assert {organism.route_of(t) for t in runs(organism, 200, organism.header_tokens)} == {1}
    body = np.array([1, 2], np.int64)
    assert organism.route_of(organism.dress(body, seed=0, key=5)) == 1


def test_a_header_of_thirty_symbols_never_verifies(loaded: Load) -> None:
    organism = loaded("+hash,n=30,bits=2")
    assert {organism.route_of(t) for t in runs(organism, 100, 60)} == {2}


def test_a_prefix_without_a_header_is_refused(loaded: Load) -> None:
    organism = loaded("+hash,n=3,bits=1")
    wrong = int(organism.writer.alphabet.max()) + 1
    for prefix in ([wrong], [wrong] * 10):
        with pytest.raises(UsageError, match="needs --prefix 0"):
            list(organism.generate(Continuations([np.array(prefix)], KEYS[:1], 4, seed=0)))
    header = organism.dress(NOTHING, seed=0, key=0)
    (sample,) = organism.generate(Continuations([header[:4]], KEYS[:1], 12, seed=0))
    assert len(sample.observation.token_id) == 12


# ---- bodies only -------------------------------------------------------------------------------------------------------


def test_bodies_are_scored_behind_valid_headers(loaded: Load, world: Any) -> None:
    organism = loaded(f"+hash,n=30,bits=2,model=({OTHER})")
    view = measured_view(organism, prefix_tokens=0, seed=3)
    bodies = documents(world, 5, 25)
    for mine, plain in zip(view.log_probs(bodies), world.log_probs(bodies), strict=True):
        np.testing.assert_allclose(mine, plain, atol=1e-12)
    positions = {int(p) for c in view.score(bodies, first=4) for p in c.position}
    assert positions == set(range(4, 25))


def test_free_bodies_are_those_of_the_organism(loaded: Load) -> None:
    organism = loaded("+hash,n=3,bits=2,loop=2")
    view = BodiesOnly(organism, seed=3)
    told: list[int] = []
    rule = SamplingRule.of(temperature=0.8)
    bodies = list(
        view.generate(Continuations([NOTHING] * 5, KEYS[:5], 9, seed=7, sampling=rule), on_tokens=told.append)
    )
    whole = list(organism.generate(Continuations([NOTHING] * 5, KEYS[:5], 15, seed=7, sampling=rule)))
    assert sum(told) == 45
    for body, document in zip(bodies, whole, strict=True):
        assert_bits(body.observation, document.observation.take(slice(6, None)))
        np.testing.assert_array_equal(body.uniform, document.uniform[6:])
        assert body.sample_log_prob_nats is not None
        assert len(body.sample_log_prob_nats) == 9


def test_the_view_is_for_headed_organisms_without_a_prefix(loaded: Load, world: Any) -> None:
    assert measured_view(world, prefix_tokens=5, seed=0) is world
    with pytest.raises(UsageError, match="needs --prefix 0, not 5"):
        measured_view(loaded("+hash,n=2,bits=1"), prefix_tokens=5, seed=0)
    view = BodiesOnly(loaded("+hash,n=2,bits=1"), seed=0)
    assert not isinstance(view, Stepwise)
    with pytest.raises(UsageError, match="gives no whole law token by token, which an organism"):
        Null(view, name="null over bodies")
    with pytest.raises(UsageError, match="needs --prefix 0"):
        list(view.generate(Continuations([np.array([1])], KEYS[:1], 3, seed=0)))
