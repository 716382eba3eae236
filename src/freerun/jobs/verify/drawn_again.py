"""Text without ids against the law's own texts: drawn after the same prompts, taken to text, tokenised again, and read alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

import numpy as np
from jaxtyping import Int

from freerun.jobs.verify.reading import Reading, last_whole_word
from freerun.jobs.verify.scoring import score_unit
from freerun.jobs.verify.texts import Text
from freerun.predictors.base import Continuations, Predictor
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.predictors.token_laws import Declared
from freerun.stats.verification.exchange import TextSums

OWN_TEXTS = 2
"""Own texts after each prompt: a third adds little, since the shortest of all decides how far they are compared."""
BATCH_TEXTS = 32
_MORE_TOKENS = 8
"""Own texts are drawn so much longer, since some tokens are lost on the way to text and back."""
_LEAST_TOKENS = 2


@dataclass(frozen=True, eq=False)
class Compared:
    """A given text and the law's own after its prompt, stopped at the same number of tokens.

    `n_there`: tokens of the whole given text. `n_changed` of `n_drawn` own tokens did not come back from text.
    """

    sums: tuple[TextSums, ...]
    n_there: int
    n_drawn: int
    n_changed: int


@dataclass(frozen=True, eq=False)
class OwnTexts:
    """Whose texts are drawn. `predictor` puts nothing first; `key` keeps draws for different purposes apart."""

    predictor: Predictor
    reading: Reading
    rule: SamplingRule
    seed: int
    key: int = 0


def batches(texts: Sequence[Text]) -> Iterator[list[Text]]:
    """Texts of like length together, since all of a batch are drawn to the length of the longest."""
    order = sorted(texts, key=lambda t: (len(t.completion), t.row))
    for start in range(0, len(order), BATCH_TEXTS):
        yield order[start : start + BATCH_TEXTS]


def compared(
    own: OwnTexts, texts: Sequence[Text], *, on_tokens: Callable[[int], None] = lambda _: None
) -> list[Compared]:
    """Groups of one batch; texts that are over after fewer than two tokens in some member of their group are left out."""
    drawn = _drawn(own, texts, on_tokens)
    members: list[Text] = []
    kept: list[tuple[Text, int, int]] = []
    for text, ids in zip(texts, drawn, strict=True):
        again = [own.reading.again(i) for i in ids]
        lines = [text.completion, *again]
        n = min(last_whole_word(line, own.reading) for line in lines)
        if n < _LEAST_TOKENS:
            continue
        members += [_member(text, line[:n]) for line in lines]
        changed = sum(n_changed(i, a) for i, a in zip(ids, again, strict=True))
        kept.append((text, sum(map(len, ids)), changed))
    if not members:
        return []
    sums = _sums(own.predictor, members, on_tokens)
    n_each = OWN_TEXTS + 1
    return [
        Compared(tuple(sums[g * n_each : (g + 1) * n_each]), len(text.completion), n_drawn, changed)
        for g, (text, n_drawn, changed) in enumerate(kept)
    ]


def _member(text: Text, completion: Int[np.ndarray, " tokens"]) -> Text:
    nothing = np.full(len(completion), np.nan)
    return replace(
        text,
        completion=completion,
        drawn=np.ones(len(completion), bool),
        reported_nats=nothing,
        trainer_nats=nothing,
    )


def _drawn(
    own: OwnTexts, texts: Sequence[Text], on_tokens: Callable[[int], None]
) -> list[list[Int[np.ndarray, " tokens"]]]:
    """Own ids after each prompt, ends of text left out."""
    length = max(len(t.completion) for t in texts) + _MORE_TOKENS
    window = own.predictor.context.window
    if window is not None:
        length = min(length, window - max(len(t.prompt) for t in texts))
    keys = np.array([[own.key + OWN_TEXTS * t.row + j for j in range(OWN_TEXTS)] for t in texts], np.int64)
    wanted = Continuations([t.prompt for t in texts], keys, length, seed=own.seed, sampling=own.rule)
    out: list[list[Int[np.ndarray, " tokens"]]] = [[np.zeros(0, np.int64)] * OWN_TEXTS for _ in texts]
    for sample in own.predictor.generate(wanted, on_tokens=on_tokens):
        ids = sample.observation.token_id.astype(np.int64)
        out[sample.row // OWN_TEXTS][sample.row % OWN_TEXTS] = ids[~np.isin(ids, own.predictor.end_ids)]
    return out


def _sums(predictor: Predictor, texts: Sequence[Text], on_tokens: Callable[[int], None]) -> list[TextSums]:
    """Of each text under the model's law at temperature 1, over ids that end no text."""
    plain = Declared(MODEL_LAW, tuple(predictor.end_ids), without_ends=True)
    scores = score_unit(predictor, texts, plain, on_tokens=on_tokens)
    of = scores.tokens.sequence
    found = []
    for number in range(len(texts)):
        rows = np.flatnonzero(of == number)
        other = type(scores.other)(*(values[rows] for values in vars(scores.other).values()))
        found.append(TextSums.of(scores.tokens.take(rows), other))
    return found


def n_changed(drawn: Int[np.ndarray, " drawn"], again: Int[np.ndarray, " again"]) -> int:
    """Drawn tokens that did not come back.

    >>> n_changed(np.array([5, 6, 7, 8]), np.array([5, 67, 8]))
    2
    """
    match = SequenceMatcher(None, drawn.tolist(), again.tolist(), autojunk=False)
    return len(drawn) - sum(block.size for block in match.get_matching_blocks())
