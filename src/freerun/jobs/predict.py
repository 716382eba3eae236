"""The next-token laws of one text, token by token, as a value for the terminal, the page and JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from freerun.counted import counted
from freerun.errors import BackendError, UsageError
from freerun.predictors.base import Predictor
from freerun.predictors.law import Law
from freerun.predictors.stepwise import as_stepwise
from freerun.results.predict import (
    NextLaw,
    PredictedContext,
    PredictedModel,
    PredictedToken,
    PredictResult,
    ProbableToken,
    SpelledToken,
    TextSum,
)
from freerun.results.verdict import NextStep, Point, three_points

SCHEMA_VERSION = 1


def predict(
    predictor: Predictor, text: str, *, top: int = 5, on_tokens: Callable[[int], None] = lambda _: None
) -> PredictResult:
    """What the predictor expected at every token of `text`, and what it expects after the last one.

    `top` is how many of the most probable tokens of each law are kept; `on_tokens` hears of every token that is done.

    Raises:
        UsageError: nothing to predict, `top` below 1, a text that is not Unicode, a backend without laws of single tokens.
        BackendError: the model is broken, or its tokenizer makes ids that it has no law for.
    """
    if top < 1:
        raise UsageError(f"--top must be at least 1, not {top}")
    name = predictor.identity.name
    predictor = as_stepwise(predictor, "predict")
    data = _utf8(text)
    ids = np.asarray(list(predictor.encode(text)), np.int64)
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < predictor.n_tokens:
        raise BackendError(
            f"the tokenizer of {name} makes id {int(ids.max())}, its law knows only {predictor.n_tokens} ids"
        )
    if not ids.size and not predictor.has_first_law:
        what = "the tokenizer makes no token of the text" if text else "the text is empty"
        raise UsageError(
            f"{what}, and {name} has no law before the first token (nothing is put first): give it at least one word"
        )

    n_given = 0 if predictor.has_first_law else 1
    tokens = [PredictedToken(position=0, given=True, **_spelled(predictor, int(i))) for i in ids[:n_given]]
    state = predictor.start([ids[:n_given]])
    for position in range(n_given, len(ids)):
        one = ids[position : position + 1]
        tokens.append(_observed(predictor, predictor.law(state), position, one, top))
        state = predictor.advance(state, one)
        on_tokens(1)
    model, total = _model(predictor), _sum(predictor, tokens, _bytes_read(predictor, text, ids, n_given))
    return PredictResult(
        schema_version=SCHEMA_VERSION,
        kind="predict",
        model=model,
        text=text,
        context=_context(predictor, len(ids)),
        tokens=tuple(tokens),
        next=_next(predictor, predictor.law(state), len(ids), top),
        sum=total,
        notes=tuple(_notes(predictor, ids, data, tokens)),
        points=_points(model.name, total, tokens),
        next_step=NextStep("Measure it on many texts, with intervals", f"freerun audit {model.name} CORPUS"),
    )


def _points(model: str, total: TextSum, tokens: Sequence[PredictedToken]) -> tuple[Point, ...]:
    """What was measured, what came out and how sure that is."""
    measured = (
        f"{model} read {counted(total.n_tokens, 'token')} of text (a token is a word or a part of one). Before each "
        "it says how probable every "
        "token is; the surprisal of the one that came is −ln of its probability, in nats. The loss is the mean surprisal."
    )
    if not total.n_scored:
        return three_points(measured, "", "")
    least = max((t for t in tokens if t.log_prob_nats is not None), key=lambda t: -(t.log_prob_nats or 0.0))
    expected = total.entropy_nats_per_token
    own = "" if expected is None else f" It expected a loss of {expected:.2f} itself."
    came_out = (
        f"Loss {total.nats_per_token:.2f} nats a token.{own} What it expected least: "
        f"“{(least.text or least.token or '').strip()}”."
    )
    return three_points(measured, came_out, "Exact for this text and this model; one text says nothing of others.")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the text is not Unicode: character {error.start} is half a surrogate pair, or a byte that is not UTF-8; "
            "put the text into a file and give @FILE"
        ) from None


# ---- one token -------------------------------------------------------------------------------------------------------


def spelled_tokens(predictor: Predictor, ids: Int[np.ndarray, " tokens"]) -> tuple[SpelledToken, ...]:
    """Each token as text."""
    return tuple(SpelledToken(**_spelled(predictor, int(i))) for i in ids)


def _spelled(predictor: Predictor, token_id: int) -> dict[str, Any]:
    """The fields of `SpelledToken`."""
    data = predictor.token_bytes(token_id)
    entry: dict[str, Any] = {"id": token_id, "text": data.decode("utf-8", errors="replace")}
    if entry["text"].encode() != data:
        entry["bytes_hex"] = data.hex()
    if not data:
        entry["marker"] = "end_of_text" if token_id in predictor.end_ids else "special"
        entry["token"] = predictor.markers.spelling(token_id)
    return entry


def _observed(
    predictor: Predictor, law: Law, position: int, token_id: Int[np.ndarray, " 1"], top: int
) -> PredictedToken:
    seen = law.observe(token_id)
    log_prob = float(seen.log_prob_nats[0])
    impossible = log_prob == -math.inf
    return PredictedToken(
        position=position,
        **_spelled(predictor, int(token_id[0])),
        impossible=impossible,
        log_prob_nats=_finite(log_prob),
        surprisal_bits=None if impossible else _finite(0.0 - log_prob / math.log(2)),
        rank=int(seen.rank[0]),
        entropy_nats=_finite(float(seen.entropy_nats[0])),
        top=probable_tokens(predictor, law, top),
    )


def probable_tokens(predictor: Predictor, law: Law, top: int) -> tuple[ProbableToken, ...]:
    """The most probable tokens, ties by id; impossible ones are left out."""
    ids, log_probs = law.top(top)
    ranked = sorted(
        ((float(p), int(i)) for i, p in zip(ids[0], log_probs[0], strict=True) if math.isfinite(p)),
        key=lambda x: (-x[0], x[1]),
    )
    return tuple(ProbableToken(**_spelled(predictor, i), log_prob_nats=p + 0.0) for p, i in ranked)


def _next(predictor: Predictor, law: Law, position: int, top: int) -> NextLaw:
    ends = predictor.end_ids
    end_probability = _finite(float(law.mass(ends)[0])) if ends else None
    return NextLaw(position, _finite(float(law.entropy()[0])), end_probability, probable_tokens(predictor, law, top))


def _finite(x: float) -> float | None:
    return x + 0.0 if math.isfinite(x) else None


# ---- the whole text --------------------------------------------------------------------------------------------------


def _model(predictor: Predictor) -> PredictedModel:
    identity = predictor.identity
    return PredictedModel(
        identity.name, identity.fingerprint, identity.nature.describe(), identity.licence, predictor.n_tokens
    )


def _context(predictor: Predictor, n_tokens: int) -> PredictedContext:
    rule = predictor.context
    longer = rule.window is not None and n_tokens > rule.window
    return PredictedContext(rule.describe(), rule.window, rule.lead, longer)


def _bytes_read(predictor: Predictor, text: str, ids: Int[np.ndarray, " tokens"], n_given: int) -> int | None:
    """Bytes of the text that the tokens after the given ones were made from, where those spell something else."""
    if not _changed(predictor, ids, text.encode()):
        return None
    ends = predictor.token_ends(text)
    return None if ends is None else len(text[ends[n_given - 1] if n_given else 0 :].encode())


def _changed(predictor: Predictor, ids: Int[np.ndarray, " tokens"], data: bytes) -> bool:
    return b"".join(predictor.token_bytes(int(i)) for i in ids) != data


def _sum(predictor: Predictor, tokens: Sequence[PredictedToken], bytes_read: int | None) -> TextSum:
    scored = [t for t in tokens if t.log_prob_nats is not None]
    n_bytes = sum(len(predictor.token_bytes(t.id)) for t in scored)
    n_impossible = sum(t.impossible for t in tokens)
    over = n_bytes if bytes_read is None or n_impossible else bytes_read
    nats = 0.0 - math.fsum(t.log_prob_nats or 0.0 for t in scored) if scored else None
    per_token = nats / len(scored) if nats is not None else None
    entropies = [t.entropy_nats for t in scored if t.entropy_nats is not None]
    return TextSum(
        n_tokens=len(tokens),
        n_scored=len(scored),
        n_given=sum(t.given for t in tokens),
        n_impossible=n_impossible,
        n_bytes_scored=n_bytes,
        n_bytes_of_text=over,
        nats=nats,
        nats_per_token=per_token,
        bits_per_byte=nats / math.log(2) / over if nats is not None and over else None,
        perplexity=math.exp(per_token) if per_token is not None and per_token < 700 else None,
        entropy_nats_per_token=math.fsum(entropies) / len(scored) if scored and len(entropies) == len(scored) else None,
    )


def _notes(
    predictor: Predictor, ids: Int[np.ndarray, " tokens"], data: bytes, tokens: Sequence[PredictedToken]
) -> list[str]:
    """Everything that a reader of the numbers must know; nothing that does not apply."""
    notes = []
    rule, n_impossible = predictor.context, sum(t.impossible for t in tokens)
    if any(t.given for t in tokens):
        notes.append("The first token is given, not scored: nothing is put first, so there is no law before it.")
    if n_impossible:
        notes.append(
            f"Impossible under the law: {counted(n_impossible, 'token')}, left out of the sums; counted in, the loss is infinite."
        )
    if rule.window is not None and len(ids) > rule.window:
        notes.append(
            f"The text has {counted(len(ids), 'token')}, more than the window of {rule.window:,}. Context rule: {rule.describe()}. "
            f"Laws after token {rule.window:,} see the last {rule.window // 2 + 1:,} to {rule.window:,} tokens only."
        )
    if _changed(predictor, ids, data):
        over = (
            "the scored tokens" if n_impossible or predictor.token_ends("a") is None else "the text, not of its tokens"
        )
        notes.append(
            "The tokens do not spell the text byte for byte: the tokenizer changes it, or reads a part of it as a special token. "
            f"Bits/byte counts the bytes of {over}."
        )
    if predictor.identity.nature.tuned:
        notes.append("An instruct model, fed raw text: the chat template is off.")
    return notes
