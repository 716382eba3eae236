"""Header scoring: the same tokens after every header, in batches.

A header and the text are encoded by themselves and their ids joined, so that the text has the same tokens in every row; at the
joint this may differ from how the tokenizer would cut header and text together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import BackendError, UsageError
from freerun.jobs.source.file import SourceLatent
from freerun.predictors.base import Predictor
from freerun.stats.sources.posterior import cumulative_likelihood

_LOGITS = 1 << 24
_COLUMNS = 16
"""Rows of a batch are few enough that a pass reads about so many tokens of each at once."""
OnTokens = Callable[[int], None]


@dataclass(frozen=True)
class Speaker:
    """One way in which a source speaks: a predictor after a header. Exact worlds have a predictor a source and no header."""

    predictor: Predictor
    header: Int[np.ndarray, " tokens"]


Speakers = Sequence[Sequence[Speaker]]
"""For each source its templates; the same source, another wording."""


def document_start(predictor: Predictor) -> Int[np.ndarray, " tokens"]:
    """What begins every row: nothing where a law stands before the first token, else the first end-of-text id.

    Models are trained on documents one after another with that id between them, so what follows it begins a document.

    Raises:
        UsageError: the predictor has neither.
    """
    if predictor.context.lead or predictor.capabilities.empty_context:
        return np.zeros(0, np.int64)
    if not predictor.end_ids:
        raise UsageError(
            f"{predictor.identity.name} has no law before the first token and no end-of-text id to begin a document with; "
            "freerun source needs one of them"
        )
    return np.array(predictor.end_ids[:1], np.int64)


def encoded(predictor: Predictor, text: str) -> Int[np.ndarray, " tokens"]:
    """Ids of a text, nothing put first.

    Raises:
        BackendError: an id that the predictor has no law for.
    """
    ids = np.asarray(list(predictor.encode(text)), np.int64)
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < predictor.n_tokens:
        name = predictor.identity.name
        raise BackendError(f"the tokenizer of {name} makes id {int(ids.max())}, it knows only {predictor.n_tokens} ids")
    return ids


def header_free(predictor: Predictor) -> Speaker:
    """The model without a header: what stands for none of the sources."""
    return Speaker(predictor, document_start(predictor))


def speakers_of(predictor: Predictor, headers: Sequence[Sequence[str]]) -> list[list[Speaker]]:
    """The sources that the filled-in headers name, and last the header-free model for none of them."""
    start = document_start(predictor)
    rows = [[Speaker(predictor, np.concatenate([start, encoded(predictor, h)])) for h in one] for one in headers]
    return [*rows, [Speaker(predictor, start)]]


def latent_speakers(predictor: Predictor, latent: SourceLatent) -> list[list[Speaker]]:
    """The speakers of a latent's values, `other` last."""
    return speakers_of(predictor, latent.headers())


def check_fits(speakers: Speakers, n_tokens: int) -> None:
    """A header that falls out of the window tells nothing.

    Raises:
        UsageError: header and tokens together are longer than the window.
    """
    for speaker in (x for one in speakers for x in one):
        window = speaker.predictor.context.window
        if window is not None and len(speaker.header) + n_tokens > window:
            raise UsageError(
                f"{n_tokens} tokens after a header of {len(speaker.header)} do not fit {speaker.predictor.identity.name}, which "
                f"sees {window}: the header would be forgotten; give at most {window - len(speaker.header)} tokens"
            )


def token_log_probs(
    speakers: Speakers, ids: Int[np.ndarray, " tokens"], *, on_tokens: OnTokens = lambda _: None
) -> list[Float[np.ndarray, "templates tokens"]]:
    """Log-probabilities, nats, of each of `ids` given the ones before it, after every header of every source.

    Raises:
        UsageError: no tokens, or more than fit after a header.
    """
    return texts_log_probs(speakers, [ids], on_tokens=on_tokens)[0]


def texts_log_probs(
    speakers: Speakers, texts: Sequence[Int[np.ndarray, " tokens"]], *, on_tokens: OnTokens = lambda _: None
) -> list[list[Float[np.ndarray, "templates tokens"]]]:
    """`token_log_probs` of several texts, their rows in batches together.

    Raises:
        UsageError: a text without tokens, or with more than fit after a header.
    """
    if not all(len(ids) for ids in texts):
        raise UsageError("the text is empty: there is nothing that a source could have written")
    check_fits(speakers, max(map(len, texts)))
    out = [[np.zeros((len(one), len(ids))) for one in speakers] for ids in texts]
    places = [(i, s, j) for i in range(len(texts)) for s, one in enumerate(speakers) for j in range(len(one))]
    for predictor in {id(x.predictor): x.predictor for one in speakers for x in one}.values():
        mine = [(i, s, j) for i, s, j in places if speakers[s][j].predictor is predictor]
        # near lengths together: log-probabilities are made from the shortest header of a batch on
        mine.sort(key=lambda place: len(speakers[place[1]][place[2]].header))
        step = rows_at_once(predictor)
        for start in range(0, len(mine), step):
            batch = mine[start : start + step]
            heads = [speakers[s][j].header for _, s, j in batch]
            first = min(map(len, heads))
            rows = [np.concatenate([head, texts[i]]) for (i, _, _), head in zip(batch, heads, strict=True)]
            found = predictor.log_probs(rows, first=first)
            for (i, s, j), head, values in zip(batch, heads, found, strict=True):
                out[i][s][j] = values[len(head) - first :]
            on_tokens(sum(len(texts[i]) for i, _, _ in batch))
    return out


def rows_at_once(predictor: Predictor) -> int:
    """How many rows of a text are scored together."""
    return max(4, min(32, _LOGITS // (_COLUMNS * predictor.n_tokens)))


def log_likelihoods(
    speakers: Speakers, ids: Int[np.ndarray, " tokens"], *, on_tokens: OnTokens = lambda _: None
) -> Float[np.ndarray, "sources tokens_1"]:
    """ln q(x_≤t | s) of every source, the average over its templates."""
    return np.stack([cumulative_likelihood(x) for x in token_log_probs(speakers, ids, on_tokens=on_tokens)])
