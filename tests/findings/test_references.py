"""Several references beside each other: what each proves, and the part of the openings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import freerun
from freerun.findings.evidence import Evidence
from freerun.findings.references import OPENING_TOKENS, gains_of, reference_table
from freerun.records.store import RunFolder, load_records
from freerun.stats.bounds.tv_from_loss import tv_from_loss


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """A chain with another's temperature audited on a chain; the chain itself is a reference, and so is a third."""
    run = freerun.audit(
        "world/markov+temperature,t=1.6",
        "world/markov",
        reference=("world/markov", "world/markov,seed=3"),
        out=tmp_path_factory.mktemp("runs") / "run",
        documents=64,
        tokens=48,
        prefix=4,
    )
    return Evidence(load_records(RunFolder(Path(run.path))))


def test_every_reference_has_a_row_and_the_truth_saves_most(evidence: Evidence) -> None:
    real = evidence.records.chosen(arm="real")
    train = evidence.records.sequences["split"][real] == "train"
    rows = {r[0]: r for r in reference_table(evidence, real, train).rows}
    truth, other = "world/markov,symbols=8,seed=0", "world/markov,symbols=8,seed=3"
    assert list(rows) == [
        "all of them with its own law",
        "its own law and the n-gram",
        "its own law, n-gram and cache",
        f"its own law and {truth}",
        f"its own law and {other}",
        f"{truth} as it is",
        f"{other} as it is",
    ]
    saved = {name: r[1].value for name, r in rows.items()}
    assert max(saved, key=lambda n: saved[n]) in (
        f"{truth} as it is",
        f"its own law and {truth}",
        "all of them with its own law",
    )
    assert saved[f"{truth} as it is"] > 0.03
    assert saved[f"{other} as it is"] < 0
    assert rows[f"{truth} as it is"][2].value > 0.1
    assert evidence.reference_weights.shape == (5,)


def test_tv_without_the_opening_leaves_its_gain_out(evidence: Evidence) -> None:
    """A reference that gains in the opening alone proves something with it and nothing without."""
    real = evidence.records.chosen(arm="real")
    train = evidence.records.sequences["split"][real] == "train"
    own = evidence.records.tokens["log_prob_nats"]
    position = evidence.records.tokens["position"]
    opening = np.where(position < OPENING_TOKENS, own + 0.5, own)
    gains = gains_of(evidence, real, opening)
    np.testing.assert_allclose(gains[:, -1], 0.5 * OPENING_TOKENS)
    assert tv_from_loss(gains[~train, -1]).tv_low > 0.5
    object.__setattr__(evidence, "__dict__", {**evidence.__dict__, "references": {"opening": opening}})
    (row,) = reference_table(evidence, real, train).rows
    assert row[2].value > 0.5
    assert row[4].value == 0
