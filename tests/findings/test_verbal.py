"""The verbal finding on hand-made answers: one that knows, one that always says A, one that cannot answer, and none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from freerun.findings.recognition.verbal import verbal
from freerun.records.answers import KINDS, Answers
from freerun.results.finding import Cell, Estimate, Finding, to_json
from freerun.stats.intervals import clopper_pearson


def answers(odds: dict[str, np.ndarray], *, mass: float = 0.5) -> Answers:
    """`odds[kind]`: pairs × (log-odds of A when right is A, when right is B)."""
    rows = [
        (kind, i, right, float(o))
        for kind, table in odds.items()
        for i, two in enumerate(table)
        for right, o in zip((True, False), two, strict=True)
    ]
    return Answers(
        kind=np.array([r[0] for r in rows], object),
        pair=np.array([r[1] for r in rows]),
        unit=np.array([f"u{r[1]}" for r in rows], object),
        first_is_a=np.array([r[2] for r in rows]),
        log_odds_a_nats=np.array([r[3] for r in rows]),
        answer_mass=np.full(len(rows), mass),
        n_tokens_side=np.full(len(rows), 64),
    )


def table(lean: np.ndarray, bias: float = 0.0) -> np.ndarray:
    return np.stack([bias + lean, bias - lean], axis=1)


def estimates(finding: Finding) -> dict[str, Estimate]:
    return {e.name: e for e in finding.estimates}


RIGHT = np.ones(20)
COIN = np.tile([1.0, -1.0], 10)


def test_one_that_knows() -> None:
    wrong = RIGHT.copy()
    wrong[:2] = -1
    finding = verbal(
        answers({"own_real": table(wrong), "own_own": table(COIN), "real_real": table(COIN), "ability": table(RIGHT)})
    )
    seen = estimates(finding)
    golden = clopper_pearson(18, 20)
    assert (seen["verbal_accuracy"].value, seen["verbal_accuracy"].low) == (0.9, golden.low)
    assert seen["verbal_accuracy_each"].value == pytest.approx(0.9)
    assert seen["verbal_share_a"].value == 0.5
    assert seen["verbal_lean_nats"].value == pytest.approx(0.8)
    assert seen["verbal_own_own"].value == 0.5
    assert finding.status == "neutral"
    assert "it can say so" in finding.sentence
    assert not [n for n in finding.notes if "off chance" in n]
    assert {row[1] for row in finding.tables[0].rows} == {Cell("20", 20.0)}


def test_a_liking_for_a_does_not_hide_what_it_knows_nor_feign_it() -> None:
    """Always A: every prompt by itself is a coin, with an interval that has a width, and the balanced answer still tells."""
    finding = verbal(
        answers({"own_real": table(RIGHT, 5.0), "own_own": table(COIN, 5.0), "ability": table(RIGHT, 5.0)})
    )
    seen = estimates(finding)
    assert seen["verbal_accuracy"].value == 1.0
    assert seen["verbal_accuracy_each"].value == 0.5
    assert seen["verbal_accuracy_each"].low == pytest.approx(clopper_pearson(10, 20).low)
    assert seen["verbal_share_a"].value == 1.0
    nothing = verbal(answers({"own_real": table(COIN, 5.0), "ability": table(RIGHT, 5.0)}))
    assert "no more than chance" in nothing.sentence


def test_one_that_cannot_answer_says_nothing_of_what_it_knows() -> None:
    finding = verbal(answers({"own_real": table(COIN), "ability": table(COIN)}))
    assert finding.status == "unknown"
    assert "cannot answer a question of this form" in finding.sentence
    assert "was not asked" in verbal(answers({"own_real": table(COIN)})).sentence


def test_a_control_off_chance_is_said() -> None:
    finding = verbal(answers({"own_real": table(COIN), "own_own": table(RIGHT), "ability": table(RIGHT)}))
    assert any("off chance" in n for n in finding.notes)


def test_nothing_asked_or_too_little() -> None:
    none = verbal(None)
    assert none.status == "unknown"
    assert "--ask" in none.sentence
    assert verbal(answers({"own_real": table(RIGHT[:5])})).status == "unknown"
    ties = table(np.concatenate([RIGHT[:8], np.zeros(3)]))
    seen = verbal(answers({"own_real": ties, "ability": table(RIGHT)}))
    assert estimates(seen)["verbal_accuracy"].n == 8
    assert any("3 pairs gave the same" in n for n in seen.notes)
    silent = np.full((10, 2), np.nan)
    assert verbal(answers({"own_real": silent})).status == "unknown"


def test_plain_json() -> None:
    plain = to_json(verbal(answers({kind: table(COIN) for kind in KINDS})))
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_size_by_simulation() -> None:
    """500 models that like A and lean by chance, 24 pairs: the exact interval leaves out 1/2 in at most 5%.

    Allowed 41 (a true rate of 5% passes that with probability .001; the exact one is 2.3%).
    """
    rng = np.random.default_rng(0)
    off = 0
    for _ in range(500):
        odds = 2.0 + rng.normal(size=(24, 2))
        one = estimates(verbal(answers({"own_real": odds})))["verbal_accuracy"]
        assert one.low is not None
        assert one.high is not None
        off += not one.low <= 0.5 <= one.high
    assert 1 <= off <= 41
