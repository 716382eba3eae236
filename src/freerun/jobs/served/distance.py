"""How far apart are two models, one of which is served? Each writes, both score; only the tokens' own log-probabilities are
needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import freerun
from freerun.counted import counted
from freerun.errors import DataError
from freerun.files import write_atomically
from freerun.findings.two_laws.whole_texts import Writers, judge_writers, token_gaps
from freerun.jobs.distance.options import DistanceOptions
from freerun.jobs.served.requests import Log, requests_in
from freerun.jobs.served.same_law import SameLaw
from freerun.jobs.served.two_models import PART_TEXTS, TwoModels, prepare_two
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.draws import sequence_key
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.records import lock
from freerun.records.beginning import check_same_plan, claim_new
from freerun.report.pages.distance import render_distance
from freerun.results.distance import RESULT_VERSION, DistanceResult
from freerun.results.finding import to_json
from freerun.runs.progress import Progress, Silent
from freerun.runs.run import Run
from freerun.samples.completion import Completion
from freerun.samples.reading import open_samples
from freerun.samples.writing import write_samples
from freerun.stats.two_laws.texts import TwoLaws
from freerun.text.pairs import Pair

ARMS = ("a", "b", "real")


def served_distance(
    a: str | Predictor,
    b: str | Predictor,
    corpus: str,
    options: DistanceOptions,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """K by the log-probability gap, total variation and the best possible detector; the same call goes on.

    Raises:
        UsageError: see `prepare_two`. FreerunError: see `freerun.errors`; parts that are finished are kept.
    """
    tell = progress or Silent()
    ready = prepare_two(a, b, corpus, options, out=out, say=tell.say)
    plan, pairs, folder = ready.plan, ready.cut.pairs, ready.folder
    log = Log(folder, (ready.a, ready.b))
    work = _Work(ready, log)
    _claim(ready, work)
    try:
        tell.say(f"{counted(len(pairs), 'text')}, {plan.prefix} + {plan.tokens} tokens -> {folder}")
        tell.begin(len(ARMS) * len(pairs) * plan.tokens)
        same, is_left = SameLaw(folder, (ready.a, ready.b)), work.is_left
        same.check_unchanged()
        try:
            if is_left:
                same.begin()
            texts = {arm: work.arm(arm, tell) for arm in ARMS}
            if is_left:
                same.end()
        finally:
            tell.end()
    finally:
        log.write()
    said = judge_writers(Writers(texts["a"], texts["b"], texts["real"], plan.tokens))
    made = ready.manifest
    result = DistanceResult(
        schema_version=RESULT_VERSION,
        kind="distance",
        freerun_version=freerun.__version__,
        created=made["provenance"]["created"],
        title=f"{ready.b.identity.name} beside {ready.a.identity.name}",
        verdict=said.verdict,
        headline=said.headline,
        certificate=said.certificate,
        findings=said.findings,
        partings=(),
        infinite=said.infinite,
        plan=made["plan"],
        counts=made["counts"],
        corpus_notes=made["corpus"]["notes"],
        a=made["a"],
        b=made["b"],
        provenance=made["provenance"],
        command=made["command"],
        requests=requests_in(folder),
    )
    held = to_json(result)
    write_atomically(folder / "result.json", json.dumps(held, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "report.html", render_distance(held))
    return Run(folder, held)


def part_of(folder: Path, arm: str, start: int) -> Path:
    """Where the texts of an arm from number `start` on are kept."""
    return folder / arm / f"part-{start // PART_TEXTS:05d}.jsonl"


def _claim(ready: TwoModels, owner: object) -> None:
    """Keep others from writing to the folder. Raises DataError: it holds something else, and what, or another process has it."""
    path = ready.folder / "distance.json"
    if not path.exists():
        claim_new(ready.folder, owner)
        mine = {"plan_hash": ready.plan.hash, "plan": ready.manifest["plan"]}
        write_atomically(path, json.dumps(mine, indent=1, allow_nan=False) + "\n")
        return
    try:
        held: Any = dict(json.loads(path.read_text()))
        _ = held["plan_hash"], dict(held["plan"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"{path} is damaged; choose another folder with -o") from None
    check_same_plan(ready.folder, held, ready.manifest)
    lock.hold(owner, ready.folder)


@dataclass(frozen=True)
class _Work:
    """Parts of texts with both models' log-probabilities, each of which appears whole or not at all."""

    ready: TwoModels
    log: Log

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return self.ready.cut.pairs

    @property
    def is_left(self) -> bool:
        """Whether there is a part that is not recorded yet."""
        starts = range(0, len(self.pairs), PART_TEXTS)
        return not all(part_of(self.ready.folder, arm, start).exists() for arm in ARMS for start in starts)

    def arm(self, arm: str, tell: Progress) -> TwoLaws:
        """One kind of text under both laws; what is recorded already is read."""
        tokens = self.ready.plan.tokens
        tell.phase({"a": "A writes, B reads", "b": "B writes, A reads", "real": "real text by both"}[arm])
        for start in range(0, len(self.pairs), PART_TEXTS):
            block = self.pairs[start : start + PART_TEXTS]
            path = part_of(self.ready.folder, arm, start)
            if not path.exists():
                rows = self._real(block, start) if arm == "real" else self._written(arm, block, start)
                write_samples(path, list(rows))
                self.log.write()
            tell.advance(len(block) * tokens)
        return self._laws(arm)

    def _written(self, arm: str, block: tuple[Pair, ...], start: int) -> Iterator[Completion]:
        one, two = self.ready.a, self.ready.b
        writer, reader = (one, two) if arm == "a" else (two, one)
        both = OwnTextFrom(reader, writer)
        keys = np.array([[sequence_key(p.document_id, "distance", arm, 0)] for p in block], np.uint64)
        prefixes = [p.prefix.astype(np.int64) for p in block]
        todo = Continuations(prefixes, keys, self.ready.plan.tokens, seed=self.ready.plan.seed)
        for sample in sorted(both.generate(todo), key=lambda s: s.row):
            assert sample.sample_log_prob_nats is not None
            yield _Row(start + sample.row, block[sample.row], sample.observation.token_id, sample.end_reason).with_nats(
                sample.sample_log_prob_nats, sample.observation.log_prob_nats
            )

    def _real(self, block: tuple[Pair, ...], start: int) -> Iterator[Completion]:
        texts = [np.concatenate([p.prefix, p.continuation]).astype(np.int64) for p in block]
        first = len(block[0].prefix)
        one, two = (model.log_probs(texts, first=first) for model in (self.ready.a, self.ready.b))
        for i, pair in enumerate(block):
            yield _Row(start + i, pair, pair.continuation, "length").with_nats(one[i], two[i])

    def _laws(self, arm: str) -> TwoLaws:
        """Both models' log-probabilities: p is A's whoever wrote."""
        rows = [s for s in open_samples(self.ready.folder / arm) if isinstance(s, Completion)]
        shape = (len(rows), self.ready.plan.tokens)
        first, second = np.full(shape, np.nan), np.full(shape, np.nan)
        for i, row in enumerate(rows):
            assert row.log_probs_nats is not None
            assert row.trainer_log_probs_nats is not None
            first[i, : len(row.log_probs_nats)] = row.log_probs_nats
            second[i, : len(row.trainer_log_probs_nats)] = row.trainer_log_probs_nats
        units = {p.document_id: p.unit for p in self.pairs}
        numbers = {name: i for i, name in enumerate(dict.fromkeys(p.unit for p in self.pairs))}
        unit = np.array([numbers[units[str(row.group)]] for row in rows], np.int64)
        ended = np.array([row.finish_reason == "stop" for row in rows])
        return token_gaps(unit, ended, *((second, first) if arm == "b" else (first, second)))


@dataclass(frozen=True)
class _Row:
    """A text on its way into a part."""

    number: int
    pair: Pair
    ids: np.ndarray
    end_reason: str

    def with_nats(self, writer: np.ndarray, reader: np.ndarray) -> Completion:
        return Completion(
            self.number,
            prompt_ids=self.pair.prefix.astype(np.int64),
            completion_ids=self.ids.astype(np.int64),
            log_probs_nats=np.asarray(writer, np.float64),
            trainer_log_probs_nats=np.asarray(reader, np.float64),
            group=self.pair.document_id,
            finish_reason="stop" if self.end_reason == "end_of_text" else "length",
        )
