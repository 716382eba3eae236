"""Who could have written this: the posterior over sources by three readouts, and whether the model's own text keeps it coherent.

Everything comes back as one plain dict for the terminal, the page and JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.jobs.source.answers import (
    agreement,
    coherence_answer,
    continuation_answer,
    header_answer,
    infilling_answer,
    latent_sentence,
)
from freerun.jobs.source.coherence import own_paths
from freerun.jobs.source.continuation import N_TOKENS, sample_latent
from freerun.jobs.source.file import Sources
from freerun.jobs.source.infilling import infill_latent
from freerun.jobs.source.question import AS_USUAL, Asked, Question, check_asked, questions_of
from freerun.jobs.source.scoring import document_start, encoded, header_free, token_log_probs
from freerun.jobs.source.words import token_entries, words_of
from freerun.predictors.base import Predictor
from freerun.results.finding import to_json
from freerun.worlds.mixture import MixtureWorld

SCHEMA_VERSION = 1


def source(
    predictor: Predictor,
    text: str,
    sources: Sources | None,
    asked: Asked = AS_USUAL,
    *,
    on_tokens: Callable[[int], None] = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Ask who could have written `text`. A mixture world needs no sources file: its own latents are asked for.

    Values are JSON's, never NaN or an infinity.

    Raises:
        UsageError: an empty text or one too long, a setting out of range, too many rows, a prior for nothing.
    """
    check_asked(asked)
    questions = questions_of(predictor, sources, asked)
    ids = encoded(predictor, text)
    tokens = token_entries(predictor, ids)
    words = words_of(tokens)
    found = [_answer(predictor, q, ids, words, asked, on_tokens, on_phase) for q in questions]
    identity = predictor.identity
    result = {
        "schema_version": SCHEMA_VERSION,
        "kind": "source",
        "model": {
            "name": identity.name,
            "fingerprint": identity.fingerprint,
            "nature": identity.nature.describe(),
            "licence": identity.licence,
            "context": predictor.context.describe(),
        },
        "sources": {
            "title": sources.title if sources else "the sources of this world",
            "file": sources.origin if sources else None,
            "fingerprint": sources.fingerprint if sources else None,
        },
        "text": text,
        "n_tokens": len(ids),
        "tokens": tokens,
        "words": words,
        "latents": found,
        "seed": asked.seed,
        "notes": notes_of(predictor, questions),
    }
    plain: dict[str, Any] = to_json(result)
    return plain


def work_tokens(predictor: Predictor, text: str, sources: Sources | None, asked: Asked) -> int:
    """About how many tokens `source` will read and write, for a progress bar."""
    n, total = len(predictor.encode(text)), 0
    for question in questions_of(predictor, sources, asked):
        rows = sum(map(len, question.speakers))
        total += rows * n + asked.own_tokens * asked.n_paths * (rows + 1)
        if question.latent is not None:
            cues = len(question.latent.cues)
            total += ("infilling" in asked.readouts) * cues * n
            total += ("continuation" in asked.readouts) * asked.n_continuations * N_TOKENS
    return total


# ---- one answer ------------------------------------------------------------------------------------------------------


def _answer(
    predictor: Predictor,
    question: Question,
    ids: Int[np.ndarray, " tokens"],
    words: Sequence[Mapping[str, Any]],
    asked: Asked,
    on_tokens: Callable[[int], None],
    on_phase: Callable[[str], None],
) -> dict[str, Any]:
    on_phase(f"{question.name}: headers")
    log_probs = token_log_probs(question.speakers, ids, on_tokens=on_tokens)
    beta = asked.beta if asked.beta is not None else question.beta
    out: dict[str, Any] = {
        "name": question.name,
        "values": list(question.names),
        "prior": question.prior,
        "n_rows": sum(map(len, question.speakers)),
        "header": header_answer(question, log_probs, words, beta=beta),
        "infilling": None,
        "continuation": None,
        "coherence": None,
    }
    latent = question.latent
    if latent is not None and "infilling" in asked.readouts:
        on_phase(f"{question.name}: infilling")
        found = infill_latent(predictor, ids, latent, question.prior, on_tokens=on_tokens)
        out["infilling"] = infilling_answer(found, latent.cues)
    if latent is not None and "continuation" in asked.readouts:
        on_phase(f"{question.name}: continuations")
        sampled = sample_latent(predictor, ids, latent, n=asked.n_continuations, seed=asked.seed, on_tokens=on_tokens)
        out["continuation"] = continuation_answer(sampled)
    out["agreement"] = agreement(out)
    if asked.own_tokens:
        on_phase(f"{question.name}: own text")
        without = question.prior.copy()
        without[-1] = 0.0
        paths = own_paths(
            header_free(predictor),
            question.speakers,
            ids,
            log_probs,
            [without / without.sum(), *([question.prior] if question.prior[-1] > 0 else [])],
            n_paths=asked.n_paths,
            n_tokens=asked.own_tokens,
            seed=asked.seed,
            on_tokens=on_tokens,
        )
        out["coherence"] = coherence_answer(paths, question, predictor)
    out["sentence"] = latent_sentence(out, len(ids))
    return out


def notes_of(predictor: Predictor, questions: Sequence[Question]) -> list[str]:
    """Everything that a reader of the numbers must know."""
    notes = []
    start = document_start(predictor)
    if len(start):
        notes.append(
            f"The model has no law before a first token, so every row begins with its end-of-text token (id {int(start[0])}), as "
            "documents do in training."
        )
    if any(q.latent is not None or q.parts for q in questions):
        notes += [
            "Header and text are cut into tokens by themselves and joined, so that the text is the same tokens after every "
            "header; the joint may be one that the tokenizer would cut otherwise.",
            "Other (none of these) is the model without a header. Any header at all, right or wrong, says that a text of some "
            "kind begins, so other often loses in the first tokens: read the odds between named sources first.",
        ]
    if any(q.latent is not None for q in questions):
        notes += [
            "Header scoring takes tokens at face value (β = 1): what a model gets wrong at every token adds up, so its posterior "
            "is usually too sure. `freerun source --evaluate` fits β on labelled text.",
            "Infilling divides by what the model names when there is no text. Continuations are counted as sampled, without that "
            "division: the two need not agree.",
            "A text that stands in the training data is recognised, not judged.",
        ]
    if isinstance(predictor, MixtureWorld) and not any(q.latent is not None for q in questions):
        notes.append(
            "An exact world: its own sources are asked for, so header scoring is Bayes' rule and other has no prior."
        )
    if predictor.identity.nature.tuned:
        notes.append("An instruct model, fed raw text: the chat template is off.")
    return notes
