"""Rows without text, and names in every type: nothing is left out unsaid, nothing makes intervals too narrow unsaid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import freerun
from freerun.errors import DataError
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.audit.preparing import prepare
from freerun.text.corpora import read_corpus

BAD: list[Any] = [None, 5, ["a", "b"], {"a": 1}, True, 1.5]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def mixed(tmp_path: Path) -> str:
    """Good rows at 1 to 20, one of each bad kind, one without the field and a last line that is cut off."""
    good = [{"text": f"good {i} " * 12} for i in range(20)]
    spec = write(tmp_path / "d.jsonl", [*good, *({"text": value} for value in [*BAD, None]), {"body": "x"}, [1]])
    with Path(spec).open("a") as file:
        file.write('{"text": "cut o')
    return spec


def test_bad_rows_are_refused_with_their_number_kind_and_place(mixed: str) -> None:
    with pytest.raises(DataError) as refused:
        read_corpus(mixed)
    said = str(refused.value)
    assert "10 of 30 rows cannot be used" in said
    for part in (
        "2 have null in the field 'text', not a string (d.jsonl:21; d.jsonl:27)",
        "2 have a number in the field 'text', not a string (d.jsonl:22; d.jsonl:26)",
        "1 has a list of strings",
        "1 has an object",
        "1 has a boolean",
        "1 lacks the field 'text' (d.jsonl:28, which has body)",
        "1 is a JSON list of numbers, not an object or a string (d.jsonl:29)",
        "1 is not JSON (d.jsonl:30: ",
        "--skip-bad-rows",
    ):
        assert part in said
    assert "\n" not in said


def test_bad_rows_are_left_out_if_asked_for_and_counted(mixed: str, tmp_path: Path) -> None:
    corpus = read_corpus(mixed, skip_bad_rows=True)
    assert len(corpus.documents) == 20
    assert corpus.n_bad_rows == 10
    assert corpus.notes == ("10 of 30 rows left out, which cannot be used (--skip-bad-rows)",)
    assert "d.jsonl:21; d.jsonl:27" in corpus.named_notes[0]
    with pytest.raises(DataError, match="its only row cannot be used"):
        read_corpus(write(tmp_path / "all.jsonl", [{"text": None}]), skip_bad_rows=True)


def test_the_plan_knows_of_rows_only_where_some_were_left_out(mixed: str, tmp_path: Path) -> None:
    small: dict[str, Any] = {"documents": 16, "prefix": 4, "tokens": 8}
    good = write(tmp_path / "good.jsonl", [{"text": f"good {i} " * 12} for i in range(20)])
    plain = prepare(f"ngram/2@{good}", good, AuditOptions(**small)).manifest
    asked = prepare(f"ngram/2@{good}", good, AuditOptions(**small, skip_bad_rows=True)).manifest
    assert asked["plan_hash"] == plain["plan_hash"]
    assert "rows_left_out" not in plain["counts"]
    run = freerun.audit(f"ngram/2@{good}", mixed, out=tmp_path / "run", skip_bad_rows=True, **small)
    assert run.result["plan"]["skip_bad_rows"] is True
    assert run.result["counts"]["rows_left_out"] == 10
    assert run.result["corpus_notes"][0].startswith("10 of 30 rows left out")
    assert "--skip-bad-rows" in run.result["command"]


def test_names_of_rows_and_fields_stay_out_of_a_redacted_run(tmp_path: Path) -> None:
    rows = [{"CANARYFIELD": {"text": f"good {i} " * 30}} for i in range(20)]
    spec = write(tmp_path / "CANARYFILE.jsonl", [*rows, {"CANARYOTHER": 1}, {"CANARYFIELD": {"text": None}}])
    good = write(tmp_path / "good.jsonl", [{"text": f"good {i} " * 12} for i in range(20)])
    run = freerun.audit(
        f"ngram/2@{good}",
        spec,
        out=tmp_path / "run",
        documents=16,
        prefix=16,
        tokens=16,
        skip_bad_rows=True,
        redact_text=True,
        text_field="CANARYFIELD.text",
    )
    assert run.result["corpus_notes"][0].startswith("2 of 22 rows left out")
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"CANARY" not in path.read_bytes(), path


def test_a_table_counts_its_rows_without_the_field(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    write(tmp_path / "d" / "a.jsonl", [{"text": "a"}, {"text": "b"}])
    pq.write_table(pa.table({"body": ["x"] * 7}), tmp_path / "d" / "b.parquet")
    with pytest.raises(
        DataError, match=r"7 of 9 rows cannot be used: 7 lack the field 'text' \(b\.parquet:1, which has body"
    ):
        read_corpus(str(tmp_path / "d"))
    assert read_corpus(str(tmp_path / "d"), skip_bad_rows=True).n_bad_rows == 7


# ---- units and ids ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["unit", "id"])
@pytest.mark.parametrize(
    ("value", "called"), [(["a", "b"], "a list of strings"), ({"name": "a"}, "an object"), ([], "a list")]
)
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, field: str, value: Any, called: str) -> None:
    rows = [{"text": "x", field: value}, {"text": "y", field: value}]
    spec = write(tmp_path / "d.jsonl", rows)
    with pytest.raises(
        DataError, match=rf"d\.jsonl:1: {field} is {called}, not a name: give each row one string or number"
    ):
        read_corpus(spec)
    if value != []:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
        with pytest.raises(DataError, match=rf"d\.parquet:1: {field} is {called}"):
            read_corpus(str(tmp_path / "d.parquet"))


def test_units_of_several_types_are_one_by_their_spelling(tmp_path: Path) -> None:
    values = [7, "7", 7.0, True, "true", None, float("nan"), ""]
    spec = write(tmp_path / "d.jsonl", [{"text": f"t{i}", "unit": value} for i, value in enumerate(values)])
    corpus = read_corpus(spec)
    assert [d.unit for d in corpus.documents[:5]] == ["7", "7", "7", "true", "true"]
    assert corpus.n_units == 2 + 3
    assert corpus.notes == (
        "3 of 8 rows without a unit; each of them counts as a unit of its own (or of its id)",
        "units are given as booleans and numbers and strings: values that are spelled alike are one unit",
    )


def test_units_of_one_type_need_no_note(tmp_path: Path) -> None:
    named = write(tmp_path / "a.jsonl", [{"text": f"t{i}", "unit": i // 2} for i in range(4)])
    unnamed = write(tmp_path / "b.jsonl", [{"text": f"t{i}"} for i in range(4)])
    assert read_corpus(named).notes == read_corpus(unnamed).notes == ()


def test_whole_numbers_that_pandas_made_fractions_keep_their_name(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table({"text": ["a", "b"], "unit": [1.0, None]}), tmp_path / "d" / "a.parquet")
    write(tmp_path / "d" / "b.jsonl", [{"text": "c", "unit": 1}])
    assert [d.unit for d in read_corpus(str(tmp_path / "d")).documents] == ["1", "a.parquet:2", "1"]
