"""What a run says of itself: the plan with its hash, the counts, and the command that makes it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freerun.counted import counted
from freerun.jobs.audit.fidelity import Fidelity
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.audit.prompting import prompt_plan, prompts_in_words, prompts_json
from freerun.jobs.audit.token_words import changes_in_words, ends_in_words
from freerun.jobs.served.writers import writer_plan
from freerun.predictors.base import Predictor
from freerun.predictors.chat import Feeding
from freerun.predictors.markers import markers_json
from freerun.predictors.observation import BIN_WIDTH_NATS, N_BINS, POWERS
from freerun.records.plan import AuditPlan, MeasurePlan, ReferencePlan
from freerun.records.redact import CORPUS
from freerun.records.schema import SCHEMA_VERSION
from freerun.results.finding import to_json
from freerun.runs.provenance import cores, device_of, provenance
from freerun.text.documents import Corpus
from freerun.text.exemplars import Exemplars
from freerun.text.pairs import PairSet

REFERENCE_ORDER = 3
REFERENCE_TOKENS = 1_000_000
"""Most tokens of training text that the default reference counts."""


def manifest_of(
    predictor: Predictor,
    corpus: Corpus,
    pairs: PairSet,
    plan: MeasurePlan,
    options: AuditOptions,
    *,
    others: tuple[Predictor, ...] = (),
    encoder_fingerprint: str | None = None,
    exemplars: Exemplars | None = None,
    faithful: Fidelity | None = None,
    feeding: Feeding | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """The manifest of an audit; with `redact_text` it holds no name of the corpus.

    `plan_hash` goes over the plan alone.
    """
    hidden = corpus.spec if options.redact_text else None
    settings = AuditPlan(
        model=_named(predictor, hidden),
        model_fingerprint=predictor.identity.fingerprint,
        context_rule=predictor.context,
        end_ids=predictor.end_ids,
        corpus=corpus.spec if hidden is None else CORPUS,
        corpus_fingerprint=corpus.fingerprint,
        documents=len(pairs.pairs),
        prefix=pairs.prefix_tokens,
        cut=pairs.cut_tokens,
        tokens=pairs.continuation_tokens,
        batch=plan.batch,
        queue=plan.queue,
        dtype=options.dtype,
        device=options.device,
        threads=cores() if threads is None else threads,
        seed=plan.seed,
        continuations=plan.continuations,
        sampling=plan.sampling,
        control_temperature=plan.control_temperature,
        loop_rule=plan.loop_rule,
        rescored_tokens=plan.rescored_tokens,
        rounded_arithmetic=plan.rounded,
        reference=ReferencePlan(
            REFERENCE_ORDER,
            REFERENCE_TOKENS,
            tuple(_without(spec, hidden) for spec in options.reference),
            tuple(p.identity.fingerprint for p in others),
        ),
        schema_version=SCHEMA_VERSION,
        embed_with=options.embed_with,
        encoder_fingerprint=encoder_fingerprint,
        exemplars=0 if exemplars is None else exemplars.n_documents,
        exemplar_tokens=0 if exemplars is None else exemplars.tokens,
        exemplar_separator_ids=() if exemplars is None else exemplars.separator,
        redacted=options.redact_text,
        skip_bad_rows=bool(corpus.n_bad_rows),
        prompts=None if feeding is None else prompt_plan(feeding, pairs),
        own_text_from=writer_plan(predictor),
    )
    special = markers_json(predictor.markers, predictor.end_ids)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "audit",
        "plan": to_json(settings),
        "plan_hash": settings.hash,
        "command": _command(predictor, corpus, pairs, options, hidden),
        "model": {
            "nature": to_json(predictor.identity.nature),
            "licence": predictor.identity.licence,
            "vocabulary": predictor.n_tokens,
            "full_law": predictor.capabilities.full_law,
            "facts": dict(predictor.identity.facts),
        },
        "corpus": {
            "name": corpus.name if hidden is None else CORPUS,
            "independent": corpus.independent,
            "notes": [
                *_read_notes(corpus, options),
                *_notes(predictor, options, exemplars),
                *([] if feeding is None else prompts_in_words(feeding, pairs, redacted=options.redact_text)),
                *ends_in_words(special),
                *([] if faithful is None else changes_in_words(faithful)),
            ],
            "shipped": corpus.spec.startswith("builtin/") and not corpus.n_prompted,
        },
        **({} if feeding is None else {"prompts": prompts_json(feeding, pairs, redacted=options.redact_text)}),
        "special_tokens": special,
        "tokenizer": None if faithful is None else faithful.to_json(),
        "counts": {
            "documents_read": len(corpus.documents),
            "exact_duplicates_dropped": corpus.n_duplicates,
            "near_duplicates_joined": corpus.n_near_duplicates,
            **({"rows_left_out": corpus.n_bad_rows} if corpus.n_bad_rows else {}),
            **({"conversations_unanswered": corpus.n_unanswered} if corpus.n_unanswered else {}),
            **({"conversations_left_out": sum(x.n for x in pairs.left_out)} if pairs.left_out else {}),
            "too_short": pairs.n_too_short,
            "pairs": len(pairs.pairs),
            "independent_units": pairs.n_units,
            "document_tokens_median": pairs.document_tokens_median,
            "document_tokens_max": pairs.document_tokens_max,
            "documents_at_risk_of_ending": pairs.n_at_risk,
            "documents_ended_in_window": pairs.n_ended_in_window,
        },
        "reference": {
            "interpolated": True,
            "components": ["ngram", "cache", *(_named(p, hidden) for p in others)],
        },
        "powers": list(POWERS),
        "bin_width_nats": BIN_WIDTH_NATS,
        "n_bins": N_BINS,
        "provenance": provenance() | {"device": device_of(predictor)},
    }


def default_folder(manifest: Mapping[str, Any]) -> Path:
    """`runs/<model>-<corpus>-<plan hash>`."""
    names = [re.sub(r"[^A-Za-z0-9.]+", "-", str(manifest["plan"][k])).strip("-.")[:48] for k in ("model", "corpus")]
    return Path("runs") / f"{names[0]}-{names[1]}-{manifest['plan_hash'][:8]}"


def _notes(predictor: Predictor, options: AuditOptions, exemplars: Exemplars | None) -> list[str]:
    """What stands before the text, where that is not what everybody expects."""
    notes = []
    if options.prefix == 0 and not predictor.capabilities.empty_context:
        notes.append(
            f"--prefix 0: texts are scored and begun from {_spelled(predictor, predictor.context.lead)} alone, which stands before "
            "every document and is not scored"
        )
    if (writer := writer_plan(predictor)) is not None:
        notes.append(
            f"Own text and the control were written by {writer.describe()}, and every law is that of "
            f"{predictor.identity.name}, which read "
            "them. The server drew by itself, from a seed for every text that was sent along: its draws cannot be made again here, "
            "so they are held against the law, not against uniforms"
        )
    if exemplars is not None:
        between = _spelled(predictor, exemplars.separator)
        tokens = f"{exemplars.tokens} tokens of each"
        shown = f"the first {tokens}" if options.cut in (None, options.prefix) else f"{tokens} from its own prefix on"
        standing = counted(
            exemplars.n_documents, "other document of training units stands", "other documents of training units stand"
        )
        notes.append(
            f"{standing} before every prefix (--exemplars), {shown} and {between} after each: context for real and own text "
            "alike, which is not scored, not shown and not searched for loops"
        )
    if options.redact_text:
        notes.append(
            "text, ids and names were left out of the records (--redact-text); whatever needs them is not available"
        )
    return notes


def _spelled(predictor: Predictor, ids: tuple[int, ...]) -> str:
    """Ids in words: the end of text where they are that, else their bytes."""
    if len(ids) == 1 and ids[0] in predictor.end_ids:
        return f"the end-of-text id {ids[0]}"
    spelled = b"".join(predictor.token_bytes(i) for i in ids)
    return repr(spelled.decode("utf-8", "replace")) if spelled else f"ids {list(ids)}"


def _read_notes(corpus: Corpus, options: AuditOptions) -> list[str]:
    """What reading the corpus had to say; redacted, without its name and the separator that was typed."""
    if not options.redact_text:
        return [*corpus.notes, *corpus.named_notes]
    hidden = [f"--split-on {options.split_on!r}", *([corpus.spec] if len(corpus.spec) > 2 else [])]
    notes = list(corpus.notes)
    for words in hidden:
        notes = [note.replace(words, "…") for note in notes]
    return notes


def _named(predictor: Predictor, hidden: str | None) -> str:
    return _without(predictor.identity.name, hidden)


def _without(name: str, hidden: str | None) -> str:
    """A model's name without the corpus that it was made from (`ngram/5@CORPUS`, `…,corpus=CORPUS`), if that is hidden."""
    if hidden is None:
        return name
    return re.sub(rf"(?<=[@=(]){re.escape(hidden)}(?=$|[,)+])", "CORPUS", name)


