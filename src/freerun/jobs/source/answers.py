"""What each readout found, as plain values and plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from freerun.jobs.source.coherence import OwnPath
from freerun.jobs.source.continuation import UNREAD, Continuations
from freerun.jobs.source.file import OTHER
from freerun.jobs.source.infilling import Infilling
from freerun.jobs.source.question import Question
from freerun.jobs.source.words import movers, token_entries, word_shifts
from freerun.predictors.base import Predictor
from freerun.report.pages.prediction import chance
from freerun.stats.sources.coherence import MartingaleBand, martingale_band
from freerun.stats.sources.posterior import (
    NATS_TO_BITS,
    cumulative_likelihood,
    posterior_of,
    source_path,
    tokens_until_settled,
    tokens_until_sure,
)

SURE = 0.9
N_EXAMPLES = 12
LEVEL = 0.95


def header_answer(
    question: Question,
    log_probs: Sequence[Float[np.ndarray, "templates tokens"]],
    words: Sequence[Mapping[str, Any]],
    *,
    beta: float | None,
) -> dict[str, Any]:
    """The posterior by header scoring, token by token and word by word; with a fitted β beside it where one is known."""
    likelihood = np.stack([cumulative_likelihood(x) for x in log_probs])
    path = source_path(question.prior, likelihood)
    moved = word_shifts(words, path.posterior, question.names)
    last = path.posterior[-1]
    top = int(last.argmax())
    low, high = _over_templates(question, log_probs)
    settled = tokens_until_settled(path.posterior, level=SURE)
    out = {
        "beta": 1.0,
        "posterior": last,
        "top": question.names[top],
        "log_likelihood_nats": [float(x) if np.isfinite(x) else None for x in likelihood[:, -1]],
        "by_template": {"low": low, "high": high},
        "path": path.posterior,
        "entropy_bits": path.entropy_bits,
        "information_bits": path.information_bits,
        "shift": path.shift,
        "words": moved,
        "movers": movers(words, moved),
        "tokens_to_90": tokens_until_sure(path.posterior, level=SURE),
        "settled_tokens": settled,
        "fitted": None,
        "marginals": [_marginal(question, last, i) for i in range(len(question.parts[0]))] if question.parts else [],
    }
    if beta is not None and beta != 1.0:
        tempered = source_path(question.prior, likelihood, beta=beta)
        out["fitted"] = {
            "beta": beta,
            "posterior": tempered.posterior[-1],
            "top": question.names[int(tempered.posterior[-1].argmax())],
            "tokens_to_90": tokens_until_sure(tempered.posterior, level=SURE),
            "path": tempered.posterior,
            "entropy_bits": tempered.entropy_bits,
        }
    return out


def _over_templates(
    question: Question, log_probs: Sequence[Float[np.ndarray, "templates tokens"]]
) -> tuple[Float[np.ndarray, " values_1"], Float[np.ndarray, " values_1"]]:
    """Least and largest posterior of each value if one template alone were believed."""
    n = max(len(x) for x in log_probs)
    sums = np.array([[x[min(j, len(x) - 1)].sum() for x in log_probs] for j in range(n)])
    found = posterior_of(question.prior, sums)
    return found.min(axis=0), found.max(axis=0)


def _marginal(question: Question, posterior: Float[np.ndarray, " values_1"], at: int) -> dict[str, float]:
    """A joint posterior as one over the values of its latent number `at`."""
    out: dict[str, float] = {}
    for part, p in zip(question.parts, posterior, strict=False):
        out[part[at]] = out.get(part[at], 0.0) + float(p)
    return {**out, OTHER: float(posterior[-1])}


def infilling_answer(found: Infilling, cues: Sequence[str]) -> dict[str, Any]:
    """The posterior by infilling; `labelled` is how much of the model's answer names any value at all."""
    return {
        "posterior": found.posterior,
        "mass": found.mass,
        "mass_without_text": found.mass_without_text,
        "labelled": 1.0 - float(found.mass[-1]),
        "labelled_without_text": 1.0 - float(found.mass_without_text[-1]),
        "cues": list(cues),
        "by_cue": found.by_cue,
    }


