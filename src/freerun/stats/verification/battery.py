"""Are tokens draws from the laws that are held against them? Tests that see different faults, decided together.

Given the past, U_t = s(before x) + V s(x) is uniform in whatever order the ids stand, so tokens are independent replicates under
the null, prompts and sequences notwithstanding (Rosenblatt 1952; Dawid 1984). The tests share the level by weights (Bonferroni),
most of it to the two that see what engines do wrong: a temperature, and a truncation.

Every test is also made against a wider null: laws that differ from s by no more than a noise floor, log-probabilities by sigma
(root mean square, nats). By Cauchy and Schwarz the mean of a statistic X_t with variance W_t moves by at most sigma sqrt(W_t), a
probability by at most sigma sqrt(p (1 - p)).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import optimize, special, stats

from freerun.stats.recognition.sampler_audit import pit_chi_square, rank_order_chi_square
from freerun.stats.recognition.tilting import events_p
from freerun.stats.verification.tokens import EDGE_MASS, Bets, TokenLaws

ALPHA = 0.001
"""Level of the whole battery: one false alarm in a thousand honest files."""
POWER = 0.8
LEAST_TOKENS = 50
"""Below this there is no verdict."""
FLOOR_SPREAD = 4.0
"""A single context's noise may be so many times the floor, which is a root mean square over contexts."""
_FAR = (10.0, 30.0, 100.0, 1e3, 1e4, 1e5, 1e6)
"""Tokens that are less probable than what is kept by so many times the floor are counted; the first of these is far from the cut.
By Chebyshev's inequality the noise of two log-probabilities differs by c floors with a probability of at most 4/c²."""
_OUTSIDE_SHARE = 0.05
LEAST_NORMAL_TOKENS = 200
"""Below this the sum of surprisals is not tested."""
_ALONE = 0.5
"""A token whose surprise is a larger part of the standard deviation of the sum is not one of many."""
_LEAST_FLOOR_NATS = 1e-9
"""A floor below this is the rounding of float64, which excuses nothing."""
_LEAST_VARIANCE = 1e-9
"""Nats squared, of all tokens: below this laws are certain but for rounding, and there is no sum to test."""
_FARTHEST = 1e12
"""Standard deviations, beyond which any sum rejects."""
_SHARES = {"surprisal": 0.35, "truncation": 0.35, "by_rank": 0.1, "by_id": 0.08, "repeats": 0.06, "e_process": 0.06}


@dataclass(frozen=True)
class Test:
    """One test: p-value under s, and under laws within the noise floor of s. `share`: of the level."""

    name: str
    label: str
    share: float
    p_value: float
    p_beyond_floor: float
    licence: str


@dataclass(frozen=True)
class Elsewhere:
    """Counts over tokens whose columns are not held, all that is needed of them beside their bets."""

    n_tokens: int = 0
    n_completions: int = 0
    n_outside: int = 0
    n_far: tuple[int, ...] = (0,) * len(_FAR)
    """Tokens outside by more than the floor explains, at each of the distances `_FAR`."""
    mass_outside: float = 0.0
    """Sum over tokens of the mass that the rule cuts off, relative to what it keeps."""

    @staticmethod
    def of(tokens: TokenLaws, floor_nats: float) -> Elsewhere:
        """Of whole completions."""
        kept = np.clip(tokens.kept_mass, 1e-12, 1.0)
        return Elsewhere(
            tokens.n_tokens,
            len(np.unique(tokens.sequence)),
            int(tokens.is_outside.sum()),
            tuple(int(_is_beyond(tokens, floor_nats, far).sum()) for far in _FAR),
            float(((1.0 - kept) / kept).sum()),
        )

    def p_beyond_floor(self, floor_nats: float) -> float:
        """Of so many tokens beyond the floor, over all distances (Bonferroni): noise puts a token there with at most 4/c² of the
        mass that is cut."""
        if not self.n_far[0] or floor_nats <= 0.0:
            return 0.0 if self.n_far[0] else 1.0
        cut = self.mass_outside / self.n_tokens
        p = (
            stats.binom.sf(n - 1, self.n_tokens, min(1.0, 4 / c**2 * cut))
            for n, c in zip(self.n_far, _FAR, strict=True)
        )
        return min(1.0, len(_FAR) * float(min(p)))

    def plus(self, other: Elsewhere) -> Elsewhere:
        far = tuple(a + b for a, b in zip(self.n_far, other.n_far, strict=True))
        rest = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Elsewhere)}
        return Elsewhere(**{**rest, "n_far": far})


