"""Our own format gives back what was written into it, and no row, whatever stands in it, ends in anything but a named fault."""

from __future__ import annotations

import copy
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freerun.errors import DataError, FreerunError, UsageError
from freerun.samples.completion import Completion, Excluded, Message
from freerun.samples.reading import open_samples
from freerun.samples.survey import survey
from freerun.samples.writing import SUFFIXES, row_of, write_samples
from tests.samples.test_formats import ONE_OF_EACH

quick = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
NAME = TEXT.filter(bool)
IDS = st.integers(0, 2**31 - 1)
LOG_PROBS = st.floats(-9000, 0) | st.just(math.nan) | st.just(-math.inf)


@st.composite
def completions(draw: st.DrawFn, row: int = 0) -> Completion:
    """Any completion that a file can hold: what its fields mean to each other is kept."""
    n = draw(st.integers(1, 6))
    with_ids = draw(st.booleans())
    per_token = with_ids or draw(st.booleans())
    drawn = draw(st.none() | st.lists(st.booleans(), min_size=n, max_size=n)) if per_token else None
    drawn = None if drawn is None or all(drawn) or not any(drawn) else drawn
    versions = draw(st.none() | st.tuples(NAME) | st.lists(NAME, min_size=n, max_size=n).map(tuple))
    if versions and (len(set(versions)) == 1 or not per_token):
        versions = versions[:1]
    messages = draw(st.none() | st.lists(st.builds(Message, NAME, TEXT), max_size=2).map(tuple))
    return Completion(
        row=row,
        prompt_ids=draw(st.none() | st.lists(IDS, max_size=4).map(lambda ids: np.array(ids, dtype=np.int64))),
        completion_ids=np.array(draw(st.lists(IDS, min_size=n, max_size=n)), dtype=np.int64) if with_ids else None,
        prompt=None if messages is not None else draw(st.none() | TEXT),
        completion=draw(st.none() | TEXT) if with_ids else draw(NAME),
        messages=messages,
        pieces=tuple(draw(st.lists(st.binary(max_size=3), min_size=n, max_size=n)))
        if per_token and not with_ids
        else None,
        drawn=None if drawn is None else np.array(drawn),
        log_probs_nats=draw(log_probs(n, drawn)) if per_token else None,
        trainer_log_probs_nats=draw(log_probs(n, drawn)) if per_token else None,
        weight_versions=versions,
        group=draw(st.none() | TEXT),
        finish_reason=draw(st.none() | TEXT),
        seed=draw(st.none() | st.integers(-(2**63), 2**63 - 1)),
        sampling=draw(st.dictionaries(TEXT, st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT)),
    )


@st.composite
def log_probs(draw: st.DrawFn, n: int, drawn: list[bool] | None) -> np.ndarray | None:
    values = np.array(draw(st.lists(LOG_PROBS, min_size=n, max_size=n)))
    if drawn is not None:
        values[~np.array(drawn)] = np.nan
    return None if np.isnan(values).all() or draw(st.booleans()) else values


def fields(sample: Completion) -> dict[str, Any]:
    """What can be compared."""
    arrays = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(sample).items()}
    return {k: repr(v) for k, v in arrays.items()}


@given(samples=st.lists(completions(), min_size=1, max_size=4), suffix=st.sampled_from(SUFFIXES))
@quick
def test_every_completion_comes_back(tmp_path: Path, samples: list[Completion], suffix: str) -> None:
    with_ids = any(sample.completion_ids is not None for sample in samples)
    samples = [s for s in samples if not with_ids or s.completion_ids is not None]
    samples = [Completion(**{**vars(s), "row": row}) for row, s in enumerate(samples)]
    path = tmp_path / f"x{suffix}"
    assert write_samples(path, samples) == len(samples)
    read = open_samples(path, format="freerun")
    back = list(read)
    assert all(isinstance(sample, Completion) for sample in back), back
    assert [fields(a) for a in samples] == [fields(b) for b in back if isinstance(b, Completion)]
    assert [fields(b) for b in read if isinstance(b, Completion)] == [fields(b) for b in samples]  # a second time
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    path.unlink()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(codec=None), max_size=4)
    | st.sampled_from([[], {}, [1, 2], [[1]], [-1.0], "stop", [{"role": "user", "content": "x"}]]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "id", "a"]), inner, max_size=2)
    ),
    max_leaves=5,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, v in inner for place in places(v, (*at, key)))]


@given(name=st.sampled_from(sorted(ONE_OF_EACH)), data=st.data())
@settings(quick, max_examples=300)
def test_a_row_with_anything_in_it(tmp_path: Path, name: str, data: st.DataObject) -> None:
    """Rows of every format, each with one or two values replaced by any others, read as what they were."""
    row = copy.deepcopy(ONE_OF_EACH[name])
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(places(row)[1:] or [("text",)]))
        holder = row
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = copy.deepcopy(data.draw(JSON))
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(ONE_OF_EACH[name]) + "\n")
    for format in (name, None):
        for sample in open_samples(path, format=format):
            assert isinstance(sample, Completion | Excluded)
            if isinstance(sample, Excluded):
                assert "\n" not in sample.detail


@given(
    data=st.binary(max_size=60), head=st.sampled_from([b"", b"PAR1", b"PK\x03\x04", b"[", b'{"a"', b'"', b"\x1f\x8b"])
)
@settings(quick, max_examples=150)
def test_any_bytes(tmp_path: Path, data: bytes, head: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(head + data)
    message = ""
    try:
        list(open_samples(path))
    except FreerunError as error:
        message = str(error)
    assert "\n" not in message


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
def test_a_long_file_is_never_held_whole(tmp_path: Path, suffix: str) -> None:
    """300 completions of 512 tokens: the most that Python holds at once is far below the size of the file."""
    rng = np.random.default_rng(0)

    def made() -> Any:
        for row in range(300):
            yield Completion(
                row, completion_ids=rng.integers(0, 49_152, 512), log_probs_nats=-rng.exponential(2.0, 512)
            )

    path = tmp_path / f"x{suffix}"
    if suffix == ".json":
        path.write_text("[" + ",".join(json.dumps(row_of(sample)) for sample in made()) + "]")
    else:
        write_samples(path, made())
    survey(open_samples(path))  # what is loaded once is loaded
    tracemalloc.start()
    counted = survey(open_samples(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (counted.n_completions, counted.n_tokens, counted.n_log_probs) == (300, 300 * 512, 300 * 512)
    assert peak < 5_000_000, peak  # the file has 5 MB, its values as lists of Python 15 MB


def test_what_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"end its name in \.jsonl"):
        write_samples(tmp_path / "x.csv", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        write_samples(tmp_path / "file" / "x.jsonl", [])

    def broken() -> Any:
        yield Completion(0, completion=" a")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_samples(tmp_path / "x.parquet", broken())
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
