"""What the studies of rounded weights compute, by hand, and that the page of verify has their numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from studies.verify.second_model import HERE
from studies.verify.seeded import miss, tokens_needed

PAGE = (Path(__file__).parents[2] / "docs" / "verify.md").read_text("utf-8")


def test_a_miss_is_what_the_cells_do_not_share() -> None:
    """Cells [0, .2), [.2, .5), [.5, 1) and [0, .4), [.4, .6), [.6, 1): they share .2 + .1 + .4. A simulation agrees."""
    own, other = np.array([0.2, 0.3, 0.5]), np.array([0.4, 0.2, 0.4])
    assert miss(own, other) == pytest.approx(0.3)
    assert miss(own, own) == pytest.approx(0.0)
    u = np.random.default_rng(0).random(20_000)
    first, second = (np.searchsorted(np.cumsum(law), u, side="right") for law in (own, other))
    assert (first != second).mean() == pytest.approx(0.3, abs=0.02)  # six standard errors


def test_tokens_needed_by_hand() -> None:
    """Half of the tokens missed: .5^5 = .031 is the first power below .05. Where one text is always missed and one never, none is
    enough."""
    assert tokens_needed(np.full((3, 20), 0.5)) == 5
    with pytest.raises(ValueError, match="more than"):
        tokens_needed(np.stack([np.ones(80), np.zeros(80)]))


def test_the_page_has_the_committed_numbers() -> None:
    rows = json.loads((HERE / "second_model.json").read_text("utf-8"))["rows"]
    of = {(r["drawn_by"], r["second"], r["tokens"]): r for r in rows}
    for tokens in (1024, 2048, 2560):
        r = of["int8", "int8", tokens]
        assert f"{r['rate']:.0%} ({100 * r['low']:.0f} to {100 * r['high']:.0f})" in PAGE
        assert of["model", "int8", tokens]["rate"] <= 0.0005 + 3 * (0.0005 / r["files"]) ** 0.5
    for row in json.loads((HERE / "seeded.json").read_text("utf-8"))["rows"]:
        assert f"{row['miss_share']:.0%}" in PAGE
