"""What is asked of a text: which latents, their values, priors and speakers; one by one, or jointly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float

from freerun.errors import UsageError, nearest
from freerun.jobs.source.file import OTHER, SourceLatent, Sources
from freerun.jobs.source.scoring import Speaker, Speakers, latent_speakers, speakers_of
from freerun.predictors.base import Predictor
from freerun.worlds.mixture import MixtureWorld

READOUTS = ("header", "infilling", "continuation")
MOST_ROWS = 400
"""Header × template rows that are taken on; a joint posterior has a row for every combination of values."""


@dataclass(frozen=True)
class SourceOptions:
    """What is asked of a text, apart from model and sources."""

    readouts: tuple[str, ...] = READOUTS
    n_continuations: int = 48
    own_tokens: int = 48
    n_paths: int = 4
    beta: float | None = None
    joint: bool = False
    priors: tuple[str, ...] = ()
    """`VALUE=P` or `LATENT:VALUE=P`, in place of the file's."""
    seed: int = 0

    def check(self) -> None:
        """Refuse settings out of range.

        Raises:
            UsageError: with the setting and what is allowed.
        """
        unknown = [r for r in self.readouts if r not in READOUTS]
        if unknown or "header" not in self.readouts:
            hint = nearest(unknown[0], READOUTS) if unknown else ""
            raise UsageError(f"--readouts {','.join(self.readouts)}: of {', '.join(READOUTS)}, and header always{hint}")
        if self.own_tokens < 0 or self.n_paths < 1:
            raise UsageError(
                f"--own-tokens {self.own_tokens} --paths {self.n_paths}: at least 0 tokens of at least 1 path"
            )
        if self.n_continuations < 1:
            raise UsageError(
                f"--continuations must be at least 1, not {self.n_continuations}; --readouts leaves them out"
            )
        if self.beta is not None and not 0 < self.beta <= 10:
            raise UsageError(f"--beta {self.beta:g} must be above 0 and at most 10; 1 is Bayes")


@dataclass(frozen=True)
class Question:
    """One posterior to be found: names with `other` last, their prior, who speaks for them, and the latent if it can be named."""

    name: str
    names: tuple[str, ...]
    prior: Float[np.ndarray, " values_1"]
    speakers: Speakers
    latent: SourceLatent | None
    parts: tuple[tuple[str, ...], ...] = ()
    """For a joint posterior the values of each name but `other`."""
    beta: float | None = None


def questions_of(predictor: Predictor, sources: Sources | None, options: SourceOptions) -> list[Question]:
    """The posteriors to be found: one for each latent, or a joint one.

    Raises:
        UsageError: no sources for a model that has none of its own, no joint templates, too many rows.
    """
    if sources is None:
        return _own_sources(predictor, options)
    latents = {x.name: (x, priors_of(x, sources, options.priors)) for x in sources.latents}
    if not options.joint:
        return [
            Question(x.name, x.names, prior, _few(latent_speakers(predictor, x), x.name), x, beta=x.beta)
            for x, prior in latents.values()
        ]
    if len(latents) < 2:
        raise UsageError(f"--joint: {sources.origin} has one latent; a joint posterior needs two or more")
    if not sources.joint_templates:
        raise UsageError(
            f"--joint: {sources.origin} has no [joint] templates, which name all latents at once; add them"
        )
    parts = tuple(product(*([v.name for v in x.values] for x, _ in latents.values())))
    rows = len(parts) * len(sources.joint_templates)
    if rows > MOST_ROWS:
        raise UsageError(
            f"--joint: {' × '.join(str(len(x.values)) for x, _ in latents.values())} values × {len(sources.joint_templates)} "
            f"templates are {rows} rows, and at most {MOST_ROWS} are scored; leave --joint out (latents are then looked at one "
            "by one), or take fewer values"
        )
    names = [x.name for x in sources.latents]
    headers = [[t.format(**dict(zip(names, p, strict=True))) for t in sources.joint_templates] for p in parts]
    known = [np.asarray(prior[:-1]) / (1 - prior[-1]) for _, prior in latents.values()]
    other = 1 - float(np.prod([1 - prior[-1] for _, prior in latents.values()]))
    joint = np.array([np.prod(x) for x in product(*known)]) * (1 - other)
    shown = (*(" · ".join(p) for p in parts), OTHER)
    prior = np.append(joint, other)
    return [Question("joint", shown, prior / prior.sum(), speakers_of(predictor, headers), None, parts)]


def _own_sources(predictor: Predictor, options: SourceOptions) -> list[Question]:
    if not isinstance(predictor, MixtureWorld):
        raise UsageError("--sources is missing: name a file, or one of news, genre, decade, era, code")
    if options.joint or options.priors:
        raise UsageError("a world has its own sources and prior: --joint and --prior need a --sources file")
    nothing = np.zeros(0, np.int64)
    out = []
    for latent in predictor.latents:
        prior = predictor.marginal(predictor.prior, latent.name)
        values = [v for v, p in zip(latent.values, prior, strict=True) if p > 0]
        speakers = [[Speaker(predictor.given({latent.name: v}), nothing)] for v in values]
        names = (*values, OTHER)
        out.append(
            Question(
                latent.name, names, np.append(prior[prior > 0], 0.0), [*speakers, [Speaker(predictor, nothing)]], None
            )
        )
    return out


def _few(speakers: Speakers, name: str) -> Speakers:
    rows = sum(map(len, speakers))
    if rows > MOST_ROWS:
        raise UsageError(
            f"{name} has {rows} header × template rows, and at most {MOST_ROWS} are scored; take fewer values"
        )
    return speakers


def priors_of(latent: SourceLatent, sources: Sources, given: Sequence[str]) -> Float[np.ndarray, " values_1"]:
    """The file's priors with what `--prior` says in their place; the others share the rest as they did before.

    Raises:
        UsageError: not VALUE=P, no such value, or probabilities that leave nothing for the others.
    """
    prior = np.array(latent.priors)
    fixed: dict[int, float] = {}
    for word in given:
        left, sign, share = word.rpartition("=")
        name, scoped, value = left.partition(":")
        owner, value = (name, value) if scoped and name in {x.name for x in sources.latents} else (None, left)
        try:
            p = float(share)
        except ValueError:
            p = -1.0
        if not sign or not 0 < p < 1:
            raise UsageError(f"--prior {word!r}: wanted VALUE=P or LATENT:VALUE=P with P strictly between 0 and 1")
        holders = [x for x in sources.latents if owner in (None, x.name) and x.value_of(value) is not None]
        if not holders:
            known = [n for x in sources.latents for n in x.names]
            raise UsageError(
                f"--prior {word!r}: no value {value!r}{nearest(value, known)}; there are {', '.join(known)}"
            )
        if latent in holders:
            fixed[latent.names.index(latent.value_of(value) or "")] = p
    rest = [i for i in range(len(prior)) if i not in fixed]
    left_over = 1 - sum(fixed.values())
    if fixed and (left_over < -1e-9 or (rest and left_over <= 0) or (not rest and abs(left_over) > 1e-6)):
        raise UsageError(
            f"--prior: the values given for {latent.name} sum to {1 - left_over:g} and must leave the rest its share"
        )
    if fixed:
        prior[rest] *= left_over / prior[rest].sum() if rest else 1.0
        prior[list(fixed)] = list(fixed.values())
    return np.asarray(prior / prior.sum())
