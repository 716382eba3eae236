"""The confusion table looks numbers up that `freerun verify` computes: both must say the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from freerun.predictors.base import Capabilities
from freerun.predictors.candidate_rules import PENALTIES, RULES, log_probs_penalised
from freerun.predictors.law import Dense
from freerun.predictors.markers import Markers
from freerun.predictors.profiles import profile_of
from freerun.predictors.reshaped import Said
from freerun.predictors.rules import MODEL_LAW, ContextRule, Identity, SamplingRule
from studies.verify import planted
from studies.verify.confusion import from_disk, judged
from studies.verify.laws import Contexts, Name, Replayed
from studies.verify.looked_up import ONE_STEP, Batch, File, World
from studies.verify.planted import Planted, Sheets, draw_text, drawn_sheets
from studies.verify.redraw import Pool, Tried
from studies.verify.standing import kept_laws, of_contexts, recurrence, stand_in

N_TEXTS, N, VOCABULARY, END = 10, 40, 300, 7


class Real:
    """What a replayed model borrows."""

    identity = Identity("kept", "kept")
    n_tokens, end_ids = VOCABULARY, (END,)
    context, capabilities = ContextRule(), Capabilities()
    markers = Markers(control={1: "<s>"})

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id % 256])


@pytest.fixture(scope="module")
def world() -> World:
    rng = np.random.default_rng(5)
    prompts = np.concatenate([np.ones((N_TEXTS, 1), np.int64), rng.integers(8, VOCABULARY, (N_TEXTS, 4))], axis=1)
    contexts = Contexts(prompts, rng.integers(8, VOCABULARY, (N_TEXTS, N)))
    shape = (N_TEXTS * N, VOCABULARY)
    model = (2.0 * rng.normal(size=shape)).astype(np.float32)
    logits: dict[Name, np.ndarray] = {
        name: (model + size * rng.normal(size=shape)).astype(np.float32)
        for name, size in (("model", 0.0), ("bos_added", 1.5), ("bos_removed", 0.5), ("int4", 0.4))
    }
    kept = {name: kept_laws(table, (END,)) for name, table in logits.items()}
    nowhere = np.zeros(0)
    tried = {n: Tried(Pool(k.profile, nowhere, nowhere), RULES if n == "model" else ONE_STEP) for n, k in kept.items()}
    real = Real()
    replayed: dict[Name, Replayed] = {
        "model": Replayed(real, contexts, {n: logits[n] for n in logits if n != "int4"}),  # type: ignore[arg-type]
        "int4": Replayed(real, contexts, {"int4": logits["int4"]}),  # type: ignore[arg-type]
    }
    return World(contexts, kept, replayed, tried, (END,))


def planted_as(rule: str, law: Name = "model", other: Name | None = None) -> Planted:
    return Planted(rule, law, SamplingRule.declared(rule), (), other=other, texts=N_TEXTS, sheets=3)


def file_of(world: World, one: Planted) -> File:
    logits = {name: kept.logits for name, kept in world.kept.items()}
    return File(Batch(world, drawn_sheets([one], world.contexts, logits, (END,), 1), [one]), one, 0)


@pytest.mark.parametrize(
    ("one", "label"),
    [
        (planted_as("t=1"), "agrees"),
        (planted_as("t=0.7"), "temperature 0.7"),
        (planted_as("top_p=0.9"), "temperature 1, top-p 0.9"),
        (planted_as("t=1", "bos_added"), "one more beginning of text"),
    ],
)
def test_a_file_is_judged_as_the_command_judges_it(world: World, one: Planted, label: str, tmp_path: Path) -> None:
    file = file_of(world, one)
    assert judged(file, 3) == from_disk(file, 3, tmp_path) == label


def test_the_second_model_is_named(world: World) -> None:
    assert judged(file_of(world, planted_as("t=1", "int4", "int4")), 3) == "the other model"


def test_tokens_stand_where_they_stand_one_by_one() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(6, 5000)).astype(np.float32) * np.linspace(1, 4, 6, dtype=np.float32)[:, None]
    logits[0, :1500] = 1.0  # ties
    ids = rng.integers(0, 5000, (40, 6))
    kept = kept_laws(logits, (3,))
    stand = stand_in(kept, ids)
    table = Dense(logits).log_probs()
    for sheet in range(len(ids)):
        token = profile_of(table, ids[sheet], (3,)).token
        got = stand.places(sheet)
        np.testing.assert_allclose(got.log_prob, token.log_prob, atol=1e-12)
        np.testing.assert_array_equal(got.atom, token.atom)
        np.testing.assert_allclose(got.offset, token.offset, atol=1e-12)
        assert (stand.rank[sheet] == 1 + (table > token.log_prob).sum(axis=1)).all()


def test_penalties_and_repeats_as_they_are_one_by_one() -> None:
    rng = np.random.default_rng(3)
    prompts = rng.integers(0, 30, (2, 3))
    ids = rng.integers(0, 30, (5, 2 * 8))
    logits = (2 * rng.normal(size=(16, 30))).astype(np.float32)
    got = of_contexts(logits, prompts, ids, recurrence(prompts, ids))
    probs = Dense(logits).probs()
    for sheet in range(5):
        for row in range(16):
            text = row // 8
            said = Said(prompts[text], ids[sheet, text * 8 : row])
            law = Dense(logits[row : row + 1])
            x = ids[sheet, row : row + 1]
            want = log_probs_penalised(law, x, [said], ())
            np.testing.assert_allclose(got.penalised[sheet, row], want[0], atol=1e-5)
            assert got.repeat_mass[sheet, row] == pytest.approx(probs[row, said.seen].sum())
            assert got.below[sheet, row] == pytest.approx(probs[row, : x[0]].sum())
    assert len(PENALTIES) == got.penalised.shape[2]


def test_penalties_are_drawn_as_their_law_says() -> None:
    """Frequencies of 40,000 first tokens within five standard errors each, which one of 30 leaves once in 50,000 runs."""
    rng = np.random.default_rng(4)
    contexts = Contexts(np.array([[1, 2, 3]]), np.zeros((1, 1), np.int64))
    logits = (2 * rng.normal(size=(1, 30))).astype(np.float32)
    one = planted_as("repetition_penalty=1.5")
    n = 40_000
    ids = draw_text(one, contexts, 0, logits, rng.random((n, 1)), rng)
    law = one.rule.apply(Dense(logits), [Said(np.array([1, 2, 3]), np.zeros(0, np.int64))]).probs()[0]
    share = np.bincount(ids[:, 0], minlength=30) / n
    assert (np.abs(share - law) <= 5 * np.sqrt(law * (1 - law) / n)).all()


def test_a_sheet_ends_where_its_text_does() -> None:
    ids = np.array([[5, END, 5, 5, 5, 5]])
    assert planted.reached(ids, (END,), 3).tolist() == [[True, True, False, True, True, True]]
    assert Sheets(ids, planted.reached(ids, (END,), 3), {("model", MODEL_LAW): range(1)}).reached.sum() == 5
