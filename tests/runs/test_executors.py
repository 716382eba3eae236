"""One interface over several ways to get work done: what each gives, what a killed worker costs, what a poisoned unit does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from freerun.errors import BackendError, BrokenLaw, DataError, UsageError
from freerun.runs.executors.board import Board
from freerun.runs.executors.job import Done, Executor, Poisoned, Reason, reason_of, refuse_poisoned
from freerun.runs.executors.local import Local
from freerun.runs.executors.named import executor_named, pool_of
from freerun.runs.executors.pool import Pool
from freerun.runs.executors.ray import OnRay
from tests.runs.executor_jobs import Squares

PLAIN = ["1", "2", "3", "4", "5"]


def outcomes(executor: Executor, job: Squares, units: list[str]) -> tuple[dict[str, int], list[Poisoned[str]]]:
    done, poisoned = {}, []
    for outcome in executor.map(job, units):
        if isinstance(outcome, Done):
            done[outcome.unit] = outcome.value[0]
        else:
            poisoned.append(outcome)
    return done, poisoned


@pytest.mark.parametrize("executor", [Local(), Pool(2)], ids=["local", "pool"])
def test_every_unit_is_done_and_a_poisoned_one_is_named(executor: Executor, tmp_path: Path) -> None:
    job = Squares(str(tmp_path))
    done, poisoned = outcomes(executor, job, [*PLAIN, "wrong-6", "7"])
    assert done == {"1": 1, "2": 4, "3": 9, "4": 16, "5": 25, "7": 49}
    assert [str(p) for p in poisoned] == ["wrong-6 failed 3 times, each time: the model's law is NaN"]
    assert job.started() <= 2


def test_a_killed_worker_costs_its_unit_and_one_that_kills_thrice_is_left(tmp_path: Path) -> None:
    job = Squares(str(tmp_path))
    done, poisoned = outcomes(Pool(2), job, [*PLAIN, "once-6", "deadly-7", "once-9"])
    assert done == {"1": 1, "2": 4, "3": 9, "4": 16, "5": 25, "once-6": 36, "once-9": 81}
    assert [p.unit for p in poisoned] == ["deadly-7"]
    assert "failed 3 times, each time: its worker was ended by SIGKILL (often for want of memory)" in str(poisoned[0])


def test_units_bring_about_others_which_come_next() -> None:
    board: Board[str, int] = Board(Squares(""), ["2", "4"], lambda unit, value: ["6", "8"] if unit == "2" else [])
    order = []
    while (ticket := board.take("even")) is not None:
        order.append(ticket.unit)
        board.done(ticket, 0)
    assert order == ["2", "6", "8", "4"]
    assert not board.open


def test_workers_keep_to_what_they_have_loaded() -> None:
    board: Board[str, int] = Board(Squares(""), ["1", "2", "3", "4"])
    first, second = board.take(None), board.take(None)
    assert first is not None
    assert second is not None
    assert {first.unit, second.unit} == {"1", "2"}  # nobody had the other one loaded
    again = board.take("odd")
    assert again is not None
    assert again.unit == "3"
    last = board.take("odd")
    assert last is not None
    assert last.unit == "4"  # nothing else was left


def test_a_unit_that_failed_comes_after_the_others() -> None:
    board: Board[str, int] = Board(Squares(""), ["1", "3"])
    ticket = board.take(None)
    assert ticket is not None
    assert board.failed(ticket, Reason("first")) is None
    order = []
    while (ticket := board.take("odd")) is not None:
        order.append(ticket.unit)
        last = board.failed(ticket, Reason("again")) if ticket.unit == "1" else board.done(ticket, 1)
    assert order == ["3", "1", "1"]
    assert isinstance(last, Poisoned)
    assert [str(r) for r in last.reasons] == ["first", "again", "again"]


def test_names() -> None:
    assert executor_named("local") == Local()
    pool = executor_named("pool:3")
    assert isinstance(pool, Pool)
    assert pool.workers == 3
    assert executor_named("ray") == OnRay()
    assert executor_named("ray:10.0.0.1:6379,workers=4,gpus=0.5,big=1") == OnRay(
        "10.0.0.1:6379", 4, 1.0, 0.5, {"big": 1.0}
    )
    assert executor_named("ray,cpus=2") == OnRay("", cpus=2.0)
    assert pool_of(1, 9) == Local()
    assert pool_of(4, 2) == Pool(2)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("pool", "a number of processes from 1 to 256"),
        ("pool:0", "a number of processes"),
        ("pools:2", "did you mean 'pool'"),
        ("ray,workers", "'workers' is not a NAME=NUMBER"),
        ("ray,workers=2,workers=4", "workers is given twice"),
        ("ray,workers=1.5", "workers is a whole number"),
        ("local:2", "there are local, pool:N and ray"),
    ],
)
def test_names_that_are_none(spec: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        executor_named(spec)


def test_what_is_said_of_poisoned_units() -> None:
    refuse_poisoned([])
    bad = Poisoned("u", "part free-00001", (Reason("a"), Reason("b"), Reason("the model's law is NaN", BrokenLaw)))
    with pytest.raises(
        BackendError, match=r"part free-00001 failed 3 times, the last time: .*NaN \(and 1 more\); all other"
    ):
        refuse_poisoned([bad, bad])
    with pytest.raises(BackendError, match="cannot be had"):  # the kind of an error is no matter of its words
        refuse_poisoned([Poisoned("u", "part", (Reason("cannot be had"),))])
    with pytest.raises(DataError, match="No space left"):
        refuse_poisoned([Poisoned("u", "part", (reason_of(DataError("No space left on device")),))])
    with pytest.raises(BackendError, match="ValueError: odd"):
        refuse_poisoned([Poisoned("u", "part", (reason_of(ValueError("odd")),))])


def test_ray_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import builtins

    real = builtins.__import__

    def without_ray(name: str, *rest: object, **named: object) -> object:
        if name == "ray":
            raise ImportError(name)
        return real(name, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(UsageError, match=r"pip install 'freerun\[ray\]'"):
        list(OnRay().map(Squares(str(tmp_path)), ["1"]))


def test_threads_are_shared_out() -> None:
    pool = executor_named("pool:64")
    assert isinstance(pool, Pool)
    assert pool.threads == 1
    assert "OMP_NUM_THREADS" in os.environ
