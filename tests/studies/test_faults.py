"""A part of the campaign of faults: whatever is broken, the same command ends in the undisturbed run, or names a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies.faults.kinds import FAULTS
from studies.faults.run import GOOD, HERE, PAGE, campaign
from studies.files import read_result


def test_forty_faults_lose_nothing(tmp_path: Path) -> None:
    judged = campaign([(f, f.in_ci) for f in FAULTS], tmp_path)
    assert len(judged) >= 40
    assert not [j for j in judged if j.verdict not in GOOD]


def test_the_whole_campaign_lost_nothing() -> None:
    """What is committed."""
    held = read_result(HERE)
    assert held["injected"] >= 300
    assert set(held["verdicts"]) <= set(GOOD)
    assert held["by_kind"].keys() == {f.kind for f in FAULTS}
    assert f"| **all** | **{held['injected']}** |" in PAGE.read_text()


@pytest.mark.parametrize("name", ["txt.gz", "jsonl.zst", "zip"])
def test_bombs_were_bounded(name: str) -> None:
    bomb = read_result(HERE)["bombs"][name]
    assert bomb["exit_code"] in (2, 4)
    assert bomb["largest_mib"] < 1000 < bomb["unpacked_bytes"] / 2**20
