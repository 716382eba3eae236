"""A cluster of two nodes on this machine: the same results, whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freerun.jobs.grid.grid import run_grid
from freerun.jobs.grid.plan import read_grid
from freerun.runs.executors.job import Done
from freerun.runs.executors.ray import OnRay
from tests.runs.executor_jobs import Squares

ray = pytest.importorskip("ray")
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_raylet_start_wait_time_s"] = "120"  # noqa: SIM112  spelled by Ray; other tests run beside this one
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    made.add_node(**NODE)
    yield made
    made.shutdown()


def test_killed_workers_and_poisoned_units(cluster: Any, tmp_path: Path) -> None:
    job = Squares(str(tmp_path))
    units = ["1", "2", "3", "once-4", "wrong-5", "deadly-7", "9"]
    outcomes = list(OnRay(cluster.address).map(job, units))
    done = {o.unit: o.value[0] for o in outcomes if isinstance(o, Done)}
    assert done == {"1": 1, "2": 4, "3": 9, "once-4": 16, "9": 81}
    left = {o.unit: o.reasons for o in outcomes if not isinstance(o, Done)}
    assert left.keys() == {"wrong-5", "deadly-7"}
    assert [str(r) for r in left["wrong-5"]] == ["the model's law is NaN"] * 3
    assert all("its worker was lost" in str(reason) for reason in left["deadly-7"])
    assert not ray.is_initialized()


def test_a_killed_node_costs_its_unit(cluster: Any, tmp_path: Path) -> None:
    """One node goes while both work; the one that is left does all."""
    job = Squares(str(tmp_path))
    node = cluster.add_node(**NODE)
    outcomes = OnRay(cluster.address, workers=3).map(job, [str(n) for n in range(60)])
    first = next(outcomes)
    assert isinstance(first, Done)
    cluster.remove_node(node, allow_graceful=False)
    rest = list(outcomes)
    assert {o.unit: o.value[0] for o in [first, *rest] if isinstance(o, Done)} == {str(n): n * n for n in range(60)}


PLAN = """
models = ["world/markov", {spec = "world/markov+temperature,t=0.5", label = "cold"}]
corpora = ["world/markov", "world/authors"]
[settings]
documents = 16
tokens = 8
prefix = 4
batch = 8
dtype = ["fp32", "bf16"]
"""


def test_a_grid_whose_driver_is_killed_twice_ends_in_the_page_of_an_undisturbed_one(
    cluster: Any, tmp_path: Path
) -> None:
    """2 models × 2 corpora × 2 number formats."""
    (tmp_path / "plan.toml").write_text(PLAN)
    out = tmp_path / "grid"
    words = [sys.executable, "-m", "freerun", "grid", str(tmp_path / "plan.toml"), "-o", str(out)]
    words += ["--executor", f"ray:{cluster.address}"]
    before = 0
    for wanted in (3, 2):  # parts of the first cell, then parts or a cell more
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and made(out) < before + wanted:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        before = made(out)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    command = f"freerun grid {tmp_path / 'plan.toml'} -o {out}"
    alone = run_grid(read_grid(tmp_path / "plan.toml"), out=tmp_path / "alone", command=command)
    assert without_times(out) == without_times(alone.path)
    assert (out / "report.html").read_text() == alone.report.read_text()


def made(out: Path) -> int:
    """Parts and summaries that are there."""
    return len(list(out.glob("cells/*/sequences/*.parquet"))) + len(list(out.glob("summaries/*.json")))


def without_times(path: Path) -> Any:
    held = json.loads((path / "result.json").read_text())
    return {**held, "created": ""}
