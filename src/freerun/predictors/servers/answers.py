"""What all servers' answers are held to: as many log-probabilities as tokens, of those tokens, and numbers that can be ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from freerun.predictors.observation import Observation
from freerun.predictors.servers.faults import BadAnswer

MINUS_INFINITY = -9999.0
"""What vLLM writes in place of −inf, which JSON cannot hold."""
ROUNDING_NATS = 1e-3
"""A log-probability above 0 by no more than this is rounding, and 0; further above, it is not a log-probability."""


@dataclass(frozen=True)
class Scores:
    """What a server says of some tokens; ids and ranks are −1 and top log-probabilities NaN where it says nothing."""

    token_id: Int[np.ndarray, " n"]
    log_prob_nats: Float[np.ndarray, " n"]
    rank: Int[np.ndarray, " n"]
    top_id: Int[np.ndarray, " n"]
    top_log_prob_nats: Float[np.ndarray, " n"]

    @staticmethod
    def of(rows: Sequence[TokenScore]) -> Scores:
        return Scores(
            np.array([r.token_id for r in rows], np.int32),
            np.array([r.log_prob_nats for r in rows], np.float64),
            np.array([r.rank for r in rows], np.int32),
            np.array([r.top_id for r in rows], np.int32),
            np.array([r.top_log_prob_nats for r in rows], np.float64),
        )

    def observed(self) -> Observation:
        return Observation.partial(
            self.token_id,
            self.log_prob_nats,
            rank=self.rank,
            top_id=self.top_id,
            top_log_prob_nats=self.top_log_prob_nats,
        )


@dataclass(frozen=True)
class TokenScore:
    """What a server says of one token: itself, and the most probable one where it names it."""

    token_id: int
    log_prob_nats: float
    rank: int = -1
    top_id: int = -1
    top_log_prob_nats: float = math.nan

    @staticmethod
    def beside(token_id: int, log_prob: float, top_id: int, top_log_prob: float) -> TokenScore:
        """With the most probable id; where that is the token, its rank is 1."""
        return TokenScore(token_id, log_prob, 1 if top_id == token_id else -1, top_id, top_log_prob)

    @staticmethod
    def ranked(token_id: int, log_prob: float, rank: int) -> TokenScore:
        """With its rank; where that is 1, it is the most probable id."""
        if rank == 1:
            return TokenScore(token_id, log_prob, 1, token_id, log_prob)
        return TokenScore(token_id, log_prob, rank)


@dataclass(frozen=True)
class Drawn:
    """Tokens that a server drew, its own log-probabilities of them, and whether the last one ended the text."""

    scores: Scores
    ended: bool


def field_of(value: Any, *names: str | int) -> Any:
    """What lies under some keys and places of an answer.

    Raises:
        BadAnswer: nothing there.
    """
    for name in names:
        try:
            value = value[name]
        except (KeyError, IndexError, TypeError):
            raise BadAnswer(f"the answer has no {'.'.join(map(str, names))}") from None
    return value


def list_of(value: Any, *names: str | int, length: int | None = None) -> list[Any]:
    """The list under some keys, of this length.

    Raises:
        BadAnswer: none there, or of another length.
    """
    found = field_of(value, *names)
    where = ".".join(map(str, names))
    if not isinstance(found, list):
        raise BadAnswer(f"{where} is not a list")
    if length is not None and len(found) != length:
        raise BadAnswer(f"{where} has {len(found)} entries for {length} tokens")
    return found


def log_prob_of(value: Any, where: str) -> float:
    """A log-probability as servers write it, nats; −9999 and below is −inf.

    >>> log_prob_of(-9999.0, ""), log_prob_of(2e-4, "")
    (-inf, 0.0)

    Raises:
        BadAnswer: null, NaN, above 0, or no number.
    """
    if value is None:
        raise BadAnswer(f"{where}: no log-probability")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadAnswer(f"{where}: the log-probability is not a number")
    if math.isnan(value):
        raise BadAnswer(f"{where}: the log-probability is NaN")
    if value > ROUNDING_NATS:
        raise BadAnswer(f"{where}: the log-probability is {value:g}, above 0")
    if value <= MINUS_INFINITY:
        return -math.inf
    return min(0.0, float(value))


def id_of(value: Any, where: str) -> int:
    """A token's id; also in vLLM's spelling `token_id:123`.

    Raises:
        BadAnswer: no id.
    """
    if isinstance(value, str):
        digits = value.removeprefix("token_id:")
        if digits.isascii() and digits.isdigit() and len(digits) < 10:
            return int(digits)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise BadAnswer(f"{where}: {str(value)[:20]!r} is not a token id")
    return value


def check_ids(returned: Sequence[Any], sent: Sequence[int], where: str) -> None:
    """Refuse ids that are not those that were sent.

    Raises:
        BadAnswer: the first place where they differ.
    """
    if list(returned) == list(sent):
        return
    if len(returned) != len(sent):
        raise BadAnswer(f"{where}: {len(returned)} ids came back for {len(sent)} sent")
    at = next(i for i, (a, b) in enumerate(zip(returned, sent, strict=True)) if a != b)
    raise BadAnswer(f"{where}: id {str(returned[at])[:20]} at position {at}, where {sent[at]} was sent")


def check_model(answer: Any, model: str) -> None:
    """Refuse the answer of another model.

    Raises:
        BadAnswer: the answer names another one.
    """
    named = answer.get("model") if isinstance(answer, dict) else None
    if named is not None and named != model:
        raise BadAnswer(f"the answer is of another model ({str(named)[:80]!r}, not {model!r})")


def check_read(answer: Any, n: int) -> None:
    """Refuse the answer to a prompt of another length: something was put first, or cut off.

    Raises:
        BadAnswer: the server counted other than n tokens.
    """
    usage = answer.get("usage") if isinstance(answer, dict) else None
    counted = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if counted is not None and counted != n:
        raise BadAnswer(f"the server read {str(counted)[:20]} prompt tokens where {n} ids were sent")


def check_drawn(n: int, most: int, ended: bool, last_is_end: bool) -> None:
    """Refuse a text of impossible length or end.

    Raises:
        BadAnswer: no token, too many, too few without an end, or an end that is none.
    """
    if not 1 <= n <= most:
        raise BadAnswer(f"{n} tokens were drawn where 1 to {most} were asked for")
    if ended and not last_is_end:
        raise BadAnswer("the text ended, and its last token is not one that ends texts")
    if not ended and n < most:
        raise BadAnswer(f"only {n} of {most} tokens were drawn, and the text did not end")
