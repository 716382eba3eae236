"""Every causal family that the installed transformers knows: its laws are those of fresh passes, or it is refused by name."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "studies" / "families"
TABLE = json.loads((STUDY / "result.json").read_text())
KNOWN = {row["name"]: row for row in TABLE["families"]}


@pytest.mark.parametrize("name", KNOWN)
def test_the_laws_of_a_family_are_those_of_fresh_passes(name: str) -> None:
    import torch

    from studies.families import contract

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of transformers, about configs made small
            done = contract.outcome(name)
    finally:
        torch.set_num_threads(threads)
    assert done.largest_gap_nats <= contract.LARGEST_GAP_NATS
    assert (done.kind == "refused") == (KNOWN[name]["kind"] == "refused")
    if done.kind == "refused":
        assert done.words.split(" (")[0] == KNOWN[name]["words"].split(" (")[0]
    else:
        assert done.entropy_nats < 3.9  # laws near uniform would hide everything


def test_the_table_knows_every_family() -> None:
    from studies.families import contract, tiny

    assert set(contract.names()) == set(KNOWN)
    assert TABLE["left_out"] == tiny.LEFT_OUT
    assert set(tiny.FAMILIES) <= {*KNOWN, *tiny.LEFT_OUT}


def test_the_page_shows_the_table() -> None:
    """If it fails: python -m studies.families.run --table"""
    from studies.families import run

    assert run.table(TABLE) in (ROOT / "docs" / "models.md").read_text()


def test_hardly_any_family_is_refused_or_left_out() -> None:
    refused = [name for name, row in KNOWN.items() if row["kind"] == "refused"]
    assert len(refused) + len(TABLE["left_out"]) < 25
    assert {"llama", "bamba", "lfm2", "mamba", "qwen3_next", "rwkv", "phi3 longrope"} <= set(KNOWN) - set(refused)
