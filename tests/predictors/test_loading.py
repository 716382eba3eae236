"""What a checkpoint must be: whole, its own, causal; adapters are merged or refused as what they are."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from freerun.errors import BackendError, UsageError
from freerun.predictors.encoder import load_encoder
from freerun.predictors.huggingface import adapters, load_pretrained
from freerun.predictors.rules import Identity
from freerun.specs.spec import load_predictor, loader_of

SOME = Identity("some/model", "x")


def changed(folder: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], None], **config: Any) -> Path:
    """A copy of a folder with other weights and another config."""
    shutil.copytree(folder, to)
    weights = load_file(to / "model.safetensors")
    change(weights)
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    said = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(said | config))
    return to


def add(name: str, *shape: int) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda weights: weights.update({name: torch.full(shape, 0.1)})


@pytest.mark.parametrize(
    ("name", "shape", "hint"),
    [
        ("model.layers.0.self_attn.q_proj.lora_A.weight", (4, 32), "LoRA"),
        ("model.layers.1.self_attn.q_proj.bias", (32,), ""),
        ("score.weight", (2, 32), "head of a classifier"),
        ("model.layers.0.mlp.experts.0.w1.weight", (48, 32), ""),
    ],
)
def test_tensors_without_a_place_are_refused_by_name(
    llama_folder: Path, tmp_path: Path, name: str, shape: tuple[int, ...], hint: str
) -> None:
    folder = changed(llama_folder, tmp_path / "m", add(name, *shape))
    with pytest.raises(BackendError, match=r"hold 1 tensor\(s\) .*no place for") as caught:
        load_pretrained(str(folder), identity=SOME)
    assert name in str(caught.value)
    assert hint in str(caught.value)
    plain = load_pretrained(str(llama_folder), identity=SOME)
    dropped = load_pretrained(str(folder), identity=SOME, spare_weights=True)
    ids = [np.arange(3, 12)]
    np.testing.assert_array_equal(dropped.log_probs(ids, first=1)[0], plain.log_probs(ids, first=1)[0])


def test_layers_beyond_the_config_are_refused(llama_folder: Path, tmp_path: Path) -> None:
    folder = changed(llama_folder, tmp_path / "m", lambda _: None, num_hidden_layers=1)
    with pytest.raises(BackendError, match=r"hold 9 tensor\(s\).*model\.layers\.1\."):
        load_pretrained(str(folder), identity=SOME)


def test_weights_of_another_shape_name_the_tensor(llama_folder: Path, tmp_path: Path) -> None:
    folder = changed(llama_folder, tmp_path / "m", lambda _: None, intermediate_size=40)
    with pytest.raises(BackendError, match=r"do not fit its config\.json: model\.layers\.0\.mlp.*48.*40"):
        load_pretrained(str(folder), identity=SOME)


def test_the_name_says_that_weights_were_dropped(llama_folder: Path, tmp_path: Path) -> None:
    folder = changed(llama_folder, tmp_path / "m", add("score.weight", 2, 32))
    with pytest.raises(BackendError, match="spare-weights=drop"):
        load_predictor(f"hf/{folder}")
    assert load_predictor(f"hf/{folder},spare-weights=drop").identity.name == f"hf/{folder},spare-weights=drop"
    with pytest.raises(UsageError, match="refuse, drop"):
        load_predictor(f"hf/{folder},spare-weights=keep")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "encoder–decoder"),
        ({"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]}, "reads (vision|image)"),
        ({"model_type": "vit", "architectures": ["ViTForImageClassification"]}, "reads image"),
        ({"model_type": "distilbert", "architectures": ["DistilBertModel"]}, "not a causal language model"),
    ],
)
def test_other_kinds_of_models_are_named_in_words(
    llama_folder: Path, tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "m")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(BackendError, match=words) as caught:
        load_pretrained(str(folder), identity=SOME)
    assert "<class" not in str(caught.value)
    assert "decoder-only" in str(caught.value)


# ---- adapters --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapter_folder(llama_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of the tiny Llama that changes its laws."""
    from peft import LoraConfig, get_peft_model

    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(5)
    base = AutoModelForCausalLM.from_pretrained(llama_folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, at what peft asks it
        model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    model.peft_config["default"].base_model_name_or_path = str(llama_folder)
    model.save_pretrained(str(folder))
    return folder


def adapted_log_probs(llama_folder: Path, adapter: Path, ids: np.ndarray) -> np.ndarray:
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama_folder), str(adapter)).eval()
    with torch.no_grad():
        law = torch.log_softmax(model(input_ids=torch.as_tensor(ids)[None]).logits[0].double(), -1)
    return np.array([law[t - 1, ids[t]].item() for t in range(1, len(ids))])


