"""Files of samples from engines with one thing planted in each, drawn by the 135M model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from freerun.predictors.base import Continuations
from freerun.predictors.rules import SamplingRule
from freerun.predictors.weights.catalogue import cache_folder
from freerun.samples.completion import Completion
from freerun.samples.writing import write_samples
from freerun.specs.spec import load_predictor
from studies.verify.draws import BEGINNING, MODEL, prompts
from studies.verify.llama_cpp import OFF, by_llama_cpp
from studies.verify.planted import AGREES, NONE

PROMPT_TOKENS = 16


@dataclass(frozen=True)
class Sampler:
    """An engine's file with one thing planted, how it is declared, and the answer that is right, as `label_of` words it.

    `meaning`: of what the reported log-probabilities are. `floor_nats`: what the two backends may differ by.
    """

    name: str
    write: Callable[[Path, Sizes], None]
    right: str = AGREES
    meaning: str = "raw"
    declared: str = "t=1"
    order: str = "vllm"
    other: str | None = None
    floor_nats: float | None = None
    engine: str = "freerun"


@dataclass(frozen=True)
class Sizes:
    prompts: int
    tokens: int


def by_freerun(path: Path, sizes: Sizes, *, rule: str = "t=1", model: str = MODEL, twice: bool = False) -> None:
    """Drawn by our own sampler, with the log-probabilities of the model's own law."""
    write_samples(path, _by_freerun(sizes, rule, model, twice))


def _by_freerun(sizes: Sizes, rule: str, spec: str, twice: bool) -> Iterator[Completion]:
    model = load_predictor(spec).with_lead(())
    begun = prompts(model, sizes.prompts, PROMPT_TOKENS)
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


PROCESSED = "t=0.7,top_p=0.9"


def processed(path: Path, sizes: Sizes) -> None:
    """Log-probabilities of the law at temperature 0.7 and top-p 0.9, as an engine reports them that processes first."""
    rule = SamplingRule.declared(PROCESSED)
    model = load_predictor(MODEL).with_lead(())
    made = []
    for c in _by_freerun(sizes, PROCESSED, MODEL, False):
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
    begun = prompts(model, sizes.prompts, PROMPT_TOKENS)
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
    rows = enumerate(out.numpy()[:, PROMPT_TOKENS:])
    write_samples(path, [_completion(row, begun[row], ids, model.end_ids) for row, ids in rows])


def assisted(path: Path, sizes: Sizes) -> None:
    """Drawn by speculative decoding of transformers: the same weights in int4 guess, the model keeps or draws again."""
    import torch

    model, guesser = load_predictor(MODEL), load_predictor(f"{MODEL},round=int4")
    own, other = model.model, guesser.model  # type: ignore[attr-defined]
    torch.manual_seed(6)
    made = []
    for row, begun in enumerate(prompts(model, sizes.prompts, PROMPT_TOKENS)):
        given = torch.as_tensor(begun[None])
        with torch.inference_mode():
            out = own.generate(
                given,
                attention_mask=torch.ones_like(given),
                do_sample=True,
                top_k=0,
                max_new_tokens=sizes.tokens,
                pad_token_id=0,
                assistant_model=other,
            )
        made.append(_completion(row, begun, out.numpy()[0, PROMPT_TOKENS:], model.end_ids))
    write_samples(path, made)


def _completion(row: int, begun: np.ndarray, ids: np.ndarray, end_ids: tuple[int, ...]) -> Completion:
    ends = np.flatnonzero(np.isin(ids, end_ids))
    ids = ids[: ends[0] + 1] if len(ends) else ids
    finish = "stop" if len(ends) else "length"
    return Completion(row, prompt_ids=begun, completion_ids=ids.astype(np.int64), finish_reason=finish)


def by_llama(path: Path, sizes: Sizes, **settings: float) -> None:
    """Drawn by llama.cpp's server from the GGUF file that the model's weights were made from."""
    begun = prompts(load_predictor(MODEL), sizes.prompts, PROMPT_TOKENS)
    by_llama_cpp(path, begun, sizes.tokens, cache_folder() / "gguf-of-tests" / "weights.gguf", **settings)


LLAMA_DEFAULTS = "t=0.8,top_k=40,top_p=0.95,min_p=0.05"
LLAMA_FLOOR_NATS = 0.05
"""Root mean square between llama.cpp's products of 4-bit weights with 8-bit activations and float32 over the same weights;
`freerun verify --from` measures it anew for every server."""
_LLAMA = Sampler("", by_llama, engine="llama.cpp", order="llama.cpp", floor_nats=LLAMA_FLOOR_NATS)
SAMPLERS = (
    Sampler("log-probs shifted by one", shifted, meaning="shifted_right"),
    Sampler("processed log-probs", processed, declared=PROCESSED, meaning="processed"),
    Sampler("beginning of text twice", partial(by_freerun, twice=True), "one more beginning of text", "none"),
    Sampler("weights in int4", partial(by_freerun, model=f"{MODEL},round=int4"), NONE, "none"),
    Sampler(
        "weights in int4, given with --or",
        partial(by_freerun, model=f"{MODEL},round=int4"),
        "the other model",
        "none",
        other=f"{MODEL},round=int4",
    ),
    Sampler("generate, its defaults", by_transformers, "temperature 1, top-k 50", "", engine="transformers"),
    Sampler(
        "generate, top_k=0, repetition_penalty=1.05",
        partial(by_transformers, top_k=0, repetition_penalty=1.05),
        "temperature 1, repetition penalty 1.05",
        "",
        engine="transformers",
    ),
    Sampler("generate, top_k=0", partial(by_transformers, top_k=0), meaning="", engine="transformers"),
    Sampler("generate, top_k=0, assisted by int4 weights", assisted, meaning="", engine="transformers"),
    replace(_LLAMA, name="llama.cpp's server, everything off", write=partial(by_llama, **OFF)),
    replace(
        _LLAMA,
        name="llama.cpp's server, its defaults, declared t=1",
        right="top-k 40, top-p 0.95, min-p 0.05, temperature 0.8",
    ),
    replace(_LLAMA, name="llama.cpp's server, its defaults, declared", declared=LLAMA_DEFAULTS),
)
