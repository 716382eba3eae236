"""Texts of their own length, compared over what both have: by hand, and without bias where lengths and values hang together."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.findings.common_length import EARLY, LATE, Side, mean_in_common
from freerun.findings.evidence import Evidence
from freerun.records.store import Records
from tests.plans import plan_json

OWN, REAL = Side("free"), Side("real")


def evidence(texts: list[tuple[str, str, int, list[float]]]) -> tuple[Evidence, np.ndarray]:
    """From (document, arm, replicate, values): records that hold nothing else, and the values of all tokens."""
    lengths = [len(values) for *_, values in texts]
    sequences = {
        "document_id": np.array([t[0] for t in texts], object),
        "unit": np.array([t[0] for t in texts], object),
        "arm": np.array([t[1] for t in texts], object),
        "replicate": np.array([t[2] for t in texts]),
    }
    starts = np.concatenate([[0], np.cumsum(lengths)])
    records = Records({"plan": plan_json()}, sequences, {}, starts)  # type: ignore[arg-type]
    return Evidence(records), np.concatenate([np.asarray(t[3], np.float64) for t in texts])


def test_worked_by_hand() -> None:
    made, values = evidence(
        [
            ("a", "real", 0, [1.0, 2.0, 3.0, 4.0]),
            ("a", "free", 0, [5.0, 7.0]),
            ("a", "free", 1, [1.0, 1.0, 1.0, 2.0, 9.0, 9.0]),
            ("b", "real", 0, [8.0]),
            ("b", "free", 0, [6.0, 6.0]),
        ]
    )
    # a: 2 tokens in common with the first own text (the second of them late), 4 with the second (the last two late)
    assert mean_in_common(made, values, OWN, REAL, LATE).tolist() == [(7.0 + 1.5) / 2, 6.0]
    assert mean_in_common(made, values, REAL, OWN, LATE).tolist() == [(2.0 + 3.5) / 2, 8.0]
    assert mean_in_common(made, values, OWN, REAL, EARLY).tolist() == [3.0, 6.0]
    twice = mean_in_common(made, values, Side("free", 0), Side("free", 1), LATE)
    assert twice[0] == 7.0
    assert np.isnan(twice[1])  # b has one own text only


def test_values_that_are_not_known_are_left_out() -> None:
    made, values = evidence([("a", "real", 0, [np.nan, np.nan]), ("a", "free", 0, [1.0, np.nan])])
    assert np.isnan(mean_in_common(made, values, REAL, OWN, LATE)).all()
    assert mean_in_common(made, values, OWN, REAL, EARLY).tolist() == [1.0]


def test_no_bias_where_longer_texts_have_other_values() -> None:
    """Own and real texts of one law, in which a text's length decides its values: the difference has mean zero.

    4,000 documents; at ±4 standard errors the test fails by chance once in 16,000 seeds. Means over whole texts would differ by
    nothing either, but those over a fixed late window would hold long texts alone.
    """
    rng = np.random.default_rng(7)
    texts = []
    for d in range(4000):
        for arm in ("real", "free"):
            n = 1 + int(rng.geometric(0.1))
            texts.append((f"{d:04d}", arm, 0, (n + 0.1 * np.arange(n) + rng.normal(size=n)).tolist()))
    made, values = evidence(texts)
    for stretch in (LATE, EARLY):
        gap = mean_in_common(made, values, OWN, REAL, stretch) - mean_in_common(made, values, REAL, OWN, stretch)
        assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(gap.size)
    shifted = values + np.repeat([0.0, 2.0] * 4000, [len(t[3]) for t in texts])
    gap = mean_in_common(made, shifted, OWN, REAL, LATE) - mean_in_common(made, shifted, REAL, OWN, LATE)
    assert gap.mean() == pytest.approx(2.0, abs=4 * gap.std() / np.sqrt(gap.size))
