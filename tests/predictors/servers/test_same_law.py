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
from freerun.jobs.grid.single import audit_on
from freerun.jobs.served.drawing import DrawOptions, verify_from
from freerun.jobs.served.same_law import SameLaw
from freerun.runs.executors.local import Local
from freerun.runs.executors.pool import Pool
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


def executed(executor: Any, served: Served, corpus: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An audit by workers whose server becomes another model when it is asked for texts of the run; and how to do it again."""
    fake = Fake()
    server = served("vllm", fake)
    size = {**SIZE, "tokens": 12}  # other than the trial's

    def after_a_while(path: str, body: dict[str, Any], attempt: int) -> None:
        if body.get("max_tokens") == size["tokens"]:
            swap(monkeypatch)

    fake.faults = after_a_while

    def again(folder: Path) -> Any:
        return audit_on(executor, f"vllm/{server.dialect.address.typed}", corpus, out=folder, **size)

    with pytest.raises(BackendError, match=r"its law changed while .*run was measured"):
        again(out)
    fake.faults = lambda path, body, attempt: None
    monkeypatch.setattr(fakes, "TABLE", TABLE)
    return again


def test_whoever_concludes_a_run_of_several_workers_asks_once_more(
    served: Served, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = executed(Local(), served, corpus, tmp_path / "run", monkeypatch)
    with pytest.raises(
        BackendError, match="its law changed while"
    ):  # nothing is left to measure, and the first model is back
        again(tmp_path / "run")
    done = again(tmp_path / "anew")
    (held,) = json.loads((tmp_path / "anew" / "served_law.json").read_text()).values()
    assert held["open"] is False
    assert "requests" in done.findings


def test_that_is_so_in_another_process(
    served: Served, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed(Pool(1), served, corpus, tmp_path / "run", monkeypatch)
    (held,) = json.loads((tmp_path / "run" / "served_law.json").read_text()).values()
    assert held["changed"] is True


def test_a_run_that_was_stopped_before_its_last_look_takes_it_later(
    served: Served, corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("audit", "distance", "verify"):
        server, out = served("vllm", Fake()), tmp_path / kind
        with monkeypatch.context() as patch:
            patch.setattr(SameLaw, "end", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                job(kind, server, corpus, out)
        with monkeypatch.context() as patch:
            swap(patch)
            with pytest.raises(BackendError, match="its law changed while"):
                job(kind, server, corpus, out)


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
    with pytest.raises(DataError, match=r"mine is there and (holds something else|is not a run)"):
        job(kind, server, corpus, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    job(kind, server, corpus, tmp_path / "run")
    assert not (tmp_path / "run" / ".lock").exists()
