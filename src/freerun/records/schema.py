"""The record tables: one row a sequence, one row a token, with units in the names. What the two halves of freerun share."""

from __future__ import annotations

from typing import Any, Literal

import pyarrow as pa

SCHEMA_VERSION = 4
READABLE_VERSIONS = (1, 2, 3, 4)
"""What a report can still be derived from. Version 1 has neither `embedding` nor `without_prefix_log_prob_nats`; versions 1 and 2
have no text that was scored again (`fresh_…`), versions 1 to 3 neither `mass_above` nor `fresh_repeat…`."""
LATER = frozenset(
    (
        "embedding",
        "without_prefix_log_prob_nats",
        "fresh_log_prob_nats",
        "fresh_cdf_below",
        "fresh_cdf_upto",
        "mass_above",
        "fresh_repeat_mass",
        "fresh_repeats",
    )
)
"""Columns that an older version lacks."""

ArmName = Literal["real", "free", "tempered"]
ARMS: tuple[ArmName, ...] = ("real", "free", "tempered")
"""real: the document's own continuation, teacher-forced. free: sampled from the law under audit. tempered: the positive control,
sampled at another temperature."""


_TEXT, _WHOLE, _REAL, _NARROW = pa.string(), pa.int32(), pa.float64(), pa.float32()


def _known(name: str, kind: Any, meaning: str) -> pa.Field:
    return pa.field(name, kind, nullable=False, metadata={"meaning": meaning})


def _maybe(name: str, kind: Any, meaning: str) -> pa.Field:
    """A column with nulls."""
    return pa.field(name, kind, nullable=True, metadata={"meaning": meaning})


def tokens_schema(*, n_powers: int, n_references: int) -> pa.Schema:
    """Schema of `tokens/*.parquet`."""
    return pa.schema(
        [
            _known("sequence", _WHOLE, "number of the sequence in this run"),
            _known("position", _WHOLE, "0-based, counted from the cut"),
            _known("token_id", _WHOLE, "id in the model's vocabulary"),
            _known("n_bytes", _WHOLE, "bytes of text that the token stands for"),
            _maybe("log_prob_nats", _REAL, "under the model's law; null: the law gives it no mass"),
            _maybe("sample_log_prob_nats", _REAL, "under the law that was sampled, if another"),
            _maybe("entropy_nats", _REAL, "of the model's law; null: not fully known"),
            _maybe("varentropy_nats2", _REAL, "variance of -ln q under q"),
            _maybe("rank", _WHOLE, "1 + number of ids strictly more probable; null: not known"),
            _maybe("top_id", _WHOLE, "most probable id; null: not known"),
            _maybe("top_log_prob_nats", _NARROW, "its log-probability; null: not known"),
            _maybe("cdf_below", _REAL, "mass on smaller ids (PIT); null: not known"),
            _maybe(
                "mass_above",
                _REAL,
                "mass on more probable ids, and on smaller ones as probable as it (PIT in rank order); null: not known",
            ),
            _maybe("uniform", _REAL, "the uniform that drew the token; null: teacher-forced"),
            _known("log_power_sum", pa.list_(_NARROW, n_powers), "ln of the sum of q^(1-lambda), one per lambda"),
            _maybe("loop_mass", _NARROW, "mass on ids that would complete a loop here; null: not known"),
            _known(
                "reference_log_probs_nats",
                pa.list_(_REAL, n_references),
                "under each reference component; null: no mass",
            ),
            _maybe(
                "without_prefix_log_prob_nats",
                _REAL,
                "real arm, context starts at the cut; -inf: no mass; null: not measured, or no law before the first token",
            ),
            _maybe(
                "fresh_log_prob_nats",
                _REAL,
                "under the model's law by a fresh pass that shares nothing with the sampler; -inf: no mass; null: not scored again",
            ),
            _maybe("fresh_cdf_below", _REAL, "by that pass: mass on smaller ids, F(< id)"),
            _maybe("fresh_cdf_upto", _REAL, "by that pass: F(<= id), the token's own mass included"),
            _maybe(
                "fresh_repeat_mass",
                _REAL,
                "by that pass: mass on ids that stand in the context already; null: not scored again, or real",
            ),
            _maybe("fresh_repeats", _REAL, "1 if the token is one of those ids, else 0"),
        ]
    )


