"""Backends that run out of memory or give NaN while records are made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.errors import BackendError
from freerun.predictors.law import Dense
from freerun.records.failures import blamed, out_of_memory, slices
from freerun.records.measure import measure, units_of
from freerun.records.store import RunFolder


class Passing:
    """A predictor that hands everything on."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Small(Passing):
    """Has memory for some rows at once; what it says otherwise is given."""

    def __init__(self, inner: Any, rows: int, error: BaseException) -> None:
        super().__init__(inner)
        self.rows, self.error, self.widest = rows, error, 0

    def _check(self, n_rows: int) -> None:
        if n_rows > self.rows:
            raise self.error
        self.widest = max(self.widest, n_rows)

    def score(self, sequences: Any, **named: Any) -> Iterator[Any]:
        for n, chunk in enumerate(self.inner.score(sequences, **named)):
            if n == 3:  # in the middle
                self._check(len(sequences))
            yield chunk

    def generate(self, continuations: Any, **named: Any) -> Iterator[Any]:
        for n, sample in enumerate(self.inner.generate(continuations, **named)):
            if n == 0:
                self._check(min(continuations.n_rows, continuations.at_once))
            yield sample

    def log_probs(self, sequences: Any, **named: Any) -> Any:
        self._check(len(sequences))
        return self.inner.log_probs(sequences, **named)


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


SAID = [
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((10**6, 10**6), np.dtype(float)),  # type: ignore[attr-defined]
    OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
    ),
    RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
    RuntimeError("std::bad_alloc"),
]


@pytest.mark.parametrize("error", SAID, ids=lambda e: type(e).__name__)
def test_every_way_of_saying_it_is_understood(error: BaseException) -> None:
    assert out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory"), BackendError("NaN")])
def test_other_errors_are_not_taken_for_it(error: BaseException) -> None:
    assert not out_of_memory(error)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_fewer_rows_at_once_give_the_same_records(job: Any, tmp_path: Path, rows: int) -> None:
    whole = job.run(job.folder(tmp_path / "whole"))
    small, notes, told = Small(job.predictor, rows, SAID[3]), [], []
    folder = job.folder(tmp_path / "run")
    measure(
        small,
        job.pairs,
        plan=job.plan,
        plan_hash=job.manifest["plan_hash"],
        folder=folder,
        reference=job.reference,
        on_tokens=told.append,
        on_note=notes.append,
    )
    for kind in ("sequences", "tokens"):
        assert folder.read(kind).equals(whole.read(kind))
    settled = {1: 1, 2: 2, 3: 2}[rows]
    assert small.widest == settled
    assert notes == [f"out of memory with 4 rows at once: going on with {settled} (a smaller --batch from the start)"]
    assert sum(told) == sum(u.n_tokens for u in units_of(len(job.pairs), job.plan))
    assert min(told) >= 0
    at_once = {said.get("rows_at_once") for _, said in folder.notes()}
    assert str(settled) in at_once
    assert {said.get("rows_at_once") for _, said in whole.notes()} == {None}


def test_one_row_too_many_is_said_and_nothing_is_left(job: Any, tmp_path: Path) -> None:
    folder = job.folder(tmp_path / "run")
    with pytest.raises(BackendError, match=r"out of memory with one row at once, in free-00000 .*--tokens.*--batch"):
        measure(
            Small(job.predictor, 0, SAID[2]),
            job.pairs,
            plan=job.plan,
            plan_hash=job.manifest["plan_hash"],
            folder=folder,
            reference=job.reference,
            on_note=lambda _: None,
        )
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [".lock", "manifest.json"]


# ---- NaN and −inf ----------------------------------------------------------------------------------------------------


class Broken(Passing):
    """Its law is NaN after one document's beginning, from a position on."""

    def __init__(self, inner: Any, prefix: Any, after: int) -> None:
        super().__init__(inner)
        self.prefix, self.after = np.asarray(prefix), after

    def _bad(self, prefix: Any) -> bool:
        return np.array_equal(prefix, self.prefix)

    def _checked(self, bad: bool, done: int) -> None:
        if bad and done >= self.after:
            Dense(np.full((1, 3), np.nan)).probs()

    def score(self, sequences: Any, *, first: int = 0, **named: Any) -> Iterator[Any]:
        bad = any(self._bad(s[:first]) for s in sequences)
        for n, chunk in enumerate(self.inner.score(sequences, first=first, **named)):
            self._checked(bad, n)
            yield chunk

    def generate(self, continuations: Any, *, on_tokens: Any) -> Iterator[Any]:
        bad, done = any(self._bad(p) for p in continuations.prefixes), 0

        def tell(n: int) -> None:
            nonlocal done
            self._checked(bad, done)
            done += 1
            on_tokens(n)

        yield from self.inner.generate(continuations, on_tokens=tell)


def measured(job: Any, folder: RunFolder, predictor: Any) -> None:
    measure(
        predictor,
        job.pairs,
        plan=job.plan,
        plan_hash=job.manifest["plan_hash"],
        folder=folder,
        reference=job.reference,
    )


@pytest.mark.parametrize("index", [2, 3, 6])
def test_nan_is_said_with_document_and_position(job: Any, tmp_path: Path, index: int) -> None:
    pair = job.pairs[index]
    if sum(np.array_equal(p.prefix, pair.prefix) for p in job.pairs) > 1:
        pytest.skip("two documents begin alike")
    folder = job.folder(tmp_path / "run")
    with pytest.raises(BackendError) as raised:
        measured(job, folder, Broken(job.predictor, pair.prefix, 5))
    said = str(raised.value)
    assert f"first seen in document {pair.document_id!r}, 5 tokens after the cut" in said
    assert "NaN" in said
    assert "\n" not in said
    assert not [p for p in (tmp_path / "run").rglob(".*") if p.name != ".lock"]
    assert not (tmp_path / "run" / "sequences" / f"real-{index // 4:05d}.parquet").exists()


