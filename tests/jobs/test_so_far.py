"""What is known while an audit runs: bets by a world's own laws, in the order of the plan, taken over from what is recorded."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from freerun.commands.progress import Reporter, in_words
from freerun.errors import DataError
from freerun.jobs.audit.audit import audit
from freerun.jobs.audit.options import AuditOptions
from freerun.jobs.audit.preparing import prepare
from freerun.jobs.audit.so_far import Text, WhatIsKnown, features_of
from freerun.predictors.base import Continuations
from freerun.records.measure import measure
from freerun.records.store import RunFolder, load_records
from freerun.records.tables import Finished
from freerun.results.so_far import SoFar
from freerun.runs.progress import Silent
from freerun.specs.spec import load_predictor
from freerun.stats.detection.watched import LEAST_TO_FIT, WatchedBets
from freerun.stats.intervals import Interval

SMALL: dict[str, Any] = {"documents": 80, "tokens": 16, "prefix": 4, "batch": 16}
STREAMS, DOCUMENTS, TOKENS = 200, 20, 12


class Heard(Silent):
    def __init__(self) -> None:
        self.so_far: list[SoFar] = []

    def known(self, so_far: SoFar) -> None:
        self.so_far.append(so_far)


def test_a_world_audited_on_itself_exceeds_20_in_no_more_than_a_twentieth_however_often_it_is_looked_at() -> None:
    """200 streams of 20 documents: real and own texts are draws of one law. More than the band at a true 5%: probability 1e-4."""
    world = load_predictor("world/markov")
    prefixes = list(np.random.default_rng(5).integers(0, world.n_tokens - 1, (STREAMS * DOCUMENTS, 4)))
    keys = np.arange(STREAMS * DOCUMENTS * 3, dtype=np.uint64).reshape(-1, 3)
    texts = {}
    for sample in world.generate(Continuations(prefixes, keys, TOKENS, seed=9, at_once=4096)):
        seen = sample.observation
        columns = seen.log_prob_nats, seen.entropy_nats, seen.varentropy_nats2, seen.rank
        texts[divmod(sample.row, 3)] = Text(seen.token_id, *columns, sample.end_reason == "end_of_text")
    assert not any(t.ended for t in texts.values())
    every = [texts[i, j] for i in range(STREAMS * DOCUMENTS) for j in range(3)]
    features = features_of(every, TOKENS, laws=True, own_lengths=False).reshape(STREAMS, DOCUMENTS, 3, -1)
    best = []
    for stream in features:
        bets = WatchedBets()
        for document in stream:
            bets.add(document[0], document[1:])
        best.append(bets.best_log_wealth)
    assert sum(b >= math.log(20) for b in best) <= binom.ppf(1 - 1e-4, STREAMS, 0.05)


def test_it_grows_under_an_organism_and_the_last_loss_is_that_of_the_result(tmp_path: Path) -> None:
    heard = Heard()
    run = audit("world/markov+temperature,t=0.5", "world/markov", out=tmp_path / "run", progress=heard, **SMALL)
    last = heard.so_far[-1]
    assert last.n_bet == 72
    assert last.log_wealth is not None
    assert last.log_wealth > math.log(1000)
    assert last.loss_nats_per_token is not None
    loss = next(e for e in run.findings["loss"]["estimates"] if e["name"] == "loss_nats_per_token")
    found = last.loss_nats_per_token
    assert (found.value, found.low, found.high) == pytest.approx((loss["value"], loss["low"], loss["high"]), abs=1e-9)
    sizes = [s.n_scored for s in heard.so_far]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 80


def test_the_order_in_which_texts_end_changes_nothing(tmp_path: Path) -> None:
    """Texts that are heard in any order are bet on in that of the plan."""
    ready = prepare("world/markov", "world/markov", AuditOptions(**SMALL), out=tmp_path / "run")
    ready.folder.open(ready.manifest)
    texts: list[Finished] = []
    measure(
        ready.predictor,
        ready.pairs.pairs,
        plan=ready.plan,
        plan_hash=ready.manifest["plan_hash"],
        folder=ready.folder,
        reference=ready.reference(),
        on_text=texts.append,
    )
    assert len(texts) == 80 * 4
    shuffled = [texts[i] for i in np.random.default_rng(3).permutation(len(texts))]
    told = []
    for heard in (texts, shuffled):
        known = WhatIsKnown(ready, lambda _: None)
        for text in heard:
            known.hear(text)
        told.append(known.now())
    again = WhatIsKnown(ready, lambda _: None)
    again.take_over([u.name for u in ready.units])
    assert told[0].n_bet == 72
    for other in (told[1], again.now()):
        assert (other.n_bet, other.log_wealth) == (told[0].n_bet, pytest.approx(told[0].log_wealth, abs=1e-9))
        assert other.loss_nats_per_token is not None
        assert told[0].loss_nats_per_token is not None
        assert other.loss_nats_per_token.low == pytest.approx(told[0].loss_nats_per_token.low, abs=1e-12)


def test_texts_that_end_are_not_held_against_texts_that_cannot(tmp_path: Path) -> None:
    """Real documents go on by design: a pair counts only if its own texts go on, too."""
    heard = Heard()
    run = audit("world/markov+end,hazard=0.01", "world/markov", out=tmp_path / "run", progress=heard, **SMALL)
    sequences = load_records(RunFolder(run.path)).sequences
    ended = sequences["document_id"][(sequences["arm"] == "free") & (sequences["end_reason"] == "end_of_text")]
    assert 5 < len(set(ended)) < 40
    assert heard.so_far[-1].n_bet == 80 - len(set(ended)) - LEAST_TO_FIT
    one = np.zeros(3)
    text = Text(one.astype(np.int64), one - 1.0, one + 1.0, one + 1.0, one.astype(np.int64) + 1, True)
    with pytest.raises(DataError, match="fewer than 4 tokens"):
        features_of([text, text], 4, laws=True, own_lengths=False)


def test_a_redacted_run_is_not_bet_on_by_the_numbers_of_its_records(tmp_path: Path) -> None:
    options: dict[str, Any] = {**SMALL, "prefix": 16, "documents": 40, "redact_text": True}
    first, second = Heard(), Heard()
    run = audit("world/markov", "world/markov", out=tmp_path / "run", progress=first, **options)
    assert first.so_far[-1].n_bet > 0
    for part in run.path.glob("sequences/tempered-*.parquet"):
        part.unlink()
    audit("world/markov", "world/markov", out=tmp_path / "run", progress=second, **options)
    assert second.so_far[-1].n_bet == 0
    assert second.so_far[-1].n_scored == 40


def test_in_words() -> None:
    nothing = SoFar(3, None, 0, 0, None, 0.0)
    assert in_words(nothing) == ""
    assert in_words(SoFar(3, None, 2, 4, math.log(0.25), 0.0)) == (
        "so far: loss infinite; 1 to 4 against own text = real text (4 bets, valid at any time)"
    )
    found = SoFar(32, Interval(3.0123, 2.871, 3.159, 0.95, 32), 0, 19, math.log(40.2), math.log(60.0))
    said = in_words(found)
    assert said == (
        "so far: loss 3.01 (running 2.87 to 3.16); 40 to 1 against own text = real text (19 bets, valid at any time)"
    )
    assert len(said.split(" (19")[0]) < 80


def test_a_line_now_and_then_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream, every_seconds=0.0)
    reporter.begin(100)
    reporter.phase("running free")
    known = SoFar(32, None, 0, 19, math.log(40.2), math.log(60.0))
    for _ in range(3):
        reporter.known(known)
        reporter.advance(20)
    lines = stream.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == ["running free", "so far", "running free", "running free"]
    reporter.begin(100)
    reporter.advance(20)
    assert "so far" not in stream.getvalue().splitlines()[-1]
