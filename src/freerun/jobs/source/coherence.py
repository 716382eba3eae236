"""The posterior over sources along the model's own continuations, with whole laws at every step.

The text is continued by the model without a header. Each step needs the law after every header too: what the model would say of
the next token if it were told the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from freerun.jobs.source.scoring import OnTokens, Speaker, Speakers, check_fits
from freerun.predictors.draws import sequence_key, uniforms
from freerun.predictors.stepwise import as_stepwise
from freerun.stats.sources.coherence import OneStep, one_step

_TOKENS_HELD = 1 << 15
"""Tokens that the states of all rows hold together: 1.5 GB for the 135M model."""
_LAWS_HELD = 1 << 25
"""Probabilities of whole laws held together where the sources of a long text take turns: 256 MB."""
Ids = Int[np.ndarray, " tokens"]
Scores = Float[np.ndarray, "templates tokens"]
BySource = Float[np.ndarray, " sources"]
ByRow = Float[np.ndarray, " rows"]
RowSources = Int[np.ndarray, " rows"]
"""The source that each row speaks for."""
Law = Float[np.ndarray, " vocabulary"]
Laws = Float[np.ndarray, "rows vocabulary"]


@dataclass(frozen=True)
class OwnPath:
    """One continuation: its tokens, the posterior after each, and what every step was expected to do."""

    ids: Int[np.ndarray, " steps"]
    posterior: Float[np.ndarray, "steps_1 sources"]
    steps: tuple[OneStep, ...]


@dataclass(frozen=True)
class _Group:
    """Rows of one predictor: row r of path i stands at r · n_paths + i of its state."""

    predictor: Any
    rows: tuple[int, ...]
    state: Any

    def law_rows(self, path: int, n_paths: int) -> Laws:
        places = np.arange(len(self.rows)) * n_paths + path
        return self.predictor.law(self.state).take(places).probs()  # type: ignore[no-any-return]

    def advanced(self, ids: Int[np.ndarray, " paths"]) -> _Group:
        return _Group(self.predictor, self.rows, self.predictor.advance(self.state, np.tile(ids, len(self.rows))))


def own_paths(
    own: Speaker,
    speakers: Speakers,
    ids: Ids,
    before: Sequence[Scores],
    priors: Sequence[BySource],
    *,
    n_paths: int,
    n_tokens: int,
    seed: int,
    on_tokens: OnTokens = lambda _: None,
) -> list[list[OwnPath]]:
    """Continue `ids` with `own`, `n_paths` times, and follow the posterior over `speakers` under each of `priors`.

    `before` are the token log-probabilities of the text after each header (`token_log_probs`). A prior of 0 leaves a source
    out. Returns one list of paths a prior; all priors share the tokens. A path ends with an end-of-text token.

    Raises:
        UsageError: text and continuation do not fit after a header.
    """
    check_fits([*speakers, [own]], len(ids) + n_tokens)
    n_rows = 1 + sum(map(len, speakers))
    longest = max(len(x.header) for one in speakers for x in one) + len(ids) + n_tokens
    step = _TOKENS_HELD // (n_rows * longest)
    by_path: list[list[OwnPath]] = []
    for begin in range(0, n_paths, max(1, step)):
        if step:
            walk = _Walk(own, speakers, ids, before, priors, range(begin, min(begin + step, n_paths)), n_tokens, seed)
            by_path += walk.to_the_end(n_tokens, on_tokens)
        else:
            by_path.append(_long_path(own, speakers, ids, before, priors, begin, n_tokens, seed, on_tokens))
    return [list(paths) for paths in zip(*by_path, strict=True)]


class _Belief:
    """Belief along one path under one prior."""

    def __init__(
        self,
        prior: BySource,
        sums: ByRow,
        source_of: RowSources,
    ) -> None:
        self.prior, self.source_of = prior, source_of
        self.posterior = [_posterior(sums, source_of, prior)]
        self.steps: list[OneStep] = []

    def step(
        self,
        own: Law,
        laws: Laws,
        sums: ByRow,
    ) -> None:
        """Enter a token: the laws before it, and ln q of everything up to it after each header."""
        held, last = np.flatnonzero(self.prior > 0), self.posterior[-1]
        step = one_step(own, laws[held], last[held])
        drift, variance = np.zeros((2, len(self.prior)))
        drift[held], variance[held] = step.drift, step.variance
        self.steps.append(replace(step, drift=drift, variance=variance))
        self.posterior.append(_posterior(sums, self.source_of, self.prior, otherwise=last))

    def path(self, tokens: Sequence[int]) -> OwnPath:
        return OwnPath(np.array(tokens), np.array(self.posterior), tuple(self.steps))


def _long_path(
    own: Speaker,
    speakers: Speakers,
    ids: Ids,
    before: Sequence[Scores],
    priors: Sequence[BySource],
    number: int,
    n_tokens: int,
    seed: int,
    on_tokens: OnTokens,
) -> list[OwnPath]:
    """One path after a text so long that the states of all rows do not fit in memory together.

    The path is drawn first, a block of tokens at a time; then the sources take turns to read text and block, and only their laws
    are kept.
    """
    source_of = np.array([s for s, one in enumerate(speakers) for _ in one])
    sums = np.concatenate([x.sum(axis=1) for x in before])
    draws = uniforms(seed, sequence_key("own", number), n_tokens)
    size = own.predictor.n_tokens
    block = max(1, _LAWS_HELD // ((len(speakers) + 1) * size))
    written: list[int] = []
    beliefs = [_Belief(p, sums, source_of) for p in priors]
    while len(written) < n_tokens and not (written and written[-1] in own.predictor.end_ids):
        text = np.concatenate([ids, np.array(written, np.int64)])
        some = draws[len(written) : len(written) + block]
        fresh, own_laws = _written_on(own, text, some)
        laws, after = np.zeros((len(speakers), len(fresh), size)), np.zeros((len(fresh), len(sums)))
        for s, one in enumerate(speakers):
            mine = np.flatnonzero(source_of == s)
            laws[s], after[:, mine] = _laws_of(one, text, fresh, sums[mine])
        for t in range(len(fresh)):
            for belief in beliefs:
                belief.step(own_laws[t], laws[:, t], after[t])
        written += fresh
        sums = after[-1]
        on_tokens(len(fresh) * (1 + len(sums)))
    return [belief.path(written) for belief in beliefs]


def _written_on(own: Speaker, text: Ids, draws: Float[np.ndarray, " steps"]) -> tuple[list[int], list[Law]]:
    """Tokens drawn after header and text, up to an end of text, and the law of each."""
    (group,) = _started([own], text, 1)
    tokens: list[int] = []
    laws = []
    for t, uniform in enumerate(draws):
        laws.append(group.law_rows(0, 1)[0])
        tokens.append(_drawn(laws[-1], uniform))
        if tokens[-1] in own.predictor.end_ids:
            break
        if t < len(draws) - 1:
            group = group.advanced(np.array(tokens[-1:], np.int64))
    return tokens, laws


def _laws_of(
    templates: Sequence[Speaker], text: Ids, fresh: Sequence[int], sums: Float[np.ndarray, " templates"]
) -> tuple[Float[np.ndarray, "steps vocabulary"], Float[np.ndarray, "steps templates"]]:
    """The law of one source before each of some tokens, and ln q of everything up to it after each of its headers."""
    groups = _started(templates, text, 1)
    laws, after = [], []
    for t, token in enumerate(fresh):
        table = np.zeros((len(templates), templates[0].predictor.n_tokens))
        for group in groups:
            table[list(group.rows)] = group.law_rows(0, 1)
        laws.append(_source_laws(table, sums, np.zeros(len(templates), np.int64))[0])
        with np.errstate(divide="ignore"):
            sums = sums + np.log(table[:, token])
        after.append(sums)
        if t < len(fresh) - 1:
            groups = [g.advanced(np.array([token], np.int64)) for g in groups]
    return np.stack(laws), np.stack(after)


def _drawn(law: Law, uniform: float) -> int:
    """The token that a uniform draws; never one without mass."""
    cumulative = np.cumsum(law)
    token = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    return min(token, int(np.flatnonzero(law)[-1]))


class _Walk:
    """Some of the paths, side by side; what changes from step to step."""

    def __init__(
        self,
        own: Speaker,
        speakers: Speakers,
        ids: Ids,
        before: Sequence[Scores],
        priors: Sequence[BySource],
        numbers: Sequence[int],
        n_tokens: int,
        seed: int,
    ) -> None:
        rows = [own, *(x for one in speakers for x in one)]
        self.n, self.own = len(numbers), own
        self.source_of = np.array([-1, *(s for s, one in enumerate(speakers) for _ in one)])
        self.sums = np.zeros((len(rows), self.n))
        self.sums[1:] = np.concatenate([x.sum(axis=1) for x in before])[:, None]
        self.groups = _started(rows, ids, self.n)
        self.draws = np.stack([uniforms(seed, sequence_key("own", i), n_tokens) for i in numbers])
        self.tokens: list[list[int]] = [[] for _ in numbers]
        self.beliefs = [[_Belief(p, self.sums[:, i], self.source_of) for p in priors] for i in range(self.n)]

    def to_the_end(self, n_tokens: int, on_tokens: OnTokens) -> list[list[OwnPath]]:
        alive = np.ones(self.n, bool)
        for t in range(n_tokens):
            drawn = np.zeros(self.n, np.int64)
            for i in map(int, np.flatnonzero(alive)):
                drawn[i] = self._step(i, self.draws[i, t])
                on_tokens(len(self.sums))
            alive &= ~np.isin(drawn, self.own.predictor.end_ids)
            if not alive.any():
                break
            if t < n_tokens - 1:
                self.groups = [g.advanced(drawn) for g in self.groups]
        return [[b.path(tokens) for b in some] for tokens, some in zip(self.tokens, self.beliefs, strict=True)]

    def _step(self, i: int, uniform: float) -> int:
        """Draw one token of path i and enter what the laws before it say."""
        table = np.zeros((len(self.sums), self.own.predictor.n_tokens))
        for group in self.groups:
            table[list(group.rows)] = group.law_rows(i, self.n)
        token = _drawn(table[0], uniform)
        laws = _source_laws(table, self.sums[:, i], self.source_of)
        with np.errstate(divide="ignore"):
            self.sums[:, i] += np.log(table[:, token])
        for belief in self.beliefs[i]:
            belief.step(table[0], laws, self.sums[:, i])
        self.tokens[i].append(token)
        return token


def _started(rows: Sequence[Speaker], ids: Ids, n_paths: int) -> list[_Group]:
    """Every row reads its header and the text once; the paths are copies of that."""
    groups = []
    for one in {id(x.predictor): x.predictor for x in rows}.values():
        predictor = as_stepwise(one, "--coherence")
        mine = tuple(r for r, x in enumerate(rows) if x.predictor is predictor)
        state = predictor.start([np.concatenate([rows[r].header, ids]) for r in mine])
        copied = state if n_paths == 1 else predictor.repeat(state, n_paths, len(mine))
        groups.append(_Group(predictor, mine, copied))
    return groups


def _source_laws(table: Laws, sums: ByRow, source_of: RowSources) -> Laws:
    """The law of each source: its templates' laws, weighted by how well each has foretold the text so far."""
    laws = np.zeros((int(source_of.max()) + 1, table.shape[1]))
    for s in range(len(laws)):
        mine = np.flatnonzero(source_of == s)
        top = sums[mine].max()
        weights = np.full(len(mine), 1 / len(mine)) if np.isneginf(top) else special.softmax(sums[mine])
        laws[s] = weights @ table[mine]
    return laws


def _posterior(sums: ByRow, source_of: RowSources, prior: BySource, *, otherwise: BySource | None = None) -> BySource:
    """Bayes; after a token that no source can write the posterior stays what it was."""
    with np.errstate(divide="ignore"):
        joint = np.log(prior)
    joint = joint + np.array(
        [special.logsumexp(sums[source_of == s]) - np.log((source_of == s).sum()) for s in range(len(prior))]
    )
    total = special.logsumexp(joint)
    if np.isneginf(total):
        return np.asarray(prior if otherwise is None else otherwise)
    return np.asarray(np.exp(joint - total))
