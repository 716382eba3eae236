"""How a model may be read is found out, not believed; what is found out is kept under its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import freerun
from freerun.errors import BackendError
from freerun.predictors.huggingface import HuggingFacePredictor, checking, load_pretrained
from freerun.predictors.huggingface.caches import Kept
from freerun.predictors.huggingface.passes import Passes
from freerun.predictors.huggingface.reading import LADDER, RopeSwitch, read_together
from freerun.predictors.rules import Identity
from freerun.specs.providers import LoadOptions

SOME = Identity("some/model", "x")


def test_the_first_tokens_past_a_switch_go_through_together() -> None:
    once, always = RopeSwitch(16, again=False), RopeSwitch(48, again=True)
    assert [read_together((once,), n) for n in (16, 17, 40)] == [0, 17, 17]
    assert [read_together((once, always), n) for n in (48, 49, 60)] == [17, 49, 60]


def test_a_plain_model_is_read_in_the_fastest_way(model: HuggingFacePredictor) -> None:
    assert model.reading == LADDER[0]
    assert "reading" not in model.identity.facts


def broken(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    """Passes whose arguments are changed once something was read before."""
    own = Passes._arguments

    def arguments(self: Passes, takes: Any, ids: Any, kept: Kept | None, padding: Any, positions: bool) -> Any:
        return change(own(self, takes, ids, kept, padding, positions), kept)

    monkeypatch.setattr(Passes, "_arguments", arguments)


def forgets(options: dict[str, Any], kept: Kept | None) -> dict[str, Any]:
    """A model that ignores what it is given to keep."""
    return {k: v for k, v in options.items() if k != "past_key_values"}


def miscounts(options: dict[str, Any], kept: Kept | None) -> dict[str, Any]:
    """A model that counts the positions of every step from zero."""
    if "position_ids" in options:
        options["position_ids"] = options["position_ids"] - options["position_ids"].min(1, keepdim=True).values
    return options


def unmasked(options: dict[str, Any], kept: Kept | None) -> dict[str, Any]:
    """A model that attends to padding."""
    return {k: v for k, v in options.items() if k != "attention_mask"}


@pytest.mark.parametrize(
    ("fault", "keeps", "ragged"), [(forgets, False, False), (miscounts, True, False), (unmasked, True, False)]
)
def test_a_fault_leads_to_a_slower_way_with_the_same_laws(
    llama_folder: Path, fault: Any, keeps: bool, ragged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = load_pretrained(str(llama_folder), identity=SOME)
    ids = [np.arange(3, 30), np.arange(5, 17)]
    wanted = right.log_probs(ids, first=1)
    broken(monkeypatch, fault)
    said: list[str] = []
    other = load_pretrained(str(llama_folder), identity=replace(SOME, facts={}), tell=said.append)
    assert (other.reading.keeps, other.reading.ragged) == (keeps, ragged)
    assert len(said) == 1
    assert "slower" in said[0]
    assert other.identity.facts["reading"] == other.reading.describe()
    for a, b in zip(other.log_probs(ids, first=1), wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    state = other.start([x[:9] for x in ids])
    for t in range(9, 12):
        state = other.advance(state, np.array([x[t] for x in ids]))
    np.testing.assert_allclose(
        other.law(state).log_probs(), right.law(right.start([x[:12] for x in ids])).log_probs(), atol=1e-3
    )


def test_states_that_share_what_they_keep_are_noticed(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kept, "rows", lambda self, index: Kept(self.cache, self.read))
    assert not load_pretrained(str(llama_folder), identity=SOME).reading.keeps


def test_a_model_that_draws_lots_is_refused(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Passes.plain_logits
    monkeypatch.setattr(Passes, "plain_logits", lambda self, ids: own(self, ids) + torch.randn(64))
    with pytest.raises(BackendError, match="draws lots"):
        load_pretrained(str(llama_folder), identity=SOME)


def test_a_model_that_no_way_of_reading_fits_is_refused(llama_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Passes.logits

    def other(self: Passes, *args: Any, **options: Any) -> torch.Tensor:
        logits = own(self, *args, **options).clone()
        logits[..., 5] += 1.0
        return logits

    monkeypatch.setattr(Passes, "logits", other)
    with pytest.raises(BackendError, match="no way of reading this model gives the laws of fresh passes"):
        load_pretrained(str(llama_folder), identity=SOME)


def test_the_outcome_is_kept_under_the_weights(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREERUN_CACHE", str(tmp_path))
    first = load_pretrained(str(llama_folder), identity=SOME, known_as="a")
    assert len(list((tmp_path / "readings").iterdir())) == 1
    monkeypatch.setattr(checking, "_tried", lambda predictor: pytest.fail("tried again"))
    assert load_pretrained(str(llama_folder), identity=SOME, known_as="a").reading == first.reading
    with pytest.raises(pytest.fail.Exception):
        load_pretrained(str(llama_folder), identity=SOME, known_as="b")
    (kept,) = (tmp_path / "readings").iterdir()
    kept.write_text("{}")
    with pytest.raises(pytest.fail.Exception):
        load_pretrained(str(llama_folder), identity=SOME, known_as="a")


@pytest.mark.model
def test_the_real_model_is_read_in_the_fastest_way_in_either_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding of bf16 (0.03 in total variation between passes of other lengths) is not taken for a fault."""
    for dtype in ("fp32", "bf16"):
        with monkeypatch.context() as patched:
            patched.setattr(checking, "_remembered", lambda place: None)
            predictor: Any = freerun.load("smollm2-135m-instruct", LoadOptions(dtype=dtype, device="cpu"))
        assert predictor.reading == LADDER[0]
        assert predictor.passes.split


def test_a_law_in_which_no_token_matters_by_itself_is_judged_by_its_total_variation() -> None:
    """An untrained model of 20,000 tokens: every probability is below the least that is looked at by itself."""

    class Flat(checking.Truth):
        def __init__(self) -> None: ...

        def law(self, ids: np.ndarray) -> torch.Tensor:
            return torch.log_softmax(torch.zeros(20_000, dtype=torch.float64), -1)

    ids, same = np.array([1, 2]), torch.zeros(20_000)
    assert Flat().apart([(ids, same)]) is None
    other = same.clone()
    other[:10_000] += 0.5
    assert "in total variation" in str(Flat().apart([(ids, other)]))
