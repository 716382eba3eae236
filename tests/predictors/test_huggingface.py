"""What is special about transformers models: their cache, their loss, their context rule, their files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.cache_utils import DynamicCache, DynamicLayer

from freerun.errors import BackendError
from freerun.predictors.base import Continuations
from freerun.predictors.encoder import fingerprint_of_weights
from freerun.predictors.huggingface import HuggingFacePredictor, load_pretrained
from freerun.predictors.huggingface.caches import GrowingLayer, HeadInput, empty_cache
from freerun.predictors.huggingface.predictor import Sizes
from freerun.predictors.rules import Identity
from freerun.specs.spec import load_predictor

SOME = Identity("some/model", "x")


def sequences(seed: int, *lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 64, n) for n in lengths]


# ---- against transformers itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["llama_folder", "gemma_folder", "gpt2_folder"])
def test_the_loss_is_that_of_transformers(folder: str, request: pytest.FixtureRequest) -> None:
    """`labels` gives the mean over tokens 1, 2, …; inside the window, so no context rule is needed."""
    path = request.getfixturevalue(folder)
    predictor = load_pretrained(str(path), identity=SOME, lead=())
    theirs = AutoModelForCausalLM.from_pretrained(path).eval()
    for ids in sequences(1, 16, 9, 2):
        tensor = torch.as_tensor(ids)[None]
        with torch.no_grad():
            wanted = float(theirs(input_ids=tensor, labels=tensor).loss)
        assert abs(-predictor.log_probs([ids], first=1)[0].mean() - wanted) < 1e-5


def test_a_lead_counts_as_the_tokens_before_the_first(llama_folder: Path) -> None:
    predictor = load_pretrained(str(llama_folder), identity=SOME, lead=(1, 5))
    (ids,) = sequences(2, 9)
    tensor = torch.as_tensor(np.concatenate([[1, 5], ids]))[None]
    labels = tensor.clone()
    labels[:, :2] = -100
    with torch.no_grad():
        wanted = float(predictor.model(input_ids=tensor, labels=labels).loss)
    assert abs(-predictor.log_probs([ids], first=0)[0].mean() - wanted) < 1e-5


def test_the_context_rule_says_what_each_law_has_read(model: HuggingFacePredictor) -> None:
    """Beyond the window: every law is one fresh pass over the lead and what the rule lets be seen, and never more than fits."""
    limit = model.model.config.max_position_embeddings
    (ids,) = sequences(3, 45)
    got = model.log_probs([ids], first=1)[0]
    lead, rule = list(model.context.lead), model.context
    assert rule.window == limit - len(lead)
    for t in range(1, 45):
        seen = ids[rule.first_seen(t) : t]
        assert len(lead) + len(seen) <= limit
        assert t <= rule.window or len(seen) >= rule.window // 2
        with torch.no_grad():
            logits = model.model(input_ids=torch.as_tensor([[*lead, *seen.tolist()]])).logits[0, -1].double()
        wanted = torch.log_softmax(logits, 0)[int(ids[t])].item()
        assert abs(got[t - 1] - wanted) < 5e-5


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize(("logits_at_once", "body"), [(1, 1), (64 * 3, 7), (64 * 64 * 5, 60)])
def test_scoring_in_chunks_changes_nothing(
    model: HuggingFacePredictor, logits_at_once: int, body: int, split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few or many logits at once, texts read whole or in pieces, logits from the whole model or from its output layer."""
    assert model.passes.split
    some = sequences(4, 40, 3, 17)
    whole = model.log_probs(some, first=2)
    read = model.law(model.start(some)).log_probs()
    monkeypatch.setattr(model, "sizes", Sizes(body_tokens=body, logits=logits_at_once, least_rows=1))
    monkeypatch.setattr(model.passes, "split", split)
    parts = model.log_probs(some, first=2)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(model.law(model.start(some)).log_probs(), read, atol=1e-4)
    biggest = max(len(c.row) for c in model.score(some, first=2))
    assert biggest <= max(1, logits_at_once // 64)


def test_a_law_does_not_depend_on_what_comes_after(model: HuggingFacePredictor) -> None:
    a = sequences(5, 12)[0]
    b = a.copy()
    b[8:] = (b[8:] + 7) % 64
    one, other = model.log_probs([a, b], first=1)
    np.testing.assert_allclose(one[:7], other[:7], atol=5e-5)
    assert np.abs(one[7:] - other[7:]).max() > 1e-3


@pytest.mark.parametrize("folder", ["llama_folder", "gemma_folder", "gpt2_folder"])
def test_hidden_states_are_those_that_transformers_calls_last(folder: str, request: pytest.FixtureRequest) -> None:
    """`output_hidden_states` ends with the states after the final norm."""
    path = request.getfixturevalue(folder)
    predictor = load_pretrained(str(path), identity=SOME, lead=())
    (ids,) = sequences(30, 14)
    with torch.no_grad():
        every = AutoModelForCausalLM.from_pretrained(path).eval()(torch.as_tensor(ids)[None], output_hidden_states=True)
    wanted = every.hidden_states[-1][0].numpy()
    got = np.concatenate([c.hidden for c in predictor.score([ids], first=3)])
    np.testing.assert_allclose(got, wanted[2:13], atol=1e-5)
    np.testing.assert_allclose(predictor.embed(predictor.start([ids])), wanted[-1:], atol=1e-5)


def test_hidden_states_do_not_depend_on_the_width_of_chunks(llama_folder: Path) -> None:
    model = load_pretrained(str(llama_folder), identity=SOME)
    some = sequences(31, 14, 9)
    whole = np.concatenate([c.hidden for c in model.score(some, first=2)])
    model.sizes = Sizes(body_tokens=4, logits=1, least_rows=1)
    parts = list(model.score(some, first=2))
    assert len(parts) == 19
    order = np.lexsort((np.concatenate([c.position for c in parts]), np.concatenate([c.row for c in parts])))
    np.testing.assert_allclose(np.concatenate([c.hidden for c in parts])[order], whole, atol=1e-5)


def test_a_head_that_is_no_module_call_shows_no_hidden_states(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeadInput, "_listen", lambda self, _, inputs: None)
    model = load_pretrained(str(llama_folder), identity=SOME)
    assert not model.capabilities.embed
    some = sequences(32, 9)
    assert all(c.hidden is None for c in model.score(some, first=2))
    (sample,) = model.generate(Continuations([some[0][:2]], np.array([[1]], np.uint64), 3, seed=0))
    assert sample.embedding is None


# ---- the cache -------------------------------------------------------------------------------------------------------


def test_the_growing_layer_is_a_dynamic_layer() -> None:
    """Random updates and rearrangements of both: the same keys and values, to the bit."""
    rng = np.random.default_rng(6)
    for _ in range(20):
        mine, theirs = GrowingLayer(), DynamicLayer()
        rows = 3
        for _ in range(25):
            what = rng.choice(["update", "update", "update", "select", "repeat", "crop", "reorder"])
            if what == "update" or not theirs.get_seq_length():
                shape = (rows, 2, int(rng.choice([1, 1, 1, 5, 90])), 4)
                keys, values = (torch.as_tensor(rng.normal(size=shape)) for _ in range(2))
                got, wanted = mine.update(keys, values), theirs.update(keys, values)
                assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))
            elif what == "crop":
                n = int(rng.integers(0, theirs.get_seq_length()))
                mine.crop(-n)
                theirs.crop(-n)
            else:
                index = torch.as_tensor(rng.integers(0, rows, int(rng.integers(1, 5))))
                for layer in (mine, theirs):
                    if what == "select":
                        layer.batch_select_indices(index)
                    elif what == "repeat":
                        layer.batch_repeat_interleave(2)
                    else:
                        layer.reorder_cache(index)
                rows = theirs.keys.shape[0]
                if rows > 6:
                    for layer in (mine, theirs):
                        layer.batch_select_indices(torch.arange(3))
                    rows = 3
            assert mine.get_seq_length() == theirs.get_seq_length()
            assert torch.equal(mine.keys, theirs.keys)
            assert torch.equal(mine.values, theirs.values)


