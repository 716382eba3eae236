"""The record tables: one row a sequence, one row a token, with units in the names. What the two halves of freerun share."""

from __future__ import annotations

from typing import Any

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

ARMS = ("real", "free", "tempered")
"""real: the document's own continuation, teacher-forced. free: sampled from the law under audit. tempered: the positive control,
sampled at another temperature."""


def _field(name: str, kind: Any, meaning: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning})


def tokens_schema(*, n_powers: int, n_references: int) -> pa.Schema:
    """Schema of `tokens/*.parquet`."""
    return pa.schema(
        [
            _field("sequence", pa.int32(), "number of the sequence in this run"),
            _field("position", pa.int32(), "0-based, counted from the cut"),
            _field("token_id", pa.int32(), "id in the model's vocabulary"),
            _field("n_bytes", pa.int32(), "bytes of text that the token stands for"),
            _field(
                "log_prob_nats", pa.float64(), "under the model's law; null: the law gives it no mass", nullable=True
            ),
            _field("sample_log_prob_nats", pa.float64(), "under the law that was sampled, if another", nullable=True),
            _field("entropy_nats", pa.float64(), "of the model's law; null: not fully known", nullable=True),
            _field("varentropy_nats2", pa.float64(), "variance of -ln q under q", nullable=True),
            _field("rank", pa.int32(), "1 + number of ids strictly more probable; null: not known", nullable=True),
            _field("top_id", pa.int32(), "most probable id; null: not known", nullable=True),
            _field("top_log_prob_nats", pa.float32(), "its log-probability; null: not known", nullable=True),
            _field("cdf_below", pa.float64(), "mass on smaller ids (PIT); null: not known", nullable=True),
            _field(
                "mass_above",
                pa.float64(),
                "mass on more probable ids, and on smaller ones as probable as it (PIT in rank order); null: not known",
                nullable=True,
            ),
            _field("uniform", pa.float64(), "the uniform that drew the token; null: teacher-forced", nullable=True),
            _field("log_power_sum", pa.list_(pa.float32(), n_powers), "ln of the sum of q^(1-lambda), one per lambda"),
            _field(
                "loop_mass", pa.float32(), "mass on ids that would complete a loop here; null: not known", nullable=True
            ),
            _field(
                "reference_log_probs_nats",
                pa.list_(pa.field("item", pa.float64(), nullable=True), n_references),
                "under each reference component; null: no mass",
            ),
            _field(
                "without_prefix_log_prob_nats",
                pa.float64(),
                "real arm, context starts at the cut; -inf: no mass; null: not measured, or no law before the first token",
                nullable=True,
            ),
            _field(
                "fresh_log_prob_nats",
                pa.float64(),
                "under the model's law by a fresh pass that shares nothing with the sampler; -inf: no mass; null: not scored again",
                nullable=True,
            ),
            _field("fresh_cdf_below", pa.float64(), "by that pass: mass on smaller ids, F(< id)", nullable=True),
            _field(
                "fresh_cdf_upto", pa.float64(), "by that pass: F(<= id), the token's own mass included", nullable=True
            ),
            _field(
                "fresh_repeat_mass",
                pa.float64(),
                "by that pass: mass on ids that stand in the context already; null: not scored again, or real",
                nullable=True,
            ),
            _field("fresh_repeats", pa.float64(), "1 if the token is one of those ids, else 0", nullable=True),
        ]
    )


def sequences_schema(*, n_bins: int, n_hidden: int = 0) -> pa.Schema:
    """Schema of `sequences/*.parquet`; `n_hidden` is the width of the model's hidden states, 0 where it shows none."""
    return pa.schema(
        [
            _field("sequence", pa.int32(), "number of the sequence in this run"),
            _field("document_id", pa.string(), "which document was cut"),
            _field("unit", pa.string(), "the independent unit that it belongs to"),
            _field("split", pa.string(), "train or test"),
            _field("arm", pa.string(), "real, free or tempered"),
            _field("replicate", pa.int32(), "which continuation of the prefix"),
            _field("key", pa.uint64(), "counter key of its draws; 0 where teacher-forced"),
            _field("prefix_ids", pa.list_(pa.int32()), "ids before the cut"),
            _field("prefix_text", pa.string(), "their text"),
            _field("text", pa.string(), "text of the continuation"),
            _field("n_tokens", pa.int32(), "tokens recorded"),
            _field("n_bytes", pa.int32(), "their bytes"),
            _field("end_reason", pa.string(), "length, end_of_text, or failed: why"),
            _field("canonical_share", pa.float32(), "share of its tokens that re-encoding its text gives back"),
            _field("observed_counts", pa.list_(pa.int32(), n_bins), "tokens by log-probability bin"),
            _field(
                "expected_counts", pa.list_(pa.float64(), n_bins), "mass by log-probability bin, summed over positions"
            ),
            _field(
                "embedding",
                pa.list_(pa.float32(), n_hidden) if n_hidden else pa.null(),
                "mean of the last hidden states (after the final norm) that predicted its tokens; null: the model shows none",
                nullable=True,
            ),
        ]
    )


