"""What is typed, which vLLM is taken, and what a model is tried on when it is loaded."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from freerun.errors import BackendError, UsageError
from freerun.predictors.vllm_engine import engine as engine_module
from freerun.predictors.vllm_engine.engine import check_plugins, check_version
from freerun.predictors.vllm_engine.options import read_typed
from freerun.predictors.vllm_engine.trial import settle
from freerun.specs.provider import AS_IT_IS
from freerun.specs.spec import load_predictor, loader_of
from tests.predictors.vllm_engine.fake import FakeEngine, engine_over


@pytest.fixture
def like(kinds: Any) -> Any:
    return kinds["llama"]().predictor


# ---- typed -------------------------------------------------------------------------------------------------------------


def test_a_name_with_options_is_taken_apart() -> None:
    typed = read_typed(
        "org/model@v2,rows=8,window=512,tensor-parallel=2,compile=no,read=no,quantization=awq,cache-gib=3"
    )
    assert (typed.model, typed.reads, typed.name[:22]) == ("org/model@v2", False, "vllm-engine/org/model@")
    options = typed.options
    assert (options.rows, options.longest, options.tensor_parallel, options.eager) == (8, 512, 2, True)
    assert (options.quantization, options.cache_gib, options.pipeline_parallel) == ("awq", 3, 1)
    assert read_typed("./folder").is_folder
    assert not read_typed("smollm2-135m-instruct").is_folder


@pytest.mark.parametrize(
    ("typed", "match"),
    [
        ("org/m,row=3", "did you mean 'rows'"),
        ("org/m,rows=0", "lie between 1 and 4096"),
        ("org/m,rows=2,rows=3", "given twice"),
        ("org/m@http://127.0.0.1:1", "give vllm-engine/ORG/NAME"),
        ("org/m,compile=maybe", "yes, no"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_loaded(typed: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        loader_of(f"vllm-engine/{typed}")


# ---- which vLLM --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_the_way_to_it_is_said(tmp_path: Any) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(BackendError, match=r"needs vllm.* pip install 'freerun\[vllm\]'"):
        load_predictor(f"vllm-engine/{tmp_path}", AS_IT_IS)


@pytest.mark.parametrize(
    ("version", "known"), [("0.32.0", True), ("0.30.1+cpu", True), ("0.29.0", False), ("1.0", False)]
)
def test_versions_that_are_not_known_are_refused(version: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vllm")
    module.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    if known:
        assert check_version("m") == version
    else:
        with pytest.raises(BackendError, match=r"freerun knows vLLM 0\.30 to below 0\.34"):
            check_version("m")


def test_other_processors_in_the_environment_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_plugins("m")
    plugin = EntryPoint("ban_words", "other:Processor", "vllm.logits_processors")
    monkeypatch.setattr(engine_module, "entry_points", lambda group: (plugin,))
    with pytest.raises(BackendError, match="ban_words"):
        check_plugins("m")


# ---- the trial ---------------------------------------------------------------------------------------------------------


def _fake(like: Any, **options: Any) -> Any:
    model = engine_over(like, reads=False, **options)
    model.encode = lambda text: np.arange(3, 15).tolist()
    return model


@pytest.mark.parametrize("v2", [False, True], ids=["legacy", "V2"])
def test_texts_are_read_where_that_can_be_trusted(like: Any, v2: bool) -> None:
    model = _fake(like, v2=v2)
    assert settle(model, read_prompts=True) == ""
    assert model.reads_prompts
    model = _fake(like, v2=v2)
    assert settle(model, read_prompts=False) == ""
    assert not model.reads_prompts


def test_rows_of_other_texts_are_noticed(like: Any) -> None:
    """The hidden states that are shown belong to the token before, say, in another version of vLLM."""
    model = _fake(like)
    engine = model.runs.engine
    assert isinstance(engine, FakeEngine)
    engine.worker.model_runner.model.compute_logits = lambda hidden: torch.roll(hidden, 1, dims=0)
    assert "of a text that is read and of one that is written differ" in settle(model, read_prompts=True)
    assert not model.reads_prompts


def test_an_unknown_runner_has_texts_written(like: Any) -> None:
    model = _fake(like)
    model.runs.engine.worker.model_runner._get_prompt_logprobs_dict = lambda hidden, counts: {}
    assert "otherwise than the versions known here" in settle(model, read_prompts=True)
    assert not model.reads_prompts


def test_a_sampler_with_another_law_is_refused(like: Any) -> None:
    """As if something acted on the logits of drawn tokens before they are shown."""
    model = _fake(like)
    engine = model.runs.engine
    sound, processor = engine.logits_of, engine.worker.model_runner.processor
    original = processor.apply

    def warm(logits: torch.Tensor) -> torch.Tensor:
        drawing = any(request.ends for request in engine.running)
        return original(logits * 0.5 if drawing else logits)

    processor.apply = warm
    assert sound is engine.logits_of
    with pytest.raises(BackendError, match="does not sample the law that it scores by"):
        settle(model, read_prompts=True)


def test_a_padded_vocabulary_is_refused(like: Any) -> None:
    model = _fake(like)
    model.n_tokens += 8
    with pytest.raises(BackendError, match="logits have 64 ids and its configuration says 72"):
        settle(model, read_prompts=True)


def test_a_vllm_that_cannot_be_imported_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(BackendError, match="an environment of its own and install freerun there"):
        check_version("m")
