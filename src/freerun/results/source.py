"""What `freerun source` answers: the posterior over sources by three readouts, and along the model's own text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from freerun.results.finding import Chart, Table
from freerun.results.predict import SpelledToken
from freerun.results.verdict import NextStep, Point
from freerun.stats.dirichlet import Shares
from freerun.stats.intervals import Interval
from freerun.stats.reliability import Reliability
from freerun.stats.sources.scores import LabelScores, PermutedHeaders

SURE = 0.9
"""Probability of a source from which on belief counts as sure."""


@dataclass(frozen=True)
class Word:
    """A word of the text, from its `first` to its `last` token."""

    first: int
    last: int
    text: str


@dataclass(frozen=True)
class WordShift:
    """The share of belief that a word moved, the bits it told, and which values gained and lost most."""

    shift: float
    information_bits: float
    toward: str
    gain: float
    away: str


@dataclass(frozen=True)
class Mover(WordShift):
    """One of the words that moved most, with its number in the text."""

    word: int
    text: str


@dataclass(frozen=True)
class ByTemplate:
    """Least and largest posterior of each value if one template alone were believed."""

    low: Float[np.ndarray, " values_1"]
    high: Float[np.ndarray, " values_1"]


@dataclass(frozen=True)
class FittedHeader:
    """Header scoring with a fitted exponent of the likelihood."""

    beta: float
    posterior: Float[np.ndarray, " values_1"]
    top: str
    tokens_to_90: int | None
    path: Float[np.ndarray, "tokens_1 values_1"]
    entropy_bits: Float[np.ndarray, " tokens_1"]


@dataclass(frozen=True)
class HeaderScoring:
    """The posterior by header scoring, token by token and word by word. `marginals`: of a joint posterior, latent by latent."""

    beta: float
    posterior: Float[np.ndarray, " values_1"]
    top: str
    log_likelihood_nats: Float[np.ndarray, " values_1"]
    by_template: ByTemplate
    path: Float[np.ndarray, "tokens_1 values_1"]
    entropy_bits: Float[np.ndarray, " tokens_1"]
    information_bits: Float[np.ndarray, " tokens"]
    shift: Float[np.ndarray, " tokens"]
    words: tuple[WordShift, ...]
    movers: tuple[Mover, ...]
    tokens_to_90: int | None
    settled_tokens: int | None
    fitted: FittedHeader | None
    marginals: tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class Infilling:
    """Probability of each value's spellings after the text and a cue, and after no text; the last entry is every other label.

    Both are means over the cues (and over the content-free texts); `by_cue` has a row a cue. `labelled` is how much of the model's
    answer names any value at all.
    """

    posterior: Float[np.ndarray, " values_1"]
    mass: Float[np.ndarray, " values_1"]
    mass_without_text: Float[np.ndarray, " values_1"]
    labelled: float
    labelled_without_text: float
    cues: tuple[str, ...]
    by_cue: Float[np.ndarray, "cues values_1"]


@dataclass(frozen=True)
class Example:
    """A continuation and the value that was read in it."""

    text: str
    read: str


@dataclass(frozen=True)
class ContinuationReading(Shares):
    """How often each value was named in sampled continuations, the last class unread; some of what was written."""

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Agreement:
    """The value that each readout puts first, and how far the readouts are apart (total variation); None: one readout only."""

    tops: Mapping[str, str | None]
    total_variation: Mapping[str, float | None]
    agree: bool | None
    sentence: str


@dataclass(frozen=True)
class DriftBand:
    """Where the mean belief in a source would lie if it did not drift, and whether it ends outside."""

    low: Float[np.ndarray, " steps_1"]
    high: Float[np.ndarray, " steps_1"]
    z: float
    outside: bool
    rise_p: float
    fall_p: float
    level: float


@dataclass(frozen=True)
class OwnText:
    """Belief along the model's own continuations under one prior; a path that has ended keeps its last posterior."""

    n_tokens: int
    start: Float[np.ndarray, " values_1"]
    mean: Float[np.ndarray, "steps_1 values_1"]
    end: Float[np.ndarray, " values_1"]
    paths: Float[np.ndarray, "paths steps_1 values_1"]
    entropy_bits: Float[np.ndarray, " steps_1"]
    tv_mean: float
    tv_by_step: tuple[float, ...]
    kl_mean_nats: float
    drift_rms: float
    drift_largest: float
    drift_over_bound: float
    accumulated: Float[np.ndarray, "steps_1 values_1"]
    lost_mass: float
    expected_information_bits: float
    sure_paths: int
    sure_tokens: tuple[int | None, ...]
    sure_of: tuple[str | None, ...]
    bands: tuple[DriftBand, ...]
    smallest_p: float


@dataclass(frozen=True)
class Coherence:
    """Belief along the model's own text, without `other` among the sources and with it (None where it has no prior)."""

    n_paths: int
    tokens: tuple[tuple[SpelledToken, ...], ...]
    without_other: OwnText
    with_other: OwnText | None
    sentence: str


@dataclass(frozen=True)
class LatentAnswer:
    """What is believed of one latent; a readout that was not asked for is None."""

    name: str
    values: tuple[str, ...]
    prior: Float[np.ndarray, " values_1"]
    n_rows: int
    header: HeaderScoring
    infilling: Infilling | None
    continuation: ContinuationReading | None
    coherence: Coherence | None
    agreement: Agreement
    sentence: str


@dataclass(frozen=True)
class SourceModel:
    """The model that was asked."""

    name: str
    fingerprint: str
    nature: str
    licence: str | None
    context: str


@dataclass(frozen=True)
class SourcesFile:
    """The sources that were asked for; no file where a world has its own."""

    title: str
    file: str | None
    fingerprint: str | None


@dataclass(frozen=True)
class SourceResult:
    """The answer to "who could have written this?"."""

    schema_version: int
    kind: str
    model: SourceModel
    sources: SourcesFile
    text: str
    n_tokens: int
    tokens: tuple[SpelledToken, ...]
    words: tuple[Word, ...]
    latents: tuple[LatentAnswer, ...]
    seed: int
    notes: tuple[str, ...]
    points: tuple[Point, ...] = ()
    """What was measured, what came out and how sure that is, in plain words."""
    next_step: NextStep | None = None


# ---- on labelled text ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """A model or a corpus, by name and fingerprint."""

    name: str
    fingerprint: str


@dataclass(frozen=True)
class Gains:
    """Nats a token: of the posterior with β fitted over the prior, and of the right header over none and over the wrong ones."""

    posterior: Interval
    against_no_header: Interval
    against_wrong_headers: Interval


@dataclass(frozen=True)
class LabelledDocument:
    """A document whose value is known, and what was believed of it."""

    id: str
    unit: int
    label: str
    posterior: Float[np.ndarray, " values_1"]
    posterior_fitted: Float[np.ndarray, " values_1"]


@dataclass(frozen=True)
class SourceEvaluation:
    """How good the posterior is on labelled text; `scores` and `reliability` by the name of what was scored."""

    schema_version: int
    kind: str
    model: Named
    sources: SourcesFile
    corpus: Named
    latent: str
    values: tuple[str, ...]
    n_documents: int
    n_units: int
    n_tokens: int
    seed: int
    beta: Interval
    scores: Mapping[str, LabelScores]
    permuted_headers: PermutedHeaders
    gain_nats_per_token: Gains
    reliability: Mapping[str, Reliability]
    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    documents: tuple[LabelledDocument, ...]
    notes: tuple[str, ...]