def sources_schema() -> pa.Schema:
    """Schema of `sources/*.parquet`, which is there where sources were asked for (`--sources`)."""
    return pa.schema(
        [
            _field("sequence", pa.int32(), "number of the sequence in this run"),
            _field("value", pa.string(), "the source that the header names; other: no header"),
            _field("template", pa.int32(), "number of the header's wording"),
            _field(
                "prefix_log_prob_nats",
                pa.float64(),
                "of all tokens before the cut together, after the header; null: no mass",
                nullable=True,
            ),
            _field(
                "log_probs_nats",
                pa.list_(pa.field("item", pa.float64(), nullable=True)),
                "of each token from the cut on, after header and prefix; null: no mass",
            ),
        ]
    )


def unlike(held: pa.Schema, wanted: pa.Schema) -> str | None:
    """Which column is not there, of another type, or with nulls where there can be none; None: all are as they must be.

    What an older version lacks may be missing.
    """
    for one in wanted:
        index = held.get_field_index(one.name)
        found = held.field(index) if index >= 0 else None
        if found is None and one.name in LATER:
            continue
        if one.name == "embedding" or (
            found is not None and _alike(found.type, one.type) and found.nullable <= one.nullable
        ):
            continue
        return f"column {one.name} is {'missing' if found is None else f'{found.type}, not {one.type}'}"
    return None


def _alike(held: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(wanted):
        return bool(pa.types.is_fixed_size_list(held) and held.value_type == wanted.value_type)
    if pa.types.is_list(wanted):
        return bool(pa.types.is_list(held) and held.value_type == wanted.value_type)
    return bool(held == wanted)


def stamped(schema: pa.Schema, *, unit_key: str, plan_hash: str) -> pa.Schema:
    """The schema with what a part must say of itself."""
    return schema.with_metadata(
        {"schema_version": str(SCHEMA_VERSION), "unit_key": unit_key, "plan_hash": plan_hash, "logarithms": "natural"}
    )


def describe(*, n_powers: int, n_bins: int) -> str:
    """The columns as a page of the docs."""
    lines = [
        "# Records",
        "",
        f"This page describes the folder of a run: record schema version {SCHEMA_VERSION}. "
        "`freerun audit` writes it, and any Parquet reader can read it.",
        "",
        "    manifest.json          the plan with its hash, counts, versions, hardware, and the command that made it",
        "    sequences/*.parquet    one row for each sequence (a real or sampled continuation)",
        "    tokens/*.parquet       one row for each token",
        "    sources/*.parquet      one row for each sequence, source and header template; only with `--sources`",
        "    answers/*.parquet      one row for each question; only with `--ask`",
        "    checksums/*.sha256     SHA-256 of the files of a part; to check, run `sha256sum -c checksums/*` in the run's folder",
        "    result.json            findings; report.html: the page",
        "    .lock                  there while a process writes here; any other is refused",
        "",
        "A *part* is the set of files that a run writes for one unit of work. It is complete once it is in `sequences/`: one "
        "rename puts it there, after its tokens and its checksums. The metadata of each part holds its unit key, plan hash and "
        "schema version, and `rows_at_once` if memory was too short for the planned batch. If a file does not match its checksum, "
        "the same `freerun audit` makes it again and says so, and `freerun report` refuses it by name. Runs made before checksums "
        "existed are read without them.",
    ]
    tables = (
        ("sequences", sequences_schema(n_bins=n_bins, n_hidden=576)),
        ("tokens", tokens_schema(n_powers=n_powers, n_references=2)),
        ("sources", sources_schema()),
    )
    for name, schema in tables:
        lines += ["", f"## {name}", "", "| column | type | null | meaning |", "|---|---|---|---|"]
        for field in schema:
            meaning = (field.metadata or {}).get(b"meaning", b"").decode()
            lines.append(f"| `{field.name}` | {field.type} | {'yes' if field.nullable else ''} | {meaning} |")
    lines += [
        "",
        "`log_power_sum` runs over λ = −1/4, −1/8, 1/8, 1/4, 1/2. Calibration bins are half a nat of −ln q wide, and the last "
        "one is open. `reference_log_probs_nats` has one entry for each component named in the manifest. `embedding` is as wide as "
        "the model's hidden states (576 in the default model); its type is null if the model shows none. `freerun report` still "
        "reads version 1, which has neither `embedding` nor `without_prefix_log_prob_nats`, version 2, which has no `fresh_…`, and "
        "version 3, which has neither `mass_above` nor `fresh_repeat…`.",
        "",
        "The `fresh_…` columns stand beside the sampler's own numbers (`log_prob_nats`, `cdf_below`). They are filled for the own "
        "texts (texts that the model wrote) that were scored again and, in bf16, for a few tokens of real text. The plan decides "
        "which ones (see [the second look](findings/self_recognition.md)). F(<=) is the mass on smaller ids plus the token's "
        "probability.",
        "",
        "`answers/verbal.parquet` exists if the model was asked which text is its own (`--ask`). It has one row for each prompt, "
        "with the documents, the right answer and the log-odds of both answers. `freerun/records/answers.py` "
        "describes its columns.",
        "",
        "The metadata of each part of `sources/*.parquet` describes the sources as JSON under `asked`: the latent, its values with "
        "their prior, how many wordings there are, and the file that says so.",
    ]
    return "\n".join(lines) + "\n"
