"""Everything that the page may ask, as functions of typed requests: one model, its sources, a second model, a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from freerun import __version__
from freerun.errors import UsageError
from freerun.explore.answers import RANK_BANDS, Beside, Coherence, Reading, Sampled, StripToken, Writers
from freerun.explore.beside import beside
from freerun.explore.examples import Example, examples
from freerun.explore.reader import LOOP_RULE, MOST_DRAWN, MOST_TOKENS, Reader
from freerun.explore.running import running
from freerun.explore.spelling import pieces, shown_token
from freerun.explore.texts import RunCard, RunText, RunTexts
from freerun.explore.worker import Turn
from freerun.explore.writers import Shelf, SourceReader
from freerun.jobs.predict import spelled_tokens
from freerun.predictors.base import Predictor
from freerun.predictors.observation import Observation
from freerun.report.pages.prediction import EDGES_NATS
from freerun.results.finding import known
from freerun.stats.loops.lag_runs import LoopRule

MOST_SHOWN = 50
SCHEMA_VERSION = 1
"""Of the trees that the page saves."""


# ---- what is asked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReadRequest:
    """A text by its words or by its tokens. Tokens before `first` are known to the page already; the branch begins at `branch`."""

    text: str | None = None
    ids: tuple[int, ...] | None = None
    first: int = 0
    branch: int = 0
    top: int = 12
    temperature: float = 1.0


@dataclass(frozen=True)
class SampleRequest:
    ids: tuple[int, ...]
    n: int = 3
    tokens: int = 24
    seed: int = 0
    temperature: float = 1.0


@dataclass(frozen=True)
class WritersRequest:
    ids: tuple[int, ...]
    shelf: str
    latent: str
    prior: tuple[float, ...] | None = None
    first: int = 0
    """Where the branch begins; for coherence alone."""


@dataclass(frozen=True)
class BesideRequest:
    ids: tuple[int, ...]
    top: int = 12


@dataclass(frozen=True)
class RunTextRequest:
    sequence: int


# ---- what there is ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelCard:
    """A model, and what it can be asked."""

    name: str
    nature: str
    fingerprint: str
    licence: str
    context: str
    vocabulary: int
    steps: bool
    """It gives laws of single tokens; without it bars are known draws only."""
    whole_laws: bool
    first_law: bool
    tuned: bool


@dataclass(frozen=True)
class About:
    """What the page must know before it asks anything."""

    schema_version: int
    freerun_version: str
    model: ModelCard
    beside: ModelCard | None
    shelves: tuple[Shelf, ...]
    examples: tuple[Example, ...]
    run: RunCard | None
    loop_rule: LoopRule
    rank_bands: tuple[int, ...] = RANK_BANDS
    shade_edges_nats: tuple[float, ...] = EDGES_NATS
    most_tokens: int = MOST_TOKENS
    most_drawn: int = MOST_DRAWN


def card_of(predictor: Predictor, *, stepwise: bool) -> ModelCard:
    identity = predictor.identity
    return ModelCard(
        identity.name,
        identity.nature.describe(),
        identity.fingerprint,
        identity.licence,
        predictor.context.describe(),
        predictor.n_tokens,
        stepwise,
        predictor.capabilities.full_law,
        predictor.has_first_law,
        bool(identity.nature.tuned),
    )


@dataclass
class Desk:
    """One model with what stands beside it. Every method but `about` is called by the worker alone."""

    reader: Reader
    sources: SourceReader
    second: Reader | None = None
    run: RunTexts | None = None
    _examples: tuple[Example, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        self._examples = examples(self.reader.predictor)

    def about(self) -> About:
        fingerprint = self.reader.predictor.identity.fingerprint
        return About(
            SCHEMA_VERSION,
            __version__,
            _card(self.reader),
            None if self.second is None else _card(self.second),
            tuple(self.sources.shelves()),
            self._examples,
            None if self.run is None else self.run.card(fingerprint),
            LOOP_RULE,
        )

    def read(self, asked: ReadRequest, turn: Turn) -> Reading:
        """What stands in a text and what may come next.

        Raises:
            UsageError: neither text nor tokens, a setting out of range, or a text that cannot be read.
        """
        if (asked.text is None) == (asked.ids is None):
            raise UsageError("give a text or token ids, one of them")
        if not 1 <= asked.top <= MOST_SHOWN:
            raise UsageError(f"top must be from 1 to {MOST_SHOWN}, not {asked.top}")
        reader = self.reader
        ids = reader.encode(asked.text) if asked.text is not None else reader.checked(asked.ids or ())
        seen = reader.observations(ids, turn)
        following = reader.next_tokens(ids, top=asked.top, temperature=asked.temperature, turn=turn)
        first = min(max(0, asked.first), len(ids))
        return Reading(
            ids=tuple(ids),
            first=first,
            tokens=tuple(strip(reader.predictor, ids, seen))[first:],
            next=following,
            ended=reader.ended(ids),
            running=running(ids, seen, min(max(0, asked.branch), len(ids))),
            notes=tuple(_notes(reader, ids)),
        )

    def sample(self, asked: SampleRequest, turn: Turn) -> Sampled:
        return self.reader.sample(
            self.reader.checked(asked.ids),
            n=asked.n,
            n_tokens=asked.tokens,
            seed=asked.seed,
            temperature=asked.temperature,
            turn=turn,
        )

    def writers(self, asked: WritersRequest, turn: Turn) -> Writers:
        ids = self.reader.checked(asked.ids)
        return self.sources.posterior(asked.shelf, asked.latent, ids, asked.prior, turn)

    def coherence(self, asked: WritersRequest, turn: Turn) -> Coherence:
        ids = self.reader.checked(asked.ids)
        return self.sources.coherence(asked.shelf, asked.latent, ids, asked.first, asked.prior, turn)

    def beside(self, asked: BesideRequest, turn: Turn) -> Beside:
        if self.second is None:
            raise UsageError("no second model: start the page with --beside MODEL")
        return beside(self.reader, self.second, self.reader.checked(asked.ids), top=asked.top, turn=turn)

    def run_text(self, asked: RunTextRequest, turn: Turn) -> RunText:
        if self.run is None:
            raise UsageError("no run: start the page with --run DIR")
        return self.run.text(asked.sequence)


def _card(reader: Reader) -> ModelCard:
    return card_of(reader.predictor, stepwise=reader.stepwise is not None)


def strip(predictor: Predictor, ids: Sequence[int], seen: Sequence[Observation | None]) -> list[StripToken]:
    """The tokens of a text with what the law before each said of it."""
    spelled = spelled_tokens(predictor, np.array(ids, np.int64))
    out = []
    for t, (token, piece, row) in enumerate(zip(spelled, pieces(spelled), seen, strict=True)):
        bare = StripToken(token.id, t, shown_token(token), piece, given=row is None)
        if row is None:
            out.append(bare)
            continue
        log_prob, rank = float(row.log_prob_nats[0]), int(row.rank[0])
        out.append(
            StripToken(
                **{
                    **asdict(bare),
                    "impossible": log_prob == -np.inf,
                    "surprisal_nats": known(0.0 - log_prob),
                    "probability": known(float(np.exp(log_prob))),
                    "entropy_nats": known(float(row.entropy_nats[0])),
                    "rank": rank if rank >= 1 else None,
                    "band": sum(rank > edge for edge in RANK_BANDS) if rank >= 1 else None,
                }
            )
        )
    return out


def _notes(reader: Reader, ids: Sequence[int]) -> list[str]:
    """What a reader of the numbers must know."""
    predictor, notes = reader.predictor, []
    if reader.n_given and ids:
        notes.append("The first token is given: no law stands before it.")
    window = predictor.context.window
    if window is not None and len(ids) > window:
        notes.append(f"Longer than the window of {window:,} tokens: {predictor.context.describe()}.")
    if reader.stepwise is None:
        notes.append(
            "This backend gives no laws of single tokens. Ranks, entropies and sums are unknown where they show a dash."
        )
    return notes
