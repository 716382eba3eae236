"""The metrics of `freerun power` on a trained organism: the base writes the real text, the organism is the model.

With the base as the truth every null is exact, as in a power table; the control organism stands for the null. Every text follows
the beginning of a held-out document, drawn with replacement by itself, so that texts of one kind are independent draws from one law
given these documents. Texts are written once and kept in parts; groups of another size are other groups of the same texts.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Int

from freerun.files import write_atomically
from freerun.jobs.lab.organism.texts import endless
from freerun.jobs.power.lengths import by_length
from freerun.jobs.power.metrics import METRICS, Trial
from freerun.jobs.power.texts import Block, TokenScores
from freerun.predictors.base import Continuations, Ids, Predictor
from freerun.predictors.draws import sequence_key
from freerun.predictors.observation import Observation
from freerun.stats.design.permutation import relabellings
from freerun.stats.intervals import clopper_pearson
from studies.organism_weights.rows import MetricRate, PowerSection

PREFIX = 16
LENGTHS = (16, 64, 256)
GROUPS_OF = (20, 60)
"""Texts of each kind in a group, as in the power table; all of them together are one group more."""
PART = 64
"""Texts of a part, which is written whole or not at all."""
ALPHA, LEVEL, PERMUTATIONS = 0.05, 0.95, 199
_SEED = 7
OnTokens = Callable[[int], None]


@dataclass(frozen=True)
class Texts:
    """Texts of one kind and what base and organism give them; `q` is None for texts whose loss under the base alone is asked."""

    ids: Int[np.ndarray, "texts tokens"]
    base: TokenScores
    q: TokenScores | None


def power_section(
    base: Predictor,
    organism: Predictor,
    documents: Sequence[Ids],
    *,
    texts: int,
    folder: Path,
    on_tokens: OnTokens,
    lengths: Sequence[int] = LENGTHS,
    groups_of: Sequence[int] = GROUPS_OF,
) -> PowerSection:
    """Write, score and test; parts that are in the folder already are not made again.

    Raises:
        DataError: fewer texts than a group takes.
    """
    shelf = Shelf(folder, on_tokens)
    real, others, own = (
        _texts(kind, base, organism, documents, texts, lengths[-1], shelf) for kind in ("real", "others", "own")
    )
    names = [name for name, metric in METRICS.items() if not metric.needs_sources]
    rates: list[MetricRate] = []
    for n in (*groups_of, texts):
        rates += _rates(_block(real, others, own, n), n, names, lengths, with_mauve=n != groups_of[0])
    return PowerSection(
        alpha=ALPHA,
        level=LEVEL,
        prefix_tokens=PREFIX,
        texts=texts,
        prefixes=len(documents),
        seed=_SEED,
        left_out=tuple(name for name, metric in METRICS.items() if metric.needs_sources),
        rates=tuple(rates),
    )


def tokens_of(texts: int, tokens: int) -> int:
    """Tokens that the section writes or reads, those of the base's text included."""
    return texts * tokens * 6


# ---- texts -----------------------------------------------------------------------------------------------------------


def _texts(
    kind: str, base: Predictor, organism: Predictor, documents: Sequence[Ids], n: int, tokens: int, shelf: Shelf
) -> Texts:
    rng = np.random.default_rng([_SEED, *kind.encode()])
    heads = [documents[i][:PREFIX] for i in rng.integers(len(documents), size=n)]
    writer, reader = (organism, base) if kind == "own" else (base, organism)
    ids, as_written = shelf.written(writer, kind, heads, tokens)
    if kind == "others":
        return Texts(ids, as_written, None)
    as_read = shelf.read(reader, writer, kind, heads, ids)
    if kind == "own":
        return Texts(ids, as_read, as_written)
    # real text is read by both: the two then differ by their laws alone, not by how they were computed
    return Texts(ids, shelf.read(writer, writer, kind, heads, ids), as_read)


