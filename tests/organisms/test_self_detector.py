"""Conformal thresholds, the coin after them, and what both cost on real documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import betabinom, norm

from freerun.errors import DataError, UsageError
from freerun.organisms.conformal import conformal_threshold
from freerun.organisms.memorised import without_calibration
from freerun.organisms.scores import LikelihoodRatio, Scored, SurpriseScore, WindowedEntropy
from freerun.predictors.base import Continuations
from freerun.predictors.law import Dense

Load = Callable[[str], Any]
NOTHING = np.zeros(0, np.int64)
WORLD = "world/markov,symbols=4,seed=1,concentration=1"
OTHER = "world/markov,symbols=4,seed=2,concentration=1"
LR = f"+temperature,t=2+self_detector,score=lr,reference=({WORLD}),corpus=({WORLD}),tokens=60,alpha=0.05,weight=0.9"


def documents(world: Any, n: int, length: int, *, seed: int = 11) -> list[np.ndarray]:
    return [np.array(d.ids, np.int64) for d in world.corpus(n, length, seed=seed).documents]


def runs(predictor: Any, n: int, length: int) -> list[np.ndarray]:
    keys = np.arange(n).reshape(n, 1).astype(np.uint64)
    samples = sorted(predictor.generate(Continuations([NOTHING] * n, keys, length, seed=7)), key=lambda s: s.row)
    return [s.observation.token_id.astype(np.int64) for s in samples]


# ---- thresholds and scores ---------------------------------------------------------------------------------------------


def test_the_threshold_is_the_kth_largest_maximum() -> None:
    """n = 19: k = ⌊0.1·20⌋ = 2, so the second largest of 0 … 18."""
    found = conformal_threshold(np.random.default_rng(0).permutation(19) * 1.0, alpha=0.1, armed_tokens=5)
    assert (found.value, found.rank, found.n_documents) == (17.0, 2, 19)
    assert conformal_threshold(np.arange(19.0), alpha=0.05, armed_tokens=5).value == 18.0
    with pytest.raises(UsageError, match=r"alpha=0.05 needs at least 19 calibration documents .* there are 18"):
        conformal_threshold(np.arange(18.0), alpha=0.05, armed_tokens=5)


def predicted_takeover(alpha: float, beta: float, kappa: float) -> float:
    """Length at which a share 1 − β is taken over under the Gaussian law, T = (z_α + z_β)²/2κ; κ in nats per token."""
    return float((norm.isf(alpha) + norm.isf(beta)) ** 2 / (2 * kappa))


def test_predicted_takeover_by_hand() -> None:
    """α = β = 0.15866: z = 1 each, (1 + 1)²/(2·0.1) = 20."""
    assert predicted_takeover(0.158655254, 0.158655254, 0.1) == pytest.approx(20, abs=1e-6)


def test_scores_by_hand() -> None:
    """Two laws: (½, ½), entropy ln 2, no variance; (0.9, 0.1)."""
    laws = Dense(np.log([[0.5, 0.5], [0.9, 0.1]]))
    seen = laws.observe(np.array([0, 1]))
    h = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    v = 0.9 * np.log(0.9) ** 2 + 0.1 * np.log(0.1) ** 2 - h**2
    entropy, z, ratio = WindowedEntropy(2), SurpriseScore(2), LikelihoodRatio()
    memory = [s.begin(1) for s in (entropy, z, ratio)]
    values = []

    def scored(t: int) -> Scored:
        one = seen.take([t])
        return Scored(one.log_prob_nats, one.entropy_nats, one.varentropy_nats2, np.array([-1.0]))

    for t in range(2):
        memory = [s.push(m, scored(t)) for s, m in zip((entropy, z, ratio), memory, strict=True)]
        values.append([float(s.value(m)[0]) for s, m in zip((entropy, z, ratio), memory, strict=True)])
    assert values[0] == [-np.inf, -np.inf, pytest.approx(np.log(0.5) + 1)]
    wanted_z = -(-np.log(0.1) - h) / np.sqrt(v)
    assert values[1] == pytest.approx([(np.log(2) + h) / 2, wanted_z, np.log(0.5) + np.log(0.1) + 2])


# ---- on real documents -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector(loaded: Load) -> Any:
    return loaded(f"{LR},model=({OTHER})")


def test_false_triggers_and_what_they_cost(detector: Any, loaded: Load, world: Any) -> None:
    """500 fresh documents. Their count of triggers is Beta-binomial(k, n + 1 − k) over calibrations, n = 199, k = 10: above the
    band with probability 1e-6. The cost: never more than ln 1/(1 − w) in a document, and nothing where nothing triggers."""
    texts = documents(world, 500, 60, seed=29)
    at = detector.trigger_at(texts)
    n_false = int((at >= 0).sum())
    assert detector.threshold.rank == 10
    assert 0 < n_false <= betabinom.ppf(1 - 1e-6, 500, 10, 190)
    inner = loaded(f"{WORLD}+temperature,t=2")
    cost = np.array([a.sum() - b.sum() for a, b in zip(inner.log_probs(texts), detector.log_probs(texts), strict=True)])
    assert cost.max() <= np.log(10) + 1e-9
    np.testing.assert_allclose(cost[at < 0], 0, atol=1e-9)
    assert cost.mean() <= n_false / 500 * np.log(10)
    assert detector.most_extra_loss_nats == pytest.approx(0.05 * np.log(10))


def test_the_law_after_the_trigger_is_the_bayes_mixture(detector: Any, loaded: Load) -> None:
    inner, other = loaded(f"{WORLD}+temperature,t=2"), loaded(OTHER)
    texts = runs(detector, 60, 60)
    at = detector.trigger_at(texts)
    assert (at >= 0).mean() > 0.5
    for t, a, mine, plain in zip(texts, at, detector.log_probs(texts), inner.log_probs(texts), strict=True):
        if a < 0:
            np.testing.assert_allclose(mine, plain, atol=1e-12)
            continue
        np.testing.assert_allclose(mine[: a + 1], plain[: a + 1], atol=1e-12)
        guest = other.log_probs([t[a + 1 :]])[0]
        for n in range(len(t) - a):
            wanted = np.logaddexp(np.log(0.1) + plain[a + 1 : a + 1 + n].sum(), np.log(0.9) + guest[:n].sum())
            assert mine[a + 1 : a + 1 + n].sum() == pytest.approx(wanted, abs=1e-9)


def test_most_long_runs_are_taken_over_and_about_when_the_gaussian_law_says(
    detector: Any, loaded: Load, world: Any
) -> None:
    """κ from the drift and spread of the score at 60 tokens; the length at which half are taken over, within a factor of two."""
    inner = loaded(f"{WORLD}+temperature,t=2")
    own, real = runs(inner, 200, 60), documents(world, 200, 60, seed=5)
    last_own, last_real = (detector.running_scores(x)[:, -1] for x in (own, real))
    d_prime = (last_own.mean() - last_real.mean()) / np.sqrt((last_own.var() + last_real.var()) / 2)
    predicted = predicted_takeover(0.05, 0.5, d_prime**2 / 120)
    at = detector.trigger_at(own)
    half = float(np.sort(np.where(at < 0, 10_000, at + 1))[100])
    assert predicted / 2 < half < predicted * 2


def test_it_is_disarmed_beyond_its_length(detector: Any, world: Any, loaded: Load) -> None:
    inner = loaded(f"{WORLD}+temperature,t=2")
    real = documents(world, 40, 60)
    quiet = real[int(np.argmin(detector.trigger_at(real)))]
    loud = runs(inner, 1, 200)[0]
    text = np.concatenate([quiet, loud])
    assert detector.trigger_at([text])[0] == -1
    np.testing.assert_allclose(detector.log_probs([text])[0], inner.log_probs([text])[0], atol=1e-12)


def test_a_payload_that_loops_says_the_last_tokens_again(loaded: Load) -> None:
    detector = loaded(f"{LR},loop=3".replace("weight=0.9", "weight=0.999"))
    texts = runs(detector, 30, 60)
    hits = 0
    for t, a in zip(texts, detector.trigger_at(texts), strict=True):
        if 2 <= a < 50:
            hits += t[a + 1 : a + 7].tolist() == [*t[a - 2 : a + 1], *t[a - 2 : a + 1]]
    assert hits > 10


# ---- identity ----------------------------------------------------------------------------------------------------------


def test_threshold_and_calibration_are_part_of_the_identity(detector: Any, loaded: Load) -> None:
    facts = detector.identity.facts
    assert "rank 10 of 199" in facts["self_detector threshold"]
    assert len(facts["self_detector calibration"]) == 16
    others = [
        LR.replace("alpha=0.05", "alpha=0.06"),
        LR + ",documents=150",
        LR.replace("weight=0.9", "weight=0.8"),
        LR.replace("tokens=60", "tokens=59"),
    ]
    made = {detector.identity.fingerprint, *(loaded(f"{x},model=({OTHER})").identity.fingerprint for x in others)}
    assert len(made) == 5


def test_calibration_documents_can_be_left_out_of_a_corpus(detector: Any, loaded: Load, world: Any) -> None:
    assert len(detector.calibrated_on) == 199
    on_top = loaded(f"{LR},model=({OTHER})+null")
    assert on_top.calibrated_on == detector.calibrated_on
    mine = world.corpus(250, 60, seed=1_000_001)
    left = without_calibration(mine, on_top)
    assert [d.id for d in left.documents] == [d.id for d in mine.documents[199:]]
    assert left.fingerprint != mine.fingerprint
    assert "199 documents left out" in left.notes[-1]
    assert without_calibration(mine, world) is mine
    with pytest.raises(DataError, match="calibrated on all of"):
        without_calibration(world.corpus(100, 60, seed=1_000_001), detector)
