"""Two models of which one is behind a server, ready to be held side by side: texts cut, ids compared, plan drawn up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from freerun.errors import UsageError
from freerun.jobs.audit.options import read_any_corpus
from freerun.jobs.audit.preparing import tell_notes
from freerun.jobs.audit.prompting import check_fits_prompts
from freerun.jobs.distance.cut import Cut
from freerun.jobs.distance.fitting import Description
from freerun.jobs.distance.manifest import default_folder, manifest_of, plan_of
from freerun.jobs.distance.models import Name
from freerun.jobs.distance.options import DistanceOptions, check_options
from freerun.jobs.distance.preparing import check_are_models, cut_texts
from freerun.jobs.served.requests import served_in
from freerun.jobs.served.writers import check_rule_is_sent, is_served_name, load_served_beside
from freerun.predictors.base import Predictor
from freerun.predictors.own_text_from import check_same_tokens
from freerun.records.distance import DistancePlan
from freerun.records.store import RunFolder
from freerun.runs.provenance import device_of
from freerun.specs.spec import LoadOptions, load_predictor
from freerun.text.pairs import Pair

PART_TEXTS = 16
"""Texts of a part at most: what is drawn and scored before it is kept."""
Say = Callable[[str], None]
Model = str | Predictor


@dataclass(frozen=True)
class TwoModels:
    """A distance with a served model that is ready to be measured."""

    a: Predictor
    b: Predictor
    speller: Description
    """Of the model that has all ids."""
    cut: Cut
    plan: DistancePlan
    manifest: dict[str, Any]
    folder: RunFolder

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return self.cut.pairs

    def model(self, name: Name) -> Predictor:
        return self.a if name == "a" else self.b


def is_served(model: Model) -> bool:
    """Whether a model is behind a server, which tells no whole laws."""
    return is_served_name(model) if isinstance(model, str) else served_in(model) is model


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

    Texts and prompts become ids by the tokenizer and the template of the model that is here; where both are served, by A's.

    Raises:
        UsageError: an option that needs whole laws, or models that do not share a tokenizer. FreerunError: see there.
    """
    _check(options)
    check_options(options)
    check_are_models(a, b, corpus, options)
    text = read_any_corpus(corpus, options.reading)
    if not corpus.startswith(("builtin/", "world/")):
        tell_notes(text, say)
    check_fits_prompts(text, options.reading)
    by: Name = "b" if is_served(a) and not is_served(b) else "a"
    one, two = _loaded(a, b, options, say)
    for model in (one, two):
        check_rule_is_sent(model)
    check_same_tokens(one, two)
    reader, other = (one, two) if by == "a" else (two, one)
    cut = replace(cut_texts(text, reader, options, window=other.context.window), by=by)
    first, second = (Description.of(m, (), device=device_of(m)) for m in (one, two))
    plan = replace(
        plan_of(first, second, text, cut, replace(options, batch=min(options.batch, PART_TEXTS))),
        end_ids=tuple(sorted({*one.end_ids, *two.end_ids})),
        floor_texts=0,
        token_log_probs_only=True,
    )
    manifest = manifest_of(first, second, text, cut, plan, options)
    folder = RunFolder(Path(out) if out is not None else default_folder(plan))
    longer = first if first.n_tokens > second.n_tokens else second
    return TwoModels(one, two, longer, cut, plan, manifest, folder)


def _loaded(a: Model, b: Model, options: DistanceOptions, say: Say) -> tuple[Predictor, Predictor]:
    """A and B. A server that brings no tokenizer is taken to have that of the model that is here, and tried on it."""
    load = LoadOptions(
        options.dtype, options.device, options.trust_remote_code, end_ids=options.end_ids, chat=options.chat
    )
    found: dict[int, Predictor] = {}
    here: Predictor | None = None
    for i in sorted((0, 1), key=lambda i: is_served((a, b)[i])):  # the model that is here first
        model = (a, b)[i]
        if not isinstance(model, str):
            found[i] = model
        elif is_served(model) and here is not None:
            found[i] = load_served_beside(model, here, load, say)
        else:
            found[i] = load_predictor(model, load, tell=say)
        here = None if is_served(model) else found[i]
    return found[0], found[1]


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
