"""Samples that a server draws now, to be verified: `freerun verify CORPUS --from SERVED --model MODEL`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import numpy as np

from freerun.errors import DataError
from freerun.files import write_atomically
from freerun.jobs.audit.options import AuditOptions, read_any_corpus
from freerun.jobs.served.law import VERIFICATION, completion, recorded_gap, typed
from freerun.jobs.served.requests import Log, requests_in
from freerun.jobs.served.writers import read_by, writer_plan
from freerun.jobs.verify.options import VerifyKeywords, VerifyOptions
from freerun.jobs.verify.verify import verify
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.draws import sequence_key
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.records.plan import WriterPlan
from freerun.report.pages.verify import render_verify
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
    tell, loading, chosen = progress or Silent(), load or LoadOptions(), VerifyOptions(**options)
    if isinstance(writer, str):
        loader_of(writer)
    text = read_any_corpus(corpus, AuditOptions(text_field=draw.text_field))
    reader = load_predictor(model, loading, tell=tell.say) if isinstance(model, str) else model
    both = read_by(reader, writer, loading, tell.say)
    plan = writer_plan(both)
    assert plan is not None
    rule = chosen.rule if plan.sends_rule else MODEL_LAW
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
    log = Log(folder, (both,))
    try:
        drawn = _Draws(both, plan, pairs, draw, rule, chosen.seed, folder, key, log).all(tell)
        gap = recorded_gap(both, drawn, folder, key, tell)
    finally:
        log.write()
    floor = chosen.floor_nats if gap is None or chosen.floor_nats is not None else gap.floor_nats
    settings: VerifyKeywords = {**options, "floor_nats": floor, "ends": "present"}
    found = verify(
        folder / SAMPLES, both, out=folder / VERIFICATION, load=loading, progress=tell, command=command, **settings
    )
    result = replace(
        found, gap=gap, requests=requests_in(folder), title=f"{plan.describe()} against {reader.identity.name}"
    )
    held = to_json(result)
    write_atomically(folder / VERIFICATION / "result.json", json.dumps(held, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / VERIFICATION / "report.html", render_verify(held))
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

    both: OwnTextFrom
    plan: WriterPlan
    pairs: tuple[Pair, ...]
    draw: DrawOptions
    rule: SamplingRule
    seed: int
    folder: Path
    key: str
    log: Log

    def all(self, tell: Progress) -> list[Completion]:
        """Draw what is not there yet, and give everything.

        Raises:
            DataError: the folder holds samples of something else.
        """
        self._claim()
        tell.say(f"{self.plan.describe()} writes {len(self.pairs)} texts of {self.draw.tokens} tokens -> {self.folder}")
        tell.begin(len(self.pairs) * self.draw.tokens)
        try:
            for start in range(0, len(self.pairs), PART_TEXTS):
                block = self.pairs[start : start + PART_TEXTS]
                path = self.folder / SAMPLES / f"part-{start // PART_TEXTS:05d}.jsonl"
                if path.exists():
                    tell.advance(len(block) * self.draw.tokens)
                    continue
                write_samples(path, list(self._drawn(block, start, tell)))
                self.log.write()
        finally:
            tell.end()
        return [s for s in open_samples(self.folder / SAMPLES) if isinstance(s, Completion)]

    def _claim(self) -> None:
        path = self.folder / "drawn.json"
        try:
            held = json.loads(path.read_text()).get("key") if path.exists() else None
        except (OSError, ValueError, AttributeError):
            held = "damaged"
        if held is None and self.folder.exists() and any(self.folder.iterdir()):
            held = "something else"
        if held not in (None, self.key):
            raise DataError(f"{self.folder} holds other samples, or something else; choose another folder with -o")
        if held is None:
            facts = {"key": self.key, "writer": to_json(self.plan), "rule": self.rule.describe(), "seed": self.seed}
            write_atomically(path, json.dumps(facts, indent=1) + "\n")

    def _drawn(self, block: tuple[Pair, ...], start: int, tell: Progress) -> Iterator[Completion]:
        keys = np.array([[sequence_key(p.document_id, "verify", 0)] for p in block], np.uint64)
        prefixes = [p.prefix.astype(np.int64) for p in block]
        todo = Continuations(prefixes, keys, self.draw.tokens, seed=self.seed, sampling=self.rule)
        lead = np.array(self.both.context.lead, np.int64)
        for sample in sorted(self.both.written(todo, on_tokens=tell.advance), key=lambda s: s.row):
            yield completion(
                start + sample.row,
                np.concatenate([lead, prefixes[sample.row]]),
                sample.observation.token_id,
                sample.observation.log_prob_nats,
                group=block[sample.row].document_id,
                ended=sample.end_reason == "end_of_text",
                sent=self.plan.sent,
            )
