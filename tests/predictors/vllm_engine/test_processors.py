"""The two processors on a fake of vLLM's runners: whatever its scheduler does, the records are the plain run's, to the bit."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from freerun.errors import BackendError, BrokenLaw
from freerun.predictors.base import Continuations, Sample
from freerun.predictors.observation import Observation
from freerun.predictors.rules import MODEL_LAW, SamplingRule
from freerun.predictors.vllm_engine.ledger import Ledger
from freerun.predictors.vllm_engine.order import EXTRA, Order, written_out
from freerun.predictors.vllm_engine.predictor import VLLMEngine
from freerun.predictors.vllm_engine.prompt_rows import watch_prompts
from freerun.predictors.vllm_engine.refusals import check_configuration, check_parameters
from freerun.predictors.vllm_engine.rows import BatchRows, SlotRows, settle_rows
from freerun.records.rescoring import InContext
from freerun.stats.loops.lag_runs import LoopRule
from tests.predictors.vllm_engine.fake import Direction, FakeEngine, engine_over

LOOPS = LoopRule(copies=2, min_tokens=3, max_period=4)
RUNNERS = pytest.mark.parametrize("v2", [False, True], ids=["legacy", "V2"])


@pytest.fixture(scope="module")
def like(kinds: Any) -> Any:
    return kinds["llama with a lead"]().predictor


def todo(length: int = 28, sampling: SamplingRule = MODEL_LAW) -> Continuations:
    """Texts that outgrow the window of 16 tokens, two of each prefix."""
    rng = np.random.default_rng(1)
    prefixes = [rng.integers(3, 64, n) for n in (3, 15, 1, 9)]
    keys = np.arange(8, dtype=np.uint64).reshape(4, 2)
    return Continuations(prefixes, keys, length, seed=7, sampling=sampling, loop_rule=LOOPS)


def run(model: VLLMEngine, **options: Any) -> list[Sample]:
    samples = sorted(model.generate(todo(**options)), key=lambda s: s.row)
    assert [s.row for s in samples] == list(range(8))
    return samples


def assert_equal(a: list[Sample], b: list[Sample]) -> None:
    for one, other in zip(a, b, strict=True):
        assert one.end_reason == other.end_reason
        np.testing.assert_array_equal(one.uniform, other.uniform)
        np.testing.assert_array_equal(one.sample_log_prob_nats, other.sample_log_prob_nats)
        assert_same_bits(one.observation, other.observation)


def assert_same_bits(a: Observation, b: Observation) -> None:
    for f in fields(Observation):
        np.testing.assert_array_equal(getattr(a, f.name), getattr(b, f.name), err_msg=f.name)


# ---- whatever the scheduler does ---------------------------------------------------------------------------------------


@RUNNERS
@pytest.mark.parametrize(
    "trouble",
    [
        {"tokens_a_step": 5},  # prompts are read in pieces, and some rows wait
        {"rows": 3, "tokens_a_step": 40},
        {"preempt_every": 3, "tokens_a_step": 9},
        {"preempt_every": 4, "tokens_a_step": 100, "seed": 5},
    ],
    ids=["pieces", "few rows", "preemption in pieces", "preemption"],
)
def test_records_are_those_of_the_plain_run(like: Any, v2: bool, trouble: dict[str, Any]) -> None:
    plain = run(engine_over(like, v2=v2, rows=8, tokens_a_step=10_000))
    model = engine_over(like, v2=v2, **trouble)
    assert_equal(run(model), plain)
    engine = model.runs.engine
    assert isinstance(engine, FakeEngine)
    assert engine.n_steps > 28
    if trouble["tokens_a_step"] < 10:
        assert engine.n_partial > 0
    if "preempt_every" in trouble:
        assert engine.n_preempted > 3
    if not v2:
        assert engine.worker.model_runner.n_moves > 5


@RUNNERS
def test_records_are_those_of_the_local_engine(like: Any, v2: bool) -> None:
    """The same keys give the same uniforms, laws and texts."""
    wanted = sorted(like.generate(todo()), key=lambda s: s.row)
    for mine, other in zip(run(engine_over(like, v2=v2, preempt_every=5)), wanted, strict=True):
        assert mine.end_reason == other.end_reason
        np.testing.assert_array_equal(mine.uniform, other.uniform)
        np.testing.assert_array_equal(mine.observation.token_id, other.observation.token_id)
        for name in ("log_prob_nats", "entropy_nats", "loop_mass", "cdf_below"):
            np.testing.assert_allclose(
                getattr(mine.observation, name), getattr(other.observation, name), atol=1e-4, err_msg=name
            )
    assert max(s.observation.loop_mass.max() for s in wanted) > 0


@RUNNERS
@pytest.mark.parametrize("typed", ["t=0.7,top_p=0.9", "top_k=5", "greedy"])
def test_other_laws_are_sampled_as_the_local_engine_does(like: Any, v2: bool, typed: str) -> None:
    rule = SamplingRule.parse(typed)
    wanted = sorted(like.generate(todo(20, rule)), key=lambda s: s.row)
    for mine, other in zip(run(engine_over(like, v2=v2), length=20, sampling=rule), wanted, strict=True):
        np.testing.assert_array_equal(mine.observation.token_id, other.observation.token_id)
        np.testing.assert_allclose(mine.sample_log_prob_nats, other.sample_log_prob_nats, atol=1e-4)
        np.testing.assert_allclose(mine.observation.log_prob_nats, other.observation.log_prob_nats, atol=1e-4)


@RUNNERS
@pytest.mark.parametrize("trouble", [{}, {"preempt_every": 2, "tokens_a_step": 7}], ids=["plain", "preempted"])
def test_texts_that_are_read_and_texts_that_are_written_have_one_law(
    like: Any, v2: bool, trouble: dict[str, Any]
) -> None:
    rng = np.random.default_rng(3)
    texts = [rng.integers(3, 64, n) for n in (2, 19, 40, 7)]
    read, written = (
        list(engine_over(like, v2=v2, reads=reads, **trouble).score(texts, first=1, loop_rule=LOOPS))
        for reads in (True, False)
    )
    for a, b in zip(sorted(read, key=_place), sorted(written, key=_place), strict=True):
        np.testing.assert_array_equal(a.row, b.row)
        np.testing.assert_array_equal(a.position, b.position)
        for name in ("token_id", "log_prob_nats", "entropy_nats", "loop_mass"):  # passes of two lengths round otherwise
            np.testing.assert_allclose(getattr(a.observation, name), getattr(b.observation, name), atol=1e-5)


@RUNNERS
@pytest.mark.parametrize("reads", [True, False], ids=["read", "written"])
def test_whatever_is_watched_is_watched_in_the_engine(like: Any, v2: bool, reads: bool) -> None:
    """A rule of another kind than loops: every id that stands in the context already, beyond a window, too."""
    rng = np.random.default_rng(6)
    texts = [rng.integers(3, 24, n) for n in (6, 34)]
    model = engine_over(like, v2=v2, reads=reads)
    for text in texts:
        mine, wanted = (
            Observation.concatenate([c.observation for c in m.score([text], first=2, loop_rule=InContext())])
            for m in (model, like)
        )
        np.testing.assert_allclose(mine.loop_mass, wanted.loop_mass, atol=1e-5)
        assert wanted.loop_mass.min() > 0


def _place(chunk: Any) -> tuple[int, int]:
    return int(chunk.row[0]), int(chunk.position[0])


@RUNNERS
def test_whole_laws_are_handed_over_in_pieces(like: Any, v2: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freerun.predictors.vllm_engine.predictor._KEPT_BYTES", 4 * 64 * 5)  # five laws at once
    rng = np.random.default_rng(4)
    texts = [rng.integers(3, 64, n) for n in (9, 30)]
    model = engine_over(like, v2=v2)
    pieces = list(model.laws(texts, first=1))
    assert max(len(p) for p in pieces) == 5
    (scores,) = ([model.log_probs(texts, first=1)],)
    for row, text in enumerate(texts):
        mine = [p for p in pieces if p.row[0] == row]
        assert np.concatenate([p.position for p in mine]).tolist() == list(range(1, len(text)))
        said = np.concatenate([p.law.log_prob(p.ids(texts)) for p in mine])
        np.testing.assert_allclose(said, scores[0][row], atol=1e-5)


# ---- what must not happen ----------------------------------------------------------------------------------------------


@RUNNERS
def test_tokens_that_were_not_drawn_are_refused(like: Any, v2: bool) -> None:
    def bias(logits: torch.Tensor) -> None:
        logits[:, 9] = 5.0

    with pytest.raises(BackendError, match="something acts on its logits after freerun does"):
        run(engine_over(like, v2=v2, tamper=bias))


@RUNNERS
def test_a_broken_law_is_reported_and_leaves_the_engine_whole(like: Any, v2: bool) -> None:
    good = engine_over(like, v2=v2)
    engine = good.runs.engine
    assert isinstance(engine, FakeEngine)
    sound = engine.logits_of
    engine.logits_of = lambda ids: sound(ids) * (torch.nan if len(ids) > 8 and 5 in ids[:4] else 1.0)
    texts = [np.full(12, 5), np.full(12, 6)]
    with pytest.raises(BrokenLaw):
        good.log_probs(texts, first=1)
    assert not engine.running
    assert not engine.waiting
    np.testing.assert_allclose(good.log_probs(texts[1:], first=1)[0], like.log_probs(texts[1:], first=1)[0], atol=1e-4)


@RUNNERS
def test_what_is_not_read_to_the_end_is_let_go(like: Any, v2: bool) -> None:
    model = engine_over(like, v2=v2)
    samples = model.generate(todo())
    next(samples)
    samples.close()
    engine = model.runs.engine
    assert isinstance(engine, FakeEngine)
    assert not engine.running
    assert not engine.waiting
    ledger = engine.worker.model_runner.processor.ledger
    assert not ledger._entries
    assert len(run(model)) == 8


def test_an_unfinished_text_has_no_records(like: Any) -> None:
    """A place that no logits were shown for is a failure, never a gap."""
    ledger = Ledger()
    ledger.enter(_order(1))
    ledger.observe(torch.randn(1, 8), [(1, 2)])
    with np.load(_file(ledger.take([(1, 2, 4)]))) as held:
        assert b"no logits were shown before 1 of 2 tokens" in held["failures"].tobytes()


def _file(packed: bytes) -> Any:
    from io import BytesIO

    return BytesIO(packed)


# ---- rows and requests -------------------------------------------------------------------------------------------------


def _order(serial: int, **options: Any) -> Order:
    return Order(**{"serial": serial, "ids": np.array([3, 4]), "n_prompt": 2, "n_new": 3, **options})


def _added(index: int, serial: int | None, output: list[int]) -> tuple[Any, ...]:
    extra = None if serial is None else _order(serial).to_extra()
    return index, SimpleNamespace(extra_args=extra), [3, 4], output


def test_rows_of_the_batch_are_removed_added_and_moved_in_this_order() -> None:
    rows = BatchRows(Ledger())
    outputs: list[list[int]] = [[], [7], [7, 8]]

    def change(**what: Any) -> None:
        rows.update(SimpleNamespace(**{"removed": [], "added": [], "moved": [], **what}))

    change(added=[_added(0, 1, outputs[0]), _added(1, 2, outputs[1]), _added(2, None, [])])
    assert rows.places(3) == [(1, 2), (2, 3), None]
    outputs[0].append(5)  # the list is live
    assert rows.places(3) == [(1, 3), (2, 3), None]
    change(moved=[(0, 1, Direction.SWAP)])
    assert rows.places(3) == [(2, 3), (1, 3), None]
    change(removed=[0], added=[_added(2, 3, outputs[2])], moved=[(2, 0, Direction.UNIDIRECTIONAL)])
    assert rows.places(2) == [(3, 4), (1, 3)]
    change(added=[_added(1, None, [])])  # somebody else's takes the place
    assert rows.places(2) == [(3, 4), None]
    rows.update(None)
    assert rows.places(1) == [(3, 4)]


def test_slots_are_taken_over_and_unread_prompts_left_out() -> None:
    rows = SlotRows(Ledger())
    assert rows.add(4, _order(1).to_extra())
    assert rows.add(2, _order(2).to_extra())
    known = np.array([0, 0, 2, 0, 6])
    # slot 4 was resumed with 6 tokens: its row after the fifth is of a text that is read in part
    assert rows.places(np.array([2, 4, 2]), np.array([1, 4, 0]), known) == [(2, 2), None, None]
    assert rows.places(np.array([4]), np.array([5]), known) == [(1, 6)]
    assert not rows.add(4, None)
    assert rows.places(np.array([4, 3]), np.array([5, 5]), known) == [None, None]


def test_only_our_rows_are_touched_and_nothing_past_the_end() -> None:
    ledger = Ledger()
    ledger.enter(_order(1))
    logits = torch.randn(3, 8)
    before = logits.clone()
    settle_rows(logits, [None, (1, 3), (1, 5)], ledger)
    assert torch.equal(logits[[0, 2]], before[[0, 2]])
    assert int(torch.isfinite(logits[1]).sum()) == 1
    assert settle_rows(logits, [None, None, (9, 2)], ledger) is logits


def test_an_order_survives_its_journey() -> None:
    rule = SamplingRule.declared("repetition_penalty=1.1,t=0.3,top_k=7,min_p=0.05")
    order = _order(
        5,
        key=2**64 - 1,
        seed=3,
        sampling=rule,
        loop_rule=LOOPS,
        earlier=np.array([9, 9]),
        n_lead=1,
        prompt_from=np.int64(1),
        keep_from=1,
        first_draw=8,
        watched_from=3,
        watched=(np.array([4, 5]), np.zeros(0, np.int64), np.array([6])),
    )
    again = Order.of_extra({"other": 1, **order.to_extra()})
    assert again is not None
    for f in fields(Order):
        if f.name != "watched":
            np.testing.assert_array_equal(getattr(again, f.name), getattr(order, f.name))
    for a, b in zip(again.watched, order.watched, strict=True):
        np.testing.assert_array_equal(a, b)
    assert SamplingRule.declared(written_out(rule), order="typed") == rule
    assert Order.of_extra(None) is None
    assert Order.of_extra({"other": 1}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("presence_penalty", 0.1),
        ("frequency_penalty", 0.1),
        ("repetition_penalty", 1.1),
        ("logit_bias", {3: 1.0}),
        ("bad_words", ["x"]),
        ("min_tokens", 2),
        ("structured_outputs", object()),
        ("allowed_token_ids", [1]),
        ("n", 2),
    ],
)
def test_what_changes_the_logits_before_us_is_refused(name: str, value: Any) -> None:
    check_parameters(SimpleNamespace(extra_args={EXTRA: {}}))
    check_parameters(SimpleNamespace(extra_args=None, **{name: value}))  # not ours
    with pytest.raises(ValueError, match=name):
        check_parameters(SimpleNamespace(extra_args={EXTRA: {}}, **{name: value}))


def test_an_engine_that_draws_elsewhere_is_refused() -> None:
    check_configuration(SimpleNamespace(speculative_config=None))
    with pytest.raises(ValueError, match="speculative decoding"):
        check_configuration(SimpleNamespace(speculative_config=object()))


def test_a_runner_that_is_not_known_is_left_alone() -> None:
    other = SimpleNamespace(_get_prompt_logprobs_dict=lambda hidden_states: {})
    assert "otherwise" in watch_prompts(other, Ledger(), 64)
    assert "not known" in watch_prompts(SimpleNamespace(), Ledger(), 64)
    assert watch_prompts(SimpleNamespace(prompt_logprobs_worker=None), Ledger(), 64) == ""
