"""The metrics of a power table: the null of each, its unit and test, the kind of its size, and its p-value in one rerun.

Real texts come from the truth P, own texts from the model Q, which is declared to be Q_0 (P itself, but where an organism stands
on a wrong base); the unit is the text. Every test has level `alpha`, and its kind
of size was declared before it was measured:

exact         P(p ≤ α) = α under the null, up to ties;
asymptotic    α as the number of tokens or texts grows;
at most       no more than α, by construction (discrete, any-time, or nothing varies under the null).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool
from scipy import stats

from freerun.jobs.power.lengths import DISTINCT_N, LOOPS, REP_N, Length, Sides
from freerun.jobs.power.texts import Block, TokenScores
from freerun.results.power import PowerMetric
from freerun.stats.design.frontier import frontier_p
from freerun.stats.design.permutation import distinct_difference_p, mean_difference_p
from freerun.stats.detection.two_sample import Detector, check_units, paired_permutation_p, stacked
from freerun.stats.divergences import energy_test
from freerun.stats.paired import paired_difference
from freerun.stats.recognition.likelihood_ratio import likelihood_ratio
from freerun.stats.recognition.self_recognition import self_z

EXACT, ASYMPTOTIC, AT_MOST = "exact", "asymptotic", "at most"


@dataclass(frozen=True)
class Trial:
    """One rerun at one length and number of texts."""

    block: Block
    at: Length
    rerun: int
    texts: int
    chosen: Bool[np.ndarray, "permutations both"]
    """Relabellings, the same for all tests that use them."""
    rng: np.random.Generator

    def scores(self, by_law: TokenScores) -> TokenScores:
        """What a law gives the first texts and tokens of this rerun."""
        return by_law.each(self.rerun, slice(self.texts), slice(self.at.tokens))

    def sides(self, sides: Sides | None) -> Sides:
        """Values of own and of real texts of this rerun."""
        assert sides is not None, "the block was not prepared for this metric"
        return Sides(*(values[self.rerun, : self.texts] for values in sides))


@dataclass(frozen=True)
class Metric:
    """One test; `p_value` works on one rerun."""

    label: str
    null: str
    test: str
    size: str
    p_value: Callable[[Trial], float]
    source: str = ""
    least_tokens: int = 1
    largest_texts_only: bool = False
    needs_sources: bool = False
    control: bool = False
    """Its null holds for every organism, so that its rate must be that of the null everywhere."""
    knows_truth: bool = False
    """It reads the law that writes the real texts, or its sources: more than anyone has of a real model, so an upper limit."""

    @property
    def at_most(self) -> bool:
        return self.size == AT_MOST

    def described(self, name: str) -> PowerMetric:
        """It as part of a result."""
        return PowerMetric(
            name, self.label, self.null, "text", self.test, self.size, self.source, self.control, self.knows_truth
        )


# ---- one rerun -------------------------------------------------------------------------------------------------------


def _means(values: Callable[[Length], Sides]) -> Callable[[Trial], float]:
    def p(trial: Trial) -> float:
        both = np.concatenate(trial.sides(values(trial.at)))
        return float(mean_difference_p(both[:, None], trial.chosen)[0])

    return p


def _paired_loss(trial: Trial) -> float:
    n, tokens = trial.texts, np.full(trial.texts, float(trial.at.tokens))
    mine, true = (x[trial.rerun, :n] * trial.at.tokens for x in (trial.at.real_loss, trial.at.declared_loss))
    return paired_difference(true, tokens, mine, tokens).p_value


def _z(by_law: Callable[[Block], TokenScores]) -> Callable[[Trial], float]:
    def p(trial: Trial) -> float:
        scores = trial.scores(by_law(trial.block))
        index = np.repeat(np.arange(trial.texts), trial.at.tokens)
        columns = (scores.log_prob.ravel(), scores.entropy.ravel(), scores.varentropy.ravel())
        return self_z(*columns, index, trial.texts).p_two_sided

    return p


def _loops(trial: Trial) -> float:
    own, real = (int(side.sum()) for side in trial.sides(trial.at.loops))
    return fisher_p(own, real, trial.texts)


@lru_cache(maxsize=4096)
def fisher_p(a: int, b: int, n: int) -> float:
    """Two-sided p-value of Fisher's exact test between a of n and b of n."""
    return float(stats.fisher_exact(np.array([[a, n - a], [b, n - b]])).pvalue)


def _classifier(trial: Trial) -> float:
    own, real = trial.sides(trial.at.features)
    half, n = trial.texts // 2, trial.texts
    check_units(half, n - half)
    detector = Detector.train(real[:half], own[:half, None, :])
    scores = detector.scores(stacked(real[half:], own[half:, None, :]), np.ones((1, half), np.int64))[0]
    return paired_permutation_p(scores[:, 0], scores[:, 1:], n_permutations=len(trial.chosen), rng=trial.rng)


def _ratio(model: Callable[[Block], TokenScores], truth: Callable[[Block], TokenScores]) -> Callable[[Trial], float]:
    def p(trial: Trial) -> float:
        q, true = (trial.scores(by_law(trial.block)).log_prob.ravel() for by_law in (model, truth))
        return float(likelihood_ratio(true, q, np.zeros(q.size, np.int64), 1).p_any_time[0])

    return p


