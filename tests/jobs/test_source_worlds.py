"""On worlds that take headers and write labels every readout has an exact answer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import special, stats

from freerun.errors import UsageError
from freerun.jobs.source.coherence import own_paths
from freerun.jobs.source.continuation import UNREAD, sample_labels
from freerun.jobs.source.infilling import infill, label_masses
from freerun.jobs.source.scoring import Speaker, document_start, log_likelihoods, token_log_probs
from freerun.organisms.resampled import Resampled
from freerun.predictors.mixture import Mixture
from freerun.predictors.rules import SamplingRule
from freerun.stats.sources.posterior import source_path
from freerun.worlds.authors import authors
from freerun.worlds.markov import MarkovWorld
from freerun.worlds.mixture import Latent, MixtureWorld

BODY, CUE, LABELS, HEADS = (0, 1, 2), 3, (4, 5), (6, 7)
NONE = np.zeros(0, np.int64)
UNLABELLED = 0.3
"""After the cue a text names its source, or with this chance goes on without."""


def chains(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two sources over a, b, c, a cue, two labels and two headers. A document begins with its source's header or without one."""
    rng = np.random.default_rng(seed)
    tables, starts = np.zeros((2, 8, 8)), np.zeros((2, 8))
    for s in range(2):
        tables[s][:3, :3] = 0.9 * rng.dirichlet(np.ones(3), size=3)
        tables[s][:3, CUE] = 0.1
        tables[s][CUE, LABELS[s]], tables[s][CUE, 0] = 1 - UNLABELLED, UNLABELLED
        tables[s][4:, :3] = 1 / 3
        starts[s, :4], starts[s, HEADS[s]] = 0.125, 0.5
    return tables, starts


def labelled(prior: tuple[float, float] = (0.3, 0.7)) -> MixtureWorld:
    tables, starts = chains()
    parts = {(x,): MarkovWorld(tables[s], initial=starts[s]) for s, x in enumerate(("one", "two"))}
    return MixtureWorld([Latent("source", ("one", "two"), prior)], parts)


def text(seed: int, length: int = 30) -> np.ndarray:
    """A body by the second chain, without the cue."""
    rng, table = np.random.default_rng(seed), chains()[0][1][:3, :3]
    out = [0]
    while len(out) < length:
        out.append(int(rng.choice(3, p=table[out[-1]] / table[out[-1]].sum())))
    return np.array(out, np.int64)


def chain_log_likelihood(ids: np.ndarray, source: int, *, first: float = 1 / 3) -> np.ndarray:
    """ln P after 0, 1, … tokens, from the tables by hand."""
    table = chains()[0][source]
    steps = [np.log(first), *(np.log(table[a, b]) for a, b in pairwise(ids))]
    return np.concatenate([[0.0], np.cumsum(steps)])


# ---- header scoring --------------------------------------------------------------------------------------------------


def test_header_scoring_is_bayes() -> None:
    """The mixture itself, told the source by a header token, is the source; without a header it is the mixture."""
    world, ids, prior = labelled(), text(1), np.array([0.2, 0.5, 0.3])
    speakers = [[Speaker(world, np.array([h]))] for h in HEADS] + [[Speaker(world, NONE)]]
    path = source_path(prior, log_likelihoods(speakers, ids))
    one, two = (chain_log_likelihood(ids, s) for s in range(2))
    # header-free: each source begins a body with 0.125 a symbol, whichever it is
    free = np.logaddexp(np.log(0.3) + one, np.log(0.7) + two) + np.log(0.375) * (np.arange(len(ids) + 1) > 0)
    joint = np.log(prior)[:, None] + np.stack([one, two, free])
    np.testing.assert_allclose(path.posterior.T, np.exp(joint - special.logsumexp(joint, axis=0)), atol=1e-10)


def test_templates_are_a_nuisance_latent() -> None:
    """A second wording puts an `a` after the header: the likelihood is the mean of the two, worked out from the tables."""
    world, ids, tables = labelled(), text(2), chains()[0]
    speakers = [[Speaker(world, np.array([h])), Speaker(world, np.array([h, 0]))] for h in HEADS]
    path = source_path(np.array([0.5, 0.5]), log_likelihoods(speakers, ids))
    after = [chain_log_likelihood(ids, s, first=tables[s][0, ids[0]]) for s in range(2)]
    plain = [chain_log_likelihood(ids, s) for s in range(2)]
    mean = np.array([np.logaddexp(a, b) - np.log(2) for a, b in zip(plain, after, strict=True)])
    np.testing.assert_allclose(path.posterior.T, np.exp(mean - special.logsumexp(mean, axis=0)), atol=1e-10)


def test_components_as_speakers_give_the_worlds_own_posterior() -> None:
    world = authors(3)
    document = world.corpus(1, 80, seed=5).documents[0]
    ids = np.array(document.ids)
    for latent in world.latents:
        speakers = [[Speaker(world.given({latent.name: v}), NONE)] for v in latent.values]
        prior = world.marginal(world.prior, latent.name)
        path = source_path(prior, log_likelihoods(speakers, ids))
        np.testing.assert_allclose(path.posterior, world.marginal(world.posterior(ids), latent.name), atol=1e-10)


