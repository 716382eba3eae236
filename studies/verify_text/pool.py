"""Texts of the 135M model, drawn once by each rule, several for each prompt, and kept: files are put together from them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int

from freerun.jobs.served.law import typed
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.rules import SamplingRule
from freerun.text.corpora import read_corpus

MODEL, CORPUS = "smollm2-135m-instruct", "builtin/python-docs"
PROMPTS, PROMPT_TOKENS, TOKENS, SEED = 24, 16, 96, 21
OWN, OTHER = 6, 4
"""Texts of each prompt: by the model's own law, and by another rule."""


@dataclass(frozen=True)
class Pool:
    """Where drawn texts are kept, and who draws those that are not there yet."""

    folder: Path
    model: Predictor

    @cached_property
    def prompts(self) -> Sequence[str]:
        """The first tokens of the first documents that are long enough, where the tokenizer gives them again from their text."""
        taken: list[str] = []
        for document in read_corpus(CORPUS).documents:
            ids = list(self.model.encode(document.text))
            text = b"".join(self.model.token_bytes(i) for i in ids[:PROMPT_TOKENS]).decode("utf-8", "replace")
            fits = len(ids) >= 4 * PROMPT_TOKENS and list(self.model.encode(text)) == ids[:PROMPT_TOKENS]
            if fits and text not in taken:
                taken.append(text)
            if len(taken) == PROMPTS:
                return taken
        raise ValueError(f"{CORPUS} has fewer than {PROMPTS} documents of {4 * PROMPT_TOKENS} tokens")

    def begun(self, prompt: int) -> Int[np.ndarray, " prompt"]:
        return np.asarray([*self.model.context.lead, *self.model.encode(self.prompts[prompt])], np.int64)

    def drawn(self, rule: SamplingRule) -> list[list[Int[np.ndarray, " tokens"]]]:
        """Ids by prompt and draw, the end token with them where one was drawn."""
        n = n_draws(rule)
        path = self.folder / f"pool-{typed(rule)}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path, **self._drawn(rule, n))
            print(path.name, flush=True)
        held = np.load(path)
        texts = np.split(held["ids"], np.cumsum(held["lengths"])[:-1])
        return [texts[i * n : (i + 1) * n] for i in range(PROMPTS)]

    def _drawn(self, rule: SamplingRule, n: int) -> dict[str, np.ndarray]:
        begun = [self.begun(i) for i in range(PROMPTS)]
        apart = int.from_bytes(hashlib.sha256(typed(rule).encode()).digest()[:4], "big")
        keys = np.arange(PROMPTS * n).reshape(PROMPTS, n) + PROMPTS * OWN * apart
        wanted = Continuations(begun, keys, TOKENS, seed=SEED, sampling=rule, at_once=96)
        drawn = sorted(self.model.with_lead(()).generate(wanted), key=lambda sample: sample.row)
        ids = [sample.observation.token_id.astype(np.int64) for sample in drawn]
        return {"ids": np.concatenate(ids), "lengths": np.array([len(i) for i in ids])}


def n_draws(rule: SamplingRule) -> int:
    """Texts of each prompt."""
    return OWN if rule.is_model_law else OTHER
