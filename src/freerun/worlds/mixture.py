"""Mixtures of sources: which author, which publication, which date is settled once a document and never said.

The law after a prefix is Σ_s π_t(s) q_s with the posterior π_t(s) ∝ π_0(s) Π_{i≤t} q_s(x_i | x_<i) (Bayes).
Sources are joint settings of the latents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError, nearest
from freerun.predictors.base import Ids, Predictor, SharesTokens
from freerun.predictors.observation import log
from freerun.predictors.rowwise import Inside
from freerun.predictors.rules import ContextRule
from freerun.predictors.stepwise import Stepwise
from freerun.text.documents import Corpus
from freerun.worlds.base import World, run


@dataclass(frozen=True)
class Latent:
    """Something about a document that is not said: its values and how probable each is (none given: all alike)."""

    name: str
    values: tuple[str, ...]
    prior: tuple[float, ...] = field(default=())

    def weights(self) -> Float[np.ndarray, " values"]:
        if not self.prior:
            return np.full(len(self.values), 1 / len(self.values))
        return np.asarray(self.prior, np.float64)


Weights = Float[np.ndarray, "rows sources"]


@dataclass(frozen=True)
class MixtureState:
    """Log posterior of each source, the sources' own states, and the law that each source gives."""

    log_weights: Weights
    inner: tuple[Inside, ...]
    tables: Float[np.ndarray, "rows sources symbols"]


