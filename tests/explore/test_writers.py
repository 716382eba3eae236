"""Who is writing: the numbers are those of `freerun source`, whichever way led to a text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from freerun.errors import DataError, UsageError
from freerun.explore import writers
from freerun.explore.writers import OWN, SourceReader
from freerun.jobs.source.coherence import own_paths
from freerun.jobs.source.file import read_sources
from freerun.jobs.source.question import SourceOptions, questions_of
from freerun.jobs.source.scoring import header_free, token_log_probs
from freerun.jobs.source.source import source
from freerun.predictors.base import Predictor
from freerun.predictors.mixture import DocumentCache, Mixture
from freerun.worlds.authors import authors
from tests.explore.site import alone, toy

TEXT = "to be or not to be"
ALONE = SourceOptions(readouts=("header",), own_tokens=0)


def answer(predictor: Predictor, text: str, latent: str, shelf: str | None) -> Any:
    sources = None if shelf is None else read_sources(shelf)
    found = source(predictor, text, sources, ALONE)
    return next(x for x in found.latents if x.name == latent)


def test_an_exact_world_is_asked_for_its_own_sources_and_nothing_else() -> None:
    world = authors()
    reader = SourceReader(world, ["news"])
    assert [s.name for s in reader.shelves()] == [OWN]
    text = world.corpus(1, 40, seed=2).documents[0].text
    for latent in reader.shelves()[0].latents:
        mine = reader.posterior(OWN, latent.name, world.encode(text), None, alone())
        theirs = answer(world, text, latent.name, None)
        np.testing.assert_allclose(mine.posterior, theirs.header.path, atol=1e-9)
        np.testing.assert_allclose(mine.entropy_bits, theirs.header.entropy_bits, atol=1e-9)
        assert mine.names[-1] == "other"
        assert mine.tokens_to_sure == theirs.header.tokens_to_90


@pytest.mark.parametrize("short", [0, 1000])
def test_headers_give_what_source_gives_read_whole_or_token_by_token(
    short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writers, "_SHORT_TOKENS", short)
    predictor = toy()
    reader = SourceReader(predictor, ["era"])
    latent = reader.shelves()[0].latents[0].name
    mine = reader.posterior("era", latent, list(TEXT.encode()), None, alone())
    theirs = answer(predictor, TEXT, latent, "era")
    np.testing.assert_allclose(mine.posterior, theirs.header.path, atol=1e-9)
    np.testing.assert_allclose(mine.shift, theirs.header.shift, atol=1e-9)


def test_a_longer_branch_and_its_sibling_are_read_on_from_what_is_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, ids = toy(), list(TEXT.encode())
    reader = SourceReader(predictor, ["era"])
    latent = reader.shelves()[0].latents[0].name
    reader.posterior("era", latent, ids[:10], None, alone())

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the whole text was read again")

    monkeypatch.setattr(writers, "token_log_probs", never)
    for branch in (ids[:14], [*ids[:10], 97, 98], ids[:14], ids):
        mine = reader.posterior("era", latent, branch, None, alone())
        theirs = answer(predictor, bytes(branch).decode(), latent, "era")
        np.testing.assert_allclose(mine.posterior, theirs.header.path, atol=1e-9)


def test_states_that_would_fill_the_memory_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_STATE_BYTES", 0)
    reader = SourceReader(toy(), ["era"])
    latent = reader.shelves()[0].latents[0].name
    reader.posterior("era", latent, list(TEXT.encode()), None, alone())
    assert all(not text.rows for texts in reader._texts.values() for text in texts.values())


def test_a_prior_of_ones_own_needs_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = toy()
    reader = SourceReader(predictor, ["era"])
    shelf = reader.shelves()[0].latents[0]
    ids = list(TEXT.encode())
    before = reader.posterior("era", shelf.name, ids, None, alone())
    prior = np.arange(1, len(shelf.names) + 1) / 7  # does not sum to 1
    monkeypatch.setattr(SourceReader, "_read_on", None)
    after = reader.posterior("era", shelf.name, ids, prior.tolist(), alone())
    odds = before.posterior[-1] / before.prior * prior
    np.testing.assert_allclose(after.posterior[-1], odds / odds.sum(), atol=1e-9)
    np.testing.assert_allclose(after.prior.sum(), 1)


def test_coherence_along_a_branch_is_that_of_the_models_own_paths() -> None:
    world = authors()
    prefix = np.array(world.encode(world.corpus(1, 12, seed=1).documents[0].text))
    (question,) = [q for q in questions_of(world, None, ALONE) if q.name == "author"]
    before = token_log_probs(question.speakers, prefix)
    ((path,),) = own_paths(
        header_free(world), question.speakers, prefix, before, [question.prior], n_paths=1, n_tokens=10, seed=4
    )
    text = [*prefix.tolist(), *path.ids.tolist()]
    mine = SourceReader(world, []).coherence(OWN, "author", text, len(prefix), None, alone())
    np.testing.assert_allclose(mine.tv, [s.tv for s in path.steps], atol=1e-9)
    drift = np.stack([s.drift for s in path.steps])
    np.testing.assert_allclose(np.abs(mine.drift), np.abs(drift).max(axis=1), atol=1e-9)
    np.testing.assert_allclose(mine.accumulated, np.abs(drift.cumsum(axis=0)).max(axis=1), atol=1e-9)
    assert (mine.tv < 1e-9).all()  # the world is the mixture of its sources: belief never moves by itself
    assert mine.breaks_at is None


def test_coherence_breaks_where_headers_are_no_mixture() -> None:
    reader = SourceReader(toy(), ["era"])
    latent = reader.shelves()[0].latents[0].name
    ids = list(b"to be or not to be that is the question whether")
    found = reader.coherence("era", latent, ids, 5, None, alone())
    assert found.first == 5
    assert (np.abs(found.drift) <= found.tv + 1e-9).all()
    at = found.breaks_at
    assert at is None or found.accumulated[at - 5] >= found.limit > max([0.0, *found.accumulated[: at - 5]])


@pytest.mark.parametrize(
    ("shelf", "latent", "ids", "prior", "why"),
    [
        ("nothing", "era", (1,), None, "no sources file"),
        ("era", "nothing", (1,), None, "no latent"),
        ("era", None, (), None, "empty"),
        ("era", None, (1,), (0.5, 0.5, 0.5), "as many numbers"),
        ("era", None, (1,), (), "as many numbers"),
    ],
)
def test_what_cannot_be_asked_is_refused(shelf: str, latent: str | None, ids: Any, prior: Any, why: str) -> None:
    reader = SourceReader(toy(), ["era"])
    name = latent or reader.shelves()[0].latents[0].name
    with pytest.raises((UsageError, DataError), match=why):
        reader.posterior(shelf, name, ids, prior, alone())


def test_coherence_weighs_templates_by_what_they_foretold() -> None:
    """The model's own paths again, with several headers a source, by a model that does not forget them."""
    bytes_alone = toy()
    predictor = Mixture([bytes_alone, DocumentCache(bytes_alone)], [0.7, 0.3], name="mix")
    sources = read_sources("era")
    prefix = np.array(list(b"to be or"), np.int64)
    (question,) = questions_of(predictor, sources, ALONE)
    prior = np.append(question.prior[:-1], 0.0)
    ((path,),) = own_paths(
        header_free(predictor),
        question.speakers,
        prefix,
        token_log_probs(question.speakers, prefix),
        [prior / prior.sum()],
        n_paths=1,
        n_tokens=8,
        seed=1,
    )
    text = [*prefix.tolist(), *path.ids.tolist()]
    mine = SourceReader(predictor, ["era"]).coherence("era", question.name, text, len(prefix), None, alone())
    np.testing.assert_allclose(mine.tv, [s.tv for s in path.steps], atol=1e-9)
    drift = np.stack([s.drift for s in path.steps])
    np.testing.assert_allclose(mine.accumulated, np.abs(drift.cumsum(axis=0)).max(axis=1), atol=1e-9)
    assert mine.tv.max() > 1e-3
