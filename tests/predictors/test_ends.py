"""Which ids end a text: the union of what the files declare, the special token that ends documents, or what a user chose."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models
from transformers import PreTrainedTokenizerFast

from freerun.errors import BackendError, UsageError
from freerun.predictors.huggingface import load_pretrained
from freerun.predictors.markers import OWN_DEFINITION, EndToken, Markers, markers_json
from freerun.predictors.rules import Identity
from freerun.predictors.tokenizing import Declared
from freerun.predictors.vocabulary import control_tokens, rows_without_token
from freerun.predictors.weights import catalogue as weights
from freerun.predictors.weights import gguf as gguf_module
from freerun.predictors.weights.declared import chosen_ends, declared_ends, read_end_ids
from freerun.predictors.weights.gguf import GGUFMarkers, gguf_markers

SOME = Identity("some/model", "x")


def tokenizer(*special: str, ordinary: tuple[str, ...] = (), eos: str | None = None) -> PreTrainedTokenizerFast:
    """Four words, then the special tokens from id 4 on, then ordinary ones."""
    words = ["a", "b", "c", "<unk>"]
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>")),
        unk_token="<unk>",
    )
    made.add_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    made.add_tokens([AddedToken(t, special=False, normalized=False) for t in ordinary])
    if eos is not None:
        made.eos_token = eos
    return made


def model(config: Any = None, generation: Any = None, text: Any = None) -> Any:
    """As much of a transformers model as declares ends."""
    inner = SimpleNamespace(eos_token_id=text)
    outer = SimpleNamespace(eos_token_id=config, get_text_config=lambda decoder: inner)
    return SimpleNamespace(config=outer, generation_config=SimpleNamespace(eos_token_id=generation))


def ends_of(made: Any, words: Any, **beside: tuple[int, ...]) -> tuple[EndToken, ...]:
    return declared_ends(made, words, control_tokens(words, len(words)), beside=beside)


def test_ends_are_the_union_with_who_declares_each() -> None:
    words = tokenizer("<|im_end|>", "<|pad|>", "<|eot|>", eos="<|im_end|>")
    found = ends_of(model(config=[4, None, [6]], generation=5, text=4), words, gguf=(2,))
    assert found == (
        EndToken(2, "", ("gguf",)),
        EndToken(4, "<|im_end|>", ("config", "tokenizer")),
        EndToken(5, "<|pad|>", ("generation config",)),
        EndToken(6, "<|eot|>", ("config",)),
    )


def test_the_special_token_that_ends_documents_is_an_end_and_comes_first() -> None:
    """As in Qwen 2.5's chat models, which declare the end of a turn alone; here its id is the smaller one."""
    words = tokenizer("<|im_end|>", "<|im_start|>", "<|endoftext|>", eos="<|im_end|>")
    found = ends_of(model(config=4), words)
    assert found == (
        EndToken(6, "<|endoftext|>", ("its spelling",)),
        EndToken(4, "<|im_end|>", ("config", "tokenizer")),
    )


def test_of_two_the_tokenizers_own_comes_first() -> None:
    words = tokenizer("<|endoftext|>", "</s>", eos="</s>")
    assert [e.token_id for e in ends_of(model(), words)] == [5, 4]


def test_the_same_letters_as_an_ordinary_token_end_nothing() -> None:
    """`</s>` is markup too: where it is not special, text may hold it."""
    words = tokenizer("<|end|>", ordinary=("</s>", "<eos>"), eos="<|end|>")
    assert [e.token_id for e in ends_of(model(), words)] == [4]


@pytest.mark.parametrize("wrong", ["2", 2.5, True, {"a": 1}, [3, "x"]])
def test_what_is_no_id_is_refused(wrong: Any) -> None:
    with pytest.raises(BackendError, match=r"eos_token_id of the generation config .*--end-ids"):
        ends_of(model(generation=wrong), tokenizer())


def test_nothing_declared_is_no_end() -> None:
    assert ends_of(model(), tokenizer("<|pad|>")) == ()


# ---- a folder ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eos", [[2, 64], [2, 9999], [2, -1]])
def test_an_end_without_a_row_is_left_out_and_said(llama_folder: Path, tmp_path: Path, eos: list[int]) -> None:
    folder = shutil.copytree(llama_folder, tmp_path / "model")
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": eos}))
    predictor = load_pretrained(str(folder), identity=SOME)
    assert predictor.end_ids == (2,)
    assert [e.token_id for e in predictor.markers.ends_without_row] == [eos[1]]
    law = predictor.law(predictor.start([np.array([5])]))
    assert 0 <= law.mass(predictor.end_ids)[0] <= 1


