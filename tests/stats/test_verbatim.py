import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from freerun.stats.verbatim import longest_common_run

TEXTS = st.lists(st.integers(0, 3), max_size=25).map(lambda x: np.array(x, dtype=np.int64))


def grams(ids: np.ndarray, n: int) -> set[tuple[int, ...]]:
    return {tuple(ids[i : i + n].tolist()) for i in range(ids.size - n + 1)}


@given(a=TEXTS, b=TEXTS)
@settings(deadline=None)
def test_longest_run_is_the_definition(a: np.ndarray, b: np.ndarray) -> None:
    expected = max((n for n in range(1, 26) if grams(a, n) & grams(b, n)), default=0)
    assert longest_common_run(a, b) == longest_common_run(b, a) == expected
