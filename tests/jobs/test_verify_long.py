"""A file with more tokens than are held: what adds up is taken over all of it, the rest over completions spread over the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from freerun.jobs.verify import recorded
from freerun.results.finding import Finding
from freerun.results.verify import VerifyResult
from tests.jobs.test_verify import TOKENS, N, Row, drawn, verified

MOST = N * TOKENS // 4


def both(
    folder: Path, rows: list[Row], monkeypatch: pytest.MonkeyPatch, **options: str
) -> tuple[VerifyResult, VerifyResult]:
    """With all columns held, and with a quarter of them, from the same records."""
    whole = verified(folder, rows, **options)
    monkeypatch.setattr(recorded, "MOST_TOKENS", MOST)
    return whole, verified(folder, rows, **options)


def finding(result: VerifyResult, name: str) -> Finding:
    return next(f for f in result.findings if f.name == name)


def test_what_adds_up_is_taken_over_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, held = both(tmp_path, drawn(), monkeypatch)
    assert whole.verdict.match == held.verdict.match == "agrees"
    assert held.samples == whole.samples
    n = whole.samples.n_drawn_tokens
    assert finding(held, "loops") == finding(whole, "loops")
    p = {t[0]: t[1].value for t in finding(whole, "match").tables[0].rows}  # type: ignore[union-attr]
    again = {t[0]: t[1].value for t in finding(held, "match").tables[0].rows}  # type: ignore[union-attr]
    assert p["rarest tokens are there"] == again["rarest tokens are there"]
    assert p["bets on other rules"] == again["bets on other rules"]
    assert p["mean surprisal"] != again["mean surprisal"]
    assert not any("so that memory is bounded" in note for note in finding(whole, "match").notes)
    (note,) = (note for note in finding(held, "match").notes if "so that memory is bounded" in note)
    assert f"over all {n:,}." in note
    assert "those of 15 completions" in note


def estimate_of(result: VerifyResult, name: str) -> float | None:
    return next(e.value for f in result.findings for e in f.estimates if e.name == name)


def test_a_token_that_cannot_be_drawn_is_found_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but one completion are drawn by the rule; that one is not among those that are held."""
    rows = drawn("t=1,top_k=3")
    free = drawn(seed=4)
    monkeypatch.setattr(recorded, "MOST_TOKENS", MOST)
    left_out = [i for i in range(N) if i not in set(recorded.spread([TOKENS] * N, MOST))]
    rows[left_out[5]] = free[left_out[5]]
    result = verified(tmp_path, rows, declared="t=1,top_k=3")
    assert result.tests is not None
    assert result.tests.n_outside > 0
    assert result.verdict.match == "differs"


def test_another_rule_is_named_from_the_completions_that_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, held = both(tmp_path, drawn("t=0.5"), monkeypatch)
    assert held.verdict.match == "differs"
    assert held.cause is not None
    assert whole.cause is not None
    assert held.cause.candidate == whole.cause.candidate


def test_a_few_texts_are_read_back_in_order(tmp_path: Path) -> None:
    from freerun.jobs.verify.scoring import rows_of
    from freerun.records.sample_scores import ScoreFolder

    rows = drawn()
    verified(tmp_path, rows)
    folder = ScoreFolder(tmp_path / "out")
    lengths = [len(row["completion_ids"]) for row in rows]
    everything = recorded.read_recorded(folder, lengths, 0.0).tokens
    some = [3, 4, 40, 59]
    assert (
        recorded.read_texts(folder, some).log_prob_nats.tolist()
        == everything.log_prob_nats[rows_of(everything, some)].tolist()
    )
