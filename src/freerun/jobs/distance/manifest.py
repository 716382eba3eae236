"""What a run says of itself: the plan with its hash, the counts, and the command that makes it again."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from freerun.jobs.audit.prompting import prompt_plan, prompts_in_words, prompts_json
from freerun.jobs.audit.token_words import ends_in_words
from freerun.jobs.distance.cut import Cut
from freerun.jobs.distance.fitting import Description
from freerun.jobs.distance.options import DistanceOptions
from freerun.predictors.chat import ChatFeeding
from freerun.predictors.markers import markers_json
from freerun.predictors.side_by_side import Kept
from freerun.records.distance import ARMS, KIND, DistancePlan, Side
from freerun.records.redact import CORPUS
from freerun.records.schema import SCHEMA_VERSION
from freerun.results.finding import to_json
from freerun.runs.provenance import cores, provenance
from freerun.stats.loops.lag_runs import LoopRule
from freerun.text.documents import Corpus

FLOOR_TEXTS = 12
"""Texts of each kind that A computes again: one pass holds so many of 160 tokens."""


def plan_of(a: Description, b: Description, corpus: Corpus, cut: Cut, options: DistanceOptions) -> DistancePlan:
    """All that decides what is measured."""

    def side(model: Description) -> Side:
        name = _without(model.identity.name, corpus.spec) if options.redact_text else model.identity.name
        return Side(name, model.identity.fingerprint, model.context, model.n_tokens)

    return DistancePlan(
        a=side(a),
        b=side(b),
        end_ids=a.end_ids,
        corpus=CORPUS if options.redact_text else corpus.spec,
        corpus_fingerprint=corpus.fingerprint,
        documents=len(cut.pairs),
        prefix=cut.prefix_tokens,
        tokens=cut.tokens,
        batch=options.batch,
        continuations=options.continuations,
        seed=options.seed,
        arms=options.arms,
        protocol="llama.cpp" if options.protocol == "llama.cpp" else "pairs",
        loop_rule=LoopRule(),
        dtype=options.dtype,
        device=options.device,
        threads=cores(),
        floor_texts=min(FLOOR_TEXTS, len(cut.pairs)),
        redacted=options.redact_text,
        skip_bad_rows=bool(corpus.n_bad_rows),
        prompts=None if cut.feeding is None or cut.counts is None else prompt_plan(cut.feeding, cut.counts),
    )


def manifest_of(
    a: Description,
    b: Description,
    corpus: Corpus,
    cut: Cut,
    plan: DistancePlan,
    options: DistanceOptions,
) -> dict[str, Any]:
    """The manifest of a distance; `plan_hash` goes over the plan alone."""
    kept = Kept.of(a, b)
    special = markers_json(a.markers, a.end_ids)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "plan": to_json(plan),
        "plan_hash": plan.hash,
        "command": command_of(plan, options),
        "a": _model(a),
        "b": _model(b),
        "corpus": {
            "name": CORPUS if options.redact_text else corpus.name,
            "independent": corpus.independent,
            "notes": [
                *([] if options.redact_text else (*corpus.notes, *corpus.named_notes)),
                *_prompt_notes(a, b, cut, options),
                *_notes(a, b, kept, options, cut.longest),
                *ends_in_words(special),
            ],
        },
        **_prompts(cut, options),
        "special_tokens": special,
        "counts": {
            "documents_read": len(corpus.documents),
            "exact_duplicates_dropped": corpus.n_duplicates,
            "near_duplicates_joined": corpus.n_near_duplicates,
            **({"rows_left_out": corpus.n_bad_rows} if corpus.n_bad_rows else {}),
            **_left_out(cut),
            "pairs": len(cut.pairs),
            "independent_units": len({p.unit for p in cut.pairs}),
            "ids_of_both": min(kept.n_first, kept.n_second),
            "ids_added_by_b": kept.n_second - kept.n_first,
            "padding_left_out_of_a": a.n_tokens - kept.n_first,
            "padding_left_out_of_b": b.n_tokens - kept.n_second,
        },
        "provenance": provenance() | {"device": a.device},
    }


def default_folder(plan: DistancePlan) -> Path:
    """`runs/distance-<A>-<B>-<plan hash>`."""
    names = [re.sub(r"[^A-Za-z0-9.]+", "-", s.model).strip("-.")[:40] for s in (plan.a, plan.b)]
    return Path("runs") / f"distance-{names[0]}-{names[1]}-{plan.hash[:8]}"


def command_of(plan: DistancePlan, options: DistanceOptions) -> str:
    """The command line that measures the same again."""
    words = ["freerun", "distance", plan.a.model, plan.b.model, plan.corpus if not plan.redacted else "CORPUS"]
    words += ["--documents", str(options.documents), "--batch", str(plan.batch), "--seed", str(plan.seed)]
    if plan.protocol == "llama.cpp":
        words += ["--protocol", "llama.cpp", "--window", str(options.window)]
    else:
        words += [] if plan.prompts is not None else ["--prefix", str(options.prefix)]
        words += ["--tokens", str(plan.tokens)]
        words += ["--continuations", str(plan.continuations)]
        words += [] if plan.arms == ARMS else ["--arms", ",".join(plan.arms)]
    defaults = DistanceOptions()
    for name in ("dtype", "device", "end_ids", "format", "text_field", "prompt_field", "system", "split_on", "chunk"):
        value = getattr(options, name)
        if value != getattr(defaults, name):
            hidden = plan.redacted and name in ("text_field", "prompt_field", "system", "split_on")
            typed = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{name.replace('_', '-')}", "…" if hidden else typed]
    for option in options.template_options:
        words += ["--template-option", option]
    flags = ("chat", "skip_bad_rows", "redact_text", "trust_remote_code")
    words += [f"--{n.replace('_', '-')}" for n in flags if getattr(options, n)]
    return shlex.join(words)


def _model(model: Description) -> dict[str, Any]:
    return {
        "name": model.identity.name,
        "nature": to_json(model.identity.nature),
        "licence": model.identity.licence,
        "vocabulary": model.n_tokens,
        "facts": dict(model.identity.facts),
        "context": model.context.describe(),
        "device": model.device,
    }


def _prompts(cut: Cut, options: DistanceOptions) -> dict[str, Any]:
    """What was put around the prompts, where there are some."""
    if cut.feeding is None or cut.counts is None:
        return {}
    return {"prompts": prompts_json(cut.feeding, cut.counts, redacted=options.redact_text)}


def _left_out(cut: Cut) -> dict[str, int]:
    """Documents, or conversations, that do not fit."""
    if cut.counts is None:
        return {}
    if cut.feeding is None:
        return {"too_short": cut.counts.n_too_short}
    return {"left_out": sum(left.n for left in cut.counts.left_out)}


def _prompt_notes(a: Description, b: Description, cut: Cut, options: DistanceOptions) -> list[str]:
    """How prompts are put to the models, and whose template does it."""
    if cut.feeding is None or cut.counts is None:
        return []
    notes = prompts_in_words(cut.feeding, cut.counts, redacted=options.redact_text)
    if isinstance(cut.feeding, ChatFeeding):
        (one, mine), (two, other) = (("A", a), ("B", b)) if cut.by == "a" else (("B", b), ("A", a))
        if not other.full_law:
            how = f"{two}'s server is sent these ids, and no template of its own takes part"
        elif other.template_sha256 is None:
            how = f"{two} has none of its own"
        elif other.template_sha256 == mine.template_sha256:
            how = f"{two}'s own is the same"
        else:
            how = f"{two}'s own differs and is not used, so that {two} is not fed as its makers would feed it"
        notes.insert(1, f"The template is {one}'s, for both models, since both must read the same ids; {how}")
    return notes


def _notes(a: Description, b: Description, kept: Kept, options: DistanceOptions, longest: int) -> list[str]:
    """What is not the same on both sides, or not what everybody expects."""
    notes = []
    if a.context.lead != b.context.lead:
        notes.append(
            f"A reads every text with {a.context.describe()}; B with {b.context.describe()}: what is put first is part of each "
            "model"
        )
    for name, model in (("A", a), ("B", b)):
        window = model.context.window
        if window is not None and longest > window:
            notes.append(
                f"{name} sees {window} tokens and the texts have up to {longest}: late laws are those of a moved window"
            )
    for name, model, n in (("A", a, kept.n_first), ("B", b, kept.n_second)):
        if n < model.n_tokens:
            notes.append(
                f"{name}'s output layer has {model.n_tokens - n} rows of padding that the other one lacks; its laws are taken over "
                "the other ids, and the mass that was left out is reported"
            )
    stored = {n.container or f"{n.bits}-bit" for n in (a.identity.nature, b.identity.nature) if n.was_rounded}
    rounded = [name for name, model in (("A", a), ("B", b)) if model.identity.nature.rounded_to]
    if stored and rounded:
        notes.append(
            f"The stored weights are coarse already ({', '.join(sorted(stored))}) and were dequantised; {' and '.join(rounded)} "
            "was rounded on top of that. So the distance is that of a second rounding, on another grid, and not the one from the "
            "weights that were trained; the same blocks again would change nothing"
        )
    if kept.n_second > kept.n_first:
        notes.append(
            f"B has {kept.n_second - kept.n_first} ids that A lacks: where it gives them mass, KL(B‖A) is infinite"
        )
    if options.redact_text:
        notes.append(
            "text, ids and names were left out of the records (--redact-text); whatever needs them is not available"
        )
    return notes


def _without(name: str, corpus: str) -> str:
    """A model's name without the corpus that it was made from."""
    return re.sub(rf"(?<=[@=(]){re.escape(corpus)}(?=$|[,)+])", "CORPUS", name)
