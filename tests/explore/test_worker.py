"""One thread, a short queue, short jobs first, and work that ends when nobody waits for it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from freerun.errors import UsageError
from freerun.explore.worker import Answer, Busy, Failure, Progress, Turn, Worker


class Listener:
    """What a job told, and when it was over."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.over = threading.Event()

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        if not isinstance(event, Progress):
            self.over.set()


@pytest.fixture
def worker() -> Any:
    made = Worker(most_waiting=2)
    yield made
    made.close()


class Gate:
    """A job that stays at work until it is let go."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, turn: Turn) -> str:
        self.began.set()
        while not self.go.is_set():
            turn()
        return "gate"


def test_an_answer_its_progress_and_a_failure(worker: Worker) -> None:
    def work(turn: Turn) -> int:
        turn.expect(3)
        turn.advance(2)
        turn.advance(5)
        return 7

    heard, refused = Listener(), Listener()
    worker.submit(work, heard, short=False)
    assert heard.over.wait(10)
    assert heard.events == [Progress(2, 3), Progress(3, 3), Answer(7)]

    def wrong(turn: Turn) -> None:
        raise UsageError("not like this")

    worker.submit(wrong, refused, short=True)
    assert refused.over.wait(10)
    assert refused.events == [Failure("not like this")]
    broken = Listener()
    worker.submit(lambda turn: 1 // 0, broken, short=True)
    assert broken.over.wait(10)
    assert "internal error" in broken.events[0].message


def test_a_short_job_goes_between_the_steps_of_a_long_one(worker: Worker) -> None:
    gate, long, short = Gate(), Listener(), Listener()
    worker.submit(gate, long, short=False)
    assert gate.began.wait(10)
    thread: list[Any] = []
    worker.submit(lambda turn: thread.append(threading.current_thread()) or 1, short, short=True)
    assert short.over.wait(10)
    assert not long.over.is_set()
    assert thread[0] is worker._thread
    gate.go.set()
    assert long.over.wait(10)


def test_a_full_queue_refuses_and_a_cancelled_job_makes_room(worker: Worker) -> None:
    gate, first = Gate(), Listener()
    worker.submit(gate, first, short=False)
    assert gate.began.wait(10)
    waiting = [worker.submit(lambda turn: 1, Listener(), short=False) for _ in range(2)]
    with pytest.raises(Busy):
        worker.submit(lambda turn: 1, Listener(), short=False)
    waiting[0].cancel()
    worker.submit(lambda turn: 1, Listener(), short=False)
    gate.go.set()
    assert first.over.wait(10)


def test_a_cancelled_job_ends_and_says_nothing(worker: Worker) -> None:
    gate, heard, after = Gate(), Listener(), Listener()
    ticket = worker.submit(gate, heard, short=False)
    assert gate.began.wait(10)
    ticket.cancel()
    worker.submit(lambda turn: 1, after, short=False)
    assert after.over.wait(10)
    assert heard.events == []


def test_closing_ends_the_job_and_the_thread() -> None:
    worker, gate = Worker(), Gate()
    worker.submit(gate, Listener(), short=False)
    assert gate.began.wait(10)
    worker.close()
    assert not worker._thread.is_alive()
