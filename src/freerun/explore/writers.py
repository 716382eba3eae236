"""Who is writing? The posterior over sources along a branch, token by token, and where the model's own law alone moves it.

Scores after every header are kept for the texts that were asked about. What is one token longer is read on from the states of all
rows, where these fit into memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from freerun.errors import DataError, UsageError
from freerun.explore.answers import Coherence, Writers
from freerun.explore.worker import Turn
from freerun.jobs.source.file import Sources, read_sources
from freerun.jobs.source.question import Question, SourceOptions, questions_of
from freerun.jobs.source.scoring import check_fits, token_log_probs
from freerun.predictors.base import Predictor
from freerun.predictors.stepwise import Stepwise, as_stepwise
from freerun.results.source import SURE
from freerun.stats.sources.coherence import one_step
from freerun.stats.sources.posterior import cumulative_likelihood, source_path, template_weights, tokens_until_sure
from freerun.worlds.base import World
from freerun.worlds.mixture import MixtureWorld

BREAK = 0.1
"""Share of belief that the law moves by itself, from which on coherence counts as broken."""
OWN = "own"
"""What the sources of an exact world are called, which has them without a file."""
_STATE_BYTES = 1 << 30
"""Memory for the states of all rows of one text: 1 GiB."""
_STEPS = 48
_TEXTS_KEPT = 64
_SHORT_TOKENS = 24
"""A text of so many tokens is read one by one at once, so that what comes after it can be read on."""
Scores = list[Float[np.ndarray, "templates tokens"]]


@dataclass(frozen=True)
class Latent:
    """A question that can be asked: its name, values with `other` last, and their prior."""

    name: str
    names: tuple[str, ...]
    prior: tuple[float, ...]


@dataclass(frozen=True)
class Shelf:
    """A sources file that can be asked about."""

    name: str
    title: str
    latents: tuple[Latent, ...]


@dataclass(frozen=True)
class _Rows:
    """Rows of one predictor in a state after header and text, and the source and template that each speaks for."""

    predictor: Stepwise[Any]
    places: tuple[tuple[int, int], ...]
    state: Any

    def advanced(self, token_id: int, *, copied: bool) -> _Rows:
        every = np.arange(len(self.places))
        state = self.predictor.select(self.state, every) if copied else self.state
        ids = np.full(len(every), token_id, np.int64)
        return _Rows(self.predictor, self.places, self.predictor.advance(state, ids))

    @property
    def nbytes(self) -> int:
        return self.predictor.nbytes(self.state)


@dataclass(frozen=True)
class _Text:
    """What every row says of a text, and where the rows stand after it; no rows where these would not fit into memory."""

    ids: tuple[int, ...]
    scores: Scores
    rows: tuple[_Rows, ...]


class SourceReader:
    """The questions that can be asked of one predictor, and what was found."""

    def __init__(self, predictor: Predictor, files: Sequence[str]) -> None:
        """`files`: sources files in the order in which they are offered. An exact world has its own, and no use for headers."""
        self.predictor = predictor
        self._sources: dict[str, Sources | None] = {}
        if isinstance(predictor, MixtureWorld) and len(predictor.sources) > 1:
            self._sources[OWN] = None
        if not isinstance(predictor, World):
            self._sources |= {name: read_sources(name) for name in dict.fromkeys(files)}
        self._questions: dict[str, list[Question]] = {}
        self._texts: dict[tuple[str, str], OrderedDict[tuple[int, ...], _Text]] = {}

    def shelves(self) -> list[Shelf]:
        """What can be asked about, without reading anything by the model."""
        return [Shelf(name, _title(name, file), _latents(self.predictor, file)) for name, file in self._sources.items()]

    def posterior(
        self, shelf: str, latent: str, ids: Sequence[int], prior: Sequence[float] | None, turn: Turn
    ) -> Writers:
        """Belief after every number of tokens; `prior` in place of the file's, `other` last.

        Raises:
            UsageError: no such file or latent, an empty text, or one too long for a header before it. DataError: a prior that is
                none, or a text that no source can write.
        """
        question = self._question(shelf, latent)
        belief = _prior(question, prior)
        text = self._read(shelf, question, tuple(ids), turn)
        path = source_path(belief, np.stack([cumulative_likelihood(x) for x in text.scores]))
        return Writers(
            latent=question.name,
            names=question.names,
            prior=belief,
            posterior=path.posterior,
            entropy_bits=path.entropy_bits,
            information_bits=path.information_bits,
            shift=path.shift,
            tokens_to_sure=tokens_until_sure(path.posterior, level=SURE),
            level=SURE,
        )

    def _question(self, shelf: str, latent: str) -> Question:
        if shelf not in self._sources:
            raise UsageError(f"no sources file {shelf!r}; there are {', '.join(self._sources) or 'none'}")
        if shelf not in self._questions:
            self._questions[shelf] = questions_of(self.predictor, self._sources[shelf], SourceOptions())
        named = {q.name: q for q in self._questions[shelf]}
        if latent not in named:
            raise UsageError(f"{shelf} has no latent {latent!r}; it has {', '.join(named)}")
        return named[latent]

    # ---- reading after headers ---------------------------------------------------------------------------------------

    def _read(self, shelf: str, question: Question, ids: tuple[int, ...], turn: Turn) -> _Text:
        if not ids:
            raise UsageError("the text is empty: there is nothing that a source could have written")
        check_fits(question.speakers, len(ids))
        texts = self._texts.setdefault((shelf, question.name), OrderedDict())
        if ids in texts:
            texts.move_to_end(ids)
            return texts[ids]
        before = _longest(texts.values(), ids)
        if before is not None:
            text = self._read_on(question, before, ids, turn)
        elif len(ids) <= _SHORT_TOKENS and _can_walk(question):
            turn.expect(len(ids))
            rows = tuple(_started(question, (), turn))
            empty = _Text((), [np.zeros((len(one), 0)) for one in question.speakers], rows)
            text = self._read_on(question, empty, ids, turn, copied=False)
        else:
            n_rows = sum(map(len, question.speakers))
            turn.expect(n_rows * len(ids))
            text = _Text(ids, token_log_probs(question.speakers, np.array(ids), on_tokens=turn.advance), ())
        texts[ids] = text
        self._make_room(texts)
        return text

    def _read_on(
        self, question: Question, before: _Text, ids: tuple[int, ...], turn: Turn, *, copied: bool = True
    ) -> _Text:
        rows, new = before.rows, ids[len(before.ids) :]
        columns = [np.zeros((len(one), len(new))) for one in question.speakers]
        turn.expect(len(new))
        for t, token_id in enumerate(new):
            for group in rows:
                said = group.predictor.law(group.state).log_prob(np.full(len(group.places), token_id, np.int64))
                for (source, template), value in zip(group.places, said, strict=True):
                    columns[source][template, t] = value
            rows = tuple(group.advanced(token_id, copied=copied and t == 0) for group in rows)
            turn.advance(1)
        return _Text(ids, [np.hstack(x) for x in zip(before.scores, columns, strict=True)], rows)

    def _make_room(self, texts: OrderedDict[tuple[int, ...], _Text]) -> None:
        """Keep the scores of the last texts, and the states of those that fit."""
        while len(texts) > _TEXTS_KEPT:
            texts.popitem(last=False)
        held = 0
        for ids in reversed(list(texts)):
            held += sum(group.nbytes for group in texts[ids].rows)
            if held > _STATE_BYTES:
                texts[ids] = _Text(ids, texts[ids].scores, ())

    # ---- coherence ---------------------------------------------------------------------------------------------------

    def coherence(
        self, shelf: str, latent: str, ids: Sequence[int], first: int, prior: Sequence[float] | None, turn: Turn
    ) -> Coherence:
        """What the law itself does to belief at every token from `first` on; `other` is left out, since it is the law itself.

        The law is the one after the document's start, as in header scoring.

        Raises:
            UsageError: as `posterior`; no tokens from `first` on; or a backend without whole laws.
        """
        question = self._question(shelf, latent)
        as_stepwise(self.predictor, "coherence", whole_law=True)
        text = tuple(ids)
        if not 0 <= first < len(text):
            raise UsageError("coherence is followed along a branch: sample or choose some tokens first")
        check_fits(question.speakers, len(text))
        belief = _prior(question, prior)
        belief[-1] = 0.0
        turn.expect(len(text) - first)
        scores = self._read(shelf, question, text, turn).scores
        turn.expect(len(text) - first)
        posterior = source_path(belief / belief.sum(), np.stack([cumulative_likelihood(x) for x in scores])).posterior
        weights = [template_weights(x) for x in scores]
        rows = tuple(_started(question, text[:first], turn))
        steps = []
        for t in range(first, len(text)):
            laws = _source_laws(question, rows, [w[:, t] for w in weights])
            steps.append(one_step(laws[-1], laws[:-1], posterior[t, :-1]))
            turn.advance(1)
            if t < len(text) - 1:
                rows = tuple(group.advanced(text[t], copied=False) for group in rows)
        drift = np.stack([step.drift for step in steps])
        most = np.abs(drift).argmax(axis=1)
        accumulated = np.abs(drift.cumsum(axis=0)).max(axis=1)
        broken = np.flatnonzero(accumulated >= BREAK)
        return Coherence(
            first=first,
            names=question.names[:-1],
            tv=np.array([step.tv for step in steps]),
            drift=drift[np.arange(len(steps)), most],
            toward=tuple(question.names[int(s)] for s in most),
            accumulated=accumulated,
            breaks_at=first + int(broken[0]) if broken.size else None,
            limit=BREAK,
        )


def _title(name: str, file: Sources | None) -> str:
    return "the sources of this world" if file is None else file.title


def _latents(predictor: Predictor, file: Sources | None) -> tuple[Latent, ...]:
    if file is not None:
        return tuple(Latent(x.name, x.names, x.priors) for x in file.latents)
    return tuple(
        Latent(q.name, q.names, tuple(q.prior.tolist())) for q in questions_of(predictor, None, SourceOptions())
    )


def _prior(question: Question, given: Sequence[float] | None) -> Float[np.ndarray, " values_1"]:
    if given is None:
        return question.prior.copy()
    prior = np.array(given, np.float64)
    if prior.shape != question.prior.shape or not (np.isfinite(prior) & (prior >= 0)).all() or prior.sum() <= 0:
        raise DataError(f"a prior over {len(question.prior)} values has as many numbers, none negative and not all 0")
    return np.asarray(prior / prior.sum())


def _longest(texts: Iterable[_Text], ids: tuple[int, ...]) -> _Text | None:
    """The longest text that these tokens go on from, not too long ago, whose states are at hand."""
    fit = [x for x in texts if x.rows and len(ids) - _STEPS <= len(x.ids) < len(ids) and ids[: len(x.ids)] == x.ids]
    return max(fit, key=lambda x: len(x.ids), default=None)


def _can_walk(question: Question) -> bool:
    return all(isinstance(x.predictor, Stepwise) for one in question.speakers for x in one)


def _started(question: Question, text: tuple[int, ...], turn: Turn) -> Iterator[_Rows]:
    """Every header and the text, read."""
    speakers = [(s, j, x) for s, one in enumerate(question.speakers) for j, x in enumerate(one)]
    for predictor in {id(x.predictor): x.predictor for _, _, x in speakers}.values():
        mine = [(s, j, x) for s, j, x in speakers if x.predictor is predictor]
        turn()
        walked = as_stepwise(predictor, "who is writing")
        state = walked.start([np.concatenate([x.header, np.array(text, np.int64)]) for _, _, x in mine])
        yield _Rows(walked, tuple((s, j) for s, j, _ in mine), state)


def _source_laws(
    question: Question, rows: Sequence[_Rows], weights: Sequence[Float[np.ndarray, " templates"]]
) -> Float[np.ndarray, "sources vocabulary"]:
    """The law of each source: its templates' laws by the posterior over templates."""
    laws = np.zeros((len(question.speakers), question.speakers[-1][0].predictor.n_tokens))
    for group in rows:
        table = group.predictor.law(group.state).probs()
        for (source, template), law in zip(group.places, table, strict=True):
            laws[source] += weights[source][template] * law
    return laws
