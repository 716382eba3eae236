"""How far apart are two models, one of which is served? Each writes, both score; only the tokens' own log-probabilities are
needed."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import freerun
from freerun.errors import DataError, UsageError
from freerun.files import write_atomically
from freerun.findings.two_laws.whole_texts import Writers, judge_writers, token_gaps
from freerun.jobs.audit.options import read_any_corpus
from freerun.jobs.distance.options import DistanceOptions, check_options
from freerun.jobs.served.requests import Log, requests_in, served_in
from freerun.jobs.served.writers import check_rule_is_sent
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.draws import sequence_key
from freerun.predictors.own_text_from import OwnTextFrom
from freerun.report.pages.distance import render_distance
from freerun.results.distance import RESULT_VERSION, DistanceResult
from freerun.results.finding import to_json
from freerun.runs.progress import Progress, Silent
from freerun.runs.provenance import device_of, provenance
from freerun.runs.run import Run
from freerun.samples.completion import Completion
from freerun.samples.reading import open_samples
from freerun.samples.writing import write_samples
from freerun.specs.providers import PROVIDERS
from freerun.specs.spec import LoadOptions, load_predictor
from freerun.stats.two_laws.texts import TwoLaws
from freerun.text.pairs import Pair, cut_pairs

PART_TEXTS = 16
ARMS = ("a", "b", "real")


def is_served(model: str | Predictor) -> bool:
    """Whether a model is behind a server, which tells no whole laws."""
    if isinstance(model, str):
        provider = model.partition("/")[0]
        return provider in PROVIDERS and PROVIDERS[provider].extra == "servers"
    return served_in(model) is model


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
        UsageError: an option that needs whole laws, or models that do not share a tokenizer.
        FreerunError: see `freerun.errors`; parts that are finished are kept.
    """
    _check(options)
    check_options(options)
    tell = progress or Silent()
    text = read_any_corpus(corpus, options.reading)
    load = LoadOptions(options.dtype, options.device, options.trust_remote_code, end_ids=options.end_ids)
    one, two = (load_predictor(m, load, tell=tell.say) if isinstance(m, str) else m for m in (a, b))
    for model in (one, two):
        check_rule_is_sent(model)
    pairs = cut_pairs(
        text,
        one.encode,
        n_documents=options.documents,
        prefix_tokens=options.prefix,
        continuation_tokens=options.tokens,
        seed=options.seed,
    )
    plan = _plan(one, two, text.spec, text.fingerprint, pairs.pairs, options)
    key = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]
    names = [re.sub(r"[^A-Za-z0-9.]+", "-", m.identity.name).strip("-.")[:40] for m in (one, two)]
    folder = Path(out) if out is not None else Path("runs") / f"distance-{names[0]}-{names[1]}-{key[:8]}"
    log = Log(folder, (one, two))
    try:
        _claim(folder, key)
        work = _Work(one, two, pairs.pairs, plan, options, folder, log)
        tell.say(f"{len(pairs.pairs)} texts, {options.prefix} + {plan['tokens']} tokens -> {folder}")
        tell.begin(len(ARMS) * len(pairs.pairs) * int(plan["tokens"]))
        try:
            texts = {arm: work.arm(arm, tell) for arm in ARMS}
        finally:
            tell.end()
    finally:
        log.write()
    said = judge_writers(Writers(texts["a"], texts["b"], texts["real"], int(plan["tokens"])))
    made = provenance()
    result = DistanceResult(
        schema_version=RESULT_VERSION,
        kind="distance",
        freerun_version=freerun.__version__,
        created=made["created"],
        title=f"{two.identity.name} beside {one.identity.name}",
        verdict=said.verdict,
        headline=said.headline,
        certificate=said.certificate,
        findings=said.findings,
        partings=(),
        infinite=said.infinite,
        plan=plan,
        counts={"pairs": len(pairs.pairs), "independent_units": pairs.n_units, "too_short": pairs.n_too_short},
        corpus_notes=[*text.notes, *text.named_notes],
        a=_model(one),
        b=_model(two),
        provenance={**made, "device": device_of(one)},
        command=_command(one, two, text.spec, options, int(plan["tokens"])),
    )
    held = to_json(result) | {"requests": to_json(requests_in(folder))}
    write_atomically(folder / "result.json", json.dumps(held, indent=1, allow_nan=False) + "\n")
    write_atomically(folder / "report.html", render_distance(held))
    return Run(folder, held)


def _check(options: DistanceOptions) -> None:
    """What needs whole laws, by name."""
    for flag, given in (
        ("--protocol llama.cpp", options.protocol != "pairs"),
        ("--one-at-a-time", options.one_at_a_time),
        ("--redact-text", options.redact_text),
        ("--continuations", options.continuations != 1),
        ("--arms", tuple(options.arms) != ("real", "a", "b")),
    ):
        if given:
            raise UsageError(f"{flag} needs whole laws of both models, and a served one tells none; leave it out")
    if options.prefix == 0:
        raise UsageError("--prefix 0: a served model has no law before the first token; give 1 or more")


