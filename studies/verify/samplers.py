"""Files of samples from engines with one thing planted in each, drawn by the 135M model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.rules import SamplingRule
from freerun.samples.completion import Completion
from freerun.samples.writing import write_samples
from freerun.specs.spec import load_predictor
from freerun.text.corpora import read_corpus

MODEL, CORPUS = "smollm2-135m-instruct", "builtin/python-docs"
PROMPT_TOKENS = 16
BEGINNING = 1
"""The id that the tokenizer puts first where it puts one."""


@dataclass(frozen=True)
class Sampler:
    """What is planted; `named`: words of the cause that is right, none where nothing is planted."""

    name: str
    write: Callable[[Path, Sizes], None]
    named: tuple[str, ...] = ()
    engine: str = "freerun"


@dataclass(frozen=True)
class Sizes:
    prompts: int
    tokens: int


def prompts(model: Predictor, n: int) -> list[np.ndarray]:
    """The first tokens of the first documents that are long enough."""
    taken = []
    for document in read_corpus(CORPUS).documents:
        ids = np.asarray(list(model.encode(document.text)), np.int64)
        if len(ids) >= 4 * PROMPT_TOKENS:
            taken.append(np.concatenate([[BEGINNING], ids[: PROMPT_TOKENS - 1]]))
        if len(taken) == n:
            return taken
    raise ValueError(f"{CORPUS} has fewer than {n} documents of {4 * PROMPT_TOKENS} tokens")


def by_freerun(path: Path, sizes: Sizes, *, rule: str = "t=1", model: str = MODEL, twice: bool = False) -> None:
    """Drawn by our own sampler, with the log-probabilities of the model's own law."""
    write_samples(path, _by_freerun(sizes, rule, model, twice))


def _by_freerun(sizes: Sizes, rule: str, spec: str, twice: bool) -> Iterator[Completion]:
    model = load_predictor(spec).with_lead(())
    begun = prompts(model, sizes.prompts)
    read = [np.concatenate([[BEGINNING], p]) for p in begun] if twice else begun
    keys = np.arange(sizes.prompts)[:, None]
    wanted = Continuations(read, keys, sizes.tokens, seed=11, sampling=SamplingRule.declared(rule))
    for sample in sorted(model.generate(wanted), key=lambda s: s.row):
        seen = sample.observation
        yield Completion(
            sample.row,
            prompt_ids=begun[sample.row],
            completion_ids=seen.token_id.astype(np.int64),
            log_probs_nats=seen.log_prob_nats,
            finish_reason="stop" if sample.end_reason == "end_of_text" else "length",
        )


def shifted(path: Path, sizes: Sizes) -> None:
    """Each token with the log-probability of the one before it."""
    made = []
    for c in _by_freerun(sizes, "t=1", MODEL, False):
        assert c.log_probs_nats is not None
        made.append(replace(c, log_probs_nats=np.concatenate([c.log_probs_nats[:1], c.log_probs_nats[:-1]])))
    write_samples(path, made)


def processed(path: Path, sizes: Sizes) -> None:
    """Log-probabilities of the law at temperature 0.7, as an engine reports them that processes first."""
    rule = SamplingRule.declared("t=0.7")
    model = load_predictor(MODEL).with_lead(())
    made = []
    for c in _by_freerun(sizes, "t=0.7", MODEL, False):
        assert c.completion_ids is not None
        assert c.prompt_ids is not None
        text, values = np.concatenate([c.prompt_ids, c.completion_ids]), []
        for chunk in model.laws([text], first=len(c.prompt_ids)):
            values.append(rule.apply(chunk.law).log_prob(chunk.ids([text])))
        made.append(replace(c, log_probs_nats=np.concatenate(values)))
    write_samples(path, made)


def by_transformers(path: Path, sizes: Sizes, **settings: float) -> None:
    """Drawn by `generate` of transformers with `do_sample=True` and its defaults otherwise."""
    import torch

    model = load_predictor(MODEL)
    own = model.model  # type: ignore[attr-defined]
    begun = prompts(model, sizes.prompts)
    torch.manual_seed(5)
    given = torch.as_tensor(np.stack(begun))
    with torch.inference_mode():
        out = own.generate(
            given,
            attention_mask=torch.ones_like(given),
            do_sample=True,
            max_new_tokens=sizes.tokens,
            pad_token_id=0,
            **settings,
        )
    made = []
    for row, ids in enumerate(out.numpy()[:, PROMPT_TOKENS:]):
        ends = np.flatnonzero(np.isin(ids, model.end_ids))
        ids = ids[: ends[0] + 1] if len(ends) else ids
        finish = "stop" if len(ends) else "length"
        made.append(Completion(row, prompt_ids=begun[row], completion_ids=ids.astype(np.int64), finish_reason=finish))
    write_samples(path, made)


SAMPLERS = (
    Sampler("nothing", by_freerun),
    Sampler("temperature 0.9", partial(by_freerun, rule="t=0.9"), ("temperature 0.9",)),
    Sampler("temperature 1.02", partial(by_freerun, rule="t=1.02"), ("temperature 1.02",)),
    Sampler("top-k 50", partial(by_freerun, rule="top_k=50"), ("temperature 1, top-k 50",)),
    Sampler("top-p 0.95", partial(by_freerun, rule="top_p=0.95"), ("temperature 1, top-p 0.95",)),
    Sampler("top-p 0.99", partial(by_freerun, rule="top_p=0.99"), ("temperature 1, top-p 0.99",)),
    Sampler("min-p 0.05", partial(by_freerun, rule="min_p=0.05"), ("temperature 1, min-p 0.05",)),
    Sampler("log-probs shifted by one", shifted),
    Sampler("processed log-probs, declared t=0.7", processed),
    Sampler("beginning-of-text twice", partial(by_freerun, twice=True), ("one more beginning",)),
    Sampler("weights rounded to int4", partial(by_freerun, model=f"{MODEL},round=int4"), ("other model",)),
    Sampler("generate, its defaults", by_transformers, ("temperature 1, top-k 50",), "transformers"),
    Sampler(
        "generate, top_k=0, repetition_penalty=1.05",
        partial(by_transformers, top_k=0, repetition_penalty=1.05),
        ("temperature 1, repetition penalty 1.05",),
        "transformers",
    ),
    Sampler("generate, top_k=0", partial(by_transformers, top_k=0), (), "transformers"),
)