NOWHERE_ELSE = Elsewhere()


@dataclass(frozen=True)
class Battery:
    """All tests. p-values of all together: the smallest, each divided by its share of the level."""

    n_tokens: int
    n_outside: int
    """Tokens that the declared law cannot draw, beyond the tolerance: 0 where it says what it is."""
    n_beyond_floor: int
    """Those of them that stand farther outside than the noise floor explains of a single token."""
    cuts: bool
    """Whether the declared rule cuts off any mass."""
    p_outside_beyond_floor: float
    """p-value of their number under laws within the noise floor."""
    n_at_edge: int
    """Tokens within the tolerance, left out of the tests."""
    tests: tuple[Test, ...]
    floor_nats: float
    smallest: Smallest

    @property
    def p_inside(self) -> float:
        """Of the tokens that the declared law can draw."""
        return min(1.0, *(t.p_value / t.share for t in self.tests))

    @property
    def p_inside_beyond_floor(self) -> float:
        return min(1.0, *(t.p_beyond_floor / t.share for t in self.tests))

    @property
    def p_value(self) -> float:
        return 0.0 if self.n_outside else self.p_inside

    @property
    def p_beyond_floor(self) -> float:
        """Where the rule cuts anything, tokens outside have `_OUTSIDE_SHARE` of the level."""
        if not self.cuts:
            return self.p_inside_beyond_floor
        inside = self.p_inside_beyond_floor / (1.0 - _OUTSIDE_SHARE)
        return min(1.0, inside, self.p_outside_beyond_floor / _OUTSIDE_SHARE)


@dataclass(frozen=True)
class Smallest:
    """The smallest faults that so many tokens show with 80% power: a temperature's distance from the declared one (relative), the
    mean mass that a truncation keeps, the share of tokens replaced by the most probable one. None: not even the largest one is."""

    temperature: float | None
    kept_mass: float | None
    top_share: float | None


def held_against_laws(
    tokens: TokenLaws, bets: Bets, *, seed: int, floor_nats: float = 0.0, elsewhere: Elsewhere = NOWHERE_ELSE
) -> Battery:
    """All tests of drawn tokens; `bets`: of those tested, and of tokens `elsewhere` in the file, whose columns are not held.

    `seed` makes the uniforms V and the null of the chi-squares.
    """
    floor_nats = floor_nats if floor_nats > _LEAST_FLOOR_NATS else 0.0
    outside = tokens.is_outside
    edge = ~tokens.is_tested & ~outside
    tests = tuple(_tests(tokens, bets, seed, floor_nats, elsewhere.n_tokens))
    smallest = smallest_faults(tokens.tested, elsewhere.n_tokens)
    seen = Elsewhere.of(tokens, floor_nats).plus(elsewhere)
    return Battery(
        seen.n_tokens,
        seen.n_outside,
        seen.n_far[0],
        seen.mass_outside > 0.0,
        seen.p_beyond_floor(floor_nats),
        int(edge.sum()),
        tests,
        floor_nats,
        smallest,
    )


def _is_beyond(tokens: TokenLaws, floor_nats: float, far: float) -> Bool[np.ndarray, " tokens"]:
    """Tokens farther outside than the noise floor explains: less probable than all that is kept by `far` floors, and outside a cut
    that goes by rank or share, or outside top-p by more than the mass that the noise moves over it."""
    by_mass = tokens.overshoot > EDGE_MASS + cut_moves(tokens.kept_mass, floor_nats)
    by_rank = tokens.overshoot_of_rank > EDGE_MASS
    return np.asarray((by_mass | by_rank) & (tokens.shortfall_nats > far * floor_nats))


def cut_moves(kept_mass: Float[np.ndarray, " tokens"], floor_nats: float) -> Float[np.ndarray, " tokens"]:
    """How much mass the noise floor may move over a cut: sigma sqrt(p (1 - p)) for a set of mass p, sigma that of one context."""
    mass = np.clip(kept_mass, 0.0, 1.0)
    return np.asarray(FLOOR_SPREAD * floor_nats * np.sqrt(mass * (1.0 - mass)))


def rejects(tokens: TokenLaws, bets: Bets, *, seed: int) -> bool:
    """Whether the battery rejects at `ALPHA`: the same decision, without the tests after the first that makes it."""
    return bool(tokens.is_outside.any()) or any(t.p_value < ALPHA * t.share for t in _tests(tokens, bets, seed, 0.0, 0))


