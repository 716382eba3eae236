"""Completions by the 135M model's own sampler, in pieces that are kept: `python -m studies.verify.draws FOLDER`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from freerun.predictors.base import Continuations, Predictor
from freerun.samples.completion import Completion
from freerun.samples.writing import write_samples
from freerun.specs.spec import load_predictor
from freerun.text.corpora import read_corpus

MODEL, CORPUS = "smollm2-135m-instruct", "builtin/python-docs"
BEGINNING = 1
"""The id that the tokenizer puts first where it puts one."""


def prompts(model: Predictor, n: int, n_tokens: int) -> list[np.ndarray]:
    """The first tokens of the first documents that are long enough, after the beginning of a text."""
    taken = []
    for document in read_corpus(CORPUS).documents:
        ids = np.asarray(list(model.encode(document.text)), np.int64)
        if len(ids) >= 4 * n_tokens:
            taken.append(np.concatenate([[BEGINNING], ids[: n_tokens - 1]]))
        if len(taken) == n:
            return taken
    raise ValueError(f"{CORPUS} has fewer than {n} documents of {4 * n_tokens} tokens")


def completions(
    model: Predictor, begun: list[np.ndarray], first: int, each: int, n_tokens: int, seed: int
) -> Iterator[Completion]:
    """`each` completions of every prompt, in the order of prompts; the draw of a completion does not depend on the others."""
    keys = np.stack([np.arange(each) + each * (first + i) for i in range(len(begun))])
    wanted = Continuations(begun, keys, n_tokens, seed=seed)
    for s in sorted(model.generate(wanted), key=lambda s: s.row):
        seen, prompt = s.observation, s.row // each
        yield Completion(
            s.row,
            prompt_ids=begun[prompt],
            completion_ids=seen.token_id.astype(np.int64),
            log_probs_nats=seen.log_prob_nats,
            group=str(first + prompt),
            finish_reason="stop" if s.end_reason == "end_of_text" else "length",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=125)
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--piece", type=int, default=12, help="prompts of a piece")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    model = load_predictor(MODEL).with_lead(())
    begun = prompts(model, arguments.prompts, 16)
    for first in range(0, arguments.prompts, arguments.piece):
        path = arguments.folder / f"piece-{first:05d}.jsonl"
        if path.exists():
            continue
        some = begun[first : first + arguments.piece]
        write_samples(path, completions(model, some, first, arguments.each, arguments.tokens, seed=17))
        print(path, flush=True)


if __name__ == "__main__":
    main()
