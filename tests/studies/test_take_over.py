"""Take-over against its price: the law 1 − e^−K on a world, and a planted error that must be seen."""

from __future__ import annotations

import numpy as np
import pytest

from freerun.organisms.absorbing import Triggered
from freerun.organisms.self_detector import SelfDetector
from freerun.specs.spec import load_predictor
from freerun.worlds.catalogue import load_world
from studies.self_detector.measure import measure_self_detector
from studies.take_over.events import absorbing_take_over, hash_take_over, take_over_chart

N = 400


@pytest.fixture(scope="module")
def documents() -> list[np.ndarray]:
    return [np.array(d.ids, np.int64) for d in load_world("markov").corpus(24, 40, seed=1).documents]


def test_shares_lie_on_the_law(documents: list[np.ndarray]) -> None:
    """Two curves at a simultaneous level of 99.9%: one of them fails with probability 0.002."""
    world = load_world("markov")
    points = absorbing_take_over(
        world, documents, prefix=8, tokens=16, n=N, excesses_nats=(0.05, 0.5, 2.0, 5.0), level=0.999
    ) + hash_take_over(world, documents, n=N, bits=(1, 3, 5), level=0.999)
    for p in points:
        assert p.predicted == pytest.approx(-np.expm1(-p.excess_nats), abs=1e-9)
        assert p.agrees, p
    chart = take_over_chart(points)
    assert [s.name for s in chart.series] == ["1 − e^−K", "absorbing on world/markov", "hash on world/markov"]
    assert sum(y is not None for y in chart.series[1].y) == 4


def test_a_trigger_of_another_mass_is_seen(documents: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sampled with half the mass that is charged for, the share falls off the law."""
    honest = Triggered._law_of

    def cheaper(self: Triggered, route: int, law: object) -> object:
        own, self.epsilon = self.epsilon, self.epsilon / 2
        try:
            return honest(self, route, law)  # type: ignore[arg-type]
        finally:
            self.epsilon = own

    monkeypatch.setattr(Triggered, "_law_of", cheaper)
    (p,) = absorbing_take_over(load_world("markov"), documents, prefix=8, tokens=16, n=N, excesses_nats=(1.0,))
    assert not p.agrees


def test_self_detector_on_fresh_documents() -> None:
    """A flat predictor that knows real text from a reference: false triggers and extra loss stay within their bounds, and half of
    its runs are taken over within a factor of three of the Gaussian length."""
    spec = (
        "world/markov,symbols=4,seed=1,concentration=1+temperature,t=2+self_detector,score=lr,"
        "reference=(world/markov,symbols=4,seed=1,concentration=1),corpus=(world/markov,symbols=4,seed=1,concentration=1),"
        "tokens=60,alpha=0.05,weight=0.9,documents=99"
    )
    organism = load_predictor(spec)
    assert isinstance(organism, SelfDetector)
    world = load_world("markov,symbols=4,seed=1,concentration=1")
    texts = [np.array(d.ids, np.int64) for d in world.corpus(120, 60, seed=77).documents]
    found = measure_self_detector(organism, texts, prefix=4, n=120, lengths=(8, 16, 32, 48, 60))
    assert found.false_triggers.value <= found.most_false_triggers  # exceeded in 1 of 1000 calibrations
    assert found.extra_loss_nats.low <= found.most_extra_loss_nats == pytest.approx(0.05 * np.log(10))
    shares = [i.value for i in found.taken_over]
    assert shares == sorted(shares)
    assert shares[-1] > 0.7
    half = float(np.interp(0.5, shares, found.lengths))
    predicted = float(np.interp(0.5, found.gaussian, found.lengths))
    assert predicted / 3 < half < predicted * 3
