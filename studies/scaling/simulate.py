"""A grid on workers that are not there: the board that executors hand out from, a clock that jumps, and costs for every piece."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from freerun.runs.executors.board import Board, Ticket
from freerun.runs.executors.job import Job
from studies.scaling.costs import Costs

Kind = Literal["plan", "measure", "conclude"]


@dataclass(frozen=True)
class Piece:
    """A unit of a made-up grid."""

    kind: Kind
    cell: int
    model: int
    n_tokens: int
    last: bool = False


@dataclass(frozen=True)
class Load:
    """What is asked for: so many tokens in so many cells of so many models, in parts of so many tokens."""

    tokens: int
    cells: int
    models: int
    part_tokens: int

    @property
    def tokens_a_cell(self) -> int:
        return self.tokens // self.cells


@dataclass(frozen=True)
class Simulated:
    """What a simulation ends with: seconds, and the share of them that workers worked and the driver was busy."""

    seconds: float
    busy: float
    driver: float
    alone_seconds: float
    """Of the same on one worker."""
    concluding: float
    """Share of the seconds that one worker needs to derive the findings of one cell."""
    loads: int

    @property
    def efficiency(self) -> float:
        return self.busy


@dataclass(frozen=True)
class _Pieces(Job[Piece, None]):
    def needs(self, unit: Piece) -> str:
        return str(unit.model)


@dataclass
class _State:
    load: Load
    left: dict[int, int] = field(default_factory=dict)

    def then(self, unit: Piece, _: None) -> Sequence[Piece]:
        if unit.kind == "plan":
            n = max(1, -(-self.load.tokens_a_cell // self.load.part_tokens))
            self.left[unit.cell] = n
            return [Piece("measure", unit.cell, unit.model, self.load.tokens_a_cell // n) for _ in range(n)]
        if unit.kind == "measure":
            self.left[unit.cell] -= 1
            if not self.left[unit.cell]:
                return [Piece("conclude", unit.cell, unit.model, self.load.tokens_a_cell)]
        return ()


def seconds_of(piece: Piece, costs: Costs) -> float:
    """What a piece takes a worker that has its model."""
    if piece.kind == "plan":
        return costs.plan_seconds
    if piece.kind == "measure":
        return piece.n_tokens * (1.0 / costs.tokens_per_second + costs.place_seconds_a_token)
    return costs.conclude_seconds + costs.conclude_seconds_a_token * piece.n_tokens


def simulate(load: Load, workers: int, costs: Costs, *, cores: int | None = None) -> Simulated:
    """Run a load on so many workers; with fewer cores than workers they share them."""
    state = _State(load)
    cells = [Piece("plan", i, i % load.models, 0) for i in range(load.cells)]
    board: Board[Piece, None] = Board(_Pieces(), sorted(cells, key=lambda p: p.model), state.then)
    slower = max(1.0, workers / cores) if cores else 1.0
    now = driver_free = driver_busy = worked = 0.0
    idle: list[tuple[int, str | None]] = [(w, None) for w in range(workers)]
    running: list[tuple[float, int, str, Ticket[Piece]]] = []
    loads = 0
    while board.open:
        waiting = []
        for worker, loaded in idle:
            ticket = board.take(loaded)
            if ticket is None:
                waiting.append((worker, loaded))
                continue
            need, piece = str(ticket.unit.model), ticket.unit
            loads += need != loaded
            driver_free = max(now, driver_free) + costs.driver_seconds_a_unit
            driver_busy += costs.driver_seconds_a_unit
            takes = slower * (seconds_of(piece, costs) + (costs.load_seconds if need != loaded else 0.0))
            worked += takes
            heapq.heappush(running, (driver_free + takes, worker, need, ticket))
        idle = waiting
        end, worker, need, ticket = heapq.heappop(running)
        now = end
        board.done(ticket, None)
        idle.append((worker, need))
    alone = worked / slower
    concluding = seconds_of(Piece("conclude", 0, 0, load.tokens_a_cell), costs) / now
    return Simulated(now, worked / (now * workers), driver_busy / now, alone, concluding, loads)


def bound_by(made: Simulated) -> str:
    """What a longer or shorter run would hang on."""
    if made.driver > 0.8:
        return "the driver"
    if made.concluding > 0.25:
        return "deriving the findings of a cell, which one worker does"
    if made.busy < 0.6:
        return "too few units for the workers"
    return "the workers"
