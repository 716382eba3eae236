"""Two models of which one is behind a server, ready to be held side by side: texts cut, ids compared, plan drawn up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from freerun.errors import UsageError
from freerun.jobs.audit.options import read_any_corpus
from freerun.jobs.distance.cut import Cut
from freerun.jobs.distance.fitting import Description
from freerun.jobs.distance.manifest import default_folder, manifest_of, plan_of
from freerun.jobs.distance.options import DistanceOptions, check_options
from freerun.jobs.served.requests import served_in
from freerun.jobs.served.writers import check_rule_is_sent
from freerun.predictors.base import Predictor
from freerun.predictors.own_text_from import check_same_tokens
from freerun.records.distance import DistancePlan
from freerun.runs.provenance import device_of
from freerun.specs.providers import PROVIDERS
from freerun.specs.spec import LoadOptions, load_predictor, loader_of
from freerun.text.pairs import cut_pairs

PART_TEXTS = 16
Say = Callable[[str], None]
Model = str | Predictor


@dataclass(frozen=True)
class TwoModels:
    """A distance with a served model that is ready to be measured."""

    a: Predictor
    b: Predictor
    cut: Cut
    plan: DistancePlan
    manifest: dict[str, Any]
    options: DistanceOptions
    folder: Path


def is_served(model: Model) -> bool:
    """Whether a model is behind a server, which tells no whole laws."""
    if isinstance(model, str):
        provider = model.partition("/")[0]
        return provider in PROVIDERS and PROVIDERS[provider].extra == "servers"
    return served_in(model) is model


def prepare_two(
    a: Model,
    b: Model,
    corpus: str,
    options: DistanceOptions,
    *,
    out: str | Path | None = None,
    say: Say = lambda _: None,
) -> TwoModels:
    """Read, load, hold against each other and cut; no file is written but the cache of weights.

    Raises:
        UsageError: an option that needs whole laws, prompts, or models that do not share a tokenizer. FreerunError: see there.
    """
    _check(options)
    check_options(options)
    for spec in (a, b):
        if isinstance(spec, str):
            loader_of(spec)
    text = read_any_corpus(corpus, options.reading)
    if text.n_prompted or options.chat:
        given = f"{corpus} holds prompts with responses" if text.n_prompted else "--chat"
        raise UsageError(
            f"{given}: a distance with a served model cuts plain documents; for answers to prompts, load both models' weights, or "
            "audit the local one with --own-text-from SERVED"
        )
    load = LoadOptions(options.dtype, options.device, options.trust_remote_code, end_ids=options.end_ids)
    one, two = (load_predictor(m, load, tell=say) if isinstance(m, str) else m for m in (a, b))
    for model in (one, two):
        check_rule_is_sent(model)
    check_same_tokens(one, two)
    pairs = cut_pairs(
        text,
        one.encode,
        n_documents=options.documents,
        prefix_tokens=options.prefix,
        continuation_tokens=options.tokens,
        seed=options.seed,
    )
    cut, chosen = Cut(pairs.pairs, pairs), replace(options, batch=PART_TEXTS)
    first, second = (Description.of(m, (), device=device_of(m)) for m in (one, two))
    plan = replace(
        plan_of(first, second, text, cut, chosen),
        end_ids=tuple(sorted({*one.end_ids, *two.end_ids})),
        floor_texts=0,
        token_log_probs_only=True,
    )
    manifest = manifest_of(first, second, text, cut, plan, chosen)
    return TwoModels(one, two, cut, plan, manifest, chosen, Path(out) if out is not None else default_folder(plan))


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
