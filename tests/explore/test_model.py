"""The real 135M model: what the page shows is what `freerun predict` and `freerun source` say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from freerun.explore.desk import ReadRequest
from freerun.explore.examples import EXAMPLES
from freerun.jobs.predict import predict
from freerun.jobs.source.file import read_sources
from freerun.jobs.source.question import SourceOptions
from freerun.jobs.source.source import source
from tests.explore.site import alone, desk_of

pytestmark = pytest.mark.model

TEXT = EXAMPLES[0].text
TOLERANCE_NATS = 2e-3
"""Read whole or token by token, fp32 differs in the last digits."""


@pytest.fixture(scope="module")
def desk(smollm: Any) -> Any:
    return desk_of(smollm, sources=("news",))


def test_the_mccain_headline_as_predict_has_it(desk: Any, smollm: Any) -> None:
    reading = desk.read(ReadRequest(text=TEXT, top=10), alone())
    told = predict(smollm, TEXT, top=10)
    assert reading.tokens[0].given
    for mine, theirs in zip(reading.tokens[1:], told.tokens[1:], strict=True):
        assert mine.id == theirs.id
        assert mine.surprisal_nats == pytest.approx(-theirs.log_prob_nats, abs=TOLERANCE_NATS)
        assert mine.entropy_nats == pytest.approx(theirs.entropy_nats, abs=TOLERANCE_NATS)
        assert abs(mine.rank - theirs.rank) <= 0.01 * theirs.rank
    assert [bar.id for bar in reading.next.bars] == [t.id for t in told.next.top]
    log_probs = [np.log(bar.probability) for bar in reading.next.bars]
    assert log_probs == pytest.approx([t.log_prob_nats for t in told.next.top], abs=TOLERANCE_NATS)


def test_branches_do_not_disturb_each_other(desk: Any, smollm: Any) -> None:
    """A cache grows in place: one branch, its sibling, and the first one again."""
    ids = desk.read(ReadRequest(text=TEXT), alone()).ids
    firsts = [bar.id for bar in desk.read(ReadRequest(ids=ids), alone()).next.bars[:2]]
    walks = [(*ids, firsts[0]), (*ids, firsts[1]), (*ids, firsts[0], firsts[1]), (*ids, firsts[0]), ids]
    for walk in walks:
        law = smollm.law(smollm.start([np.array(walk)]))
        top = desk.read(ReadRequest(ids=walk, top=5), alone()).next.bars
        expected, log_probs = law.top(5)
        assert [bar.id for bar in top] == expected[0].tolist()
        assert [np.log(bar.probability) for bar in top] == pytest.approx(log_probs[0].tolist(), abs=TOLERANCE_NATS)


def test_who_is_writing_as_source_has_it(desk: Any, smollm: Any) -> None:
    ids = desk.read(ReadRequest(text=TEXT), alone()).ids
    mine = desk.sources.posterior("news", "publication", ids[:8], None, alone())
    text = b"".join(smollm.token_bytes(i) for i in ids[:8]).decode()
    assert tuple(smollm.encode(text)) == ids[:8]
    found = source(smollm, text, read_sources("news"), SourceOptions(readouts=("header",), own_tokens=0))
    np.testing.assert_allclose(mine.posterior, found.latents[0].header.path, atol=TOLERANCE_NATS)
    assert mine.names == found.latents[0].values
