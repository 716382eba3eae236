"""Who could have written this: the posterior over sources by three readouts, and whether the model's own text keeps it coherent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int

from freerun.jobs.predict import spelled_tokens
from freerun.jobs.source.answers import (
    agreement,
    coherence_answer,
    continuation_answer,
    header_answer,
    latent_sentence,
    words_of,
)
from freerun.jobs.source.coherence import own_paths
from freerun.jobs.source.continuation import N_TOKENS, sample_latent
from freerun.jobs.source.file import Sources
from freerun.jobs.source.infilling import infill_latent
from freerun.jobs.source.points import source_points
from freerun.jobs.source.question import Question, SourceOptions, questions_of
from freerun.jobs.source.scoring import document_start, encoded, header_free, token_log_probs
from freerun.predictors.base import Predictor
from freerun.results.source import LatentAnswer, SourceModel, SourceResult, SourcesFile, Word
from freerun.results.verdict import NextStep
from freerun.worlds.mixture import MixtureWorld

SCHEMA_VERSION = 1


def source(
    predictor: Predictor,
    text: str,
    sources: Sources | None,
    options: SourceOptions,
    *,
    on_tokens: Callable[[int], None] = lambda _: None,
    on_phase: Callable[[str], None] = lambda _: None,
) -> SourceResult:
    """Ask who could have written `text`. A mixture world needs no sources file: its own latents are asked for.

    Raises:
        UsageError: an empty text or one too long, a setting out of range, too many rows, a prior for nothing.
    """
    options.check()
    questions = questions_of(predictor, sources, options)
    ids = encoded(predictor, text)
    tokens = spelled_tokens(predictor, ids)
    words = words_of(tokens)
    identity = predictor.identity
    latents = tuple(_answer(predictor, q, ids, words, options, on_tokens, on_phase) for q in questions)
    return SourceResult(
        schema_version=SCHEMA_VERSION,
        kind="source",
        model=SourceModel(
            identity.name,
            identity.fingerprint,
            identity.nature.describe(),
            identity.licence,
            predictor.context.describe(),
        ),
        sources=SourcesFile(sources.title, sources.origin, sources.fingerprint)
        if sources
        else SourcesFile("the sources of this world", None, None),
        text=text,
        n_tokens=len(ids),
        tokens=tokens,
        words=words,
        latents=latents,
        points=source_points(identity.name, len(ids), latents),
        next_step=NextStep("Read it token by token, with the belief along it", f"freerun explore {identity.name}"),
        seed=options.seed,
        notes=tuple(notes_of(predictor, questions)),
    )


def work_tokens(predictor: Predictor, text: str, sources: Sources | None, options: SourceOptions) -> int:
    """About how many tokens `source` will read and write, for a progress bar."""
    n, total = len(predictor.encode(text)), 0
    for question in questions_of(predictor, sources, options):
        rows = sum(map(len, question.speakers))
        total += rows * n + options.own_tokens * options.n_paths * (rows + 1)
        if question.latent is not None:
            cues = len(question.latent.cues)
            total += ("infilling" in options.readouts) * cues * n
            total += ("continuation" in options.readouts) * options.n_continuations * N_TOKENS
    return total


# ---- one answer ------------------------------------------------------------------------------------------------------


def _answer(
    predictor: Predictor,
    question: Question,
    ids: Int[np.ndarray, " tokens"],
    words: Sequence[Word],
    options: SourceOptions,
    on_tokens: Callable[[int], None],
    on_phase: Callable[[str], None],
) -> LatentAnswer:
    on_phase(f"{question.name}: headers")
    log_probs = token_log_probs(question.speakers, ids, on_tokens=on_tokens)
    header = header_answer(question, log_probs, words, beta=question.beta if options.beta is None else options.beta)
    latent, infilled, continued, coherent = question.latent, None, None, None
    if latent is not None and "infilling" in options.readouts:
        on_phase(f"{question.name}: infilling")
        infilled = infill_latent(predictor, ids, latent, question.prior, on_tokens=on_tokens)
    if latent is not None and "continuation" in options.readouts:
        on_phase(f"{question.name}: continuations")
        sampled = sample_latent(
            predictor, ids, latent, n=options.n_continuations, seed=options.seed, on_tokens=on_tokens
        )
        continued = continuation_answer(sampled)
    if options.own_tokens:
        on_phase(f"{question.name}: own text")
        without = question.prior.copy()
        without[-1] = 0.0
        paths = own_paths(
            header_free(predictor),
            question.speakers,
            ids,
            log_probs,
            [without / without.sum(), *([question.prior] if question.prior[-1] > 0 else [])],
            n_paths=options.n_paths,
            n_tokens=options.own_tokens,
            seed=options.seed,
            on_tokens=on_tokens,
        )
        coherent = coherence_answer(paths, question, predictor)
    return LatentAnswer(
        name=question.name,
        values=question.names,
        prior=question.prior,
        n_rows=sum(map(len, question.speakers)),
        header=header,
        infilling=infilled,
        continuation=continued,
        coherence=coherent,
        agreement=agreement(question.names, header, infilled, continued),
        sentence=latent_sentence(question, header, len(ids)),
    )


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