class MixtureWorld(SharesTokens, World[MixtureState]):
    """`components[values]` writes when the latents have these values, in the order of `latents`.

    `prior` is the joint law of the latents, an axis each; without it they are independent. After a token that no source left can
    write, the weights are the prior again, and each source does what it does after such a token.
    """

    def __init__(
        self,
        latents: Sequence[Latent],
        components: Mapping[tuple[str, ...], Stepwise[Any]],
        *,
        prior: Float[np.ndarray, "*values"] | None = None,
        name: str = "world/mixture",
    ) -> None:
        self.latents = tuple(latents)
        shape = tuple(len(latent.values) for latent in self.latents)
        joint = _independent(self.latents) if prior is None else np.asarray(prior, np.float64)
        right = joint.shape == shape and joint.size and (joint >= 0).all() and np.isclose(joint.sum(), 1, atol=1e-9)
        if not right:
            raise UsageError(
                f"the prior over {[x.name for x in self.latents]} must have shape {shape}, no negative entry and sum 1"
            )
        chosen = [s for s, p in zip(product(*(x.values for x in self.latents)), joint.ravel(), strict=True) if p > 0]
        absent = [s for s in chosen if s not in components]
        if absent:
            raise UsageError(f"no component writes when {self._spelled(absent[0])}; give one, or a prior of 0 there")
        self.settings = tuple(chosen)
        self.components: tuple[Stepwise[Any], ...] = tuple(components[s] for s in chosen)
        self.prior: Float[np.ndarray, " sources"] = joint.ravel()[joint.ravel() > 0] / joint.sum()
        self._joint = joint
        self.sources = tuple(self._spelled(s) for s in chosen)
        one = _check_alike(self.components)
        super().__init__(
            name=name,
            fingerprint=_fingerprint(self.sources, self.prior, self.components),
            symbols=one.symbols if isinstance(one, World) else "",
        )
        self._share_tokens(one)

    @property
    def inside(self) -> tuple[Predictor, ...]:
        return self.components

    def _spelled(self, setting: Sequence[str]) -> str:
        return ",".join(f"{x.name}={v}" for x, v in zip(self.latents, setting, strict=True))

    # ---- one step --------------------------------------------------------------------------------------------------

    def read(self, prefixes: Sequence[Ids]) -> MixtureState:
        lengths = np.array([len(p) for p in prefixes], np.int64)
        weights = np.tile(np.log(self.prior), (len(prefixes), 1))
        seen = np.zeros((len(prefixes), int(lengths.max(initial=0)), len(self.components)))
        for s, component in enumerate(self.components):
            for row, values in enumerate(component.log_probs(prefixes)):
                seen[row, : len(values), s] = values
        for t in range(seen.shape[1]):
            alive = lengths > t
            weights[alive] = self._updated(weights[alive], seen[alive, t])
        return self._state(weights, tuple(Inside.start(c, prefixes) for c in self.components))

    def probabilities(self, state: MixtureState) -> Float[np.ndarray, "rows symbols"]:
        return np.asarray(np.einsum("rs,srv->rv", np.exp(state.log_weights), state.tables.swapaxes(0, 1)))

    def advance(self, state: MixtureState, ids: Int[np.ndarray, " rows"]) -> MixtureState:
        seen = log(np, state.tables[np.arange(len(ids)), :, ids])
        return self._state(self._updated(state.log_weights, seen), tuple(s.advance(ids) for s in state.inner))

    def _updated(self, log_weights: Weights, log_probs: Weights) -> Weights:
        joint = log_weights + log_probs
        total = np.logaddexp.reduce(joint, axis=1)
        impossible = np.isneginf(total)
        joint[impossible], total[impossible] = np.log(self.prior), 0.0
        return np.asarray(joint - total[:, None])

    def _state(self, log_weights: Weights, inner: tuple[Inside, ...]) -> MixtureState:
        return MixtureState(log_weights, inner, np.stack([_table(s) for s in inner]).swapaxes(0, 1))

    # ---- what is exact ---------------------------------------------------------------------------------------------

    def entropy_rate(self) -> float | None:
        """Σ π_0(s) h_s: a document keeps its source, and which one costs a finite amount once. None unless every h_s is known."""
        rates = [c.entropy_rate() if isinstance(c, World) else None for c in self.components]
        known = [h for h in rates if h is not None]
        return float(self.prior @ known) if len(known) == len(rates) else None

    def log_posteriors(self, documents: Sequence[Ids]) -> list[Float[np.ndarray, "tokens_1 sources"]]:
        """ln π_t of every document, from the sources' log-probabilities of the whole document.

        Raises:
            DataError: a document of probability zero.
        """
        n_lead = len(self.context.lead)
        ids = [np.concatenate([np.array(self.context.lead, np.int64), self._checked(d)]) for d in documents]
        scores = [c.log_probs(ids) for c in self.components]
        out = []
        for i, document in enumerate(ids):
            steps = np.stack([s[i] for s in scores], axis=1)
            joint = np.log(self.prior) + np.vstack([np.zeros((1, len(self.components))), np.cumsum(steps, axis=0)])
            total = np.logaddexp.reduce(joint, axis=1)
            if np.isneginf(total[-1]):
                self._refuse_impossible(document, int(np.flatnonzero(np.isneginf(total))[0]) - 1)
            out.append((joint - total[:, None])[n_lead:])
        return out

    def posterior(self, ids: Ids) -> Float[np.ndarray, "tokens_1 sources"]:
        """Probability of each joint setting after each number of tokens.

        Raises:
            DataError: `ids` have probability zero.
        """
        return np.asarray(np.exp(self.log_posteriors([ids])[0]))

    def marginal(self, posterior: Float[np.ndarray, "*rows sources"], latent: str) -> Float[np.ndarray, "*rows values"]:
        """A posterior over joint settings as one over the values of a latent, in their order."""
        at = self._latent(latent)
        wanted = self.latents[at].values
        belongs = np.array([[s[at] == v for v in wanted] for s in self.settings], np.float64)
        return np.asarray(posterior @ belongs)

    # ---- parts of it -----------------------------------------------------------------------------------------------

    def matching(self, setting: Mapping[str, str]) -> Int[np.ndarray, " sources"]:
        """Indices of the sources in which the named latents have these values.

        Raises:
            UsageError: no such latent or value, or a combination that never occurs.
        """
        fixed = {self._latent(name): self._value(name, value) for name, value in setting.items()}
        found = [i for i, s in enumerate(self.settings) if all(s[at] == v for at, v in fixed.items())]
        if not found:
            raise UsageError(
                f"{self.identity.name} has no source with {', '.join(f'{k}={v}' for k, v in setting.items())}"
            )
        return np.array(found)

    def component(self, setting: Mapping[str, str]) -> Stepwise[Any]:
        """The one source that a setting of all latents names."""
        found = self.matching(setting)
        if len(found) > 1:
            open_ones = [x.name for x in self.latents if x.name not in setting]
            raise UsageError(f"{setting} leaves {len(found)} sources; fix {', '.join(open_ones)} too, or use given()")
        return self.components[int(found[0])]

    def given(self, setting: Mapping[str, str]) -> MixtureWorld:
        """The mixture of the sources that remain when some latents are known, their prior renormalised."""
        found = self.matching(setting)
        latents = tuple(Latent(x.name, (setting[x.name],)) if x.name in setting else x for x in self.latents)
        index = tuple(x.values.index(setting[x.name]) if x.name in setting else slice(None) for x in self.latents)
        joint = self._joint[index].reshape([len(x.values) for x in latents])
        told = "".join(f",{x.name}={setting[x.name]}" for x in self.latents if x.name in setting and len(x.values) > 1)
        components = {self.settings[i]: self.components[i] for i in found}
        return MixtureWorld(latents, components, prior=joint / joint.sum(), name=self.identity.name + told)

    def _latent(self, name: str) -> int:
        names = [x.name for x in self.latents]
        if name not in names:
            raise UsageError(
                f"{self.identity.name} has no latent {name!r}{nearest(name, names)}; it has {', '.join(names)}"
            )
        return names.index(name)

    def _value(self, name: str, value: str) -> str:
        values = self.latents[self._latent(name)].values
        if value not in values:
            raise UsageError(
                f"{name}={value!r} is not a value of it{nearest(value, values)}; it has {', '.join(values)}"
            )
        return value

    def corpus(self, n_documents: int, n_tokens: int, *, seed: int) -> Corpus:
        """Each document from one source, drawn from the prior and written into the document's `meta`."""
        picks = self.document_draws("source", n_documents, 1, seed=seed).ravel()
        source = np.minimum(np.searchsorted(np.cumsum(self.prior), picks, side="right"), len(self.prior) - 1)
        draws = self.document_draws("corpus", n_documents, n_tokens, seed=seed)
        ids = [np.zeros(0, np.int64)] * n_documents
        for s, component in enumerate(self.components):
            rows = np.flatnonzero(source == s)
            for row, written in zip(rows, run(component, draws[rows]), strict=True):
                ids[row] = written
        names = [x.name for x in self.latents]
        meta = [dict(zip(names, self.settings[s], strict=True)) for s in source]
        return self.as_corpus(ids, seed=seed, meta=meta)


