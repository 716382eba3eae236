"""Every parser on what nobody meant to type or write: it works, or it says so in one line, and writes nowhere else.

Deterministic (`derandomize`), a few seconds in all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from freerun.errors import FreerunError

quick = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
few = settings(quick, max_examples=25)

ANYTHING = st.text(st.characters(codec=None), max_size=40)
NUMBERS = st.sampled_from(
    ["0", "-1", "1", "0.5", "1e400", "nan", "inf", "-inf", "1e-400", "٣", "1_0", " 1", "9" * 5000, ""]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | ANYTHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANYTHING, inner, max_size=3),
    max_leaves=6,
)

NAMES = ("../out", "/tmp/out", "a/../../b", "nul\0", "x" * 5000, "\ud800", "\u202e", "-o", ".", "", "C:\\x", "~/x")
"""Names that may point elsewhere."""


def harmless(act: Callable[[], object]) -> bool:
    """Whether it worked; anything but one line of a FreerunError fails the test."""
    try:
        act()
    except FreerunError as error:
        said = str(error)
        assert said.strip()
        return False
    return True


@contextlib.contextmanager
def nothing_else_changes(folder: Path) -> Iterator[None]:
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    yield
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