@dataclass(frozen=True)
class Shelf:
    """A folder of texts and scores in parts; what is there is not made again. Names of files hold what a part depends on."""

    folder: Path
    on_tokens: OnTokens

    def written(
        self, writer: Predictor, kind: str, heads: Sequence[Ids], tokens: int
    ) -> tuple[Int[np.ndarray, "texts tokens"], TokenScores]:
        """One text after each beginning, with what the writer gives it; no token ends a text."""

        def make(rows: slice) -> tuple[np.ndarray, TokenScores]:
            some = heads[rows]
            keys = np.array([[sequence_key("power", kind, rows.start + i)] for i in range(len(some))], np.uint64)
            ids, columns = np.zeros((len(some), tokens), np.int64), _empty((len(some), tokens))
            asked = Continuations(some, keys, tokens, seed=_SEED)
            for sample in endless(writer).generate(asked, on_tokens=self.on_tokens):
                ids[sample.row] = sample.observation.token_id
                for column, values in zip(columns, _columns(sample.observation), strict=True):
                    column[sample.row] = values
            return ids, TokenScores(*columns)

        return self._parts(f"{kind}-written", [writer], heads, tokens, make)

    def read(
        self,
        reader: Predictor,
        writer: Predictor,
        kind: str,
        heads: Sequence[Ids],
        ids: Int[np.ndarray, "texts tokens"],
    ) -> TokenScores:
        """What a law gives every token; an id that it does not know is impossible, and it reads id 0 in its place."""

        def make(rows: slice) -> tuple[np.ndarray, TokenScores]:
            some = ids[rows]
            known, columns = some < reader.n_tokens, _empty(some.shape)
            wholes = [np.concatenate(pair) for pair in zip(heads[rows], np.where(known, some, 0), strict=True)]
            for chunk in reader.score(wholes, first=PREFIX):
                for column, values in zip(columns, _columns(chunk.observation), strict=True):
                    column[chunk.row, chunk.position - PREFIX] = values
                self.on_tokens(len(chunk.row))
            columns[0][~known] = -np.inf
            return some, TokenScores(*columns)

        return self._parts(f"{kind}-read", [writer, reader], heads, ids.shape[1], make)[1]

    def _parts(
        self,
        name: str,
        laws: Sequence[Predictor],
        heads: Sequence[Ids],
        tokens: int,
        make: Callable[[slice], tuple[np.ndarray, TokenScores]],
    ) -> tuple[np.ndarray, TokenScores]:
        parts = []
        for first in range(0, len(heads), PART):
            rows = slice(first, min(first + PART, len(heads)))
            said = hashlib.sha256(repr((_SEED, tokens, [law.identity.fingerprint for law in laws])).encode())
            for head in heads[rows]:
                said.update(head.tobytes())
            path = self.folder / f"{name}-{first:04d}-{said.hexdigest()[:16]}.npz"
            part = _load(path)
            if part is None:
                part = make(rows)
                _save(path, *part)
            parts.append(part)
        columns = zip(*(astuple(scores) for _, scores in parts), strict=True)
        return np.concatenate([ids for ids, _ in parts]), TokenScores(*(np.concatenate(c) for c in columns))


def _load(path: Path) -> tuple[np.ndarray, TokenScores] | None:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
            return held["ids"], TokenScores(*(held[f.name] for f in fields(TokenScores)))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _save(path: Path, ids: np.ndarray, scores: TokenScores) -> None:
    data = io.BytesIO()
    np.savez_compressed(data, ids=ids, **{f.name: getattr(scores, f.name) for f in fields(TokenScores)})
    write_atomically(path, data.getvalue())


def _columns(seen: Observation) -> Iterator[np.ndarray]:
    for name in ("log_prob_nats", "entropy_nats", "varentropy_nats2", "rank"):
        yield getattr(seen, name)


def _empty(shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    return (*(np.zeros(shape) for _ in range(3)), np.zeros(shape, np.int64))


# ---- tests -----------------------------------------------------------------------------------------------------------


def _block(real: Texts, others: Texts, own: Texts, n: int) -> Block:
    """Groups of n texts of each kind side by side, as a power table has its reruns."""
    groups, tokens = len(own.ids) // n, own.ids.shape[1]
    assert real.q is not None
    assert own.q is not None

    def scores(s: TokenScores) -> TokenScores:
        return s.each(slice(groups * n)).reshaped(groups, n, tokens)

    def ids(texts: Texts) -> np.ndarray:
        return texts.ids[: groups * n].reshape(groups, n, tokens)

    by_base, own_by_base = scores(real.base), scores(own.base)
    return Block(
        real=ids(real),
        own=ids(own),
        real_q=scores(real.q),
        own_q=scores(own.q),
        real_truth=by_base,
        own_truth=own_by_base,
        real_declared=by_base,
        own_declared=own_by_base,
        others_declared=scores(others.base).log_prob,
    )


def _rates(block: Block, n: int, names: Sequence[str], lengths: Sequence[int], *, with_mauve: bool) -> list[MetricRate]:
    groups = len(block.own)
    streams = [np.random.default_rng([_SEED, n, k]) for k in range(groups)]
    chosen = [relabellings(n, PERMUTATIONS, rng=rng) for rng in streams]
    wanted = [name for name in names if with_mauve or not METRICS[name].largest_texts_only]
    rates = []
    for at in by_length(block, lengths, wanted, None):
        for name in wanted:
            metric = METRICS[name]
            if at.tokens < metric.least_tokens:
                continue
            p = [metric.p_value(Trial(block, at, k, n, chosen[k], streams[k])) for k in range(groups)]
            rejected = sum(v <= ALPHA for v in p)
            limits = clopper_pearson(rejected, groups, level=LEVEL)
            rates.append(
                MetricRate(
                    name,
                    metric.label,
                    metric.control,
                    at.tokens,
                    n,
                    groups,
                    rejected,
                    limits.low,
                    limits.high,
                    float(min(p)),
                    float(max(p)),
                )
            )
    return rates
