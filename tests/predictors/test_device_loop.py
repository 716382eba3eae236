"""The loop that stays on a device against the plain one: the same uniforms give the same texts and the same numbers."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

from freerun.predictors.base import Continuations, Sample
from freerun.predictors.huggingface import device_loop
from freerun.predictors.huggingface.device_loop import DeviceLoop, LagRuns, is_plain, loop_fits, run_free
from freerun.predictors.huggingface.device_trial import loop_agrees
from freerun.predictors.huggingface.predictor import HuggingFacePredictor
from freerun.predictors.kernels import on_device, wide
from freerun.predictors.observation import Observation
from freerun.predictors.rules import ContextRule, SamplingRule
from freerun.stats.loops.lag_runs import LoopRule
from freerun.stats.loops.tracker import LoopTracker
from tests.accelerator import DEVICE, random_model

WORDS = 300
SMALL: dict[str, Any] = {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {
    **SMALL,
    "intermediate_size": 48,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "initializer_range": 0.2,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**LLAMA),
    "qwen2": Qwen2Config(**LLAMA),
    "qwen3": Qwen3Config(**LLAMA, head_dim=8),
    "gpt2": GPT2Config(
        vocab_size=WORDS,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=96,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "gpt-neox": GPTNeoXConfig(
        **{**SMALL, "intermediate_size": 48, "max_position_embeddings": 96, "initializer_range": 0.2}
    ),
}
RULE = LoopRule(copies=2, min_tokens=3, max_period=6)


@pytest.fixture(scope="module", params=CONFIGS)
def predictor(request: pytest.FixtureRequest) -> HuggingFacePredictor:
    return random_model(CONFIGS[request.param], end_ids=tuple(range(7, 17)))


def wanted(n: int = 5, length: int = 24, **options: Any) -> Continuations:
    rng = np.random.default_rng(5)
    prefixes = [rng.integers(0, WORDS, k) for k in (3, 9, 1, 6, 6)[:n]]
    prefixes[0] = np.array([4, 5, 4, 5, 4])  # about to loop
    return Continuations(prefixes, np.arange(2 * n).reshape(n, 2), length, seed=9, loop_rule=RULE, **options)


def by_row(samples: Any) -> list[Sample]:
    return sorted(samples, key=lambda s: s.row)


def same(mine: list[Sample], plain: list[Sample], most: float) -> None:
    assert [s.row for s in mine] == [s.row for s in plain]
    for a, b in zip(mine, plain, strict=True):
        assert a.observation.token_id.tolist() == b.observation.token_id.tolist()
        assert a.end_reason == b.end_reason
        assert a.uniform is not None
        assert b.uniform is not None
        assert a.uniform.tolist() == b.uniform.tolist()
        for f in fields(Observation):
            x, y = getattr(a.observation, f.name), getattr(b.observation, f.name)
            if f.name != "rank":  # two like logits may change places
                assert np.abs(x - y).max() < most, f.name
        assert a.embedding is not None
        assert b.embedding is not None
        assert np.abs(a.embedding - b.embedding).max() < most


def test_texts_and_numbers_are_those_of_the_plain_loop(predictor: HuggingFacePredictor) -> None:
    assert is_plain(predictor.model.config)
    mine = by_row(run_free(predictor.passes, predictor.end_ids, predictor.context.lead, wanted()))
    plain = by_row(predictor.generate(wanted()))
    assert any(s.end_reason == "end_of_text" for s in plain)
    assert any(s.end_reason == "length" for s in plain)
    assert max(s.observation.loop_mass.max() for s in plain) > 0
    same(mine, plain, 2e-4)


def test_laws_are_those_of_passes_over_whole_texts(predictor: HuggingFacePredictor) -> None:
    for sample in run_free(predictor.passes, predictor.end_ids, predictor.context.lead, wanted()):
        prefix = np.asarray(wanted().prefixes[sample.row // 2])
        text = np.concatenate([prefix, sample.observation.token_id])
        said = predictor.log_probs([text], first=len(prefix))[0]
        assert np.abs(said - sample.observation.log_prob_nats).max() < 2e-4
    assert loop_agrees(predictor)


def test_waves_give_the_same_samples(predictor: HuggingFacePredictor) -> None:
    whole = by_row(run_free(predictor.passes, predictor.end_ids, (), wanted()))
    waves = by_row(run_free(predictor.passes, predictor.end_ids, (), wanted(at_once=4)))
    same(waves, whole, 2e-4)


def test_sums_are_brought_in_parts_and_pairs_go_the_same_way(
    predictor: HuggingFacePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = by_row(predictor.generate(wanted()))
    monkeypatch.setattr(device_loop, "BRING_EVERY", 5)
    monkeypatch.setattr(device_loop, "LOOK_EVERY", 3)
    monkeypatch.setattr(device_loop, "_MASK_ELEMENTS", 700)  # prefixes are read in pieces
    monkeypatch.setattr(wide, "has_float64", lambda device: False)
    monkeypatch.setattr(on_device, "_way", lambda device: on_device._sums_by_torch)
    same(by_row(run_free(predictor.passes, predictor.end_ids, (), wanted())), plain, 2e-4)


def test_what_a_step_changes_can_be_put_back(predictor: HuggingFacePredictor) -> None:
    """A graph is captured after steps that must leave no trace."""
    loop = DeviceLoop(predictor.passes, (7,), 2, 4, 8, RULE)
    texts = [np.array([1, 2, 3, 4]), np.array([4, 5])]
    draws = np.random.default_rng(0).random((2, 8))
    with torch.inference_mode():
        loop.begin(texts, draws, texts)
        held = [x.clone() for x in loop._changing()]
        for _ in range(2):
            loop.step()
        for x, before in zip(loop._changing(), held, strict=True):
            x.copy_(before)
        after = loop.run(None)
        loop.begin(texts, draws, texts)
        assert np.array_equal(loop.run(None), after)


def test_a_predictor_takes_the_loop_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = random_model(CONFIGS["llama"], end_ids=(7,))
    plain = by_row(predictor.generate(wanted()))
    predictor.loops_on_device = True
    steps: list[int] = []
    step = DeviceLoop.step

    def counted(loop: DeviceLoop) -> None:
        steps.append(1)
        step(loop)

    monkeypatch.setattr(DeviceLoop, "step", counted)
    same(by_row(predictor.generate(wanted())), plain, 2e-4)
    assert steps
    n = len(steps)
    cold = by_row(predictor.generate(wanted(sampling=SamplingRule.declared("t=0.7"))))
    assert len(cold) == 10
    assert len(steps) == n  # another law than the model's own goes the plain way
    assert not loop_fits(wanted(length=95), ContextRule(window=96))


def test_a_cache_that_is_not_plain_attention_is_left_to_the_plain_loop() -> None:
    sliding = random_model(MistralConfig(**LLAMA, sliding_window=8), end_ids=(7,))
    assert not loop_agrees(sliding)


def test_lag_runs_are_those_of_the_tracker() -> None:
    rng = np.random.default_rng(6)
    histories = [rng.integers(0, 3, n) for n in (0, 5, 40)]
    host, device = LoopTracker(histories, RULE), LagRuns(RULE, 3, torch.device(DEVICE))
    device.begin(histories)
    for _ in range(60):
        ids = device.completing().cpu().numpy()
        assert [sorted(row[row >= 0]) for row in ids] == [sorted(row) for row in host.completing()]
        new = rng.integers(0, 3, 3)
        host.push(new)
        device.push(torch.as_tensor(new, device=DEVICE))


def test_a_model_that_draws_another_law_there_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = random_model(CONFIGS["llama"], end_ids=(7,))
    hiding = DeviceLoop._hiding
    monkeypatch.setattr(DeviceLoop, "_hiding", lambda loop, shown: hiding(loop, torch.ones_like(shown)))
    assert not loop_agrees(predictor)


def test_the_bench_of_accelerators_runs_where_there_is_none() -> None:
    from bench import gpu

    size = gpu.Size(layers=1, width=64, vocabulary=1100, rows=4, prefix=4, tokens=8, scored=8, repeats=1)
    predictor = gpu.bench_model(size, DEVICE)
    predictor.loops_on_device = True
    (share,) = gpu.statistics_share(predictor, size)
    assert 0 < share < 1.5
    for mine, theirs in (gpu.sampling(predictor, size), gpu.scoring(predictor, size)):
        assert min(*mine, *theirs) > 0


def test_the_bench_says_where_there_is_no_accelerator(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench import gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cuda"])
    assert gpu.main() == 3
    assert "no accelerator here" in capsys.readouterr().err


def test_layers_laid_over_devices_need_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    from freerun.errors import BackendError
    from freerun.predictors.huggingface import loading

    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match="pip install accelerate"):
        loading.load_pretrained("nowhere", identity=loading.Identity("x", "x"), device="spread")
