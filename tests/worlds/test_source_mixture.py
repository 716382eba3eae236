"""Mixtures of sources: posteriors by hand and by direct Bayes, the drift identity, parts of a mixture."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from freerun.errors import DataError, UsageError
from freerun.predictors.ngram import byte_ngram
from freerun.worlds.authors import authors
from freerun.worlds.chain import row_entropy
from freerun.worlds.hmm import even_process, golden_mean, mess3, rrxor, z1r
from freerun.worlds.markov import MarkovWorld, random_chain
from freerun.worlds.mixture import Latent, MixtureWorld
from tests.worlds.fitted import fitted_mixture


def coin(p: float) -> MarkovWorld:
    """Independent letters, `a` with probability p."""
    return MarkovWorld(np.array([[p, 1 - p], [p, 1 - p]]), symbols="ab", name=f"coin {p}")


def hidden() -> MixtureWorld:
    """Five hidden processes over 0 and 1, with a joint prior and one setting that never occurs."""
    latents = [Latent("kind", ("even", "golden", "other")), Latent("bias", ("low", "high"))]
    worlds = {
        ("even", "low"): even_process(0.3),
        ("even", "high"): even_process(0.7),
        ("golden", "low"): golden_mean(0.3),
        ("other", "low"): rrxor(0.4, 0.6),
        ("other", "high"): z1r(0.3),
    }
    return MixtureWorld(latents, worlds, prior=np.array([[0.2, 0.1], [0.25, 0.0], [0.15, 0.3]]))


def test_posterior_and_law_by_hand() -> None:
    """Coins ¾ and ¼ at prior ⅓ : ⅔. After a: 1·¾ : 2·¼ = 3 : 2; after aa: 9 : 2; after aab: 9·1 : 2·3 = 9 : 6."""
    world = MixtureWorld([Latent("coin", ("x", "y"), (1 / 3, 2 / 3))], {("x",): coin(0.75), ("y",): coin(0.25)})
    posterior = world.posterior(np.array([0, 0, 1]))
    np.testing.assert_allclose(posterior[:, 0], [1 / 3, 3 / 5, 9 / 11, 9 / 15], atol=1e-14)
    law = world.probabilities(world.start([np.array([0, 0])]))[0]
    np.testing.assert_allclose(law[0], (9 * 0.75 + 2 * 0.25) / 11, atol=1e-14)
    np.testing.assert_allclose(
        np.exp(world.log_probability(np.array([0, 0, 1]))), (9 / 64 + 2 * 3 / 64) / 3, atol=1e-14
    )
    assert world.sources == ("coin=x", "coin=y")


@pytest.mark.parametrize("make", [hidden, lambda: authors(3, n_symbols=3)], ids=["hidden", "authors"])
def test_probabilities_and_posteriors_are_bayes_over_enumerated_words(make) -> None:
    world = make()
    words = [np.array(w) for w in product(range(world.n_tokens), repeat=8 if world.n_tokens == 2 else 5)]
    each = world.prior * np.exp([[x.sum() for x in c.log_probs(words)] for c in world.components]).T
    np.testing.assert_allclose(np.exp([x.sum() for x in world.log_probs(words)]), each.sum(1), atol=1e-12)
    possible = np.flatnonzero(each.sum(1) > 0)
    wanted = each[possible] / each[possible].sum(1, keepdims=True)
    found = world.log_posteriors([words[i] for i in possible])
    np.testing.assert_allclose([np.exp(p[-1]) for p in found], wanted, atol=1e-10)
    filtered = world.start([words[i] for i in possible])
    np.testing.assert_allclose(np.exp(filtered.log_weights), wanted, atol=1e-10)
    np.testing.assert_allclose(world.posterior(words[possible[7]])[-1], wanted[7], atol=1e-10)


def test_step_by_step_weights_are_the_posterior() -> None:
    world = authors()
    ids = np.array(world.corpus(1, 200, seed=1).documents[0].ids)
    wanted = world.posterior(ids)
    state = world.start([ids[:0]])
    for t in range(200):
        np.testing.assert_allclose(np.exp(state.log_weights[0]), wanted[t], atol=1e-10)
        state = world.advance(state, ids[t : t + 1])


@pytest.mark.parametrize("make", [hidden, authors], ids=["hidden", "authors"])
def test_drift_identity(make) -> None:
    """H(π_t) − E_q̄ H(π_{t+1}) = H(q̄_t) − Σ π_t(s) H(q_s), at every prefix."""
    world = make()
    documents = [np.array(d.ids) for d in world.corpus(6, 20, seed=2).documents]
    for t in (0, 1, 3, 8, 19):
        state = world.start([d[:t] for d in documents])
        mean, weights = world.probabilities(state), np.exp(state.log_weights)
        after = np.zeros(len(documents))
        for v in range(world.n_tokens):
            possible = mean[:, v] > 0
            then = world.advance(state, np.full(len(documents), v))
            after += np.where(possible, mean[:, v] * row_entropy(np.exp(then.log_weights)), 0)
        gain = row_entropy(mean) - np.einsum("rs,rs->r", weights, row_entropy(state.tables))
        np.testing.assert_allclose(row_entropy(weights) - after, gain, atol=1e-12)
        assert (gain >= -1e-12).all()


def test_marginals_sum_the_settings() -> None:
    world = hidden()
    posterior = world.posterior(np.array([0, 1, 1, 0]))
    by_kind = world.marginal(posterior, "kind")
    np.testing.assert_allclose(by_kind[:, 0], posterior[:, 0] + posterior[:, 1], atol=1e-15)
    np.testing.assert_allclose(by_kind[0], [0.3, 0.25, 0.45], atol=1e-12)
    np.testing.assert_allclose(world.marginal(posterior, "bias")[0], [0.6, 0.4], atol=1e-12)
    assert by_kind[4, 1] == 0  # two ones in a row


def test_the_publication_shows_the_author_slowly_and_the_date_not() -> None:
    """Mean posterior of the truth over 60 documents, each latent ½ at first."""
    world = authors()
    corpus = world.corpus(60, 200, seed=5)
    truth = {name: [] for name in ("publication", "author", "date")}
    for document, log_posterior in zip(
        corpus.documents, world.log_posteriors([np.array(d.ids) for d in corpus.documents]), strict=True
    ):
        for latent in world.latents:
            marginal = world.marginal(np.exp(log_posterior), latent.name)
            truth[latent.name].append(marginal[:, latent.values.index(document.meta[latent.name])])
    mean = {name: np.mean(rows, axis=0) for name, rows in truth.items()}
    for curve in mean.values():
        assert curve[0] == pytest.approx(0.5)
    assert mean["publication"][32] > 0.95
    assert 0.55 < mean["author"][32] < 0.85
    assert mean["author"][200] > 0.85
    assert mean["date"][200] < 0.65


def test_beliefs_are_calibrated() -> None:
    """Over 400 documents of the mixture, 1{author} − π_t has mean 0: within 5 standard errors at four lengths, false alarms below
    4 · 6e-7."""
    world = authors(1)
    corpus = world.corpus(400, 64, seed=9)
    belief = np.stack(
        [
            world.marginal(np.exp(p), "author")[:, 0]
            for p in world.log_posteriors([np.array(d.ids) for d in corpus.documents])
        ]
    )
    is_first = np.array([d.meta["author"] == "ada" for d in corpus.documents])
    for t in (0, 8, 32, 64):
        miss = is_first - belief[:, t]
        assert abs(miss.mean()) <= 5 * miss.std() / 20


def test_entropy_rate_is_the_mean_of_the_sources() -> None:
    world = authors()
    wanted = np.mean([c.entropy_rate() for c in world.components])
    assert world.entropy_rate() == pytest.approx(wanted, abs=1e-12)
    cost = (
        np.array(
            [-x.sum() for x in world.log_probs([np.array(d.ids) for d in world.corpus(100, 120, seed=3).documents])]
        )
        / 120
    )
    error = cost.std(ddof=1) / np.sqrt(100)
    # at most H(source) + H(first symbol) above the rate; 5 standard errors, false alarms 6e-7
    assert -5 * error <= cost.mean() - wanted <= 2 * np.log(8) / 120 + 5 * error < 0.1
    mixed = MixtureWorld([Latent("x", ("a", "b"))], {("a",): mess3(), ("b",): random_chain(3)})
    assert mixed.entropy_rate() is None


# ---- parts -----------------------------------------------------------------------------------------------------------


def test_a_known_latent_is_conditioning() -> None:
    """P(x | S) · P(S) summed over S is P(x), and the posterior given S is the posterior cut to S."""
    world = hidden()
    ids = np.array(world.corpus(1, 9, seed=4).documents[0].ids)
    total = 0.0
    for value, p in (("low", 0.6), ("high", 0.4)):
        part = world.given({"bias": value})
        total += p * np.exp(part.log_probability(ids))
        assert all(f"bias={value}" in s for s in part.sources)
    assert total == pytest.approx(np.exp(world.log_probability(ids)), abs=1e-14)
    part = world.given({"kind": "other"})
    np.testing.assert_allclose(part.prior, [1 / 3, 2 / 3], atol=1e-12)
    whole, cut = authors(), authors().given({"publication": "onion"})
    ids = np.array(cut.corpus(1, 30, seed=4).documents[0].ids)
    kept = whole.posterior(ids)[:, whole.matching({"publication": "onion"})]
    np.testing.assert_allclose(cut.posterior(ids), kept / kept.sum(1, keepdims=True), atol=1e-10)


def test_parts_have_names_fingerprints_and_components_of_their_own() -> None:
    world = authors()
    part = world.given({"date": "friday", "publication": "onion"})
    assert part.identity.name == "world/authors,publication=onion,date=friday"
    assert part.identity.fingerprint != world.identity.fingerprint
    assert {d.meta["publication"] for d in part.corpus(20, 5, seed=0).documents} == {"onion"}
    one = world.component({"publication": "onion", "author": "ada", "date": "friday"})
    ids = np.array(one.corpus(1, 30, seed=0).documents[0].ids)
    alone = part.given({"author": "ada"})
    np.testing.assert_allclose(alone.log_probability(ids), one.log_probability(ids), atol=1e-10)
    assert part.component({"author": "ada"}) is one


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda w: w.given({"author": "eve"}), "'eve' is not a value of it; it has ada, ben"),
        (lambda w: w.given({"publication": "onions"}), "did you mean 'onion'"),
        (lambda w: w.given({"autor": "ada"}), "no latent 'autor'; did you mean 'author'"),
        (lambda w: w.component({"author": "ada"}), "leaves 4 sources; fix publication, date"),
        (lambda w: w.marginal(np.ones(8), "day"), "no latent 'day'"),
    ],
)
def test_what_it_does_not_know_is_named(ask, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ask(authors())


def test_a_setting_that_never_occurs_is_refused() -> None:
    with pytest.raises(UsageError, match="no source with kind=golden, bias=high"):
        hidden().given({"kind": "golden", "bias": "high"})


@pytest.mark.parametrize(
    ("latents", "components", "prior", "words"),
    [
        ([Latent("x", ("a", "b"))], {("a",): coin(0.5)}, None, "no component writes when x=b"),
        ([Latent("x", ("a",))], {("a",): coin(0.5)}, [0.5], "sum 1"),
        ([Latent("x", ("a", "b"), (0.5, 0.4))], {("a",): coin(0.5), ("b",): coin(0.5)}, None, "sum 1"),
        ([Latent("x", ("a", "b"), (1.0,))], {}, None, "2 values and 1 prior"),
        ([Latent("x", ("a", "b"))], {("a",): coin(0.5), ("b",): mess3()}, None, "one alphabet"),
        ([Latent("x", ("a", "b"))], {("a",): coin(0.5), ("b",): golden_mean()}, None, "one alphabet"),
    ],
)
def test_what_is_no_mixture_is_refused(latents, components, prior, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        MixtureWorld(latents, components, prior=prior)


def test_a_source_that_is_ruled_out_never_comes_back_unless_all_are() -> None:
    world = hidden()
    ids = np.array([0, 1, 0, 1, 1])  # a lone one: not even; then two: not golden mean
    assert world.marginal(world.posterior(ids), "kind")[-1].tolist()[:2] == [0, 0]
    impossible = np.array(world.encode("0100000101110110000010"))
    with pytest.raises(DataError, match="cannot write"):
        world.posterior(impossible)
    at = int(np.flatnonzero(np.isneginf(world.log_probs([impossible])[0]))[0])
    np.testing.assert_allclose(np.exp(world.start([impossible[: at + 1]]).log_weights[0]), world.prior, atol=1e-12)


# ---- fitted to text --------------------------------------------------------------------------------------------------


def test_fitted_sources_are_the_n_grams_of_their_texts() -> None:
    texts = {("onion",): ["area man does it", "area man again"], ("times",): ["the senate votes", "the house votes"]}
    world = fitted_mixture(texts, 3)
    ids = np.array(world.encode("area man votes"))
    each = np.array([byte_ngram(t, order=3, name="x").log_probs([ids])[0].sum() for t in texts.values()])
    wanted = np.exp(each - np.logaddexp.reduce(each))
    np.testing.assert_allclose(world.posterior(ids)[-1], wanted, atol=1e-10)
    assert world.marginal(world.posterior(np.array(world.encode("area"))), "source")[-1, 0] > 0.9
    assert world.sources == ("source=onion", "source=times")
    assert world.end_ids == (256,)
    documents = world.corpus(40, 60, seed=0).documents
    assert all(256 not in (d.ids or ()) for d in documents)
    assert len({len(d.ids or ()) for d in documents}) > 3
    with pytest.raises(UsageError, match="must be a tuple"):
        fitted_mixture({"onion": ["x"]}, 2)  # type: ignore[dict-item]