def _tests(tokens: TokenLaws, bets: Bets, seed: int, floor_nats: float, n_elsewhere: int) -> Iterator[Test]:
    inside = tokens.tested
    by_rank, by_id = uniforms_of(inside, seed)
    rng = np.random.default_rng([seed, 1])
    yield _test(
        "surprisal", "mean surprisal", *_surprisal(inside, floor_nats), "limit of a martingale, with its skewness"
    )
    found = _truncation(bets, floor_nats)
    yield _test("truncation", "rarest tokens are there", *found, "probability of no token beyond a cut")
    found = _cells(rank_order_chi_square(by_rank, rng).p_value, by_rank, floor_nats)
    yield _test("by_rank", "U, most probable token first", *found, "chi-square, simulated null")
    found = _cells(pit_chi_square(by_id, rng).p_value, by_id, floor_nats)
    yield _test("by_id", "U, ids in their order", *found, "chi-square, simulated null")
    found = _repeats(inside, seed, floor_nats)
    yield _test("repeats", "ids of the context come again", *found, "supermartingale: any length")
    found = _e_process(bets, tokens.n_tokens + n_elsewhere, floor_nats)
    yield _test("e_process", "bets on other rules", *found, "e-process: any length and ends")


def uniforms_of(tokens: TokenLaws, seed: int) -> tuple[Float[np.ndarray, " tokens"], Float[np.ndarray, " tokens"]]:
    """U_t with the most probable token first, and with ids in their order; V comes from the seed."""
    share = np.random.default_rng([seed, 0]).random(tokens.n_tokens) * np.exp(tokens.log_prob_nats)
    return np.clip(tokens.above + share, 0.0, 1.0), np.clip(tokens.below + share, 0.0, 1.0)


def kolmogorov_smirnov(u: Float[np.ndarray, " tokens"]) -> tuple[float, float]:
    """Largest distance from the uniform law, and its p-value (asymptotic where texts end at random)."""
    found = stats.kstest(u, "uniform")
    return float(found.statistic), float(found.pvalue)


def _test(name: str, label: str, p_value: float, p_beyond: float, licence: str) -> Test:
    return Test(name, label, _SHARES[name], p_value, max(p_value, p_beyond), licence)


def _surprisal(tokens: TokenLaws, floor_nats: float) -> tuple[float, float]:
    """Two-sided tail of sum(-ln s(x) - H) / sqrt(sum V), of a shifted gamma law with the skewness that the tokens show.

    The normal tail is that of many small terms. Of a cold law, nearly all the variance stands in a few rare tokens: where one of
    them is more than half of the standard deviation, the tail is at least Bernstein's bound with terms of that size.
    """
    if tokens.n_tokens < LEAST_NORMAL_TOKENS or float(tokens.varentropy_nats2.sum()) < _LEAST_VARIANCE:
        return 1.0, 1.0
    excess, spread, skew, largest = _excess(tokens)
    by_floor = floor_nats * float(np.sqrt(tokens.varentropy_nats2).sum())
    skew *= math.copysign(1.0, excess)
    plain, beyond = (_tail(max(x, 0.0) / spread, skew, largest) for x in (abs(excess), abs(excess) - by_floor))
    return plain, beyond


def _excess(tokens: TokenLaws) -> tuple[float, float, float, float]:
    """Summed surprisal beyond the entropy and its standard deviation (nats); its skewness; its largest term (deviations)."""
    terms, spread = -tokens.log_prob_nats - tokens.entropy_nats, math.sqrt(float(tokens.varentropy_nats2.sum()))
    return float(terms.sum()), spread, float((terms**3).sum()) / spread**3, float(np.abs(terms).max()) / spread


def _tail(z: float, skew: float, largest: float) -> float:
    """Two-sided p of a standardised sum; `skew` on its own side, `largest` of its terms in standard deviations.

    >>> round(_tail(1.96, 0.0, 0.1), 3), _tail(3.8, 55.0, 3.8) > 0.1
    (0.05, True)
    """
    p = 2 * float(special.ndtr(-z))
    if skew > 1e-3:
        shape = 4.0 / skew**2
        p = max(p, 2 * float(special.gammaincc(shape, shape + z * math.sqrt(shape))))
    if largest > _ALONE:
        p = max(p, 2 * math.exp(-z * z / 2 / (1.0 + largest * z / 3.0)))
    return min(p, 1.0)


