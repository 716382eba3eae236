"""Infilling: let the model name the source after the text, minus what it names whatever the text (Zhao et al. 2021).

P(label | text) / P(label | no text) is the likelihood of the text up to a constant, if the model's labels are a posterior: so the
prior enters as it does in header scoring, and the two can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from freerun.errors import UsageError
from freerun.jobs.source.file import SourceLatent
from freerun.jobs.source.scoring import OnTokens, document_start, encoded
from freerun.predictors.base import Predictor
from freerun.predictors.stepwise import as_stepwise
from freerun.results.source import Infilling
from freerun.stats.sources.posterior import posterior_of

CONTENT_FREE = ("N/A", "[MASK]", "")
"""What stands in the place of the text to see what the model names anyway (Zhao et al. 2021, section 5)."""
_TOKENS_HELD = 1 << 15
"""Tokens that the states of all prompts and spellings hold together."""
Ids = Int[np.ndarray, " tokens"]


def infill(
    predictor: Predictor,
    text: Ids,
    *,
    cues: Sequence[Ids],
    labels: Sequence[Sequence[Ids]],
    prior: Float[np.ndarray, " values_1"],
    content_free: Sequence[Ids],
    on_tokens: OnTokens = lambda _: None,
) -> Infilling:
    """Ask after `text` and each of the cues. `labels[s]` are the ways to write value s; `prior` ends with none of them.

    A label counts where the tokens after the cue begin with it; one that begins a longer label of the list does not count
    where the longer one comes, so the labels exclude one another and the rest is what is none of them.

    Raises:
        UsageError: a label without tokens, or the same tokens for two values.
    """
    start = document_start(predictor)
    asked = [np.concatenate([start, text, cue]) for cue in cues]
    free = [np.concatenate([start, x, cue]) for cue in cues for x in content_free]
    by_cue = label_masses(predictor, asked, labels, on_tokens=on_tokens)
    mass, mass_without = by_cue.mean(axis=0), label_masses(predictor, free, labels).mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = np.log(mass) - np.log(mass_without)
    likelihood = np.where(mass <= 0, -np.inf, np.where(mass_without <= 0, np.inf, likelihood))
    if np.isposinf(likelihood).any():  # named after the text, and never otherwise: the text has made it possible
        certain = np.isposinf(likelihood) * np.asarray(prior)
        posterior = certain / certain.sum()
    else:
        posterior = posterior_of(np.asarray(prior), likelihood)
    labelled, labelled_without = 1.0 - float(mass[-1]), 1.0 - float(mass_without[-1])
    return Infilling(posterior, mass, mass_without, labelled, labelled_without, (), by_cue)


def label_masses(
    predictor: Predictor,
    prompts: Sequence[Ids],
    labels: Sequence[Sequence[Ids]],
    *,
    on_tokens: OnTokens = lambda _: None,
) -> Float[np.ndarray, "prompts values_1"]:
    """Probability that the tokens after each prompt begin with a label of each value, and with none.

    Raises:
        UsageError: a label without tokens, or the same tokens for two values.
    """
    owner: dict[tuple[int, ...], int] = {}
    for s, spellings in enumerate(labels):
        for spelling in spellings:
            key = tuple(int(i) for i in spelling)
            if not key:
                raise UsageError(f"value {s + 1} has a spelling without tokens; write it another way")
            if owner.setdefault(key, s) != s:
                raise UsageError(
                    f"a spelling of value {s + 1} has the same tokens as one of value {owner[key] + 1}: this tokenizer "
                    "cannot tell them apart; leave one out"
                )
    strings = sorted(owner)
    window, needed = predictor.context.window, max(map(len, prompts)) + max(map(len, strings))
    if window is not None and needed > window:
        raise UsageError(f"text, cue and label take {needed} tokens; the model sees {window}")
    out = np.zeros((len(prompts), len(labels) + 1))
    at_once = max(1, _TOKENS_HELD // (needed * len(strings)))
    for begin in range(0, len(prompts), at_once):
        some = prompts[begin : begin + at_once]
        found = dict(zip(strings, np.exp(_string_log_probs(predictor, some, strings)).T, strict=True))
        rows = slice(begin, begin + len(some))
        for string, s in owner.items():
            out[rows, s] += found[string]
            around = _longest_beginning(string, owner)
            if around is not None:
                out[rows, owner[around]] -= found[string]
        on_tokens(sum(map(len, some)))
    out = np.maximum(out, 0.0)
    out[:, -1] = np.maximum(0.0, 1.0 - out[:, :-1].sum(axis=1))
    return out


def _longest_beginning(string: tuple[int, ...], known: dict[tuple[int, ...], int]) -> tuple[int, ...] | None:
    return next((string[:n] for n in range(len(string) - 1, 0, -1) if string[:n] in known), None)


def _string_log_probs(
    predictor: Predictor, prompts: Sequence[Ids], strings: Sequence[tuple[int, ...]]
) -> Float[np.ndarray, "prompts strings"]:
    """ln P of each string after each prompt; a prompt is read once, and strings that begin alike share the steps."""
    predictor = as_stepwise(predictor, "infilling")
    state, n = predictor.start(prompts), len(prompts)
    sums = np.zeros((n, len(strings)))
    places: dict[tuple[int, ...], int] = {(): 0}
    for depth in range(max(map(len, strings))):
        law = predictor.law(state)
        for beginning, place in places.items():
            mine = [i for i, s in enumerate(strings) if len(s) > depth and s[:depth] == beginning]
            table = law.take(place * n + np.arange(n)).log_probs()
            sums[:, mine] += table[:, [strings[i][depth] for i in mine]]
        longer = sorted({s[: depth + 1] for s in strings if len(s) > depth + 1})
        if not longer:
            break
        rows = np.concatenate([places[s[:-1]] * n + np.arange(n) for s in longer])
        ids = np.repeat(np.array([s[-1] for s in longer], np.int64), n)
        state = predictor.advance(predictor.select(state, rows), ids)
        places = {s: i for i, s in enumerate(longer)}
    return sums


def label_ids(predictor: Predictor, latent: SourceLatent) -> list[list[Ids]]:
    """The spellings of a latent's values as tokens after a cue: a blank and the words."""
    out = []
    for value in latent.values:
        spelled = {tuple(encoded(predictor, f" {x}").tolist()) for x in value.spellings}
        out.append([np.array(x, np.int64) for x in sorted(spelled)])
    return out


def content_free_ids(predictor: Predictor) -> list[Ids]:
    """The texts without content; those that an alphabet cannot spell (a world's) are left out, the empty one never."""
    out = []
    for text in CONTENT_FREE:
        try:
            out.append(encoded(predictor, text))
        except UsageError:
            continue
    return out


def infill_latent(
    predictor: Predictor,
    text: Ids,
    latent: SourceLatent,
    prior: Float[np.ndarray, " values_1"],
    *,
    on_tokens: OnTokens = lambda _: None,
) -> Infilling:
    """`infill` with the cues and spellings of a sources file."""
    answer = infill(
        predictor,
        text,
        cues=[encoded(predictor, c) for c in latent.cues],
        labels=label_ids(predictor, latent),
        prior=prior,
        content_free=content_free_ids(predictor),
        on_tokens=on_tokens,
    )
    return replace(answer, cues=latent.cues)
