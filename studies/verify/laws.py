"""Whole laws along texts of the 135M model's own: of the model, of the same contexts begun otherwise, and of other models.

A file of them is a process by itself: the law of a token depends on its prompt and position alone, and is one that the real model
gave in a real context. Tokens drawn from it are samples that `freerun verify` can be held to, and thousands of files cost little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from freerun.predictors.base import Chunk, Continuations, Ids, Laws, OnTokens, Predictor, Sample
from freerun.predictors.law import Dense
from freerun.predictors.observation import host
from freerun.specs.spec import load_predictor
from freerun.stats.loops.lag_runs import LoopRule
from studies.verify.draws import BEGINNING, MODEL, prompts

TEXTS, PROMPT_TOKENS, TOKENS, SEED = 20, 16, 128, 5
Name = Literal["model", "bos_added", "bos_removed", "int4", "int8", "checkpoint"]
NAMES: tuple[Name, ...] = ("model", "bos_added", "bos_removed", "int4", "int8", "checkpoint")


@dataclass(frozen=True, eq=False)
class Contexts:
    """Prompts and the text that the model wrote after each; all are `TOKENS` long."""

    prompts: Int[np.ndarray, "texts prompt"]
    written: Int[np.ndarray, "texts tokens"]

    @property
    def n_laws(self) -> int:
        return int(self.written.size)


def contexts_at(path: Path) -> Contexts:
    """The first texts that did not end within `TOKENS`, drawn once and kept."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        model = load_predictor(MODEL).with_lead(())
        begun = prompts(model, TEXTS + 20, PROMPT_TOKENS)
        wanted = Continuations(begun, np.arange(len(begun))[:, None], TOKENS, seed=SEED)
        whole = {s.row: s.observation.token_id for s in model.generate(wanted) if s.end_reason == "length"}
        taken = sorted(whole)[:TEXTS]
        np.savez(path, prompts=np.stack([begun[i] for i in taken]), written=np.stack([whole[i] for i in taken]))
    held = np.load(path)
    return Contexts(held["prompts"][:TEXTS].astype(np.int64), held["written"][:TEXTS].astype(np.int64))


def logits_at(path: Path, contexts: Contexts, name: Name, spec: str) -> Float[np.ndarray, "laws vocabulary"]:
    """Logits (float32) of every law, text after text, read from disk as they are needed; computed once."""
    if not path.exists():
        model = load_predictor(spec).with_lead(())
        begun = begun_as(contexts.prompts, name)
        first, n = begun.shape[1], contexts.written.shape[1]
        texts = list(np.concatenate([begun, contexts.written], axis=1))
        partial = path.with_suffix(".partial.npy")
        table = np.lib.format.open_memmap(partial, "w+", np.float32, (contexts.n_laws, model.n_tokens))
        for chunk in model.laws(texts, first=first):
            assert isinstance(chunk.law, Dense)
            table[chunk.row * n + chunk.position - first] = host(chunk.law.logits)
        table.flush()
        partial.rename(path)
    return np.load(path, mmap_mode="r")


def begun_as(given: Int[np.ndarray, "texts prompt"], name: Name) -> Int[np.ndarray, "texts begun"]:
    """The prompts as a law reads them."""
    if name == "bos_added":
        return np.concatenate([np.full((len(given), 1), BEGINNING), given], axis=1)
    return given[:, 1:] if name == "bos_removed" else given


class Replayed(Predictor):
    """A predictor that says at each prompt and position what is kept there, whatever was written before.

    `real` lends its tokens and its name. Texts with one beginning more or less get the laws that were kept of those.
    """

    def __init__(self, real: Predictor, contexts: Contexts, logits: dict[Name, Float[np.ndarray, "laws vocabulary"]]):
        self.identity, self.n_tokens, self.context = real.identity, real.n_tokens, real.context
        self.end_ids, self.markers, self.capabilities = real.end_ids, real.markers, real.capabilities
        self.real, self.logits, self.n = real, logits, contexts.written.shape[1]
        self.begun = {
            tuple(prompt.tolist()): (name, i)
            for name in logits
            for i, prompt in enumerate(begun_as(contexts.prompts, name))
        }
        self.lengths = sorted({len(prompt) for prompt in self.begun}, reverse=True)

    def encode(self, text: str) -> Sequence[int]:
        return self.real.encode(text)

    def token_bytes(self, token_id: int) -> bytes:
        return self.real.token_bytes(token_id)

    def with_lead(self, lead: tuple[int, ...]) -> Replayed:
        return self

    def score(self, sequences: Sequence[Ids], *, first: int = 0, loop_rule: LoopRule | None = None) -> Iterator[Chunk]:
        raise NotImplementedError("kept laws are read, never observed")

    def generate(self, continuations: Continuations, *, on_tokens: OnTokens = None) -> Iterator[Sample]:
        raise NotImplementedError("tokens are drawn from kept laws by studies.verify.planted")

    def log_probs(self, sequences: Sequence[Ids], *, first: int = 0) -> list[Float[np.ndarray, " scored"]]:
        made = self.laws(sequences, first=first)
        return [chunk.law.log_prob(chunk.ids(sequences)) for chunk in made]

    def laws(self, sequences: Sequence[Int[np.ndarray, " text"]], *, first: int = 0) -> Iterator[Laws]:
        for row, text in enumerate(sequences):
            n_prompt = next(n for n in self.lengths if tuple(text[:n].tolist()) in self.begun)
            name, i = self.begun[tuple(text[:n_prompt].tolist())]
            position = np.arange(max(first, n_prompt), len(text))
            kept = self.logits[name][i * self.n + position - n_prompt]
            yield Laws(np.full(len(position), row), position, Dense(np.asarray(kept)))
