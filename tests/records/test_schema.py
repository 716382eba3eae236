"""What the tables promise of themselves."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from freerun.records.schema import SCHEMA_VERSION, sequences_schema, stamped, tokens_schema

SCHEMAS = {"tokens": tokens_schema(n_powers=5, n_references=2), "sequences": sequences_schema(n_bins=33)}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_says_what_it_means(name: str) -> None:
    for field in SCHEMAS[name]:
        assert field.metadata[b"meaning"], field.name


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_null_is_explained(name: str) -> None:
    """A column that may be null is one of those whose null has a documented meaning."""
    nullable = {f.name for f in SCHEMAS[name] if f.nullable}
    wanted = {
        "tokens": {
            "log_prob_nats",
            "sample_log_prob_nats",
            "entropy_nats",
            "varentropy_nats2",
            "uniform",
            "without_prefix_log_prob_nats",
            "fresh_log_prob_nats",
            "fresh_cdf_below",
            "fresh_cdf_upto",
            "fresh_repeat_mass",
            "fresh_repeats",
            "mass_above",
            "rank",
            "top_id",
            "top_log_prob_nats",
            "cdf_below",
            "loop_mass",
        },
        "sequences": {"embedding"},
    }
    assert nullable == wanted[name]


def test_log_probabilities_keep_every_digit() -> None:
    assert SCHEMAS["tokens"].field("log_prob_nats").type == pa.float64()
    assert SCHEMAS["tokens"].field("uniform").type == pa.float64()
    assert SCHEMAS["sequences"].field("key").type == pa.uint64()


def test_a_part_says_its_unit_plan_and_version() -> None:
    held = stamped(SCHEMAS["tokens"], unit_key="u", plan_hash="p").metadata
    assert held[b"unit_key"] == b"u"
    assert held[b"plan_hash"] == b"p"
    assert held[b"schema_version"] == str(SCHEMA_VERSION).encode()
    assert stamped(SCHEMAS["tokens"], unit_key="u", plan_hash="p").field("rank").metadata[b"meaning"]


def test_the_page_lists_every_column() -> None:
    page = (Path(__file__).parents[2] / "docs" / "records.md").read_text()
    assert all(f"| `{f.name}` |" in page for schema in SCHEMAS.values() for f in schema)
