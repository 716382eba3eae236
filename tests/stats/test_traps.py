import numpy as np
import pytest

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.intervals import Interval, clopper_pearson
from freerun.stats.loops.traps import count_traps, escape_per_token, time_in_trap

# text 0 (document 0): loop at tokens 2, 3, then left; again at 5, the last. text 1 (document 0): none. text 2 (document 1):
# a loop at its first token, left at once; text 3 (document 2): at its last token only, so that no token is at risk
COMPLETE = np.array([0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 1], bool)
SEQUENCE = np.array([0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3])
DOCUMENT = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2])


def test_traps_by_hand() -> None:
    found = count_traps(COMPLETE, SEQUENCE, DOCUMENT)
    # entered: text 0 twice, texts 2 and 3; at risk: text 0 at tokens 3 and 4, text 2 at its second
    assert (found.n_traps, found.n_open, found.n_escapes, found.n_tokens, found.n_groups) == (4, 2, 2, 3, 2)
    assert escape_per_token(COMPLETE, SEQUENCE, DOCUMENT).value == pytest.approx(2 / 3)


def test_mass_off_the_loop_is_averaged_over_the_same_tokens() -> None:
    mass = np.full(12, 0.9)
    mass[[2, 3, 8]] = 0.7, 0.6, 0.5
    found = escape_per_token(COMPLETE, SEQUENCE, DOCUMENT, loop_mass=mass)
    assert found.value == pytest.approx((0.3 + 0.4 + 0.5) / 3)
    assert found.n == 2


def test_time_is_tokens_at_risk_per_escape() -> None:
    time = time_in_trap(escape_per_token(COMPLETE, SEQUENCE, DOCUMENT))
    assert time.tokens == pytest.approx(1.5)
    assert time.low is not None
    assert time.low >= 1
    never = time_in_trap(Interval(0.0, 0.0, 0.01, 0.95, 5))
    assert (never.tokens, never.low, never.high) == (None, pytest.approx(100.0), None)


def test_none_left_is_not_never() -> None:
    # five documents with a trap that goes on for 20 tokens at risk: 100 tokens without an escape
    complete, whose = np.ones(105, bool), np.repeat(np.arange(5), 21)
    assert escape_per_token(complete, whose, whose).high == pytest.approx(clopper_pearson(0, 100).high)


def test_one_document_with_a_trap_gives_no_interval() -> None:
    with pytest.raises(TooFewDocuments):
        escape_per_token(COMPLETE[:7], SEQUENCE[:7], DOCUMENT[:7])


def test_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="one each per token"):
        count_traps(COMPLETE, SEQUENCE, DOCUMENT[:3])


def test_time_in_censored_traps_is_not_shortened_by_the_cap() -> None:
    """Traps that are left with chance 0.02 a token, followed for 30: hardly half are seen to end. 300 trials of 40 documents;
    misses of the interval of 1/0.02 up to 0.09: with a true rate of 0.05 exceeded with probability .001."""
    rng = np.random.default_rng(8)
    misses = 0
    for _ in range(300):
        stay = rng.geometric(0.02, 40)
        complete = (np.arange(31)[None, :] < stay[:, None]).ravel()
        whose = np.repeat(np.arange(40), 31)
        time = time_in_trap(escape_per_token(complete, whose, whose))
        assert time.low is not None
        misses += not time.low <= 50.0 <= (time.high or np.inf)
    assert misses / 300 <= 0.09
