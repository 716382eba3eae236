"""The page on a served model, over fakes of every server: what it gives is shown, what it lacks is named, and all else works."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from freerun.errors import FreerunError
from freerun.explore.desk import BesideRequest, Desk, ReadRequest, SampleRequest, WritersRequest
from tests.explore.site import alone, desk_of
from tests.predictors.servers.conftest import PROVIDERS, Served
from tests.predictors.servers.conftest import served as served_model
from tests.predictors.servers.conftest import tokenizer as byte_tokenizer
from tests.predictors.servers.fake import Fake, table

served, tokenizer = served_model, byte_tokenizer
TEXT = "to be or not"
DRAWS = 12

On = Callable[[str], Desk]


@pytest.fixture
def desk_on(served: Served) -> On:
    return lambda provider: desk_of(served(provider, Fake()))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_a_server_gives_is_shown_with_its_own_probabilities(desk_on: On, provider: str) -> None:
    desk, laws = desk_on(provider), table()
    card = desk.about().model
    assert (card.steps, card.whole_laws) == (False, False)
    reading = desk.read(ReadRequest(text=TEXT), alone())
    given = desk.reader.n_given
    assert [token.given for token in reading.tokens] == [i < given for i in range(len(reading.ids))]
    for before, token in list(zip(reading.ids, reading.tokens[1:], strict=False)):
        assert token.surprisal_nats == pytest.approx(-laws[before, token.id], abs=1e-3)
        assert token.entropy_nats is None
    following = reading.next
    assert following is not None
    assert (following.entropy_nats, following.end_probability, following.loop_mass) == (None, None, None)
    assert 1 <= len(following.bars) <= 2 * DRAWS
    own = np.exp([laws[reading.ids[-1], bar.id] for bar in following.bars])
    assert [bar.probability for bar in following.bars] == pytest.approx(own.tolist(), abs=1e-3)
    assert (following.n_draws, following.rest) == (DRAWS, pytest.approx(1 - own.sum(), abs=1e-2))
    assert following.n_rest == card.vocabulary - len(following.bars)
    assert (reading.running.excess_nats, reading.running.half_width_nats, reading.running.z) == (None, None, None)
    assert "no laws of single tokens" in reading.notes[-1]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_tree_grows_by_what_the_server_draws(desk_on: On, provider: str) -> None:
    desk = desk_on(provider)
    ids = desk.read(ReadRequest(text=TEXT), alone()).ids
    sampled = desk.sample(SampleRequest(ids, n=3, tokens=6), alone())
    assert not sampled.counted, "the server draws by itself: a seed alone does not make it again"
    assert [branch.number for branch in sampled.branches] == [0, 1, 2]
    assert all(1 <= len(branch.ids) <= 6 for branch in sampled.branches)
    longer = desk.read(ReadRequest(ids=(*ids, *sampled.branches[0].ids)), alone())
    told = [token.surprisal_nats for token in longer.tokens[len(ids) :]]
    assert all(value is not None and value >= 0 for value in told)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_who_is_writing_needs_log_probabilities_alone_and_coherence_says_what_it_lacks(
    desk_on: On, provider: str
) -> None:
    desk = desk_on(provider)
    ids = desk.read(ReadRequest(text=TEXT), alone()).ids[:8]
    shelf = desk.about().shelves[0]
    asked = WritersRequest(ids, shelf.name, shelf.latents[0].name)
    writers = desk.writers(asked, alone())
    assert writers.posterior[-1].sum() == pytest.approx(1)
    assert len(writers.entropy_bits) == len(ids) + 1
    with pytest.raises(FreerunError, match="law"):
        desk.coherence(asked, alone())


def test_beside_another_server_only_the_gap_is_known(served: Served) -> None:
    desk = desk_of(served("vllm", Fake()), served("sglang", Fake()))
    ids = desk.read(ReadRequest(text=TEXT), alone()).ids
    beside = desk.beside(BesideRequest(ids), alone())
    assert set(beside.kl_nats) == {None}
    assert (beside.total_kl_nats, beside.next_kl_nats) == (None, None)
    assert beside.next is not None
    assert beside.next.n_draws == DRAWS
    assert beside.total_gap_nats == pytest.approx(0, abs=1e-3)
