"""What the page is told of a text, against exact laws, whatever way led there and however little is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import UsageError
from freerun.explore.desk import ReadRequest, SampleRequest
from freerun.explore.places import Place, Places
from freerun.explore.reader import Reader, branch_keys
from freerun.jobs.predict import predict
from freerun.predictors.base import Continuations
from freerun.specs.spec import load_predictor
from freerun.worlds.markov import random_chain
from tests.explore.site import alone, desk_of, toy


def read(predictor: Any, **asked: Any) -> Any:
    return desk_of(predictor).read(ReadRequest(**asked), alone())


def test_every_number_of_a_text_is_that_of_predict() -> None:
    predictor = toy()
    text = "to be or not"
    reading, told = read(predictor, text=text, top=7), predict(predictor, text, top=7)
    for mine, theirs in zip(reading.tokens, told.tokens, strict=True):
        assert (mine.id, mine.rank) == (theirs.id, theirs.rank)
        assert mine.surprisal_nats == pytest.approx(-theirs.log_prob_nats, abs=1e-12)
        assert mine.entropy_nats == pytest.approx(theirs.entropy_nats, abs=1e-12)
    assert [bar.id for bar in reading.next.bars] == [t.id for t in told.next.top]
    assert [bar.probability for bar in reading.next.bars] == pytest.approx(
        [np.exp(t.log_prob_nats) for t in told.next.top], abs=1e-12
    )
    assert reading.next.end_probability == pytest.approx(told.next.end_of_text_probability)
    assert reading.next.entropy_nats == pytest.approx(told.next.entropy_nats)


def test_what_is_shown_and_what_is_not_sum_to_one() -> None:
    predictor = toy()
    law = predictor.law(predictor.start([np.array(list(b"to be "))])).probs()[0]
    following = read(predictor, text="to be ", top=9, temperature=0.5).next
    shown = [bar.id for bar in following.bars]
    assert following.rest == pytest.approx(1 - law[shown].sum(), abs=1e-12)
    assert following.n_rest == predictor.n_tokens - 9
    for k, bar in enumerate(following.bars):
        assert bar.beyond == pytest.approx(1 - law[shown[: k + 1]].sum(), abs=1e-12)
    edited = law**2 / (law**2).sum()
    assert [bar.edited_probability for bar in following.bars] == pytest.approx(edited[shown].tolist(), rel=1e-9)
    assert following.edited_rest == pytest.approx(1 - edited[shown].sum(), abs=1e-12)


def test_temperature_one_edits_nothing_and_zero_is_greedy() -> None:
    plain, greedy = (read(toy(), text="to be ", temperature=t).next for t in (1.0, 0.0))
    assert plain.edited_rest is None
    assert all(bar.edited_probability is None for bar in plain.bars)
    assert [bar.edited_probability for bar in greedy.bars][:2] == [1.0, 0.0]


texts = st.lists(st.integers(0, 4), min_size=0, max_size=24)


@settings(max_examples=40, deadline=None)
@given(walks=st.lists(texts, min_size=1, max_size=6), kept=st.sampled_from([0, 1 << 12, 1 << 29]))
def test_any_walk_gives_the_same_laws_as_reading_afresh(walks: list[list[int]], kept: int) -> None:
    world = random_chain(5, seed=3)
    reader = Reader(world, places=Places(bytes_kept=kept, most_places=60))
    for ids in walks:
        seen = reader.observations(ids, alone())
        law = reader.law(ids, alone()).probs()[0]
        np.testing.assert_allclose(law, world.law(world.start([np.array(ids, np.int64)])).probs()[0], atol=1e-12)
        afresh = list(world.score([np.array(ids, np.int64)]))
        expected = [x for chunk in afresh for x in chunk.observation.log_prob_nats]
        np.testing.assert_allclose([float(s.log_prob_nats[0]) for s in seen], expected, atol=1e-12)


def test_states_stay_within_their_memory_and_the_last_one_is_kept() -> None:
    places = Places(bytes_kept=100)
    far = places.at([1, 2, 3])
    for n, place in enumerate(far.path()):
        places.keep(place, f"state {n}", 60)
    assert [p.state for p in far.path()] == [None, None, "state 2"]
    assert places.n_bytes == 60
    places.keep(far, "large", 1000)
    assert far.state == "large"


def test_too_many_places_are_forgotten() -> None:
    places = Places(most_places=10)
    for start in range(0, 40, 5):
        places.at(range(start, start + 5))
    assert places.n_places <= 10
    assert isinstance(places.root, Place)


def test_a_sample_is_that_of_the_engine_and_its_numbers_are_kept() -> None:
    predictor, prefix = toy(), list(b"to be ")
    desk = desk_of(predictor)
    sampled = desk.sample(SampleRequest(tuple(prefix), n=3, tokens=8, seed=5), alone())
    todo = Continuations([np.array(prefix)], branch_keys(3), 8, seed=5)
    expected = {s.row: [int(i) for i in s.observation.token_id] for s in predictor.generate(todo)}
    assert {b.number: list(b.ids) for b in sampled.branches} == expected
    assert (sampled.seed, sampled.law, sampled.counted) == (5, "temperature 1, full vocabulary", True)
    branch = [*prefix, *sampled.branches[0].ids]
    kept = desk.reader.observations(branch, alone())
    afresh = Reader(toy()).observations(branch, alone())
    assert [float(s.log_prob_nats[0]) for s in kept] == pytest.approx([float(s.log_prob_nats[0]) for s in afresh])


def test_a_sample_at_another_temperature_says_so_and_its_numbers_are_of_the_model() -> None:
    desk = desk_of(toy())
    prefix = tuple(b"to be ")
    sampled = desk.sample(SampleRequest(prefix, n=2, tokens=6, temperature=0.2), alone())
    assert sampled.law == "temperature 0.2"
    branch = [*prefix, *sampled.branches[0].ids]
    (told,) = desk.reader.observations(branch, alone())[-1:]
    assert told is not None
    law = Reader(toy()).law(branch[:-1], alone())
    assert float(told.log_prob_nats[0]) == pytest.approx(float(law.log_prob(np.array([branch[-1]]))[0]))


def test_a_model_without_a_law_before_the_first_token_says_so() -> None:
    """Its first token is given."""
    predictor = toy()
    predictor.capabilities = type(predictor.capabilities)(empty_context=False)
    reading = read(predictor, text="to")
    assert [t.given for t in reading.tokens] == [True, False]
    assert reading.tokens[0].surprisal_nats is None
    assert "given" in reading.notes[0]
    nothing = read(predictor, text="")
    assert (nothing.next, nothing.tokens) == (None, ())


def test_an_ended_text_has_no_next_law() -> None:
    predictor = toy()
    reading = read(predictor, ids=(*b"to", predictor.end_ids[0]))
    assert reading.ended
    assert reading.next is None
    with pytest.raises(UsageError, match="ended"):
        desk_of(predictor).sample(SampleRequest((*b"to", predictor.end_ids[0])), alone())


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({}, "one of them"),
        ({"text": "a", "ids": (1,)}, "one of them"),
        ({"ids": (257,)}, "none of"),
        ({"ids": (0,) * 5000}, "5,000 tokens"),
        ({"text": "\ud800"}, "Unicode"),
        ({"text": "a", "top": 51}, "from 1 to 50"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read(toy(), **asked)


# ---- a backend that shows little --------------------------------------------------------------------------------------


def test_a_backend_without_laws_shows_what_it_draws_with_its_own_probabilities() -> None:
    mock, world = load_predictor("mock/2@markov,seed=1"), load_predictor("world/markov,seed=1")
    reading = read(mock, text="abcd")
    law = world.law(world.start([np.array(list(world.encode("abcd")))])).probs()[0]
    following = reading.next
    assert following.n_draws == 12
    assert (following.entropy_nats, following.end_probability, following.loop_mass) == (None, None, None)
    assert [bar.probability for bar in following.bars] == pytest.approx([law[bar.id] for bar in following.bars])
    assert following.rest == pytest.approx(1 - law[[bar.id for bar in following.bars]].sum())
    assert all(token.entropy_nats is None for token in reading.tokens)
    assert all(token.surprisal_nats is not None for token in reading.tokens)
    assert reading.running.excess_nats is None
    assert "no laws" in reading.notes[-1]


def test_it_is_sampled_by_the_backend_itself() -> None:
    desk = desk_of(load_predictor("mock/2@markov,seed=1"))
    sampled = desk.sample(SampleRequest((0, 1), n=2, tokens=5), alone())
    assert not desk.reader.predictor.capabilities.counted_draws
    assert not sampled.counted
    assert all(len(b.ids) <= 5 for b in sampled.branches)


def test_a_loop_is_seen_and_so_is_the_mass_that_would_complete_it() -> None:
    reading = read(toy(), text="the cat sat on the mat. " * 3)
    assert reading.running.loop_at is not None
    assert reading.running.loops_now
    before = read(toy(), text=("the cat sat on the mat. " * 3)[: reading.running.loop_at])
    assert before.running.loop_at is None
    assert before.next.loop_mass > 0.5
