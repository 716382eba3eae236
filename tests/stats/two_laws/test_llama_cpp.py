"""llama.cpp's table against its formulas written out, and its windows against a loop."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from freerun.errors import DataError, TooFewDocuments
from freerun.stats.two_laws.llama_cpp import LlamaCppTable, llama_cpp_table
from freerun.stats.two_laws.texts import TwoLaws
from freerun.stats.two_laws.windows import windows
from studies.two_laws.worlds import PAIRS

NAMES = """Mean PPL(Q)|Mean PPL(base)|Cor(ln(PPL(Q)), ln(PPL(base)))|Mean ln(PPL(Q)/PPL(base))|Mean PPL(Q)/PPL(base)
Mean PPL(Q)-PPL(base)|Mean KLD|Maximum KLD|99.9% KLD|99.0% KLD|95.0% KLD|90.0% KLD|Median KLD|10.0% KLD|5.0% KLD|1.0% KLD|0.1% KLD
Minimum KLD|Mean Δp|Maximum Δp|99.9% Δp|99.0% Δp|95.0% Δp|90.0% Δp|75.0% Δp|Median Δp|25.0% Δp|10.0% Δp|5.0% Δp|1.0% Δp|0.1% Δp
Minimum Δp|RMS Δp|Same top p""".replace("\n", "|").split("|")


@pytest.fixture(scope="module")
def laws() -> TwoLaws:
    """Texts that end, two a prompt."""
    ours, _ = replace(PAIRS["ends"], completions=2).draw(np.random.default_rng(1), 40, 30)
    return ours


@pytest.fixture(scope="module")
def table(laws: TwoLaws) -> LlamaCppTable:
    return llama_cpp_table(laws)


def test_rows_stand_in_the_tools_order(table: LlamaCppTable) -> None:
    assert [r.name for r in table.rows] == NAMES
    assert table.impossible_tokens == 0


def test_estimates_and_errors_are_the_tools(laws: TwoLaws, table: LlamaCppTable) -> None:
    """Sums over tokens, as the tool makes them: sums of squares, n − 1."""
    q, base = -laws.log_q[laws.inside], -laws.log_p[laws.inside]
    kld, n = laws.kl_pq[laws.inside], int(laws.inside.sum())
    delta = np.exp(-q) - np.exp(-base)

    def error(x: np.ndarray) -> float:
        return math.sqrt((np.square(x).sum() / n - (x.sum() / n) ** 2) / (n - 1))

    covariance = ((q * base).sum() / n - q.sum() / n * base.sum() / n) / (n - 1)
    ppl, ppl_base = math.exp(q.mean()), math.exp(base.mean())
    gap_error = math.sqrt(error(q) ** 2 + error(base) ** 2 - 2 * covariance)
    rms = math.sqrt(np.square(delta).mean())
    expected = {
        "Mean PPL(Q)": (ppl, ppl * error(q)),
        "Mean PPL(base)": (ppl_base, ppl_base * error(base)),
        "Cor(ln(PPL(Q)), ln(PPL(base)))": (100 * covariance / (error(q) * error(base)), None),
        "Mean ln(PPL(Q)/PPL(base))": (q.mean() - base.mean(), gap_error),
        "Mean PPL(Q)/PPL(base)": (ppl / ppl_base, ppl / ppl_base * gap_error),
        "Mean PPL(Q)-PPL(base)": (
            ppl - ppl_base,
            math.sqrt((ppl * error(q)) ** 2 + (ppl_base * error(base)) ** 2 - 2 * ppl * ppl_base * covariance),
        ),
        "Mean KLD": (kld.mean(), error(kld)),
        "Maximum KLD": (kld.max(), None),
        "Minimum KLD": (kld.min(), None),
        "Mean Δp": (100 * delta.mean(), 100 * error(delta)),
        "Maximum Δp": (100 * delta.max(), None),
        "Minimum Δp": (100 * delta.min(), None),
        "RMS Δp": (100 * rms, 100 * 0.5 / rms * error(np.square(delta))),
    }
    for name, (value, its_error) in expected.items():
        row = table.row(name)
        assert row.value == pytest.approx(value, rel=1e-9), name
        assert row.independent_tokens_error == (None if its_error is None else pytest.approx(its_error, rel=1e-6)), name
    for share in (99.9, 99.0, 90.0, 10.0, 0.1):
        assert table.row(f"{share:.1f}% KLD").value == pytest.approx(np.quantile(kld, share / 100))
    assert table.row("Median Δp").value == pytest.approx(100 * np.median(delta))
    top = float(laws.same_top[laws.inside].mean())
    assert table.row("Same top p").value == pytest.approx(100 * top)
    assert table.row("Same top p").independent_tokens_error == pytest.approx(100 * math.sqrt(top * (1 - top) / (n - 1)))


def test_every_number_but_extremes_has_an_interval_around_it(table: LlamaCppTable) -> None:
    for row in table.rows:
        assert row.value is not None
        if row.name.startswith(("Maximum", "Minimum")):
            assert row.low is None
            assert row.high is None
        else:
            assert (row.low is None) <= ("%" in row.name)  # open only in the tails
            assert row.low is None or row.low <= row.value
            assert row.high is None or row.high >= row.value


def test_the_correlation_has_the_jackknifes_limits(laws: TwoLaws, table: LlamaCppTable) -> None:
    """Leaving out each prompt in turn, by hand."""
    unit = np.repeat(laws.unit, laws.n_tokens)
    x, y = laws.log_p[laws.inside], laws.log_q[laws.inside]
    moves = np.array([np.arctanh(np.corrcoef(x[unit != u], y[unit != u])[0, 1]) for u in range(40)])
    error = math.sqrt(39 / 40 * np.square(moves - moves.mean()).sum())
    row = table.row("Cor(ln(PPL(Q)), ln(PPL(base)))")
    centre = np.arctanh(np.corrcoef(x, y)[0, 1])
    assert row.low == pytest.approx(100 * np.tanh(centre - 2.0227 * error), abs=1e-3)
    assert row.high == pytest.approx(100 * np.tanh(centre + 2.0227 * error), abs=1e-3)


def test_the_sign_of_delta_p_is_q_less_base(laws: TwoLaws, table: LlamaCppTable) -> None:
    assert llama_cpp_table(laws.swapped).row("Mean Δp").value == pytest.approx(-(table.row("Mean Δp").value or 0.0))


def test_a_token_without_mass_makes_its_rows_infinite_and_no_other(laws: TwoLaws) -> None:
    broken = replace(laws, log_q=laws.log_q.copy(), kl_pq=laws.kl_pq.copy())
    broken.log_q[0, 0], broken.kl_pq[0, 0] = -np.inf, np.inf
    found = llama_cpp_table(broken)
    assert found.impossible_tokens == 1
    for name in ("Mean PPL(Q)", "Mean KLD", "Maximum KLD", "Mean ln(PPL(Q)/PPL(base))", "Mean PPL(Q)-PPL(base)"):
        assert found.row(name).value is None
    for name in ("Mean PPL(base)", "Median KLD", "Mean Δp", "RMS Δp", "Same top p"):
        assert found.row(name).value is not None


def test_a_law_against_itself(laws: TwoLaws) -> None:
    same = replace(laws, log_q=laws.log_p, kl_pq=0.0 * laws.kl_pq, same_top=laws.inside)
    found = llama_cpp_table(same)
    assert found.row("Mean PPL(Q)/PPL(base)").value == 1.0
    assert found.row("RMS Δp").value == 0.0
    assert found.row("Cor(ln(PPL(Q)), ln(PPL(base)))").value == pytest.approx(100.0)
    assert found.row("Cor(ln(PPL(Q)), ln(PPL(base)))").low is None


def test_one_document_is_refused(laws: TwoLaws) -> None:
    with pytest.raises(TooFewDocuments):
        llama_cpp_table(replace(laws, unit=np.zeros(80, dtype=int)))


@pytest.mark.parametrize(("n_tokens", "width"), [(1024, 512), (1300, 512), (21, 5), (64, 8), (99, 9)])
def test_windows_are_those_of_the_tools_loop(n_tokens: int, width: int) -> None:
    """For each whole window: laws at places width/2 … width − 2, each that of the token after it."""
    scored = []
    for chunk in range(n_tokens // width):
        scored += [chunk * width + j + 1 for j in range(width // 2, width - 1)]
    found = windows(n_tokens, width=width)
    assert scored == [s + j for s in found.starts for j in range(found.first, width)]
    assert found.scored_per_window == width - 1 - width // 2
    assert found.dropped == n_tokens - found.count * width


def test_windows_that_the_tool_refuses() -> None:
    with pytest.raises(DataError, match="two windows"):
        windows(1023)
    with pytest.raises(DataError, match="default is 512"):
        windows(100, width=3)
