"""Runs that earlier versions made: they read, compare and report, with the numbers that those versions wrote.

Made by the code of each record schema (`git log -S'SCHEMA_VERSION = 2' -- src/freerun/records/schema.py` finds it):
`freerun audit world/markov world/markov --documents 20 --tokens 8 --prefix 4`, and once more with `--sample-with t=0.6`.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from freerun.commands.main import main
from freerun.records.plan import read_plan
from freerun.records.store import RunFolder

EARLIER = Path(__file__).parents[1] / "golden" / "earlier"
VERSIONS = (1, 2, 3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    for packed in EARLIER.glob("*.tar.xz"):
        with tarfile.open(packed) as archive:
            archive.extractall(folder, filter="data")
    return folder


def estimates(run: Path) -> dict[tuple[str, str], Any]:
    result = json.loads((run / "result.json").read_text())
    return {(f["name"], e["name"]): e["value"] for f in result["findings"] for e in f["estimates"]}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_rules_are_values_again(runs: Path, version: int) -> None:
    plain, cold = (read_plan(RunFolder(runs / f"v{version}-{kind}").manifest()["plan"]) for kind in ("plain", "cold"))
    assert plain.sampling.is_model_law
    assert cold.sampling.describe() == "temperature 0.6"
    assert plain.context_rule.describe() == "nothing put first; the whole document so far"
    assert (plain.reference.order, plain.reference.specs) == (3, ())
    assert plain.schema_version == version


@pytest.mark.parametrize("version", VERSIONS)
def test_a_report_gives_the_numbers_of_old(runs: Path, version: int, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs / f"v{version}-plain"
    before = estimates(run)
    assert main(["report", str(run)]) in (0, 3)
    after = estimates(run)
    assert len(before) > 25
    assert set(before) - DROPPED <= set(after)
    kept = {k: v for k, v in before.items() if k not in DROPPED}
    changed = {k for k, v in kept.items() if v is not None and after[k] != pytest.approx(v, rel=1e-6, abs=1e-9)}
    assert changed <= MENDED, {k: (before[k], after[k]) for k in changed}
    assert "temperature 1, full vocabulary" in (run / "report.html").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_runs_of_old_compare(runs: Path, version: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(runs / f"v{version}-plain"), str(runs / f"v{version}-cold"), "--json"]) in (0, 3)
    result = json.loads(capsys.readouterr().out)
    assert [r["sampling"] for r in result["runs"]] == ["temperature 1, full vocabulary", "temperature 0.6"]


DROPPED = {("detectability", name) for name in ("kappa", "exponent", "law_fit_p")}
"""Estimates whose intervals did not hold, and which nothing else needed."""
MENDED: set[tuple[str, str]] = {
    ("self_recognition", "sampler_audit_p"),
    ("detectability", "auc_last"),
    ("detectability", "smallest_auc"),
    ("memory", "prefix_reach_tokens"),
}
"""Estimates whose method was mended since the first record schemas."""