def test_files_beside_the_folder_count_and_a_choice_replaces_all(llama_folder: Path) -> None:
    beside = Declared({"GGUF eot_token_id": (7,)}, control_ids=(7, 8))
    predictor = load_pretrained(str(llama_folder), identity=SOME, declared=beside)
    assert predictor.end_ids == (2, 7)
    assert {7, 8} <= predictor.markers.control.keys()
    assert predictor.token_bytes(7) == predictor.token_bytes(8) == b""
    chosen = load_pretrained(str(llama_folder), identity=SOME, declared=beside, end_ids=(9, 3))
    assert chosen.end_ids == (9, 3)
    assert {e.declared_by for e in chosen.markers.ends} == {("--end-ids",)}


@pytest.mark.parametrize("wrong", [64, -1, 10**9])
def test_a_chosen_end_must_be_an_id(llama_folder: Path, wrong: int) -> None:
    with pytest.raises(UsageError, match=rf"no id {wrong}; its ids are 0 to 63"):
        load_pretrained(str(llama_folder), identity=SOME, end_ids=(2, wrong))


def test_ids_are_typed_with_commas() -> None:
    assert read_end_ids("0, 2,2") == (0, 2, 2)
    assert [e.token_id for e in chosen_ends((2, 0, 2), {}, n_tokens=3, name="m")] == [2, 0]
    for wrong in ("", "a", "1;2", "1.5", "1,"):
        with pytest.raises(UsageError, match="--end-ids"):
            read_end_ids(wrong)


# ---- what is not text -----------------------------------------------------------------------------------------------


def test_rows_without_a_token_are_runs() -> None:
    words = tokenizer("<|pad|>")
    assert rows_without_token(words, 8) == ((5, 7),)
    assert rows_without_token(words, 3) == ()
    holes = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "<unk>": 2, "b": 5}, unk_token="<unk>")), unk_token="<unk>"
    )
    assert rows_without_token(holes, 8) == ((1, 1), (3, 4), (6, 7))


def test_every_end_has_an_entry_whoever_declared_it() -> None:
    markers = Markers(
        ends=(EndToken(4, "<eos>", ("config",)),), control={4: "<eos>", 5: "<pad>"}, without_token=((7, 9),)
    )
    held = markers_json(markers, (4, 6))
    assert held["ends"] == [
        {"id": 4, "token": "<eos>", "declared_by": ["config"]},
        {"id": 6, "token": "", "declared_by": [OWN_DEFINITION]},
    ]
    assert (held["control"], held["without_token"]) == ({"4": "<eos>", "5": "<pad>"}, [[7, 9]])
    assert [markers.spelling(i) for i in (3, 5, 8)] == [None, "<pad>", "id 8, no token"]


# ---- GGUF ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    """The metadata of a chat model, and no weights."""
    from gguf import GGUFWriter

    path = tmp_path / "tiny.gguf"
    writer = GGUFWriter(str(path), "qwen2")
    writer.add_token_list(["a", "<|endoftext|>", "<|im_end|>", "<tool>", "<|eom|>"])
    writer.add_token_types([1, 3, 3, 4, 3])
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(2)
    writer.add_eom_token_id(4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


KEPT = GGUFMarkers({"eos_token_id": 2, "eot_token_id": 2, "eom_token_id": 4}, (1, 2, 4))


def test_metadata_of_a_gguf(tiny_gguf: Path) -> None:
    assert gguf_markers(tiny_gguf) == KEPT


def test_metadata_is_kept_beside_the_weights(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREERUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gguf_module, "convert_gguf", lambda _, folder: folder.mkdir())
    folder = weights.converted(tiny_gguf)
    assert weights.markers_beside(folder) == KEPT
    assert [p.name for p in folder.iterdir()] == ["freerun.json"]


def test_a_cache_made_before_learns_it_from_the_file(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FREERUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(gguf_module, "convert_gguf", lambda _, folder: folder.mkdir())
    folder = weights.converted(tiny_gguf)
    (folder / "freerun.json").write_text(json.dumps({"gguf_sha256": weights.sha256_of(tiny_gguf)}))
    assert weights.markers_beside(folder) is None
    assert weights.converted(tiny_gguf) == folder
    assert weights.markers_beside(folder) == KEPT


def test_damaged_metadata_is_a_backend_error(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(BackendError, match=r"x\.gguf"):
        gguf_markers(tmp_path / "x.gguf")


# ---- no tokenizer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gpt2", "gemma3_text", "qwen2", "llama"])
def test_a_folder_without_tokenizer_files_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    """transformers makes an empty tokenizer there for most kinds, and cannot make one for the others."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {
        "vocab_size": 32,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
    }
    wide = {"num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None}
    config = AutoConfig.for_model(kind, **sizes, **({} if kind == "gpt2" else wide))
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(BackendError, match=r"tokenizer\.json"):
        load_pretrained(str(tmp_path), identity=SOME)


def test_a_lead_without_a_row_is_refused(gemma_folder: Path) -> None:
    with pytest.raises(BackendError, match="puts id 64 first"):
        load_pretrained(str(gemma_folder), identity=SOME, lead=(64,))