def _command(predictor: Predictor, corpus: Corpus, pairs: PairSet, options: AuditOptions, hidden: str | None) -> str:
    words = ["freerun", "audit", _named(predictor, hidden), corpus.spec if hidden is None else "CORPUS"]
    words += ["--documents", str(options.documents)]
    words += [] if pairs.free_length else ["--prefix", str(options.prefix)]
    words += ["--tokens", str(pairs.continuation_tokens), "--batch", str(options.batch), "--seed", str(options.seed)]
    defaults = AuditOptions()
    for spec in options.reference:
        words += ["--reference", _without(spec, hidden)]
    given = (
        "cut",
        "dtype",
        "device",
        "end_ids",
        "sample_with",
        "ask",
        "embed_with",
        "exemplars",
        "sources",
        "source_documents",
        "own_text_from",
    )
    for name in (*given, "format", "text_field", "prompt_field", "system", "split_on", "chunk"):
        value = getattr(options, name)
        if value != getattr(defaults, name):
            secret = hidden is not None and name in ("text_field", "prompt_field", "system", "split_on")
            typed = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{name.replace('_', '-')}", "…" if secret else typed]
    for option in options.template_options:
        words += ["--template-option", option]
    words += [
        f"--{n.replace('_', '-')}"
        for n in ("chat", "skip_bad_rows", "redact_text", "trust_remote_code")
        if getattr(options, n)
    ]
    return shlex.join(words)