def sequences_schema(*, n_bins: int, n_hidden: int = 0) -> pa.Schema:
    """Schema of `sequences/*.parquet`; `n_hidden` is the width of the model's hidden states, 0 where it shows none."""
    return pa.schema(
        [
            _known("sequence", _WHOLE, "number of the sequence in this run"),
            _known("document_id", _TEXT, "which document was cut"),
            _known("unit", _TEXT, "the independent unit that it belongs to"),
            _known("split", _TEXT, "train or test"),
            _known("arm", _TEXT, "real, free or tempered"),
            _known("replicate", _WHOLE, "which continuation of the prefix"),
            _known("key", pa.uint64(), "counter key of its draws; 0 where teacher-forced"),
            _known("prefix_ids", pa.list_(_WHOLE), "ids before the cut"),
            _known("prefix_text", _TEXT, "their text"),
            _known("text", _TEXT, "text of the continuation"),
            _known("n_tokens", _WHOLE, "tokens recorded"),
            _known("n_bytes", _WHOLE, "their bytes"),
            _known("end_reason", _TEXT, "length, end_of_text, or failed: why"),
            _known("canonical_share", _NARROW, "share of its tokens that re-encoding its text gives back"),
            _known("observed_counts", pa.list_(_WHOLE, n_bins), "tokens by log-probability bin"),
            _known("expected_counts", pa.list_(_REAL, n_bins), "mass by log-probability bin, summed over positions"),
            _maybe(
                "embedding",
                pa.list_(_NARROW, n_hidden) if n_hidden else pa.null(),
                "mean of the last hidden states (after the final norm) that predicted its tokens; null: the model shows none",
            ),
        ]
    )


def sources_schema() -> pa.Schema:
    """Schema of `sources/*.parquet`, which is there where sources were asked for (`--sources`)."""
    return pa.schema(
        [
            _known("sequence", _WHOLE, "number of the sequence in this run"),
            _known("value", _TEXT, "the source that the header names; other: no header"),
            _known("template", _WHOLE, "number of the header's wording"),
            _maybe(
                "prefix_log_prob_nats", _REAL, "of all tokens before the cut together, after the header; null: no mass"
            ),
            _known(
                "log_probs_nats",
                pa.list_(_REAL),
                "of each token from the cut on, after header and prefix; null: no mass",
            ),
        ]
    )


def unlike(schema: pa.Schema, wanted: pa.Schema) -> str | None:
    """Which column is not there, of another type, or with nulls where there can be none; None: all are as they must be.

    What an older version lacks may be missing.
    """
    for field in wanted:
        index = schema.get_field_index(field.name)
        if index < 0 and field.name not in LATER:
            return f"column {field.name} is missing"
        if index < 0 or field.name == "embedding":
            continue
        own = schema.field(index)
        if not _alike(own.type, field.type) or own.nullable > field.nullable:
            return f"column {field.name} is {own.type}, not {field.type}"
    return None


def _alike(own: pa.DataType, wanted: pa.DataType) -> bool:
    if isinstance(wanted, (pa.FixedSizeListType, pa.ListType)):
        return type(own) is type(wanted) and bool(own.value_type == wanted.value_type)
    return bool(own == wanted)


def stamped(schema: pa.Schema, *, unit_key: str, plan_hash: str) -> pa.Schema:
    """The schema with what a part must say of itself."""
    return schema.with_metadata(
        {"schema_version": str(SCHEMA_VERSION), "unit_key": unit_key, "plan_hash": plan_hash, "logarithms": "natural"}
    )