def _table(of: Inside) -> Float[np.ndarray, "rows symbols"]:
    world = of.predictor
    return world.probabilities(of.state) if isinstance(world, World) else of.law().probs()


def _independent(latents: Sequence[Latent]) -> Float[np.ndarray, "*values"]:
    joint = np.ones(())
    for latent in latents:
        weights = latent.weights()
        if weights.shape != (len(latent.values),):
            raise UsageError(
                f"latent {latent.name} has {len(latent.values)} values and {len(weights)} prior probabilities"
            )
        joint = np.multiply.outer(joint, weights)
    return np.asarray(joint)


def _check_alike(components: Sequence[Stepwise[Any]]) -> Stepwise[Any]:
    one = components[0]
    spelling = [one.token_bytes(i) for i in range(one.n_tokens)]
    for other in components:
        if (other.n_tokens, other.end_ids) != (one.n_tokens, one.end_ids) or spelling != [
            other.token_bytes(i) for i in range(other.n_tokens)
        ]:
            raise UsageError(f"sources must share one alphabet, unlike {one.identity.name} and {other.identity.name}")
        if other.context != ContextRule() or not (other.capabilities.full_law and other.capabilities.empty_context):
            raise UsageError(
                f"{other.identity.name} cannot be a source: it needs whole laws from the first token on, no window"
            )
    return one


def _fingerprint(
    sources: Sequence[str], prior: Float[np.ndarray, " sources"], components: Sequence[Stepwise[Any]]
) -> str:
    told = hashlib.sha256()
    for source, p, component in zip(sources, prior, components, strict=True):
        told.update(f"{source}\x1f{float(p).hex()}\x1f{component.identity.fingerprint}\x1e".encode())
    return f"sources-{told.hexdigest()[:16]}"
