"""What measuring does when a backend fails: fewer rows at once where memory is short, and which row the fault comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from freerun.errors import BackendError

Row = tuple[int, int]
"""Index of a pair in its block, and of its continuation."""
Attempt = Callable[[Sequence[Row], Callable[[int], None]], None]

_SAYINGS = ("out of memory", "not enough memory", "n't allocate", "cannot allocate", "failed to allocate", "bad_alloc")


def out_of_memory(error: BaseException) -> bool:
    """Whether this says that memory could not be had: Python's, NumPy's, torch's and the CPU allocator's ways of saying so."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAYINGS)


def without_memory(unit: str, reason: str) -> BackendError:
    """What to say when one row is too many."""
    said = (reason.strip().splitlines() or ["no memory"])[0][:160]
    return BackendError(
        f"out of memory with one row at once, in {unit} ({said}); take fewer --tokens, a shorter --prefix, a smaller model "
        "or --dtype bf16, or free some memory (with room for one row, a smaller --batch is chosen by itself); what was "
        "finished before is kept"
    )


def slices(n_pairs: int, replicates: int, width: int) -> Iterator[list[Row]]:
    """All rows in order, at most `width` at once; pairs are kept whole where they fit.

    >>> list(slices(2, 2, 3)), list(slices(1, 2, 1))
    ([[(0, 0), (0, 1)], [(1, 0), (1, 1)]], [[(0, 0)], [(0, 1)]])
    """
    if width >= replicates:
        step = width // replicates
        for start in range(0, n_pairs, step):
            yield [(i, j) for i in range(start, min(start + step, n_pairs)) for j in range(replicates)]
        return
    for i in range(n_pairs):
        for start in range(0, replicates, width):
            yield [(i, j) for j in range(start, min(start + width, replicates))]


def blamed(rows: Sequence[Row], attempt: Attempt) -> tuple[Row, int] | None:
    """The row that fails by itself, found by halving, and the tokens of it that were done before; None where none does."""

    def fails(some: Sequence[Row]) -> int | None:
        done = 0

        def count(n: int) -> None:
            nonlocal done
            done += n

        try:
            attempt(some, count)
        except BackendError:
            return done
        return None

    if len(rows) == 1:
        done = fails(rows)
        return None if done is None else (rows[0], done)
    half = len(rows) // 2
    for some in (rows[:half], rows[half:]):
        if fails(some) is not None:
            return blamed(some, attempt)
    return None
