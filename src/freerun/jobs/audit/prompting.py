"""Prompts in an audit: which settings go with them, how they are put to the model, and what the plan and the record say of that."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from freerun.errors import UsageError
from freerun.jobs.audit.options import REDACTED_PREFIX_TOKENS, AuditOptions
from freerun.predictors.base import Predictor
from freerun.predictors.chat import GAP, ChatFeeding, Feeding, PlainFeeding
from freerun.predictors.templates import Setting, read_settings
from freerun.records.plan import PromptPlan, TemplateOption, TemplatePlan
from freerun.text.documents import Corpus
from freerun.text.pairs import LeftOut, PairSet
from freerun.text.prompts import Prompting, prompt_pairs

RESPONSES_ASKED = 8
"""Training responses after which the model's law is asked which of its ends is likeliest."""


def template_settings(options: AuditOptions) -> dict[str, Setting]:
    """The variables of the chat template that were set. Raises UsageError: see `read_settings`."""
    return read_settings(options.template_options)


def check_fits_prompts(corpus: Corpus, options: AuditOptions) -> None:
    """Refuse what has no place where documents bring prompts of their own, and --chat where they bring none.

    Raises:
        UsageError: one of those was given.
    """
    template_settings(options)
    if not corpus.n_prompted:
        if options.chat:
            raise UsageError(
                f"--chat renders prompts, and corpus {corpus.spec} has none: name their field with --prompt-field, or give "
                "conversations (messages)"
            )
        return
    default = AuditOptions()
    reasons = {
        "prefix": "the prompt is the prefix",
        "cut": "the response begins where the prompt ends",
        "exemplars": "other documents before a prompt would belong to no conversation",
        "sources": "headers stand above plain documents",
        "split_on": "a response is not cut into pieces",
        "chunk": "a response is not cut into pieces",
    }
    for name, why in reasons.items():
        if getattr(options, name) != getattr(default, name):
            raise UsageError(
                f"--{name.replace('_', '-')} has no place where documents are prompts with responses: {why}; leave it out"
            )


def feeding_of(predictor: Predictor, options: AuditOptions) -> Feeding:
    """How prompts are put to the model.

    Raises:
        UsageError: --chat with a model that has no template, or a variable that its template does not have.
    """
    if options.chat:
        return ChatFeeding(predictor, system=options.system, settings=template_settings(options))
    return PlainFeeding(predictor)


def prompting_of(
    predictor: Predictor, feeding: Feeding, options: AuditOptions, *, window: int | None = None
) -> Prompting:
    """The same for whoever makes pairs; a prompt that could be guessed has no place in a run without text. `window`: tokens that
    another model sees, which is to read the same."""
    least = REDACTED_PREFIX_TOKENS if options.redact_text else 0
    windows = [w for w in (predictor.context.window, window) if w is not None]
    return Prompting(feeding.ids, feeding.own_tokens, feeding.end_id, min(windows, default=None), least)


def prompted(
    corpus: Corpus, predictor: Predictor, feeding: Feeding, options: AuditOptions, *, window: int | None = None
) -> tuple[PairSet, Feeding]:
    """The pairs, and the feeding with the end that closes real responses. `window`: tokens that another model sees.

    Plain text does not say which of several ends closes a response, and one that the model never writes would give every real text
    away. It is the one that the model's own law finds likeliest after some training responses.

    Raises:
        FreerunError: see `prompt_pairs`.
    """

    def pairs(by: Feeding) -> PairSet:
        return prompt_pairs(
            corpus,
            predictor.encode,
            prompting_of(predictor, by, options, window=window),
            n_documents=options.documents,
            continuation_tokens=options.tokens,
            seed=options.seed,
        )

    made = pairs(feeding)
    if not isinstance(feeding, PlainFeeding) or len(predictor.end_ids) < 2:
        return made, feeding
    closed = _closed(feeding, made)
    return (made if closed.end_id == feeding.end_id else pairs(closed)), closed


def _closed(feeding: PlainFeeding, pairs: PairSet) -> PlainFeeding:
    """The feeding with the likeliest end after some training responses; as it is where none ends within the window."""
    predictor, ends = feeding.predictor, np.array(feeding.predictor.end_ids, np.int64)
    mass = np.zeros(ends.size)
    for pair in [p for p in pairs.pairs if p.ended and p.split == "train"][:RESPONSES_ASKED]:
        spoken = np.concatenate([pair.prefix, pair.continuation[:-1]]).astype(np.int64)
        texts = [np.append(spoken, end) for end in ends]
        mass += np.exp([line[-1] for line in predictor.log_probs(texts, first=len(spoken))])
    if not mass.sum():
        return feeding
    likeliest = int(mass.argmax())
    return PlainFeeding(predictor, end_id=int(ends[likeliest]), end_share=float(mass[likeliest] / mass.sum()))


