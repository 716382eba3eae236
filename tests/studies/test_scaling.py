"""The simulation of a grid on workers that are not there, against what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from studies.scaling.costs import Costs
from studies.scaling.simulate import Load, bound_by, simulate

FREE = Costs(0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""A hundred tokens in a second, and nothing else costs anything."""


def test_units_that_share_out_evenly_take_their_share() -> None:
    load = Load(tokens=64_000, cells=4, models=1, part_tokens=1000)
    for workers in (1, 2, 4, 8):
        made = simulate(load, workers, FREE)
        assert made.seconds == pytest.approx(640 / workers)
        assert made.busy == pytest.approx(1.0)
        assert bound_by(made) == "the workers"
    assert simulate(load, 4, FREE, cores=2).seconds == pytest.approx(640 / 2)


def test_a_model_is_loaded_once_by_whoever_works_on_it() -> None:
    load = Load(tokens=64_000, cells=8, models=4, part_tokens=1000)
    assert simulate(load, 1, replace(FREE, load_seconds=5.0)).loads == 4
    made = simulate(load, 4, replace(FREE, load_seconds=5.0))
    assert 4 <= made.loads <= 8  # near the end, whoever is idle helps the others
    assert made.seconds < 640 / 4 + 4 * 5.0


def test_findings_of_one_cell_are_one_workers() -> None:
    load = Load(tokens=64_000, cells=1, models=1, part_tokens=1000)
    made = simulate(load, 64, replace(FREE, conclude_seconds_a_token=0.01))
    assert made.seconds == pytest.approx(10 + 640)
    assert bound_by(made).startswith("deriving the findings")


def test_a_slow_driver_binds() -> None:
    load = Load(tokens=64_000, cells=64, models=1, part_tokens=1000)
    made = simulate(load, 64, replace(FREE, driver_seconds_a_unit=1.0))
    assert made.seconds >= 3 * 64
    assert bound_by(made) == "the driver"
    assert made.concluding == 0.0
