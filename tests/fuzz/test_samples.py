"""Files of samples: rows of every format with fields that hold anything, cut off and changed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freerun.samples.completion import Completion
from freerun.samples.reading import open_samples
from freerun.samples.survey import survey
from tests.fuzz.anything import JSON, few, harmless, quick
from tests.samples.test_formats import ONE_OF_EACH


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a row, however deep."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, held in inner for place in places(held, (*at, key)))]


def changed(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    copy = dict(value) if isinstance(value, Mapping) else list(value)
    copy[at[0]] = changed(value[at[0]], at[1:], new)
    return copy


def read(path: Path) -> bool:
    """Whether it is a file of samples; all that comes out of it is of the same lengths."""

    def act() -> None:
        samples = open_samples(path)
        survey(samples)
        for sample in samples:
            if isinstance(sample, Completion) and sample.completion_ids is not None:
                n = len(sample.completion_ids)
                columns = (sample.drawn, sample.log_probs_nats, sample.trainer_log_probs_nats)
                assert all(c is None or len(c) == n for c in columns)
                assert sample.log_probs_nats is None or not (sample.log_probs_nats > 0).any()

    return harmless(act)


@quick
@given(st.data())
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_one_thing_in_a_row_is_something_else(tmp_path: Path, name: str, data: st.DataObject) -> None:
    row = ONE_OF_EACH[name]
    where = data.draw(st.sampled_from(places(row)))
    path = tmp_path / "samples.jsonl"
    path.write_text("\n".join(json.dumps(r) for r in (row, changed(row, where, data.draw(JSON)), row)))
    read(path)


@few
@given(st.sampled_from(sorted(ONE_OF_EACH)), st.integers(0, 4000), st.integers(0, 255), st.booleans())
def test_bytes_that_are_missing_or_changed(tmp_path: Path, name: str, cut: int, byte: int, packed: bool) -> None:
    whole = (json.dumps(ONE_OF_EACH[name]) + "\n").encode() * 2
    raw = bytearray(gzip.compress(whole) if packed else whole)
    at = cut % len(raw)
    raw[at] = byte
    path = tmp_path / "samples.jsonl"
    path.write_bytes(bytes(raw[: max(at, 1)] if cut % 2 else raw))
    read(path)