def known_ids_of(feeding: Feeding | None) -> frozenset[int]:
    """Tokens that everybody knows to stand around the words of a prompt."""
    if feeding is None:
        return frozenset()
    control = feeding.predictor.markers.control
    if isinstance(feeding, ChatFeeding):
        return frozenset((*feeding.added.before_ids, *feeding.added.after_ids, *control))
    return frozenset((*feeding.predictor.encode(GAP), *control))


def prompt_plan(feeding: Feeding, pairs: PairSet) -> PromptPlan:
    """What of the feeding decides the records."""
    digest = hashlib.sha256()
    for pair in pairs.pairs:
        digest.update(json.dumps(pair.prefix.tolist()).encode())
    template = None
    if isinstance(feeding, ChatFeeding):
        system = None if feeding.system is None else hashlib.sha256(feeding.system.encode()).hexdigest()
        options = tuple(TemplateOption(name, value) for name, value in feeding.settings.items())
        template = TemplatePlan(feeding.template.sha256, system, options)
    return PromptPlan(digest.hexdigest(), template, feeding.end_id)


def prompts_json(feeding: Feeding, pairs: PairSet, *, redacted: bool) -> dict[str, Any]:
    """What the manifest says of the prompts: what was put around them, and how long they are; no word of a document is in it."""
    lengths = sorted(len(pair.prefix) for pair in pairs.pairs)
    record: dict[str, Any] = {
        "prompt_tokens": {"shortest": lengths[0], "median": lengths[len(lengths) // 2], "longest": lengths[-1]},
        "response_tokens_median": pairs.document_tokens_median,
        "left_out": {left.why: left.n for left in _left_out(pairs, redacted=redacted)},
        "template": None,
        "gap": GAP,
        "end_share": feeding.end_share if isinstance(feeding, PlainFeeding) else None,
    }
    if isinstance(feeding, ChatFeeding):
        hidden = redacted and feeding.system is not None
        record["gap"] = None
        record["template"] = {
            "source": feeding.template.source,
            "before": "" if hidden else feeding.added.before,
            "after": feeding.added.after,
            "closing": feeding.added.closing,
            "before_ids": [] if hidden else list(feeding.added.before_ids),
            "after_ids": list(feeding.added.after_ids),
            "closing_ids": list(feeding.added.closing_ids),
            "writes_lead": feeding.writes_lead,
        }
    return record


def prompts_in_words(feeding: Feeding, pairs: PairSet, *, redacted: bool) -> list[str]:
    """What was put around the prompts, and which conversations were left out."""
    if isinstance(feeding, ChatFeeding):
        added = feeding.added
        before = "a system turn that is not shown" if redacted and feeding.system is not None else repr(added.before)
        notes = [
            f"Prompts are rendered by the model's own chat template, which writes {before} before a single prompt and "
            f"{added.after!r} after it"
        ]
        if feeding.predictor.context.lead and not feeding.writes_lead:
            lead = list(feeding.predictor.context.lead)
            notes.append(f"The template does not write ids {lead}; they stand first all the same, as before every text")
    else:
        notes = [
            "Prompts are fed as plain text, without roles and without a chat template: the turns one below another, a blank "
            "line after each, then the response"
        ]
    if feeding.end_id is None:
        notes.append("Nothing is declared as an end of text: responses do not end, on either side")
    else:
        notes.append(
            f"A real response that ends within the window is closed with id {feeding.end_id}: {pairs.n_ended_in_window} of "
            f"{len(pairs.pairs)}; the others are cut there"
        )
    if isinstance(feeding, PlainFeeding) and feeding.end_share is not None:
        notes.append(
            f"Of the ids that end a text it is the one that the model finds likeliest where training responses end: it has "
            f"{feeding.end_share:.0%} of the mass on them there"
        )
    notes += [f"{left.n} conversations left out: {left.why}" for left in _left_out(pairs, redacted=redacted)]
    return notes


def _left_out(pairs: PairSet, *, redacted: bool) -> tuple[LeftOut, ...]:
    """What was left out by reason; redacted as one number, since a template's reason may quote what it refuses."""
    if not redacted or not pairs.left_out:
        return pairs.left_out
    return (LeftOut("they cannot be put to the model, or can be guessed", sum(left.n for left in pairs.left_out)),)
