"""Continuation sampling: let the model write on after the text and a cue, and read which source it names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from freerun.errors import UsageError
from freerun.jobs.source.file import SourceLatent
from freerun.jobs.source.scoring import OnTokens, document_start, encoded
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.draws import sequence_key
from freerun.stats.dirichlet import Shares, dirichlet_half
from freerun.text.tokens import decode_lossy

UNREAD = "no label read"
"""The class of continuations in which no value is named: one of the answers, never dropped."""
N_TOKENS = 16
_AT_ONCE, _TOKENS_HELD = 32, 1 << 15
"""Continuations that run together, fewer where text and continuations would hold more tokens: 1.5 GB for the 135M model."""
Ids = Int[np.ndarray, " tokens"]
Reader = Callable[[Ids], str | None]


@dataclass(frozen=True)
class LabelCounts:
    """How often each value was named, the last class unread; and what was written, each with what was read in it."""

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    shares: Shares
    written: tuple[tuple[str, str], ...]


def sample_labels(
    predictor: Predictor,
    text: Ids,
    *,
    cues: Sequence[Ids],
    values: Sequence[str],
    read: Reader,
    n: int,
    seed: int,
    n_tokens: int = N_TOKENS,
    on_tokens: OnTokens = lambda _: None,
) -> LabelCounts:
    """Sample n continuations of text and cue at temperature 1, the cues in turn, and read a value in each.

    The draws are independent given the text; intervals are Dirichlet(½).

    Raises:
        UsageError: fewer than one continuation a cue.
    """
    if n < len(cues):
        raise UsageError(f"--continuations {n}: at least one for each of the {len(cues)} cues is needed")
    start = document_start(predictor)
    written: list[tuple[str, str]] = []
    for c, cue in enumerate(cues):
        prompt = np.concatenate([start, text, cue])
        numbers = range(c, n, len(cues))
        at_once = max(1, min(_AT_ONCE, _TOKENS_HELD // (len(prompt) + n_tokens)))
        for begin in range(0, len(numbers), at_once):
            some = numbers[begin : begin + at_once]
            keys = np.array([[sequence_key("source", c, i) for i in some]], np.uint64)
            for sample in predictor.generate(Continuations([prompt], keys, n_tokens, seed=seed)):
                ids = sample.observation.token_id.astype(np.int64)
                value = read(ids)
                written.append((decode_lossy(predictor.token_bytes, ids), UNREAD if value is None else value))
                on_tokens(len(ids))
    tally = Counter(value for _, value in written)
    classes = (*values, UNREAD)
    counts = tuple(tally[x] for x in classes)
    return LabelCounts(classes, counts, dirichlet_half(np.array(counts)), tuple(written))


def label_reader(predictor: Predictor, latent: SourceLatent) -> Reader:
    """Read the value that the first line of a continuation names first; a longer spelling goes before a shorter one."""
    owner = {s.casefold(): v.name for v in latent.values for s in v.spellings}
    longest_first = sorted(owner, key=lambda s: (-len(s), s))
    pattern = re.compile("|".join(rf"(?<!\w){re.escape(s)}(?!\w)" for s in longest_first))

    def read(ids: Ids) -> str | None:
        lines = decode_lossy(predictor.token_bytes, ids).strip().splitlines()
        found = pattern.search(lines[0].casefold()) if lines else None
        return owner[found[0]] if found else None

    return read


def sample_latent(
    predictor: Predictor, text: Ids, latent: SourceLatent, *, n: int, seed: int, on_tokens: OnTokens = lambda _: None
) -> LabelCounts:
    """`sample_labels` with the cues and spellings of a sources file."""
    cues, values = [encoded(predictor, c) for c in latent.cues], [v.name for v in latent.values]
    read = label_reader(predictor, latent)
    return sample_labels(predictor, text, cues=cues, values=values, read=read, n=n, seed=seed, on_tokens=on_tokens)
