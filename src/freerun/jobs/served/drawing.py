"""Samples that a server draws now, to be verified: `freerun verify CORPUS --from SERVED --model MODEL`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np

from freerun.counted import counted
from freerun.errors import DataError
from freerun.files import write_atomically
from freerun.jobs.audit.options import AuditOptions, read_any_corpus
from freerun.jobs.served.law import VERIFICATION, completion, recorded_gap, stated_rule, typed
from freerun.jobs.served.requests import Log, requests_in, served_in
from freerun.jobs.served.same_law import SameLaw
from freerun.jobs.served.writers import read_by, writer_plan
from freerun.jobs.verify.options import VerifyKeywords, VerifyOptions
from freerun.jobs.verify.verify import measure, write_result
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.draws import sequence_key
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.records import lock
from freerun.records.beginning import claim_new
from freerun.records.plan import WriterPlan
from freerun.results.finding import to_json
from freerun.results.verify import VerifyResult
from freerun.runs.progress import Progress, Silent
from freerun.samples.completion import Completion
from freerun.samples.reading import open_samples
from freerun.samples.writing import write_samples
from freerun.specs.spec import LoadOptions, load_predictor, loader_of
from freerun.text.pairs import Pair, cut_pairs

SAMPLES = "samples"
PART_TEXTS = 16


@dataclass(frozen=True)
class DrawOptions:
    """How many samples are drawn, after what, and how long they may be."""

    documents: int = 64
    prefix: int = 32
    tokens: int = 64
    text_field: str = "text"


@dataclass(frozen=True)
class ReadyToDraw:
    """Who writes after what and by which rule, who reads, and where it is kept."""

    both: OwnTextFrom
    plan: WriterPlan
    pairs: tuple[Pair, ...]
    corpus: str
    draw: DrawOptions
    options: VerifyOptions
    rule: SamplingRule
    """What the server is told, where it is told anything."""
    folder: Path
    key: str

    @property
    def parts(self) -> dict[Path, tuple[Pair, ...]]:
        """Where each part of the samples is kept, and what it continues."""
        starts = range(0, len(self.pairs), PART_TEXTS)
        names = (self.folder / SAMPLES / f"part-{start // PART_TEXTS:05d}.jsonl" for start in starts)
        return {name: self.pairs[start : start + PART_TEXTS] for name, start in zip(names, starts, strict=True)}


def prepare_draws(
    writer: str | Predictor,
    model: str | Predictor,
    corpus: str,
    *,
    draw: DrawOptions = DrawOptions(),
    out: str | Path | None = None,
    load: LoadOptions | None = None,
    say: Callable[[str], None] = lambda _: None,
    **options: Unpack[VerifyKeywords],
) -> ReadyToDraw:
    """Read the corpus, load the model, connect to the server and cut the beginnings; no file is written but the cache of weights.

    Raises:
        UsageError: no such model, other tokens, or a rule that servers do not have. FreerunError: see there.
    """
    loading, chosen = load or LoadOptions(), VerifyOptions(**options)
    if isinstance(writer, str):
        loader_of(writer)
    text = read_any_corpus(corpus, AuditOptions(text_field=draw.text_field))
    reader = load_predictor(model, loading, tell=say) if isinstance(model, str) else model
    both = read_by(reader, writer, loading, say)
    plan = writer_plan(both)
    assert plan is not None
    rule = chosen.rule if plan.sends_rule else MODEL_LAW
    if (served := served_in(both)) is not None:
        served.sent_for(rule)
    pairs = cut_pairs(
        text,
        both.encode,
        n_documents=draw.documents,
        prefix_tokens=draw.prefix,
        continuation_tokens=draw.tokens,
        seed=chosen.seed,
    ).pairs
    key = _key(plan, both, pairs, draw, rule, chosen.seed)
    stem = re.sub(r"[^A-Za-z0-9.]+", "-", plan.model).strip("-.")[:48]
    folder = Path(out) if out is not None else Path("runs") / f"verify-{stem}-{key[:8]}"
    return ReadyToDraw(both, plan, pairs, text.spec, draw, chosen, rule, folder, key)


def verify_from(
    writer: str | Predictor,
    model: str | Predictor,
    corpus: str,
    *,
    draw: DrawOptions = DrawOptions(),
    out: str | Path | None = None,
    load: LoadOptions | None = None,
    progress: Progress | None = None,
    command: str = "",
    **options: Unpack[VerifyKeywords],
) -> VerifyResult:
    """Let a server continue beginnings of documents by the declared rule, and verify what it drew; the same call goes on.

    Raises:
        FreerunError: see `freerun.errors`; the parts that were drawn are kept.
    """
    tell = progress or Silent()
    ready = prepare_draws(writer, model, corpus, draw=draw, out=out, load=load, say=tell.say, **options)
    both, folder, given = ready.both, ready.folder, ready.options.floor_nats
    log = Log(folder, (both,))
    draws = _Draws(ready, log)
    draws.claim()
    try:
        drawn = draws.all(tell)
        gap = recorded_gap(both, drawn, folder, ready.key, tell)
    finally:
        log.write()
    floor = given if gap is None or given is not None else gap.floor_nats
    settings: VerifyKeywords = {**options, "floor_nats": floor, "ends": "present"}
    measured = measure(
        folder / SAMPLES,
        both,
        out=folder / VERIFICATION,
        load=load or LoadOptions(),
        progress=tell,
        command=command,
        **settings,
    )
    stated = None
    if measured.evidence.match == "differs":
        stated = stated_rule(both, folder / SAMPLES, folder / VERIFICATION, gap, tell)
    found = measured.result(command=command, stated=stated)
    title = f"{ready.plan.describe()} against {both.reader.identity.name}"
    result = replace(found, gap=gap, requests=requests_in(folder), title=title)
    write_result(result, folder / VERIFICATION)
    return result


def _key(
    plan: WriterPlan, both: OwnTextFrom, pairs: tuple[Pair, ...], draw: DrawOptions, rule: SamplingRule, seed: int
) -> str:
    """What is drawn, as one string."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(pair.document_id.encode() + b"\0" + pair.prefix.tobytes())
    parts = [plan.fingerprint, plan.sent, both.identity.fingerprint, list(both.end_ids), draw.tokens, typed(rule), seed]
    return hashlib.sha256(json.dumps([*parts, digest.hexdigest()]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Draws:
    """Samples in parts, each of which appears whole or not at all."""

    ready: ReadyToDraw
    log: Log

    def all(self, tell: Progress) -> list[Completion]:
        """Draw what is not there yet, and give everything."""
        ready, n_tokens = self.ready, self.ready.draw.tokens
        tell.say(
            f"{ready.plan.describe()} writes {counted(len(ready.pairs), 'text')} of {n_tokens} tokens -> {ready.folder}"
        )
        tell.begin(len(ready.pairs) * n_tokens)
        tell.phase("the server writes")
        start, same = 0, SameLaw(ready.folder, (ready.both,))
        is_left = not all(path.exists() for path in ready.parts)
        same.check_unchanged()
        try:
            if is_left:
                same.begin()
            for path, block in ready.parts.items():
                if path.exists():
                    tell.advance(len(block) * n_tokens)
                else:
                    write_samples(path, list(self._drawn(block, start, tell)))
                    self.log.write()
                start += len(block)
            if is_left or same.is_open:
                same.end()
        finally:
            tell.end()
        return [s for s in open_samples(ready.folder / SAMPLES) if isinstance(s, Completion)]

    def claim(self) -> None:
        """Keep others from writing to the folder.

        Raises:
            DataError: it holds samples of something else, or another process has it.
        """
        ready = self.ready
        path = ready.folder / "drawn.json"
        if not path.exists():
            claim_new(ready.folder, self)
            facts = {"writer": to_json(ready.plan), "rule": ready.rule.describe(), "seed": ready.options.seed}
            write_atomically(path, json.dumps({"key": ready.key, **facts}, indent=1) + "\n")
            return
        try:
            held = json.loads(path.read_text())["key"]
        except (OSError, ValueError, KeyError, TypeError):
            held = "damaged"
        if held != ready.key:
            raise DataError(
                f"{ready.folder} holds samples of another server, model, corpus, rule or size; choose another folder with -o"
            )
        lock.hold(self, ready.folder)

    def _drawn(self, block: tuple[Pair, ...], start: int, tell: Progress) -> Iterator[Completion]:
        ready = self.ready
        keys = np.array([[sequence_key(p.document_id, "verify", 0)] for p in block], np.uint64)
        prefixes = [p.prefix.astype(np.int64) for p in block]
        todo = Continuations(prefixes, keys, ready.draw.tokens, seed=ready.options.seed, sampling=ready.rule)
        lead = np.array(ready.both.context.lead, np.int64)
        served = served_in(ready.both)
        sent = ready.plan.sent if served is None else served.sent_for(ready.rule)
        for sample in sorted(ready.both.written(todo, on_tokens=tell.advance), key=lambda s: s.row):
            yield completion(
                start + sample.row,
                np.concatenate([lead, prefixes[sample.row]]),
                sample.observation.token_id,
                sample.observation.log_prob_nats,
                group=block[sample.row].document_id,
                ended=sample.end_reason == "end_of_text",
                sent=sent,
            )
