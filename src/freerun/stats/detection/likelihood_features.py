"""What a detector sees of a text: statistics of the model's laws along its first tokens."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from freerun.errors import DataError

MAX_SURPRISAL_NATS = 60.0
_LONGEST_PERIOD = 64
_MIN_SLOPE_TOKENS = 4
_MIN_ZLIB_TOKENS = 16
_MIN_VARIANCE_NATS2 = 1e-3


@dataclass(frozen=True)
class Stops:
    """Where texts of their own length stop: after so many tokens, by an end of text (which is the last of them) or cut off."""

    n_tokens: Int[np.ndarray, " sequences"]
    ended: Bool[np.ndarray, " sequences"]


@dataclass(frozen=True)
class TokenColumns:
    """Columns of the first tokens of many texts, one row per text. Ranks count from 1; log-probs and entropies are
    nats.

    `varentropy` is sum q ln^2 q - H^2 in nats squared. `entropy`, `varentropy` and `rank` are None where whole laws are not known,
    `reference_log_prob` may be None or hold NaN. `stops` is None where every text fills its row; else what stands in a row beyond
    its text is not read.
    """

    log_prob: Float[np.ndarray, "sequences tokens"]
    entropy: Float[np.ndarray, "sequences tokens"] | None
    varentropy: Float[np.ndarray, "sequences tokens"] | None
    rank: Int[np.ndarray, "sequences tokens"] | None
    ids: Int[np.ndarray, "sequences tokens"]
    reference_log_prob: Float[np.ndarray, "sequences tokens"] | None = None
    stops: Stops | None = None

    def among(self, rows: Int[np.ndarray, " taken"]) -> TokenColumns:
        """Some of the texts, as if they filled their rows."""
        columns = (self.log_prob, self.entropy, self.varentropy, self.rank, self.ids, self.reference_log_prob)
        return TokenColumns(*(None if c is None else c[rows] for c in columns))  # type: ignore[arg-type]


def likelihood_features(
    tokens: TokenColumns, *, length: int
) -> tuple[Float[np.ndarray, "sequences d"], tuple[str, ...]]:
    """Return features of the first `length` tokens of every text, and their names.

    All features are finite: surprisals above 60 nats (impossible tokens among them) count as 60. Left out are features of
    columns that are None, the reference feature where any of its values is NaN, and compression below 16 tokens; so names
    depend on the columns, and two kinds of text may be compared only on equal names.

    Texts of their own length are stopped at `length` or at their end, whichever comes first; how long they are then, and whether
    they have ended, are two features more.

    Raises DataError for texts shorter than `length`, columns of different shapes, or NaN in any but the reference.
    """
    _check(tokens, length)
    if tokens.stops is None:
        columns = _features(tokens, length, compressed=length >= _MIN_ZLIB_TOKENS)
    else:
        columns = _stopped_features(tokens, tokens.stops, length)
    return np.stack(list(columns.values()), axis=1), tuple(columns)


def length_features(stops: Stops, *, length: int) -> Float[np.ndarray, "sequences 2"]:
    """Return all that a text's length tells who reads at most `length` tokens: ln of the tokens read, and whether it has ended."""
    return np.stack(list(_length_columns(stops, length).values()), axis=1)


def _length_columns(stops: Stops, length: int) -> dict[str, Float[np.ndarray, " sequences"]]:
    reach = np.minimum(stops.n_tokens, length)
    return {"log_tokens": np.log(reach), "ended": (stops.ended & (stops.n_tokens <= length)).astype(np.float64)}


def _stopped_features(tokens: TokenColumns, stops: Stops, length: int) -> dict[str, Float[np.ndarray, " sequences"]]:
    """Every text by as many of its tokens as there are, texts of one length at a time."""
    reach = np.minimum(stops.n_tokens, length)
    whole: dict[str, Float[np.ndarray, " sequences"]] = {}
    for n in np.unique(reach).tolist():
        rows = np.flatnonzero(reach == n)
        for name, values in _features(tokens.among(rows), n, compressed=length >= _MIN_ZLIB_TOKENS).items():
            whole.setdefault(name, np.full(reach.size, np.nan))[rows] = values
    known = {name: values for name, values in whole.items() if not np.isnan(values).any()}
    return known | _length_columns(stops, length)


