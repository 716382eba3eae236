"""Header likelihoods on disk: what is written comes back, nothing damaged or foreign does, and what is not asked any more goes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from freerun.errors import DataError
from freerun.records.schema import SCHEMA_VERSION, sources_schema
from freerun.records.source_likelihoods import (
    SOURCES,
    ScoredText,
    SourcesAsked,
    keep_only,
    read_sources_of,
    write_scores,
)
from freerun.records.store import RunFolder

ASKED = SourcesAsked("who", ("a", "b", "other"), (0.4, 0.5, 0.1), (2, 2, 1), "Who", "who.toml", "f" * 16, 3, (0,))


def folder_at(path: Path, plan_hash: str = "plan") -> RunFolder:
    folder = RunFolder(path)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "kind": "audit",
        "plan": {"tokens": 3, "batch": 4, "seed": 0},
        "plan_hash": plan_hash,
    }
    path.mkdir(parents=True, exist_ok=True)
    folder.manifest_path.write_text(json.dumps(manifest))
    return folder


def text(sequence: int, n: int = 3) -> ScoredText:
    rng = np.random.default_rng(sequence)
    parts = tuple(-rng.exponential(size=(k, n)) for k in ASKED.templates)
    if n:
        parts[1][0, n - 1] = -np.inf
    return ScoredText(sequence, tuple(-rng.exponential(size=k) for k in ASKED.templates), parts)


def write(folder: RunFolder, name: str, texts: list[ScoredText], asked: SourcesAsked = ASKED, key: str = "k") -> None:
    write_scores(folder, name, texts, asked, unit_key=key, plan_hash="plan")


def test_every_bit_comes_back(tmp_path: Path) -> None:
    folder, written = folder_at(tmp_path), [text(0), text(1, 5), text(4, 0)]
    assert read_sources_of(folder) == ()
    write(folder, "source-0-000000", written[:2])
    write(folder, "source-0-000001", written[2:])
    (found,) = read_sources_of(folder)
    assert found.asked == ASKED
    for mine, held in zip(written, found.texts, strict=True):
        assert held.sequence == mine.sequence
        for a, b in zip((*mine.prefix_nats, *mine.token_nats), (*held.prefix_nats, *held.token_nats), strict=True):
            np.testing.assert_array_equal(a, b)
    for line in (tmp_path / "checksums" / "source-0-000001.sha256").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_no_mass_is_null_and_nothing_else_is(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    write(folder, "source-0-000000", [text(0)])
    table = pq.read_table(SOURCES.path(folder, "source-0-000000"))
    assert table.schema.equals(sources_schema())
    assert sum(x is None for row in table["log_probs_nats"].to_pylist() for x in row) == 1
    assert table["prefix_log_prob_nats"].null_count == 0


def test_latents_stay_apart_and_in_order(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    write(folder, "source-1-000000", [text(0)], replace(ASKED, latent="when"))
    write(folder, "source-0-000000", [text(0), text(1)])
    assert [(r.asked.latent, len(r.texts)) for r in read_sources_of(folder)] == [("who", 2), ("when", 1)]
    write(folder, "source-0-000001", [text(2)], replace(ASKED, prior=(0.5, 0.4, 0.1)))
    with pytest.raises(DataError, match="in another way than the parts before"):
        read_sources_of(folder)


def test_a_part_is_done_if_it_is_whole_and_the_one_asked_for(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    assert not SOURCES.holds(folder, "source-0-000000", "k")
    write(folder, "source-0-000000", [text(0)])
    assert SOURCES.holds(folder, "source-0-000000", "k")
    assert not SOURCES.holds(folder, "source-0-000000", "another")
    path = SOURCES.path(folder, "source-0-000000")
    data = bytearray(path.read_bytes())
    for spoiled in (data[:-1], data[: len(data) // 2], b"", data[:40] + bytes([data[40] ^ 1]) + data[41:]):
        path.write_bytes(spoiled)
        assert not SOURCES.holds(folder, "source-0-000000", "k")
        with pytest.raises(DataError, match=r"source-0-000000\.parquet is damaged"):
            read_sources_of(folder)
    path.write_bytes(data)
    (tmp_path / "checksums" / "source-0-000000.sha256").unlink()
    assert not SOURCES.holds(folder, "source-0-000000", "k")
    with pytest.raises(DataError, match="its checksum is gone"):
        read_sources_of(folder)


def test_another_plan_is_refused(tmp_path: Path) -> None:
    write(folder_at(tmp_path), "source-0-000000", [text(0)])
    with pytest.raises(DataError, match="run of another plan"):
        read_sources_of(folder_at(tmp_path, "another"))


def test_what_is_not_asked_any_more_goes(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    for name in ("source-0-000000", "source-0-000004"):
        write(folder, name, [text(0)])
    keep_only(folder, ["source-0-000004"])
    assert [p.name for p in (tmp_path / "sources").iterdir()] == ["source-0-000004.parquet"]
    assert [p.name for p in (tmp_path / "checksums").iterdir()] == ["source-0-000004.sha256"]


def test_a_kill_in_the_middle_leaves_nothing_that_stays(tmp_path: Path) -> None:
    folder = folder_at(tmp_path)
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / ".source-0-000000.parquet-abc").write_text("half")
    folder.open(folder.manifest())
    assert list((tmp_path / "sources").iterdir()) == []