def test_one_more_token_is_written_in_place() -> None:
    layer = GrowingLayer()
    one = torch.ones(1, 1, 1, 2)
    layer.update(one, one)
    before = layer.keys.data_ptr()
    for _ in range(50):
        layer.update(one, one)
    assert layer.keys.data_ptr() == before
    assert layer.get_seq_length() == 51


def test_only_plain_layers_are_replaced(gemma_folder: Path) -> None:
    model = load_pretrained(str(gemma_folder), identity=SOME)
    theirs = DynamicCache(config=model.model.config).layers
    assert len({type(layer) for layer in theirs}) == 2
    for mine, original in zip(empty_cache(model.model.config).cache.layers, theirs, strict=True):
        assert type(mine) is (GrowingLayer if type(original) is DynamicLayer else type(original))


def test_memory_of_a_state_grows_with_what_it_has_read(llama_folder: Path) -> None:
    model = load_pretrained(str(llama_folder), identity=SOME)
    short, long = (model.nbytes(model.start(sequences(7, n))) for n in (3, 12))
    per_token = 2 * 2 * 2 * 8 * 4  # layers · (keys, values) · kv heads · head width · bytes of float32
    assert long - short == 9 * per_token


# ---- files -----------------------------------------------------------------------------------------------------------


def test_what_a_folder_declares_is_read(llama_folder: Path, gemma_folder: Path) -> None:
    llama = load_pretrained(str(llama_folder), identity=SOME)
    gemma = load_pretrained(str(gemma_folder), identity=SOME)
    assert (llama.context.lead, gemma.context.lead) == ((), (1,))
    assert llama.end_ids == gemma.end_ids == (2,)
    assert (llama.n_tokens, llama.context.window, gemma.context.window) == (64, 16, 31)
    assert list(llama.encode("w7 w12 nothing")) == [7, 12, 0]
    assert list(gemma.encode("w7")) == [7]
    given = load_pretrained(str(llama_folder), identity=SOME, end_ids=(5, 6), lead=(9,))
    assert (given.end_ids, given.context.lead, given.context.window) == ((5, 6), (9,), 15)


