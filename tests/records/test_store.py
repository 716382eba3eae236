"""A run's folder under faults: other plans, damaged files, full disks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from freerun.errors import DataError
from freerun.records.schema import SCHEMA_VERSION, sequences_schema, tokens_schema
from freerun.records.store import RunFolder, load_records

MANIFEST = {"schema_version": SCHEMA_VERSION, "plan_hash": "abc", "plan": {"tokens": 64, "model": "m", "seed": 0}}


def tables(numbers: list[int], lengths: list[int], *, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """A part with the given sequences; every third token impossible, no uniforms in the first sequence."""
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    number = np.repeat(numbers, lengths)
    log_prob = -rng.exponential(size=n)
    columns: dict[str, Any] = {
        "sequence": number,
        "position": np.concatenate([np.arange(k) for k in lengths]),
        "token_id": rng.integers(0, 9, n),
        "n_bytes": np.ones(n),
        "log_prob_nats": pa.array(log_prob, mask=np.arange(n) % 3 == 2),
        "sample_log_prob_nats": pa.nulls(n, pa.float64()),
        "entropy_nats": rng.random(n),
        "varentropy_nats2": rng.random(n),
        "rank": rng.integers(1, 9, n),
        "top_id": rng.integers(0, 9, n),
        "top_log_prob_nats": -rng.random(n),
        "cdf_below": rng.random(n),
        "mass_above": rng.random(n),
        "uniform": pa.array(rng.random(n), mask=number == numbers[0]),
        "log_power_sum": rng.random((n, 5)).tolist(),
        "loop_mass": rng.random(n),
        "without_prefix_log_prob_nats": pa.nulls(n, pa.float64()),
        "fresh_log_prob_nats": pa.array(log_prob, mask=np.arange(n) % 2 == 1),
        "fresh_cdf_below": pa.array(rng.random(n), mask=np.arange(n) % 2 == 1),
        "fresh_cdf_upto": pa.array(rng.random(n), mask=np.arange(n) % 2 == 1),
        "fresh_repeat_mass": pa.array(rng.random(n), mask=np.arange(n) % 2 == 1),
        "fresh_repeats": pa.array(rng.integers(0, 2, n).astype(float), mask=np.arange(n) % 2 == 1),
        "reference_log_probs_nats": [[-1.0, None] if i % 2 else [-2.0, -3.0] for i in range(n)],
    }
    schema = tokens_schema(n_powers=5, n_references=2)
    tokens = pa.table({f.name: pa.array(columns[f.name]).cast(f.type) for f in schema}, schema=schema)
    rows = [
        {
            "sequence": i,
            "document_id": f"d{i}",
            "unit": f"u{i // 2}",
            "split": "train" if i % 2 else "test",
            "arm": "free",
            "replicate": i % 2,
            "key": 2**64 - 1 - i,
            "prefix_ids": [1, 2, 3][: i % 4],
            "prefix_text": "é�",
            "text": "x" * k,
            "n_tokens": k,
            "n_bytes": k,
            "end_reason": "length",
            "canonical_share": 0.5,
            "observed_counts": list(range(33)),
            "expected_counts": [0.25 * j for j in range(33)],
            "embedding": None,
        }
        for i, k in zip(numbers, lengths, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=sequences_schema(n_bins=33)), tokens


def written(path: Path) -> RunFolder:
    folder = RunFolder(path)
    folder.open(MANIFEST)
    for name, numbers in (("a", [5, 0]), ("b", [3])):
        folder.write_part(name, *tables(numbers, [4, 2][: len(numbers)]), unit_key=f"key {name}", plan_hash="abc")
    return folder


def files(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


# ---- there and back --------------------------------------------------------------------------------------------------


def test_parts_come_back_as_they_were_written(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    for i, kind in enumerate(("sequences", "tokens")):
        parts = [tables([5, 0], [4, 2])[i], tables([3], [4])[i]]
        wanted = pa.concat_tables(parts)
        got = folder.read(kind)
        assert got.equals(wanted)
        assert got.schema.equals(wanted.schema)
        assert got.schema.field("sequence").metadata[b"meaning"]


def test_records_are_sorted_and_nulls_have_one_meaning(tmp_path: Path) -> None:
    records = load_records(written(tmp_path / "run"))
    assert records.n_sequences == 3
    assert records.sequences["sequence"].tolist() == [0, 3, 5]
    assert records.sequences["key"].tolist() == [2**64 - 1, 2**64 - 4, 2**64 - 6]
    assert records.tokens["sequence"].tolist() == [0] * 2 + [3] * 4 + [5] * 4
    assert records.starts.tolist() == [0, 2, 6, 10]
    assert records.token_sequence_index().tolist() == [0] * 2 + [1] * 4 + [2] * 4
    for i, number in enumerate((0, 3, 5)):
        assert (records.tokens["sequence"][records.rows(i)] == number).all()
        assert records.tokens["position"][records.rows(i)].tolist() == list(range(records.sequences["n_tokens"][i]))
    plain = {
        (r["sequence"], r["position"]): r for k in ([5, 0], [3]) for r in tables(k, [4, 2][: len(k)])[1].to_pylist()
    }
    for i in range(10):
        was = plain[records.tokens["sequence"][i], records.tokens["position"][i]]
        log_prob, uniform = records.tokens["log_prob_nats"][i], records.tokens["uniform"][i]
        assert log_prob == (-np.inf if was["log_prob_nats"] is None else was["log_prob_nats"])
        assert np.isnan(uniform) if was["uniform"] is None else uniform == was["uniform"]
        assert np.isnan(records.tokens["sample_log_prob_nats"][i])
        reference = [-np.inf if x is None else x for x in was["reference_log_probs_nats"]]
        assert records.tokens["reference_log_probs_nats"][i].tolist() == reference
    assert records.tokens["log_power_sum"].shape == (10, 5)
    assert records.sequences["expected_counts"].shape == (3, 33)
    assert records.chosen(split="test", arm="free").tolist() == [0]
    assert records.sequences["prefix_ids"][1] == [1, 2, 3]


def test_a_column_that_was_let_go_is_read_again_and_one_that_was_put_there_stays(tmp_path: Path) -> None:
    """In the order of the records, whatever the order of the parts."""
    records = load_records(written(tmp_path / "run"))
    for name in ("log_power_sum", "cdf_below"):
        before = records.tokens[name].copy()
        records.forget(name)
        assert name in records.tokens
        np.testing.assert_array_equal(records.tokens[name], before)
    records.tokens["cdf_below"] = np.full(len(before), 7.0)
    records.forget("cdf_below")
    assert (records.tokens["cdf_below"] == 7.0).all()


def test_the_order_of_writing_does_not_matter(tmp_path: Path) -> None:
    one, other = written(tmp_path / "one"), RunFolder(tmp_path / "other")
    other.open(MANIFEST)
    other.write_part("b", *tables([3], [4]), unit_key="key b", plan_hash="abc")
    other.write_part("a", *tables([5, 0], [4, 2]), unit_key="key a", plan_hash="abc")
    for kind in ("sequences", "tokens"):
        assert one.read(kind).equals(other.read(kind))


# ---- opening ---------------------------------------------------------------------------------------------------------


def test_the_same_plan_goes_on(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    before = folder.manifest_path.read_bytes()
    folder.open({**MANIFEST, "provenance": "another day"})
    assert folder.manifest_path.read_bytes() == before
    assert folder.done("a", "key a")


def test_another_plan_is_refused_by_the_setting_that_differs(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    other = {**MANIFEST, "plan_hash": "xyz", "plan": {"tokens": 128, "model": "m", "seed": 0, "batch": 8}}
    with pytest.raises(DataError) as raised:
        folder.open(other)
    message = str(raised.value)
    assert "batch: null there, 8 asked; tokens: 64 there, 128 asked" in message
    assert "model" not in message
    assert "-o" in message


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, None, "1", 1.5])
def test_another_schema_version_is_refused(tmp_path: Path, version: object) -> None:
    folder = written(tmp_path / "run")
    folder.manifest_path.write_text(json.dumps({**MANIFEST, "schema_version": version}))
    for act in (lambda: folder.open(MANIFEST), folder.manifest, lambda: load_records(folder)):
        with pytest.raises(
            DataError, match=f"record schema {version!r}, this freerun reads 1, 2, 3 and {SCHEMA_VERSION};"
        ):
            act()


LATER = ["mass_above", "fresh_repeat_mass", "fresh_repeats"]
FRESH = ["fresh_log_prob_nats", "fresh_cdf_below", "fresh_cdf_upto", *LATER]


def test_records_of_version_1_are_read_with_what_they_lack_as_not_measured(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open({**MANIFEST, "schema_version": 1})
    sequences, tokens = tables([5, 0], [4, 2])
    hidden = pa.field("hidden", pa.list_(pa.float32()), metadata={"meaning": "pooled hidden state"})
    old = sequences.drop_columns("embedding").append_column(hidden, pa.nulls(2, hidden.type))
    tokens = tokens.drop_columns(["without_prefix_log_prob_nats", *FRESH])
    folder.write_part("a", old, tokens, unit_key="key a", plan_hash="abc")
    assert folder.done("a", "key a")
    records = load_records(folder)
    assert "hidden" not in records.sequences
    assert records.sequences["embedding"].shape == (2, 0)
    assert np.isnan(records.tokens["without_prefix_log_prob_nats"]).all()
    assert records.tokens["without_prefix_log_prob_nats"].shape == (6,)
    assert all(np.isnan(records.tokens[name]).all() for name in FRESH)
    with pytest.raises(DataError, match="another plan"):  # its records are not added to
        folder.open({**MANIFEST, "plan_hash": "other"})


def test_records_of_version_2_are_read_and_nothing_of_them_was_scored_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open({**MANIFEST, "schema_version": 2})
    sequences, tokens = tables([5, 0], [4, 2])
    folder.write_part("a", sequences, tokens.drop_columns(FRESH), unit_key="key a", plan_hash="abc")
    records = load_records(folder)
    assert all(np.isnan(records.tokens[name]).all() for name in FRESH)


def test_records_of_version_3_are_read_without_mass_above_and_repeats(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open({**MANIFEST, "schema_version": 3})
    sequences, tokens = tables([5, 0], [4, 2])
    folder.write_part("a", sequences, tokens.drop_columns(LATER), unit_key="key a", plan_hash="abc")
    records = load_records(folder)
    assert all(np.isnan(records.tokens[name]).all() for name in LATER)
    assert np.isfinite(records.tokens["fresh_cdf_upto"]).any()
    assert all(records.tokens[name].shape == (6,) for name in FRESH)


def test_embeddings_come_back_row_by_row_and_a_missing_one_is_nan(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.open(MANIFEST)
    sequences, tokens = tables([5, 0, 3], [4, 2, 1])
    schema = sequences_schema(n_bins=33, n_hidden=3)
    values: list[Any] = [[1.5, -2.0, 3.0], None, [0.1, 0.2, 0.3]]
    rows = [{**row, "embedding": v} for row, v in zip(sequences.to_pylist(), values, strict=True)]
    folder.write_part("a", pa.Table.from_pylist(rows, schema=schema), tokens, unit_key="key a", plan_hash="abc")
    got = load_records(folder).sequences["embedding"]
    assert got.dtype == np.float32
    assert np.isnan(got[0]).all()
    np.testing.assert_array_equal(got[1:], np.array([[0.1, 0.2, 0.3], [1.5, -2.0, 3.0]], np.float32))


BROKEN_MANIFESTS = (b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b'{"sha256": "0", "plan_hash": "abc"}', None)


@pytest.mark.parametrize("content", BROKEN_MANIFESTS)
def test_a_damaged_manifest_is_refused_and_made_anew_beside_parts_of_its_plan(
    tmp_path: Path, content: bytes | None
) -> None:
    folder = written(tmp_path / "run")
    whole = folder.manifest_path.read_bytes()
    folder.manifest_path.unlink() if content is None else folder.manifest_path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read|is damaged|no run here"):
        folder.manifest()
    with pytest.raises(DataError, match=r"cannot be read|is damaged|no run here"):
        folder.open({**MANIFEST, "plan_hash": "another"})
    assert folder.manifest_path.exists() == (content is not None)
    folder.open(MANIFEST)
    assert folder.manifest_path.read_bytes() == whole


@pytest.mark.parametrize("content", [b"{", b'{"plan_hash": "abc"}'])
def test_a_damaged_manifest_without_parts_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = RunFolder(tmp_path)
    folder.manifest_path.write_bytes(content)
    for act in (lambda: folder.open(MANIFEST), folder.manifest):
        with pytest.raises(DataError, match=r"cannot be read|record schema"):
            act()


def test_a_changed_number_in_a_manifest_is_found(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    text = folder.manifest_path.read_text()
    changed = text.replace("64", "65", 1)
    assert changed != text
    folder.manifest_path.write_text(changed)
    with pytest.raises(DataError, match="does not fit its checksum"):
        folder.manifest()


def test_what_is_no_run_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("a file")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(DataError, match="is not a run; choose another folder"):
            RunFolder(path).open(MANIFEST)
    RunFolder(tmp_path / "empty").open(MANIFEST)
    assert files(tmp_path) == ["empty/manifest.json", "file", "notes.txt"]
    with pytest.raises(DataError, match="no run here"):
        RunFolder(tmp_path / "nowhere").manifest()


def test_half_written_parts_are_swept_away(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    for kind in ("tokens", "sequences"):
        (folder.path / kind / ".c.parquet-x1y2").write_bytes(b"half")
    folder.open(MANIFEST)
    (folder.path / "checksums" / ".c.sha256-x1y2").write_bytes(b"half")
    folder.open(MANIFEST)
    assert files(folder.path) == [
        ".lock",
        *(f"checksums/{n}.sha256" for n in "ab"),
        "manifest.json",
        *(f"{k}/{n}.parquet" for k in ("sequences", "tokens") for n in "ab"),
    ]
