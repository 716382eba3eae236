"""The posterior over sources along the model's own continuations, with whole laws at every step.

The text is continued by the model without a header. Each step needs the law after every header too: what the model would say of
the next token if it were told the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from freerun.jobs.source.scoring import Speaker, Speakers, Told, check_fits
from freerun.predictors.draws import sequence_key, uniforms
from freerun.predictors.stepwise import as_stepwise
from freerun.stats.sources.coherence import OneStep, one_step

_TOKENS_HELD = 1 << 15
"""Tokens that the states of all rows hold together: 1.5 GB for the 135M model."""
_LAWS_HELD = 1 << 25
"""Probabilities of whole laws held together where the sources of a long text take turns: 256 MB."""


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

    def law_rows(self, path: int, n_paths: int) -> Float[np.ndarray, "rows vocabulary"]:
        wanted = np.arange(len(self.rows)) * n_paths + path
        return self.predictor.law(self.state).take(wanted).probs()  # type: ignore[no-any-return]

    def advanced(self, ids: Int[np.ndarray, " paths"]) -> _Group:
        return _Group(self.predictor, self.rows, self.predictor.advance(self.state, np.tile(ids, len(self.rows))))


def own_paths(
    own: Speaker,
    speakers: Speakers,
    ids: Int[np.ndarray, " tokens"],
    before: Sequence[Float[np.ndarray, "templates tokens"]],
    priors: Sequence[Float[np.ndarray, " sources"]],
    *,
    n_paths: int,
    n_tokens: int,
    seed: int,
    on_tokens: Told = lambda _: None,
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
    out: list[list[OwnPath]] = [[] for _ in priors]
    if not step:
        for number in range(n_paths):
            path = _long_path(own, speakers, ids, before, priors, number, n_tokens, seed, on_tokens)
            for mine, one in zip(out, path, strict=True):
                mine.append(one)
        return out
    for begin in range(0, n_paths, step):
        numbers = range(begin, min(begin + step, n_paths))
        walk = _Walk(own, speakers, ids, before, priors, numbers, n_tokens, seed)
        for mine, more in zip(out, walk.to_the_end(n_tokens, on_tokens), strict=True):
            mine += more
    return out


def _long_path(
    own: Speaker,
    speakers: Speakers,
    ids: Int[np.ndarray, " tokens"],
    before: Sequence[Float[np.ndarray, "templates tokens"]],
    priors: Sequence[Float[np.ndarray, " sources"]],
    number: int,
    n_tokens: int,
    seed: int,
    on_tokens: Told,
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
    posteriors = [[_posterior(sums, source_of, p)] for p in priors]
    steps: list[list[OneStep]] = [[] for _ in priors]
    while len(written) < n_tokens and not (written and written[-1] in own.predictor.end_ids):
        text = np.concatenate([ids, np.array(written, np.int64)])
        some = draws[len(written) : len(written) + block]
        fresh, own_laws = _written_on(own, text, some)
        laws, after = np.zeros((len(speakers), len(fresh), size)), np.zeros((len(fresh), len(sums)))
        for s, one in enumerate(speakers):
            mine = np.flatnonzero(source_of == s)
            laws[s], after[:, mine] = _told(one, text, fresh, sums[mine])
        for t in range(len(fresh)):
            for k, prior in enumerate(priors):
                held, last = np.flatnonzero(prior > 0), posteriors[k][-1]
                steps[k].append(_spread(one_step(own_laws[t], laws[held, t], last[held]), held, len(prior)))
                posteriors[k].append(_posterior(after[t], source_of, prior, otherwise=last))
        written += fresh
        sums = after[-1]
        on_tokens(len(fresh) * (1 + len(sums)))
    return [OwnPath(np.array(written), np.array(p), tuple(s)) for p, s in zip(posteriors, steps, strict=True)]


def _written_on(
    own: Speaker, text: Int[np.ndarray, " tokens"], draws: Float[np.ndarray, " steps"]
) -> tuple[list[int], list[Float[np.ndarray, " vocabulary"]]]:
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


def _told(
    templates: Sequence[Speaker],
    text: Int[np.ndarray, " tokens"],
    fresh: Sequence[int],
    sums: Float[np.ndarray, " templates"],
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


def _drawn(law: Float[np.ndarray, " vocabulary"], uniform: float) -> int:
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
        ids: Int[np.ndarray, " tokens"],
        before: Sequence[Float[np.ndarray, "templates tokens"]],
        priors: Sequence[Float[np.ndarray, " sources"]],
        numbers: Sequence[int],
        n_tokens: int,
        seed: int,
    ) -> None:
        rows = [own, *(x for one in speakers for x in one)]
        self.n, self.priors, self.own = len(numbers), priors, own
        self.source_of = np.array([-1, *(s for s, one in enumerate(speakers) for _ in one)])
        self.sums = np.zeros((len(rows), self.n))
        self.sums[1:] = np.concatenate([x.sum(axis=1) for x in before])[:, None]
        self.groups = _started(rows, ids, self.n)
        self.draws = np.stack([uniforms(seed, sequence_key("own", i), n_tokens) for i in numbers])
        self.tokens: list[list[int]] = [[] for _ in numbers]
        self.posteriors = [[[_posterior(self.sums[:, i], self.source_of, p)] for i in range(self.n)] for p in priors]
        self.steps: list[list[list[OneStep]]] = [[[] for _ in numbers] for _ in priors]

    def to_the_end(self, n_tokens: int, on_tokens: Told) -> list[list[OwnPath]]:
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
        return [
            [OwnPath(np.array(x), np.array(p), tuple(s)) for x, p, s in zip(self.tokens, ps, ss, strict=True)]
            for ps, ss in zip(self.posteriors, self.steps, strict=True)
        ]

    def _step(self, i: int, uniform: float) -> int:
        """Draw one token of path i and enter what the laws before it say."""
        table = np.zeros((len(self.sums), self.own.predictor.n_tokens))
        for group in self.groups:
            table[list(group.rows)] = group.law_rows(i, self.n)
        token = _drawn(table[0], uniform)
        laws = _source_laws(table, self.sums[:, i], self.source_of)
        with np.errstate(divide="ignore"):
            self.sums[:, i] += np.log(table[:, token])
        for k, prior in enumerate(self.priors):
            held = np.flatnonzero(prior > 0)
            last = self.posteriors[k][i][-1]
            self.steps[k][i].append(_spread(one_step(table[0], laws[held], last[held]), held, len(prior)))
            self.posteriors[k][i].append(_posterior(self.sums[:, i], self.source_of, prior, otherwise=last))
        self.tokens[i].append(token)
        return token


def _started(rows: Sequence[Speaker], ids: Int[np.ndarray, " tokens"], n_paths: int) -> list[_Group]:
    """Every row reads its header and the text once; the paths are copies of that."""
    groups = []
    for one in {id(x.predictor): x.predictor for x in rows}.values():
        predictor = as_stepwise(one, "--coherence")
        mine = tuple(r for r, x in enumerate(rows) if x.predictor is predictor)
        state = predictor.start([np.concatenate([rows[r].header, ids]) for r in mine])
        copied = state if n_paths == 1 else predictor.repeat(state, n_paths, len(mine))
        groups.append(_Group(predictor, mine, copied))
    return groups


def _source_laws(
    table: Float[np.ndarray, "rows vocabulary"],
    sums: Float[np.ndarray, " rows"],
    source_of: Int[np.ndarray, " rows"],
) -> Float[np.ndarray, "sources vocabulary"]:
    """The law of each source: its templates' laws, weighted by how well each has foretold the text so far."""
    laws = np.zeros((int(source_of.max()) + 1, table.shape[1]))
    for s in range(len(laws)):
        mine = np.flatnonzero(source_of == s)
        top = sums[mine].max()
        weights = np.full(len(mine), 1 / len(mine)) if np.isneginf(top) else special.softmax(sums[mine])
        laws[s] = weights @ table[mine]
    return laws


def _posterior(
    sums: Float[np.ndarray, " rows"],
    source_of: Int[np.ndarray, " rows"],
    prior: Float[np.ndarray, " sources"],
    *,
    otherwise: Float[np.ndarray, " sources"] | None = None,
) -> Float[np.ndarray, " sources"]:
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


def _spread(step: OneStep, held: Int[np.ndarray, " held"], n: int) -> OneStep:
    """A step over some of the sources as one over all, with zeros for those left out."""
    drift, variance = np.zeros(n), np.zeros(n)
    drift[held], variance[held] = step.drift, step.variance
    return OneStep(drift, step.tv, step.lost, variance, step.expected_information_nats, step.kl_nats)
