"""From finished sequences to the rows of the two record tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from freerun.predictors.base import Predictor, Sample
from freerun.predictors.observation import N_BINS, POWERS, Observation
from freerun.predictors.reference import Reference
from freerun.records.rescoring import Fresh
from freerun.records.schema import ArmName, sequences_schema, tokens_schema
from freerun.text.pairs import Pair
from freerun.text.tokens import byte_lengths, canonical_share, decode_lossy


@dataclass(frozen=True)
class Finished:
    """One sequence on its way into the tables."""

    number: int
    pair: int
    arm: ArmName
    replicate: int
    key: int
    sample: Sample
    """What was drawn, or of a real text what the model says of it."""
    fresh: Fresh | None = None
    """What a second, fresh pass says of it, where it was scored again."""

    @property
    def observation(self) -> Observation:
        return self.sample.observation


def tables(
    predictor: Predictor,
    block: Sequence[Pair],
    done: Sequence[Finished],
    reference: Reference,
    without_prefix: Sequence[Float[np.ndarray, " tokens"]] | None,
    encoder: Callable[[Sequence[str]], Float[np.ndarray, "texts width"]] | None,
    width: int,
) -> tuple[pa.Table, pa.Table]:
    """Sequence and token rows of one unit; other models read at most `width` rows at once."""
    first = len(block[0].prefix)
    whole = [np.concatenate([block[d.pair].prefix, d.observation.token_id]).astype(np.int64) for d in done]
    units = [block[d.pair].unit for d in done]
    parts = [slice(start, start + width) for start in range(0, len(done), width)]
    against = [one for part in parts for one in reference.log_probs(units[part], whole[part], first=first)]
    sequences = [_sequence_row(predictor, block[d.pair], d) for d in done]
    seen = Observation.concatenate([d.observation for d in done])
    lengths = np.array([len(d.observation.token_id) for d in done])
    flat_reference = np.concatenate(against) if against else np.zeros((0, len(reference.names)))

    def each(column: Callable[[Finished], Float[np.ndarray, " tokens"] | None]) -> pa.Array:
        """A column that not all sequences have."""
        parts = ((column(d), n) for d, n in zip(done, lengths, strict=True))
        return _known(np.concatenate([np.full(n, np.nan) if own is None else own for own, n in parts]))

    columns: dict[str, Any] = {
        "sequence": np.repeat([d.number for d in done], lengths).astype(np.int32),
        "position": np.concatenate([np.arange(n) for n in lengths]).astype(np.int32),
        "token_id": seen.token_id,
        "n_bytes": byte_lengths(predictor.token_bytes, seen.token_id),
        "log_prob_nats": pa.array(seen.log_prob_nats, mask=~np.isfinite(seen.log_prob_nats)),
        "sample_log_prob_nats": each(lambda d: d.sample.sample_log_prob_nats),
        "entropy_nats": _known(seen.entropy_nats),
        "varentropy_nats2": _known(seen.varentropy_nats2),
        "rank": pa.array(seen.rank, mask=seen.rank < 0),
        "top_id": pa.array(seen.top_id, mask=seen.top_id < 0),
        "top_log_prob_nats": _known(seen.top_log_prob_nats.astype(np.float32)),
        "cdf_below": _known(seen.cdf_below),
        "mass_above": _known(seen.mass_above),
        "uniform": each(lambda d: d.sample.uniform),
        "log_power_sum": _fixed(seen.log_power_sum.astype(np.float32), null=np.isnan(seen.log_power_sum)),
        "loop_mass": _known(seen.loop_mass.astype(np.float32)),
        "reference_log_probs_nats": _fixed(flat_reference, null=~np.isfinite(flat_reference)),
        "without_prefix_log_prob_nats": _known(
            np.full(len(seen.token_id), np.nan) if without_prefix is None else np.concatenate(without_prefix)
        ),
        "fresh_log_prob_nats": each(lambda d: d.fresh.log_prob_nats if d.fresh else None),
        "fresh_cdf_below": each(lambda d: d.fresh.cdf_below if d.fresh else None),
        "fresh_cdf_upto": each(lambda d: d.fresh.cdf_upto if d.fresh else None),
        "fresh_repeat_mass": each(lambda d: d.fresh.repeat_mass if d.fresh else None),
        "fresh_repeats": each(lambda d: d.fresh.repeats if d.fresh else None),
    }
    schema = tokens_schema(n_powers=len(POWERS), n_references=len(reference.names))
    tokens = pa.table({f.name: pa.array(columns[f.name]).cast(f.type) for f in schema}, schema=schema)
    if encoder is not None:
        texts = [str(row["text"]) for row in sequences]
        for row, vector in zip(sequences, (v for part in parts for v in encoder(texts[part])), strict=True):
            row["embedding"] = vector
    width = next((len(row["embedding"]) for row in sequences if row["embedding"] is not None), 0)
    return pa.Table.from_pylist(sequences, schema=sequences_schema(n_bins=N_BINS, n_hidden=width)), tokens


def _sequence_row(predictor: Predictor, pair: Pair, done: Finished) -> dict[str, Any]:
    ids = [int(i) for i in done.observation.token_id]
    spoken = ids[:-1] if done.sample.end_reason == "end_of_text" else ids
    return {
        "sequence": done.number,
        "document_id": pair.document_id,
        "unit": pair.unit,
        "split": pair.split,
        "arm": done.arm,
        "replicate": done.replicate,
        "key": done.key,
        "prefix_ids": [int(i) for i in pair.prefix],
        "prefix_text": decode_lossy(predictor.token_bytes, pair.prefix),
        "text": decode_lossy(predictor.token_bytes, ids),
        "n_tokens": len(ids),
        "n_bytes": int(byte_lengths(predictor.token_bytes, done.observation.token_id).sum()),
        "end_reason": done.sample.end_reason,
        "canonical_share": canonical_share(
            predictor.encode, lambda some: decode_lossy(predictor.token_bytes, some), spoken
        ),
        "observed_counts": np.bincount(done.observation.observed_bin, minlength=N_BINS).tolist(),
        "expected_counts": [None if np.isnan(x) else x for x in done.observation.expected_counts.sum(0).tolist()],
        "embedding": done.sample.embedding,
    }


def _known(values: Float[np.ndarray, " n"]) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _fixed(table: Float[np.ndarray, "n k"], null: Bool[np.ndarray, "n k"]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(table.ravel(), mask=null.ravel()), table.shape[1])
