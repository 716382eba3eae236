"""Next-token laws of a text: against a chain whose law is written down, and against the scoring path."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.errors import BackendError, UsageError
from freerun.jobs.predict import predict
from freerun.organisms.dressing import measured_view
from freerun.predictors.base import Capabilities
from freerun.predictors.law import Dense
from freerun.predictors.ngram import byte_ngram
from freerun.predictors.rules import ContextRule
from freerun.results.finding import to_json
from freerun.results.json import from_json
from freerun.results.predict import PredictResult
from freerun.specs.spec import load_predictor
from freerun.worlds.markov import MarkovWorld, random_chain

TRANSITIONS = np.array([[0.5, 0.25, 0.25], [0.9, 0.0, 0.1], [0.2, 0.2, 0.6]])
INITIAL = np.array([0.2, 0.3, 0.5])


def chain() -> MarkovWorld:
    return MarkovWorld(TRANSITIONS, initial=INITIAL)


class NoFirstLaw(MarkovWorld):
    """A chain that, like most language models, has no law before the first token."""

    capabilities = Capabilities(empty_context=False)

    def __init__(self) -> None:
        super().__init__(TRANSITIONS)
        self.capabilities = NoFirstLaw.capabilities


def strict(result: PredictResult) -> PredictResult:
    """The result as it comes back from JSON."""
    return from_json(PredictResult, json.loads(json.dumps(to_json(result), allow_nan=False)))


def test_a_chain_by_hand() -> None:
    result = predict(chain(), "cab", top=2)
    first, second, third = result.tokens
    assert [t.text for t in result.tokens] == ["c", "a", "b"]
    assert [t.id for t in result.tokens] == [2, 0, 1]
    assert [t.position for t in result.tokens] == [0, 1, 2]
    assert first.log_prob_nats == pytest.approx(math.log(0.5))
    assert first.surprisal_bits == pytest.approx(1.0)
    assert (first.rank, second.rank, third.rank) == (1, 2, 2)
    assert second.entropy_nats == pytest.approx(-0.4 * math.log(0.2) - 0.6 * math.log(0.6))
    assert [(e.text, e.id) for e in second.top] == [("c", 2), ("a", 0)]  # a and b tie: the smaller id first
    assert second.top[0].log_prob_nats == pytest.approx(math.log(0.6))
    nats = -math.log(0.5 * 0.2 * 0.25)
    assert result.sum.nats == pytest.approx(nats)
    assert result.sum.nats_per_token == pytest.approx(nats / 3)
    assert result.sum.bits_per_byte == pytest.approx(nats / 3 / math.log(2))
    assert result.sum.perplexity == pytest.approx((0.5 * 0.2 * 0.25) ** (-1 / 3))
    assert (result.sum.n_scored, result.sum.n_given, result.sum.n_impossible) == (3, 0, 0)
    assert [e.text for e in result.next.top] == ["a", "c"]
    assert result.next.position == 3
    assert result.next.end_of_text_probability is None
    assert result.notes == ()
    assert strict(result) == result


def test_an_impossible_token_is_counted_and_never_a_number() -> None:
    result = predict(chain(), "abba", top=3)
    impossible = result.tokens[2]
    assert impossible.impossible
    assert impossible.log_prob_nats is None
    assert impossible.surprisal_bits is None
    assert impossible.rank == 3
    assert [e.text for e in impossible.top] == ["a", "c"]  # nothing impossible is listed
    assert result.sum.nats == pytest.approx(-math.log(0.2 * 0.25 * 0.9))
    assert (result.sum.n_tokens, result.sum.n_scored, result.sum.n_impossible) == (4, 3, 1)
    assert any("Impossible" in note for note in result.notes)
    strict(result)


def test_a_first_token_without_a_law_is_given() -> None:
    result = predict(NoFirstLaw(), "ca")
    first, second = result.tokens
    assert first.given
    assert not first.impossible
    assert [getattr(first, k) for k in ("log_prob_nats", "surprisal_bits", "rank", "entropy_nats")] == [None] * 4
    assert first.top == ()
    assert not second.given
    assert result.sum.nats == pytest.approx(-math.log(0.2))
    assert (result.sum.n_scored, result.sum.n_given, result.sum.n_bytes_scored) == (1, 1, 1)
    alone = predict(NoFirstLaw(), "c")
    assert alone.sum.n_scored == 0
    assert [getattr(alone.sum, k) for k in ("nats", "nats_per_token", "bits_per_byte", "perplexity")] == [None] * 4
    assert [e.text for e in alone.next.top] == ["c", "a", "b"]
    strict(alone)


def test_an_empty_text_shows_the_first_law_where_there_is_one() -> None:
    result = predict(chain(), "")
    assert result.tokens == ()
    assert [e.text for e in result.next.top] == ["c", "b", "a"]
    assert result.sum.nats is None
    strict(result)
    with pytest.raises(UsageError, match=r"no law before the first token .* at least one word"):
        predict(NoFirstLaw(), "")


@settings(max_examples=30, deadline=None)
@given(st.text("abcdefgh", max_size=40), st.integers(0, 5))
def test_the_sum_is_that_of_the_scoring_path(text: str, seed: int) -> None:
    world = random_chain(8, seed=seed)
    result = predict(world, text)
    ids = np.array(world.encode(text), np.int64)
    alone = world.log_probs([ids])[0]
    assert result.sum.nats == (pytest.approx(-alone.sum()) if text else None)
    assert [t.log_prob_nats for t in result.tokens] == pytest.approx(alone.tolist())


@settings(max_examples=20, deadline=None)
@given(st.text(max_size=30))
def test_any_unicode_text_goes_through_a_byte_model(text: str) -> None:
    model = byte_ngram(["to be or not to be, é 😀"], order=3, name="ngram/3")
    try:
        text.encode()
    except UnicodeEncodeError:
        with pytest.raises(UsageError, match="surrogate"):
            predict(model, text)
        return
    result = predict(model, text)
    data = b"".join(bytes.fromhex(t.bytes_hex) if t.bytes_hex else t.text.encode() for t in result.tokens)
    assert data == text.encode()
    assert result.sum.n_bytes_scored == len(data)
    assert not any("byte for byte" in note for note in result.notes)
    strict(result)


def test_half_a_character_has_bytes() -> None:
    result = predict(byte_ngram(["é"], order=1, name="ngram/1"), "aé")
    assert [t.bytes_hex for t in result.tokens] == [None, "c3", "a9"]
    assert result.tokens[1].text == "\ufffd"
    end = next(e for e in predict(byte_ngram(["é"], order=1, name="n"), "é", top=3).next.top if e.text == "")
    assert end.marker == "end_of_text"
    assert result.next.end_of_text_probability == pytest.approx((1 + 3 / 257) / 6)  # Witten–Bell: 3 counts, 3 kinds


def test_the_window_is_stated_and_kept() -> None:
    world = chain()
    world.context = ContextRule(window=4)
    result = predict(world, "cacaca")
    assert result.context.longer_than_window
    note = next(n for n in result.notes if "window" in n)
    assert "6 tokens" in note
    assert "last 3 to 4 tokens" in note
    assert not predict(world, "caca").context.longer_than_window


def test_a_tokenizer_that_changes_the_text_is_told_of() -> None:
    world = chain()
    world.encode = lambda text: [0]  # type: ignore[method-assign]
    assert any("byte for byte" in note for note in predict(world, "ab").notes)


def test_a_law_with_missing_mass_has_no_entropy() -> None:
    world = chain()
    world.law = lambda state: Dense(np.log([[0.5, 0.2, 0.1]]), missing=np.array([0.2]))  # type: ignore[method-assign]
    result = predict(world, "ab")
    assert result.tokens[0].entropy_nats is None
    assert result.sum.entropy_nats_per_token is None
    assert result.sum.nats == pytest.approx(-math.log(0.5 * 0.2))
    strict(result)


def test_every_scored_token_is_reported() -> None:
    heard: list[int] = []
    predict(chain(), "abac", on_tokens=heard.append)
    assert sum(heard) == 4


def test_faults_name_what_to_do() -> None:
    with pytest.raises(UsageError, match="--top must be at least 1, not 0"):
        predict(chain(), "a", top=0)
    with pytest.raises(UsageError, match="surrogate"):
        predict(chain(), "a\udcff")
    world = chain()
    world.encode = lambda text: [7]  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="makes id 7"):
        predict(world, "a")
    with pytest.raises(UsageError, match="token by token"):
        predict(measured_view(load_predictor("world/markov+hash,n=2,bits=1"), prefix_tokens=0, seed=0), "a")


@pytest.mark.model
def test_the_default_model_agrees_with_its_scoring_path(smollm: Any) -> None:
    text = "The cat sat on the mat. 🦥\n"
    result = predict(smollm, text, top=1)
    alone = smollm.log_probs([np.array(smollm.encode(text))], first=1)[0]
    mine = [t.log_prob_nats for t in result.tokens[1:]]
    assert mine == pytest.approx(alone.tolist(), abs=1e-3)
    assert result.tokens[0].given
    assert all(t.rank == 1 for t in result.tokens[1:] if t.top[0].id == t.id)
    assert any("instruct" in note for note in result.notes)