def _truncation(bets: Bets, floor_nats: float) -> tuple[float, float]:
    """Three times the least of P(no token lies beyond a cut), over kinds of cut; of each kind the mildest that no token crosses.

    Cuts of a kind are nested, so the least over them needs no correction while the masses do not depend on the path; 1/P is
    an e-value for each cut by itself. Under the floor, log(1 - b + d) <= log(1 - b) + d / (1 - b).
    """
    uncrossed = bets.n_crossed.sum(axis=0) == 0
    log_p, root = bets.log_kept.sum(axis=0), bets.odds_root.sum(axis=0)
    plain, beyond = (
        min(1.0, 3 * math.exp(min(0.0, float(np.where(uncrossed, log_p + widened * root, 0.0).min()))))
        for widened in (0.0, floor_nats)
    )
    return plain, beyond


def _cells(p_value: float, u: Float[np.ndarray, " tokens"], floor_nats: float) -> tuple[float, float]:
    """The chi-square's p-value, and under the floor the binomial tail of the most unlike of 64 cells."""
    n, cells = u.size, 64
    counts = np.bincount(np.minimum((u * cells).astype(int), cells - 1), minlength=cells)
    p = 1 / cells
    slack = floor_nats * math.sqrt(p * (1 - p))
    low = stats.binom.cdf(counts, n, max(p - slack, 0.0))
    high = stats.binom.sf(counts - 1, n, min(p + slack, 1.0))
    beyond = min(1.0, 2 * cells * float(np.minimum(low, high).min()))
    return p_value, beyond if floor_nats > 0 else p_value


def in_chance_order(sequence: Int[np.ndarray, " tokens"], seed: int) -> Int[np.ndarray, " tokens"]:
    """Places of tokens, text after text in an order of chance, each text in its own: what looks at every prefix of a file must not
    take texts in the order in which they were finished, short ones first."""
    _, index = np.unique(sequence, return_inverse=True)
    place = np.random.default_rng([seed, 2]).permutation(int(index.max(initial=-1)) + 1)
    return np.asarray(np.argsort(place[index], kind="stable"))


def _repeats(tokens: TokenLaws, seed: int, floor_nats: float) -> tuple[float, float]:
    mass = np.clip(tokens.repeat_mass, 0.0, 1.0)
    order = in_chance_order(tokens.sequence, seed)
    p_value = events_p(tokens.repeats[order], mass[order], n_tokens=tokens.n_tokens)
    if floor_nats == 0:
        return p_value, p_value
    spread = mass * (1 - mass)
    excess = abs(float((tokens.repeats - mass).sum())) - floor_nats * float(np.sqrt(spread).sum())
    total = float(spread.sum())
    return p_value, 1.0 if total <= 0 else 2 * float(special.ndtr(-max(excess, 0.0) / math.sqrt(total)))


def _e_process(bets: Bets, n_tokens: int, floor_nats: float) -> tuple[float, float]:
    """1 / the mean likelihood ratio of all bets; under the floor each bet's logarithm loses what the floor may have given it."""
    total = bets.ratio.sum(axis=0)
    by_floor = floor_nats * np.sqrt(n_tokens * bets.ratio_squared.sum(axis=0))
    weight = -math.log(total.size)
    plain, beyond = (math.exp(min(0.0, -float(special.logsumexp(logs + weight)))) for logs in (total, total - by_floor))
    return plain, beyond


def smallest_faults(tokens: TokenLaws, n_elsewhere: int = 0) -> Smallest:
    """From the level of each test and its spread, to first order; cuts are looked for in tokens elsewhere, too."""
    if tokens.n_tokens < LEAST_NORMAL_TOKENS or float(tokens.varentropy_nats2.sum()) < _LEAST_VARIANCE:
        return Smallest(None, None, None)
    _, spread, skew, largest = _excess(tokens)
    level = ALPHA * _SHARES["surprisal"]
    needed = optimize.brentq(lambda z: _tail(z, abs(skew), largest) - level, 0.0, _FARTHEST) + special.ndtri(POWER)
    temperature = float(needed / spread)
    gap = float((tokens.entropy_nats - tokens.top_surprisal_nats).sum())
    top_share = float(needed * spread / gap) if gap > 0 else None
    lost = math.log(3 / (ALPHA * _SHARES["truncation"])) / (tokens.n_tokens + n_elsewhere)
    return Smallest(
        temperature if temperature < 1 else None,
        math.exp(-lost),
        top_share if top_share is not None and top_share < 1 else None,
    )