def _sources(trial: Trial) -> float:
    own, real = trial.sides(trial.at.posterior)
    return energy_test(real, own, np.arange(trial.texts), n_permutations=len(trial.chosen), rng=trial.rng).p_value


def _distinct(trial: Trial) -> float:
    return distinct_difference_p(np.concatenate(trial.sides(trial.at.grams)), trial.chosen)


def _mauve(trial: Trial) -> float:
    return frontier_p(np.concatenate(trial.sides(trial.at.vectors)), trial.chosen, rng=trial.rng)


METRICS: dict[str, Metric] = {
    "loss": Metric(
        "loss",
        "mean loss of Q on real texts = mean loss of Q_0 on other real texts: a loss beside one that was published",
        "permutation of all texts, two-sided",
        EXACT,
        _means(lambda at: Sides(at.real_loss, at.others_loss)),
    ),
    "loss_paired": Metric(
        "loss, paired",
        "Q loses on average what Q_0 loses on the same real texts",
        "t over texts, as in `freerun compare`; where Q = Q_0 every difference is 0 and nothing is ever rejected",
        AT_MOST,
        _paired_loss,
        knows_truth=True,
    ),
    "perplexity": Metric(
        "perplexity",
        "own texts have the mean surprisal under P that real texts have (P as the evaluating model)",
        "permutation of all texts, two-sided",
        EXACT,
        _means(lambda at: at.surprisal),
        source="Holtzman et al. 2020",
        knows_truth=True,
    ),
    "z_declared": Metric(
        "z, declared",
        "own texts were sampled from Q_0 at temperature 1, which is what was declared",
        "z = ΣD/√ΣV over all tokens, two-sided; a token without mass rejects",
        ASYMPTOTIC,
        _z(lambda b: b.own_declared),
        source="Brown 1971",
        knows_truth=True,
    ),
    "z_real": Metric(
        "z, real text",
        "real texts were sampled from Q at temperature 1: does Q see that it did not write them?",
        "the same z of real texts under Q",
        ASYMPTOTIC,
        _z(lambda b: b.real_q),
        source="Brown 1971",
    ),
    "loops": Metric(
        "loops",
        "own and real texts fall into a loop equally often (3 copies, 24 tokens)",
        "Fisher's exact test of the numbers of texts, two-sided",
        AT_MOST,
        _loops,
        least_tokens=LOOPS.min_tokens,
    ),
    "classifier": Metric(
        "classifier",
        "own and real texts are exchangeable",
        "ridge logistic regression on the audit's likelihood features under Q, fitted on the first half of the texts, penalty by "
        "cross-fitting there; swaps within pairs of the other half, one-sided",
        EXACT,
        _classifier,
        source="Lopez-Paz & Oquab 2017",
    ),
    "likelihood_ratio": Metric(
        "likelihood ratio",
        "Q_0 wrote the own texts",
        "min over tokens of Π Q_0/Q over all texts in order (Ville); where Q = Q_0 it is 1 and nothing is ever rejected",
        AT_MOST,
        _ratio(lambda b: b.own_q, lambda b: b.own_declared),
        source="Ville 1939",
        knows_truth=True,
    ),
    "sources": Metric(
        "source drift",
        "the exact posterior over sources at the end of a text has one law for own and real texts",
        "energy distance, swaps of pairs",
        EXACT,
        _sources,
        needs_sources=True,
        source="Székely & Rizzo 2013",
        knows_truth=True,
    ),
    "distinct": Metric(
        f"distinct-{DISTINCT_N}",
        f"the set of own texts holds as many different {DISTINCT_N}-grams as the set of real ones",
        "permutation of all texts, two-sided; whole numbers, so ties",
        AT_MOST,
        _distinct,
        source="Li et al. 2016",
    ),
    "rep": Metric(
        f"rep-{REP_N}",
        f"the mean share of {REP_N}-grams that repeat within a text is the same",
        "permutation of all texts, two-sided; many texts repeat nothing, so ties",
        AT_MOST,
        _means(lambda at: at.repetition),
        source="Welleck et al. 2020",
    ),
    "mauve": Metric(
        "MAUVE-style",
        "own and real texts, as points, have one law",
        "area below the divergence frontier of one joint clustering, labels exchanged; points are shares of tokens and bigrams",
        EXACT,
        _mauve,
        least_tokens=32,
        largest_texts_only=True,
        source="Pillutla et al. 2021",
    ),
    "z_own": Metric(
        "z, own law",
        "own texts were sampled from Q at temperature 1: true of every organism",
        "z as above, under Q",
        ASYMPTOTIC,
        _z(lambda b: b.own_q),
        control=True,
    ),
    "ratio_real": Metric(
        "ratio, real text",
        "P wrote the real texts: true of every organism",
        "min over tokens of Π P/Q over all real texts in order",
        AT_MOST,
        _ratio(lambda b: b.real_q, lambda b: b.real_truth),
        control=True,
        knows_truth=True,
    ),
}
"""All metrics, in the order of the columns."""