def test_batches_and_header_lengths_change_nothing() -> None:
    world, ids = labelled(), text(3)
    heads = [np.array([h, *[0] * n]) for h in HEADS for n in range(25)]
    together = token_log_probs([[Speaker(world, h) for h in heads]], ids)[0]
    alone = [token_log_probs([[Speaker(world, h)]], ids)[0][0] for h in heads]
    np.testing.assert_allclose(together, alone, atol=1e-12)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        token_log_probs([[Speaker(labelled(), NONE)]], NONE)
    assert document_start(labelled()).size == 0


# ---- infilling -------------------------------------------------------------------------------------------------------


def posterior_of_text(world: MixtureWorld, ids: np.ndarray) -> np.ndarray:
    return np.asarray(world.posterior(ids)[-1])


def test_infilling_is_bayes_where_the_world_writes_labels() -> None:
    """P(label | text) is (1 − .3)·π(s), and with no text (1 − .3)·π_0(s): their ratio under any prior is Bayes under it."""
    world, ids = labelled(), text(4)
    prior = np.array([0.6, 0.3, 0.1])
    found = infill(
        world,
        ids,
        cues=[np.array([CUE])],
        labels=[[np.array([x])] for x in LABELS],
        prior=prior,
        content_free=[NONE],
    )
    exact = posterior_of_text(world, ids)
    np.testing.assert_allclose(found.mass, [*(1 - UNLABELLED) * exact, UNLABELLED], atol=1e-12)
    np.testing.assert_allclose(found.mass_without_text, [0.21, 0.49, 0.3], atol=1e-12)
    joint = prior * np.array([*(exact / np.array([0.3, 0.7])), 1.0])
    np.testing.assert_allclose(found.posterior, joint / joint.sum(), atol=1e-10)


def test_several_cues_and_spellings_are_summed_and_averaged() -> None:
    """A spelling of two tokens; a cue that names the source whatever it is told weighs as its probability."""
    world, ids = labelled(), text(5)
    labels = [[np.array([LABELS[0]]), np.array([0, 1])], [np.array([LABELS[1]])]]
    cues = [np.array([CUE]), np.array([0, CUE])]
    found = infill(world, ids, cues=cues, labels=labels, prior=np.array([0.4, 0.4, 0.2]), content_free=[NONE])
    for row, cue in zip(found.by_cue, cues, strict=True):
        before = np.concatenate([ids, cue])
        state = world.start([before])
        probs = world.law(state).probs()[0]
        second = world.law(world.advance(state, np.array([0]))).probs()[0]
        expected = [probs[LABELS[0]] + probs[0] * second[1], probs[LABELS[1]]]
        np.testing.assert_allclose(row, [*expected, 1 - sum(expected)], atol=1e-12)
    np.testing.assert_allclose(found.mass, found.by_cue.mean(axis=0), atol=1e-15)


def test_labels_that_begin_alike_exclude_one_another() -> None:
    """`a` stands for one value and `ab`, `abc` for another: the longest that comes counts, and all sum to 1."""
    world, prompt = labelled(), text(6)
    labels = [[np.array([0])], [np.array([0, 1]), np.array([0, 1, 2])]]
    found = label_masses(world, [prompt], labels)[0]
    state = world.start([prompt])
    a = world.law(state).probs()[0, 0]
    ab = a * world.law(world.advance(state, np.array([0]))).probs()[0, 1]
    np.testing.assert_allclose(found, [a - ab, ab, 1 - a], atol=1e-12)
    with pytest.raises(UsageError, match="same tokens"):
        label_masses(world, [prompt], [[np.array([0])], [np.array([0])]])
    with pytest.raises(UsageError, match="without tokens"):
        label_masses(world, [prompt], [[NONE]])


# ---- continuation ----------------------------------------------------------------------------------------------------


def read_label(ids: np.ndarray) -> str | None:
    return {LABELS[0]: "one", LABELS[1]: "two"}.get(int(ids[0]))


def test_sampled_labels_lie_in_their_intervals() -> None:
    """120 texts, 40 continuations each: the 95% intervals of the first value, the second and the unread miss the exact shares
    at most 16 times of 120 each (9 expected at a miss rate of 7.5%, which the discreteness allows; false alarm 0.9% each)."""
    world = labelled((0.5, 0.5))
    misses = np.zeros(3)
    for i in range(120):
        ids = text(100 + i, length=4)
        found = sample_labels(
            world, ids, cues=[np.array([CUE])], values=("one", "two"), read=read_label, n=40, seed=i, n_tokens=1
        )
        assert found.classes == ("one", "two", UNREAD)
        assert sum(found.counts) == 40
        exact = np.array([*(1 - UNLABELLED) * posterior_of_text(world, ids), UNLABELLED])
        misses += (exact < found.shares.low) | (exact > found.shares.high)
    assert stats.binom.sf(16, 120, 0.075) < 0.01
    assert (misses <= 16).all(), misses