def continuation_answer(found: Continuations) -> dict[str, Any]:
    """Shares of what was named, unread last, with examples."""
    read = [x for x in found.written if x[1] != UNREAD]
    unread = [x for x in found.written if x[1] == UNREAD]
    shown = (read + unread)[:N_EXAMPLES]
    return {
        "classes": list(found.classes),
        "counts": list(found.counts),
        "share": found.shares.share,
        "low": found.shares.low,
        "high": found.shares.high,
        "level": found.shares.level,
        "n": found.shares.n,
        "examples": [{"text": text, "read": value} for text, value in shown],
    }


# ---- do they agree? --------------------------------------------------------------------------------------------------


def agreement(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Which value each readout puts first, and how far they are apart (total variation; values named only, for continuations)."""
    names = list(answer["values"])
    header = np.asarray(answer["header"]["posterior"])
    tops: dict[str, str | None] = {"header": names[int(header.argmax())]}
    apart: dict[str, float | None] = {}
    if answer["infilling"] is not None:
        infilled = np.asarray(answer["infilling"]["posterior"])
        tops["infilling"] = names[int(infilled.argmax())]
        apart["header_infilling"] = float(0.5 * np.abs(header - infilled).sum())
    if answer["continuation"] is not None:
        counts = np.array(answer["continuation"]["counts"][:-1], np.float64)
        first = np.flatnonzero(counts == counts.max())
        tops["continuation"] = names[int(first[0])] if counts.sum() and len(first) == 1 else None
        named = header[:-1]
        apart["header_continuation"] = (
            float(0.5 * np.abs(named / named.sum() - counts / counts.sum()).sum())
            if counts.sum() and named.sum()
            else None
        )
    said = [t for t in tops.values() if t is not None]
    agree = len(said) == len(tops) and len(set(said)) == 1 if len(tops) > 1 else None
    return {"tops": tops, "total_variation": apart, "agree": agree, "sentence": _agreement_sentence(tops, agree)}


def _agreement_sentence(tops: Mapping[str, str | None], agree: bool | None) -> str:
    words = {"header": "header scoring", "infilling": "infilling", "continuation": "continuations"}
    if agree is None:
        return "One readout only, so nothing to agree with."
    if agree:
        return f"All {len(tops)} readouts put {_named(tops['header'])} first."
    parts = [f"{words[k]}: {_named(v) if v else 'no value more often than another'}" for k, v in tops.items()]
    return f"The readouts disagree on what is most probable ({'; '.join(parts)}): take no single one of them for the answer."


def _named(value: str | None) -> str:
    return "none of these" if value == OTHER else str(value)


def latent_sentence(answer: Mapping[str, Any], n_tokens: int) -> str:
    """The answer for a busy reader."""
    header = answer["header"]
    top = int(np.argmax(header["posterior"]))
    p, before = float(header["posterior"][top]), float(answer["prior"][top])
    when = header["settled_tokens"]
    words = [
        f"After {n_tokens} tokens the model's {answer['name']} is most probably {_named(header['top'])}: {chance(p)}, "
        f"{chance(before)} before reading (header scoring)."
    ]
    if when is not None:
        words.append(f"It passes {SURE:.0%} at token {when} and stays above.")
    elif header["tokens_to_90"] is not None:
        words.append(f"Some value passed {SURE:.0%} at token {header['tokens_to_90']}, and lost it again.")
    else:
        words.append(f"No value ever reaches {SURE:.0%}.")
    return " ".join(words)


# ---- along its own text ----------------------------------------------------------------------------------------------


def coherence_answer(paths: Sequence[Sequence[OwnPath]], question: Question, predictor: Predictor) -> dict[str, Any]:
    """The posterior along the model's own continuations, without `other` and with it."""
    kinds = ["without_other", "with_other"][: len(paths)]
    found = {kind: _coherence(mine, question.names) for kind, mine in zip(kinds, paths, strict=True)}
    texts = [token_entries(predictor, p.ids) for p in paths[0]]
    return {"n_paths": len(paths[0]), "tokens": texts, **found, "sentence": _coherence_sentence(found, question.names)}


def _coherence(paths: Sequence[OwnPath], names: Sequence[str]) -> dict[str, Any]:
    n_steps = max(len(p.ids) for p in paths)
    posterior = np.stack([_held(p.posterior, n_steps + 1) for p in paths])
    drift = np.stack([_zero_after([s.drift for s in p.steps], n_steps) for p in paths])
    variance = np.stack([_zero_after([s.variance for s in p.steps], n_steps) for p in paths])
    tv = np.array([s.tv for p in paths for s in p.steps])
    kl = np.array([s.kl_nats for p in paths for s in p.steps])
    largest = max(float(np.abs(s.drift).max() - s.tv) for p in paths for s in p.steps)
    bands = [martingale_band(posterior[:, :, s], variance[:, :, s], level=LEVEL) for s in range(len(names))]
    sums = np.cumsum(drift, axis=1).mean(axis=0)
    sure = [tokens_until_settled(p.posterior, level=SURE) for p in paths]
    return {
        "n_tokens": n_steps,
        "start": posterior[0, 0],
        "mean": posterior.mean(axis=0),
        "end": posterior.mean(axis=0)[-1],
        "paths": posterior,
        "entropy_bits": [float(x) for x in -_plogp(posterior).sum(axis=2).mean(axis=0) * NATS_TO_BITS],
        "tv_mean": float(tv.mean()),
        "tv_by_step": [float(np.mean([p.steps[t].tv for p in paths if t < len(p.steps)])) for t in range(n_steps)],
        "kl_mean_nats": float(kl.mean()) if np.isfinite(kl).all() else None,
        "drift_rms": float(np.sqrt(np.mean(np.square(np.concatenate([[s.drift for s in p.steps] for p in paths]))))),
        "drift_largest": float(np.abs(drift).max()),
        "drift_over_bound": largest,
        "accumulated": np.vstack([np.zeros(len(names)), sums]),
        "lost_mass": float(np.mean([s.lost for p in paths for s in p.steps])),
        "expected_information_bits": float(
            np.mean([s.expected_information_nats for p in paths for s in p.steps]) * NATS_TO_BITS
        ),
        "sure_paths": sum(x is not None for x in sure),
        "sure_tokens": sure,
        "sure_of": [
            names[int(p.posterior[-1].argmax())] if x is not None else None for p, x in zip(paths, sure, strict=True)
        ],
        "bands": [_band(b) for b in bands],
        "smallest_p": min(1.0, 2 * len(names) * min(min(b.rise_p, b.fall_p) for b in bands)),
    }


def _band(band: MartingaleBand) -> dict[str, Any]:
    return {
        "low": band.low,
        "high": band.high,
        "z": float(band.z_score[-1]),
        "outside": bool(band.mean[-1] < band.low[-1] - 1e-12 or band.mean[-1] > band.high[-1] + 1e-12),
        "rise_p": band.rise_p,
        "fall_p": band.fall_p,
        "level": band.level,
    }


def _coherence_sentence(found: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> str:
    own = found["without_other"]
    start, end = np.asarray(own["start"]), np.asarray(own["end"])
    most = int(np.argmax(np.abs(end - start)))
    words = [
        f"Writing on by itself for {own['n_tokens']} tokens, its belief in {_named(names[most])} goes from "
        f"{chance(start[most])} to {chance(end[most])} on average over {len(own['paths'])} continuations; "
        f"{own['sure_paths']} of them end {SURE:.0%} sure of one source."
    ]
    if own["tv_mean"] < 1e-6:
        words.append("At every step its law is the mixture of what it says when told the source: it is coherent.")
    else:
        words.append(
            f"At a step its law and the mixture of what it says when told the source differ by {chance(own['tv_mean'])} of all "
            f"probability, and belief drifts by up to {chance(own['drift_largest'])} without evidence: told nothing, the "
            "model is not this mixture of sources."
        )
    if "with_other" in found:
        beside = found["with_other"]
        words.append(
            f"With the header-free model counted as one more source (it starts with {chance(float(beside['start'][-1]))}) the "
            f"difference is {chance(beside['tv_mean'])}."
        )
    return " ".join(words)


def _held(values: Float[np.ndarray, "steps_1 sources"], n: int) -> Float[np.ndarray, "n sources"]:
    """A path that ended keeps its last posterior."""
    return np.vstack([values, np.repeat(values[-1:], n - len(values), axis=0)])


def _zero_after(values: Sequence[Float[np.ndarray, " sources"]], n: int) -> Float[np.ndarray, "n sources"]:
    table = np.stack(list(values))
    return np.vstack([table, np.zeros((n - len(table), table.shape[1]))])


def _plogp(p: Float[np.ndarray, " *any"]) -> Float[np.ndarray, " *any"]:
    return np.asarray(np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0))
