"""Two laws on the same text, against their tables."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from freerun.errors import UsageError
from freerun.explore.beside import beside, check_beside
from freerun.explore.reader import Reader
from freerun.specs.spec import load_predictor
from tests.explore.site import alone, toy

IDS = [0, 1, 2, 1, 0, 3]


def test_every_divergence_is_that_of_the_two_tables() -> None:
    p, q = load_predictor("world/markov,seed=1"), load_predictor("world/markov,seed=2")
    check_beside(p, q)
    found = beside(Reader(p), Reader(q), IDS, top=4, turn=alone())
    tables = [[m.law(m.start([np.array(IDS[:t], np.int64)])).probs()[0] for t in range(7)] for m in (p, q)]
    kl = [special.rel_entr(a, b).sum() for a, b in zip(*tables, strict=True)]
    assert found.kl_nats == pytest.approx(kl[:6], abs=1e-10)
    assert found.next_kl_nats == pytest.approx(kl[6], abs=1e-10)
    gaps = [np.log(tables[0][t][i] / tables[1][t][i]) for t, i in enumerate(IDS)]
    assert found.gap_nats == pytest.approx(gaps, abs=1e-10)
    assert found.total_kl_nats == pytest.approx(sum(kl[:6]))
    assert found.same_top == tuple(a.argmax() == b.argmax() for a, b in zip(*tables, strict=True))[:6]
    assert found.next is not None
    assert found.next.bars[0].id == tables[1][6].argmax()


def test_a_law_beside_itself_is_not_apart() -> None:
    found = beside(Reader(toy()), Reader(toy()), list(b"to be"), top=3, turn=alone())
    assert found.total_kl_nats == pytest.approx(0, abs=1e-12)
    assert all(found.same_top)


def test_an_organism_that_adds_an_id() -> None:
    p, q = load_predictor("world/markov,seed=1"), load_predictor("world/markov,seed=1+absorbing,epsilon=0.01")
    check_beside(p, q)
    found = beside(Reader(p), Reader(q), IDS, top=4, turn=alone())
    assert found.kl_nats == pytest.approx([-np.log(0.99)] * 6, abs=1e-9)


def test_without_whole_laws_the_gap_is_known_and_the_divergence_is_not() -> None:
    p, q = load_predictor("world/markov,seed=1"), load_predictor("mock/2@markov,seed=2")
    check_beside(p, q)
    found = beside(Reader(p), Reader(q), IDS, top=4, turn=alone())
    whole = beside(Reader(p), Reader(load_predictor("world/markov,seed=2")), IDS, top=4, turn=alone())
    assert found.kl_nats == (None,) * 6
    assert found.total_kl_nats is None
    assert found.gap_nats == pytest.approx(whole.gap_nats)


def test_other_tokens_are_refused() -> None:
    with pytest.raises(UsageError, match="tokenizer"):
        check_beside(toy(), load_predictor("world/markov,seed=1"))
