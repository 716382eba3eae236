"""Header scoring in an audit: how likely every source finds the real and the free continuation of the same prefixes.

Measuring only. What is written is `sources/*.parquet` (records/source_likelihoods.py); findings/sources works out what it says.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.counted import counted
from freerun.errors import UsageError
from freerun.jobs.audit.preparing import Prepared
from freerun.jobs.source.file import read_sources
from freerun.jobs.source.question import Question, SourceOptions, questions_of
from freerun.jobs.source.scoring import (
    OnTokens,
    check_fits,
    document_start,
    rows_at_once,
    texts_log_probs,
    token_log_probs,
)
from freerun.organisms.dressing import BodiesOnly
from freerun.predictors.base import Predictor
from freerun.records.measure import Unit, units_of
from freerun.records.plan import MeasurePlan
from freerun.records.source_likelihoods import (
    SOURCES,
    SOURCES_VERSION,
    ScoredText,
    SourcesAsked,
    keep_only,
    write_scores,
)
from freerun.records.store import RunFolder
from freerun.text.pairs import Pair
from freerun.worlds.mixture import MixtureWorld

OWN = "own"
"""What is typed for the sources of a world, in place of a file."""
DEFAULT_TOKENS = 200_000
"""About how many tokens are scored where nobody says for how many documents."""
FEWEST, MOST = 12, 64
DOCUMENTS_A_PART = 4
Ids = Int[np.ndarray, " tokens"]
FreeIds = Callable[[Sequence[int]], Mapping[int, Ids]]
"""The ids of some sequences, by their numbers."""


@dataclass(frozen=True)
class SourcePart:
    """One unit of work: some pairs, asked about one latent."""

    name: str
    latent: int
    unit: str
    pairs: tuple[int, ...]
    key: str
    n_tokens: int


@dataclass(frozen=True)
class SourcePlan:
    """What will be scored: the latents, and one document of each of some units, its real and its first free continuation."""

    questions: tuple[Question, ...]
    asked: tuple[SourcesAsked, ...]
    pairs: Sequence[Pair]
    chosen: tuple[int, ...]
    plan: MeasurePlan
    plan_hash: str
    first: tuple[int, ...] = ()
    """Pairs of a first look, whose texts are parts of their own."""

    @property
    def units(self) -> list[Unit]:
        """The parts of the texts."""
        return units_of(len(self.pairs), self.plan, self.first)

    @property
    def parts(self) -> list[SourcePart]:
        """All units of work; none holds pairs of two parts of free text."""
        out = []
        free = [u for u in self.units if u.arm == "free"]
        for at, (question, asked) in enumerate(zip(self.questions, self.asked, strict=True)):
            for unit in free:
                mine = [i for i in self.chosen if i in unit.pairs]
                for begin in range(0, len(mine), DOCUMENTS_A_PART):
                    some = tuple(mine[begin : begin + DOCUMENTS_A_PART])
                    content = f"{asked.fingerprint}/{asked.documents}/{SOURCES_VERSION}/{','.join(map(str, some))}"
                    out.append(
                        SourcePart(
                            name=f"source-{at}-{some[0]:06d}",
                            latent=at,
                            unit=unit.name,
                            pairs=some,
                            key=f"{self.plan_hash}/sources/{asked.latent}/{content}",
                            n_tokens=len(some) * self._tokens_a_document(question),
                        )
                    )
        return out

    @property
    def n_rows(self) -> int:
        """Header × template rows of all latents."""
        return sum(_n_rows(q) for q in self.questions)

    @property
    def n_tokens(self) -> int:
        """Tokens to score, headers apart; as many as are told while it goes on, where no free text ends by itself."""
        return sum(part.n_tokens for part in self.parts)

    @property
    def n_values(self) -> int:
        """Numbers to record."""
        return 2 * len(self.chosen) * self.n_rows * len(self.pairs[0].continuation)

    def _tokens_a_document(self, question: Question) -> int:
        pair = self.pairs[0]
        return 2 * _n_rows(question) * (len(pair.prefix) + len(pair.continuation))

    def describe(self) -> str:
        """What it costs, in words."""
        names = " and ".join(q.name for q in self.questions)
        return (
            f"following belief about {names}: {counted(len(self.chosen), 'document')} × 2 texts × {self.n_rows} header rows, "
            f"{self.n_tokens:,} tokens to score"
        )


def plan_sources(ready: Prepared) -> SourcePlan | None:
    """What `--sources` asks of an audit; None where it is not asked.

    Raises:
        UsageError: no such sources for this model, or headers that do not fit its window. DataError: a file that cannot be used.
    """
    spec = ready.options.sources
    if spec is None:
        return None
    predictor = ready.predictor
    if isinstance(predictor, BodiesOnly):
        raise UsageError(
            f"{predictor.identity.name} begins every document with a header of its own: it takes no --sources"
        )
    if spec == OWN:
        world = mixture_inside(predictor)
        questions, title, origin = (
            questions_of(world, None, SourceOptions()),
            f"the sources of {world.identity.name}",
            OWN,
        )
        fingerprint = hashlib.sha256(world.identity.fingerprint.encode()).hexdigest()[:16]
    else:
        sources = read_sources(spec)
        questions = questions_of(predictor, sources, SourceOptions())
        title, origin, fingerprint = sources.title, sources.origin, sources.fingerprint
    return planned(
        questions,
        ready.pairs.pairs,
        ready.plan,
        ready.manifest["plan_hash"],
        n_documents=ready.options.source_documents,
        title=title,
        origin=origin,
        fingerprint=fingerprint,
        begins=() if spec == OWN else tuple(document_start(predictor).tolist()),
        first=ready.first,
    )


def planned(
    questions: Sequence[Question],
    pairs: Sequence[Pair],
    plan: MeasurePlan,
    plan_hash: str,
    *,
    n_documents: int | None,
    title: str,
    origin: str,
    fingerprint: str,
    begins: tuple[int, ...] = (),
    first: tuple[int, ...] = (),
) -> SourcePlan:
    """The work for some questions. `n_documents`: None for about `DEFAULT_TOKENS`; more documents keep those of fewer.

    Raises:
        UsageError: headers that do not fit the window.
    """
    length = len(pairs[0].prefix) + len(pairs[0].continuation)
    for question in questions:
        check_fits(question.speakers, length)
    units: dict[str, int] = {}
    for i, pair in enumerate(pairs):
        units.setdefault(pair.unit, i)
    if n_documents is None:
        a_document = 2 * length * sum(_n_rows(q) for q in questions)
        n_documents = min(MOST, max(FEWEST, DEFAULT_TOKENS // a_document))
    chosen = tuple(sorted(units.values())[:n_documents])
    asked = tuple(
        SourcesAsked(
            latent=q.name,
            values=q.names,
            prior=tuple(float(p) for p in q.prior),
            templates=tuple(len(one) for one in q.speakers),
            title=title,
            origin=origin,
            fingerprint=fingerprint,
            documents=len(chosen),
            begins=begins,
        )
        for q in questions
    )
    return SourcePlan(tuple(questions), asked, pairs, chosen, plan, plan_hash, first)


def mixture_inside(predictor: Predictor) -> MixtureWorld:
    """The mixture of sources that a predictor is, or that the organisms around it stand on.

    Raises:
        UsageError: there is none.
    """
    mixture = next((part for part in predictor.parts() if isinstance(part, MixtureWorld)), None)
    if mixture is not None:
        return mixture
    raise UsageError(
        f"--sources {OWN}: {predictor.identity.name} is not a mixture of known sources; name a file, or one of news, genre, "
        "decade, era, code"
    )


# ---- measuring ---------------------------------------------------------------------------------------------------------


def sources_left(plan: SourcePlan, folder: RunFolder) -> list[SourcePart]:
    """The parts that the folder does not hold yet, or holds damaged."""
    return [part for part in plan.parts if not SOURCES.holds(folder, part.name, part.key)]


def measure_sources(
    plan: SourcePlan,
    folder: RunFolder,
    free_ids: FreeIds,
    *,
    of_unit: str | None = None,
    on_tokens: OnTokens = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> None:
    """Make every part that is not there yet; `of_unit`: only those of one part of the free text.

    Raises:
        BackendError: the model fails; the parts before are kept. DataError: the folder cannot be written to.
    """
    keep_only(folder, [part.name for part in plan.parts])
    left = {part.name for part in sources_left(plan, folder)}
    for part in plan.parts:
        if of_unit is not None and part.unit != of_unit:
            continue
        if part.name not in left:
            on_tokens(part.n_tokens)
            continue
        question = plan.questions[part.latent]
        on_phase(f"{question.name}: headers")
        numbers = [plan.plan.stride * i + 1 for i in part.pairs]
        written = free_ids(numbers)
        texts = [
            (sequence, plan.pairs[i].prefix, ids)
            for i, number in zip(part.pairs, numbers, strict=True)
            for sequence, ids in ((number - 1, plan.pairs[i].continuation), (number, written[number]))
        ]
        scored = scored_texts(question, texts, on_tokens=on_tokens)
        write_scores(folder, part.name, scored, plan.asked[part.latent], unit_key=part.key, plan_hash=plan.plan_hash)


def scored_texts(
    question: Question, texts: Sequence[tuple[int, Ids, Ids]], *, on_tokens: OnTokens = lambda _: None
) -> list[ScoredText]:
    """Sequences (number, prefix, continuation) after every header.

    A text is cut before the first token that some source's vocabulary does not have (an organism's own).

    Raises:
        BackendError: the model fails.
    """
    known = min(x.predictor.n_tokens for one in question.speakers for x in one)
    whole = []
    for _, prefix, continuation in texts:
        beyond = np.flatnonzero(np.asarray(continuation) >= known)
        kept = continuation[: int(beyond[0])] if beyond.size else continuation
        whole.append(np.concatenate([prefix, kept]).astype(np.int64))
    there = [i for i, ids in enumerate(whole) if ids.size]
    scores = texts_log_probs(question.speakers, [whole[i] for i in there], on_tokens=on_tokens) if there else []
    none = [np.zeros((len(one), 0)) for one in question.speakers]
    each = dict(zip(there, scores, strict=True))
    return [
        ScoredText(
            sequence,
            tuple(x[:, : len(prefix)].sum(axis=1) for x in each.get(i, none)),
            tuple(x[:, len(prefix) :] for x in each.get(i, none)),
        )
        for i, (sequence, prefix, _) in enumerate(texts)
    ]


def recorded_ids(folder: RunFolder) -> FreeIds:
    """The ids of sequences as the records hold them.

    Raises:
        DataError: a damaged part.
    """

    def read(numbers: Sequence[int]) -> dict[int, Ids]:
        return ids_in(folder.parts("tokens", ("sequence", "position", "token_id")), numbers)

    return read


def ids_in(tables: Iterable[Any], numbers: Sequence[int]) -> dict[int, Ids]:
    """The ids of some sequences from tables of tokens, in order of position; nothing for one that has no tokens."""
    out: dict[int, Ids] = {n: np.zeros(0, np.int64) for n in numbers}
    for table in tables:
        sequence, position, ids = (table[c].to_numpy() for c in ("sequence", "position", "token_id"))
        for n in np.intersect1d(np.unique(sequence), numbers).tolist():
            mine = np.flatnonzero(sequence == n)
            out[n] = ids[mine[np.argsort(position[mine], kind="stable")]].astype(np.int64)
    return out


def check_hidden(plan: SourcePlan, folder: RunFolder) -> None:
    """Refuse to ask about a redacted run whose texts are gone: its records hold no ids.

    Raises:
        UsageError: free text is recorded, and not scored.
    """
    units = {u.name: u for u in plan.units}
    for part in sources_left(plan, folder):
        unit: Unit = units[part.unit]
        if folder.done(unit.name, unit.key(plan.plan_hash)):
            raise UsageError(
                f"--sources: the texts of {folder.path} are recorded without their ids (--redact-text) and cannot be read again; "
                "choose another folder with -o, where sources are asked for from the beginning"
            )


# ---- what it will take -------------------------------------------------------------------------------------------------


def seconds_a_token(plan: SourcePlan) -> tuple[float, float]:
    """Fastest and slowest seconds a token of one batch of header rows of each latent, scored twice after a row to warm up."""
    pair, seconds = plan.pairs[plan.chosen[0]], []
    ids = np.concatenate([pair.prefix, pair.continuation]).astype(np.int64)
    for question in plan.questions:
        rows = [x for one in question.speakers for x in one]
        some = rows[: rows_at_once(rows[0].predictor)]
        token_log_probs([some[:1]], ids)
        for _ in range(2):
            began = time.perf_counter()
            token_log_probs([some], ids)
            seconds.append((time.perf_counter() - began) / (len(some) * len(ids)))
    return min(seconds), max(seconds)


def _n_rows(question: Question) -> int:
    return sum(map(len, question.speakers))