def _features(tokens: TokenColumns, length: int, *, compressed: bool) -> dict[str, Float[np.ndarray, " sequences"]]:
    log_prob = np.maximum(tokens.log_prob[:, :length].astype(np.float64), -MAX_SURPRISAL_NATS)
    ids = np.ascontiguousarray(tokens.ids[:, :length])
    surprisal = -log_prob
    columns = {"surprisal_mean": surprisal.mean(axis=1), "surprisal_sd": surprisal.std(axis=1)}
    if tokens.entropy is not None and tokens.varentropy is not None:
        entropy = tokens.entropy[:, :length].astype(np.float64)
        excess = surprisal - entropy
        variance = tokens.varentropy[:, :length].astype(np.float64).sum(axis=1)
        known = variance > _MIN_VARIANCE_NATS2
        columns |= {
            "entropy_mean": entropy.mean(axis=1),
            "entropy_sd": entropy.std(axis=1),
            "excess_mean": excess.mean(axis=1),
            "self_z": np.where(known, excess.sum(axis=1) / np.sqrt(np.where(known, variance, 1.0)), 0.0),
        }
    if tokens.rank is not None:
        rank = tokens.rank[:, :length].astype(np.float64)
        columns |= {
            "log_rank_mean": np.log(rank).mean(axis=1),
            "top1_share": (rank == 1).mean(axis=1),
            "rank_over_100_share": (rank > 100).mean(axis=1),
        }
    columns["prob_under_0.001_share"] = (log_prob < np.log(0.001)).mean(axis=1)
    columns["surprisal_slope"] = _slope(surprisal)
    if tokens.entropy is not None:
        columns["entropy_slope"] = _slope(tokens.entropy[:, :length].astype(np.float64))
    columns |= {
        "distinct_1": _distinct(ids) / length,
        "rep_2": _rep_2(ids),
        "lag_run_share": _longest_lag_run(ids) / length,
    }
    reference = tokens.reference_log_prob
    if reference is not None and not np.isnan(reference[:, :length]).any():
        gain = np.maximum(reference[:, :length].astype(np.float64), -MAX_SURPRISAL_NATS) - log_prob
        columns["reference_gain_mean"] = gain.mean(axis=1)
    if compressed:
        columns["zlib_bytes_per_token"] = _compressed_bytes(ids) / length
    return columns


def _slope(values: Float[np.ndarray, "sequences tokens"]) -> Float[np.ndarray, " sequences"]:
    """Return the least-squares slope against ln position (from 1); 0 for fewer than 4 tokens."""
    n = values.shape[1]
    if n < _MIN_SLOPE_TOKENS:
        return np.zeros(values.shape[0])
    place = np.log(np.arange(1, n + 1))
    place -= place.mean()
    return np.asarray(values @ place / (place @ place))


def _distinct(codes: Int[np.ndarray, "sequences tokens"]) -> Int[np.ndarray, " sequences"]:
    ordered = np.sort(codes, axis=1)
    return np.asarray(1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1))


def _rep_2(ids: Int[np.ndarray, "sequences tokens"]) -> Float[np.ndarray, " sequences"]:
    """Return the share of bigrams that repeat an earlier one; one token has no bigram and so none that repeats."""
    if ids.shape[1] < 2:
        return np.zeros(ids.shape[0])
    wide = ids.astype(np.int64)
    pairs = wide[:, :-1] * (int(wide.max()) + 1) + wide[:, 1:]
    return np.asarray(1.0 - _distinct(pairs) / pairs.shape[1])


def _longest_lag_run(ids: Int[np.ndarray, "sequences tokens"]) -> Int[np.ndarray, " sequences"]:
    """Return the longest run of tokens that equal those p before them, over periods p <= 64."""
    n = ids.shape[1]
    longest = np.zeros(ids.shape[0], dtype=np.int64)
    place = np.arange(n, dtype=np.int32)
    for period in range(1, min(_LONGEST_PERIOD, n - 1) + 1):
        same = ids[:, period:] == ids[:, :-period]
        rows = np.flatnonzero(same.any(axis=1))
        same = same[rows]
        last_break = np.maximum.accumulate(np.where(same, np.int32(-1), place[: n - period]), axis=1)
        longest[rows] = np.maximum(longest[rows], (place[: n - period] - last_break).max(axis=1))
    return longest


def _compressed_bytes(ids: Int[np.ndarray, "sequences tokens"]) -> Float[np.ndarray, " sequences"]:
    return np.array([len(zlib.compress(row.tobytes())) for row in ids.astype("<i4")], dtype=np.float64)


def _check(tokens: TokenColumns, length: int) -> None:
    shape = tokens.log_prob.shape
    given = (tokens.log_prob, tokens.entropy, tokens.varentropy, tokens.rank, tokens.ids, tokens.reference_log_prob)
    columns = [column for column in given if column is not None]
    if len(shape) != 2 or any(column.shape != shape for column in columns):
        raise DataError(f"columns have shapes {[column.shape for column in columns]}; all must be sequences x tokens")
    if not 1 <= length <= shape[1]:
        raise DataError(f"length is {length}; these texts have 1 to {shape[1]} tokens")
    for name in ("log_prob", "entropy", "varentropy"):
        column = getattr(tokens, name)
        if column is None:
            continue
        column = column[:, :length]
        if np.isnan(column).any() or np.isposinf(column).any():
            raise DataError(f"{name} holds NaN or infinity; features need the whole law of every token")
    if tokens.rank is not None and (tokens.rank[:, :length] < 1).any():
        raise DataError("rank holds values below 1; ranks count from 1")