def _claim(folder: Path, key: str) -> None:
    path = folder / "distance.json"
    if path.exists():
        if json.loads(path.read_text()).get("key") != key:
            raise DataError(f"{folder} holds the distance of other models or texts; choose another folder with -o")
    elif folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is there and holds something else; choose another folder with -o")
    else:
        write_atomically(path, json.dumps({"key": key}) + "\n")


@dataclass(frozen=True)
class _Work:
    """Parts of texts with both models' log-probabilities, each of which appears whole or not at all."""

    a: Predictor
    b: Predictor
    pairs: tuple[Pair, ...]
    plan: Mapping[str, Any]
    options: DistanceOptions
    folder: Path
    log: Log

    def arm(self, arm: str, tell: Progress) -> TwoLaws:
        """One kind of text under both laws; what is recorded already is read."""
        tokens = int(self.plan["tokens"])
        tell.phase({"a": "A writes, B reads", "b": "B writes, A reads", "real": "real text by both"}[arm])
        for start in range(0, len(self.pairs), PART_TEXTS):
            block = self.pairs[start : start + PART_TEXTS]
            path = self.folder / arm / f"part-{start // PART_TEXTS:05d}.jsonl"
            if not path.exists():
                rows = self._real(block, start) if arm == "real" else self._written(arm, block, start)
                write_samples(path, list(rows))
                self.log.write()
            tell.advance(len(block) * tokens)
        return self._laws(arm)

    def _written(self, arm: str, block: tuple[Pair, ...], start: int) -> Iterator[Completion]:
        writer, reader = (self.a, self.b) if arm == "a" else (self.b, self.a)
        both = OwnTextFrom(reader, writer)
        keys = np.array([[sequence_key(p.document_id, "distance", arm, 0)] for p in block], np.uint64)
        prefixes = [p.prefix.astype(np.int64) for p in block]
        todo = Continuations(prefixes, keys, int(self.plan["tokens"]), seed=self.options.seed)
        for sample in sorted(both.generate(todo), key=lambda s: s.row):
            assert sample.sample_log_prob_nats is not None
            yield _Row(start + sample.row, block[sample.row], sample.observation.token_id, sample.end_reason).with_nats(
                sample.sample_log_prob_nats, sample.observation.log_prob_nats
            )

    def _real(self, block: tuple[Pair, ...], start: int) -> Iterator[Completion]:
        texts = [np.concatenate([p.prefix, p.continuation]).astype(np.int64) for p in block]
        first = len(block[0].prefix)
        one, two = (model.log_probs(texts, first=first) for model in (self.a, self.b))
        for i, pair in enumerate(block):
            yield _Row(start + i, pair, pair.continuation, "length").with_nats(one[i], two[i])

    def _laws(self, arm: str) -> TwoLaws:
        """Both models' log-probabilities: p is A's whoever wrote."""
        rows = [s for s in open_samples(self.folder / arm) if isinstance(s, Completion)]
        shape = (len(rows), int(self.plan["tokens"]))
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


def _plan(
    a: Predictor, b: Predictor, corpus: str, fingerprint: str, pairs: tuple[Pair, ...], options: DistanceOptions
) -> dict[str, Any]:
    def side(model: Predictor) -> dict[str, Any]:
        own = model.identity
        return {"model": own.name, "fingerprint": own.fingerprint, "vocabulary": model.n_tokens}

    return {
        "plan_version": 1,
        "a": side(a),
        "b": side(b),
        "end_ids": sorted({*a.end_ids, *b.end_ids}),
        "corpus": corpus,
        "corpus_fingerprint": fingerprint,
        "documents": len(pairs),
        "prefix": len(pairs[0].prefix),
        "tokens": len(pairs[0].continuation),
        "batch": PART_TEXTS,
        "continuations": 1,
        "seed": options.seed,
        "arms": ["real", "a", "b"],
        "protocol": "pairs",
        "dtype": options.dtype,
        "device": options.device,
        "whole_laws": False,
    }


def _model(model: Predictor) -> dict[str, Any]:
    own = model.identity
    return {
        "name": own.name,
        "nature": to_json(own.nature),
        "licence": own.licence,
        "vocabulary": model.n_tokens,
        "facts": dict(own.facts),
        "context": model.context.describe(),
        "device": device_of(model),
    }


def _command(a: Predictor, b: Predictor, corpus: str, options: DistanceOptions, tokens: int) -> str:
    words = ["freerun", "distance", a.identity.name, b.identity.name, corpus, "--documents", str(options.documents)]
    words += ["--prefix", str(options.prefix), "--tokens", str(tokens), "--seed", str(options.seed)]
    if options.end_ids is not None:
        words += ["--end-ids", ",".join(map(str, options.end_ids))]
    return shlex.join(words)