def test_cues_take_turns_and_the_seed_decides() -> None:
    world, ids = labelled(), text(7)
    cues = [np.array([CUE]), np.array([1])]

    def once(seed: int) -> tuple[tuple[str, str], ...]:
        return sample_labels(
            world, ids, cues=cues, values=("one", "two"), read=read_label, n=9, seed=seed, n_tokens=3
        ).written

    assert once(1) == once(1) != once(2)
    with pytest.raises(UsageError, match="at least one"):
        sample_labels(world, ids, cues=cues, values=("one", "two"), read=read_label, n=1, seed=0)


# ---- along its own text ----------------------------------------------------------------------------------------------


def test_a_mixture_is_coherent_along_its_own_text() -> None:
    """Told by headers or by its components, the world's own law is the mixture of its sources: no drift anywhere."""
    world, ids = labelled(), text(8, length=3)
    own, prior = Speaker(world, np.array([0])), np.array([0.3, 0.7])
    components = [[Speaker(c, np.array([0]))] for c in world.components]
    before = token_log_probs(components, ids)
    for path in own_paths(own, components, ids, before, [prior], n_paths=3, n_tokens=12, seed=1)[0]:
        assert len(path.ids) == len(path.steps) == 12
        whole = np.concatenate([[0], ids, path.ids])
        np.testing.assert_allclose(path.posterior, world.posterior(whole)[len(ids) + 1 :], atol=1e-10)
        for step in path.steps:
            assert np.abs(step.drift).max() < 1e-12
            assert step.tv < 1e-12


def test_another_model_drifts_within_the_bound() -> None:
    """The same world tempered is not the mixture of the untempered sources: δ ≠ 0, |δ| ≤ TV, and the posterior is still Bayes'."""
    world, ids = labelled(), text(9, length=3)
    own, prior = (
        Speaker(Resampled(world, SamplingRule.of(temperature=0.5), name="cooled"), np.array([0])),
        np.array([0.3, 0.7]),
    )
    components = [[Speaker(c, np.array([0]))] for c in world.components]
    before = token_log_probs(components, ids)
    found = own_paths(own, components, ids, before, [prior, np.array([0.0, 1.0])], n_paths=2, n_tokens=10, seed=2)
    steps = [s for p in found[0] for s in p.steps]
    assert max(np.abs(s.drift).max() for s in steps) > 3e-4
    assert all(np.abs(s.drift).max() <= s.tv + 1e-12 for s in steps)
    for path in found[0]:
        whole = np.concatenate([[0], ids, path.ids])
        np.testing.assert_allclose(path.posterior, world.posterior(whole)[len(ids) + 1 :], atol=1e-10)
    assert [p.ids.tolist() for p in found[0]] == [p.ids.tolist() for p in found[1]]
    assert all((p.posterior[:, 1] == 1).all() and np.abs(p.steps[0].drift).max() < 1e-12 for p in found[1])


def test_templates_mix_in_the_law_of_a_source() -> None:
    """Two components as wordings of one source are that source: a mixture of the two with weights that learn."""
    world, ids = labelled((0.5, 0.5)), text(10, length=3)
    one, two = world.components
    third = Mixture([one, two], [0.5, 0.5], name="half and half")
    speakers = [[Speaker(one, np.array([0])), Speaker(two, np.array([0]))], [Speaker(third, np.array([0]))]]
    before = token_log_probs(speakers, ids)
    own = Speaker(world, np.array([0]))
    path = own_paths(own, speakers, ids, before, [np.array([1.0, 0.0])], n_paths=1, n_tokens=8, seed=3)[0][0]
    assert max(s.tv for s in path.steps) < 1e-12
    both = own_paths(own, speakers, ids, before, [np.array([0.5, 0.5])], n_paths=1, n_tokens=8, seed=3)[0][0]
    assert max(s.tv for s in both.steps) > 1e-3


def test_along_its_own_text_the_posterior_is_header_scoring_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one predictor, three paths at once or one by one: after every token the same as scoring text and path anew."""
    world, ids, prior = labelled(), text(11, length=3), np.array([0.2, 0.5, 0.3])
    speakers = [[Speaker(world, np.array([h])), Speaker(world, np.array([h, 0]))] for h in HEADS]
    speakers.append([Speaker(world, NONE)])
    before = token_log_probs(speakers, ids)

    def once() -> list[tuple[np.ndarray, np.ndarray]]:
        found = own_paths(speakers[-1][0], speakers, ids, before, [prior], n_paths=3, n_tokens=6, seed=4)[0]
        return [(p.ids, p.posterior) for p in found]

    paths = once()
    assert len({tuple(x) for x, _ in paths}) == 3
    for written, posterior in paths:
        whole = source_path(prior, log_likelihoods(speakers, np.concatenate([ids, written])))
        np.testing.assert_allclose(posterior, whole.posterior[len(ids) :], atol=1e-10)
    monkeypatch.setattr("freerun.jobs.source.coherence._TOKENS_HELD", 1)
    for (a, p), (b, q) in zip(paths, once(), strict=True):
        assert a.tolist() == b.tolist()
        np.testing.assert_allclose(p, q, atol=1e-12)