def test_an_adapter_folder_is_applied(llama_folder: Path, adapter_folder: Path) -> None:
    ids = np.arange(3, 14)
    predictor = load_predictor(f"hf/{adapter_folder}")
    wanted = adapted_log_probs(llama_folder, adapter_folder, ids)
    np.testing.assert_allclose(predictor.log_probs([ids], first=1)[0], wanted, atol=1e-4)
    base = load_predictor(f"hf/{llama_folder}")
    assert np.abs(base.log_probs([ids], first=1)[0] - wanted).max() > 0.05
    assert base.identity.fingerprint != predictor.identity.fingerprint


def test_an_adapter_beside_base_weights_is_applied_too(
    llama_folder: Path, adapter_folder: Path, tmp_path: Path
) -> None:
    both = shutil.copytree(llama_folder, tmp_path / "both")
    for name in (adapters.CONFIG, adapters.WEIGHTS):
        shutil.copy(adapter_folder / name, both / name)
    ids = np.arange(3, 14)
    got = load_predictor(f"hf/{both}").log_probs([ids], first=1)[0]
    np.testing.assert_allclose(got, adapted_log_probs(llama_folder, adapter_folder, ids), atol=1e-4)


@pytest.mark.parametrize("beside", [True, False])
def test_without_peft_an_adapter_is_refused_as_what_it_is(
    llama_folder: Path, adapter_folder: Path, tmp_path: Path, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(llama_folder if beside else adapter_folder, tmp_path / "m")
    if beside:
        for name in (adapters.CONFIG, adapters.WEIGHTS):
            shutil.copy(adapter_folder / name, folder / name)
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"is an adapter \(LORA\) of .*freerun\[peft\]"):
        load_predictor(f"hf/{folder}")


def test_an_adapter_that_can_run_code_is_not_read(adapter_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(adapter_folder, tmp_path / "m")
    (folder / adapters.WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(BackendError, match=r"can run code"):
        load_pretrained(str(folder), identity=SOME)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w, name: w.update({name.replace("layers.0", "layers.7"): w[name].clone()}), "no place for .*layers.7"),
        (lambda w, name: w.pop(name), "lacks 1 tensor"),
    ],
)
def test_an_adapter_that_does_not_fit_its_base_is_refused(
    adapter_folder: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor], str], None], words: str
) -> None:
    folder = shutil.copytree(adapter_folder, tmp_path / "m")
    weights = load_file(folder / adapters.WEIGHTS)
    change(weights, next(n for n in sorted(weights) if "layers.0" in n))
    save_file(weights, folder / adapters.WEIGHTS)
    with pytest.raises(BackendError, match=words):
        load_pretrained(str(folder), identity=SOME)


def test_an_encoder_with_random_tensors_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    folder = changed(llama_folder, tmp_path / "m", lambda w: w.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(BackendError, match=r"lack 1 tensors .*up_proj"):
        load_encoder(str(folder), name="hf/m")
    assert load_encoder(str(llama_folder), name="hf/m").model is not None  # its head is not asked


def test_only_folders_and_hub_ids_have_spare_weights() -> None:
    with pytest.raises(UsageError, match="only hf/"):
        loader_of("smollm2-135m-instruct,spare-weights=drop")