def test_nan_in_its_own_text_is_said_too(job: Any, tmp_path: Path) -> None:
    """Real text goes well; the model's own text meets NaN."""
    pair = job.pairs[1]

    class Late(Broken):
        def score(self, sequences: Any, **named: Any) -> Iterator[Any]:
            yield from self.inner.score(sequences, **named)

    folder = job.folder(tmp_path / "run")
    with pytest.raises(
        BackendError, match=r"first seen in (its own|the control's) continuation of document .*, 0 tokens"
    ):
        measured(job, folder, Late(job.predictor, pair.prefix, 0))


def test_nan_without_a_prefix_and_nan_that_a_backend_hands_on_are_not_recorded_as_nothing(
    job: Any, tmp_path: Path
) -> None:
    class Silent(Passing):
        def log_probs(self, sequences: Any, **named: Any) -> Any:
            return [np.where(np.arange(len(s)) == 3, np.nan, s) for s in self.inner.log_probs(sequences, **named)]

    class Handing(Passing):
        """NaN on the third token, of texts scored one by one or of several together."""

        def __init__(self, inner: Any, *, alone: bool) -> None:
            super().__init__(inner)
            self.alone = alone

        def score(self, sequences: Any, **named: Any) -> Iterator[Any]:
            for n, chunk in enumerate(self.inner.score(sequences, **named)):
                if n == 2 and (len(sequences) == 1) == self.alone:
                    chunk.observation.log_prob_nats[:] = np.nan
                yield chunk

    with pytest.raises(BackendError, match="read without its prefix"):
        measured(job, job.folder(tmp_path / "a"), Silent(job.predictor))
    with pytest.raises(BackendError, match=r"NaN in document .*, 2 tokens after the cut"):
        measured(job, job.folder(tmp_path / "b"), Handing(job.predictor, alone=False))
    with pytest.raises(BackendError, match=r"NaN.*its own continuation of document .* scored again by a fresh pass"):
        measured(job, job.folder(tmp_path / "c"), Handing(job.predictor, alone=True))


def test_impossible_tokens_are_null_and_nothing_else(job: Any, tmp_path: Path) -> None:
    class Impossible(Passing):
        def score(self, sequences: Any, **named: Any) -> Iterator[Any]:
            for n, chunk in enumerate(self.inner.score(sequences, **named)):
                if n == 2:
                    chunk.observation.log_prob_nats[:] = -np.inf
                yield chunk

    folder = job.folder(tmp_path / "run")
    measured(job, folder, Impossible(job.predictor))
    tokens = folder.read("tokens")
    real = np.isin(tokens["sequence"].to_numpy() % job.plan.stride, [0])
    impossible = np.asarray(tokens["log_prob_nats"].is_null()) & real
    assert (tokens["position"].to_numpy()[impossible] == 2).all()
    assert impossible.sum() == len(job.pairs)


def test_a_broken_checkpoint_names_the_document(tmp_path: Path) -> None:
    """A tiny transformer whose vector of one word is NaN: the first document with that word in it is named."""
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from freerun.predictors.huggingface import HuggingFacePredictor
    from freerun.predictors.reference import Alone
    from freerun.predictors.rules import Identity
    from freerun.records.measure import MeasurePlan
    from freerun.text.pairs import Pair

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
    )
    words = {"<unk>": 0, "</s>": 1} | {f"w{i}": i for i in range(2, 16)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight[9] = float("nan")
    predictor = HuggingFacePredictor(model, fast, identity=Identity("tiny", "tiny"), lead=(), end_ids=(1,))
    ids = np.random.default_rng(0).integers(2, 9, (6, 10))
    ids[4, 7] = 9
    pairs = [Pair(f"d{i}", f"d{i}", "test", row[:4], row[4:]) for i, row in enumerate(ids)]
    folder = RunFolder(tmp_path / "run")
    folder.open({"schema_version": 2, "plan": {}, "plan_hash": "h"})
    with pytest.raises(BackendError, match="first seen in document 'd4'"):
        measure(
            predictor,
            pairs,
            plan=MeasurePlan(6, 8, 0, continuations=1),
            plan_hash="h",
            folder=folder,
            reference=Alone(predictor),
        )


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_slices_cover_every_row_in_order() -> None:
    for pairs in range(1, 6):
        for replicates in range(1, 4):
            every = [(i, j) for i in range(pairs) for j in range(replicates)]
            for width in range(1, pairs * replicates + 2):
                cut = list(slices(pairs, replicates, width))
                assert [row for rows in cut for row in rows] == every
                assert max(map(len, cut)) <= width
                assert len(cut) == 1 or width < len(every)


def test_who_is_to_blame_is_found_by_halving() -> None:
    rows = [(i, 0) for i in range(13)]
    for guilty in ({4}, {0, 12}, {9, 10}, set(), {3, 4, 5}):

        def attempt(some: Any, tell: Any, guilty: set[int] = guilty) -> None:
            tell(7)
            if {i for i, _ in some} & guilty:
                raise BackendError("NaN")

        found = blamed(rows, attempt)
        assert found == (((min(guilty), 0), 7) if guilty else None)
