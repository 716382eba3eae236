"""What is planted: samplers on kept laws, and sheets of tokens drawn by them. A sheet has a token for every kept law."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.predictors.law import Dense, Law
from freerun.predictors.rules import MODEL_LAW, RepetitionPenalty, SamplingRule
from studies.verify.laws import Contexts, Name

FILES = 40


@dataclass(frozen=True)
class Planted:
    """A sampler: which laws it draws from, by which rule, and into files of how many sheets and texts.

    `other`: the laws that are given as a second model. `right`: causes that are right, as `label_of` words them.
    """

    name: str
    law: Name
    rule: SamplingRule
    right: tuple[str, ...]
    other: Name | None = None
    texts: int = 20
    sheets: int = 2

    @property
    def drawn(self) -> tuple[Name, SamplingRule]:
        """Samplers that draw alike share their sheets."""
        return self.law, self.rule


def _of_model(name: str, words: str, rule: str, *, order: str = "vllm", texts: int = 20, sheets: int = 2) -> Planted:
    return Planted(name, "model", SamplingRule.declared(rule, order=order), (words,), texts=texts, sheets=sheets)


AGREES, NONE = "agrees", "none of these"
PLANTED: tuple[Planted, ...] = (
    Planted("nothing", "model", MODEL_LAW, (AGREES,)),
    _of_model("temperature 0.9", "temperature 0.9", "t=0.9"),
    _of_model("temperature 1.02", "temperature 1.02", "t=1.02", sheets=4),
    _of_model("top-k 50", "temperature 1, top-k 50", "top_k=50"),
    _of_model("top-p 0.95", "temperature 1, top-p 0.95", "top_p=0.95"),
    _of_model("top-p 0.99", "temperature 1, top-p 0.99", "top_p=0.99"),
    _of_model("top-p 0.99, short files", "temperature 1, top-p 0.99", "top_p=0.99", texts=12, sheets=1),
    _of_model("min-p 0.05", "temperature 1, min-p 0.05", "min_p=0.05"),
    _of_model("repetition penalty 1.05", "temperature 1, repetition penalty 1.05", "repetition_penalty=1.05"),
    _of_model(
        "defaults of llama.cpp's server",
        "top-k 40, top-p 0.95, min-p 0.05, temperature 0.8",
        "t=0.8,top_k=40,top_p=0.95,min_p=0.05",
        order="llama.cpp",
    ),
    Planted("top-k 45 (not among those tried)", "model", SamplingRule.declared("top_k=45"), (NONE,)),
    Planted("temperature 0.93 (not among those tried)", "model", SamplingRule.declared("t=0.93"), (NONE,)),
    Planted("beginning of text twice", "bos_added", MODEL_LAW, ("one more beginning of text",)),
    Planted("no beginning of text", "bos_removed", MODEL_LAW, ("no beginning of text",)),
    Planted("weights in int4", "int4", MODEL_LAW, (NONE,)),
    Planted("weights in int4, given with --or", "int4", MODEL_LAW, ("the other model",), other="int4"),
    Planted("weights in int8", "int8", MODEL_LAW, (NONE,)),
    Planted("weights in int8, given with --or", "int8", MODEL_LAW, ("the other model",), other="int8"),
    Planted("another checkpoint", "checkpoint", MODEL_LAW, (NONE,)),
    Planted("another checkpoint, given with --or", "checkpoint", MODEL_LAW, ("the other model",), other="checkpoint"),
)


# ---- drawn -----------------------------------------------------------------------------------------------------------


def draw_text(
    planted: Planted,
    contexts: Contexts,
    text: int,
    logits: Float[np.ndarray, "tokens vocabulary"],
    uniforms: Float[np.ndarray, "sheets tokens"],
    rng: np.random.Generator,
) -> Int[np.ndarray, "sheets tokens"]:
    """One text of every sheet by inverse CDF, ids in their order. Penalties are drawn by rejection: they only take weight away."""
    n_sheets, n = uniforms.shape
    ids = np.empty((n_sheets, n), np.int64)
    penalty = planted.rule.penalties[0] if planted.rule.penalties else None
    assert penalty is None or (isinstance(penalty, RepetitionPenalty) and len(planted.rule.steps) == 1)
    seen: Bool[np.ndarray, "sheets vocabulary"] = np.zeros((n_sheets if penalty else 0, logits.shape[1]), bool)
    seen[:, contexts.prompts[text]] = True
    for t in range(n):
        law: Law = Dense(np.asarray(logits[t : t + 1]))
        if penalty is None:
            ids[:, t] = _inverse(planted.rule.apply(law), uniforms[:, t])
        else:
            ids[:, t] = _rejected(law, seen, penalty.repetition_penalty, uniforms[:, t], rng)
            seen[np.arange(n_sheets), ids[:, t]] = True
    return ids


def _inverse(law: Law, uniforms: Float[np.ndarray, " sheets"]) -> Int[np.ndarray, " sheets"]:
    upto = np.cumsum(np.asarray(law.probs(), np.float64)[0])
    return np.searchsorted(upto, uniforms * upto[-1], side="right")


def _rejected(
    law: Law,
    seen: Bool[np.ndarray, "sheets vocabulary"],
    size: float,
    uniforms: Float[np.ndarray, " sheets"],
    rng: np.random.Generator,
) -> Int[np.ndarray, " sheets"]:
    assert isinstance(law, Dense)
    plain = np.asarray(law.logits[0], np.float64)
    penalised = np.where(plain > 0, plain / size, plain * size)
    ids = _inverse(law, uniforms)
    waiting = np.arange(len(ids))
    while True:
        kept = np.where(seen[waiting, ids[waiting]], np.exp(penalised - plain)[ids[waiting]], 1.0)
        waiting = waiting[rng.random(len(waiting)) >= kept]
        if not waiting.size:
            return ids
        ids[waiting] = _inverse(law, rng.random(len(waiting)))


@dataclass(frozen=True, eq=False)
class Sheets:
    """Tokens drawn for every kept law, sampler after sampler; `reached`: no text ended before them."""

    ids: Int[np.ndarray, "sheets laws"]
    reached: Bool[np.ndarray, "sheets laws"]
    of: Mapping[tuple[Name, SamplingRule], range]
    """Numbers of the sheets of each sampler."""


def drawn_sheets(
    some: Sequence[Planted],
    contexts: Contexts,
    logits: Mapping[Name, Float[np.ndarray, "laws vocabulary"]],
    end_ids: tuple[int, ...],
    files: int,
) -> Sheets:
    """The sheets of all samplers; those that draw alike share theirs."""
    n = contexts.written.shape[1]
    parts: list[Int[np.ndarray, "sheets laws"]] = []
    of: dict[tuple[Name, SamplingRule], range] = {}
    for planted in _distinct(some):
        rng = np.random.default_rng([7, *planted.name.encode()])
        n_sheets = files * max(p.sheets for p in some if p.drawn == planted.drawn)
        ids = np.empty((n_sheets, contexts.n_laws), np.int32)
        for text in range(len(contexts.prompts)):
            rows = slice(text * n, (text + 1) * n)
            uniforms = rng.random((n_sheets, n))
            ids[:, rows] = draw_text(planted, contexts, text, logits[planted.law][rows], uniforms, rng)
        first = sum(len(part) for part in parts)
        of[planted.drawn] = range(first, first + n_sheets)
        parts.append(ids)
    every = np.concatenate(parts)
    return Sheets(every, reached(every, end_ids, n), of)


def _distinct(planted: Sequence[Planted]) -> list[Planted]:
    return list({p.drawn: p for p in reversed(planted)}.values())[::-1]


def reached(ids: Int[np.ndarray, "sheets laws"], end_ids: tuple[int, ...], n: int) -> Bool[np.ndarray, "sheets laws"]:
    ends = np.isin(ids, end_ids).reshape(len(ids), -1, n)
    before = np.cumsum(ends, axis=2) - ends
    return np.asarray((before == 0).reshape(len(ids), -1))
