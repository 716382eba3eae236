"""Texts of the 135M model, drawn once by several rules, several for each prompt, and kept: files are put together from them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.rules import SamplingRule
from freerun.specs.spec import load_predictor
from freerun.text.corpora import read_corpus

MODEL, CORPUS = "smollm2-135m-instruct", "builtin/python-docs"
PROMPTS, PROMPT_TOKENS, TOKENS, SEED = 48, 16, 96, 21
DRAWS = {"t=1": 12, "t=0.9": 4, "top_k=50": 4, "top_p=0.95": 4}
"""Texts of each prompt, by rule."""


@dataclass(frozen=True)
class Pool:
    """`prompts` as text; `drawn[rule][prompt][draw]`: ids, the end token with them where one was drawn."""

    prompts: Sequence[str]
    drawn: dict[str, list[list[Int[np.ndarray, " tokens"]]]]


def pool_at(folder: Path, model: Predictor) -> Pool:
    """Drawn where it is not there yet."""
    prompts = prompts_of(model)
    return Pool(prompts, {rule: _drawn_at(folder, model, prompts, rule, n) for rule, n in DRAWS.items()})


def prompts_of(model: Predictor) -> list[str]:
    """The first tokens of the first documents that are long enough, where the tokenizer gives them again from their text."""
    taken: list[str] = []
    for document in read_corpus(CORPUS).documents:
        ids = list(model.encode(document.text))
        text = b"".join(model.token_bytes(i) for i in ids[:PROMPT_TOKENS]).decode("utf-8", "replace")
        if len(ids) >= 4 * PROMPT_TOKENS and list(model.encode(text)) == ids[:PROMPT_TOKENS] and text not in taken:
            taken.append(text)
        if len(taken) == PROMPTS:
            return taken
    raise ValueError(f"{CORPUS} has fewer than {PROMPTS} documents of {4 * PROMPT_TOKENS} tokens")


def _drawn_at(
    folder: Path, model: Predictor, prompts: Sequence[str], rule: str, n_draws: int
) -> list[list[Int[np.ndarray, " tokens"]]]:
    path = folder / f"pool-{rule}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **_drawn(model, prompts, rule, n_draws))
    held = np.load(path)
    texts = np.split(held["ids"], np.cumsum(held["lengths"])[:-1])
    return [texts[i * n_draws : (i + 1) * n_draws] for i in range(len(prompts))]


def _drawn(model: Predictor, prompts: Sequence[str], rule: str, n_draws: int) -> dict[str, np.ndarray]:
    begun = [np.asarray([*model.context.lead, *model.encode(p)], np.int64) for p in prompts]
    keys = np.arange(len(prompts) * n_draws).reshape(len(prompts), n_draws) + 100_000 * list(DRAWS).index(rule)
    wanted = Continuations(begun, keys, TOKENS, seed=SEED, sampling=SamplingRule.declared(rule), at_once=96)
    drawn = sorted(model.with_lead(()).generate(wanted), key=lambda sample: sample.row)
    ids = [sample.observation.token_id.astype(np.int64) for sample in drawn]
    return {"ids": np.concatenate(ids), "lengths": np.array([len(i) for i in ids])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/verify_text")
    pool_at(Path(parser.parse_args().out), load_predictor(MODEL))
