"""A server that comes back with other weights under the same name: no run is of two models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freerun.errors import BackendError, DataError
from freerun.jobs.audit.audit import audit
from freerun.jobs.distance.distance import distance
from freerun.jobs.served.drawing import DrawOptions, verify_from
from tests.predictors.servers import fake as fakes
from tests.predictors.servers.checkpoint import Checkpoint
from tests.predictors.servers.conftest import Served
from tests.predictors.servers.fake import TABLE, Fake
from tests.predictors.servers.test_audit import corpus

__all__ = ["corpus"]  # a fixture
SIZE: dict[str, Any] = {"documents": 40, "prefix": 8, "tokens": 16}


def job(kind: str, server: Any, corpus: str, out: Path) -> Any:
    if kind == "audit":
        return audit(server, corpus, out=out, batch=8, **SIZE)
    if kind == "distance":
        return distance(server, Checkpoint(), corpus, out=out, **SIZE)
    return verify_from(server, Checkpoint(), corpus, draw=DrawOptions(**SIZE), out=out)


def swap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another law of the same size, under the same name."""
    monkeypatch.setattr(fakes, "TABLE", np.roll(TABLE, 1, axis=0))


@pytest.mark.parametrize("kind", ["audit", "distance", "verify"])
def test_a_run_does_not_go_on_with_other_weights(
    kind: str, served: Served, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, out = Fake(), tmp_path / "run"
    server = served("vllm", fake)
    fake.faults = lambda path, body, attempt: "forbidden" if len(fake.seen) > 30 else None
    with pytest.raises(BackendError, match="HTTP 401"):
        job(kind, server, corpus, out)
    fake.faults = lambda path, body, attempt: None
    with monkeypatch.context() as patch:
        swap(patch)
        with pytest.raises(BackendError, match=r"serves another law than the one that .*run was begun with"):
            job(kind, server, corpus, out)
    job(kind, server, corpus, out)
    (out / "served_law.json").write_text("{")
    with pytest.raises(DataError, match=r"served_law.json is damaged"):
        job(kind, server, corpus, out)


@pytest.mark.parametrize("kind", ["audit", "distance", "verify"])
def test_weights_that_change_while_a_run_goes_on_spoil_it(
    kind: str, served: Served, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, out = Fake(), tmp_path / "run"
    server = served("vllm", fake)

    def after_a_while(path: str, body: dict[str, Any], attempt: int) -> None:
        if len(fake.seen) > 30:
            swap(monkeypatch)

    fake.faults = after_a_while
    for _ in range(2):  # the second time all parts are there, and the first model is back
        with pytest.raises(
            BackendError, match=r"its law changed while .*run was measured, which may hold texts of two models"
        ):
            job(kind, server, corpus, out)
        fake.faults = lambda path, body, attempt: None
        monkeypatch.setattr(fakes, "TABLE", TABLE)
    (held,) = json.loads((out / "served_law.json").read_text()).values()
    assert held["changed"] is True
    job(kind, server, corpus, tmp_path / "anew")


def test_two_servers_of_one_name_are_told_apart(served: Served, corpus: str, tmp_path: Path) -> None:
    a, b = served("vllm", Fake()), served("sglang", Fake())
    distance(a, b, corpus, out=tmp_path / "run", **SIZE)
    assert len(json.loads((tmp_path / "run" / "served_law.json").read_text())) == 2
    with pytest.raises(DataError, match=r"holds a run of another plan \(seed: 0 there, 1 asked\)"):
        distance(a, b, corpus, out=tmp_path / "run", seed=1, **SIZE)


@pytest.mark.parametrize("kind", ["distance", "verify"])
def test_a_folder_of_others_is_left_alone(kind: str, served: Served, corpus: str, tmp_path: Path) -> None:
    server = served("vllm", Fake())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match=r"mine is there and holds something else"):
        job(kind, server, corpus, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    job(kind, server, corpus, tmp_path / "run")
    assert not (tmp_path / "run" / ".lock").exists()
