"""Other laws that samples are tried on when they are not draws from the declared one: other contexts, and another model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from freerun.errors import UsageError
from freerun.jobs.verify.causes import Variant
from freerun.jobs.verify.job import Job
from freerun.jobs.verify.texts import Text, texts_of
from freerun.predictors.base import Ids
from freerun.predictors.chat import ChatFeeding, PlainFeeding
from freerun.results.verify import LawName


def variants_of(job: Job, texts: list[Text]) -> Iterator[Variant]:
    """The model, then other contexts, then another model."""
    yield Variant("model", job.predictor, texts)
    for token in _beginnings(job):
        begun = [len(t.prompt) > 1 and int(t.prompt[0]) == token for t in texts]
        first = np.array([token], np.int64)
        yield Variant("bos_added", job.predictor, [replace(t, prompt=np.concatenate([first, t.prompt])) for t in texts])
        if all(begun):
            yield Variant("bos_removed", job.predictor, [replace(t, prompt=t.prompt[1:]) for t in texts])
    yield from _without_padding(job, texts)
    yield from _other_prompts(job, texts)
    if job.second is not None:
        yield Variant("other_model", job.second, texts)


def _without_padding(job: Job, texts: list[Text]) -> Iterator[Variant]:
    """Prompts that begin with a control token over and over, as a batch that was padded on the left does, without it.

    Where every prompt begins with it, one is left: it may begin every text.
    """
    for token in sorted({int(t.prompt[0]) for t in texts if len(t.prompt)} & set(job.predictor.markers.control)):
        runs = [_run_of(token, t.prompt) for t in texts]
        if max(runs) > 1:
            kept = int(min(runs) > 0)
            yield Variant(
                "padding_removed",
                job.predictor,
                [replace(t, prompt=t.prompt[max(0, run - kept) :]) for t, run in zip(texts, runs, strict=True)],
            )


def _run_of(token: int, prompt: Ids) -> int:
    """How often a prompt says a token before it says anything else; its last token counts as something else."""
    others = np.flatnonzero(prompt[:-1] != token)
    return int(others[0]) if len(others) else max(0, len(prompt) - 1)


def _other_prompts(job: Job, texts: list[Text]) -> Iterator[Variant]:
    """Prompts that are not ids, put to the model otherwise than they were."""
    template = job.reading.predictor.template
    if template is None or job.found.prompts["ids"] or job.found.prompts["rendered"]:
        return
    name: LawName = "by_template" if job.reading.feeding is None else "as_text"
    try:
        feeding = ChatFeeding(job.reading.predictor) if name == "by_template" else PlainFeeding(job.reading.predictor)
    except UsageError:
        return
    other = replace(job.reading, feeding=feeding, _prompts={})
    rows = {t.row: t.prompt for t in texts_of(job.samples, other) if isinstance(t, Text)}
    if all(t.row in rows for t in texts):
        yield Variant(name, job.predictor, [replace(t, prompt=rows[t.row]) for t in texts])


def _beginnings(job: Job) -> list[int]:
    """Ids that may begin a text: what all prompts begin with, if it is a marker, and what the tokenizer puts first."""
    control = job.predictor.markers.control
    common = [i for i, n in job.found.first_ids.items() if n == job.found.n_texts and i in control]
    return list(dict.fromkeys([*common, *beginning_ids(control)]))[:2]


_SPELLINGS = (
    "<s>",
    "<bos>",
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<｜begin▁of▁sentence｜>",
    "[BOS]",
    "<|im_start|>",
)


def beginning_ids(control: Mapping[int, str]) -> list[int]:
    """Control ids that are spelt as beginnings of text."""
    return [i for spelling in _SPELLINGS for i, word in control.items() if word == spelling]