def test_a_marker_written_in_a_text_is_text(llama_folder: Path) -> None:
    """A byte-level tokenizer, as the real ones are: nobody ends a text by writing the name of its end."""
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    predictor = load_pretrained(str(llama_folder), identity=SOME)
    predictor.tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    end = predictor.tokenizer.eos_token_id
    assert predictor.tokenizer.encode("a<|end|>b")[1] == end
    assert end not in predictor.encode("a<|end|>b")
    assert len(predictor.encode("a<|end|>b")) == 9


def test_every_declared_end_is_found(llama_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "model")
    text = (folder / "generation_config.json").read_text()
    (folder / "generation_config.json").write_text(text.replace('"eos_token_id": 2', '"eos_token_id": [2, 11, 7]'))
    assert load_pretrained(str(folder), identity=SOME).end_ids == (2, 7, 11)


def test_dropout_is_off_and_weights_are_float32(llama_folder: Path) -> None:
    model = load_pretrained(str(llama_folder), identity=SOME).model
    assert not any(m.training for m in model.modules())
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_bf16_is_a_rounded_model(llama_folder: Path) -> None:
    rounded = load_pretrained(str(llama_folder), identity=SOME, dtype="bf16")
    assert {p.dtype for p in rounded.model.parameters()} == {torch.bfloat16}
    ids = sequences(8, 12)
    exact = load_pretrained(str(llama_folder), identity=SOME).log_probs(ids, first=1)[0]
    error = np.abs(rounded.log_probs(ids, first=1)[0] - exact)
    assert 0 < error.max() < 0.5


def test_the_fingerprint_is_of_the_weights(llama_folder: Path) -> None:
    a, b = (load_pretrained(str(llama_folder), identity=SOME).model for _ in range(2))
    assert fingerprint_of_weights(a) == fingerprint_of_weights(b)
    with torch.no_grad():
        b.lm_head.weight[0, 0] += 1e-6
    assert fingerprint_of_weights(a) != fingerprint_of_weights(b)


def test_weights_that_can_run_code_are_not_read(llama_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    torch.save({"x": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(BackendError, match=r"no \*\.safetensors in this folder \(other weight files can run code"):
        load_predictor(f"hf/{folder}")
    with pytest.raises(BackendError, match=r"cannot load some/model: .*safetensors"):
        load_pretrained(str(folder), identity=SOME)


@pytest.mark.parametrize("lost", ["config.json", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_is_refused_with_what_it_needs(
    llama_folder: Path, tmp_path: Path, lost: str
) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "model")
    (folder / lost).unlink()
    with pytest.raises(BackendError, match=r"a folder needs config\.json, a tokenizer and \*\.safetensors"):
        load_pretrained(str(folder), identity=SOME)


def test_truncated_weights_are_refused(llama_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(Exception, match=r"(?i)incomplete|invalid|cannot load"):  # the class is a bug, see the report
        load_pretrained(str(folder), identity=SOME)


@pytest.mark.parametrize("device", ["cuda:97", "nonsense"])
def test_a_device_that_is_not_there_is_said(llama_folder: Path, device: str) -> None:
    with pytest.raises(BackendError, match=f"--device {device} is not available here; use --device auto or cpu"):
        load_pretrained(str(llama_folder), identity=SOME, device=device)


def test_nan_weights_are_a_broken_checkpoint(llama_folder: Path) -> None:
    model = load_pretrained(str(llama_folder), identity=SOME)
    with torch.no_grad():
        model.model.lm_head.weight[3, 0] = torch.nan
    with pytest.raises(BackendError, match="NaN or infinite"):
        model.log_probs(sequences(9, 5), first=1)
